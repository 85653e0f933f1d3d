use insta::assert_snapshot;

use super::StatusReport;
use crate::health::{Condition, diagnose, fixture};
use crate::observe::model::Probe;
use crate::output::health::HealthReport;
use crate::output::{Report, Ui};
use crate::topology::GroupId;

/// The widest line that a terminal of usual width shows whole.
const WIDTH: usize = 100;

fn plain() -> Ui {
    Ui::new(false, false, false, false)
}

fn show(report: &impl Report) -> String {
    let text = report.text(&plain());
    assert!(!text.contains('\u{1b}'), "no colours without a terminal");
    text
}

fn assert_fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{} columns: {line}", line.chars().count());
    }
}

#[test]
fn healthy() {
    let (topology, observed) = fixture::healthy();
    let text = show(&StatusReport::new(&topology, &observed, 0));
    assert_fits(&text);
    assert_snapshot!(text);
}

#[test]
fn healthy_in_detail() {
    let (topology, observed) = fixture::healthy();
    let text = show(&StatusReport::new(&topology, &observed, 1));
    assert_fits(&text);
    assert_snapshot!(text);
}

#[test]
fn degraded_by_a_standby_that_is_away() {
    let (topology, mut observed) = fixture::healthy();
    fixture::leader(&mut observed, 2).standbys.clear();
    fixture::group(&mut observed, 2).members.remove("worker-2-2");
    let service = fixture::known(&mut observed.swarm).services.get_mut("worker-2-2").expect("a service");
    (service.task_state, service.task_error) = ("rejected".into(), "No such image".into());
    fixture::standby(&mut observed, 1, "worker-1-2").lag_bytes = 40 << 20;
    fixture::state(&mut observed, 3, "worker-3-1").pending_restart = true;
    assert_snapshot!(show(&StatusReport::new(&topology, &observed, 0)));
}

#[test]
fn a_standby_whose_key_is_of_its_former_life() {
    let (topology, mut observed) = fixture::healthy();
    fixture::leader(&mut observed, 2).standbys.clear();
    let text = show(&StatusReport::new(&topology, &observed, 0));
    let of_it: Vec<_> = text.lines().filter(|line| line.contains("worker-2-2")).collect();
    assert!(of_it.iter().any(|line| line.ends_with("not streaming")), "{text}");
    assert!(of_it[0].contains("no standby streams"), "{text}");
}

#[test]
fn a_copy_of_pg_dist_node_that_says_otherwise_or_nothing() {
    let (topology, mut observed) = fixture::healthy();
    fixture::copied(&mut observed, 2, 1).name = "nobody".into();
    let unseen = Probe::fail("worker-3-1", "timeout");
    fixture::citus(&mut observed).copies.insert(GroupId(3), unseen);
    let report = StatusReport::new(&topology, &observed, 0);
    let rows: Vec<_> = report.citus.iter().map(|row| (row.matches, row.copy_matches)).collect();
    assert_eq!(rows, [Some(true), Some(true), Some(false), None].map(|copy| (Some(true), copy)));
    let text = show(&report);
    let table: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("CITUS GROUP")).skip(1).take(4).collect();
    let ends = ["match", "match", "copy differs", "copy unknown"];
    assert!(table.iter().zip(ends).all(|(line, end)| line.ends_with(end)), "{text}");
    assert_fits(&table.join("\n"));
}

#[test]
fn a_host_lost() {
    let (topology, mut observed) = fixture::healthy();
    fixture::lose_host(&topology, &mut observed, "host3");
    let report = StatusReport::new(&topology, &observed, 0);
    assert_eq!(report.condition, Condition::Degraded);
    let text = show(&report);
    assert_snapshot!(text);
    assert_fits(&text);
}

#[test]
fn not_deployed_yet() {
    let (topology, observed) = fixture::undeployed();
    let text = show(&StatusReport::new(&topology, &observed, 0));
    assert_fits(&text);
    assert_snapshot!(text);
}

#[test]
fn nobody_answers() {
    let (topology, _) = fixture::healthy();
    assert_snapshot!(show(&StatusReport::new(&topology, &fixture::blind(&topology), 0)));
}

#[test]
fn a_host_lost_as_json() {
    let (topology, mut observed) = fixture::healthy();
    fixture::lose_host(&topology, &mut observed, "host3");
    let report = StatusReport::new(&topology, &observed, 0);
    insta::assert_json_snapshot!(report);
}

#[test]
fn health_of_a_healthy_cluster_is_one_line_per_check() {
    let (topology, observed) = fixture::healthy();
    let report = HealthReport::new(&topology.name, diagnose(&topology, &observed), 0);
    let text = show(&report);
    assert_fits(&text);
    assert_snapshot!(text);
}

#[test]
fn health_of_a_cluster_with_a_host_lost() {
    let (topology, mut observed) = fixture::healthy();
    fixture::lose_host(&topology, &mut observed, "host3");
    assert_snapshot!(show(&HealthReport::new(&topology.name, diagnose(&topology, &observed), 0)));
}
