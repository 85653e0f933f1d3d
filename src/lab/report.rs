//! How a lab is: a table for people, the same struct as JSON for programs.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use bollard::Docker;
use serde::Serialize;

use super::error::LabError;
use super::folder::TOPOLOGY;
use super::spec::{LabName, host_name};
use super::state::{self, DaemonFacts};
use crate::observe::model::Probe;
use crate::output::table::{self, MISSING, UNKNOWN};
use crate::output::ui::Tone;
use crate::output::{Report, Ui};

/// A lab and its hosts.
#[derive(Debug, Serialize)]
pub struct LabReport {
    /// Version of this document's keys.
    pub schema_version: u32,
    /// The lab's name.
    pub name: String,
    /// Its folder, an absolute path.
    pub folder: PathBuf,
    /// Its topology file, an absolute path.
    pub topology: PathBuf,
    /// Its network.
    pub subnet: String,
    /// Its virtual address with prefix length.
    pub vip: String,
    /// Its hosts in ascending order.
    pub hosts: Vec<HostReport>,
}

/// One host.
#[derive(Debug, Serialize)]
pub struct HostReport {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Whether the topology was written without it.
    pub spare: bool,
    /// Whether it is switched on.
    pub state: Power,
    /// What its daemon says; null while the host is off.
    pub daemon: Option<Probe<DaemonFacts>>,
}

/// Whether a host is switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// It runs.
    On,
    /// It was killed, stopped, or ended by itself.
    Off,
}

impl LabReport {
    /// Whether every host is on and its daemon answers.
    pub fn is_healthy(&self) -> bool {
        !self.hosts.is_empty() && self.hosts.iter().all(|host| host.daemon.as_ref().is_some_and(|d| d.known().is_some()))
    }
}

/// Looks at a lab.
pub async fn look(docker: &Docker, name: &LabName) -> Result<LabReport, LabError> {
    let existing = state::find(docker, name).await?;
    let Some(network) = existing.network else {
        return Err(LabError::NoLab { name: name.to_string(), flag: name.flag() });
    };
    let on: Vec<String> = existing.hosts.iter().filter(|(_, on)| **on).map(|(n, _)| host_name(*n)).collect();
    let mut answers =
        on.iter().cloned().zip(state::daemons(docker, name, &on).await).collect::<std::collections::BTreeMap<_, _>>();
    let hosts = existing.hosts.iter().map(|(n, on)| HostReport {
        name: host_name(*n),
        address: network.subnet.host(*n),
        spare: existing.spares.contains(n),
        state: if *on { Power::On } else { Power::Off },
        daemon: answers.remove(&host_name(*n)),
    });
    Ok(LabReport {
        schema_version: 1,
        name: name.to_string(),
        topology: network.folder.join(TOPOLOGY),
        subnet: network.subnet.net().to_string(),
        vip: network.subnet.vip().to_string(),
        hosts: hosts.collect(),
        folder: network.folder,
    })
}

impl Report for LabReport {
    fn text(&self, ui: &Ui) -> String {
        let mut rows = table::table(&["host", "address", "state", "docker", "swarm", "containers"]);
        table::align_right(&mut rows, 5);
        for host in &self.hosts {
            let power = match host.state {
                Power::On => ui.paint(Tone::Good, "on"),
                Power::Off => ui.paint(Tone::Bad, "off"),
            };
            let power = if host.spare { format!("{power}, spare") } else { power };
            let [docker, swarm, containers] = match &host.daemon {
                None => [MISSING, MISSING, MISSING].map(str::to_owned),
                Some(Probe::Failed(_)) => [UNKNOWN, UNKNOWN, UNKNOWN].map(str::to_owned),
                Some(Probe::Known(facts)) => {
                    let swarm = if facts.manager { format!("{} (manager)", facts.swarm) } else { facts.swarm.clone() };
                    [facts.docker_version.clone(), swarm, facts.containers.to_string()]
                }
            };
            rows.add_row([host.name.clone(), host.address.to_string(), power, docker, swarm, containers]);
        }
        let mut text = table::render(&rows);
        for error in self.hosts.iter().filter_map(|host| host.daemon.as_ref()?.failed()) {
            text.push_str(&format!("{error}\n"));
        }
        text.push_str(&format!("\nlab {} on {}, virtual address {}\n", self.name, self.subnet, self.vip));
        text.push_str(&format!("topology: {}\n", self.topology.display()));
        text
    }
}
