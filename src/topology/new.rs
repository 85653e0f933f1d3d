//! The text of a first `topology.toml`, commented so that it explains itself. Pure.
//!
//! Called by `new`, which looks names up and writes the file.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::ids::{HostName, NameError};

/// A host as the command line gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHost {
    /// Name in the topology.
    pub name: HostName,
    /// Its address; `None` when the name could not be looked up, which the file then says.
    pub address: Option<Ipv4Addr>,
}

/// Why no file can be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NewError {
    /// A name that cannot be one.
    #[error("{text:?} cannot be the name of a host: {source}")]
    Name {
        /// What was given.
        text: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// What follows the equals sign is no address.
    #[error("{text:?} is not an IPv4 address")]
    Address {
        /// What was given.
        text: String,
    },
    /// A name or an address is there twice.
    #[error("{text:?} is given twice")]
    Twice {
        /// What was given.
        text: String,
    },
}

impl crate::error::Failure for NewError {
    fn exit(&self) -> crate::error::Exit {
        crate::error::Exit::Usage
    }

    fn hints(&self) -> Vec<String> {
        vec!["write --hosts host1=10.0.0.10,host2=10.0.0.11,host3=10.0.0.12, or addresses alone, or names alone".into()]
    }
}

/// Reads `--hosts`: each entry is `name=address`, an address (named `host<n>`), or a name, for which `lookup` is asked.
/// Without any entry, three hosts with example addresses.
pub fn hosts(entries: &[String], lookup: impl Fn(&str) -> Option<Ipv4Addr>) -> Result<Vec<NewHost>, NewError> {
    let examples = ["10.0.0.10", "10.0.0.11", "10.0.0.12"].map(String::from);
    let entries = if entries.is_empty() { &examples[..] } else { entries };
    let name = |text: &str| HostName::new(text).map_err(|source| NewError::Name { text: text.to_owned(), source });
    let mut hosts: Vec<NewHost> = Vec::new();
    for (entry, ordinal) in entries.iter().map(|e| e.trim()).zip(1..) {
        let host = if let Some((left, right)) = entry.split_once('=') {
            let address = right.trim().parse().map_err(|_| NewError::Address { text: right.trim().to_owned() })?;
            NewHost { name: name(left.trim())?, address: Some(address) }
        } else if let Ok(address) = entry.parse() {
            NewHost { name: name(&format!("host{ordinal}"))?, address: Some(address) }
        } else {
            // A full domain name keeps its first part, which is what people call the machine.
            NewHost { name: name(entry.split('.').next().unwrap_or(entry))?, address: lookup(entry) }
        };
        let twice = hosts.iter().any(|h| h.name == host.name || (h.address.is_some() && h.address == host.address));
        if twice {
            return Err(NewError::Twice { text: entry.to_owned() });
        }
        hosts.push(host);
    }
    Ok(hosts)
}

/// The text of the file. What is commented out shows the default or an example.
pub fn text(cluster: &str, hosts: &[NewHost], shards: u32) -> String {
    let mut out = format!(
        "\
# A PostgreSQL cluster. `pgclusterctl topology check` explains every mistake in this file; docs/topology.md has every key.
schema = 1

[cluster]
name = \"{cluster}\"          # Patroni scope, stack name, prefix of every object
database = \"app\"            # the application's database

[ssh]
user = \"root\"               # an account that may use the Docker socket
# identity = \"~/.ssh/id_ed25519\"   # the SSH agent is asked when this is left out

# The Docker hosts. With three, the cluster survives the loss of any one.
"
    );
    for host in hosts {
        let address = match host.address {
            Some(address) => format!("address = \"{address}\""),
            None => format!("address = \"?\"   # {} could not be looked up: write its IPv4 address", host.name),
        };
        out.push_str(&format!("[[host]]\nname = \"{}\"\n{address}\n\n", host.name));
    }
    let overlay = overlay(hosts);
    let vip = vip(hosts);
    out.push_str(&format!(
        "\
[network]
overlay = \"{overlay}\"    # the containers' networks are cut from this; no network of the hosts may overlap it
# The address that clients use: free, and in the network of all proxy hosts. Without it clients name the proxies themselves.
# vip = \"{vip}\"
# interface = \"eth0\"        # the proxy hosts' interface in that network

"
    ));
    if shards == 0 {
        out.push_str(
            "\
# Plain Patroni: one leader and its standbys, no Citus. Set shards.count to distribute tables over several groups.
[coordinators]
replication = \"sync\"        # a commit waits for a standby: nothing acknowledged is lost

",
        );
    } else {
        let replicas = hosts.len().clamp(1, 2);
        let replication = if replicas == 1 {
            "replication = \"async\"       # one host, so there is no standby to wait for"
        } else {
            "replication = \"quorum\"      # async: no added latency, may lose commits; sync; quorum: any one standby"
        };
        out.push_str(&format!(
            "\
[shards]
count = {shards}                   # Citus worker groups, placed in a ring over the hosts
replicas = {replicas}                # members of each group, the leader included
{replication}

"
        ));
    }
    out.push_str(
        "\
# Limits per service. PostgreSQL's memory settings follow from them; without limits they suit a laptop.
# [resources.coordinator]
# cpus = 2
# memory = \"8GiB\"
# [resources.worker]
# cpus = 4
# memory = \"16GiB\"

# How long writes may fail when a host is lost: `topology budget` shows what each failure costs, and why. A promise that the
# settings cannot keep is refused. Lease guards keep it near 10 s; without them, [guard] enabled = false, it is Patroni's ttl.
# [failover.promise]
# host_loss = \"12s\"

# [vector]
# engine = \"pgvector\"       # or \"ruvector\", or \"none\"

# [postgres.parameters]     # these win over whatever is derived
# work_mem = \"64MB\"
",
    );
    out
}

/// A range for the overlay networks in which no host lies.
fn overlay(hosts: &[NewHost]) -> &'static str {
    let taken: BTreeSet<[u8; 3]> = hosts.iter().filter_map(|h| h.address).map(network).collect();
    let candidates = [([10, 0, 1], "10.0.1.0/24"), ([10, 20, 0], "10.20.0.0/24"), ([172, 30, 0], "172.30.0.0/24")];
    // Three ranges and a host in each of them: the check then says what overlaps.
    candidates.iter().find(|(network, _)| !taken.contains(network)).map_or(candidates[0].1, |(_, text)| text)
}

/// An example of a VIP: an address of the first host's /24 that no host has.
fn vip(hosts: &[NewHost]) -> String {
    let first = hosts.iter().find_map(|h| h.address).unwrap_or(Ipv4Addr::new(10, 0, 0, 10));
    let [a, b, c] = network(first);
    let taken: BTreeSet<Ipv4Addr> = hosts.iter().filter_map(|h| h.address).collect();
    let free = (100..=254).map(|d| Ipv4Addr::new(a, b, c, d)).find(|v| !taken.contains(v));
    format!("{}/24", free.unwrap_or(first))
}

fn network(address: Ipv4Addr) -> [u8; 3] {
    let [a, b, c, _] = address.octets();
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::topology::parse;

    fn write(entries: &[&str], shards: u32) -> String {
        let entries: Vec<String> = entries.iter().map(|e| (*e).to_owned()).collect();
        let hosts = hosts(&entries, |name| (name == "db3.example.com").then_some(Ipv4Addr::new(10, 0, 0, 13)));
        text("pgcluster", &hosts.expect("the entries are hosts"), shards)
    }

    #[test]
    fn what_is_written_is_valid_without_a_warning() {
        for (entries, shards) in [
            (&[][..], 3),
            (&["10.0.1.5", "10.0.1.6", "10.0.1.7"][..], 0),
            (&["a=10.0.0.1", "b=10.0.0.2", "db3.example.com"][..], 4),
        ] {
            let text = write(entries, shards);
            let (topology, warnings) = parse(&text, Path::new("topology.toml")).unwrap_or_else(|f| panic!("{f:?}\n{text}"));
            assert_eq!(warnings, [], "{text}");
            assert_eq!(topology.groups.len(), 1 + shards as usize);
            // The commented examples must be valid too.
            let open = text.replace("# vip", "vip").replace("# interface", "interface").replace("# [", "[");
            let open = ["cpus", "memory", "engine", "work_mem", "identity", "host_loss"]
                .iter()
                .fold(open, |t, key| t.replace(&format!("# {key}"), key));
            parse(&open, Path::new("topology.toml")).unwrap_or_else(|f| panic!("{f:?}\n{open}"));
        }
    }

    #[test]
    fn one_host_makes_a_cluster_that_warns_of_its_loss() {
        let (_, warnings) = parse(&write(&["10.0.0.1"], 2), Path::new("t")).expect("one host is valid");
        assert_eq!(warnings.iter().map(|w| w.rule).collect::<Vec<_>>(), ["no-redundancy"]);
    }

    #[test]
    fn an_unknown_name_is_left_to_the_operator_and_found_by_the_check() {
        let findings =
            parse(&write(&["nowhere", "10.0.0.2", "10.0.0.3"], 1), Path::new("t")).expect_err("an address is missing");
        assert_eq!(findings.iter().map(|f| f.rule).collect::<Vec<_>>(), ["host-address"]);
    }

    #[test]
    fn doubles_and_nonsense_are_refused() {
        for bad in [&["10.0.0.1", "10.0.0.1"][..], &["a=x"], &["../x"], &["a=10.0.0.1", "a=10.0.0.2"]] {
            let entries: Vec<String> = bad.iter().map(|e| (*e).to_owned()).collect();
            assert!(hosts(&entries, |_| None).is_err(), "{bad:?} was accepted");
        }
    }
}
