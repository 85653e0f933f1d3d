//! Judging a cluster: named checks over what was observed, each with evidence and remedy.
//!
//! Pure: values in, values out. `health` prints every result, `status` shows those that did not pass, `up`, `failover` and
//! `drill` ask [`Diagnosis::condition`] before and after what they do. What could not be seen never passes.

pub mod citus;
mod condition;
pub mod etcd;
mod group;
mod guard;
pub mod host;
pub mod look;
mod placement;
mod postgres;
pub mod proxy;
pub mod repair;
mod replication;
pub mod swarm;
pub mod thresholds;

#[cfg(test)]
pub(crate) mod fixture;

use std::fmt;

use serde::Serialize;

pub use condition::Condition;
pub use look::Look;

use crate::observe::model::Observed;
use crate::topology::Topology;

/// One question, asked of each subject that it concerns.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Stable name, e.g. `etcd-quorum`.
    pub id: &'static str,
    /// What is true when it passes, in one line.
    pub promise: &'static str,
    run: fn(&Look<'_>) -> Vec<Finding>,
}

/// Every check, in the order in which a cluster stands: hosts, Swarm, etcd, Patroni, PostgreSQL, Citus, proxies, guards.
pub const CHECKS: &[Check] = &[
    Check { id: "host", promise: "every host answers over SSH, and its Docker daemon too", run: host::answers },
    Check { id: "clock", promise: "the hosts' clocks agree", run: host::clock },
    Check { id: "disk", promise: "Docker's file system has room on every host", run: host::disk },
    Check { id: "swarm-quorum", promise: "a majority of the Swarm's managers is reachable", run: swarm::quorum },
    Check { id: "swarm-node", promise: "every host is an active, ready Swarm node", run: swarm::nodes },
    Check { id: "service", promise: "every service runs on the host it belongs to", run: swarm::services },
    Check { id: "etcd-quorum", promise: "all etcd members answer and follow one leader", run: etcd::quorum },
    Check { id: "etcd-alarm", promise: "no etcd member raises an alarm", run: etcd::alarms },
    Check { id: "etcd-space", promise: "etcd's database is far from its quota", run: etcd::space },
    Check { id: "patroni-keys", promise: "Patroni's keys can be read from etcd with a quorum read", run: group::keys },
    Check { id: "leader", promise: "every group has exactly one leader, and it takes writes", run: group::leader },
    Check { id: "redundancy", promise: "every standby streams from its leader", run: replication::redundancy },
    Check { id: "readers", promise: "every reader streams, and has no vote", run: replication::readers },
    Check {
        id: "synchronous",
        promise: "commits wait for the standbys that the topology promises",
        run: replication::synchronous,
    },
    Check { id: "timeline", promise: "all members of a group are on its leader's timeline", run: group::timeline },
    Check { id: "lag", promise: "standbys are close behind their leader", run: replication::lag },
    Check { id: "paused", promise: "automatic failover is on", run: group::paused },
    Check { id: "pending", promise: "no restart or failover request is waiting", run: group::pending },
    Check { id: "sql", promise: "every leader answers SQL", run: postgres::answers },
    Check { id: "slots", promise: "replication slots are read and keep little WAL", run: postgres::slots },
    Check { id: "connections", promise: "connections are left on every leader", run: postgres::connections },
    Check { id: "transactions", promise: "no transaction has been open for long", run: postgres::transactions },
    Check { id: "prepared", promise: "no prepared transaction was left behind", run: postgres::prepared },
    Check { id: "citus-nodes", promise: "pg_dist_node names Patroni's leaders", run: citus::nodes },
    Check { id: "citus-metadata", promise: "every Citus node has the same metadata", run: citus::metadata },
    Check { id: "citus-strays", promise: "pg_dist_node has no node that should be gone", run: citus::strays },
    Check { id: "proxy", promise: "every HAProxy answers and has servers in each backend", run: proxy::backends },
    Check { id: "vip", promise: "exactly one proxy host holds the virtual address", run: proxy::vip },
    Check { id: "guard", promise: "every lease guard watches etcd and its Docker daemon", run: guard::watches },
    Check {
        id: "etcd-placement",
        promise: "etcd's leader is not on the coordinator leader's host",
        run: placement::etcd_leader,
    },
];

/// How a question was answered for one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be, and seen to be so.
    Pass,
    /// Served today, but worth a look; also what could not be seen because of something that failed already.
    Warn,
    /// Broken, or a promise of the topology not kept.
    Fail,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        })
    }
}

/// A check's answer for one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// Which check, see [`CHECKS`].
    pub id: &'static str,
    /// The answer.
    #[serde(flatten)]
    pub finding: Finding,
}

/// An answer before it is labelled with its check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: a host, a group, a member, a service.
    pub subject: String,
    /// The answer.
    pub verdict: Verdict,
    /// What was seen, in one line.
    pub evidence: String,
    /// What to do, in one line; empty when it passed.
    pub remedy: String,
    /// `<id> <subject>` of the result that this one follows from; empty when it stands for itself. Fixing that one is
    /// expected to fix this one too.
    pub follows_from: String,
}

impl Finding {
    fn pass(subject: impl fmt::Display, evidence: impl Into<String>) -> Self {
        Self::new(Verdict::Pass, subject, evidence, String::new())
    }

    fn warn(subject: impl fmt::Display, evidence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Verdict::Warn, subject, evidence, remedy)
    }

    fn fail(subject: impl fmt::Display, evidence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Verdict::Fail, subject, evidence, remedy)
    }

    fn new(verdict: Verdict, subject: impl fmt::Display, evidence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            subject: subject.to_string(),
            verdict,
            evidence: evidence.into(),
            remedy: remedy.into(),
            follows_from: String::new(),
        }
    }

    /// Marks this as a consequence of another result, where there is one.
    fn following(mut self, root: Option<String>) -> Self {
        if self.verdict != Verdict::Pass {
            self.follows_from = root.unwrap_or_default();
        }
        self
    }
}

/// All results of one look at a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The whole cluster in one word.
    pub condition: Condition,
    /// Why it is not healthy, most important first; empty when it is.
    pub reasons: Vec<String>,
    /// Every result, in the order of [`CHECKS`].
    pub results: Vec<CheckResult>,
}

impl Diagnosis {
    /// Results that did not pass, failures first, otherwise in the order of [`CHECKS`].
    pub fn problems(&self) -> impl Iterator<Item = &CheckResult> {
        let with = |verdict| self.results.iter().filter(move |r| r.finding.verdict == verdict);
        with(Verdict::Fail).chain(with(Verdict::Warn))
    }

    /// How many results have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.results.iter().filter(|r| r.finding.verdict == verdict).count()
    }
}

/// Runs every check.
pub fn diagnose(topology: &Topology, observed: &Observed) -> Diagnosis {
    let look = Look { topology, observed };
    let label = |check: &Check| {
        let id = check.id;
        (check.run)(&look).into_iter().map(move |finding| CheckResult { id, finding })
    };
    let results: Vec<CheckResult> = CHECKS.iter().flat_map(label).collect();
    let (condition, reasons) = condition::judge(&look, &results);
    Diagnosis { condition, reasons, results }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_healthy_cluster_passes_every_check_and_every_check_has_a_subject() {
        let (topology, observed) = fixture::healthy();
        let diagnosis = diagnose(&topology, &observed);
        let problems: Vec<_> = diagnosis.problems().collect();
        assert_eq!(problems, Vec::<&CheckResult>::new());
        assert_eq!(diagnosis.condition, Condition::Healthy);
        let asked: BTreeSet<_> = diagnosis.results.iter().map(|r| r.id).collect();
        assert_eq!(asked, CHECKS.iter().map(|c| c.id).collect());
    }

    #[test]
    fn what_nobody_could_see_never_passes() {
        let (topology, _) = fixture::healthy();
        let diagnosis = diagnose(&topology, &fixture::blind(&topology));
        let passed: Vec<_> = diagnosis.results.iter().filter(|r| r.finding.verdict == Verdict::Pass).collect();
        assert_eq!(passed, Vec::<&CheckResult>::new());
        assert_eq!(diagnosis.condition, Condition::Unknown);
    }

    #[test]
    fn every_problem_has_a_remedy_and_what_it_follows_from_exists() {
        let (topology, mut observed) = fixture::healthy();
        fixture::lose_host(&topology, &mut observed, "host3");
        let diagnosis = diagnose(&topology, &observed);
        let names: BTreeSet<_> = diagnosis.problems().map(|r| format!("{} {}", r.id, r.finding.subject)).collect();
        for problem in diagnosis.problems() {
            assert!(!problem.finding.remedy.is_empty(), "{problem:?}");
            let root = &problem.finding.follows_from;
            assert!(root.is_empty() || names.contains(root), "{problem:?}");
        }
    }
}
