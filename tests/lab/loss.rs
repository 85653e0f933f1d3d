//! The drill that has to fail: asynchronous replication loses what it acknowledged, and the checker names it. Were this one
//! green, no green drill would prove anything.

use serde_json::Value;

use super::RECOVERY;
use super::harness::{Lab, eventually, note, step};

/// Less than clients write while the standbys stand still, and all that an asynchronous group may promise.
const PROMISE: &str = "\n[failover.promise.loss]\ncoordinators = 1\n";

#[test]
fn a_drill_fails_where_acknowledged_writes_are_lost() {
    let lab = step("lab up", || Lab::start(0));
    let topology = topology(&lab);
    step("up with asynchronous replication", || {
        std::fs::write(lab.path("topology.toml"), format!("{topology}{PROMISE}")).expect("writable");
        lab.ctl(&["image", "build"]).ok();
        lab.ctl(&["init", "--yes"]).ok();
        lab.ctl(&["image", "push"]).ok();
        lab.ctl(&["up", "--yes"]).ok();
    });
    step("more is lost than is promised: red", || {
        let run = drill(&lab, "lagging-host-loss", 5);
        let findings = run["verdict"]["findings"].as_array().expect("findings");
        let lost = findings.iter().find(|f| f["rule"] == "lost").unwrap_or_else(|| panic!("nothing was lost: {run:#}"));
        assert_eq!(lost["group"], "coordinator");
        let named = lost["ops"].as_array().expect("operations");
        assert!(named.len() > 1, "{lost:#}");
        let reasons = run["reasons"].as_array().expect("reasons");
        let told =
            reasons.iter().filter_map(Value::as_str).any(|r| r.starts_with("lost in coordinator: acknowledged, and not on"));
        assert!(told, "{reasons:#?}");
        note(format_args!("{}", lost["detail"]));
    });
    step("a loss where none is promised to stay away: counted, and green", || {
        std::fs::write(lab.path("topology.toml"), &topology).expect("writable");
        // A host was lost and is back: for a moment managers may have no leader.
        eventually("nothing is to be done", RECOVERY, || match lab.ctl(&["plan", "--check"]) {
            run if run.status == 0 => Ok(()),
            run => Err(run.stderr),
        });
        let run = drill(&lab, "lagging-loss", 0);
        assert!(run["verdict"]["counts"]["lost"].as_u64() > Some(1), "{:#}", run["verdict"]);
    });
}

/// The lab's topology with asynchronous coordinators.
fn topology(lab: &Lab) -> String {
    let text = std::fs::read_to_string(lab.path("topology.toml")).expect("readable");
    let changed = text.replace("replication = \"sync\"", "replication = \"async\"");
    assert_ne!(text, changed, "the coordinators of a lab are synchronous");
    changed
}

/// One run of a scenario in which all standbys stand still before the leader is lost.
fn drill(lab: &Lab, scenario: &str, exit: i32) -> Value {
    let folder = lab.path(scenario).display().to_string();
    let report = lab.ctl(&["drill", "run", scenario, "--yes", "--format", "json", "--folder", &folder]).exits(exit);
    let report: Value = serde_json::from_str(&report.stdout).expect("a report is JSON");
    report["runs"][0].clone()
}
