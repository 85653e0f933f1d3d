//! Readers in the file: some more, one less.

use std::path::Path;

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table};

use super::groups::known_hosts;
use super::{Edit, EditError, finish, floating_comments, open, others_changed, prepend};
use crate::topology::ids::{GroupId, HostName, MemberName};
use crate::topology::model::{Group, Member, Topology};

/// One more reader of the group on each of these hosts; without any, on the host with the fewest members. Hosts that have a reader
/// of it already are left as they are, so that a command that was killed can be run again.
pub fn add_readers(text: &str, path: &Path, id: GroupId, hosts: &[String]) -> Result<Edit, EditError> {
    let (before, mut document) = open(text, path)?;
    let Some(group) = before.group(id) else {
        let known = before.groups.iter().map(|group| group.id.to_string()).collect::<Vec<_>>().join(", ");
        return Err(EditError::UnknownGroup { group: id.to_string(), known });
    };
    let mut wanted = known_hosts(&before, hosts)?;
    if wanted.is_empty() {
        wanted.push(emptiest(&before, group).ok_or(EditError::NoHost { group: id })?);
    }
    wanted.retain(|host| group.readers.iter().all(|reader| reader.host != *host));
    if let Some(taken) = group.members.iter().find(|member| wanted.contains(&member.host)) {
        return Err(EditError::HostTaken { host: taken.host.clone(), member: taken.name.clone(), group: id });
    }
    for host in &wanted {
        blocks(&mut document, path)?.push(block(id, host));
    }
    finish(&document, path, before, |was, is| {
        others_changed(was, is, |reader| reader.group != id || !wanted.contains(&reader.host))
    })
}

/// One reader less. The others keep their numbers: where one follows from its place in the file, it is written out.
pub(super) fn remove_reader(text: &str, path: &Path, name: &str) -> Result<Edit, EditError> {
    let (before, mut document) = open(text, path)?;
    let readers: Vec<&Member> = before.groups.iter().flat_map(|group| &group.readers).collect();
    let Some(reader) = readers.iter().find(|reader| reader.name.as_str() == name) else {
        let known = readers.iter().map(|reader| reader.name.as_str()).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "no readers".to_owned() } else { known };
        return Err(EditError::UnknownMember { member: name.to_owned(), known });
    };
    let (id, name) = (reader.group, reader.name.clone());
    let blocks = blocks(&mut document, path)?;
    let of_group: Vec<usize> = (0..blocks.len()).filter(|index| blocks.get(*index).map(group_of) == Some(id)).collect();
    let own = before.group(id).map(|group| &group.readers[..]).unwrap_or_default();
    // A valid file has a reader for each block, in the order of the blocks.
    let place = own.iter().position(|reader| reader.name == name).and_then(|place| Some((place, *of_group.get(place)?)));
    let Some((place, index)) = place else { return Err(not_blocks(path)) };
    let next = own.get(place + 1).map(|reader| number_of(&reader.name)).zip(of_group.get(place + 1));
    if let Some((number, later)) = next
        && let Some(block) = blocks.get_mut(*later)
        && !block.contains_key("number")
    {
        block.insert("number", toml_edit::value(number));
    }
    let removed = blocks.remove(index);
    if let Some(block) = blocks.get_mut(index) {
        prepend(block, &floating_comments(&removed));
    }
    if blocks.is_empty() {
        document.remove("reader");
    }
    finish(&document, path, before, |was, is| others_changed(was, is, |reader| reader.name != name))
}

/// Without any reader of that group.
pub(super) fn remove_all(document: &mut DocumentMut, before: &Topology, id: GroupId, path: &Path) -> Result<(), EditError> {
    if before.group(id).is_none_or(|group| group.readers.is_empty()) {
        return Ok(());
    }
    let blocks = blocks(document, path)?;
    blocks.retain(|block| group_of(block) != id);
    if blocks.is_empty() {
        document.remove("reader");
    }
    Ok(())
}

/// The host with the fewest members among those without one of the group.
fn emptiest(topology: &Topology, group: &Group) -> Option<HostName> {
    let load = |host: &HostName| topology.members().filter(|member| member.host == *host).count();
    let free = topology.hosts.iter().filter(|host| group.everyone().all(|member| member.host != host.name));
    free.min_by_key(|host| load(&host.name)).map(|host| host.name.clone())
}

/// The `[[reader]]` blocks.
fn blocks<'d>(document: &'d mut DocumentMut, path: &Path) -> Result<&'d mut ArrayOfTables, EditError> {
    let blocks = document.entry("reader").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    blocks.as_array_of_tables_mut().ok_or_else(|| not_blocks(path))
}

/// `reader = [{ host = "…" }]` is the same to a reader of values, and nothing that could be edited block by block.
fn not_blocks(path: &Path) -> EditError {
    EditError::Moves { path: path.display().to_string(), what: "all readers".into() }
}

fn group_of(block: &Table) -> GroupId {
    let shard = block.get("shard").and_then(Item::as_integer);
    GroupId(shard.and_then(|shard| u32::try_from(shard).ok()).unwrap_or_default())
}

/// The number in a reader's name.
fn number_of(name: &MemberName) -> i64 {
    name.as_str().rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// A block as a person would write it.
fn block(id: GroupId, host: &HostName) -> Table {
    let mut block = Table::new();
    if !id.is_coordinator() {
        block.insert("shard", toml_edit::value(i64::from(id.0)));
    }
    block.insert("host", toml_edit::value(host.as_str()));
    block.decor_mut().set_prefix("\n");
    block
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::remove_group;
    use super::*;
    use crate::topology::resolve::parse;

    const PATH: &str = "topology.toml";
    /// A ring of two groups on four hosts; the coordinators are on the first three.
    const RING: &str = "schema = 1 # one\n[cluster]\nname = \"c\"\n\n# hosts\n[[host]]\nname = \"a\"\naddress = \"10.9.0.1\"\n[[host]]\nname = \"b\"\naddress = \"10.9.0.2\"\n\
         [[host]]\nname = \"c\"\naddress = \"10.9.0.3\"\n[[host]]\nname = \"d\"\naddress = \"10.9.0.4\"\n\n[shards]\ncount = 2 # groups\n\n[resources.worker]\ncpus = 1 # the end\n";

    fn add(text: &str, group: u32, hosts: &[&str]) -> Result<Edit, EditError> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        add_readers(text, Path::new(PATH), GroupId(group), &hosts)
    }

    fn out(text: &str, reader: &str) -> Result<Edit, EditError> {
        remove_reader(text, Path::new(PATH), reader)
    }

    fn readers(topology: &Topology) -> Vec<String> {
        let all = topology.groups.iter().flat_map(|group| &group.readers);
        all.map(|reader| format!("{}@{}", reader.name, reader.host)).collect()
    }

    #[test]
    fn readers_come_and_go_and_the_others_keep_their_names() {
        let one = add(RING, 0, &[]).expect("d has no coordinator");
        assert_eq!(one.text, format!("{RING}\n[[reader]]\nhost = \"d\"\n"));
        let three = add(&one.text, 1, &["d", "c"]).expect("free hosts");
        let names = ["coordinator-reader-1@d", "worker-1-reader-1@d", "worker-1-reader-2@c"];
        assert_eq!(readers(&three.after), names);
        let again = add(&three.text, 1, &["c", "d"]).expect("they are there");
        assert_eq!(again.text, three.text, "run again it has nothing to do");
        let less = out(&three.text, "worker-1-reader-1").expect("goes");
        assert_eq!(readers(&less.after), [names[0], names[2]]);
        assert!(less.text.ends_with("[[reader]]\nshard = 1\nhost = \"c\"\nnumber = 2\n"), "{}", less.text);
        let less = out(&less.text, "worker-1-reader-2").expect("goes");
        assert_eq!(out(&less.text, "coordinator-reader-1").expect("goes").text, RING);
    }

    #[test]
    fn a_group_goes_with_its_readers() {
        let text = add(&add(RING, 2, &["a"]).expect("a reader").text, 0, &["d"]).expect("another").text;
        let less = remove_group(&text, Path::new(PATH), GroupId(2)).expect("the last one goes");
        assert_eq!(readers(&less.after), ["coordinator-reader-1@d"]);
    }

    #[test]
    fn mistakes_are_told_apart() {
        assert!(matches!(add(RING, 0, &["b"]), Err(EditError::HostTaken { member, .. }) if member.as_str() == "coordinator-2"));
        assert!(matches!(add(RING, 7, &[]), Err(EditError::UnknownGroup { .. })));
        assert!(matches!(add(RING, 0, &["x"]), Err(EditError::UnknownHost { .. })));
        assert!(matches!(add(RING, 0, &["d", "d"]), Err(EditError::HostTwice { .. })));
        let full = add(RING, 0, &["d"]).expect("one");
        assert!(matches!(add(&full.text, 0, &[]), Err(EditError::NoHost { .. })));
        assert!(matches!(out(RING, "coordinator-reader-1"), Err(EditError::UnknownMember { .. })));
        let inline = format!("reader = [{{ host = \"d\" }}]\n{RING}");
        assert!(matches!(out(&inline, "coordinator-reader-1"), Err(EditError::Moves { .. })));
    }

    proptest! {
        /// In whatever order readers come and go, nobody else is named or placed anew.
        #[test]
        fn nobody_else_is_moved(moves in prop::collection::vec((0u32..3, 0usize..4, any::<bool>()), 1..12)) {
            let mut text = RING.to_owned();
            for (group, host, comes) in moves {
                let host = ["a", "b", "c", "d"][host];
                let (before, _) = parse(&text, Path::new(PATH)).expect("valid");
                let mut expected = readers(&before);
                let there = before.group(GroupId(group)).and_then(|g| g.readers.iter().find(|r| r.host.as_str() == host));
                let edit = match there {
                    None if comes => match add(&text, group, &[host]) {
                        Ok(edit) => edit,
                        Err(error) => { prop_assert!(matches!(error, EditError::HostTaken { .. }), "{error}"); continue }
                    },
                    Some(reader) if !comes => {
                        expected.retain(|r| !r.starts_with(&format!("{}@", reader.name)));
                        out(&text, reader.name.as_str()).expect("it goes")
                    }
                    _ => continue,
                };
                let now = readers(&edit.after);
                prop_assert!(expected.iter().all(|reader| now.contains(reader)), "{}", edit.text);
                prop_assert_eq!(now.len(), expected.len() + usize::from(comes));
                text = edit.text;
            }
        }
    }
}
