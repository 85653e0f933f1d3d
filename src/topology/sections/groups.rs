//! `[coordinators]`, `[shards]` and `[[shard]]`: the Patroni groups, their members' hosts and what a commit waits for.

use std::ops::Range;

use super::hosts::Directory;
use crate::topology::file::{ReplicationName, TopologyFile};
use crate::topology::finding::Finding;
use crate::topology::ids::{GroupId, HostName};
use crate::topology::limits::{CITUS_SHARDS, GROUP_NUMBER, GROUPS_MAX, MEMBERS};
use crate::topology::model::{Citus, Group, Member, Replication};
use crate::topology::placement;
use crate::topology::span::At;

/// All groups, the coordinators first.
pub(super) fn read(file: &TopologyFile, directory: &Directory, findings: &mut Vec<Finding>) -> Vec<Group> {
    let mut groups = vec![coordinators(file, directory, findings)];
    if file.shard.is_empty() {
        groups.extend(ring(file, directory, findings));
    } else {
        groups.extend(blocks(file, directory, findings));
    }
    groups
}

/// Citus settings; `None` without shard groups.
pub(super) fn citus(file: &TopologyFile, groups: &[Group], findings: &mut Vec<Finding>) -> Option<Citus> {
    let written = file.shards.citus_shard_count.as_ref();
    let (min, max) = CITUS_SHARDS;
    if let Some(written) = written {
        if !(min..=max).contains(&written.value) {
            findings.push(
                Finding::error(
                    "citus-shard-count",
                    written.span.clone(),
                    format!("a table cannot have {} shards", written.value),
                )
                .label(format!("{min} to {max}"))
                .help("32 suits most clusters; choose two to four times the number of cores of all shard groups"),
            );
        } else if groups.len() == 1 {
            findings.push(
                Finding::warning("unused-key", written.span.clone(), "citus_shard_count has no effect without shard groups")
                    .help("set shards.count, or remove the key"),
            );
        } else if (written.value as usize) < groups.len() - 1 {
            findings.push(
                Finding::warning(
                    "idle-shard-groups",
                    written.span.clone(),
                    "a table will have fewer shards than there are groups",
                )
                .label(format!("{} shards over {} groups: some hold nothing", written.value, groups.len() - 1))
                .help("write at least the number of groups, better a multiple of it"),
            );
        }
    }
    (groups.len() > 1).then(|| Citus { shard_count: written.map_or(32, |w| w.value) })
}

fn coordinators(file: &TopologyFile, directory: &Directory, findings: &mut Vec<Finding>) -> Group {
    let section = &file.coordinators;
    let listed = match &section.hosts {
        Some(written) => directory.list(written, "coordinators.hosts", findings),
        None => directory.first(3),
    };
    let span = section.hosts.as_ref().map(|h| h.span.clone());
    too_many(listed.len(), span.clone(), findings);
    let default = if listed.len() == 1 { Replication::Async } else { Replication::Sync };
    let replication = section.replication.as_ref().map_or(default, |r| replication(r.value));
    if let Some(written) = &section.replication {
        if replication == Replication::Async && listed.len() > 1 {
            findings.push(
                Finding::warning("async-coordinators", written.span.clone(), "a failover of the coordinators may lose commits")
                    .label("a commit returns before a standby has it")
                    .help("write replication = \"sync\" unless the latency of one round trip matters more than recent rows"),
            );
        }
        waits_for_nobody(written, listed.len(), span, "the coordinators", findings);
    }
    group(GroupId::COORDINATOR, replication, listed)
}

/// Shard groups that `[shards]` counts, placed in a ring.
fn ring(file: &TopologyFile, directory: &Directory, findings: &mut Vec<Finding>) -> Vec<Group> {
    let section = &file.shards;
    let count = section.count.as_ref().map_or(0, |c| c.value);
    if let Some(written) = &section.count
        && written.value > GROUPS_MAX
    {
        findings.push(
            Finding::error("shard-count", written.span.clone(), format!("{} shard groups are too many", written.value))
                .label(format!("{GROUPS_MAX} at most"))
                .help("shards.count counts groups of servers; the number of a table's shards is citus_shard_count"),
        );
        return Vec::new();
    }
    let hosts = match &section.hosts {
        Some(written) => directory.list(written, "shards.hosts", findings),
        None => directory.hosts().iter().map(|h| h.name.clone()).collect(),
    };
    let available = hosts.len();
    let members = members_per_group(file, available, findings);
    if count == 0 {
        for (key, span) in [
            ("replicas", section.replicas.as_ref().map(|w| w.span.clone())),
            ("replication", section.replication.as_ref().map(|w| w.span.clone())),
            ("hosts", section.hosts.as_ref().map(|w| w.span.clone())),
        ] {
            if let Some(span) = span {
                findings.push(
                    Finding::warning("unused-key", span, format!("shards.{key} has no effect without shard groups"))
                        .help("set shards.count, or remove the key"),
                );
            }
        }
        return Vec::new();
    }
    let default = if members == 1 { Replication::Async } else { Replication::Quorum };
    let replication = section.replication.as_ref().map_or(default, |r| replication(r.value));
    if let Some(written) = &section.replication {
        let span = section.replicas.as_ref().map(|r| r.span.clone());
        waits_for_nobody(written, members as usize, span, "each shard group", findings);
    }
    let zones: Vec<&str> = hosts.iter().map(|h| zone(directory, h)).collect();
    let placed = placement::ring(&zones, count, members);
    let listed = |indices: Vec<usize>| indices.into_iter().map(|i| hosts[i].clone()).collect();
    placed.into_iter().zip(1..).map(|(indices, id)| group(GroupId(id), replication, listed(indices))).collect()
}

fn zone<'a>(directory: &'a Directory, host: &HostName) -> &'a str {
    directory.hosts().iter().find(|h| &h.name == host).map_or("", |h| h.zone.as_str())
}

fn members_per_group(file: &TopologyFile, available: usize, findings: &mut Vec<Finding>) -> u32 {
    let Some(written) = &file.shards.replicas else {
        // A laptop has one host, and a standby beside its leader would protect nothing.
        return if available < 2 { 1 } else { 2 };
    };
    let members = written.value;
    if members == 0 {
        findings.push(
            Finding::error("no-replicas", written.span.clone(), "a shard group needs at least one member")
                .label("replicas counts the leader too")
                .help("write replicas = 2 for a leader and a standby"),
        );
        return 1;
    }
    if members > MEMBERS.1 {
        findings.push(
            Finding::error("too-many-members", written.span.clone(), format!("{members} members in a group are too many"))
                .label(format!("{} at most", MEMBERS.1))
                .help("two or three members are usual; more shard groups add capacity, more members add copies"),
        );
        return MEMBERS.1;
    }
    // With no usable host at all, that is what is wrong, and it was said.
    if available > 0 && members as usize > available {
        findings.push(
            Finding::error(
                "replicas-exceed-hosts",
                written.span.clone(),
                "a shard group has more members than there are hosts",
            )
            .label(format!("{members} members on {available} {}", if available == 1 { "host" } else { "hosts" }))
            .help(format!("no host takes two members of a group: write at most {available}, or add hosts")),
        );
    }
    members
}

/// Shard groups that `[[shard]]` blocks describe one by one.
fn blocks(file: &TopologyFile, directory: &Directory, findings: &mut Vec<Finding>) -> Vec<Group> {
    let section = &file.shards;
    if let Some(count) = &section.count {
        let mut finding = Finding::error("shards-twice", count.span.clone(), "shard groups are both counted and listed")
            .label("this counts groups for automatic placement")
            .help("keep shards.count and let the groups be placed, or keep the [[shard]] blocks and remove it");
        if let Some(first) = file.shard.first() {
            finding = finding.also(first.hosts.span.clone(), "this block places one by hand");
        }
        findings.push(finding);
    }
    let unused = [
        ("replicas", section.replicas.as_ref().map(|w| w.span.clone())),
        ("hosts", section.hosts.as_ref().map(|w| w.span.clone())),
    ];
    for (key, span) in unused.into_iter().filter_map(|(key, span)| span.map(|s| (key, s))) {
        findings.push(
            Finding::warning("unused-key", span, format!("shards.{key} has no effect beside [[shard]] blocks"))
                .help("each block names its own hosts: remove the key"),
        );
    }
    let mut groups = Vec::new();
    for (block, id) in file.shard.iter().zip(numbers(file, findings)) {
        // The same host twice in this list is the one way to put two members of a group on one host.
        let before = findings.len();
        let listed = directory.list(&block.hosts, "shard.hosts", findings);
        for finding in &mut findings[before..] {
            if finding.rule == "host-twice" {
                finding.rule = "group-on-one-host";
                finding.message = format!("two members of {id} are on one host");
                finding.label = "a loss of this host takes both".to_owned();
                finding.help = "name another host: members of one group never share a host".to_owned();
            }
        }
        too_many(listed.len(), Some(block.hosts.span.clone()), findings);
        let written = block.replication.as_ref().or(section.replication.as_ref());
        let default = if block.hosts.len() == 1 { Replication::Async } else { Replication::Quorum };
        let replication = written.map_or(default, |r| replication(r.value));
        if let Some(written) = written {
            waits_for_nobody(written, block.hosts.len(), Some(block.hosts.span.clone()), &id.to_string(), findings);
        }
        groups.push(group(id, replication, listed));
    }
    groups
}

/// The number of each block: written, or one more than that of the block before.
fn numbers(file: &TopologyFile, findings: &mut Vec<Finding>) -> Vec<GroupId> {
    let mut numbers: Vec<GroupId> = Vec::new();
    let mut before: Option<&At<u32>> = None;
    for block in &file.shard {
        let last = numbers.last().map_or(0, |id| id.0);
        let next = last.saturating_add(1);
        let (min, max) = GROUP_NUMBER;
        let number = match &block.number {
            Some(written) if !(min..=max).contains(&written.value) => {
                findings.push(
                    Finding::error(
                        "shard-number",
                        written.span.clone(),
                        format!("no shard group has the number {}", written.value),
                    )
                    .label(format!("{min} to {max}"))
                    .help("number 0 is the coordinators' group; leave the key out to count on from the block before"),
                );
                next
            }
            Some(written) if written.value <= last => {
                findings.push(
                    Finding::error("shard-numbers", written.span.clone(), "numbers of shard groups must ascend")
                        .label(format!("the block before is shard-{last}"))
                        .also(before.map(|b| b.span.clone()), "written here")
                        .help(format!(
                            "write a number larger than {last}, or sort the blocks; what a group holds is found by its number, \
                             so never give a group that exists another one"
                        )),
                );
                next
            }
            Some(written) => written.value,
            None => next,
        };
        before = block.number.as_ref().or(before);
        numbers.push(GroupId(number));
    }
    numbers
}

fn too_many(members: usize, span: Option<Range<usize>>, findings: &mut Vec<Finding>) {
    if members > MEMBERS.1 as usize {
        findings.push(
            Finding::error("too-many-members", span, format!("{members} members in a group are too many"))
                .label(format!("{} at most", MEMBERS.1))
                .help("two or three members are usual"),
        );
    }
}

/// `sync` or `quorum` with nobody to wait for.
fn waits_for_nobody(
    written: &At<ReplicationName>,
    members: usize,
    members_span: Option<Range<usize>>,
    who: &str,
    findings: &mut Vec<Finding>,
) {
    if members != 1 || written.value == ReplicationName::Async {
        return;
    }
    let name = replication(written.value).as_str();
    findings.push(
        Finding::error(
            "sync-without-standby",
            written.span.clone(),
            format!("{who} cannot replicate \"{name}\" with one member"),
        )
        .label("there is no standby to wait for")
        .also(members_span, "one member")
        .help("add a member on another host, or write replication = \"async\""),
    );
}

fn replication(name: ReplicationName) -> Replication {
    match name {
        ReplicationName::Async => Replication::Async,
        ReplicationName::Sync => Replication::Sync,
        ReplicationName::Quorum => Replication::Quorum,
    }
}

fn group(id: GroupId, replication: Replication, listed: Vec<HostName>) -> Group {
    let member = |(host, ordinal): (HostName, u32)| Member { name: id.member(ordinal), host, group: id };
    Group { id, replication, members: listed.into_iter().zip(1..).map(member).collect(), readers: Vec::new() }
}
