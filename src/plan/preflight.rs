//! Whether the hosts are fit to carry the cluster: checks over what was seen, before anything is changed. Pure.

use serde::Serialize;

use crate::observe::model::{HostFacts, Observed, Probe};
use crate::topology::Topology;
use crate::topology::model::{Host, Role};

/// Oldest Docker Engine that the program is used with: the first that reads zstd archives and knows API 1.42.
const DOCKER_MIN: u32 = 23;
/// Patroni compares no clocks, but logs, certificates and tokens do: more than this is worth a word.
const SKEW_WARN_MS: i64 = 1_000;
/// Swarm's join tokens and TLS certificates tolerate little more than this.
const SKEW_FAIL_MS: i64 = 30_000;
/// Images of one host unpacked, with room for a first database.
const DISK_MIN: u64 = 3 << 30;
/// Ports of Swarm itself (Docker manual): cluster management and node communication.
const SWARM_PORTS: [u16; 2] = [2377, 7946];
/// Ports that proxies publish.
const CLIENT_PORTS: [u16; 3] = [5432, 5433, 8404];

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Fine.
    Pass,
    /// Works, but should be seen to.
    Warn,
    /// `init` does not go on.
    Fail,
}

/// One check of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The host.
    pub host: String,
    /// What was checked.
    pub check: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen.
    pub seen: String,
    /// What to do about it; empty when nothing is to be done.
    pub remedy: String,
}

/// All checks of all hosts, in the topology's order.
pub fn checks(topology: &Topology, observed: &Observed) -> Vec<Check> {
    let mut found = Vec::new();
    for host in &topology.hosts {
        match observed.hosts.get(&host.name) {
            Some(Probe::Known(facts)) => found.extend(of_host(topology, host, facts)),
            Some(Probe::Failed(error)) => {
                let remedy = "make SSH and the Docker daemon answer".to_owned();
                found.push(Check {
                    host: host.name.to_string(),
                    check: "reachable",
                    outcome: Outcome::Fail,
                    seen: error.reason.clone(),
                    remedy,
                });
            }
            None => {}
        }
    }
    found
}

fn of_host(topology: &Topology, host: &Host, facts: &HostFacts) -> Vec<Check> {
    let check = |check, (outcome, seen, remedy): (Outcome, String, &str)| Check {
        host: host.name.to_string(),
        check,
        outcome,
        seen,
        remedy: if outcome == Outcome::Pass { String::new() } else { remedy.to_owned() },
    };
    vec![
        check("docker", docker(facts)),
        check("clock", clock(facts)),
        check("disk", disk(topology, host, facts)),
        check("memory", memory(topology, host, facts)),
        check("address", address(topology, host, facts)),
        check("ports", ports(topology, host, facts)),
        check("kernel", (Outcome::Pass, facts.kernel.clone(), "")),
    ]
}

fn verdict(fails: bool) -> Outcome {
    if fails { Outcome::Fail } else { Outcome::Pass }
}

fn docker(facts: &HostFacts) -> (Outcome, String, &'static str) {
    let major: Option<u32> = facts.docker_version.split('.').next().and_then(|v| v.parse().ok());
    let seen = format!("Docker {}", facts.docker_version);
    (verdict(major.is_none_or(|v| v < DOCKER_MIN)), seen, "install Docker Engine 23 or newer")
}

fn clock(facts: &HostFacts) -> (Outcome, String, &'static str) {
    let skew = facts.clock_skew_ms;
    let outcome = match skew.abs() {
        s if s > SKEW_FAIL_MS => Outcome::Fail,
        s if s > SKEW_WARN_MS => Outcome::Warn,
        _ => Outcome::Pass,
    };
    (outcome, format!("{skew:+} ms against this machine"), "run chrony or systemd-timesyncd there")
}

fn disk(topology: &Topology, host: &Host, facts: &HostFacts) -> (Outcome, String, &'static str) {
    let members = topology.members().filter(|m| m.host == host.name);
    let role = |group: crate::topology::GroupId| if group.is_coordinator() { Role::Coordinator } else { Role::Worker };
    let wanted: u64 = members.filter_map(|m| topology.resources.get(&role(m.group))).map(|r| r.storage).sum();
    let free = facts.disk_free_bytes;
    // What the databases hold already is part of what they are expected to need; only a first deployment can be judged.
    let fails = facts.containers.is_empty() && free < wanted + DISK_MIN;
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let seen = format!("{:.1} GiB free, {:.1} GiB wanted", gib(free), gib(wanted + DISK_MIN));
    (verdict(fails), seen, "free disk space for Docker's data folder, or lower [resources.*] storage")
}

fn memory(topology: &Topology, host: &Host, facts: &HostFacts) -> (Outcome, String, &'static str) {
    let of = |role: Role| topology.resources.get(&role).map_or(0, |r| r.memory);
    let members: u64 = topology
        .members()
        .filter(|m| m.host == host.name)
        .map(|m| of(if m.group.is_coordinator() { Role::Coordinator } else { Role::Worker }))
        .sum();
    let etcd = topology.etcd.iter().filter(|m| m.host == host.name).count() as u64 * of(Role::Etcd);
    // HAProxy, PgBouncer and keepalived.
    let proxies = topology.proxies.iter().filter(|p| p.host == host.name).count() as u64 * 3 * of(Role::Proxy);
    // Half of a limit is reserved: Swarm refuses to place what cannot be reserved.
    let reserved = (members + etcd + proxies) / 2;
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let seen = format!("{:.1} GiB, {:.1} GiB reserved", gib(facts.memory_bytes), gib(reserved));
    (verdict(reserved > facts.memory_bytes), seen, "lower [resources.*] memory, or spread the members over more hosts")
}

/// The interface of the VIP must carry the host's own address, else VRRP speaks into the void.
fn address(topology: &Topology, host: &Host, facts: &HostFacts) -> (Outcome, String, &'static str) {
    let carrier = facts.addresses.iter().find(|(_, all)| all.contains(&host.address)).map(|(name, _)| name.as_str());
    let is_proxy = topology.proxies.iter().any(|p| p.host == host.name);
    match (&topology.network.vip, carrier) {
        (_, None) => {
            let seen = format!("no interface carries {}", host.address);
            (Outcome::Fail, seen, "write the host's own address, not one of a gateway, into the topology")
        }
        (Some(vip), Some(carrier)) if is_proxy && carrier != vip.interface => {
            let seen = format!("{} is on {carrier}, the VIP would be on {}", host.address, vip.interface);
            (Outcome::Fail, seen, "set [network] interface to the interface that carries the host's address")
        }
        (_, Some(carrier)) => (Outcome::Pass, format!("{} on {carrier}", host.address), ""),
    }
}

fn ports(topology: &Topology, host: &Host, facts: &HostFacts) -> (Outcome, String, &'static str) {
    let mut wanted = Vec::new();
    if facts.swarm.state == "inactive" {
        wanted.extend(SWARM_PORTS);
    }
    // A running proxy of ours holds its ports rightly.
    let ours = facts.containers.keys().any(|name| name.starts_with("haproxy-"));
    if topology.proxies.iter().any(|p| p.host == host.name) && !ours {
        wanted.extend(CLIENT_PORTS);
    }
    let taken: Vec<_> = wanted.iter().filter(|port| facts.listening.contains(port)).map(u16::to_string).collect();
    let seen = if taken.is_empty() { "free".to_owned() } else { format!("taken: {}", taken.join(", ")) };
    (verdict(!taken.is_empty()), seen, "stop what listens there, e.g. a PostgreSQL of the host itself")
}
