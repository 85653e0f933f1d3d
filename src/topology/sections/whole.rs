//! Rules between sections, held against the resolved whole: room in the subnets, length of derived names, memory per host.

use crate::topology::file::TopologyFile;
use crate::topology::finding::Finding;
use crate::topology::model::{Role, Topology};
use crate::topology::units::show_size;

/// Checks what only the whole shows.
pub(super) fn check(file: &TopologyFile, topology: &Topology, findings: &mut Vec<Finding>) {
    room(file, topology, findings);
    memory(file, topology, findings);
}

/// Addresses that Swarm takes from each overlay network: the network's and the broadcast address, the gateway, and one for the
/// load balancer's endpoint on each host.
fn overhead(topology: &Topology) -> usize {
    3 + topology.hosts.len()
}

/// Addresses kept for what comes and goes: relays, one-off tools, a replaced task before the old one is gone.
const SPARE: usize = 8;

/// Every subnet must hold its services' addresses; Swarm leaves a task pending without a word when none is left.
fn room(file: &TopologyFile, topology: &Topology, findings: &mut Vec<Finding>) {
    let coordinators = topology.groups.first().map_or(0, |g| g.members.len());
    let workers: usize = topology.groups.iter().skip(1).map(|g| g.members.len()).sum();
    let (etcd, proxies) = (topology.etcd.len(), topology.proxies.len());
    let section = &file.network;
    let subnets = [
        // HAProxy and PgBouncer each take an address.
        ("coordinator", topology.network.coordinator, &section.coordinator, etcd + coordinators + 2 * proxies),
        ("worker", topology.network.worker, &section.worker, etcd + coordinators + workers),
        ("admin", topology.network.admin, &section.admin, etcd + coordinators + workers + 2 * proxies),
    ];
    for (key, net, written, members) in subnets {
        let need = members + overhead(topology) + SPARE;
        let have = 1usize << (32 - net.prefix_len());
        if need > have {
            let span = written.as_ref().or(section.overlay.as_ref()).map(|w| w.span.clone());
            let prefix = 32 - need.next_power_of_two().trailing_zeros();
            findings.push(
                Finding::error("subnet-too-small", span, format!("the {key} network {net} has too few addresses"))
                    .label(format!("{have} addresses; {members} services, Swarm and spare ones need {need}"))
                    .help(format!("choose a network.overlay of /{} or shorter, so that each quarter has {need}", prefix - 2)),
            );
        }
    }
}

/// Limits that add up to more than the largest role's share of a host cannot be seen from here; a host that carries several
/// members of a role multiplies that role's limit, which is easy to overlook.
fn memory(file: &TopologyFile, topology: &Topology, findings: &mut Vec<Finding>) {
    let Some(written) = &file.resources.worker.memory else { return };
    let Some(limit) = topology.resources.get(&Role::Worker).map(|r| r.memory) else { return };
    let on_host = |host| topology.members().filter(|m| !m.group.is_coordinator() && &m.host == host).count() as u64;
    let most = topology.hosts.iter().map(|h| (on_host(&h.name), h)).max_by_key(|(n, _)| *n);
    if let Some((count, host)) = most
        && count >= 4
    {
        findings.push(
            Finding::warning("memory-adds-up", written.span.clone(), format!("{} runs {count} workers", host.name))
                .label(format!("each may use {}: {} together", written.value, show_size(limit.saturating_mul(count))))
                .help("the limit holds for each member: make sure that the host has that much memory"),
        );
    }
}
