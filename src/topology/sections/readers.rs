//! `[[reader]]`: standbys without a vote, each of one group and on a host that has no other member of it.

use std::collections::BTreeMap;

use super::hosts::Directory;
use crate::topology::file::{ReaderBlock, TopologyFile};
use crate::topology::finding::Finding;
use crate::topology::ids::GroupId;
use crate::topology::limits::READER_NUMBER;
use crate::topology::model::{Group, Member};
use crate::topology::span::At;

/// Gives each group its readers.
pub(super) fn read(file: &TopologyFile, directory: &Directory, groups: &mut [Group], findings: &mut Vec<Finding>) {
    // The block of each group that was read last, with its number.
    let mut before: BTreeMap<GroupId, (u32, &At<ReaderBlock>)> = BTreeMap::new();
    for block in &file.reader {
        let id = block.shard.as_ref().map_or(GroupId::COORDINATOR, |shard| GroupId(shard.value));
        let known = known(groups);
        let Some(group) = groups.iter_mut().find(|group| group.id == id && is_named(block)) else {
            findings.extend(unknown_group(block, &known));
            continue;
        };
        let number = number(block, before.get(&id), findings);
        before.insert(id, (number, block));
        let Some(host) = directory.one(&block.host, "reader.host", findings) else { continue };
        if let Some(member) = group.everyone().find(|member| member.host == host) {
            findings.push(
                Finding::error("group-on-one-host", block.host.span.clone(), format!("two members of {id} are on one host"))
                    .label(format!("{} is there already", member.name))
                    .help("name another host: a reader beside another member of its group adds nothing to read from"),
            );
            continue;
        }
        group.readers.push(Member { name: id.reader(number), host, group: id });
    }
    alone(file, groups, findings);
}

/// Whether its group can be said; a `shard` of 0 is none.
fn is_named(block: &ReaderBlock) -> bool {
    block.shard.as_ref().is_none_or(|shard| shard.value != 0)
}

fn known(groups: &[Group]) -> String {
    let shards: Vec<String> = groups.iter().filter(|g| !g.id.is_coordinator()).map(|g| g.id.0.to_string()).collect();
    shards.join(", ")
}

fn unknown_group(block: &ReaderBlock, known: &str) -> Option<Finding> {
    let shard = block.shard.as_ref()?;
    let help = if known.is_empty() {
        "remove the key: without shard groups all readers are of the coordinators".to_owned()
    } else {
        format!("write one of {known}, or remove the key for a reader of the coordinators")
    };
    Some(
        Finding::error("unknown-shard", shard.span.clone(), format!("there is no shard group {}", shard.value))
            .label("no group has this number")
            .help(help),
    )
}

/// The number of a block: written, or one more than that of the block before of its group.
fn number(block: &ReaderBlock, before: Option<&(u32, &At<ReaderBlock>)>, findings: &mut Vec<Finding>) -> u32 {
    let last = before.map_or(0, |(number, _)| *number);
    let (min, max) = READER_NUMBER;
    let next = last.saturating_add(1).min(max);
    match &block.number {
        Some(written) if !(min..=max).contains(&written.value) => {
            findings.push(
                Finding::error("reader-number", written.span.clone(), format!("no reader has the number {}", written.value))
                    .label(format!("{min} to {max}"))
                    .help("leave the key out to count on from the block before of the same group"),
            );
            next
        }
        Some(written) if written.value <= last => {
            let earlier =
                before.map(|(_, block)| block.number.as_ref().map_or(&block.host.span, |number| &number.span).clone());
            findings.push(
                Finding::error("reader-numbers", written.span.clone(), "numbers of a group's readers must ascend")
                    .label(format!("the block before has number {last}"))
                    .also(earlier, "that one")
                    .help(format!(
                        "write a number larger than {last}, or sort the blocks; never give a reader that exists another one"
                    )),
            );
            next
        }
        Some(written) => written.value,
        None if last == max => {
            findings.push(
                Finding::error("reader-number", block.host.span.clone(), "no number is left for this reader")
                    .label(format!("the block before has number {max}, the largest"))
                    .help("write the numbers of the readers out, beginning with the smallest that is free"),
            );
            next
        }
        None => next,
    }
}

/// Readers look like redundancy, and are none.
fn alone(file: &TopologyFile, groups: &[Group], findings: &mut Vec<Finding>) {
    for group in groups.iter().filter(|group| group.members.len() == 1 && !group.readers.is_empty()) {
        let of_group = |block: &&At<ReaderBlock>| block.shard.as_ref().map_or(0, |shard| shard.value) == group.id.0;
        let block = file.reader.iter().find(of_group);
        findings.push(
            Finding::warning(
                "readers-alone",
                block.map(|block| block.host.span.clone()),
                format!("nobody takes over when {} is lost", group.members[0].name),
            )
            .label("a reader never becomes leader")
            .help("give the group a second member beside its readers"),
        );
    }
}
