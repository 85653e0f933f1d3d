//! `status` as data: the cluster at one glance. Built from what should be and what was seen; nothing is asked here.
//!
//! [`view`] is the table, serde the JSON; both show the same rows. What could not be seen is a row that says why.

mod rows;
mod view;

use serde::Serialize;

pub use rows::{BackendRow, CitusRow, EtcdRow, GroupRow, HostRow, MemberRow, ProxyRow};

use super::ui::{Report, Ui};
use crate::health::{CheckResult, Condition, Look, diagnose};
use crate::observe::model::Observed;
use crate::topology::Topology;

/// Version of the JSON document: raised when a key changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// The cluster at one glance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatusReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// In one word.
    pub condition: Condition,
    /// Why it is not healthy, most important first.
    pub reasons: Vec<String>,
    /// Address that clients use; null when the topology has none.
    pub vip: Option<String>,
    /// Each group.
    pub groups: Vec<GroupRow>,
    /// Each Patroni member, group by group.
    pub members: Vec<MemberRow>,
    /// Each host with its part in the Swarm.
    pub hosts: Vec<HostRow>,
    /// Each etcd member.
    pub etcd: Vec<EtcdRow>,
    /// Each HAProxy.
    pub proxies: Vec<ProxyRow>,
    /// Each Citus group: pg_dist_node against Patroni; empty in clusters without Citus.
    pub citus: Vec<CitusRow>,
    /// Checks that did not pass, failures first.
    pub problems: Vec<CheckResult>,
    /// Level of detail of the table; the JSON always has everything.
    #[serde(skip)]
    pub verbose: u8,
}

impl StatusReport {
    /// Puts together what there is to see.
    pub fn new(topology: &Topology, observed: &Observed, verbose: u8) -> Self {
        let look = Look { topology, observed };
        let diagnosis = diagnose(topology, observed);
        Self {
            schema_version: SCHEMA_VERSION,
            cluster: topology.name.to_string(),
            condition: diagnosis.condition,
            problems: diagnosis.problems().cloned().collect(),
            reasons: diagnosis.reasons,
            vip: topology.network.vip.as_ref().map(|v| v.address.addr().to_string()),
            groups: rows::groups(&look),
            members: rows::members(&look),
            hosts: rows::hosts(&look),
            etcd: rows::etcd(&look),
            proxies: rows::proxies(&look),
            citus: rows::citus(&look),
            verbose,
        }
    }
}

impl Report for StatusReport {
    fn text(&self, ui: &Ui) -> String {
        view::text(self, ui)
    }
}

#[cfg(test)]
mod tests;
