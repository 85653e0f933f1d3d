//! Who may become leader: pure choice over a group's state in etcd.

use serde::Serialize;

use crate::observe::model::{GroupState, MemberState};
use crate::topology::model::{Group, Replication};

/// A planned change keeps every acknowledged write; an unplanned one may have to weigh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// Switchover: the leader is well and hands over.
    Planned,
    /// Failover: the leader is lost, or is not to be trusted.
    Unplanned {
        /// The operator accepts the loss of writes that the candidate never received.
        force: bool,
    },
}

/// The standby that becomes leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Member name.
    pub member: String,
    /// Whether every acknowledged write is known to be there.
    pub synchronous: bool,
    /// WAL in bytes that the leader had and it had not, at last sight.
    pub lag_bytes: u64,
}

/// Why there is no candidate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCandidate {
    /// Nobody leads: a switchover has nobody to hand over.
    #[error("{group} has no leader that could hand over")]
    NoLeader {
        /// The group.
        group: String,
    },
    /// The member named does not exist in this group.
    #[error("{member} is no member of {group}; its members are {members}")]
    Unknown {
        /// As given.
        member: String,
        /// The group.
        group: String,
        /// What could have been given.
        members: String,
    },
    /// The member named has no vote.
    #[error("{member} is a reader of {group}: it has no vote, and never leads")]
    Reader {
        /// As given.
        member: String,
        /// The group.
        group: String,
    },
    /// The member named leads already.
    #[error("{member} is the leader already")]
    Leads {
        /// As given.
        member: String,
    },
    /// Nobody qualifies.
    #[error("no member of {group} can become leader: {}", list(unfit))]
    Nobody {
        /// The group.
        group: String,
        /// Each member that was looked at, and why it is none.
        unfit: Vec<(String, Unfit)>,
    },
}

impl NoCandidate {
    /// Whether it is likely to be otherwise in a moment, without anybody doing anything.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Nobody { unfit, .. } if unfit.iter().any(|(_, reason)| reason.may_pass()))
    }
}

fn list(unfit: &[(String, Unfit)]) -> String {
    unfit.iter().map(|(member, reason)| format!("{member} {reason}")).collect::<Vec<_>>().join("; ")
}

/// Why a member cannot take over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It has no key in etcd.
    #[error("is not running")]
    Gone,
    /// It is starting, being copied, or behind the end of its timeline.
    #[error("is {}", if state.is_empty() { "silent" } else { state })]
    NotStreaming {
        /// What it is, in Patroni's words; empty when it does not say.
        state: String,
    },
    /// By its topology, or by hand.
    #[error("is tagged nofailover")]
    Tagged,
    /// Commits do not wait for it.
    #[error("is not synchronous{}: acknowledged writes may be missing there", instead(synchronous.as_deref()))]
    NotSynchronous {
        /// The standby that they wait for instead; Patroni keeps to it for as long as it is well.
        synchronous: Option<String>,
    },
    /// Nobody waits for it, and it is too far behind.
    #[error("lags by {lag_bytes} bytes, more than maximum_lag_on_failover ({maximum})")]
    Lags {
        /// WAL in bytes that the leader had and it had not.
        lag_bytes: u64,
        /// How much is allowed.
        maximum: u64,
    },
}

impl Unfit {
    fn may_pass(&self) -> bool {
        match self {
            Self::NotStreaming { .. } | Self::NotSynchronous { synchronous: None } | Self::Lags { .. } => true,
            Self::Gone | Self::Tagged | Self::NotSynchronous { synchronous: Some(_) } => false,
        }
    }
}

fn instead(synchronous: Option<&str>) -> String {
    synchronous.map_or_else(String::new, |other| format!(", {other} is"))
}

/// The best standby, or the one that was asked for if it qualifies.
///
/// Synchronous standbys come first, then those with less lag, then the order of the topology.
pub fn choose(
    group: &Group,
    state: &GroupState,
    occasion: Occasion,
    maximum_lag: u64,
    to: Option<&str>,
) -> Result<Candidate, NoCandidate> {
    if occasion == Occasion::Planned && state.leader.is_empty() {
        return Err(NoCandidate::NoLeader { group: group.id.to_string() });
    }
    let names: Vec<_> = group.members.iter().map(|m| m.name.as_str()).collect();
    if let Some(to) = to {
        if to == state.leader {
            return Err(NoCandidate::Leads { member: to.to_owned() });
        }
        if group.is_reader(to) {
            return Err(NoCandidate::Reader { member: to.to_owned(), group: group.id.to_string() });
        }
        if !names.contains(&to) {
            let members = names.join(", ");
            return Err(NoCandidate::Unknown { member: to.to_owned(), group: group.id.to_string(), members });
        }
    }
    let asked = names.into_iter().filter(|name| *name != state.leader && to.is_none_or(|to| to == *name));
    let mut fit = Vec::new();
    let mut unfit = Vec::new();
    for name in asked {
        match qualify(group, state, name, occasion, maximum_lag) {
            Ok(candidate) => fit.push(candidate),
            Err(reason) => unfit.push((name.to_owned(), reason)),
        }
    }
    // The sort is stable: equals stay in the order of the topology.
    fit.sort_by_key(|c| (!c.synchronous, c.lag_bytes));
    fit.into_iter().next().ok_or(NoCandidate::Nobody { group: group.id.to_string(), unfit })
}

fn qualify(group: &Group, state: &GroupState, name: &str, occasion: Occasion, maximum_lag: u64) -> Result<Candidate, Unfit> {
    let member = state.members.get(name).ok_or(Unfit::Gone)?;
    if !is_up(member, state) {
        return Err(Unfit::NotStreaming { state: member.state.clone() });
    }
    if member.tags.get("nofailover").is_some_and(|tag| tag == &serde_json::Value::Bool(true)) {
        return Err(Unfit::Tagged);
    }
    let force = occasion == Occasion::Unplanned { force: true };
    let synchronous = state.sync_standbys.iter().any(|s| s == name);
    let lag_bytes = state.leader_lsn.saturating_sub(member.lsn);
    if group.replication != Replication::Async && !synchronous && !force {
        return Err(Unfit::NotSynchronous { synchronous: synchronous_standby(group, state) });
    }
    if group.replication == Replication::Async && lag_bytes > maximum_lag && !force {
        return Err(Unfit::Lags { lag_bytes, maximum: maximum_lag });
    }
    Ok(Candidate { member: name.to_owned(), synchronous, lag_bytes })
}

/// The one standby of a `sync` group, while it is up. With `quorum` Patroni takes every standby in as soon as it can.
fn synchronous_standby(group: &Group, state: &GroupState) -> Option<String> {
    let up = |name: &&String| state.members.get(*name).is_some_and(|member| is_up(member, state));
    let standby = state.sync_standbys.iter().filter(|name| **name != state.leader).find(up)?;
    (group.replication == Replication::Sync).then(|| standby.clone())
}

/// Streaming, or running without anybody to stream from.
fn is_up(member: &MemberState, state: &GroupState) -> bool {
    match member.state.as_str() {
        "streaming" => true,
        "running" | "in archive recovery" => state.leader.is_empty() || !state.members.contains_key(&state.leader),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::ids::{GroupId, HostName, MemberName};
    use crate::topology::model::Member;

    fn group(replication: Replication) -> Group {
        let member = |name: &str, host: &str| Member {
            name: MemberName::new(name).expect("a name"),
            host: HostName::new(host).expect("a name"),
            group: GroupId(1),
        };
        let members = vec![member("a", "h1"), member("b", "h2"), member("c", "h3")];
        Group { id: GroupId(1), replication, members, readers: vec![member("r", "h4")] }
    }

    fn state(sync: &[&str]) -> GroupState {
        let member = |state: &str, lsn| MemberState { state: state.into(), timeline: 1, lsn, ..MemberState::default() };
        GroupState {
            initialized: true,
            leader: "a".into(),
            leader_lsn: 1000,
            sync_standbys: sync.iter().map(|s| (*s).to_owned()).collect(),
            members: [("a", member("running", 1000)), ("b", member("streaming", 900)), ("c", member("streaming", 990))]
                .into_iter()
                .map(|(name, state)| (name.to_owned(), state))
                .collect(),
            ..GroupState::default()
        }
    }

    #[test]
    fn synchronous_beats_less_lag() {
        let chosen = choose(&group(Replication::Sync), &state(&["b"]), Occasion::Planned, 0, None);
        assert_eq!(chosen.map(|c| c.member), Ok("b".into()));
    }

    #[test]
    fn a_standby_that_may_lack_writes_needs_force() {
        let state = state(&["b"]);
        let ask = |occasion| choose(&group(Replication::Sync), &state, occasion, 0, Some("c"));
        assert!(matches!(ask(Occasion::Unplanned { force: false }), Err(NoCandidate::Nobody { .. })));
        assert_eq!(ask(Occasion::Unplanned { force: true }).map(|c| c.synchronous), Ok(false));
    }

    #[test]
    fn only_what_changes_by_itself_may_pass() {
        let ask = |replication, state: &GroupState, to| {
            choose(&group(replication), state, Occasion::Planned, 0, to).expect_err("nobody can take over").may_pass()
        };
        assert!(ask(Replication::Sync, &state(&[]), None), "Patroni names a standby within a round or two");
        assert!(ask(Replication::Quorum, &state(&["b"]), Some("c")), "it joins the quorum");
        assert!(!ask(Replication::Sync, &state(&["b"]), Some("c")), "b stays the one");
        let mut starting = state(&["b"]);
        starting.members.get_mut("b").expect("a member").state = "starting".into();
        assert!(ask(Replication::Sync, &starting, Some("b")));
        assert!(ask(Replication::Sync, &starting, Some("c")), "b is not the one for long");
        let mut gone = state(&["b"]);
        gone.members.remove("b");
        assert!(!ask(Replication::Sync, &gone, Some("b")), "who knows when it comes back");
        assert!(!ask(Replication::Sync, &state(&[]), Some("a")));
    }

    #[test]
    fn a_refusal_names_the_standby_that_is_synchronous() {
        let refused = choose(&group(Replication::Sync), &state(&["b"]), Occasion::Planned, 0, Some("c"));
        let words =
            "no member of shard-1 can become leader: c is not synchronous, b is: acknowledged writes may be missing there";
        assert_eq!(refused.expect_err("c is not synchronous").to_string(), words);
    }

    #[test]
    fn a_reader_is_none_whatever_is_forced() {
        let mut state = state(&[]);
        state.members.clear();
        let streaming = MemberState { state: "running".into(), lsn: 1000, ..MemberState::default() };
        state.members.insert("r".into(), streaming);
        let ask = |to| choose(&group(Replication::Async), &state, Occasion::Unplanned { force: true }, u64::MAX, to);
        assert!(matches!(ask(None), Err(NoCandidate::Nobody { unfit, .. }) if unfit.iter().all(|(name, _)| name != "r")));
        assert!(matches!(ask(Some("r")), Err(NoCandidate::Reader { .. })));
    }

    #[test]
    fn lag_decides_where_nothing_is_synchronous() {
        let async_group = group(Replication::Async);
        assert_eq!(choose(&async_group, &state(&[]), Occasion::Planned, 50, None).map(|c| c.member), Ok("c".into()));
        assert!(choose(&async_group, &state(&[]), Occasion::Planned, 5, None).is_err());
    }

    #[test]
    fn the_leader_and_strangers_are_refused() {
        let ask = |to| choose(&group(Replication::Async), &state(&[]), Occasion::Planned, 50, Some(to));
        assert!(matches!(ask("a"), Err(NoCandidate::Leads { .. })));
        assert!(matches!(ask("x"), Err(NoCandidate::Unknown { .. })));
        let mut headless = state(&[]);
        headless.leader.clear();
        let planned = choose(&group(Replication::Async), &headless, Occasion::Planned, 50, None);
        assert!(matches!(planned, Err(NoCandidate::NoLeader { .. })));
    }
}
