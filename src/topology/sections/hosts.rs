//! `[[host]]` and `[ssh]`: who the hosts are, how to log in, and lists that refer to them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::bad_name;
use crate::topology::file::{HostBlock, TopologyFile};
use crate::topology::finding::Finding;
use crate::topology::ids::HostName;
use crate::topology::model::{Host, Ssh};
use crate::topology::placement;
use crate::topology::span::At;

/// Prefixes that Docker keeps for itself (Docker manual, "Docker object labels").
const DOCKER_LABELS: [&str; 3] = ["com.docker.", "io.docker.", "org.dockerproject."];

/// The hosts that are fit for use, and all names that are written, fit or not: a reference to a host whose address is wrong is no
/// second mistake.
pub(super) struct Directory {
    hosts: Vec<Host>,
    written: Vec<String>,
}

/// Reads all hosts.
pub(super) fn read(file: &TopologyFile, path: &Path, findings: &mut Vec<Finding>) -> Directory {
    if file.host.is_empty() {
        findings.push(
            Finding::error("no-hosts", None, "the topology names no host")
                .help("add a block for each Docker host: [[host]], name = \"host1\", address = \"10.0.0.10\""),
        );
    }
    let files = Files { base: path.parent().unwrap_or(Path::new("")), home: std::env::home_dir() };
    login_syntax(file, findings);
    let mut names: BTreeMap<&str, Range<usize>> = BTreeMap::new();
    let mut addresses: BTreeMap<Ipv4Addr, &At<HostBlock>> = BTreeMap::new();
    let mut hosts = Vec::new();
    for block in &file.host {
        let name = match HostName::new(&block.name) {
            Ok(name) => Some(name),
            Err(error) => {
                findings.push(bad_name("host-name", &block.name, &error, "host1"));
                None
            }
        };
        let mut unique = true;
        if let Some(first) = names.get(block.name.as_str()) {
            unique = false;
            findings.push(
                Finding::error(
                    "duplicate-host",
                    block.name.span.clone(),
                    format!("two hosts are named {:?}", block.name.value),
                )
                .label("named again here")
                .also(first.clone(), "first named here")
                .help("give each host a name of its own"),
            );
        } else {
            names.insert(block.name.as_str(), block.name.span.clone());
        }
        let address = address(&block.address, findings);
        if let Some(address) = address {
            if let Some(first) = addresses.get(&address) {
                findings.push(
                    Finding::error(
                        "duplicate-address",
                        block.address.span.clone(),
                        format!("two hosts have the address {address}"),
                    )
                    .label(format!("{:?} has it again", block.name.value))
                    .also(first.address.span.clone(), format!("{:?} has it first", first.name.value))
                    .help("give each host its own address: two names for one machine are no redundancy"),
                );
            } else {
                addresses.insert(address, block);
            }
        }
        let labels = labels(block, file, findings);
        zone(block, findings);
        if let (Some(name), Some(address), true) = (name, address, unique) {
            let zone = block.zone.as_ref().map_or_else(String::new, |z| z.value.clone());
            hosts.push(Host { name, address, ssh: ssh(file, block, &files), labels, zone });
        }
    }
    Directory { hosts, written: file.host.iter().map(|h| h.name.value.clone()).collect() }
}

fn address(written: &At<String>, findings: &mut Vec<Finding>) -> Option<Ipv4Addr> {
    let problem = match written.parse::<Ipv4Addr>() {
        Ok(a) if a.is_unspecified() || a.is_broadcast() || a.is_multicast() => "no host can have this address",
        Ok(a) => return Some(a),
        Err(_) if written.contains(':') => "IPv6 is not supported: Swarm's overlay networks and VRRP are set up for IPv4",
        Err(_) if written.contains('/') => "a prefix length does not belong here",
        Err(_) => "not an IPv4 address; names are not looked up, since Swarm and VRRP need the address itself",
    };
    findings.push(
        Finding::error("host-address", written.span.clone(), format!("{:?} is not a host's address", written.value))
            .label(problem)
            .help("write the IPv4 address under which the other hosts reach this one, such as \"10.0.0.10\""),
    );
    None
}

fn labels(block: &HostBlock, file: &TopologyFile, findings: &mut Vec<Finding>) -> BTreeMap<String, String> {
    let own = format!("{}.", file.cluster.name.value);
    for (key, value) in &block.labels {
        let well_formed = !key.is_empty()
            && key.len() <= 128
            && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/'));
        let reserved = if DOCKER_LABELS.iter().any(|p| key.starts_with(p)) {
            Some("labels with this prefix belong to Docker")
        } else if key.starts_with(&own) || key.starts_with("pgclusterctl.") {
            Some("labels with this prefix belong to pgclusterctl, which places members by them")
        } else {
            None
        };
        if let Some(owner) = reserved {
            findings.push(
                Finding::error("reserved-label", value.span.clone(), format!("the label {key:?} is reserved"))
                    .label(owner)
                    .help("choose a prefix of your own, such as \"example.com/rack\""),
            );
        } else if !well_formed {
            findings.push(
                Finding::error("label-name", value.span.clone(), format!("{key:?} cannot be the name of a label"))
                    .label("letters, digits, '.', '-', '_' and '/', 128 characters at most")
                    .help("rename it, for instance \"rack\""),
            );
        }
    }
    block.labels.iter().map(|(k, v)| (k.clone(), v.value.clone())).collect()
}

fn zone(block: &HostBlock, findings: &mut Vec<Finding>) {
    let Some(zone) = &block.zone else { return };
    let well_formed =
        !zone.is_empty() && zone.len() <= 63 && zone.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if !well_formed {
        findings.push(
            Finding::error("zone-name", zone.span.clone(), format!("{:?} cannot be the name of a zone", zone.value))
                .label("letters, digits, '.', '-' and '_', 63 characters at most")
                .help("write a name such as \"rack-1\", or leave the key out when there are no zones"),
        );
    }
}

/// Where file names in the topology start from.
struct Files<'a> {
    base: &'a Path,
    home: Option<PathBuf>,
}

impl Files<'_> {
    fn resolve(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            // `join` keeps an absolute path as it is.
            _ => self.base.join(text),
        }
    }
}

fn ssh(file: &TopologyFile, block: &HostBlock, files: &Files<'_>) -> Ssh {
    let own = &block.ssh;
    let text = |a: &Option<At<String>>| a.as_ref().map(|v| v.value.clone());
    Ssh {
        user: text(&own.user).or_else(|| text(&file.ssh.user)).unwrap_or_else(|| "root".to_owned()),
        port: own.port.as_ref().or(file.ssh.port.as_ref()).map_or(22, |p| p.value),
        identity: own.identity.as_ref().or(file.ssh.identity.as_ref()).map(|i| files.resolve(i)),
        known_hosts: files.resolve(file.ssh.known_hosts.as_ref().map_or("~/.ssh/known_hosts", |k| k.as_str())),
        host_key: text(&own.host_key),
    }
}

fn login_syntax(file: &TopologyFile, findings: &mut Vec<Finding>) {
    let users = file.ssh.user.iter().chain(file.host.iter().filter_map(|h| h.ssh.user.as_ref()));
    for user in users {
        let well_formed = user.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && user.len() <= 32
            && user.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if !well_formed {
            findings.push(
                Finding::error("ssh-user", user.span.clone(), format!("{:?} is not a login name", user.value))
                    .label("letters, digits, '_', '-' and '.', starting with a letter, 32 characters at most")
                    .help("write the name of an account that may use the Docker socket, such as \"root\""),
            );
        }
    }
    for port in file.ssh.port.iter().chain(file.host.iter().filter_map(|h| h.ssh.port.as_ref())) {
        if port.value == 0 {
            findings.push(
                Finding::error("ssh-port", port.span.clone(), "0 is not a TCP port")
                    .help("write sshd's port; 22 is the default"),
            );
        }
    }
    let identities = file.ssh.identity.iter().chain(file.host.iter().filter_map(|h| h.ssh.identity.as_ref()));
    for written in identities.chain(&file.ssh.known_hosts) {
        if written.is_empty() || written.contains('\0') {
            findings.push(
                Finding::error("file-name", written.span.clone(), "this is not a file name")
                    .help("write a path, or leave the key out for its default"),
            );
        }
    }
    for key in file.host.iter().filter_map(|h| h.ssh.host_key.as_ref()) {
        let mut parts = key.split_ascii_whitespace();
        let algorithm = parts.next().unwrap_or("");
        let blob = parts.next().unwrap_or("");
        // Every OpenSSH key blob starts with a 32-bit length whose first bytes are zero, which base64 writes as AAAA.
        let well_formed =
            (algorithm.starts_with("ssh-") || algorithm.starts_with("ecdsa-sha2-") || algorithm.starts_with("sk-"))
                && blob.starts_with("AAAA")
                && blob.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '='));
        if !well_formed {
            findings.push(
                Finding::error("host-key", key.span.clone(), "this is not an OpenSSH public key")
                    .label("expected an algorithm and a base64 text that starts with AAAA")
                    .help("copy the line of /etc/ssh/ssh_host_ed25519_key.pub of that host"),
            );
        }
    }
}

impl Directory {
    pub(super) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    pub(super) fn into_hosts(self) -> Vec<Host> {
        self.hosts
    }

    /// The first `count` hosts, spread over zones; fewer when there are fewer.
    pub(super) fn first(&self, count: usize) -> Vec<HostName> {
        let zones: Vec<&str> = self.hosts.iter().map(|h| h.zone.as_str()).collect();
        let order = placement::spread_order(&zones);
        order.into_iter().take(count).map(|i| self.hosts[i].name.clone()).collect()
    }

    /// The hosts that a list names; mistakes in it become findings and drop out. `key` is the list's name in the file.
    pub(super) fn list(&self, written: &At<Vec<At<String>>>, key: &str, findings: &mut Vec<Finding>) -> Vec<HostName> {
        if written.is_empty() {
            findings.push(
                Finding::error("empty-host-list", written.span.clone(), format!("{key} names no host"))
                    .label("at least one host is needed")
                    .help(format!("write hosts = [{}], or leave the key out for its default", self.sample())),
            );
        }
        let mut listed: Vec<HostName> = Vec::new();
        let mut seen: BTreeMap<&str, Range<usize>> = BTreeMap::new();
        for entry in &written.value {
            if let Some(first) = seen.get(entry.as_str()) {
                findings.push(
                    Finding::error("host-twice", entry.span.clone(), format!("{key} names {:?} twice", entry.value))
                        .label("named again here")
                        .also(first.clone(), "first named here")
                        .help("one host takes one member: name another host, or remove this one"),
                );
                continue;
            }
            seen.insert(entry.as_str(), entry.span.clone());
            listed.extend(self.one(entry, key, findings));
        }
        listed
    }

    /// The host of that name; nothing when it is none, which is then said.
    pub(super) fn one(&self, entry: &At<String>, key: &str, findings: &mut Vec<Finding>) -> Option<HostName> {
        let known = self.hosts.iter().find(|h| h.name.as_str() == entry.as_str());
        // A block that is there but wrong was reported.
        if known.is_none() && !self.written.contains(&entry.value) {
            findings.push(self.unknown(entry, key));
        }
        known.map(|host| host.name.clone())
    }

    fn unknown(&self, entry: &At<String>, key: &str) -> Finding {
        let nearest = self
            .written
            .iter()
            .map(|name| (strsim::damerau_levenshtein(name, entry), name))
            .filter(|&(distance, _)| distance <= 2)
            .min();
        let help = match nearest {
            Some((_, name)) => format!("did you mean \"{name}\"? Otherwise add a [[host]] block named \"{}\"", entry.value),
            None => format!("name one of {}, or add a [[host]] block for it", self.sample()),
        };
        Finding::error("unknown-host", entry.span.clone(), format!("{key} names {:?}, which is no host", entry.value))
            .label("no [[host]] block has this name")
            .help(help)
    }

    /// The hosts' names as a list for a help text.
    fn sample(&self) -> String {
        if self.written.is_empty() {
            return "\"host1\"".to_owned();
        }
        self.written.iter().map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ")
    }
}
