//! The main job end to end on a real cluster: real Docker hosts, Swarm, etcd, Patroni, PostgreSQL, Citus, HAProxy,
//! PgBouncer and keepalived. One scenario, told in steps; the cluster of one step is the one that the step before left.
//!
//! Needs Docker and the images; fails without them. What needs Citus runs when PGCLUSTERCTL_TEST_CITUS is `yes`.

mod client;
mod drills;
mod harness;
mod hosts;
mod loss;
mod member;
mod metadata;
mod moves;
mod pause;
mod read;
mod rebalance;
mod refused;
mod scale;
mod shards;
mod tables;
mod traffic;
mod vectors;

use std::collections::BTreeSet;
use std::time::Duration;

use client::{Target, Writer};
use harness::{Lab, eventually, finished, is_partial, is_wanted, note, part, step};
use serde_json::Value;
use tokio::runtime::Runtime;

/// Rows of the table that is watched through everything.
const ROWS: i64 = 10_000;
/// Shard groups, where there are any.
const SHARDS: u32 = 3;
/// A cluster that recovers on its own has this long: Patroni's ttl of 20 s, etcd's new leader, a new standby.
const RECOVERY: Duration = Duration::from_secs(120);

#[test]
fn the_main_job_with_shards() {
    if !has_citus() {
        eprintln!("SKIPPED (needs the Citus image): the_main_job_with_shards");
        return;
    }
    scenario(SHARDS);
}

#[test]
fn the_main_job_without_shards() {
    scenario(0);
}

/// Whether tests with shard groups can run here.
fn has_citus() -> bool {
    std::env::var("PGCLUSTERCTL_TEST_CITUS").as_deref() != Ok("no")
}

fn scenario(shards: u32) {
    // The loss of a host is done once: with shards where they can be had.
    let with_losses = shards > 0 || !has_citus() || is_partial();
    let runtime = Runtime::new().expect("a runtime");
    let lab = step("lab up", || Lab::start(shards));
    if lab.is_new {
        set_up(&lab, &runtime, shards);
    }
    let write = writer(&lab);
    part("reads go to a standby", || {
        eventually("a read on port 5433 sees all rows", RECOVERY, || {
            // Two statements: where it is asked over a distributed table, a function answers for the shards' nodes.
            let seen = psql(&lab, &write.password, "", &["select pg_is_in_recovery()", "select count(*) from ledger"]);
            if seen == format!("t\n{ROWS}") { Ok(()) } else { Err(seen) }
        });
    });
    part("status and health", || healthy(&lab, shards));
    part("a volume is one container's", || {
        let second = lab.ctl(&["exec", "coordinator-1", "--", "timeout", "3", "node-entrypoint"]).exits(1);
        assert!(second.stderr.contains("another container still runs on this volume"), "{}", second.stderr);
    });
    part("passwords are where they belong", || no_password_leaks(&lab, &write.password));

    if shards > 0 {
        with_shards(&lab, &runtime, &write, shards);
    } else {
        part("a session whose client vanished waits for no row", || traffic::waits_for_nobody(&lab, &runtime, &write));
        // Clients of the coordinators are held back by the same pools.
        part("switchover beside a transaction that does not end", || pause::seven_operators(&lab, &runtime, &write));
    }
    let groups: Vec<Vec<String>> = groups(shards);
    for verb in ["switchover", "failover"] {
        for group in &groups {
            part(&format!("{verb} {}", group.join(" ")), || {
                change_leader(&lab, verb, group);
                assert_eq!(runtime.block_on(write.number("select count(*) from ledger")), ROWS);
            });
        }
    }
    part("a setting that needs a restart is rolled out", || change_a_setting(&lab, &runtime, &write, shards));
    if with_losses && is_wanted("loss of the host") {
        lose_a_host(&lab, &runtime, &write, shards);
    }
    if shards > 0 {
        part("drills of shard groups", || drills::of_shard_groups(&lab));
    } else {
        // Half an hour is enough for one scenario, and these know no shards.
        part("drills", || drills::for_every_night(&lab));
        part("a drill leaves an ill cluster alone", || drills::refuse_an_ill_cluster(&lab));
        part("a drill dies with a fault in place", || drills::die_in_the_middle(&lab));
        part("a drill goes on after what cannot be carried out", || drills::one_goes_on(&lab));
        part("a reader comes, serves reads, never leads, and goes", || read::from_a_fourth_host(&lab, &runtime, &write));
        part("the last coordinator is taken out while it leads, and comes back", || {
            member::out_and_back(&lab, &runtime, &write);
        });
    }
    if with_losses {
        part("a lost host is replaced, the operator is killed", || hosts::replace_a_lost_one(&lab, &runtime, &write));
    }
    part("down keeps the data, up finds it again", || {
        lab.ctl(&["down", "--yes"]).ok();
        lab.ctl(&["up", "--yes"]).ok();
        assert_eq!(runtime.block_on(write.number("select count(*) from ledger")), ROWS);
    });
    part("down --volumes wants the name", || {
        lab.ctl(&["down", "--volumes", "--yes"]).exits(6);
        lab.ctl(&["down", "--volumes", "--confirm", "wrong"]).exits(6);
        lab.ctl(&["down", "--volumes", "--confirm", "pgcluster"]).ok();
        lab.ctl(&["down", "--volumes", "--confirm", "pgcluster"]).ok();
    });
}

/// From images to a cluster with rows.
fn set_up(lab: &Lab, runtime: &Runtime, shards: u32) {
    step("images", || {
        lab.ctl(&["image", "build"]).ok();
        lab.ctl(&["init", "--yes"]).ok();
        lab.ctl(&["image", "push"]).ok();
    });
    part("init again changes nothing", || drop(lab.ctl(&["init", "--check"]).ok()));
    part("image push again sends nothing", || {
        let again = lab.ctl(&["image", "push"]).ok();
        assert!(again.took < Duration::from_secs(10), "it took {:?}", again.took);
    });
    part("up, killed in three waves", || {
        for wave in ["etcd", "group leaders", "members and proxies"] {
            lab.kill_in_wave(&["up", "--yes"], wave);
        }
    });
    part("up completes what was killed; a second operator is refused", || complete_beside_another_operator(lab));
    if is_partial() {
        step("up", || lab.ctl(&["up", "--yes"]).ok());
    }
    part("up again has nothing to do", || {
        let plan = lab.json(&["plan", "--check"]);
        assert_eq!(plan["pending"], false, "{plan:#}");
        lab.ctl(&["up"]).ok();
    });

    step("rows through the VIP", || runtime.block_on(fill(&writer(lab), shards)));
    lab.is_set_up();
}

/// The application's way to the leader.
fn writer(lab: &Lab) -> Target {
    let password = lab.ctl(&["password", "app"]).ok().stdout.trim().to_owned();
    Target::new(lab.vip.clone(), 5432, password)
}

/// What only a cluster with shard groups has.
fn with_shards(lab: &Lab, runtime: &Runtime, write: &Target, shards: u32) {
    part("shards are where they are said to be", || shards::are_where_they_are_said_to_be(lab, runtime, write));
    part("shards move under load, the operator is killed", || shards::move_under_load(lab, runtime, write));
    part("one shard moves, is split, and isolated", || shards::one_by_one(lab, runtime, write));
    part("a table without a key moves only by a plain copy", || refused::a_table_without_a_key(lab, runtime, write));
    part("shards that cannot be isolated, split or moved stay", || refused::bad_input(lab, runtime, write));
    part("declared tables are spread under load", || tables::spread_under_load(lab, runtime, write));
    part("a shard group gets a third member, which leads, and goes", || member::third_of_a_shard_group(lab, runtime, write));
    part("shards move, a leader is killed", || moves::a_leader_is_killed(lab, runtime, write));
    if is_wanted("a group is added") {
        step("a group is added, filled and taken out, the operator is killed", || scale::out_and_in(lab, runtime, write));
        step("a group is taken out, a host is lost", || scale::in_without_a_host(lab, runtime, write));
    }
    part("a host that leads a shard group is drained and removed", || hosts::drain_and_remove(lab, runtime, write));
    part("a rebalance is stopped; the last group cannot be drained", || rebalance::is_stopped(lab, runtime, write));
    part("no shard moves while a group is down", || rebalance::waits_for_all_groups(lab, runtime, write));
    part("a move that breaks is told with the way out", || rebalance::breaks_and_is_mended(lab, runtime, write));
    part("a rebalance by size", || rebalance::by_size(lab));
    part("a reader of a shard group comes, serves reads, and goes", || read::of_a_shard_group(lab, write));
    part("a deadlock across shards is shown and ended", || traffic::deadlock(lab, runtime, write));
    part("a shard group's leader changes beside crossed transactions", || pause::crossed_transactions_end(lab, runtime, write));
    part("orphaned transactions are shown and recovered", || traffic::orphans(lab));
    part("no standby answers Citus' recovery", || metadata::no_standby_recovers(lab));
    part("no coordinator that thaws recovers", || metadata::no_thawed_coordinator_recovers(lab));
    part("outdated metadata is sent before a shard moves", || metadata::is_sent_before_a_move(lab));
    part("metadata that somebody changed is put right", || metadata::is_repaired(lab));
    part("a table with vectors", || vectors::a_table(lab, runtime, write));
    part("vector searches are measured", || vectors::a_measurement(lab, runtime, write, shards));
}

/// It is noticed, survived, and made up for.
fn lose_a_host(lab: &Lab, runtime: &Runtime, write: &Target, shards: u32) {
    let lost = step("loss of the host with coordinator leader and VIP", || lose_host(lab, runtime, write));
    step("status with a dead host", || {
        let status = lab.ctl(&["status"]).exits(5);
        note(format_args!("status took {:.1} s with {lost} dead", status.took.as_secs_f64()));
        assert!(status.stdout.contains(&lost), "{}", status.stdout);
    });
    step("the host comes back", || {
        lab.lab(&["start", &lost]).ok();
        becomes_healthy(lab);
        assert_eq!(runtime.block_on(write.number("select count(*) from ledger")), ROWS);
        lab.ctl(&["plan", "--check"]).ok();
    });
    if shards > 0 {
        step("a member of the host that came back takes over", || lead_from(lab, &lost));
    }
}

fn complete_beside_another_operator(lab: &Lab) {
    let mut first = lab.start_command(&["up", "--yes"]);
    // The lock is taken right before the first wave is told.
    first.until("its first wave", |line| line.starts_with('['));
    let second = lab.ctl(&["up", "--yes"]).exits(6);
    assert!(second.stderr.contains("is running `up`"), "{}", second.stderr);
    first.end().ok();
}

/// The watched table: distributed when there are shard groups, with rows in every one of them. The other one is for writers.
async fn fill(target: &Target, shards: u32) {
    target.batch("create table ledger (id bigint primary key, note text)").await;
    target.batch("create table written (id bigint primary key)").await;
    if shards > 0 {
        for table in ["ledger", "written"] {
            target.batch(&format!("select create_distributed_table('{table}', 'id')")).await;
        }
    }
    target.batch(&format!("insert into ledger select n, repeat('x', 50) from generate_series(1, {ROWS}) n")).await;
    assert_eq!(target.number("select count(*) from ledger").await, ROWS);
    if shards > 0 {
        let nodes =
            "select count(distinct nodename) from citus_shards where table_name = 'ledger'::regclass and shard_size > 0";
        assert!(target.number(nodes).await >= i64::from(shards), "every shard group holds rows");
    }
}

/// Queries on the read port by psql, with these options of PostgreSQL: it is reached itself there, and wants TLS.
fn psql(lab: &Lab, password: &str, options: &str, sql: &[&str]) -> String {
    let target = format!("host={} port=5433 user=app dbname=app connect_timeout=3 options='{options}'", lab.vip);
    let mut command = std::process::Command::new("psql");
    command.args([&target, "-XAt"]).args(sql.iter().flat_map(|sql| ["-c", sql])).env("PGPASSWORD", password);
    let run = finished(&command.output().expect("psql is installed"), Duration::ZERO);
    if run.status == 0 { run.stdout.trim().to_owned() } else { run.stderr }
}

fn healthy(lab: &Lab, shards: u32) {
    lab.ctl(&["health"]).ok();
    let table = lab.ctl(&["status"]).ok();
    let members: Vec<_> = groups(shards).into_iter().map(|args| members(&args)).collect();
    for member in members.iter().flatten() {
        assert!(table.stdout.contains(member), "{member} is missing:\n{}", table.stdout);
    }
    let json = lab.json(&["status"]);
    assert_eq!(json["schema_version"], 1);
    let mut times: Vec<_> = (0..5).map(|_| lab.ctl(&["status"]).ok().took).collect();
    times.sort();
    note(format_args!("status: median {:.2} s of 5", times[2].as_secs_f64()));
}

/// Waits until the cluster has recovered on its own.
fn becomes_healthy(lab: &Lab) {
    eventually("health", RECOVERY, || match lab.ctl(&["health"]) {
        run if run.status == 0 => Ok(()),
        run => Err(run.stdout),
    });
}

/// Arguments that name each group.
fn groups(shards: u32) -> Vec<Vec<String>> {
    let shard = |n: u32| vec!["--shard".to_owned(), n.to_string()];
    std::iter::once(vec!["--coordinator".to_owned()]).chain((1..=shards.min(1)).map(shard)).collect()
}

fn members(group: &[String]) -> Vec<String> {
    match group.get(1) {
        Some(shard) => (1..=2).map(|n| format!("worker-{shard}-{n}")).collect(),
        None => (1..=3).map(|n| format!("coordinator-{n}")).collect(),
    }
}

fn change_leader(lab: &Lab, verb: &str, group: &[String]) {
    let mut args = vec![verb];
    args.extend(group.iter().map(String::as_str));
    args.push("--yes");
    let report = lab.json(&args);
    assert_ne!(report["from"], report["to"], "{report:#}");
    let new = report["to"].as_str().unwrap_or_default();
    assert!(members(group).iter().any(|m| m == new), "{report:#}");
    note(format_args!("outage {} ms, {} -> {}", report["outage_ms"], report["from"], report["to"]));
    // pg_dist_node and the redundancy are part of health.
    becomes_healthy(lab);
}

/// Cuts the power of the host that carries both the VIP and the coordinators' leader while a client writes.
fn lose_host(lab: &Lab, runtime: &Runtime, target: &Target) -> String {
    let holder = bring_together(lab);
    let leader = leader_of(lab, "coordinator");
    let (written, count) = runtime.block_on(async {
        let writer = Writer::start(target.clone(), "written");
        tokio::time::sleep(Duration::from_secs(3)).await;
        lab.lab(&["kill", &holder]).ok();
        // Guards need about 8 s. The rest is for a machine that is busy.
        tokio::time::sleep(Duration::from_secs(30)).await;
        let written = writer.finish().await;
        let count = target.number("select count(*) from written").await;
        (written, count)
    });
    let present = runtime.block_on(async {
        let client = target.connect().await.expect("the VIP takes connections");
        let rows = client.query("select id from written", &[]).await.expect("readable");
        rows.iter().map(|row| row.get(0)).collect::<BTreeSet<i64>>()
    });
    let lost: Vec<_> = written.acknowledged.iter().filter(|id| !present.contains(id)).collect();
    note(format_args!(
        "outage {:.1} s as a writing client saw it; {} commits acknowledged, {} attempts failed, {count} rows present",
        written.outage.as_secs_f64(),
        written.acknowledged.len(),
        written.failed,
    ));
    assert!(lost.is_empty(), "acknowledged rows are lost: {lost:?}");
    assert!(written.outage < Duration::from_secs(40), "the client saw an outage of {:?}", written.outage);
    guard_revoked(lab, &leader);
    holder
}

/// Without guards it would have been Patroni's `ttl`, and all the same to whoever only looks at what is there afterwards.
fn guard_revoked(lab: &Lab, holder: &str) {
    let decided = format!("event=revoked reason=unrenewed group=0 holder={holder} ");
    let logs = (1..=3).map(|n| lab.ctl(&["logs", &format!("guard-{n}"), "--tail", "100"]));
    let lines: String = logs.map(|run| run.stdout).collect();
    assert!(lines.contains(&decided), "no guard tells of it: {lines}");
    assert!(lines.contains("event=woken group=0"), "no guard has begun Patroni's rounds early: {lines}");
}

/// A member whose host was lost has a new address: whoever knew the old one must find it before it can lead again.
fn lead_from(lab: &Lab, host: &str) {
    let back = |m: &&Value| m["host"] == host && m["role"] != "leader" && m["group"] != "coordinator";
    let rows = member_rows(lab);
    let row = rows.iter().find(back).expect("a standby of a shard group");
    let (member, group) = (row["member"].as_str().expect("a name"), row["group"].as_str().expect("a group"));
    let shard = group.trim_start_matches("shard-");
    lab.ctl(&["switchover", "--shard", shard, "--to", member, "--yes"]).ok();
    assert_eq!(leader_of(lab, group), member);
}

fn vip_holder(lab: &Lab) -> String {
    vip_at(lab).expect("one proxy host holds the VIP")
}

fn vip_at(lab: &Lab) -> Option<String> {
    let run = lab.ctl(&["--format", "json", "status"]);
    let status: Value = serde_json::from_str(&run.stdout).ok()?;
    let holder = status["proxies"].as_array()?.iter().find(|p| p["holds_vip"] == Value::Bool(true))?;
    Some(holder["host"].as_str()?.to_owned())
}

/// Sees to it that one host has both the VIP and the coordinators' leader. Only the synchronous standby can take over, wherever it
/// is; the VIP can be sent away from its holder.
fn bring_together(lab: &Lab) -> String {
    for _ in 0..6 {
        let (holder, leader) = (vip_holder(lab), leader_of(lab, "coordinator"));
        let rows = member_rows(lab);
        let row = rows.iter().find(|m| m["member"] == leader.as_str()).expect("the leader is a member");
        let host = row["host"].as_str().expect("a name").to_owned();
        if host == holder {
            return holder;
        }
        // The lab's proxies are on its first two hosts, as is said in their names.
        if ["host1", "host2"].contains(&host.as_str()) {
            let keepalived = holder.replace("host", "keepalived-");
            let before = started_at(lab, &keepalived);
            assert!(before.is_some(), "{keepalived} is running");
            lab.ctl(&["exec", &keepalived, "--", "sh", "-c", "kill -TERM 1"]);
            eventually("the VIP on the leader's host", RECOVERY, || match vip_at(lab) {
                Some(holder) if holder == host => Ok(()),
                holder => Err(format!("{holder:?}")),
            });
            // Swarm may take a moment to see that it has ended: until then nothing looks amiss.
            eventually("a new keepalived", RECOVERY, || match started_at(lab, &keepalived) {
                Some(now) if Some(&now) != before.as_ref() => Ok(()),
                now => Err(format!("started at {now:?}, before at {before:?}")),
            });
        } else {
            lab.ctl(&["switchover", "--coordinator", "--yes"]).ok();
        }
        becomes_healthy(lab);
    }
    panic!("VIP and leader do not come together");
}

/// When the first process of a service's container was started, in the kernel's ticks; none while no container runs.
fn started_at(lab: &Lab, service: &str) -> Option<String> {
    let run = lab.ctl(&["exec", service, "--", "cut", "-d", " ", "-f", "22", "/proc/1/stat"]);
    (run.status == 0).then(|| run.stdout.trim().to_owned())
}

fn leader_of(lab: &Lab, group: &str) -> String {
    let leads = |m: &Value| m["group"] == group && m["role"] == "leader";
    member_rows(lab).into_iter().find(leads).expect("a leader")["member"].as_str().expect("a name").to_owned()
}

fn member_rows(lab: &Lab) -> Vec<Value> {
    lab.json(&["status"])["members"].as_array().cloned().expect("status lists members")
}

/// No password in any service definition, container definition, log or rendered file.
fn no_password_leaks(lab: &Lab, password: &str) {
    let rendered = lab.path("rendered");
    lab.ctl(&["render", "-o", &rendered.display().to_string()]).ok();
    let mut texts = vec![("status", lab.ctl(&["status", "--format", "json", "-vv"]).stdout)];
    for member in ["coordinator-1", "coordinator-2", "haproxy-1", "pgbouncer-1", "etcd-1"] {
        texts.push((member, lab.ctl(&["logs", member]).stdout));
        texts.push((
            member,
            lab.ctl(&["exec", member, "--", "sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n'"])
                .stdout,
        ));
    }
    for (place, text) in texts {
        assert!(!text.contains(password), "the password shows in {place}");
    }
    let found = std::process::Command::new("grep").args(["-rl", password]).arg(&rendered).output().expect("grep runs");
    assert!(found.stdout.is_empty(), "the password is in {}", String::from_utf8_lossy(&found.stdout));
}

/// `max_connections` takes effect by a restart alone: standbys first, then the leader after a switchover. Clients are held back
/// meanwhile, and not turned away.
fn change_a_setting(lab: &Lab, runtime: &Runtime, target: &Target, shards: u32) {
    let path = lab.path("topology.toml");
    let text = std::fs::read_to_string(&path).expect("readable");
    assert!(!text.contains("max_connections"));
    std::fs::write(&path, format!("{text}\n[postgres.parameters]\nmax_connections = 333\n")).expect("writable");
    let pending = lab.ctl(&["plan", "--check"]).exits(5);
    assert!(pending.stdout.contains("max_connections"), "{}", pending.stdout);
    runtime.block_on(target.batch("create table rolled (id bigint primary key)"));
    if shards > 0 {
        runtime.block_on(target.batch("select create_distributed_table('rolled', 'id')"));
    }
    let writer = runtime.block_on(async { Writer::start(target.patient(), "rolled") });
    let takes_effect = |wanted: i64| {
        // A member may say only after `up` has ended that it waits for a restart; `plan` knows then, and `up` goes on.
        eventually("the setting is in effect", RECOVERY, || {
            lab.ctl(&["up", "--yes"]).ok();
            let seen = runtime.block_on(target.number("select current_setting('max_connections')::bigint"));
            if seen == wanted { Ok(()) } else { Err(format!("max_connections is {seen}")) }
        });
    };
    takes_effect(333);
    // Leaders are restarted where they are when it becomes smaller.
    std::fs::write(&path, format!("{text}\n[postgres.parameters]\nmax_connections = 303\n")).expect("writable");
    takes_effect(303);
    let written = runtime.block_on(writer.finish());
    note(format_args!("{written}"));
    assert_eq!(written.failed, 0, "writes were turned away");
    lab.ctl(&["plan", "--check"]).ok();
}
