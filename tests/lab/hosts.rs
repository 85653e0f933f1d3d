//! A host dies for good and another takes its place; the operator is killed on the way. One that is alive is drained, and goes.

use serde_json::Value;
use tokio::runtime::Runtime;

use super::client::{Target, Writer};
use super::harness::{Lab, eventually, note};
use super::{RECOVERY, ROWS, becomes_healthy, leader_of, member_rows, read, rebalance};

/// It has etcd, a coordinator, a proxy and members of shard groups.
const LOST: &str = "host1";
/// The lab's topology does not name it.
const SPARE: &str = "host4";

/// All rows are there afterwards, nothing is planned, and etcd has as many members as before.
pub fn replace_a_lost_one(lab: &Lab, runtime: &Runtime, target: &Target) {
    lab.lab(&["up", "--spare", "1"]).ok();
    let status = lab.lab(&["status", "--format", "json"]).ok();
    let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
    let spare = status["hosts"].as_array().and_then(|hosts| hosts.iter().find(|h| h["name"] == SPARE)).expect("a spare host");
    assert_eq!(spare["spare"], true, "{spare:#}");
    let address = spare["address"].as_str().expect("an address");
    let replace = ["host", "replace", LOST, SPARE, "--address", address, "--yes"];

    let alive = lab.ctl(&replace).exits(6);
    assert!(alive.stderr.contains("is alive"), "{}", alive.stderr);
    lab.lab(&["kill", LOST]).ok();
    // Swarm has to notice, and leaders have to be elsewhere.
    eventually("the loss is seen by all", RECOVERY, || match lab.ctl(&[replace.as_slice(), &["--plan"]].concat()) {
        run if run.status == 0 => Ok(()),
        run => Err(run.stderr),
    });
    let topology = || std::fs::read_to_string(lab.path("topology.toml")).expect("readable");
    assert!(topology().contains(&format!("\"{LOST}\"")), "a plan changes nothing");

    lab.kill_in_wave(&replace, "etcd with a new etcd-1");
    let run = lab.ctl(&replace).ok();
    note(format_args!("the rest took {:.1} s", run.took.as_secs_f64()));
    assert!(!topology().contains(&format!("\"{LOST}\"")), "{}", topology());
    assert_eq!(runtime.block_on(target.number("select count(*) from ledger")), ROWS);
    lab.ctl(&["plan", "--check"]).ok();
    becomes_healthy(lab);
    let members = lab.ctl(&["exec", "etcd-1", "--", "etcdctl", "member", "list"]).ok().stdout;
    let started = members.lines().filter(|line| line.contains(", started, ")).count();
    assert_eq!((members.lines().count(), started), (3, 3), "{members}");
    let again = lab.json(&replace);
    assert_eq!(again["changed"], false, "{again:#}");
}

/// A fourth host takes its place in the ring of shard groups, and leads one. Its shards go to others while a client writes; then it goes
/// itself, the operator being killed in every step, and its member is where it was.
pub fn drain_and_remove(lab: &Lab, runtime: &Runtime, target: &Target) {
    const MEMBER: &str = "worker-3-2";
    let path = lab.path("topology.toml");
    let text = || std::fs::read_to_string(&path).expect("readable");
    let before = text();
    let nodes = || lab.on_host("host2", "docker node ls --format '{{.Hostname}} {{.Status}}' | sort");
    let swarm = nodes();
    let refused = lab.ctl(&["scale", "in", "--host", LOST, "--yes"]).exits(6);
    for told in ["quorum", "etcd-1", "host replace"] {
        assert!(refused.stderr.contains(told), "{told} is missing:\n{}", refused.stderr);
    }
    assert_eq!((text(), nodes()), (before.clone(), swarm.clone()), "what is refused changes nothing");

    runtime.block_on(target.batch("create table drained (id bigint primary key)"));
    runtime.block_on(target.batch("select create_distributed_table('drained', 'id')"));
    let host = host_of(lab, MEMBER);
    read::bring_host(lab, &before);
    let writer = runtime.block_on(async { Writer::start(target.clone(), "drained") });
    lab.ctl(&["up", "--yes"]).ok();
    assert_eq!(host_of(lab, MEMBER), read::HOST, "the ring goes round all hosts");
    becomes_healthy(lab);
    lab.ctl(&["switchover", "--shard", "3", "--to", MEMBER, "--yes"]).ok();
    assert_eq!(leader_of(lab, "shard-3"), MEMBER);

    let drain = ["shards", "drain", "--host", read::HOST, "--yes"];
    let shards = rebalance::spread(lab)["shard-3"].0;
    assert!(shards > 0);
    lab.ctl(&[&drain[..], &["--parallel", "4"]].concat()).ok();
    assert_eq!(rebalance::spread(lab)["shard-3"], (0, false), "none is left, and none comes");
    lab.ctl(&[&drain[..], &["--undo"]].concat()).ok();
    assert_eq!(rebalance::spread(lab)["shard-3"], (0, true));
    let traces = || lab.on_host(read::HOST, "docker ps --all --quiet; docker volume ls --quiet | grep pgcluster || true");
    assert!(!traces().is_empty(), "its member has a container and a volume");
    let last = lab.kill_in_every_step(&["scale", "in", "--host", read::HOST, "--yes"], |_| {});
    assert!(last.status == 0 || last.stderr.contains(read::HOST), "{}", last.stderr);
    assert_eq!(traces(), "", "nothing of it is left there");
    let written = runtime.block_on(writer.finish());
    note(format_args!("{shards} shards were drained; {written}"));
    runtime.block_on(written.is_in("drained", target));
    assert_eq!(runtime.block_on(target.number("select count(*) from ledger")), ROWS);
    runtime.block_on(target.batch("drop table drained"));

    assert_eq!(nodes(), swarm, "the Swarm is what it was");
    assert_eq!(host_of(lab, MEMBER), host);
    assert!(lab.json(&["status"])["hosts"].as_array().is_some_and(|hosts| hosts.iter().all(|row| row["host"] != read::HOST)));
    assert!(!text().contains(read::HOST), "{}", text());
    becomes_healthy(lab);
    lab.ctl(&["plan", "--check"]).ok();
    std::fs::write(&path, before).expect("writable");
    lab.ctl(&["plan", "--check"]).ok();
}

/// Where a member is, as `status` has it.
fn host_of(lab: &Lab, member: &str) -> String {
    let rows = member_rows(lab);
    let row = rows.iter().find(|row| row["member"] == member).expect("a member");
    row["host"].as_str().expect("a host").to_owned()
}
