//! A host dies for good and another takes its place; the operator is killed on the way.

use std::io::{BufRead, BufReader};

use serde_json::Value;
use tokio::runtime::Runtime;

use super::client::Target;
use super::harness::{Lab, eventually, note};
use super::{RECOVERY, ROWS, becomes_healthy};

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

    kill_in_wave(lab, &replace, "etcd with a new etcd-1");
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

/// Starts the command and kills it with SIGKILL as soon as it tells that the wave began.
fn kill_in_wave(lab: &Lab, args: &[&str], wave: &str) {
    let mut run = lab.command(args).spawn().expect("the binary starts");
    let stderr = BufReader::new(run.stderr.take().expect("stderr is piped"));
    let begins = |line: String| line.starts_with('[') && line.ends_with(&format!("] {wave}"));
    let reached = stderr.lines().map_while(Result::ok).any(begins);
    assert!(reached, "it ended before wave '{wave}'");
    run.kill().expect("it can be killed");
    run.wait().expect("it ends");
}
