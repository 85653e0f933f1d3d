//! Drills, run as an operator runs them.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::harness::{Lab, Run, eventually, note};
use super::{RECOVERY, becomes_healthy, member_rows};

/// `drill run --set ci` is for every change: what it may take, on a machine that does all of it by itself.
const CI_SET: Duration = Duration::from_secs(600);

/// The drills for every night.
pub fn for_every_night(lab: &Lab) {
    let (run, found, report) = prove(lab, "drills", &["--set", "ci", "--seed", "1"]);
    assert!(run.took < CI_SET, "the set for CI took {:?}", run.took);
    let runs = found["runs"].as_array().expect("runs");
    assert!(runs.len() >= 5, "{}", run.stderr);
    let killed = runs.iter().find(|drill| drill["scenario"] == "container-kill").expect("part of the set");
    let events = killed["events"].as_array().expect("events");
    let by_guard = |e: &Value| e["text"].as_str().is_some_and(|t| t.starts_with("event=revoked reason=container_died"));
    assert!(events.iter().any(by_guard), "no guard saw the container die: {events:#?}");
    let page = lab.path("drills.html");
    let report = report.display().to_string();
    let shown = lab.ctl(&["drill", "report", &report, "--format", "junit", "--html", &page.display().to_string()]);
    assert_eq!(shown.status, run.status, "{}", shown.stderr);
    assert!(shown.stdout.contains("<testsuites"), "{}", shown.stdout);
    assert_eq!(lab.ctl(&["drill", "heal"]).ok().stdout, "No host has anything left of a drill.\n");
    leaves_schemas_of_others_alone(lab);
}

/// A drill leaves no tables, and no schema of its name that somebody else has made is dropped, by a drill or by its healing.
fn leaves_schemas_of_others_alone(lab: &Lab) {
    let psql = |sql: &str| lab.ctl(&["psql", "--", "-Atc", sql]).ok().stdout;
    let schemas = "select count(*) from pg_namespace where nspname = 'pgclusterctl_drill'";
    assert_eq!(psql(schemas), "0\n", "a drill's tables stay");
    psql("create schema pgclusterctl_drill");
    let folder = lab.path("drills-refused").display().to_string();
    let refused = lab.ctl(&["drill", "run", "etcd-leader-kill", "--yes", "--folder", &folder]).exits(6);
    assert!(refused.stderr.contains("that no drill has made"), "{}", refused.stderr);
    lab.ctl(&["drill", "heal"]).ok();
    assert_eq!(psql(schemas), "1\n", "somebody's schema was dropped");
    psql("drop schema pgclusterctl_drill");
}

/// A shard group's leader is killed and handed over; a group comes, gets its share, and goes with all of it while clients write: none
/// of their transactions may fail. Few clients: how fast shards move beside many is a question to a machine that does nothing else, too.
pub fn of_shard_groups(lab: &Lab) {
    let wanted = ["shard-leader-kill", "shard-switchover", "grow-and-shrink"];
    let (_, found, _) = prove(lab, "drills-shards", &[&wanted[..], &["--seed", "2", "--clients", "2"]].concat());
    let runs = found["runs"].as_array().expect("runs");
    let carried_out: Vec<_> = runs.iter().filter_map(|run| run["scenario"].as_str()).collect();
    assert_eq!(carried_out, wanted);
    assert!(runs.iter().all(|run| run["passed"] == true), "{runs:#?}");
    lab.ctl(&["plan", "--check"]).ok();
}

/// What a reader holds at the end of a drill is held against its leader, as a standby's is.
pub fn read_also(lab: &Lab, group: &str, reader: &str) {
    let (_, found, _) = prove(lab, "drills-reader", &["backend-kill", "--seed", "3"]);
    let read = found["runs"][0]["verdict"]["servers"][group].as_array().expect("servers");
    assert!(read.contains(&reader.into()), "{read:?}");
    assert_eq!(read.len(), 1 + member_rows(lab).iter().filter(|row| row["group"] == group && row["role"] != "leader").count());
}

/// Runs drills. What they prove is asserted: nothing lost, nothing twice, one leader, all whole again. How long an outage may last is
/// a question to a machine that does nothing else. Returns the run, its report, and where that is.
fn prove(lab: &Lab, folder: &str, which: &[&str]) -> (Run, Value, PathBuf) {
    let folder = lab.path(folder);
    let place = folder.display().to_string();
    let run = lab.ctl(&[&["drill", "run", "--yes", "--folder", &place], which].concat());
    assert!([0, 5].contains(&run.status), "{}\n{}", run.stdout, run.stderr);
    note(format_args!("{}", run.stdout.trim_end()));
    let report = folder.join("report.json");
    let text = std::fs::read_to_string(&report).unwrap_or_else(|e| panic!("no report ({e}):\n{}", run.stderr));
    let found: Value = serde_json::from_str(&text).expect("a report is JSON");
    for drill in found["runs"].as_array().expect("runs") {
        assert!(drill["verdict"]["counts"]["ok"].as_u64() > Some(0), "{drill:#}");
        let reasons = drill["reasons"].as_array().expect("reasons");
        assert!(reasons.is_empty(), "{}: {reasons:#?}\n{:#}", drill["scenario"], drill["verdict"]);
    }
    (run, found, report)
}

/// What a drill found afterwards might be what was there before.
pub fn refuse_an_ill_cluster(lab: &Lab) {
    let rows = member_rows(lab);
    let ill = rows.iter().find(|row| row["role"] == "replica").expect("a standby that nobody waits for");
    let (member, host) = (ill["member"].as_str().expect("a name"), ill["host"].as_str().expect("a name"));
    let docker = |verb: &str| lab.docker(host, verb, member);
    docker("pause");
    // Its leader counts it as connected until `wal_sender_timeout` is over.
    eventually("the cluster knows of it", RECOVERY, || {
        // Whatever its exit code says of the cluster.
        let status = lab.ctl(&["--format", "json", "status"]);
        let seen: Value = serde_json::from_str(&status.stdout).map_err(|e| e.to_string())?;
        let row = seen["members"].as_array().and_then(|rows| rows.iter().find(|row| row["member"] == member));
        if row.is_some_and(|row| row["state"] == "streaming") { Err("it streams".into()) } else { Ok(()) }
    });
    let folder = lab.path("drills-ill").display().to_string();
    let refused = lab.ctl(&["drill", "run", "etcd-leader-kill", "--yes", "--folder", &folder]);
    docker("unpause");
    let refused = refused.exits(6);
    for told in ["the cluster is not whole", member, "pgclusterctl health"] {
        assert!(refused.stderr.contains(told), "{told} is missing:\n{}", refused.stderr);
    }
    becomes_healthy(lab);
}

/// The leader stands still, and whoever stopped it is dead: it goes on by itself, or when somebody asks for it.
pub fn die_in_the_middle(lab: &Lab) {
    for by_hand in [false, true] {
        let leads = |row: &Value| row["role"] == "leader";
        let row = member_rows(lab).into_iter().find(leads).expect("a leader");
        let (member, host) = (row["member"].as_str().expect("a name"), row["host"].as_str().expect("a name"));
        let stands_still = || !lab.on_host(host, "docker ps --quiet --filter status=paused").is_empty();
        let folder = lab.path(&format!("drills-dead-{by_hand}")).display().to_string();
        let mut drill =
            lab.command(&["drill", "run", "freeze", "--yes", "--folder", &folder]).spawn().expect("the binary starts");
        eventually("the leader stands still", RECOVERY, || if stands_still() { Ok(()) } else { Err("it runs".into()) });
        drill.kill().expect("it can be killed");
        drill.wait().expect("it ends");
        if by_hand {
            // Without a leader just now, the drill's tables stay for the next one.
            let healed = lab.ctl(&["drill", "heal"]);
            assert!([0, 7].contains(&healed.status) && healed.stdout.contains(member), "{}\n{}", healed.stdout, healed.stderr);
            assert!(!stands_still(), "{}", healed.stdout);
        } else {
            eventually(
                "it goes on by itself",
                RECOVERY,
                || if stands_still() { Err("it stands still".into()) } else { Ok(()) },
            );
        }
        becomes_healthy(lab);
    }
    lab.ctl(&["drill", "heal"]).ok();
    assert_eq!(lab.ctl(&["drill", "heal"]).ok().stdout, "No host has anything left of a drill.\n");
}

/// The drill's own `up` would do what is pending, so its scenario is not carried out; the one after it is.
pub fn one_goes_on(lab: &Lab) {
    let path = lab.path("topology.toml");
    let text = std::fs::read_to_string(&path).expect("readable");
    let pending = text.replace("max_connections = 303", "max_connections = 303\nwork_mem = \"5MB\"");
    assert_ne!(text, pending, "a setting was rolled out before");
    std::fs::write(&path, pending).expect("writable");
    // The second one is held to no promise: how long it takes is not what is tested here.
    let folder = lab.path("drills-void").display().to_string();
    let args = ["drill", "run", "up-killed", "etcd-leader-kill", "--yes", "--format", "json", "--folder", &folder];
    let run = lab.ctl(&args).exits(7);
    std::fs::write(&path, text).expect("writable");
    let report: Value = serde_json::from_str(&run.stdout).expect("a report is JSON");
    let ended = &report["not_carried_out"][0];
    assert_eq!(ended["scenario"], "up-killed", "{report:#}");
    assert!(ended["reason"].as_str().is_some_and(|reason| reason.contains("pending")), "{ended:#}");
    assert_eq!(
        (&report["runs"][0]["scenario"], &report["runs"][0]["passed"]),
        (&"etcd-leader-kill".into(), &true.into()),
        "{report:#}"
    );
    let again = lab.ctl(&args).exits(2);
    assert!(again.stderr.contains("is not empty"), "{}", again.stderr);
}
