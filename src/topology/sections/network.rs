//! `[network]`: the overlay networks, cut from one range or named one by one, and the address that clients use.

use std::net::Ipv4Addr;
use std::ops::Range;

use ipnet::Ipv4Net;

use super::hosts::Directory;
use crate::topology::file::{HostBlock, NetworkSection, TopologyFile};
use crate::topology::finding::Finding;
use crate::topology::limits::MTU;
use crate::topology::model::{Network, Proxy, Vip};
use crate::topology::span::At;

/// Where the overlay networks lie unless the topology says otherwise.
const DEFAULT_OVERLAY: &str = "10.0.1.0/24";

/// Prefix lengths of a subnet: /28 holds the smallest cluster, /8 is the largest private range.
const SUBNET_PREFIX: (u8, u8) = (8, 28);

/// VXLAN adds 50 bytes to each packet (14 Ethernet, 20 IPv4, 8 UDP, 8 VXLAN) of a usual 1500.
const DEFAULT_MTU: u16 = 1450;

/// What Docker takes for itself unless it is told otherwise: Swarm's ingress network, and the bridges that every container of an
/// overlay network also has a route to (Docker manual, "Networking overview" and "docker swarm init").
const DOCKERS_OWN: [(&str, &str); 3] = [
    ("10.0.0.0/24", "Swarm's ingress network, unless Swarm was made with another address pool"),
    ("172.17.0.0/16", "Docker's default bridge"),
    ("172.18.0.0/16", "the gateway bridge of overlay networks"),
];

/// A subnet and what it was read from.
struct Subnet {
    key: &'static str,
    net: Ipv4Net,
    /// The range as written: the subnet itself, or the one that it was cut from.
    range: Ipv4Net,
    /// Where the subnet, or the range it was cut from, is written; `None` for the default.
    span: Option<Range<usize>>,
}

/// Reads the networks and the VIP.
pub(super) fn read(file: &TopologyFile, directory: &Directory, proxies: &[Proxy], findings: &mut Vec<Finding>) -> Network {
    let section = &file.network;
    let before = findings.len();
    let subnets = subnets(section, findings);
    let vip = vip(file, directory, proxies, findings);
    // Subnets that are wrong in themselves were replaced by defaults, whose overlaps would be news to nobody.
    if findings.len() == before {
        overlaps(&subnets, vip.as_ref(), file, findings);
    }
    let [coordinator, worker, admin] = subnets.map(|s| s.net);
    Network { coordinator, worker, admin, mtu: mtu(section, findings), encrypted: section.encrypted.unwrap_or(false), vip }
}

fn subnets(section: &NetworkSection, findings: &mut Vec<Finding>) -> [Subnet; 3] {
    let before = findings.len();
    let default: Ipv4Net = DEFAULT_OVERLAY.parse().expect("the default range is a subnet");
    let written = section.overlay.as_ref();
    let overlay =
        written.and_then(|w| subnet(w, "overlay", (SUBNET_PREFIX.0, SUBNET_PREFIX.1 - 2), findings)).unwrap_or(default);
    let span = written.map(|w| w.span.clone());
    let quarters: Vec<Ipv4Net> = overlay.subnets(overlay.prefix_len() + 2).map(Iterator::collect).unwrap_or_default();
    let keys = [("coordinator", &section.coordinator), ("worker", &section.worker), ("admin", &section.admin)];
    if let Some(written) = written
        && keys.iter().all(|(_, own)| own.is_some())
        && findings.len() == before
    {
        findings.push(
            Finding::warning("unused-key", written.span.clone(), "network.overlay has no effect: all three subnets are named")
                .help("remove it"),
        );
    }
    let mut index = 0;
    keys.map(|(key, own)| {
        let cut = quarters.get(index).copied().unwrap_or(default);
        index += 1;
        match own {
            Some(own) => {
                let net = subnet(own, key, SUBNET_PREFIX, findings).unwrap_or(cut);
                Subnet { key, net, range: net, span: Some(own.span.clone()) }
            }
            None => Subnet { key, net: cut, range: overlay, span: span.clone() },
        }
    })
}

fn subnet(written: &At<String>, key: &str, (min, max): (u8, u8), findings: &mut Vec<Finding>) -> Option<Ipv4Net> {
    let wrong = |label: String, help: String| {
        Finding::error("subnet", written.span.clone(), format!("{:?} cannot be network.{key}", written.value))
            .label(label)
            .help(help)
    };
    let Ok(net) = written.parse::<Ipv4Net>() else {
        findings
            .push(wrong("not an IPv4 network".into(), "write an address and a prefix length, such as \"10.0.1.0/24\"".into()));
        return None;
    };
    if net.trunc() != net {
        findings.push(wrong(
            format!("the address has bits beyond /{}", net.prefix_len()),
            format!("write the network's own address: \"{}\"", net.trunc()),
        ));
        return None;
    }
    if !(min..=max).contains(&net.prefix_len()) {
        let problem = if net.prefix_len() > max { "too small" } else { "too large" };
        findings.push(wrong(
            format!("a /{} is {problem}", net.prefix_len()),
            format!("write a prefix length from {min} to {max}, such as \"10.0.1.0/24\""),
        ));
        return None;
    }
    let address = net.network();
    if address.is_loopback()
        || address.is_multicast()
        || address.is_link_local()
        || address.octets()[0] == 0
        || address.octets()[0] >= 240
    {
        findings.push(wrong("this range is reserved".into(), "choose a private range, such as \"10.0.1.0/24\"".into()));
        return None;
    }
    Some(net)
}

fn vip(file: &TopologyFile, directory: &Directory, proxies: &[Proxy], findings: &mut Vec<Finding>) -> Option<Vip> {
    let section = &file.network;
    let interface = interface(section, findings);
    let router_id = router_id(section, findings);
    let Some(written) = &section.vip else {
        for (key, span) in [
            ("interface", section.interface.as_ref().map(|w| w.span.clone())),
            ("virtual_router_id", section.virtual_router_id.as_ref().map(|w| w.span.clone())),
        ] {
            if let Some(span) = span {
                findings.push(
                    Finding::warning("unused-key", span, format!("network.{key} has no effect without network.vip"))
                        .help("set network.vip, or remove the key"),
                );
            }
        }
        return None;
    };
    let Ok(net) = written.parse::<Ipv4Net>() else {
        let help = match written.parse::<Ipv4Addr>() {
            Ok(address) => format!("add the prefix length of the hosts' network: \"{address}/24\""),
            Err(_) => "write an IPv4 address with the prefix length of the hosts' network: \"10.0.0.100/24\"".to_owned(),
        };
        findings.push(
            Finding::error("vip", written.span.clone(), format!("{:?} cannot be the VIP", written.value))
                .label("an address with a prefix length is needed")
                .help(help),
        );
        return None;
    };
    if net.prefix_len() < 31 && (net.addr() == net.network() || net.addr() == net.broadcast()) {
        findings.push(
            Finding::error("vip", written.span.clone(), format!("{} cannot be the VIP", net.addr()))
                .label(format!("it is the network's or broadcast address of {}", net.trunc()))
                .help("choose a free host address of that network"),
        );
        return None;
    }
    if proxies.len() == 1 {
        findings.push(
            Finding::warning("vip-with-one-proxy", written.span.clone(), "the VIP has one host only, so it never moves")
                .label("it goes when that host goes")
                .help("name a second host in proxy.hosts"),
        );
    }
    if let Some(host) = directory.hosts().iter().find(|h| h.address == net.addr()) {
        findings.push(
            Finding::error("vip-is-host", written.span.clone(), format!("the VIP is the address of {}", host.name))
                .label("it must belong to no host, since it moves between them")
                .help("choose a free address of the hosts' network"),
        );
        return None;
    }
    let network = net.trunc();
    let outside = |host: &&At<HostBlock>| {
        let is_proxy = proxies.iter().any(|p| p.host.as_str() == host.name.as_str());
        is_proxy && host.address.parse::<Ipv4Addr>().is_ok_and(|a| !network.contains(&a))
    };
    let outside: Vec<&At<HostBlock>> = file.host.iter().filter(outside).collect();
    if let Some(first) = outside.first() {
        let message = format!("the VIP is not in the network of {}", first.name.value);
        let mut finding = Finding::error("vip-outside-subnet", written.span.clone(), message)
            .label(format!("no packet for {} would arrive at a host outside {network}", net.addr()))
            .help("choose a free address of the network that all proxy hosts share, with its prefix length");
        for host in outside {
            finding = finding.also(host.address.span.clone(), format!("{:?} is outside", host.name.value));
        }
        findings.push(finding);
    }
    Some(Vip { address: net, interface, router_id })
}

fn interface(section: &NetworkSection, findings: &mut Vec<Finding>) -> String {
    let Some(written) = &section.interface else { return "eth0".to_owned() };
    // Linux: IFNAMSIZ is 16 with the closing zero; slashes, spaces and colons are refused or mean an alias.
    let well_formed = !written.is_empty()
        && written.len() <= 15
        && !matches!(written.as_str(), "." | "..")
        && written.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if !well_formed {
        findings.push(
            Finding::error("interface", written.span.clone(), format!("{:?} is not a network interface", written.value))
                .label("letters, digits, '.', '-' and '_', 15 characters at most")
                .help("write the interface that has the hosts' address, as `ip -br address` lists it"),
        );
    }
    written.value.clone()
}

fn router_id(section: &NetworkSection, findings: &mut Vec<Finding>) -> u8 {
    let Some(written) = &section.virtual_router_id else { return 51 };
    if written.value == 0 {
        findings.push(
            Finding::error("virtual-router-id", written.span.clone(), "0 is not a VRRP router id")
                .label("1 to 255")
                .help("write a number that no other VRRP router in the hosts' network uses; 51 is the default"),
        );
    }
    written.value
}

fn mtu(section: &NetworkSection, findings: &mut Vec<Finding>) -> u16 {
    let Some(written) = &section.mtu else { return DEFAULT_MTU };
    if !(MTU.0..=MTU.1).contains(&written.value) {
        findings.push(
            Finding::error(
                "mtu",
                written.span.clone(),
                format!("the overlay networks cannot have an MTU of {}", written.value),
            )
            .label(format!("{} to {} bytes", MTU.0, MTU.1))
            .help("write the hosts' MTU less 50 bytes for VXLAN: 1450 for the usual 1500, 8950 for jumbo frames"),
        );
    }
    written.value
}

fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

fn overlaps(subnets: &[Subnet; 3], vip: Option<&Vip>, file: &TopologyFile, findings: &mut Vec<Finding>) {
    let section = &file.network;
    for (i, a) in subnets.iter().enumerate() {
        for b in &subnets[i + 1..] {
            if overlap(&a.net, &b.net) {
                findings.push(
                    Finding::error(
                        "overlapping-subnets",
                        b.span.clone(),
                        format!("the networks {} and {} overlap", a.key, b.key),
                    )
                    .label(format!("{} is {}", b.key, b.net))
                    .also(a.span.clone().filter(|s| Some(s) != b.span.as_ref()), format!("{} is {}", a.key, a.net))
                    .help("give each its own range, or set network.overlay alone and let it be cut"),
                );
            }
        }
    }
    // One finding per range as written, not one per quarter of it.
    let mut seen: Vec<Ipv4Net> = Vec::new();
    for subnet in subnets {
        let range = subnet.range;
        if seen.contains(&range) {
            continue;
        }
        seen.push(range);
        let host = file.host.iter().find(|h| h.address.parse::<Ipv4Addr>().is_ok_and(|a| range.contains(&a)));
        let vip = vip.filter(|vip| overlap(&range, &vip.address.trunc())).zip(section.vip.as_ref());
        let (message, other, remark) = match (host, vip) {
            (Some(host), _) => (
                format!("the overlay range {range} contains the address of {:?}", host.name.value),
                host.address.span.clone(),
                "this address",
            ),
            (None, Some((vip, written))) => (
                format!("the overlay range {range} overlaps the hosts' network {}", vip.address.trunc()),
                written.span.clone(),
                "its prefix length says which network the hosts are in",
            ),
            (None, None) => {
                dockers_own(subnet, findings);
                continue;
            }
        };
        let label = "containers could not reach the hosts";
        let finding = match &subnet.span {
            Some(span) => Finding::error("overlay-overlaps-hosts", span.clone(), message).label(label).also(other, remark),
            None => Finding::error("overlay-overlaps-hosts", other, message).label(label),
        };
        findings.push(finding.help("choose a range that the hosts' network does not use: network.overlay = \"10.20.0.0/24\""));
    }
}

fn dockers_own(subnet: &Subnet, findings: &mut Vec<Finding>) {
    let range = subnet.range;
    for (own, whose) in DOCKERS_OWN {
        if overlap(&range, &own.parse().expect("Docker's ranges are subnets")) {
            let message = format!("the overlay range {range} overlaps {own}");
            findings.push(
                Finding::warning("overlay-overlaps-docker", subnet.span.clone(), message)
                    .label(whose)
                    .help("choose another range, such as network.overlay = \"10.20.0.0/24\""),
            );
        }
    }
}
