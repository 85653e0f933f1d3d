//! What `health` says of a cluster when a drill is over: more than what is waited for meanwhile, since nobody is held up by it.

use crate::health::{Diagnosis, Verdict};

/// The checks that no failure may leave failed. The others are about how full and how busy a cluster is, drill or not.
const CHECKS: [&str; 16] = [
    "host",
    "swarm-quorum",
    "swarm-node",
    "service",
    "etcd-quorum",
    "patroni-keys",
    "leader",
    "redundancy",
    "readers",
    "synchronous",
    "timeline",
    "citus-nodes",
    "citus-metadata",
    "citus-strays",
    "vip",
    "guard",
];

/// What has failed, each with its evidence.
pub fn failed(diagnosis: &Diagnosis) -> Vec<String> {
    let asked = diagnosis.results.iter().filter(|result| CHECKS.contains(&result.id));
    let failed = asked.filter(|result| result.finding.verdict == Verdict::Fail);
    failed.map(|result| format!("{} {}: {}", result.id, result.finding.subject, result.finding.evidence)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::fixture::{self, citus, copied, hold_vip, host, known, leader, node};
    use crate::health::{self, diagnose};
    use crate::observe::Observed;

    fn after(change: impl Fn(&mut Observed)) -> Vec<String> {
        let (topology, mut observed) = fixture::healthy();
        change(&mut observed);
        failed(&diagnose(&topology, &observed))
    }

    #[test]
    fn all_checks_are_known() {
        let strange: Vec<_> = CHECKS.iter().filter(|id| health::CHECKS.iter().all(|check| check.id != **id)).collect();
        assert!(strange.is_empty(), "{strange:?}");
    }

    #[test]
    fn a_healthy_cluster_is_sound() {
        assert_eq!(after(|_| ()), Vec::<String>::new());
        assert_eq!(after(|o| host(o, "host1").clock_skew_ms = 60_000), Vec::<String>::new(), "no drill sets a clock");
    }

    #[test]
    fn what_a_failure_may_leave_is_seen() {
        type Change = fn(&mut Observed);
        let left: [(&str, Change); 6] = [
            ("vip", |o| hold_vip(o, &["host1", "host2"])),
            ("vip", |o| hold_vip(o, &[])),
            ("citus-nodes", |o| node(o, 1).name = "worker-1-2".into()),
            ("citus-metadata", |o| copied(o, 2, 1).name = "worker-1-2".into()),
            ("redundancy", |o| drop(leader(o, 1).standbys.remove("worker-1-2"))),
            ("service", |o| {
                let elsewhere = known(&mut o.swarm).services.get_mut("worker-1-1").expect("a service");
                elsewhere.task_node = "node-host3".into();
            }),
        ];
        for (number, (id, change)) in left.into_iter().enumerate() {
            let failed = after(change);
            assert!(failed.iter().any(|why| why.starts_with(&format!("{id} "))), "{number}: {id} is missing in {failed:?}");
        }
        let stray = after(|o| {
            let mut stray = node(o, 1).clone();
            (stray.id, stray.name) = (99, "worker-1-1-demoted".into());
            citus(o).nodes.push(stray);
        });
        assert!(!stray.is_empty(), "a second primary of a group");
    }
}
