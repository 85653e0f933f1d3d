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
    /// The member named leads already.
    #[error("{member} is the leader already")]
    Leads {
        /// As given.
        member: String,
    },
    /// Nobody qualifies.
    #[error("no member of {group} can become leader: {}", reasons.join("; "))]
    Nobody {
        /// The group.
        group: String,
        /// One reason for each member that was looked at.
        reasons: Vec<String>,
    },
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
        if !names.contains(&to) {
            let members = names.join(", ");
            return Err(NoCandidate::Unknown { member: to.to_owned(), group: group.id.to_string(), members });
        }
    }
    let asked = names.into_iter().filter(|name| *name != state.leader && to.is_none_or(|to| to == *name));
    let mut fit = Vec::new();
    let mut reasons = Vec::new();
    for name in asked {
        match qualify(group, state, name, occasion, maximum_lag) {
            Ok(candidate) => fit.push(candidate),
            Err(reason) => reasons.push(format!("{name} {reason}")),
        }
    }
    // The sort is stable: equals stay in the order of the topology.
    fit.sort_by_key(|c| (!c.synchronous, c.lag_bytes));
    fit.into_iter().next().ok_or(NoCandidate::Nobody { group: group.id.to_string(), reasons })
}

fn qualify(group: &Group, state: &GroupState, name: &str, occasion: Occasion, maximum_lag: u64) -> Result<Candidate, String> {
    let member = state.members.get(name).ok_or("is not running")?;
    if !is_up(member, state) {
        return Err(format!("is {}", if member.state.is_empty() { "silent" } else { &member.state }));
    }
    if member.tags.get("nofailover").is_some_and(|tag| tag == &serde_json::Value::Bool(true)) {
        return Err("is tagged nofailover".into());
    }
    let force = occasion == Occasion::Unplanned { force: true };
    let synchronous = state.sync_standbys.iter().any(|s| s == name);
    let lag_bytes = state.leader_lsn.saturating_sub(member.lsn);
    if group.replication != Replication::Async && !synchronous && !force {
        return Err("is not synchronous: acknowledged writes may be missing there".into());
    }
    if group.replication == Replication::Async && lag_bytes > maximum_lag && !force {
        return Err(format!("lags by {lag_bytes} bytes, more than maximum_lag_on_failover ({maximum_lag})"));
    }
    Ok(Candidate { member: name.to_owned(), synchronous, lag_bytes })
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
        Group { id: GroupId(1), replication, members: vec![member("a", "h1"), member("b", "h2"), member("c", "h3")] }
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
