//! Members in the file: one less. That a member which may lead is added is a line that everybody writes by hand.

use std::path::Path;

use toml_edit::{Array, DocumentMut, Item};

use super::{Edit, EditError, finish, groups, open, others_changed, readers, text_of};
use crate::topology::ids::GroupId;
use crate::topology::model::{Replication, Topology};

/// One member less, or one reader. The number of a member that may lead is its place in the list, so that only the last one of its group
/// can go. A list that was left to its default, and a ring, are written out.
pub fn remove_member(text: &str, path: &Path, name: &str) -> Result<Edit, EditError> {
    if GroupId::is_reader(name) {
        return readers::remove_reader(text, path, name);
    }
    let (before, mut document) = open(text, path)?;
    let of_group = before.groups.iter().find(|group| group.members.iter().any(|member| member.name.as_str() == name));
    let Some((group, (last, left))) = of_group.and_then(|group| Some((group, group.members.split_last()?))) else {
        let members = before.groups.iter().flat_map(|group| &group.members);
        let known = members.map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(EditError::UnknownMember { member: name.to_owned(), known });
    };
    let (id, replication, member) = (group.id, group.replication, last.name.clone());
    if member.as_str() != name {
        let number = left.iter().zip(1..).find_map(|(member, number)| (member.name.as_str() == name).then_some(number));
        return Err(EditError::NotLast { member: id.member(number.unwrap_or(1)), last: member, group: id });
    }
    if left.is_empty() {
        return Err(EditError::OnlyMember { member, group: id });
    }
    let alone = left.len() == 1;
    match list(&mut document, &before, id, path)? {
        List::Written(list) => drop_last(list),
        List::Default(hosts) => {
            let left: Array = left.iter().map(|member| member.host.as_str()).collect();
            *hosts = toml_edit::value(left);
        }
    }
    let edit = finish(&document, path, before, |was, is| others_changed(was, is, |other| other.name != member));
    edit.map_err(|error| match error {
        // Where the replication is written, the check of the file has said so already.
        EditError::Moves { .. } if alone && replication != Replication::Async => {
            EditError::LastStandby { member, group: id, replication }
        }
        other => other,
    })
}

/// Where the hosts of a group are named.
enum List<'d> {
    Written(&'d mut Array),
    /// Nowhere; they belong there.
    Default(&'d mut Item),
}

fn list<'d>(document: &'d mut DocumentMut, before: &Topology, id: GroupId, path: &Path) -> Result<List<'d>, EditError> {
    let other_form = || EditError::Moves { path: path.display().to_string(), what: "other members".into() };
    let section = if id.is_coordinator() {
        document.entry("coordinators").or_insert_with(toml_edit::table).as_table_like_mut()
    } else {
        let position = before.groups.iter().filter(|group| !group.id.is_coordinator()).position(|group| group.id == id);
        let blocks = groups::blocks(document, before, path)?;
        position.and_then(|position| blocks.get_mut(position)).map(|block| block as &mut dyn toml_edit::TableLike)
    };
    let hosts = section.ok_or_else(other_form)?.entry("hosts").or_insert(Item::None);
    if hosts.is_none() {
        return Ok(List::Default(hosts));
    }
    hosts.as_array_mut().map(List::Written).ok_or_else(other_form)
}

/// Without its last entry, and what is said of it. A comment behind the entry before, on its line, is that one's and stays.
fn drop_last(list: &mut Array) {
    let Some(last) = list.len().checked_sub(1) else { return };
    let removed = list.remove(last);
    let above = text_of(removed.decor().prefix());
    let behind = format!("{}{}", text_of(removed.decor().suffix()), text_of(Some(list.trailing())));
    let rest = behind.find('\n').map_or(behind.as_str(), |end| &behind[end..]);
    let kept = above.split_once('\n').map_or("", |(line, _)| line);
    let trailing = match kept.contains('#') {
        true if rest.contains('\n') => format!("{kept}{rest}"),
        true => format!("{kept}\n"),
        false => rest.to_owned(),
    };
    list.set_trailing(trailing);
}
