//! Where the rows are, and moving them while clients write.

use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Runtime;

use super::client::{Target, Writer};
use super::harness::{Lab, eventually, finished, note};
use super::{RECOVERY, ROWS, SHARDS};

/// Shards of the table that is watched, by group.
const OF_LEDGER: &str = "select count(*) from pg_dist_shard s join pg_dist_placement p using (shardid)
    where s.logicalrelid = 'ledger'::regclass and p.groupid = ";

/// What `list` and `where` say is what the nodes hold.
pub fn are_where_they_are_said_to_be(lab: &Lab, runtime: &Runtime, target: &Target) {
    let list = lab.json(&["shards", "list"]);
    let nodes = list["nodes"].as_array().expect("nodes");
    assert_eq!(nodes.len() as u32, SHARDS, "{list:#}");
    for node in nodes {
        let group = number_of(&node["group"]);
        let both = format!("select count(*) from pg_dist_placement where groupid = {group}");
        assert_eq!(node["shards"].as_i64(), Some(runtime.block_on(target.number(&both))), "{node:#}");
        assert!(node["bytes"].as_u64() > Some(0), "{node:#}");
    }
    each_view(lab, runtime, target);
    for id in ["1", "4711", "10000"] {
        let found = lab.json(&["shards", "where", "ledger", id]);
        assert_eq!(rows_of(lab, &found, &format!("id = {id}")), "1", "{found:#}");
    }
    // `character` alone is `character(1)`: by its first letter each of these would be looked for in another shard. And a name with
    // a capital has quotes.
    const CODED: &str = "\"Coded\"";
    runtime.block_on(target.batch(&format!("create table {CODED} (code char(8) primary key)")));
    runtime.block_on(target.batch(&format!("select create_distributed_table('{CODED}', 'code')")));
    runtime.block_on(target.batch(&format!("insert into {CODED} values ('alpha'), ('beta'), ('gamma')")));
    for code in ["alpha", "beta", "gamma"] {
        let found = lab.json(&["shards", "where", CODED, code]);
        assert_eq!(rows_of(lab, &found, &format!("code = '{code}'")), "1", "{found:#}");
    }
    runtime.block_on(target.batch(&format!("drop table {CODED}")));
    let elsewhere = lab.ctl(&["shards", "where", "ledger", "word"]).exits(2);
    assert!(elsewhere.stderr.contains("\"word\" is no value of ledger.id, whose type is bigint"), "{}", elsewhere.stderr);
    let with_schema = lab.json(&["shards", "where", "public.ledger", "4711"]);
    assert_eq!(with_schema, lab.json(&["shards", "where", "ledger", "4711"]), "{with_schema:#}");
    for nothing in ["nowhere", "nowhere.ledger", "elsewhere.public.ledger", "no table"] {
        let unknown = lab.ctl(&["shards", "where", nothing, "1"]).exits(2);
        assert!(unknown.stderr.contains("Citus knows ledger, written"), "{nothing}: {}", unknown.stderr);
    }
}

/// Tables and those that lie together, against what Citus says of them; each has a table of its own to be read.
fn each_view(lab: &Lab, runtime: &Runtime, target: &Target) {
    // It counts exactly where there are so few.
    runtime.block_on(target.batch("analyze ledger"));
    let number = |sql: &str| Some(runtime.block_on(target.number(sql)));
    let list = lab.json(&["shards", "list"]);
    let row = |view: &str, is: &dyn Fn(&Value) -> bool| -> Value {
        let rows = list[view].as_array().expect("rows");
        rows.iter().find(|row| is(row)).unwrap_or_else(|| panic!("{view} lacks a row: {list:#}")).clone()
    };
    let ledger = row("tables", &|row| row["table"] == "ledger");
    let of_ledger = "from pg_dist_shard where logicalrelid = 'ledger'::regclass";
    assert_eq!(ledger["shards"].as_i64(), number(&format!("select count(*) {of_ledger}")), "{ledger:#}");
    assert_eq!(
        (&ledger["kind"], &ledger["column"], ledger["rows_estimate"].as_i64()),
        (&"distributed".into(), &"id".into(), Some(ROWS))
    );
    // Citus names a placement once for each member of its group.
    let size = "select sum(shard_size)::bigint from citus_shards join pg_dist_node using (nodename, nodeport)
        where table_name = 'ledger'::regclass and noderole = 'primary'";
    assert_eq!(ledger["bytes"].as_i64(), number(size), "{ledger:#}");
    let together = row("colocations", &|row| row["colocation"] == ledger["colocation"]);
    for table in ["ledger", "written"] {
        assert!(together["tables"].as_array().is_some_and(|tables| tables.contains(&table.into())), "{together:#}");
    }
    assert_eq!(together["groups"].as_array().map(Vec::len), Some(SHARDS as usize), "{together:#}");
    for (by, first, named) in
        [("node", "GROUP", "shard-3"), ("table", "TABLE", "written"), ("colocation", "COLOCATION", "ledger, written")]
    {
        let shown = lab.ctl(&["shards", "list", "--by", by]).ok().stdout;
        assert!(shown.starts_with(first) && shown.contains(named), "{shown}");
    }
}

/// How many such rows the shard has that `where` found, as psql on its node sees it.
fn rows_of(lab: &Lab, found: &Value, such: &str) -> String {
    let leader = found["places"][0]["leader"].as_str().expect("a leader");
    let count = format!("select count(*) from {} where {such}", found["relation"].as_str().expect("a relation"));
    lab.ctl(&["psql", "--member", leader, "--", "-XAt", "--dbname", "app", "-c", &count]).ok().stdout.trim().to_owned()
}

/// A group is emptied while a client writes; the operator is killed half way, and the moves go on. Then it is filled again.
pub fn move_under_load(lab: &Lab, runtime: &Runtime, target: &Target) {
    lab.ctl(&["shards", "cancel", "--yes"]).exits(6);
    lab.ctl(&["shards", "drain", "--shard", "9", "--yes"]).exits(2);
    lab.ctl(&["shards", "drain", "--host", "nowhere", "--yes"]).exits(2);
    let plan = lab.json(&["shards", "drain", "--shard", "3", "--plan"]);
    assert!(plan["moves"].as_array().is_some_and(|moves| !moves.is_empty()), "{plan:#}");
    assert_eq!(takes_shards(lab, 3), Some(true), "a plan changes nothing");

    runtime
        .block_on(target.batch("create table moved (id bigint primary key); select create_distributed_table('moved', 'id')"));
    let writer = runtime.block_on(async { Writer::start(target.clone(), "moved") });
    kill_while_it_drains(lab);
    lab.ctl(&["shards", "status", "--follow"]).ok();
    let job = &lab.json(&["shards", "status"])["job"];
    let some = |key: &str| job[key].as_u64().is_some_and(|number| number > 0);
    assert!(some("moved_bytes") && some("elapsed_ms") && job["waiting_bytes"] == 0, "{job:#}");
    assert_eq!(runtime.block_on(target.number(&format!("{OF_LEDGER} 3"))), 0);
    assert_eq!(takes_shards(lab, 3), Some(false));

    lab.ctl(&["shards", "drain", "--shard", "3", "--undo", "--yes"]).ok();
    let refused = lab.ctl(&["shards", "rebalance", "--parallel", "9", "--plan"]).exits(6);
    assert!(refused.stderr.contains("citus.max_background_task_executors_per_node"), "{}", refused.stderr);
    let unknown = lab.ctl(&["shards", "rebalance", "--strategy", "nope", "--plan"]).exits(2);
    assert!(unknown.stderr.contains("Citus knows by_disk_size, by_shard_count"), "{}", unknown.stderr);
    let narrow = lab.ctl(&["shards", "rebalance", "--threshold", "0.001", "--plan"]).exits(2);
    assert!(narrow.stderr.contains("0.01 is the least"), "{}", narrow.stderr);
    two_at_once(lab, runtime, target);
    let again = lab.json(&["shards", "rebalance", "--strategy", "by_shard_count", "--plan"]);
    assert_eq!(again["moves"].as_array().map(Vec::len), Some(0), "{again:#}");
    assert!(runtime.block_on(target.number(&format!("{OF_LEDGER} 3"))) >= 10);
    let written = runtime.block_on(writer.finish());
    note(format_args!("the longest a write waited while shards moved: {} ms", written.outage.as_millis()));
    assert_eq!(written.failed, 0, "a write failed");
    assert_eq!(runtime.block_on(target.number("select count(*) from moved")), written.acknowledged.len() as i64);
    assert_eq!(runtime.block_on(target.number("select count(*) from ledger")), ROWS);
    runtime.block_on(target.batch("drop table moved"));
}

/// One shard alone: to another group and back, split, and a value with a shard of its own.
pub fn one_by_one(lab: &Lab, runtime: &Runtime, target: &Target) {
    let found = lab.json(&["shards", "where", "ledger", "4711"]);
    let (shard, home) = (found["shard"].to_string(), number_of(&found["places"][0]["group"]));
    let away = home % i64::from(SHARDS) + 1;
    lab.ctl(&["shards", "move", &shard, "--to", &away.to_string(), "--yes"]).ok();
    let moved = lab.json(&["shards", "where", "ledger", "4711"]);
    assert_eq!(number_of(&moved["places"][0]["group"]), away, "{moved:#}");
    lab.ctl(&["shards", "split", &shard, "--into", "2", "--yes"]).ok();
    assert_eq!(
        runtime.block_on(target.number("select count(*) from pg_dist_shard where logicalrelid = 'ledger'::regclass")),
        33
    );
    isolated_by_pieces(lab);
    let alone = lab.json(&["shards", "where", "ledger", "4711"]);
    assert_eq!(rows_of(lab, &alone, "true"), "1", "{alone:#}");
    assert_eq!(runtime.block_on(target.number("select count(*) from ledger")), ROWS);
    lab.ctl(&["shards", "move", "1", "--to", "1", "--yes"]).exits(2);
    lab.ctl(&["health"]).ok();
}

/// The operator is killed on the way: what was not finished is taken back, and the same command begins again. Once it is done, there is
/// nothing to do.
fn isolated_by_pieces(lab: &Lab) {
    let isolate = ["shards", "isolate", "public.ledger", "4711", "--yes"];
    lab.kill_at(&isolate, "its work", |line| line.starts_with("isolating "), Duration::from_millis(300));
    eventually("the same command goes on", RECOVERY, || match lab.ctl(&isolate) {
        run if run.status == 0 => Ok(()),
        run => Err(run.stderr),
    });
    let again = lab.ctl(&isolate).ok();
    assert!(again.stderr.contains("for itself already"), "{}", again.stderr);
}

/// A rebalance with two moves at once has two at once, and never more.
fn two_at_once(lab: &Lab, runtime: &Runtime, target: &Target) {
    let args = ["shards", "rebalance", "--strategy", "by_shard_count", "--parallel", "2", "--yes"];
    let mut rebalance = lab.command(&args).spawn().expect("the binary starts");
    let mut most = 0;
    while rebalance.try_wait().expect("it is ours").is_none() {
        let running = "select count(*) from pg_dist_background_task where status = 'running'";
        most = most.max(runtime.block_on(target.number(running)));
        std::thread::sleep(Duration::from_millis(100));
    }
    let run = finished(&rebalance.wait_with_output().expect("it ended"), Duration::ZERO).ok();
    assert_eq!(most, 2, "moves at once\n{}", run.stderr);
    assert!(run.stderr.contains(" moved, ") && run.stderr.contains("B/s"), "bytes and a rate of moves\n{}", run.stderr);
}

/// Starts draining the third group, and kills the operator as soon as the first move is told.
fn kill_while_it_drains(lab: &Lab) {
    let begins = |line: &str| line.trim_start().starts_with("0 of ");
    lab.kill_at(&["shards", "drain", "--shard", "3", "--yes"], "a move", begins, Duration::ZERO);
}

fn takes_shards(lab: &Lab, group: i64) -> Option<bool> {
    let list = lab.json(&["shards", "list"]);
    let nodes = list["nodes"].as_array().expect("nodes");
    nodes.iter().find(|node| number_of(&node["group"]) == group).and_then(|node| node["takes_shards"].as_bool())
}

/// `shard-3` -> 3.
fn number_of(group: &Value) -> i64 {
    let name = group.as_str().expect("a group");
    name.trim_start_matches("shard-").parse().unwrap_or_else(|_| panic!("{name} is no shard group"))
}
