//! Whether a cluster can play a scenario: what the topology says, and what the hosts are asked for.

use super::DrillError;
use super::fault::network;
use super::scenario::{Need, Scenario};
use crate::lab::{self, LabName};
use crate::remote::fleet::Fleet;
use crate::topology::Topology;

/// What the topology alone can tell.
pub fn of_topology(scenario: &Scenario, topology: &Topology) -> Result<(), DrillError> {
    let unfit = |reason| DrillError::Unfit { scenario: scenario.name, reason };
    scenario.lacks(topology).map_or(Ok(()), |reason| Err(unfit(reason)))
}

/// What only its hosts can tell.
pub async fn of_hosts(scenario: &Scenario, topology: &Topology, fleet: &Fleet) -> Result<(), DrillError> {
    let needs = scenario.needs();
    if needs.contains(&Need::Lab) {
        lab(scenario, topology).await?;
    }
    if needs.contains(&Need::Netem) {
        // Leadership may be anywhere by then.
        for link in fleet.links() {
            if let Some(reason) = network::without_netem(link).await? {
                return Err(DrillError::NoNetem { scenario: scenario.name, host: link.host.to_string(), reason });
            }
        }
    }
    Ok(())
}

/// The lab that all hosts belong to.
pub async fn lab(scenario: &Scenario, topology: &Topology) -> Result<LabName, DrillError> {
    let mut found = None;
    for host in &topology.hosts {
        let lab = lab::of_host(host.name.as_str(), host.address).await?;
        let none = || DrillError::NoLab { scenario: scenario.name, host: host.name.to_string() };
        found = Some(lab.ok_or_else(none)?);
    }
    found.ok_or_else(|| DrillError::NoLab { scenario: scenario.name, host: "no host".into() })
}
