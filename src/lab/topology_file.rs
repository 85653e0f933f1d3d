//! The topology that a lab writes: the default layout with the lab's addresses and a laptop's resources. Pure.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::spec::{Subnet, host_name};

/// Shard groups where nobody says how many.
const DEFAULT_SHARDS: u32 = 3;

/// Start of the line that tells an untouched file from an edited one.
const SEAL: &str = "# untouched: ";

/// The topology's text. One or two hosts get what they can carry: a single etcd member, and groups without or with one standby.
pub fn render(subnet: Subnet, hosts: u8, shards: u32) -> String {
    let quoted = |count: u8| (1..=hosts.min(count)).map(|n| format!("\"{}\"", host_name(n))).collect::<Vec<_>>().join(", ");
    let many = hosts > 1;
    let mut text = String::new();
    let mut line = |l: &str| {
        text.push_str(l);
        text.push('\n');
    };
    line("# Docker hosts on one machine, written by `pgclusterctl lab up`.");
    line("# Paths are relative to this file. Once edited, it is never overwritten.");
    line("schema = 1");
    line("");
    line("[cluster]");
    line("name = \"pgcluster\"");
    line("database = \"app\"");
    line("postgres = 17");
    line("");
    line("[ssh]");
    line("user = \"root\"");
    line("identity = \"id_ed25519\"");
    line("known_hosts = \"known_hosts\"");
    for n in 1..=hosts {
        line("");
        line("[[host]]");
        line(&format!("name = \"{}\"", host_name(n)));
        line(&format!("address = \"{}\"", subnet.host(n)));
    }
    line("");
    line("[network]");
    line("overlay = \"10.0.1.0/24\"");
    line(&format!("vip = \"{}\"", subnet.vip()));
    line("");
    line("[etcd]");
    line(&format!("hosts = [{}]", quoted(if hosts < 3 { 1 } else { 3 })));
    line("");
    line("[coordinators]");
    line(&format!("hosts = [{}]", quoted(3)));
    line(&format!("replication = \"{}\"", if many { "sync" } else { "async" }));
    line("");
    line("[shards]");
    line(&format!("count = {shards}"));
    if shards > 0 {
        line(&format!("replicas = {}", if many { 2 } else { 1 }));
        line(&format!("replication = \"{}\"", if many { "quorum" } else { "async" }));
        line("citus_shard_count = 32");
    }
    line("");
    line("[proxy]");
    line(&format!("hosts = [{}]", quoted(2)));
    line("");
    line("# Limits per container; half of it is reserved. No CPU limits: a lab shares few cores among many.");
    for (role, memory) in [("etcd", "256MiB"), ("coordinator", "1GiB"), ("worker", "768MiB"), ("proxy", "256MiB")] {
        line(&format!("[resources.{role}]"));
        line(&format!("memory = \"{memory}\""));
    }
    text
}

/// Adds the line that says that this text is as it was written.
pub fn sealed(text: &str) -> String {
    let mut sealed = text.to_owned();
    // Writing to a String cannot fail.
    let _ = writeln!(sealed, "\n{SEAL}{}", digest(text));
    sealed
}

/// Whether a sealed text is as it was written.
pub fn is_unedited(text: &str) -> bool {
    let Some((body, seal)) = text.rsplit_once(&format!("\n{SEAL}")) else { return false };
    seal.trim_end() == digest(body)
}

/// How many shard groups a lab has that is not asked for another number: as many as the text says that is there.
pub fn shards(asked: Option<u32>, there: Option<&str>) -> u32 {
    let written = || there?.parse::<toml_edit::DocumentMut>().ok()?.get("shards")?.get("count")?.as_integer()?.try_into().ok();
    asked.or_else(written).unwrap_or(DEFAULT_SHARDS)
}

/// Sixteen hexadecimal digits: it guards against accidents, not against anybody.
fn digest(text: &str) -> String {
    let mut text = hex::encode(Sha256::digest(text.as_bytes()));
    text.truncate(16);
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::topology;

    fn subnet() -> Subnet {
        Subnet::new("172.30.78.0/24".parse().expect("a subnet")).expect("fits")
    }

    #[test]
    fn every_size_of_lab_gets_a_topology_without_findings() {
        for hosts in 1..=9 {
            for shards in [0, 1, 3] {
                let text = sealed(&render(subnet(), hosts, shards));
                let (topology, findings) = topology::parse(&text, Path::new("lab/topology.toml"))
                    .unwrap_or_else(|findings| panic!("{hosts} hosts, {shards} shards: {findings:#?}\n{text}"));
                assert_eq!(topology.hosts.len(), usize::from(hosts));
                assert_eq!(topology.groups.len(), shards as usize + 1);
                if hosts >= 3 {
                    // A host beyond the third has nothing to carry without shard groups, which is as it was asked for.
                    let findings: Vec<_> = findings.iter().filter(|f| f.rule != "idle-host").collect();
                    assert!(findings.is_empty(), "{hosts} hosts, {shards} shards: {findings:#?}");
                }
            }
        }
    }

    #[test]
    fn a_lab_keeps_its_shard_groups_unless_others_are_asked_for() {
        let there = |count| sealed(&render(subnet(), 3, count));
        assert_eq!(shards(None, None), 3);
        assert_eq!(shards(None, Some(&there(0))), 0);
        assert_eq!(shards(None, Some(&there(5))), 5);
        assert_eq!(shards(Some(2), Some(&there(5))), 2);
        assert_eq!(shards(None, Some("not TOML")), 3);
    }

    #[test]
    fn addresses_are_the_labs() {
        let text = render(subnet(), 3, 3);
        assert!(text.contains("address = \"172.30.78.13\""), "{text}");
        assert!(text.contains("vip = \"172.30.78.100/24\""), "{text}");
    }

    #[test]
    fn an_edit_breaks_the_seal() {
        let text = sealed("a = 1\n");
        assert!(is_unedited(&text));
        assert!(!is_unedited(&text.replace("a = 1", "a = 2")));
        assert!(!is_unedited("a = 1\n"));
    }
}
