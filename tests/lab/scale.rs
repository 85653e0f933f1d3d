//! One shard group more, and less again, while a client writes.

use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Runtime;

use super::client::{Target, Writer, detail};
use super::harness::{Lab, Run, note};
use super::{ROWS, SHARDS, moves};

/// A fourth group is added and filled, and taken out again; the operator is killed in the middle of the drain and in every step.
pub fn out_and_in(lab: &Lab, runtime: &Runtime, target: &Target) {
    let path = lab.path("topology.toml");
    let text = || std::fs::read_to_string(&path).expect("readable");
    let before = text();
    wrong(lab);
    assert_eq!(text(), before, "what is refused changes nothing");

    runtime
        .block_on(target.batch("create table scaled (id bigint primary key); select create_distributed_table('scaled', 'id')"));
    runtime
        .block_on(target.batch("create table everywhere (id bigint primary key); select create_reference_table('everywhere')"));
    runtime.block_on(target.batch("insert into everywhere select generate_series(1, 10)"));
    let writer = runtime.block_on(async { Writer::start(target.clone(), "scaled") });
    let added = lab.json(&["scale", "add-shard", "--rebalance", "--parallel", "4", "--yes"]);
    assert_eq!((&added["group"], &added["rebalance"]["state"]), (&"shard-4".into(), &"finished".into()), "{added:#}");
    assert!(text().contains(&format!("count = {}", SHARDS + 1)), "{}", text());
    assert!(shards_of(lab, "shard-4") > Some(0));
    lab.ctl(&["plan", "--check"]).ok();

    let scale_in = ["scale", "in", "--shard", "4", "--yes"];
    lab.kill_at(&scale_in, "a move", |line| line.trim_start().starts_with("0 of "), Duration::ZERO);
    let mut half_way = false;
    let last = lab.kill_in_every_step(&scale_in, |step| {
        if step.starts_with("stop and remove") {
            half_way = true;
            assert_eq!(text(), before, "the file is written before anything is destroyed, and is what it was");
            let refused = lab.ctl(&["plan"]);
            assert!(refused.status == 0 || refused.stderr.contains("scale in --shard 4"), "{}", refused.stderr);
            // What the group no longer takes part in goes on: definitions, and reference tables.
            runtime.block_on(target.batch("insert into everywhere values (11)"));
            runtime.block_on(target.batch("alter table everywhere add column note text"));
        }
    });
    assert!(half_way && (last.status == 0 || last.stderr.contains("there is no shard-4")), "{}", last.stderr);
    lab.ctl(&["up", "--yes"]).ok();

    let written = runtime.block_on(writer.finish());
    note(format_args!("the longest a write waited: {} ms", written.outage.as_millis()));
    assert_eq!(written.failed, 0, "a write failed");
    assert_eq!(runtime.block_on(target.number("select count(*) from scaled")), written.acknowledged.len() as i64);
    assert_eq!(runtime.block_on(target.number("select count(*) from ledger")), ROWS);
    assert_eq!(runtime.block_on(target.number("select count(*) from pg_dist_node where groupid = 4")), 0);
    assert_eq!(shards_of(lab, "shard-4"), None);
    nothing_is_left(lab, 4);
    lab.ctl(&["health"]).ok();
    lab.ctl(&["plan", "--check"]).ok();
    lab.ctl(&["scale", "in", "--shard", "4", "--yes"]).exits(2);

    // The number is free again, also for Patroni, which had registered it before.
    added_by_pieces(lab);
    only_named(lab, runtime, target);
    offered(lab);
    lab.ctl(&["health"]).ok();
    runtime.block_on(every_session_defines(target));
    runtime.block_on(target.batch("drop table scaled, everywhere"));
}

/// The operator is killed before the new group is there: it is in the file, and `up` ends what was begun. Who runs the same command again
/// gets no fifth group.
fn added_by_pieces(lab: &Lab) {
    let add = ["scale", "add-shard", "--no-rebalance", "--yes"];
    lab.kill_in_wave(&add, "group leaders");
    let again = lab.ctl(&add).exits(6);
    assert!(again.stderr.contains("shard-4") && again.stderr.contains("`pgclusterctl up`"), "{}", again.stderr);
    let last = lab.kill_in_every_step(&["up", "--yes"], |_| {});
    assert_eq!(last.status, 0, "{}", last.stderr);
    let filled = ["scale", "add-shard", "--rebalance", "--yes"];
    let again = lab.ctl(&filled).exits(6);
    assert!(again.stderr.contains("shard-4") && again.stderr.contains("`pgclusterctl shards rebalance`"), "{}", again.stderr);
}

/// `up --yes` is no consent to move data: of a group without shards it says so, and how to give it some.
fn only_named(lab: &Lab, runtime: &Runtime, target: &Target) {
    let jobs = || runtime.block_on(target.number("select count(*) from pg_dist_background_job"));
    let before = jobs();
    let up = lab.ctl(&["up", "--yes"]).ok();
    for told in ["shard-4 has no shards yet", "`pgclusterctl shards rebalance`"] {
        assert!(up.stderr.contains(told), "{told} is missing:\n{}", up.stderr);
    }
    assert_eq!((shards_of(lab, "shard-4"), jobs()), (Some(0), before), "nothing is moved");
}

/// Where somebody sits at a terminal `up` shows what would move to a group without shards, and asks. Who says yes sees each move.
fn offered(lab: &Lab) {
    let shows = |run: Run, told: &[&str]| {
        for told in told {
            assert!(run.stdout.contains(told), "{told} is missing:\n{}", run.stdout);
        }
    };
    let question = ["shard-4 has no shards yet", "  shard-1  shard-4  ", " moves, ", "Move these shards? [y/N]"];
    let declined = lab.at_a_terminal(&["up"], "n").ok();
    shows(declined, &[&question[..], &["No shard is moved", "`pgclusterctl shards rebalance` does it at any time"]].concat());
    assert_eq!(shards_of(lab, "shard-4"), Some(0), "a no moves nothing");
    let moved = lab.at_a_terminal(&["up"], "y").ok();
    shows(moved, &[&question[..], &["0 of ", " -> shard-4: ", "finished, "]].concat());
    assert!(shards_of(lab, "shard-4") > Some(0));
}

/// What is defined everywhere, by several sessions of the pooler at the same time: those that knew the group before are among them.
async fn every_session_defines(target: &Target) {
    let mut clients = Vec::new();
    for number in 0..4 {
        let client = target.connect().await.expect("the VIP takes connections");
        let sql = format!("begin; create schema everywhere_{number}");
        client.batch_execute(&sql).await.unwrap_or_else(|e| panic!("{sql}: {}", detail(&e)));
        clients.push(client);
    }
    for client in clients {
        client.batch_execute("rollback").await.expect("what was begun can be undone");
    }
}

/// Neither in etcd nor on any host's disk; that one looks in the right place is seen by the group before.
fn nothing_is_left(lab: &Lab, group: u32) {
    let keys = |group: u32| {
        let prefix = format!("/service/pgcluster/{group}/");
        lab.ctl(&["exec", "etcd-1", "--", "etcdctl", "get", "--prefix", "--keys-only", &prefix]).ok().stdout.trim().to_owned()
    };
    let volumes = |group: u32| {
        let listed = format!("docker volume ls --quiet --filter name=worker-{group}-");
        ["host1", "host2", "host3"].map(|host| lab.on_host(host, &listed)).concat()
    };
    assert_eq!((keys(group), volumes(group)), (String::new(), String::new()));
    assert!(keys(group - 1).contains("leader") && volumes(group - 1).contains("worker"));
}

/// The fourth group is taken out, and a host loses its power on the way.
pub fn in_without_a_host(lab: &Lab, runtime: &Runtime, target: &Target) {
    moves::a_host_is_lost(lab, runtime, target);
    let text = std::fs::read_to_string(lab.path("topology.toml")).expect("readable");
    assert!(text.contains(&format!("count = {SHARDS}\n")), "{text}");
    lab.ctl(&["plan", "--check"]).ok();
}

fn wrong(lab: &Lab) {
    lab.ctl(&["scale", "in", "--shard", "9", "--yes"]).exits(2);
    lab.ctl(&["scale", "in", "--shard", "0", "--yes"]).exits(2);
    lab.ctl(&["scale", "add-shard", "--hosts", "host9", "--yes"]).exits(2);
    lab.ctl(&["scale", "add-shard", "--hosts", "host1,host1", "--yes"]).exits(2);
    let unknown = lab.ctl(&["scale", "add-shard", "--strategy", "nope", "--yes"]).exits(2);
    assert!(unknown.stderr.contains("Citus knows by_disk_size, by_shard_count"), "{}", unknown.stderr);
}

/// Shards of a group; none where there is no such group.
fn shards_of(lab: &Lab, group: &str) -> Option<u64> {
    let list = lab.json(&["shards", "list"]);
    let nodes: Vec<Value> = list["nodes"].as_array().cloned().expect("nodes");
    nodes.iter().find(|node| node["group"] == group)?["shards"].as_u64()
}
