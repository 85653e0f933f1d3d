//! What checks share: finding a group's facts, and saying from which failure an unknown follows.

use super::Finding;
use crate::observe::model::{GroupState, HostFacts, LeaderFacts, Observed, Probe, ProbeError};
use crate::topology::model::{Group, Host};
use crate::topology::{HostName, Topology};

/// A topology beside what was seen of it.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// What should be.
    pub topology: &'a Topology,
    /// What was seen.
    pub observed: &'a Observed,
}

/// Patroni says these of a member whose PostgreSQL takes part. `streaming` is what newer versions report for standbys.
const UP: [&str; 2] = ["running", "streaming"];

/// Whether Patroni's state means that PostgreSQL runs.
pub fn is_up(state: &str) -> bool {
    UP.contains(&state)
}

/// `a`, `a and b`, `a, b and c`.
pub fn list<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|i| i.to_string()).collect();
    match items.as_slice() {
        [] => "none".into(),
        [one] => one.clone(),
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
    }
}

impl<'a> Look<'a> {
    /// The facts of a host, or why there are none.
    pub fn host(&self, name: &HostName) -> Result<&'a HostFacts, ProbeError> {
        match self.observed.hosts.get(name) {
            Some(probe) => probe.known().ok_or_else(|| probe.failed().cloned().unwrap_or_else(|| missing(name.as_str()))),
            None => Err(missing(name.as_str())),
        }
    }

    /// Hosts that do not answer.
    pub fn lost_hosts(&self) -> Vec<&'a Host> {
        self.topology.hosts.iter().filter(|h| self.host(&h.name).is_err()).collect()
    }

    /// The root to follow from when everything named here stands on hosts that are lost; the first of them is blamed.
    pub fn lost_with<'h>(&self, hosts: impl IntoIterator<Item = &'h HostName>) -> Option<String> {
        let mut first = None;
        for host in hosts {
            if self.host(host).is_ok() {
                return None;
            }
            first.get_or_insert_with(|| format!("host {host}"));
        }
        first
    }

    /// The root to follow from when nothing of the cluster was deployed yet, or its Swarm was never made.
    pub fn undeployed(&self) -> Option<String> {
        let facts = self.topology.hosts.iter().map(|h| self.host(&h.name));
        match &self.observed.swarm {
            Probe::Known(swarm) if swarm.services.is_empty() => Some(format!("service {SERVICES}")),
            Probe::Failed(_) if facts.into_iter().all(|f| f.is_ok_and(|f| f.swarm.state == "inactive")) => {
                Some(format!("swarm-quorum {SWARM}"))
            }
            _ => None,
        }
    }

    /// Patroni's keys of a group, or why they are unknown.
    pub fn group(&self, group: &Group) -> Result<&'a GroupState, ProbeError> {
        match &self.observed.patroni {
            Probe::Known(groups) => {
                groups.get(&group.id).ok_or_else(|| fault(group.id.to_string(), "etcd has no keys of this group"))
            }
            Probe::Failed(error) => Err(error.clone()),
        }
    }

    /// What a group's leader said in SQL, or why it said nothing.
    pub fn leader(&self, group: &Group) -> Result<&'a LeaderFacts, ProbeError> {
        match self.observed.leaders.get(&group.id) {
            Some(Probe::Known(facts)) => Ok(facts),
            Some(Probe::Failed(error)) => Err(error.clone()),
            None => Err(missing(&format!("the leader of {}", group.id))),
        }
    }

    /// Judges each group by Patroni's keys. Where no key could be read, one finding for all groups says so.
    pub fn each_group(&self, mut judge: impl FnMut(&'a Group, &'a GroupState) -> Vec<Finding>) -> Vec<Finding> {
        if let Some(error) = self.observed.patroni.failed() {
            let evidence = format!("unknown: {}", error.reason);
            return vec![
                Finding::warn("all groups", evidence, "see patroni-keys").following(Some(format!("patroni-keys {KEYS}"))),
            ];
        }
        let mut findings = Vec::new();
        for group in &self.topology.groups {
            match self.group(group) {
                Ok(state) => findings.extend(judge(group, state)),
                Err(error) => findings.push(
                    Finding::warn(group.id, format!("unknown: {}", error.reason), "see leader")
                        .following(Some(format!("leader {}", group.id))),
                ),
            }
        }
        findings
    }

    /// Judges each group by what its leader said in SQL; a leader that said nothing is unknown here and fails `sql`.
    pub fn each_leader(&self, mut judge: impl FnMut(&'a Group, &'a LeaderFacts) -> Vec<Finding>) -> Vec<Finding> {
        let mut findings = Vec::new();
        for group in &self.topology.groups {
            match self.leader(group) {
                Ok(facts) => findings.extend(judge(group, facts)),
                Err(error) => findings.push(
                    Finding::warn(group.id, format!("unknown: {error}"), "see sql")
                        .following(Some(format!("sql {}", group.id))),
                ),
            }
        }
        findings
    }
}

/// Subject of `patroni-keys`.
pub const KEYS: &str = "etcd";
/// Subject of the checks that concern the Swarm as a whole.
pub const SWARM: &str = "swarm";
/// Subject of `service` when none is there.
pub const SERVICES: &str = "all services";

fn missing(target: &str) -> ProbeError {
    fault(target, "was not asked")
}

fn fault(target: impl Into<String>, reason: &str) -> ProbeError {
    ProbeError { target: target.into(), reason: reason.into() }
}
