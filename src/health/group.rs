//! Checks of Patroni's groups by their keys in etcd: leader, timeline, pause, what is pending.

use super::look::{KEYS, is_up, list};
use super::{Finding, Look, Verdict};
use crate::observe::model::{GroupState, Probe};
use crate::topology::GroupId;
use crate::topology::model::{Group, Member};

/// Patroni's keys can be read.
pub fn keys(look: &Look<'_>) -> Vec<Finding> {
    let finding = match &look.observed.patroni {
        Probe::Known(groups) => {
            let members: usize = groups.values().map(|g| g.members.len()).sum();
            Finding::pass(KEYS, format!("{} groups with {members} members", groups.len()))
        }
        Probe::Failed(error) => {
            let quorum = || super::etcd::has_no_quorum(look).then(|| format!("etcd-quorum {KEYS}"));
            Finding::fail(KEYS, format!("unknown: {}", error.reason), "see etcd-quorum")
                .following(look.undeployed().or_else(quorum))
        }
    };
    vec![finding]
}

/// Each group has exactly one leader: etcd names it, Patroni runs it, and PostgreSQL itself is not in recovery.
pub fn leader(look: &Look<'_>) -> Vec<Finding> {
    if let Some(error) = look.observed.patroni.failed() {
        let unknown = |group: &Group| {
            Finding::fail(group.id, format!("unknown: {}", error.reason), "see patroni-keys")
                .following(Some(format!("patroni-keys {KEYS}")))
        };
        return look.topology.groups.iter().map(unknown).collect();
    }
    look.topology.groups.iter().map(|group| leader_of(look, group)).collect()
}

fn leader_of(look: &Look<'_>, group: &Group) -> Finding {
    let state = match look.group(group) {
        Ok(state) => state,
        Err(error) => return Finding::fail(group.id, error.reason, "run `pgclusterctl up`"),
    };
    if state.leader.is_empty() {
        let evidence = if state.initialized { "no member holds the leader key" } else { "was never initialised" };
        let remedy = format!("pgclusterctl logs {}: why no member takes over", group.members[0].name);
        return Finding::fail(group.id, evidence, remedy);
    }
    let leader = &state.leader;
    let logs = format!("pgclusterctl logs {leader}");
    if !group.members.iter().any(|m| m.name.as_str() == leader) {
        let remedy = "switch over to a member of the topology, or add it there";
        return Finding::fail(group.id, format!("{leader} leads, and the topology does not know it"), remedy);
    }
    let primaries: Vec<&String> = state.members.iter().filter(|(_, m)| m.is_primary()).map(|(name, _)| name).collect();
    match primaries.as_slice() {
        [one] if *one == leader => {}
        [] => return Finding::fail(group.id, format!("{leader} holds the leader key but is not promoted"), logs),
        _ => {
            let evidence = format!("{leader} holds the leader key, primaries are {}", list(&primaries));
            return Finding::fail(group.id, evidence, "wait ten seconds and look again; then see the members' logs");
        }
    }
    let member = &state.members[leader];
    if !is_up(&member.state) {
        return Finding::fail(group.id, format!("{leader} leads, its PostgreSQL is {}", member.state), logs);
    }
    match look.leader(group) {
        Ok(facts) if facts.in_recovery => {
            Finding::fail(group.id, format!("{leader} leads, but its PostgreSQL is in recovery and takes no writes"), logs)
        }
        Ok(_) => Finding::pass(group.id, format!("{leader}, takes writes")),
        Err(_) if abandoned(look, group, state) => {
            let ttl = look.topology.failover.ttl.as_secs();
            let evidence = format!("{leader} holds the leader key, its host does not answer and no standby streams from it");
            Finding::fail(
                group.id,
                evidence,
                format!("wait up to {ttl} s for a standby to take over; then see the members' logs"),
            )
        }
        Err(error) => Finding::warn(group.id, format!("{leader}, but SQL says nothing: {error}"), "see sql")
            .following(Some(format!("sql {}", group.id))),
    }
}

/// Whether [`leader`] fails for that group.
pub fn has_no_leader(look: &Look<'_>, id: GroupId) -> bool {
    let failed = |group| leader_of(look, group).verdict == Verdict::Fail;
    look.topology.group(id).is_some_and(failed)
}

/// Whether nothing shows that the leader lives: its host is silent, and so is its replication as the standbys report it.
fn abandoned(look: &Look<'_>, group: &Group, state: &GroupState) -> bool {
    let lost = |m: &&Member| look.host(&m.host).is_err();
    let standbys = || group.members.iter().filter(|m| m.name.as_str() != state.leader && !lost(m));
    let streams = |m: &Member| state.members.get(m.name.as_str()).is_some_and(|own| own.state == "streaming");
    let leader = group.members.iter().find(|m| m.name.as_str() == state.leader);
    leader.as_ref().is_some_and(lost) && !standbys().any(streams)
}

/// All members are on the leader's timeline; another one means a standby that cannot follow.
pub fn timeline(look: &Look<'_>) -> Vec<Finding> {
    look.each_group(|group, state| {
        let Some(leader) = state.members.get(&state.leader).filter(|l| l.timeline != 0) else {
            let unknown = Finding::warn(group.id, "unknown: the leader's timeline is not known", "see leader");
            return vec![unknown.following(Some(format!("leader {}", group.id)))];
        };
        let known = || state.members.iter().filter(|(_, m)| m.timeline != 0);
        let strayed: Vec<String> = known()
            .filter(|(_, m)| m.timeline != leader.timeline)
            .map(|(name, m)| format!("{name} on {}", m.timeline))
            .collect();
        if strayed.is_empty() {
            return vec![Finding::pass(group.id, format!("{} for {} members", leader.timeline, known().count()))];
        }
        let evidence = format!("{} on {}, but {}", state.leader, leader.timeline, list(&strayed));
        vec![Finding::fail(group.id, evidence, "pgclusterctl logs MEMBER: Patroni rewinds it, or it must be rebuilt")]
    })
}

/// Automatic failover is on.
pub fn paused(look: &Look<'_>) -> Vec<Finding> {
    look.each_group(|group, state| {
        let passive = |m: &&Member| {
            let tags = state.members.get(m.name.as_str()).map(|s| &s.tags);
            tags.and_then(|t| t.get("nofailover")).and_then(serde_json::Value::as_bool).unwrap_or(false)
        };
        let passive: Vec<_> = group.members.iter().filter(passive).map(|m| &m.name).collect();
        vec![if state.paused {
            let remedy = format!("pgclusterctl exec {} -- patronictl resume", group.members[0].name);
            Finding::warn(group.id, "paused: nobody takes over when the leader is lost", remedy)
        } else if !passive.is_empty() {
            Finding::warn(group.id, format!("{} may not take over (nofailover)", list(&passive)), "remove the tag when done")
        } else {
            Finding::pass(group.id, "on")
        }]
    })
}

/// No restart and no failover request is waiting.
pub fn pending(look: &Look<'_>) -> Vec<Finding> {
    look.each_group(|group, state| vec![pending_of(group, state)])
}

fn pending_of(group: &Group, state: &GroupState) -> Finding {
    let waiting: Vec<&String> = state.members.iter().filter(|(_, m)| m.pending_restart).map(|(name, _)| name).collect();
    if !state.failover_request.is_empty() {
        let remedy = "wait for it; a request that stays was not accepted, see the leader's log";
        return Finding::warn(group.id, format!("failover request {}", state.failover_request), remedy);
    }
    if waiting.is_empty() {
        return Finding::pass(group.id, "nothing");
    }
    Finding::warn(
        group.id,
        format!("settings wait for a restart of {}", list(waiting)),
        "run `pgclusterctl up`: it restarts one by one",
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, verdict_of, with};
    use super::super::{Look, Verdict};
    use crate::observe::model::{Observed, Probe};
    use crate::topology::HostName;

    #[test]
    fn unreadable_keys_fail_and_every_leader_with_them() {
        let blind = |o: &mut Observed| o.patroni = Probe::fail("etcd", "no quorum");
        assert_eq!(with(blind, super::keys)[0].verdict, Verdict::Fail);
        let leaders = with(blind, super::leader);
        assert!(leaders.iter().all(|f| f.verdict == Verdict::Fail && f.follows_from == "patroni-keys etcd"), "{leaders:?}");
        assert_eq!(with(blind, super::timeline)[0].verdict, Verdict::Warn);
    }

    #[test]
    fn a_leader_must_be_named_known_promoted_running_and_out_of_recovery() {
        let fails = |change: fn(&mut Observed)| {
            let findings = with(change, super::leader);
            assert_eq!(verdict_of(&findings, "shard-1"), Verdict::Fail, "{findings:?}");
        };
        fails(|o| fixture::group(o, 1).leader.clear());
        fails(|o| fixture::group(o, 1).leader = "stranger".into());
        fails(|o| fixture::state(o, 1, "worker-1-1").role = "replica".into());
        fails(|o| fixture::state(o, 1, "worker-1-2").role = "primary".into());
        fails(|o| fixture::state(o, 1, "worker-1-1").state = "stopped".into());
        fails(|o| fixture::leader(o, 1).in_recovery = true);
        let silent = with(|o| fixture::silence_leader(o, 1), super::leader);
        assert_eq!(verdict_of(&silent, "shard-1"), Verdict::Warn);
    }

    #[test]
    fn a_leader_on_a_silent_host_fails_unless_a_standby_still_streams() {
        let (topology, mut observed) = fixture::healthy();
        let silent = HostName::new("host1").expect("a name");
        observed.hosts.insert(silent, Probe::fail("host1", "connection timed out"));
        fixture::silence_leader(&mut observed, 1);
        let judge = |observed: &Observed| verdict_of(&super::leader(&Look { topology: &topology, observed }), "shard-1");
        assert_eq!(judge(&observed), Verdict::Warn);
        fixture::state(&mut observed, 1, "worker-1-2").state = "running".into();
        assert_eq!(judge(&observed), Verdict::Fail);
    }

    #[test]
    fn another_timeline_fails_and_an_unknown_one_warns() {
        let strayed = with(|o| fixture::state(o, 2, "worker-2-2").timeline = 7, super::timeline);
        assert_eq!(verdict_of(&strayed, "shard-2"), Verdict::Fail);
        let unknown = with(|o| fixture::state(o, 2, "worker-2-1").timeline = 0, super::timeline);
        assert_eq!(verdict_of(&unknown, "shard-2"), Verdict::Warn);
    }

    #[test]
    fn a_pause_a_tag_and_pending_work_warn() {
        assert_eq!(verdict_of(&with(|o| fixture::group(o, 3).paused = true, super::paused), "shard-3"), Verdict::Warn);
        let tag = |o: &mut Observed| drop(fixture::state(o, 3, "worker-3-2").tags.insert("nofailover".into(), true.into()));
        assert_eq!(verdict_of(&with(tag, super::paused), "shard-3"), Verdict::Warn);
        let restart = with(|o| fixture::state(o, 0, "coordinator-2").pending_restart = true, super::pending);
        assert_eq!(verdict_of(&restart, "coordinator"), Verdict::Warn);
        let request = with(|o| fixture::group(o, 0).failover_request = "to coordinator-2".into(), super::pending);
        assert_eq!(verdict_of(&request, "coordinator"), Verdict::Warn);
    }
}
