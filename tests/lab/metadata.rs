//! Citus' metadata against Patroni: what somebody changed behind their backs is found, and put right.

use std::time::Duration;

use serde_json::Value;

use super::harness::{Lab, eventually};
use super::refused::place_of;
use super::traffic::{on_worker, sql, without};
use super::{RECOVERY, SHARDS, becomes_healthy, leader_of, member_rows};

/// A name of a change of leader that did not end, and a copy that is not what it is said to be.
pub fn is_repaired(lab: &Lab) {
    let name = sql(lab, &["--"], "select nodename from pg_dist_node where groupid = 1 and noderole = 'primary'");
    sql(lab, &["--"], &format!("update pg_dist_node set nodename = '{name}-demoted' where nodename = '{name}'"));
    sql(lab, &["--shard", "2", "--"], "update pg_dist_node set nodename = 'nobody' where groupid = 1 and noderole = 'primary'");
    let sick = lab.ctl(&["health"]).exits(5);
    for check in ["citus-nodes", "citus-metadata", "citus-strays"] {
        let line = sick.stdout.lines().find(|line| line.contains(check) && line.contains("fail"));
        assert!(line.is_some(), "{check}: {}", sick.stdout);
    }
    for strategy in ["by_disk_size", "by_shard_count"] {
        let refused = lab.ctl(&["shards", "rebalance", "--strategy", strategy, "--yes"]).exits(6);
        assert!(refused.stderr.contains("shard-1 does not answer"), "{}", refused.stderr);
    }
    let status = lab.ctl(&["--format", "json", "status"]).exits(5);
    let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
    let of =
        |group: &str| status["citus"].as_array().and_then(|rows| rows.iter().find(|row| row["group"] == group)).expect("a row");
    let row = of("shard-1");
    assert_eq!((&row["node"], &row["matches"]), (&format!("{name}-demoted").into(), &false.into()), "{row:#}");
    assert_eq!(row["leader"], name.as_str(), "{row:#}");
    let copy = of("shard-2");
    assert_eq!((&copy["matches"], &copy["copy_matches"]), (&true.into(), &false.into()), "{copy:#}");
    let refused = lab.ctl(&["health", "--repair"]).exits(6);
    assert!(refused.stderr.contains("citus_update_node"), "{}", refused.stderr);
    lab.ctl(&["health", "--repair", "--yes"]).ok();
    assert_eq!(
        sql(lab, &["--shard", "2", "--"], "select nodename from pg_dist_node where groupid = 1 and noderole = 'primary'"),
        name
    );
    eventually("health", Duration::from_secs(30), || match lab.ctl(&["health", "--repair"]) {
        run if run.status == 0 && run.stderr.contains("Nothing") => Ok(()),
        run => Err(run.stdout + &run.stderr),
    });
}

/// A node without the newest metadata gets them before a shard moves: Citus would do so within its interval, which is long here.
pub fn is_sent_before_a_move(lab: &Lab) {
    let (shard, home) = place_of(lab, "ledger", "1");
    let away = home % SHARDS + 1;
    let outdated = format!("update pg_dist_node set metadatasynced = false where groupid = {away} and noderole = 'primary'");
    let moved = without(lab, "citus.metadata_sync_interval = '1h'", || {
        sql(lab, &["--"], &outdated);
        lab.ctl(&["shards", "move", &shard, "--to", &away.to_string(), "--yes"])
    });
    let moved = moved.ok();
    assert!(moved.stderr.contains("first, "), "{}", moved.stderr);
    assert_eq!(place_of(lab, "ledger", "1").1, away);
    let synced = format!("select metadatasynced from pg_dist_node where groupid = {away} and noderole = 'primary'");
    assert_eq!(sql(lab, &["--"], &synced), "t");
    lab.ctl(&["shards", "move", &shard, "--to", &home.to_string(), "--yes"]).ok();
}

/// Citus may be led to a lost leader that is back as a standby, and would roll back there what it has told clients is committed.
pub fn no_standby_recovers(lab: &Lab) {
    for row in member_rows(lab) {
        let member = row["member"].as_str().expect("a name");
        let log_in = |name: &str| {
            let psql = format!("psql -XAtq 'dbname=app application_name={name}' -c 'select 1'");
            lab.ctl(&["exec", member, "--", "su", "postgres", "-c", &psql])
        };
        log_in("somebody").ok();
        let recovery = log_in("citus_internal");
        if row["role"] == "leader" {
            recovery.ok();
        } else {
            assert!(
                recovery.status != 0 && recovery.stderr.contains("knows nothing of prepared transactions"),
                "{}",
                recovery.stderr
            );
        }
    }
}

/// A coordinator that stands still has sessions on a shard group that hold rows, and others that wait for them; its kernel answers for
/// it, so nobody gives them up. The next leader ends them all. Once the frozen one goes on, it finds what that one has prepared, and knows
/// nothing of it: it may not take it back. The leader may, and does.
pub fn no_thawed_coordinator_recovers(lab: &Lab) {
    const PREPARED: &str = "citus_0_99999_4000000003_1";
    let frozen = leader_of(lab, "coordinator");
    let rows = member_rows(lab);
    let row = rows.iter().find(|row| row["member"] == frozen.as_str()).expect("a member");
    let host = row["host"].as_str().expect("a host");
    let docker = |verb: &str| lab.docker(host, verb, &frozen);
    on_worker(lab, "create table held (n int primary key, by text); insert into held values (1, 'nobody')");
    let shard_leader = leader_of(lab, "shard-1");
    // A node that is there no more: Citus names sessions by any coordinator that was registered when they began.
    for gpid in [4_000_000_000_000_001_u64, 4_000_000_000_000_002] {
        let psql = format!(
            "PGAPPNAME='citus_internal gpid={gpid}' PGPASSWORD=$(cat /run/secrets/superuser_password) \\
             setsid psql -Xq --username postgres --host {shard_leader} --dbname app \\
             -c \"begin; update held set by = '{gpid}'; select pg_sleep(600)\" > /dev/null 2>&1 &"
        );
        lab.ctl(&["exec", &frozen, "--", "sh", "-c", &psql]).ok();
    }
    let holding = || {
        on_worker(lab, "select count(*) from pg_stat_activity where query like '%update held set%' and pid <> pg_backend_pid()")
    };
    eventually("two sessions want the row", RECOVERY, || if holding() == "2" { Ok(()) } else { Err(holding()) });
    docker("pause");
    // Whatever its exit code says of the cluster.
    let members = || -> Vec<Value> {
        let status: Value = serde_json::from_str(&lab.ctl(&["status", "--format", "json"]).stdout).unwrap_or_default();
        status["members"].as_array().cloned().unwrap_or_default()
    };
    let is = |member: &str, key: &str, value: &str| members().iter().any(|row| row["member"] == member && row[key] == value);
    eventually("another one leads", RECOVERY, || {
        let leads = |row: &Value| row["group"] == "coordinator" && row["role"] == "leader" && row["member"] != frozen.as_str();
        if members().iter().any(leads) { Ok(()) } else { Err("nobody does".into()) }
    });
    eventually("nobody holds the row", RECOVERY, || if holding() == "0" { Ok(()) } else { Err(holding()) });
    on_worker(lab, "drop table held");
    sql(lab, &["--"], "alter system set pgclusterctl.recovery = off; select pg_reload_conf()");
    // A recovery that has just begun ends.
    std::thread::sleep(Duration::from_secs(3));
    on_worker(
        lab,
        &format!("create table thawed (n int); begin; insert into thawed values (1); prepare transaction '{PREPARED}'"),
    );
    let left = || on_worker(lab, &format!("select count(*) from pg_prepared_xacts where gid = '{PREPARED}'"));
    docker("unpause");
    eventually(
        "it is a standby",
        RECOVERY,
        || if is(&frozen, "state", "streaming") { Ok(()) } else { Err("it is none".into()) },
    );
    assert_eq!(left(), "1", "{frozen} has taken back what the new leader has prepared");
    // On all of them: who was rewound meanwhile has the leader's settings as they were then, and would recover nothing once it leads.
    for row in rows.iter().filter(|row| row["group"] == "coordinator") {
        let member = row["member"].as_str().expect("a name");
        sql(lab, &["--member", member, "--"], "alter system reset pgclusterctl.recovery; select pg_reload_conf()");
    }
    eventually("the leader takes it back", RECOVERY, || if left() == "0" { Ok(()) } else { Err("it is there".into()) });
    on_worker(lab, "drop table thawed");
    becomes_healthy(lab);
}
