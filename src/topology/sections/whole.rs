//! Rules between sections, held against the resolved whole: room in the subnets, redundancy, zones, memory per host.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::topology::file::TopologyFile;
use crate::topology::finding::Finding;
use crate::topology::ids::HostName;
use crate::topology::model::{Role, Topology};
use crate::topology::units::show_size;

/// Checks what only the whole shows. A topology with an error in it has gaps, from which nothing follows.
pub(super) fn check(file: &TopologyFile, topology: &Topology, findings: &mut Vec<Finding>) {
    if findings.iter().any(Finding::is_error) {
        return;
    }
    room(file, topology, findings);
    redundancy(file, topology, findings);
    idle_hosts(file, topology, findings);
    zones(file, topology, findings);
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
    let (coordinators, workers): (Vec<_>, Vec<_>) = topology.members().partition(|member| member.group.is_coordinator());
    let (coordinators, workers) = (coordinators.len(), workers.len());
    let (etcd, proxies) = (topology.etcd.len(), topology.proxies.len());
    let section = &file.network;
    let subnets = [
        // HAProxy joins the coordinators' network; PgBouncer reaches them through HAProxy on the admin network.
        ("coordinator", topology.network.coordinator, &section.coordinator, etcd + coordinators + proxies),
        ("worker", topology.network.worker, &section.worker, etcd + coordinators + workers),
        ("admin", topology.network.admin, &section.admin, 2 * proxies),
    ];
    // Quarters of one range are one mistake; the fullest of them says how large the range must be.
    let mut cut: Option<(usize, Finding)> = None;
    for (key, net, written, members) in subnets {
        let need = members + overhead(topology) + SPARE;
        let have = 1usize << (32 - net.prefix_len());
        if need <= have {
            continue;
        }
        let prefix = 32 - need.next_power_of_two().trailing_zeros();
        let finding = |span: Option<Range<usize>>, help: String| {
            Finding::error("subnet-too-small", span, format!("the {key} network {net} has too few addresses"))
                .label(format!("{have} addresses; {members} services, Swarm and spare ones need {need}"))
                .help(help)
        };
        if let Some(written) = written {
            findings.push(finding(Some(written.span.clone()), format!("choose a /{prefix} or larger")));
        } else if cut.as_ref().is_none_or(|(most, _)| need > *most) {
            let span = section.overlay.as_ref().map(|w| w.span.clone());
            let help = format!("choose a network.overlay of /{} or larger, since each network is a quarter of it", prefix - 2);
            cut = Some((need, finding(span, help)));
        }
    }
    findings.extend(cut.map(|(_, finding)| finding));
}

/// Fewer than three hosts: no majority survives the loss of one.
fn redundancy(file: &TopologyFile, topology: &Topology, findings: &mut Vec<Finding>) {
    let hosts = topology.hosts.len();
    let Some(first) = file.host.first().filter(|_| hosts < 3) else { return };
    let (message, label) = if hosts == 1 {
        ("one host: nothing survives its loss", "all members and the only etcd run here")
    } else {
        ("two hosts: no majority survives the loss of the wrong one", "etcd and Swarm need a majority, which takes three hosts")
    };
    findings.push(
        Finding::warning("no-redundancy", first.name.span.clone(), message)
            .label(label)
            .help("fine for trying things out; add hosts until there are three for anything else"),
    );
}

/// A host that carries nothing was probably meant to.
fn idle_hosts(file: &TopologyFile, topology: &Topology, findings: &mut Vec<Finding>) {
    let etcd = topology.etcd.iter().map(|e| &e.host);
    let busy: BTreeSet<&HostName> =
        etcd.chain(topology.members().map(|m| &m.host)).chain(topology.proxies.iter().map(|p| &p.host)).collect();
    for host in topology.hosts.iter().filter(|h| !busy.contains(&h.name)) {
        let block = file.host.iter().find(|b| b.name.as_str() == host.name.as_str());
        findings.push(
            Finding::warning("idle-host", block.map(|b| b.name.span.clone()), format!("{} carries nothing", host.name))
                .label("it joins the Swarm and waits")
                .help("raise shards.count, name it in a list, or remove it"),
        );
    }
}

/// Members that one zone's loss takes together although other zones exist.
fn zones(file: &TopologyFile, topology: &Topology, findings: &mut Vec<Finding>) {
    let zone_of: BTreeMap<&HostName, &str> = topology.hosts.iter().map(|h| (&h.name, h.zone.as_str())).collect();
    let all: BTreeSet<&str> = zone_of.values().copied().collect();
    if all.len() < 2 {
        return;
    }
    for group in topology.groups.iter().filter(|g| g.members.len() > 1) {
        let used: BTreeSet<&str> = group.members.iter().map(|m| zone_of[&m.host]).collect();
        // Who puts readers elsewhere has one region that writes and others that read; what each loss costs, `tolerance` says.
        let reads_elsewhere = group.readers.iter().any(|reader| !used.contains(zone_of[&reader.host]));
        if let [only] = used.iter().collect::<Vec<_>>()[..]
            && !reads_elsewhere
        {
            let span = if group.id.is_coordinator() {
                file.coordinators.hosts.as_ref().map(|h| h.span.clone())
            } else {
                let block = file.shard.get(group.id.0 as usize - 1);
                block.map(|b| b.hosts.span.clone()).or_else(|| file.shards.hosts.as_ref().map(|h| h.span.clone()))
            };
            findings.push(
                Finding::warning("group-in-one-zone", span, format!("all members of {} are in zone {only:?}", group.id))
                    .label("the loss of that zone takes the group")
                    .help("name hosts of different zones"),
            );
        }
    }
    let majority = topology.etcd.len() / 2 + 1;
    for zone in &all {
        let here = topology.etcd.iter().filter(|e| zone_of[&e.host] == *zone).count();
        // With two zones one of them has a majority, wherever the members are; that is no mistake of the list.
        if all.len() > 2 && topology.etcd.len() > 1 && here >= majority {
            findings.push(
                Finding::warning(
                    "etcd-zone-majority",
                    file.etcd.hosts.as_ref().map(|h| h.span.clone()),
                    format!("zone {zone:?} has {here} of {} etcd members", topology.etcd.len()),
                )
                .label("the loss of that zone leaves no majority")
                .help("spread etcd.hosts over the zones"),
            );
        }
    }
}

/// A host that carries many workers multiplies their limit, which is easy to overlook.
const WORKERS_WORTH_A_WORD: u64 = 4;

fn memory(file: &TopologyFile, topology: &Topology, findings: &mut Vec<Finding>) {
    let Some(written) = &file.resources.worker.memory else { return };
    let Some(limit) = topology.resources.get(&Role::Worker).map(|r| r.memory) else { return };
    let on_host = |host| topology.members().filter(|m| !m.group.is_coordinator() && &m.host == host).count() as u64;
    let most = topology.hosts.iter().map(|h| (on_host(&h.name), h)).max_by_key(|(n, _)| *n);
    if let Some((count, host)) = most
        && count >= WORKERS_WORTH_A_WORD
    {
        findings.push(
            Finding::warning("memory-adds-up", written.span.clone(), format!("{} runs {count} workers", host.name))
                .label(format!("each may use {}: {} together", written.value, show_size(limit.saturating_mul(count))))
                .help("the limit holds for each member: make sure that the host has that much memory"),
        );
    }
}
