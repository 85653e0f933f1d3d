//! A reader comes on a fourth host, serves reads, has no vote, and goes again with its host; the operator is killed on the way. One of a
//! shard group serves reads that ask for it.

use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Runtime;

use super::client::{Target, Writer};
use super::harness::{Lab, eventually, note};
use super::traffic::sql;
use super::{RECOVERY, ROWS, becomes_healthy, drills, leader_of, psql};

/// The lab's topology does not name it.
pub const HOST: &str = "host4";
const READER: &str = "coordinator-reader-1";

pub fn from_a_fourth_host(lab: &Lab, runtime: &Runtime, write: &Target) {
    let path = lab.path("topology.toml");
    let text = || std::fs::read_to_string(&path).expect("readable");
    let before = text();
    // A ring of shard groups stays where it is.
    bring_host(lab, &before.replacen("[shards]\n", "[shards]\nhosts = [\"host1\", \"host2\", \"host3\"]\n", 1));
    lab.ctl(&["scale", "read", "--coordinator", "--hosts", "host1", "--yes"]).exits(6);
    lab.ctl(&["scale", "in", "--member", READER, "--yes"]).exits(2);

    runtime.block_on(write.batch("create table read_beside (id bigint primary key)"));
    let writer = runtime.block_on(async { Writer::start(write.clone(), "read_beside") });
    let add = ["scale", "read", "--coordinator", "--hosts", HOST, "--yes"];
    kill(lab, &add, "] members and proxies");
    assert!(text().contains("[[reader]]"), "the file is written before anything is deployed");
    let added = lab.json(&add);
    assert_eq!((&added["readers"][0]["member"], &added["changed"]), (&READER.into(), &true.into()), "{added:#}");
    assert_eq!(lab.json(&add)["changed"], false);
    lab.ctl(&["plan", "--check"]).ok();
    assert_eq!(role(lab, READER), Some(("reader".into(), "streaming".into())));
    eventually("the read port reaches the reader", RECOVERY, || reads_from_reader(lab, &write.password));

    no_vote(lab);
    let written = runtime.block_on(writer.finish());
    note(format_args!("{written}"));
    let rows = written.acknowledged.len() as i64;
    assert!(runtime.block_on(write.number("select count(*) from read_beside")) >= rows);
    assert_eq!(runtime.block_on(write.number("select count(*) from ledger")), ROWS);
    runtime.block_on(write.batch("drop table read_beside"));
    drills::read_also(lab, "coordinator", READER);

    let out = ["scale", "in", "--member", READER, "--yes"];
    lab.ctl(&["scale", "in", "--host", HOST, "--yes"]).exits(6);
    kill(lab, &out, "stop and remove");
    assert!(!text().contains("[[reader]]"), "the file is written before anything is destroyed");
    lab.ctl(&out).ok();
    assert_eq!(role(lab, READER), None);
    lab.ctl(&["plan", "--check"]).ok();
    lab.ctl(&["scale", "in", "--host", HOST, "--yes"]).ok();
    becomes_healthy(lab);
    assert!(!text().contains(HOST), "{}", text());
    std::fs::write(&path, before).expect("writable");
    lab.ctl(&["plan", "--check"]).ok();
}

/// A host more, in this text of the file and in the Swarm.
pub fn bring_host(lab: &Lab, text: &str) {
    lab.lab(&["up", "--spare", "1"]).ok();
    let status = lab.lab(&["status", "--format", "json"]).ok();
    let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
    let host = status["hosts"].as_array().and_then(|hosts| hosts.iter().find(|h| h["name"] == HOST)).expect("a spare host");
    let block = format!("[[host]]\nname = \"{HOST}\"\naddress = {}\n\n[network]\n", host["address"]);
    std::fs::write(lab.path("topology.toml"), text.replacen("[network]\n", &block, 1)).expect("writable");
    lab.ctl(&["init", "--yes"]).ok();
    lab.ctl(&["image", "push"]).ok();
}

/// It has what its leader has. Sessions that ask for it read shards from copies, and cannot write.
pub fn of_a_shard_group(lab: &Lab, write: &Target) {
    const READER: &str = "worker-1-reader-1";
    let before = std::fs::read_to_string(lab.path("topology.toml")).expect("readable");
    let added = lab.json(&["scale", "read", "--shard", "1", "--hosts", "host3", "--yes"]);
    assert_eq!(added["readers"][0]["member"], READER, "{added:#}");
    assert_eq!(role(lab, READER), Some(("reader".into(), "streaming".into())));
    eventually("the reader has the rows of its leader", RECOVERY, || has_its_leaders_rows(lab, READER));

    sql(lab, &["--"], "grant set on parameter citus.use_secondary_nodes to app");
    let from_copies = |asked: &[&str]| psql(lab, &write.password, "-c citus.use_secondary_nodes=always", asked);
    let asked = ["select count(*) from ledger", "select bool_and(pg_is_in_recovery()) from ledger"];
    eventually("shards are read from copies", RECOVERY, || {
        let seen = from_copies(&asked);
        if seen == format!("{ROWS}\nt") { Ok(()) } else { Err(seen) }
    });
    let refused = from_copies(&["insert into written (id) values (-100)"]);
    assert!(refused.contains("ERROR"), "{refused}");
    sql(lab, &["--"], "revoke set on parameter citus.use_secondary_nodes from app");

    lab.ctl(&["scale", "in", "--member", READER, "--yes"]).ok();
    assert_eq!(role(lab, READER), None);
    assert_eq!(std::fs::read_to_string(lab.path("topology.toml")).expect("readable"), before);
    becomes_healthy(lab);
    lab.ctl(&["plan", "--check"]).ok();
}

/// In a shard of the first group, on the reader as on the leader.
fn has_its_leaders_rows(lab: &Lab, reader: &str) -> Result<(), String> {
    let leader = leader_of(lab, "shard-1");
    let shard = "select min(shardid) from pg_dist_shard join pg_dist_placement using (shardid)
        where logicalrelid = 'ledger'::regclass and groupid = 1";
    let shard = sql(lab, &["--"], shard);
    let [theirs, its] = [leader.as_str(), reader]
        .map(|member| sql(lab, &["--member", member, "--"], &format!("select count(*), sum(id) from ledger_{shard}")));
    if theirs == its && !its.starts_with('0') { Ok(()) } else { Err(format!("{leader} has {theirs}, {reader} {its}")) }
}

/// Neither by order nor by the loss of the leader does it ever lead; it follows whoever does.
fn no_vote(lab: &Lab) {
    for verb in [&["switchover"][..], &["failover", "--force"]] {
        let refused = lab.ctl(&[verb, &["--coordinator", "--to", READER, "--yes"]].concat());
        assert!(refused.status != 0 && refused.stderr.contains("has no vote"), "{}", refused.stderr);
    }
    lab.ctl(&["switchover", "--coordinator", "--yes"]).ok();
    // Until the new leader has named a synchronous standby nobody but itself could take over.
    becomes_healthy(lab);
    // Also in the middle of a failover, when `status` says with its exit code that something is amiss.
    let leader = || {
        let status: Value = serde_json::from_str(&lab.ctl(&["status", "--format", "json"]).stdout).unwrap_or_default();
        let members = status["members"].as_array().cloned().unwrap_or_default();
        let leads = members.iter().find(|m| m["group"] == "coordinator" && m["role"] == "leader");
        leads.and_then(|m| m["member"].as_str()).unwrap_or_default().to_owned()
    };
    let lost = leader();
    let crash = "kill -9 $(head -1 /var/lib/postgresql/17/data/postmaster.pid)";
    lab.ctl(&["exec", &lost, "--", "sh", "-c", crash]).ok();
    eventually("another leads, and the reader follows", RECOVERY, || {
        let now = leader();
        assert_ne!(now, READER);
        let run = lab.ctl(&["health"]);
        if now != lost && !now.is_empty() && run.status == 0 { Ok(()) } else { Err(format!("{now} leads: {}", run.stdout)) }
    });
    assert_eq!(role(lab, READER), Some(("reader".into(), "streaming".into())));
}

/// Its role and state, `sync` and `quorum` included, as its leader's `pg_stat_replication` has it.
fn role(lab: &Lab, reader: &str) -> Option<(String, String)> {
    let members = lab.json(&["status"])["members"].as_array().cloned().expect("members");
    let row = members.iter().find(|row| row["member"] == reader)?;
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    Some((text("role"), text("state")))
}

/// Sessions are spread: within a few, one is the reader's.
fn reads_from_reader(lab: &Lab, password: &str) -> Result<(), String> {
    let own = lab.ctl(&["exec", READER, "--", "hostname", "-I"]).ok().stdout;
    let asked = ["select host(inet_server_addr())", "select pg_is_in_recovery()", "select count(*) >= 0 from ledger"];
    let answers: Vec<String> = (0..8).map(|_| psql(lab, password, "", &asked)).collect();
    let is_its = |answer: &String| answer.lines().next().is_some_and(|address| own.split_whitespace().any(|a| a == address));
    match answers.iter().find(|answer| is_its(answer)) {
        Some(answer) if answer.ends_with("t\nt") => Ok(()),
        _ => Err(format!("{own}: {answers:?}")),
    }
}

/// Starts a command and kills it with SIGKILL as soon as a line of it has these words.
pub fn kill(lab: &Lab, args: &[&str], words: &str) {
    // What is announced before it begins is numbered, and ends in more words.
    let begins = |line: &str| line.ends_with(words) || line.trim_start().starts_with(words);
    lab.kill_at(args, words, begins, Duration::from_millis(200));
}
