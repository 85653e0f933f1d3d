//! Rebalances that are stopped, refused, or asked for in another way than usual.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::runtime::Runtime;

use super::client::Target;
use super::harness::{Lab, eventually, note};
use super::traffic::sql;
use super::{RECOVERY, ROWS, becomes_healthy, leader_of};

/// Citus' own.
const STRATEGIES: &str = "by_disk_size,by_shard_count";

/// Two of three groups are to have no shards. The job is stopped on its way, and what it has left is carried away by another one; meanwhile
/// the third group, which is the last, cannot be drained. Leaves it all shards.
pub fn is_stopped(lab: &Lab, runtime: &Runtime, target: &Target) {
    lab.ctl(&["shards", "drain", "--shard", "3", "--parallel", "4", "--yes"]).ok();
    lab.ctl(&["shards", "drain", "--shard", "2", "--detach", "--yes"]).ok();
    lab.ctl(&["shards", "cancel", "--yes"]).ok();
    let stopped = lab.ctl(&["shards", "status"]).exits(7);
    assert!(stopped.stdout.contains("is cancelled"), "it is when the command says so: {}", stopped.stdout);
    lab.ctl(&["shards", "cancel", "--yes"]).exits(6);

    let (before, jobs) = (spread(lab), jobs(runtime, target));
    note(format_args!("stopped with {before:?}"));
    assert!(before["shard-2"].0 > 0, "it was stopped before its end: {before:?}");
    let refused = lab.ctl(&["shards", "drain", "--shard", "1", "--yes"]).exits(6);
    assert!(refused.stderr.contains("no other shard group could take the shards of shard-1"), "{}", refused.stderr);
    let shard = "select min(shardid) from pg_dist_shard join pg_dist_placement using (shardid) where groupid = 1 \
                 and logicalrelid = 'ledger'::regclass";
    let shard = runtime.block_on(target.number(shard)).to_string();
    let refused = lab.ctl(&["shards", "move", &shard, "--to", "3", "--yes"]).exits(6);
    assert!(refused.stderr.contains("shards drain --shard 3 --undo"), "{}", refused.stderr);
    assert_eq!((spread(lab), self::jobs(runtime, target)), (before, jobs), "what is refused changes nothing");

    lab.ctl(&["shards", "rebalance", "--drain-only", "--parallel", "4", "--yes"]).ok();
    let emptied = spread(lab);
    assert_eq!((emptied["shard-2"], emptied["shard-3"]), ((0, false), (0, false)), "{emptied:?}");
    for shard in ["2", "3"] {
        lab.ctl(&["shards", "drain", "--shard", shard, "--undo", "--yes"]).ok();
    }
    let uneven = lab.json(&["shards", "list", "--top", "3"]);
    assert_eq!(uneven["largest"].as_array().map(Vec::len), Some(3), "{uneven:#}");
    for by in ["imbalance_bytes_percent", "imbalance_shards_percent"] {
        assert!(uneven[by].as_f64() > Some(0.0), "{by}: {uneven:#}");
    }
    assert_eq!(runtime.block_on(target.number("select count(*) from ledger")), ROWS);
}

/// A group that was to get shards has lost PostgreSQL on both members: what cannot end well is not begun.
pub fn waits_for_all_groups(lab: &Lab, runtime: &Runtime, target: &Target) {
    // Who runs this alone has no group without shards.
    lab.ctl(&["shards", "drain", "--shard", "2", "--parallel", "4", "--yes"]).ok();
    lab.ctl(&["shards", "drain", "--shard", "2", "--undo", "--yes"]).ok();
    let (before, jobs) = (spread(lab), jobs(runtime, target));
    let leader = leader_of(lab, "shard-2");
    // Patroni would start it again at once.
    lab.ctl(&["exec", &leader, "--", "patronictl", "pause", "--group", "2", "--wait"]).ok();
    for member in ["worker-2-1", "worker-2-2"] {
        lab.ctl(&["exec", member, "--", "pkill", "-KILL", "-x", "postgres"]).ok();
    }
    let refused = lab.ctl(&["shards", "rebalance", "--strategy", "by_shard_count", "--detach", "--yes"]);
    lab.ctl(&["exec", &leader, "--", "patronictl", "resume", "--group", "2", "--wait"]).ok();
    let refused = refused.exits(6);
    assert!(refused.stderr.contains("shard-2 does not answer"), "{}", refused.stderr);
    note(format_args!("refused after {:.1} s: {}", refused.took.as_secs_f64(), refused.stderr.trim()));
    becomes_healthy(lab);
    assert_eq!((spread(lab), self::jobs(runtime, target)), (before, jobs), "what is refused changes nothing");
}

/// A table loses its primary key after the job was started: its move breaks, is told with the way out while Citus tries again, and
/// succeeds once somebody has gone that way. Leaves the first group without shards.
pub fn breaks_and_is_mended(lab: &Lab, runtime: &Runtime, target: &Target) {
    const WAY_OUT: &str = "give the table a primary key";
    runtime.block_on(async {
        target.batch("create table brittle (id bigint primary key)").await;
        let apart = "colocate_with => 'none', shard_count => 6";
        target.batch(&format!("select create_distributed_table('brittle', 'id', {apart})")).await;
        target.batch("insert into brittle select generate_series(1, 600)").await;
    });
    lab.ctl(&["shards", "drain", "--shard", "1", "--parallel", "4", "--detach", "--yes"]).ok();
    // Citus begins within `citus.background_task_queue_interval`, 5 s.
    runtime.block_on(target.batch("alter table brittle drop constraint brittle_pkey"));
    eventually("the broken move is told", RECOVERY, || {
        let status = lab.ctl(&["--format", "json", "shards", "status"]).stdout;
        let job = &serde_json::from_str::<Value>(&status).map_err(|error| error.to_string())?["job"];
        let has = |key: &str, words: &str| {
            job[key].as_array().into_iter().flatten().filter_map(Value::as_str).any(|text| text.contains(words))
        };
        let told = has("errors", "of brittle: ") && has("errors", "REPLICA IDENTITY") && has("hints", WAY_OUT);
        if told { Ok(()) } else { Err(status) }
    });
    let told = lab.ctl(&["shards", "status"]).stdout;
    assert!(told.contains("REPLICA IDENTITY") && told.contains(WAY_OUT), "{told}");
    runtime.block_on(target.batch("alter table brittle add primary key (id)"));
    lab.ctl(&["shards", "status", "--follow"]).ok();
    assert_eq!(spread(lab)["shard-1"], (0, false), "all are moved");
    assert_eq!(runtime.block_on(target.number("select count(*) from brittle")), 600);
    runtime.block_on(target.batch("drop table brittle"));
    lab.ctl(&["shards", "drain", "--shard", "1", "--undo", "--yes"]).ok();
}

/// The threshold goes to Citus in a strategy of its own, which is gone afterwards.
pub fn by_size(lab: &Lab) {
    let by_size = ["shards", "rebalance", "--strategy", "by_disk_size", "--threshold", "0.05"];
    lab.ctl(&[&by_size[..], &["--parallel", "4", "--yes"]].concat()).ok();
    let even = spread(lab);
    assert!(even.values().all(|(shards, takes)| *shards > 0 && *takes), "{even:?}");
    let again = lab.json(&[&by_size[..], &["--plan"]].concat());
    assert_eq!(again["moves"].as_array().map(Vec::len), Some(0), "{again:#}");
    let strategies = sql(lab, &["--"], "select string_agg(name, ',' order by name) from pg_dist_rebalance_strategy");
    assert_eq!(strategies, STRATEGIES);
    becomes_healthy(lab);
}

/// Each shard group with its shards, and whether it takes more.
pub fn spread(lab: &Lab) -> BTreeMap<String, (u64, bool)> {
    let list = lab.json(&["shards", "list"]);
    let row = |node: &Value| {
        let group = node["group"].as_str().expect("a group").to_owned();
        (group, (node["shards"].as_u64().expect("a number"), node["takes_shards"].as_bool().expect("yes or no")))
    };
    list["nodes"].as_array().expect("nodes").iter().map(row).collect()
}

fn jobs(runtime: &Runtime, target: &Target) -> i64 {
    runtime.block_on(target.number("select count(*) from pg_dist_background_job"))
}
