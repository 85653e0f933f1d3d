//! Edits of `topology.toml` that keep its comments, its order and whatever else is in it. Pure: text in, text out.
//!
//! Called by `scale` and `host`, which show the difference, ask, and write the file. Names and places of members follow from the file as
//! a whole, so each edit is resolved before it is returned, and one that would move or rename anything but what it is about is
//! refused ([`EditError::Moves`]): a wrong line here would be a plan that destroys data.

mod groups;
pub mod host;
mod members;
mod readers;
#[cfg(test)]
mod tests;

use std::path::Path;

use toml_edit::{DocumentMut, RawString, Table};

use super::finding::{self, Finding};
use super::ids::{GroupId, HostName, MemberName};
use super::model::{Member, Replication, Topology};
use super::promise::Promise;
use super::resolve::{TopologyError, parse};
use crate::error::{Exit, Failure};

pub use groups::{add_group, remove_group};
pub use members::remove_member;
pub use readers::add_readers;

/// A file after an edit.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// What it meant before.
    pub before: Topology,
    /// The new text.
    pub text: String,
    /// What it means now.
    pub after: Topology,
}

/// Why a file stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// It is invalid as it is.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// It would be invalid after the edit.
    #[error("{path} would be invalid with this change\n\n{report}")]
    Invalid {
        /// The file as named by the operator.
        path: String,
        /// The findings in the text that is not written.
        report: String,
    },
    /// There is no such group.
    #[error("the topology has no {group}")]
    UnknownGroup {
        /// As asked for.
        group: String,
        /// What there is.
        known: String,
    },
    /// There is no such host.
    #[error("the topology has no host {host:?}")]
    UnknownHost {
        /// As asked for.
        host: String,
        /// What there is.
        known: String,
    },
    /// A host is named twice for one group.
    #[error("{host} is named twice: members of one group never share a host")]
    HostTwice {
        /// The host.
        host: String,
    },
    /// A host has a member of the group already.
    #[error("{host} has {member} already: a second member of {group} there adds nothing to read from")]
    HostTaken {
        /// The host.
        host: HostName,
        /// What it has.
        member: MemberName,
        /// The group.
        group: GroupId,
    },
    /// No host is left for a reader.
    #[error("every host has a member of {group} already")]
    NoHost {
        /// The group.
        group: GroupId,
    },
    /// There is no such member, or no such reader.
    #[error("the topology has no {member}")]
    UnknownMember {
        /// As asked for.
        member: String,
        /// What there is of its kind.
        known: String,
    },
    /// A member's number is its place in its group's list: those behind it would get other names.
    #[error("{member} is not the last member of {group}: without it {last} would have another name, and begin with no data")]
    NotLast {
        /// As asked for.
        member: MemberName,
        /// The one that can go.
        last: MemberName,
        /// The group.
        group: GroupId,
    },
    /// A group without members is none.
    #[error("{member} is the only member of {group}: its data is nowhere else")]
    OnlyMember {
        /// As asked for.
        member: MemberName,
        /// The group.
        group: GroupId,
    },
    /// By default a group of one member replicates to nobody, which is nothing to happen by the way.
    #[error("{member} is the last standby of {group}, whose commits wait for one ({})", replication.as_str())]
    LastStandby {
        /// As asked for.
        member: MemberName,
        /// The group.
        group: GroupId,
        /// What a commit waits for.
        replication: Replication,
    },
    /// The only shard group cannot go.
    #[error("{group} is the only shard group: without it the rows would have no place")]
    LastGroup {
        /// The group.
        group: GroupId,
    },
    /// A cluster without Citus cannot get shard groups.
    #[error("{cluster} was made without shard groups, and a plain PostgreSQL does not become a sharded one")]
    Plain {
        /// The cluster.
        cluster: String,
    },
    /// No number is left for one more group.
    #[error("shard-{last} has the largest number that a shard group may have")]
    NoNumber {
        /// That number.
        last: u32,
    },
    /// The edit would do more than it is about.
    #[error("{path} is written in a way in which this change would also change {what}")]
    Moves {
        /// The file as named by the operator.
        path: String,
        /// What would change.
        what: String,
    },
}

impl Failure for EditError {
    fn exit(&self) -> Exit {
        match self {
            Self::Topology(error) => error.exit(),
            Self::UnknownGroup { .. } | Self::UnknownHost { .. } | Self::HostTwice { .. } | Self::UnknownMember { .. } => {
                Exit::Usage
            }
            Self::HostTaken { .. }
            | Self::NoHost { .. }
            | Self::Invalid { .. }
            | Self::LastGroup { .. }
            | Self::NotLast { .. }
            | Self::OnlyMember { .. }
            | Self::LastStandby { .. }
            | Self::Plain { .. }
            | Self::NoNumber { .. }
            | Self::Moves { .. } => Exit::Refused,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Topology(error) => error.hints(),
            Self::UnknownGroup { known, .. } => vec![format!("shard groups are {known}")],
            Self::UnknownHost { known, .. } => vec![format!("hosts are {known}")],
            Self::HostTwice { .. } => vec!["name each host once".into()],
            Self::HostTaken { .. } => vec!["name a host without a member of the group; nothing was written".into()],
            Self::NoHost { .. } => {
                vec!["add a host first: a [[host]] block, `pgclusterctl init`, `pgclusterctl image push`".into()]
            }
            Self::UnknownMember { known, .. } => vec![format!("there are {known}")],
            Self::NotLast { last, group, .. } => vec![
                format!("take the last one out: `pgclusterctl scale in --member {last}`"),
                format!(
                    "which member leads is changed by `pgclusterctl switchover {}`; which host a lost member is on, by `pgclusterctl host replace`",
                    group.flag()
                ),
            ],
            Self::OnlyMember { group, .. } if group.is_coordinator() => {
                vec!["give the group a second member first; `pgclusterctl down` removes a whole cluster".into()]
            }
            Self::OnlyMember { group, .. } => vec![
                format!("`pgclusterctl scale in {}` takes the group out: its shards go to the others first", group.flag()),
                "or give the group a second member first".into(),
            ],
            Self::LastStandby { .. } => vec![
                "add another member first".into(),
                "or write replication = \"async\" for the group, and `pgclusterctl up`: then the loss of its leader loses rows"
                    .into(),
            ],
            Self::Invalid { .. } => vec!["nothing was written".into()],
            Self::LastGroup { .. } => {
                vec![
                    "add another group first (`pgclusterctl scale add-shard`); `pgclusterctl down` removes a whole cluster"
                        .into(),
                ]
            }
            Self::Plain { .. } => {
                vec!["make a new cluster with `pgclusterctl new --shards N`, and load the data there".into()]
            }
            Self::NoNumber { .. } => vec!["name the hosts and a free number in a [[shard]] block of your own".into()],
            Self::Moves { .. } => {
                vec!["write shard groups as [[shard]] blocks with `number` and `hosts`, readers as [[reader]] blocks; nothing was written".into()]
            }
        }
    }
}

/// The file as it is: what it means, and its document.
fn open(text: &str, path: &Path) -> Result<(Topology, DocumentMut), EditError> {
    let invalid = |findings| TopologyError::Invalid { path: path.to_owned(), text: text.to_owned(), findings };
    let (topology, _) = parse(text, path).map_err(invalid)?;
    let syntax = |error: toml_edit::TomlError| {
        invalid(vec![Finding::error("syntax", error.span(), format!("not TOML: {}", error.message()))])
    };
    let document = text.parse().map_err(syntax)?;
    Ok((topology, document))
}

/// Resolves the new text. `moved` names the first thing that the edit must not change, and did.
fn finish(
    document: &DocumentMut,
    path: &Path,
    before: Topology,
    moved: impl FnOnce(&Topology, &Topology) -> Option<String>,
) -> Result<Edit, EditError> {
    let text = document.to_string();
    let (after, _) = parse(&text, path).map_err(|findings| EditError::Invalid {
        path: path.display().to_string(),
        report: finding::render(&findings, &text, path, false).trim_end().to_owned(),
    })?;
    match moved(&before, &after) {
        None => Ok(Edit { before, text, after }),
        Some(what) => Err(EditError::Moves { path: path.display().to_string(), what }),
    }
}

/// The first thing beside the members that it is about that is not what it was. What is promised unless the file says so follows from
/// all members, and is none of the things that may not change.
fn others_changed(before: &Topology, after: &Topology, stays: impl Fn(&Member) -> bool) -> Option<String> {
    let others = |topology: &Topology| {
        let mut others = topology.clone();
        for group in &mut others.groups {
            group.members.retain(&stays);
            group.readers.retain(&stays);
        }
        others.promise = Promise::default();
        others
    };
    let (was, is) = (others(before), others(after));
    if let Some((group, _)) = was.groups.iter().zip(&is.groups).find(|(was, is)| was != is) {
        return Some(group.id.to_string());
    }
    (was != is).then(|| "something else".to_owned())
}

fn text_of(raw: Option<&RawString>) -> &str {
    raw.and_then(RawString::as_str).unwrap_or_default()
}

/// The comments of a prefix, a line each.
fn lines_of_comment(prefix: Option<&RawString>) -> String {
    text_of(prefix).lines().filter(|line| line.trim_start().starts_with('#')).map(|line| format!("{line}\n")).collect()
}

/// Comments above a block that an empty line keeps apart from it: they are about more than the block.
fn floating_comments(block: &Table) -> String {
    let prefix = text_of(block.decor().prefix());
    let apart = prefix.rfind("\n\n").map_or("", |end| &prefix[..end + 2]);
    if apart.contains('#') { apart.to_owned() } else { String::new() }
}

/// Puts comments above a block's own.
fn prepend(block: &mut Table, comments: &str) {
    let own = text_of(block.decor().prefix()).trim_start_matches('\n').to_owned();
    if !comments.is_empty() {
        let gap = if comments.starts_with('\n') { "" } else { "\n" };
        block.decor_mut().set_prefix(format!("{gap}{comments}{own}"));
    }
}
