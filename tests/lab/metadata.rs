//! Citus' metadata against Patroni: what somebody changed behind their backs is found, and put right.

use std::time::Duration;

use serde_json::Value;

use super::harness::{Lab, eventually};
use super::member_rows;
use super::traffic::sql;

/// A name of a change of leader that did not end, and a copy that is not what it is said to be.
pub fn is_repaired(lab: &Lab) {
    let name = sql(lab, &["--"], "select nodename from pg_dist_node where groupid = 1 and noderole = 'primary'");
    sql(lab, &["--"], &format!("update pg_dist_node set nodename = '{name}-demoted' where nodename = '{name}'"));
    sql(lab, &["--shard", "2", "--"], "update pg_dist_node set nodename = 'nobody' where groupid = 1 and noderole = 'primary'");
    let sick = lab.ctl(&["health"]).exits(5);
    for check in ["citus-nodes", "citus-metadata", "citus-strays"] {
        let line = sick.stdout.lines().find(|line| line.contains(check) && line.contains("fail"));
        assert!(line.is_some(), "{check}: {}", sick.stdout);
    }
    for strategy in ["by_disk_size", "by_shard_count"] {
        let refused = lab.ctl(&["shards", "rebalance", "--strategy", strategy, "--yes"]).exits(6);
        assert!(refused.stderr.contains("shard-1 does not answer"), "{}", refused.stderr);
    }
    let status = lab.ctl(&["--format", "json", "status"]).exits(5);
    let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
    let of =
        |group: &str| status["citus"].as_array().and_then(|rows| rows.iter().find(|row| row["group"] == group)).expect("a row");
    let row = of("shard-1");
    assert_eq!((&row["node"], &row["matches"]), (&format!("{name}-demoted").into(), &false.into()), "{row:#}");
    assert_eq!(row["leader"], name.as_str(), "{row:#}");
    let copy = of("shard-2");
    assert_eq!((&copy["matches"], &copy["copy_matches"]), (&true.into(), &false.into()), "{copy:#}");
    let refused = lab.ctl(&["health", "--repair"]).exits(6);
    assert!(refused.stderr.contains("citus_update_node"), "{}", refused.stderr);
    lab.ctl(&["health", "--repair", "--yes"]).ok();
    assert_eq!(
        sql(lab, &["--shard", "2", "--"], "select nodename from pg_dist_node where groupid = 1 and noderole = 'primary'"),
        name
    );
    eventually("health", Duration::from_secs(30), || match lab.ctl(&["health", "--repair"]) {
        run if run.status == 0 && run.stderr.contains("Nothing") => Ok(()),
        run => Err(run.stdout + &run.stderr),
    });
}

/// Citus may be led to a lost leader that is back as a standby, and would roll back there what it has told clients is committed.
pub fn no_standby_recovers(lab: &Lab) {
    for row in member_rows(lab) {
        let member = row["member"].as_str().expect("a name");
        let log_in = |name: &str| {
            let psql = format!("psql -XAtq 'dbname=app application_name={name}' -c 'select 1'");
            lab.ctl(&["exec", member, "--", "su", "postgres", "-c", &psql])
        };
        log_in("somebody").ok();
        let recovery = log_in("citus_internal");
        if row["role"] == "leader" {
            recovery.ok();
        } else {
            assert!(
                recovery.status != 0 && recovery.stderr.contains("knows nothing of prepared transactions"),
                "{}",
                recovery.stderr
            );
        }
    }
}
