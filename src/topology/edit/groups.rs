//! Shard groups in the file: one more, one less.

use std::path::Path;

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value};

use super::{Edit, EditError, finish, floating_comments, lines_of_comment, open, prepend};
use crate::topology::ids::{GroupId, HostName};
use crate::topology::model::{Group, Topology};
use crate::topology::{limits, placement};

/// One more shard group: on these hosts, the leader's home first; without any, one more in the ring, or where the fewest members
/// are. `path` names the file in messages.
pub fn add_group(text: &str, path: &Path, hosts: &[String]) -> Result<Edit, EditError> {
    let (before, mut document) = open(text, path)?;
    let Some(last) = before.groups.last().filter(|group| !group.id.is_coordinator()) else {
        return Err(EditError::Plain { cluster: before.name.to_string() });
    };
    let number = last.id.0 + 1;
    if number > limits::GROUP_NUMBER.1 {
        return Err(EditError::NoNumber { last: last.id.0 });
    }
    let hosts = known_hosts(&before, hosts)?;
    if is_ring(&document) && hosts.is_empty() {
        set_count(&mut document, number);
    } else {
        let hosts = if hosts.is_empty() { emptiest(&before, last.members.len()) } else { hosts };
        blocks(&mut document, &before, path)?.push(block(&hosts));
    }
    let added = GroupId(number);
    finish(&document, path, before, |was, is| moved(was, is, added))
}

/// One shard group less. All others keep their numbers, names and hosts: where they follow from their places in the file, they
/// are written out.
pub fn remove_group(text: &str, path: &Path, group: GroupId) -> Result<Edit, EditError> {
    let (before, mut document) = open(text, path)?;
    let shards: Vec<&Group> = before.groups.iter().filter(|group| !group.id.is_coordinator()).collect();
    let Some(position) = shards.iter().position(|shard| shard.id == group) else {
        let known = shards.iter().map(|shard| shard.id.to_string()).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "none".to_owned() } else { known };
        return Err(EditError::UnknownGroup { group: group.to_string(), known });
    };
    if shards.len() == 1 {
        return Err(EditError::LastGroup { group });
    }
    super::readers::remove_all(&mut document, &before, group, path)?;
    if is_ring(&document) && position + 1 == shards.len() {
        set_count(&mut document, group.0 - 1);
    } else {
        let next = shards.get(position + 1).map(|shard| shard.id.0);
        let blocks = blocks(&mut document, &before, path)?;
        let removed = blocks.remove(position);
        if let (Some(next), Some(block)) = (next, blocks.get_mut(position)) {
            if !block.contains_key("number") {
                block.insert("number", toml_edit::value(i64::from(next)));
            }
            prepend(block, &floating_comments(&removed));
        }
    }
    finish(&document, path, before, |was, is| moved(was, is, group))
}

/// The first thing beside the group that is not what it was.
fn moved(before: &Topology, after: &Topology, group: GroupId) -> Option<String> {
    let others = |topology: &Topology| topology.groups.iter().filter(|g| g.id != group).cloned().collect::<Vec<_>>();
    let (was, is) = (others(before), others(after));
    if let Some(changed) = was.iter().find(|group| !is.contains(group)).or(is.iter().find(|group| !was.contains(group))) {
        return Some(changed.id.to_string());
    }
    let same = [
        ("the hosts", before.hosts == after.hosts),
        ("etcd", before.etcd == after.etcd),
        ("the proxies", before.proxies == after.proxies),
        ("the networks", before.network == after.network),
        ("the images", before.images == after.images),
    ];
    same.into_iter().find(|(_, same)| !same).map(|(what, _)| what.to_owned())
}

/// Whether groups are counted and not listed.
fn is_ring(document: &DocumentMut) -> bool {
    document.get("shard").is_none()
}

pub(super) fn known_hosts(topology: &Topology, asked: &[String]) -> Result<Vec<HostName>, EditError> {
    let mut hosts: Vec<HostName> = Vec::new();
    for name in asked.iter().map(|name| name.trim()) {
        let Some(host) = topology.hosts.iter().find(|host| host.name.as_str() == name) else {
            let known = topology.hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(EditError::UnknownHost { host: name.to_owned(), known });
        };
        if hosts.contains(&host.name) {
            return Err(EditError::HostTwice { host: name.to_owned() });
        }
        hosts.push(host.name.clone());
    }
    Ok(hosts)
}

/// The hosts with the fewest members, in other zones first.
fn emptiest(topology: &Topology, members: usize) -> Vec<HostName> {
    let zones: Vec<&str> = topology.hosts.iter().map(|host| host.zone.as_str()).collect();
    let load = |host: &HostName| topology.members().filter(|member| member.host == *host).count();
    let load: Vec<usize> = topology.hosts.iter().map(|host| load(&host.name)).collect();
    placement::beside(&zones, &load, members).into_iter().map(|index| topology.hosts[index].name.clone()).collect()
}

fn set_count(document: &mut DocumentMut, count: u32) {
    let shards = document.get_mut("shards").and_then(Item::as_table_like_mut);
    if let Some(value) = shards.and_then(|shards| shards.get_mut("count")).and_then(Item::as_value_mut) {
        // What stands behind it on its line stays.
        let decor = value.decor().clone();
        *value = Value::from(i64::from(count));
        *value.decor_mut() = decor;
    }
}

/// The `[[shard]]` blocks; a ring is written out as such blocks first.
pub(super) fn blocks<'d>(
    document: &'d mut DocumentMut,
    before: &Topology,
    path: &Path,
) -> Result<&'d mut ArrayOfTables, EditError> {
    if is_ring(document) {
        let (comments, position) = no_longer_counted(document);
        document.insert("shard", Item::ArrayOfTables(written_out(before, &comments, position)));
    }
    let written = document.get_mut("shard").and_then(Item::as_array_of_tables_mut);
    // `shard = [{ hosts = […] }]` is the same to a reader of values, and nothing that could be edited block by block.
    written.ok_or_else(|| EditError::Moves { path: path.display().to_string(), what: "the shard groups".into() })
}

/// The groups of a ring, one by one, at the place of `[shards]` in the file.
fn written_out(before: &Topology, comments: &str, position: Option<isize>) -> ArrayOfTables {
    let mut blocks = ArrayOfTables::new();
    for group in before.groups.iter().filter(|group| !group.id.is_coordinator()) {
        let hosts: Vec<HostName> = group.members.iter().map(|member| member.host.clone()).collect();
        let mut block = block(&hosts);
        block.set_position(position);
        if blocks.is_empty() && !comments.is_empty() {
            // Apart from the block: they are about all of them.
            prepend(&mut block, &format!("{comments}\n"));
        }
        blocks.push(block);
    }
    blocks
}

/// Removes the keys of `[shards]` that place a ring: the comments above them, and where the section is in the file.
fn no_longer_counted(document: &mut DocumentMut) -> (String, Option<isize>) {
    let mut comments = String::new();
    let Some(shards) = document.get_mut("shards") else { return (comments, None) };
    let position = shards.as_table().and_then(Table::position);
    let Some(section) = shards.as_table_like_mut() else { return (comments, position) };
    for key in ["count", "replicas", "hosts"] {
        if let Some(key) = section.key(key) {
            comments += &lines_of_comment(key.leaf_decor().prefix());
        }
        section.remove(key);
    }
    let is_empty = section.is_empty();
    if is_empty && let Some(gone) = document.remove("shards") {
        let above = gone.as_table().map(|table| lines_of_comment(table.decor().prefix())).unwrap_or_default();
        comments = above + &comments;
    }
    (comments, position)
}

/// A block as a person would write it.
fn block(hosts: &[HostName]) -> Table {
    let mut block = Table::new();
    let hosts: Array = hosts.iter().map(HostName::as_str).collect();
    block.insert("hosts", toml_edit::value(hosts));
    block.decor_mut().set_prefix("\n");
    block
}
