//! Shards that move while something breaks: nothing is lost, the same command goes on, and nothing of a broken move stays behind.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::client::{Target, Writer, Written};
use super::harness::{Lab, Run, Running, eventually, note};
use super::traffic::sql;
use super::{RECOVERY, ROWS, becomes_healthy, leader_of, member_rows};

/// Citus' daemon removes what a move leaves every 15 s (`citus.defer_shard_delete_interval`), and on a node that was lost when it is back.
const CLEAN: Duration = Duration::from_secs(60);
/// The exit code of a Rust program that panicked.
const PANICKED: i32 = 101;
/// Enough for one of its 32 shards to be copied for a while.
const HEAVY: &str = "insert into hurt select -n, repeat('x', 500) from generate_series(1, 200000) n";

/// The third group is emptied while a client writes, and PostgreSQL is killed on the leader of the group that takes the shard which moves
/// at that moment.
pub fn a_leader_is_killed(lab: &Lab, runtime: &Runtime, target: &Target) {
    let writer = start(runtime, target);
    let drain = ["shards", "drain", "--shard", "3", "--yes"];
    let (moving, told) = begin(lab, &drain, " -> shard-");
    let (_, taker) = told.split_once(" -> ").expect("was waited for");
    let taker = taker.split(':').next().expect("there is a first part").to_owned();
    let led = leadership(lab, &taker);
    let leader = &led.0;
    lab.ctl(&["exec", leader, "--", "pkill", "-KILL", "-x", "postgres"]);
    note(format_args!("killed PostgreSQL on {leader}, when it was told: {}", told.trim()));
    let run = moving.end();
    note(format_args!("the drain took {:.1} s and ended with {}", run.took.as_secs_f64(), run.status));
    goes_on(lab, &drain, &run);

    let list = lab.json(&["shards", "list"]);
    let emptied = list["nodes"].as_array().and_then(|nodes| nodes.iter().find(|n| n["group"] == "shard-3")).expect("shard-3");
    assert_eq!((&emptied["shards"], &emptied["takes_shards"]), (&0.into(), &false.into()), "{list:#}");
    whole(lab, runtime, target, writer);
    let leads = leadership(lab, &taker);
    assert_ne!(leads, led, "the kill was noticed");
    note(format_args!("{taker} was led by {led:?}, and is by {leads:?}"));
    lab.ctl(&["shards", "drain", "--shard", "3", "--undo", "--yes"]).ok();
    lab.ctl(&["shards", "rebalance", "--strategy", "by_shard_count", "--parallel", "4", "--yes"]).ok();
    runtime.block_on(target.batch("drop table hurt"));
}

/// The fourth group is taken out, and the host of its leader loses its power while its shards move.
pub fn a_host_is_lost(lab: &Lab, runtime: &Runtime, target: &Target) {
    let writer = start(runtime, target);
    let scale = ["scale", "in", "--shard", "4", "--yes"];
    let (moving, _) = begin(lab, &scale, " -> shard-");
    let leader = leader_of(lab, "shard-4");
    let rows = member_rows(lab);
    let host = rows.iter().find(|m| m["member"] == leader.as_str()).and_then(|m| m["host"].as_str()).expect("a host");
    lab.lab(&["kill", host]).ok();
    let run = moving.end();
    note(format_args!("without {host} scale in took {:.1} s and ended with {}", run.took.as_secs_f64(), run.status));
    assert_ne!(run.status, 0, "what is on a host that is off cannot have been removed:\n{}", run.stdout);
    assert!(run.stderr.contains(host) && run.stderr.contains("run the same command again"), "{}", run.stderr);
    let refused = lab.ctl(&scale).exits(4);
    assert!(refused.stderr.contains(host), "{}", refused.stderr);

    lab.lab(&["start", host]).ok();
    let started = Instant::now();
    eventually("the same command goes on", RECOVERY, || match lab.ctl(&scale) {
        run if run.status == 0 => Ok(()),
        run => Err(run.stdout + &run.stderr),
    });
    note(format_args!("with {host} again it was done after {:.1} s", started.elapsed().as_secs_f64()));
    assert_eq!(sql(lab, &["--"], "select count(*) from pg_dist_node where groupid = 4"), "0");
    whole(lab, runtime, target, writer);
    runtime.block_on(target.batch("drop table hurt"));
}

/// Who leads a group, and on which timeline: after a failover at least one of them is another.
fn leadership(lab: &Lab, group: &str) -> (String, Option<u64>) {
    let rows = member_rows(lab);
    let row = rows.iter().find(|row| row["group"] == group && row["role"] == "leader").expect("a leader");
    (row["member"].as_str().expect("a name").to_owned(), row["timeline"].as_u64())
}

fn start(runtime: &Runtime, target: &Target) -> Writer {
    runtime.block_on(async {
        target.batch("create table hurt (id bigint primary key, note text)").await;
        target.batch("select create_distributed_table('hurt', 'id')").await;
        target.batch(HEAVY).await;
        Writer::start(target.clone(), "hurt")
    })
}

/// Starts a command, and listens until it tells of this; the line.
fn begin(lab: &Lab, args: &[&str], of: &str) -> (Running, String) {
    let mut running = lab.start_command(args);
    // The plan has such a line for each step, which does not say what is done.
    let line = running.until(of, |line| line.contains(of) && line.contains(" moves; "));
    (running, line)
}

/// A run that did not succeed has said why, and the same command ends what it began.
fn goes_on(lab: &Lab, args: &[&str], run: &Run) {
    if run.status == 0 {
        return;
    }
    let said = format!("{}{}", run.stdout, run.stderr);
    assert_ne!(run.status, PANICKED, "{said}");
    assert!(said.contains("error") || said.contains("ERROR"), "{said}");
    eventually("the same command goes on", RECOVERY, || match lab.ctl(args) {
        run if run.status == 0 => Ok(()),
        run => Err(run.stdout + &run.stderr),
    });
}

/// Every row that was acknowledged is there once, and nothing is left of moves that broke.
fn whole(lab: &Lab, runtime: &Runtime, target: &Target, writer: Writer) {
    let Written { acknowledged, outage, failed } = runtime.block_on(writer.finish());
    note(format_args!("{} writes, {failed} failed, outage {:.1} s", acknowledged.len(), outage.as_secs_f64()));
    let all: Vec<String> = acknowledged.iter().map(i64::to_string).collect();
    let lost =
        format!("select count(*) from unnest(array[{}]::bigint[]) id where id not in (select id from hurt)", all.join(","));
    let lost = runtime.block_on(target.number(&lost));
    assert_eq!(lost, 0, "acknowledged rows are lost");
    assert_eq!(runtime.block_on(target.number("select count(*) from hurt where id < 0")), 200_000);
    assert_eq!(runtime.block_on(target.number("select count(*) from ledger")), ROWS);
    becomes_healthy(lab);
    eventually("nothing is left of a move", CLEAN, || match left(lab) {
        left if left.is_empty() => Ok(()),
        left => Err(left.join("\n")),
    });
}

/// What moves have left behind, on every member: what Citus still has to remove, its replication, and tables without a placement.
fn left(lab: &Lab) -> Vec<String> {
    let replication = "select 'slot ' || slot_name from pg_replication_slots where slot_name ~ '^citus_shard_' \
        union all select 'publication ' || pubname from pg_publication where pubname ~ '^citus_shard_' \
        union all select 'subscription ' || subname from pg_subscription where subname ~ '^citus_shard_'";
    let tables = "set citus.override_table_visibility to off; select 'table ' || c.relname from pg_class c \
        where c.relkind = 'r' and c.relname ~ '^(hurt|ledger|written)_\\d+$' and not exists ( \
        select from pg_dist_placement p where c.relname like '%\\_' || p.shardid and p.groupid = (select groupid from pg_dist_local_group))";
    let mut found = Vec::new();
    for row in member_rows(lab) {
        let member = row["member"].as_str().expect("a name");
        for statement in [replication, tables] {
            let said = sql(lab, &["--member", member, "--"], statement);
            found.extend(said.lines().map(|line| format!("{member}: {line}")));
        }
    }
    let records = sql(lab, &["--"], "select object_name from pg_dist_cleanup");
    found.extend(records.lines().map(|line| format!("to be removed: {line}")));
    found
}
