//! One host takes the place of another in a topology file: same position in the file, same position in every list that names it.
//!
//! Members are named and placed by position, so nothing but the host of what the old one carried changes; [`moved`] holds that.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use toml_edit::{Array, DocumentMut, Item, TableLike, Value, value};

use crate::error::{Exit, Failure};
use crate::topology::Topology;
use crate::topology::ids::HostName;

/// The lists that name hosts, by section and key.
const LISTS: [(&str, &str); 4] = [("etcd", "hosts"), ("coordinators", "hosts"), ("shards", "hosts"), ("proxy", "hosts")];

/// The host that takes over.
#[derive(Debug, Clone)]
pub struct NewHost {
    /// Its name; that of the old one when the machine is new and keeps the name.
    pub name: HostName,
    /// Its address; `None` keeps what the file says of a host of this name.
    pub address: Option<Ipv4Addr>,
    /// Login name, where it is another than the old host's.
    pub user: Option<String>,
    /// Private key file, where it is another than the old host's.
    pub identity: Option<String>,
}

/// Why a file cannot be changed like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The file cannot be edited.
    #[error("the topology cannot be edited: {0}")]
    Syntax(String),
    /// Neither the old nor the new host is in the file.
    #[error("the topology has no host {old}; it has {known}")]
    Unknown {
        /// As asked for.
        old: HostName,
        /// What there is.
        known: String,
    },
    /// Old and new host are both there.
    #[error("{new} is a host of this cluster already, beside {old}")]
    Taken {
        /// The host that was to be replaced.
        old: HostName,
        /// The one that was to take its place.
        new: HostName,
    },
    /// A host that is not in the file needs an address.
    #[error("{new} is not in the topology: its address is needed")]
    NoAddress {
        /// The new host.
        new: HostName,
    },
    /// The file has the new host already, elsewhere.
    #[error("the topology says that {new} is at {has}, not at {wanted}")]
    Elsewhere {
        /// The new host.
        new: HostName,
        /// As the file has it.
        has: String,
        /// As asked for.
        wanted: Ipv4Addr,
    },
    /// Readers are taken out one by one: what follows from their numbers stays as it is.
    #[error("{host} has readers")]
    Reads {
        /// The host that was to go.
        host: HostName,
    },
    /// Another host has the address.
    #[error("{address} is the address of {host}")]
    AddressTaken {
        /// As asked for.
        address: Ipv4Addr,
        /// Whose it is.
        host: String,
    },
}

impl Failure for HostError {
    fn exit(&self) -> Exit {
        match self {
            Self::Syntax(_) => Exit::Topology,
            Self::Taken { .. } | Self::Reads { .. } => Exit::Refused,
            _ => Exit::Usage,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoAddress { .. } => vec!["add --address with the IPv4 address under which the other hosts reach it".into()],
            Self::Taken { .. } => vec!["name a host that is not in the topology; nothing was changed".into()],
            Self::Reads { host } => {
                vec![format!(
                    "take them out first: `pgclusterctl topology show` names those on {host}, `pgclusterctl scale in --member READER` takes one out"
                )]
            }
            _ => Vec::new(),
        }
    }
}

/// The text with `old` replaced by `new`. A text that has `new` and not `old` was edited before and stays as it is.
///
/// Kept of the old block: its place, zone and login. Dropped is what describes the old machine: its pinned host key, and its labels
/// unless the name stays.
pub fn replace(text: &str, old: &HostName, new: &NewHost) -> Result<String, HostError> {
    let mut document: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| HostError::Syntax(e.to_string()))?;
    let addresses = addresses(&mut document);
    let has = |name: &HostName| addresses.iter().any(|(known, _)| known == name.as_str());
    let renamed = *old != new.name;
    if !has(old) {
        let Some((_, address)) = addresses.iter().find(|(known, _)| known == new.name.as_str()) else {
            let known = addresses.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(HostError::Unknown { old: old.clone(), known });
        };
        return match new.address {
            Some(wanted) if *address != wanted.to_string() => {
                Err(HostError::Elsewhere { new: new.name.clone(), has: address.clone(), wanted })
            }
            _ => Ok(text.to_owned()),
        };
    }
    if renamed && has(&new.name) {
        return Err(HostError::Taken { old: old.clone(), new: new.name.clone() });
    }
    if renamed && new.address.is_none() {
        return Err(HostError::NoAddress { new: new.name.clone() });
    }
    if let Some(wanted) = new.address
        && let Some((host, _)) = addresses.iter().find(|(name, address)| *address == wanted.to_string() && name != old.as_str())
    {
        return Err(HostError::AddressTaken { address: wanted, host: host.clone() });
    }
    for block in blocks(&mut document, "host") {
        if text_of(block, "name") == old.as_str() {
            rewrite(block, new, renamed);
        }
    }
    if renamed {
        rename_in_lists(&mut document, old, &new.name);
    }
    Ok(document.to_string())
}

/// The text without that host: without its block, and without its name in every list.
pub fn remove(text: &str, host: &HostName) -> Result<String, HostError> {
    let mut document: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| HostError::Syntax(e.to_string()))?;
    let addresses = addresses(&mut document);
    let Some(position) = addresses.iter().position(|(name, _)| name == host.as_str()) else {
        let known = addresses.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
        return Err(HostError::Unknown { old: host.clone(), known });
    };
    if readers_on(&mut document, host).next().is_some() {
        return Err(HostError::Reads { host: host.clone() });
    }
    match document.get_mut("host") {
        Some(Item::ArrayOfTables(tables)) => drop(tables.remove(position)),
        Some(Item::Value(Value::Array(list))) => drop(list.remove(position)),
        _ => {}
    }
    in_lists(&mut document, |list| list.retain(|entry| entry.as_str() != Some(host.as_str())));
    Ok(document.to_string())
}

fn rewrite(block: &mut dyn TableLike, new: &NewHost, renamed: bool) {
    set(block, "name", new.name.as_str());
    if let Some(address) = new.address {
        set(block, "address", &address.to_string());
    }
    if renamed {
        block.remove("labels");
    }
    let own = [("user", &new.user), ("identity", &new.identity)];
    if own.iter().any(|(_, given)| given.is_some()) && block.get("ssh").is_none() {
        // On one line: a table of its own would end the block for whoever adds a key below.
        block.insert("ssh", value(toml_edit::InlineTable::new()));
    }
    let Some(ssh) = block.get_mut("ssh").and_then(Item::as_table_like_mut) else { return };
    ssh.remove("host_key");
    for (key, given) in own {
        if let Some(given) = given {
            set(ssh, key, given);
        }
    }
    if ssh.is_empty() {
        block.remove("ssh");
    }
}

fn rename_in_lists(document: &mut DocumentMut, old: &HostName, new: &HostName) {
    in_lists(document, |list| {
        let entries = list.iter_mut().filter(|entry| entry.as_str() == Some(old.as_str()));
        entries.for_each(|entry| replace_value(entry, new.as_str()));
    });
    readers_on(document, old).for_each(|block| set(block, "host", new.as_str()));
}

/// Changes every list that names hosts.
fn in_lists(document: &mut DocumentMut, change: impl Fn(&mut Array)) {
    for (section, key) in LISTS {
        let list = document.get_mut(section).and_then(Item::as_table_like_mut).and_then(|section| section.get_mut(key));
        list.and_then(Item::as_array_mut).into_iter().for_each(&change);
    }
    for block in blocks(document, "shard") {
        block.get_mut("hosts").and_then(Item::as_array_mut).into_iter().for_each(&change);
    }
}

/// The blocks of readers on that host.
fn readers_on<'a>(document: &'a mut DocumentMut, host: &HostName) -> impl Iterator<Item = &'a mut dyn TableLike> {
    blocks(document, "reader").into_iter().filter(|block| text_of(*block, "host") == host.as_str())
}

/// The blocks of that name, written as `[[name]]` or as a list of inline tables.
fn blocks<'a>(document: &'a mut DocumentMut, name: &str) -> Vec<&'a mut dyn TableLike> {
    match document.get_mut(name) {
        Some(Item::ArrayOfTables(tables)) => tables.iter_mut().map(|table| table as &mut dyn TableLike).collect(),
        Some(Item::Value(Value::Array(list))) => {
            list.iter_mut().filter_map(Value::as_inline_table_mut).map(|table| table as &mut dyn TableLike).collect()
        }
        _ => Vec::new(),
    }
}

/// Name and address of each host, as written.
fn addresses(document: &mut DocumentMut) -> Vec<(String, String)> {
    blocks(document, "host").into_iter().map(|block| (text_of(block, "name"), text_of(block, "address"))).collect()
}

fn text_of(block: &dyn TableLike, key: &str) -> String {
    block.get(key).and_then(Item::as_str).unwrap_or_default().to_owned()
}

/// Sets a text; what stands around it on its line stays.
fn set(block: &mut dyn TableLike, key: &str, text: &str) {
    match block.get_mut(key).and_then(Item::as_value_mut) {
        Some(present) => replace_value(present, text),
        None => drop(block.insert(key, value(text))),
    }
}

fn replace_value(present: &mut Value, text: &str) {
    let decor = present.decor().clone();
    *present = Value::from(text);
    *present.decor_mut() = decor;
}

/// The services that have another host now; an error names the first that changed although the old host did not carry it.
pub fn moved(before: &Topology, after: &Topology, old: &HostName, new: &HostName) -> Result<Vec<String>, String> {
    let expected: BTreeMap<_, _> = before
        .services()
        .into_iter()
        .map(|(service, host)| if host == *old { (service, new.clone()) } else { (service, host) })
        .collect();
    let found = after.services();
    let same = |(service, host): &(&String, &HostName)| expected.get(*service) == Some(*host);
    if let Some((service, host)) = found.iter().find(|pair| !same(pair)) {
        return Err(format!("{service} would be on {host}"));
    }
    if let Some(service) = expected.keys().find(|service| !found.contains_key(*service)) {
        return Err(format!("{service} would be gone"));
    }
    Ok(found.into_iter().filter(|(_, host)| host == new).map(|(service, _)| service).collect())
}

/// What becomes of the services of a host that goes: each with its next host, `None` where it has no place any more. An error names a
/// service of another host that would change.
pub fn left(before: &Topology, after: &Topology, host: &HostName) -> Result<BTreeMap<String, Option<HostName>>, String> {
    let (was, is) = (before.services(), after.services());
    for (service, on) in was.iter().filter(|(_, on)| *on != host) {
        match is.get(service) {
            Some(now) if now == on => {}
            Some(now) => return Err(format!("{service} would move from {on} to {now}")),
            None => return Err(format!("{service} on {on} would be gone")),
        }
    }
    if let Some(new) = is.keys().find(|service| !was.contains_key(*service)) {
        return Err(format!("{new} would be new"));
    }
    let own = was.into_iter().filter(|(_, on)| on == host);
    Ok(own.map(|(service, _)| (service.clone(), is.get(&service).cloned())).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::topology::resolve::parse;

    const FIVE: &str = include_str!("../../../examples/five-hosts.toml");
    const CLASSIC: &str = include_str!("../../../examples/classic.toml");
    const HA: &str = include_str!("../../../examples/ha.toml");

    fn host(name: &str) -> HostName {
        HostName::new(name).expect("a name")
    }

    fn new(name: &str, address: Option<&str>) -> NewHost {
        let address = address.map(|a| a.parse().expect("an address"));
        NewHost { name: host(name), address, user: None, identity: None }
    }

    fn resolved(text: &str) -> Topology {
        parse(text, Path::new("topology.toml")).unwrap_or_else(|findings| panic!("{findings:#?}\n{text}")).0
    }

    /// Lines that are only on one side.
    fn changes(before: &str, after: &str) -> Vec<String> {
        let diff = similar::TextDiff::from_lines(before, after);
        let changed = diff.iter_all_changes().filter(|c| c.tag() != similar::ChangeTag::Equal);
        changed.map(|c| format!("{}{}", c.tag(), c.value().trim_end())).collect()
    }

    #[test]
    fn the_new_host_stands_wherever_the_old_one_stood() {
        let text = replace(CLASSIC, &host("host1"), &new("host9", Some("10.0.0.19"))).expect("replaces");
        let expected = [
            "-name = \"host1\"",
            "-address = \"10.0.0.10\"",
            "+name = \"host9\"",
            "+address = \"10.0.0.19\"",
            "-hosts = [\"host1\", \"host2\", \"host3\"]",
            "+hosts = [\"host9\", \"host2\", \"host3\"]",
            "-hosts = [\"host1\", \"host2\"]",
            "+hosts = [\"host9\", \"host2\"]",
            "-hosts = [\"host3\", \"host1\"]",
            "+hosts = [\"host3\", \"host9\"]",
            "-hosts = [\"host1\", \"host2\"]",
            "+hosts = [\"host9\", \"host2\"]",
        ];
        assert_eq!(changes(CLASSIC, &text), expected);
    }

    #[test]
    fn what_describes_the_old_machine_goes_and_its_place_stays() {
        let text = replace(FIVE, &host("a1"), &new("a9", Some("10.0.0.19"))).expect("replaces");
        let topology = resolved(&text);
        let block = topology.host(&host("a9"));
        assert_eq!(block.zone, "a");
        assert!(block.labels.is_empty());
        assert!(text.starts_with("# Five hosts in three zones."), "comments stay");
        let pinned = CLASSIC.replacen("10.0.0.10\"", "10.0.0.10\" # rack 7\nssh.host_key = \"ssh-ed25519 AAAAC3\"", 1);
        let text = replace(&pinned, &host("host1"), &new("host9", Some("10.0.0.19"))).expect("replaces");
        assert!(text.contains("address = \"10.0.0.19\" # rack 7\n\n"), "{text}");
        assert_eq!(resolved(&text).host(&host("host9")).ssh.host_key, None);
    }

    #[test]
    fn a_login_of_its_own_is_written() {
        let wanted = NewHost { user: Some("admin".into()), identity: Some("keys/new".into()), ..new("b9", Some("10.0.0.29")) };
        let text = replace(FIVE, &host("b2"), &wanted).expect("replaces");
        let topology = resolved(&text);
        let ssh = &topology.host(&host("b9")).ssh;
        assert_eq!((ssh.user.as_str(), ssh.port), ("admin", 2222));
        assert_eq!(ssh.identity.as_deref(), Some(Path::new("keys/new")));
        let text = replace(CLASSIC, &host("host1"), &NewHost { name: host("host9"), ..wanted }).expect("replaces");
        assert_eq!(resolved(&text).host(&host("host9")).ssh.user, "admin");
    }

    #[test]
    fn a_file_that_was_edited_before_stays_as_it_is() {
        let once = replace(HA, &host("host1"), &new("host9", Some("10.0.0.19"))).expect("replaces");
        assert_eq!(replace(&once, &host("host1"), &new("host9", Some("10.0.0.19"))).as_ref(), Ok(&once));
        assert_eq!(replace(&once, &host("host1"), &new("host9", None)).as_ref(), Ok(&once));
        let elsewhere = replace(&once, &host("host1"), &new("host9", Some("10.0.0.20")));
        assert!(matches!(elsewhere, Err(HostError::Elsewhere { .. })), "{elsewhere:?}");
    }

    #[test]
    fn a_machine_may_be_new_under_its_old_name() {
        let labels = |text: &str| resolved(text).host(&host("a1")).labels.len();
        assert_eq!(replace(FIVE, &host("a1"), &new("a1", None)).as_deref(), Ok(FIVE));
        let text = replace(FIVE, &host("a1"), &new("a1", Some("10.0.0.19"))).expect("replaces");
        assert_eq!((labels(&text), labels(FIVE)), (1, 1));
        assert_eq!(changes(FIVE, &text).len(), 2);
    }

    #[test]
    fn a_host_goes_with_its_name_in_every_list() {
        let four = CLASSIC.replace("[network]", "[[host]]\nname = \"host4\"\naddress = \"10.0.0.13\"\n\n[network]");
        let four = four.replacen("hosts = [\"host3\", \"host1\"]", "hosts = [\"host3\", \"host1\", \"host4\"]", 1);
        let text = remove(&four, &host("host4")).expect("removes");
        assert_eq!(text, CLASSIC);
        let gone = left(&resolved(&four), &resolved(&text), &host("host4"));
        assert_eq!(gone, Ok(BTreeMap::from([("worker-3-3".to_owned(), None)])));
        let more = left(&resolved(CLASSIC), &resolved(&four), &host("host1"));
        assert_eq!(more, Err("worker-3-3 would be new".to_owned()));
        assert!(matches!(remove(CLASSIC, &host("host7")), Err(HostError::Unknown { .. })));
    }

    #[test]
    fn readers_are_replaced_with_their_host_and_keep_it_from_going() {
        let read =
            format!("{HA}\n[[host]]\nname = \"host4\"\naddress = \"10.0.0.14\"\n\n[[reader]]\nhost = \"host4\" # near\n");
        let text = replace(&read, &host("host4"), &new("host9", Some("10.0.0.19"))).expect("replaces");
        assert!(text.ends_with("[[reader]]\nhost = \"host9\" # near\n"), "{text}");
        let (before, after) = (resolved(&read), resolved(&text));
        assert_eq!(moved(&before, &after, &host("host4"), &host("host9")), Ok(vec!["coordinator-reader-1".to_owned()]));
        assert_eq!(remove(&read, &host("host4")), Err(HostError::Reads { host: host("host4") }));
    }

    #[test]
    fn what_others_carry_may_not_change() {
        let ring = "schema = 1\ncluster = { name = \"c\" }\nssh = { identity = \"k\" }\nshards = { count = 3 }\nhost = [\n\
             { name = \"a\", address = \"10.9.0.1\" },\n{ name = \"b\", address = \"10.9.0.2\" },\n\
             { name = \"c\", address = \"10.9.0.3\" },\n{ name = \"d\", address = \"10.9.0.4\" },\n]\n";
        let without = |name: &str| left(&resolved(ring), &resolved(&remove(ring, &host(name)).expect("removes")), &host(name));
        // The standby of the last group was on the last host, and the ring closes over the first.
        assert_eq!(without("d"), Ok(BTreeMap::from([("worker-3-2".to_owned(), Some(host("a")))])));
        assert!(without("b").is_err());
    }

    #[test]
    fn mistakes_are_told_apart() {
        let said = |old: &str, new: NewHost| replace(HA, &host(old), &new).expect_err("a mistake").to_string();
        assert_eq!(said("host7", new("host9", None)), "the topology has no host host7; it has host1, host2, host3");
        assert_eq!(said("host1", new("host2", None)), "host2 is a host of this cluster already, beside host1");
        assert_eq!(said("host1", new("host9", None)), "host9 is not in the topology: its address is needed");
        let address = resolved(HA).host(&host("host2")).address.to_string();
        assert_eq!(said("host1", new("host9", Some(&address))), format!("{address} is the address of host2"));
    }

    #[test]
    fn hosts_may_be_written_on_one_line_each() {
        let text = "schema = 1\ncluster = { name = \"c\" }\nssh = { identity = \"k\" }\nhost = [\n  { name = \"a\", address = \"10.9.0.1\" }, # first\n  \
             { name = \"b\", address = \"10.9.0.2\" },\n  { name = \"c\", address = \"10.9.0.3\" },\n]\n";
        let text = replace(text, &host("a"), &new("d", Some("10.9.0.4"))).expect("replaces");
        assert!(text.contains("{ name = \"d\", address = \"10.9.0.4\" }, # first"), "{text}");
    }

    proptest! {
        /// Whatever the layout, a ring or lists: only what the old host carried moves, and it moves to the new one.
        #[test]
        fn nothing_else_moves(
            zones in proptest::collection::vec("[a-c]?", 3..7), shards in 0u32..6, lists in any::<bool>(), which in 0usize..7,
        ) {
            let count = zones.len();
            let names: Vec<String> = (1..=count).map(|n| format!("\"h{n}\"")).collect();
            let mut text = "schema = 1\n[cluster]\nname = \"c\"\n[ssh]\nidentity = \"k\"\n".to_owned();
            for (n, zone) in (1..).zip(&zones) {
                let zone = if zone.is_empty() { String::new() } else { format!("zone = \"{zone}\"\n") };
                text += &format!("[[host]]\nname = \"h{n}\"\naddress = \"10.9.0.{n}\"\n{zone}");
            }
            text += &format!("[network]\noverlay = \"10.8.0.0/20\"\n[shards]\ncount = {shards}\n");
            if lists {
                text += &format!("hosts = [{}]\n[proxy]\nhosts = [{}]\n", names.join(", "), names[1..].join(", "));
            }
            let (old, new_host) = (host(&format!("h{}", which % count + 1)), new("h9", Some("10.9.0.9")));
            let after = replace(&text, &old, &new_host).expect("replaces");
            let (before, after) = (resolved(&text), resolved(&after));
            let services = moved(&before, &after, &old, &new_host.name);
            let carried = before.services().values().filter(|h| **h == old).count();
            prop_assert_eq!(services.map(|s| s.len()), Ok(carried));
            prop_assert!(moved(&before, &before, &old, &new_host.name).is_err() || carried == 0);
        }
    }
}
