//! Checks of etcd: quorum, alarms, size.

use std::collections::{BTreeMap, BTreeSet};

use super::host::percent;
use super::look::list;
use super::thresholds::{ETCD_QUOTA_BYTES, ETCD_SPACE_FAIL_PERCENT, ETCD_SPACE_WARN_PERCENT};
use super::{Finding, Look};
use crate::observe::model::EtcdFacts;
use crate::quantity::bytes;
use crate::topology::model::EtcdMember;

/// Subject of the checks that concern etcd as a whole.
const ETCD: &str = "etcd";

/// All members answer, and those that do follow one leader.
pub fn quorum(look: &Look<'_>) -> Vec<Finding> {
    let members = &look.topology.etcd;
    let (answering, silent): (Vec<_>, Vec<_>) = members.iter().partition(|m| facts(look, m).is_some());
    let mut followers: BTreeMap<u64, usize> = BTreeMap::new();
    for member in &answering {
        if let Some(facts) = facts(look, member).filter(|f| f.leader_id != 0) {
            *followers.entry(facts.leader_id).or_default() += 1;
        }
    }
    let (all, needed) = (members.len(), members.len() / 2 + 1);
    let agreeing = followers.values().copied().max().unwrap_or(0);
    let silent_names = list(silent.iter().map(|m| &m.name));
    let evidence = if silent.is_empty() {
        format!("{agreeing} of {all} members follow one leader")
    } else {
        format!("{agreeing} of {all} members follow one leader; no answer from {silent_names}")
    };
    let lost = look.lost_with(silent.iter().map(|m| &m.host));
    let way_out = if silent.is_empty() {
        "look again in a few seconds: they may be electing a leader; if not, `pgclusterctl logs` of each says why".to_owned()
    } else {
        format!("bring {silent_names} back")
    };
    let finding = if agreeing < needed {
        let remedy = format!("{way_out}; without {needed} of {all} no leader is elected and none is kept");
        // Seen to be lost, it stands for itself, whatever took it: without it nothing fails over.
        let unseen = lost.filter(|_| answering.is_empty());
        Finding::fail(ETCD, evidence, remedy).following(unseen.or_else(|| look.undeployed()))
    } else if agreeing < all {
        let margin = agreeing - needed;
        let evidence = format!("{evidence}; {margin} more may be lost");
        Finding::warn(ETCD, evidence, way_out).following(lost)
    } else {
        Finding::pass(ETCD, evidence)
    };
    vec![finding]
}

/// No member raises an alarm.
pub fn alarms(look: &Look<'_>) -> Vec<Finding> {
    each(look, |member, facts| {
        let alarms: BTreeSet<&str> = facts.alarms.iter().map(String::as_str).collect();
        if alarms.is_empty() {
            return Finding::pass(&member.name, "none");
        }
        let remedy = if alarms.contains("NOSPACE") {
            "compact and defragment, then `etcdctl alarm disarm`: until then no lease is granted"
        } else {
            "replace the member: its data is damaged"
        };
        Finding::fail(&member.name, list(alarms), remedy)
    })
}

/// The database is far from its quota.
pub fn space(look: &Look<'_>) -> Vec<Finding> {
    each(look, |member, facts| {
        let percent = percent(facts.db_size_bytes, ETCD_QUOTA_BYTES);
        let (size, quota) = (bytes(facts.db_size_bytes), bytes(ETCD_QUOTA_BYTES));
        let evidence = format!("{size} of {quota} ({percent} %)");
        let remedy = format!("pgclusterctl exec {} -- etcdctl defrag, after a compaction", member.name);
        match percent {
            0..ETCD_SPACE_WARN_PERCENT => Finding::pass(&member.name, evidence),
            ETCD_SPACE_WARN_PERCENT..ETCD_SPACE_FAIL_PERCENT => Finding::warn(&member.name, evidence, remedy),
            _ => Finding::fail(&member.name, evidence, remedy),
        }
    })
}

/// Whether [`quorum`] fails.
pub fn has_no_quorum(look: &Look<'_>) -> bool {
    quorum(look).iter().any(|finding| finding.verdict == super::Verdict::Fail)
}

/// What follows from [`quorum`] names this.
pub fn quorum_root() -> String {
    format!("etcd-quorum {ETCD}")
}

/// A member's own answer.
pub fn facts<'a>(look: &Look<'a>, member: &EtcdMember) -> Option<&'a EtcdFacts> {
    look.observed.etcd.get(&member.name)?.known()
}

fn each(look: &Look<'_>, judge: impl Fn(&EtcdMember, &EtcdFacts) -> Finding) -> Vec<Finding> {
    let one = |member: &EtcdMember| match facts(look, member) {
        Some(facts) => judge(member, facts),
        None => {
            let reason = look.observed.etcd.get(&member.name).and_then(|p| p.failed()).map_or("was not asked", |e| &e.reason);
            let root = look.lost_with([&member.host]).unwrap_or_else(quorum_root);
            Finding::warn(&member.name, format!("unknown: {reason}"), format!("bring {} back", member.name))
                .following(Some(root))
        }
    };
    look.topology.etcd.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::fixture::{self, verdict_of};
    use super::*;
    use crate::observe::model::{Observed, Probe};

    fn with(change: impl Fn(&mut Observed), check: fn(&Look<'_>) -> Vec<Finding>) -> Vec<Finding> {
        let (topology, mut observed) = fixture::healthy();
        change(&mut observed);
        check(&Look { topology: &topology, observed: &observed })
    }

    fn silence(observed: &mut Observed, names: &[&str]) {
        for name in names {
            observed.etcd.insert(fixture::member(name), Probe::fail(*name, "connection refused"));
        }
    }

    #[test]
    fn one_silent_member_of_three_warns_two_fail() {
        assert_eq!(with(|o| silence(o, &["etcd-2"]), quorum)[0].verdict, Verdict::Warn);
        assert_eq!(with(|o| silence(o, &["etcd-2", "etcd-3"]), quorum)[0].verdict, Verdict::Fail);
    }

    #[test]
    fn members_that_know_no_leader_are_no_quorum() {
        let leaderless = |o: &mut Observed| {
            for name in ["etcd-1", "etcd-2", "etcd-3"] {
                fixture::etcd(o, name).leader_id = 0;
            }
        };
        assert_eq!(with(leaderless, quorum)[0].verdict, Verdict::Fail);
    }

    #[test]
    fn alarms_and_a_database_near_its_quota_fail() {
        let alarmed = with(|o| fixture::etcd(o, "etcd-1").alarms = vec!["NOSPACE".into()], alarms);
        assert_eq!(verdict_of(&alarmed, "etcd-1"), Verdict::Fail);
        let half = with(|o| fixture::etcd(o, "etcd-1").db_size_bytes = ETCD_QUOTA_BYTES / 2, space);
        assert_eq!(verdict_of(&half, "etcd-1"), Verdict::Warn);
        let full = with(|o| fixture::etcd(o, "etcd-1").db_size_bytes = ETCD_QUOTA_BYTES, space);
        assert_eq!(verdict_of(&full, "etcd-1"), Verdict::Fail);
    }
}
