//! Checks of what stands together that should not.

use super::{Finding, Look, etcd};
use crate::topology::GroupId;

/// etcd's leader is not on the coordinator leader's host: a new etcd leader extends every lease to its full TTL, so that without guards,
/// which go by heartbeats, a host that holds both takes longer to replace.
pub fn etcd_leader(look: &Look<'_>) -> Vec<Finding> {
    const SUBJECT: &str = "etcd";
    let members = &look.topology.etcd;
    let leads = |m: &&crate::topology::model::EtcdMember| etcd::facts(look, m).is_some_and(|f| f.member_id == f.leader_id);
    let Some(leader) = members.iter().find(leads) else {
        return vec![
            Finding::warn(SUBJECT, "unknown: no member that answers leads", "see etcd-quorum")
                .following(Some("etcd-quorum etcd".into())),
        ];
    };
    let coordinators = look.topology.group(GroupId::COORDINATOR);
    let holder = coordinators.and_then(|g| {
        let name = &look.group(g).ok()?.leader;
        g.members.iter().find(|m| m.name.as_str() == name)
    });
    vec![match holder {
        None => {
            Finding::warn(SUBJECT, "unknown: no coordinator leads", "see leader").following(Some("leader coordinator".into()))
        }
        Some(member) if member.host == leader.host => {
            let cost = if look.topology.guard.enabled {
                "a guard moves one of them soon"
            } else {
                "losing it takes an election and an extended lease longer"
            };
            let other = members.iter().find(|m| m.host != leader.host).map_or("another member", |m| m.name.as_str());
            Finding::warn(
                SUBJECT,
                format!("{} and {} both lead on {}: {cost}", leader.name, member.name, leader.host),
                format!("pgclusterctl exec {} -- etcdctl move-leader to the id of {other}", leader.name),
            )
        }
        Some(member) => {
            Finding::pass(SUBJECT, format!("{} leads on {}, {} on {}", leader.name, leader.host, member.name, member.host))
        }
    }]
}

#[cfg(test)]
mod tests {
    use super::super::{Verdict, fixture};
    use super::*;

    #[test]
    fn both_leaders_on_one_host_is_a_hint_not_a_failure() {
        let (topology, mut observed) = fixture::healthy();
        for name in ["etcd-1", "etcd-2", "etcd-3"] {
            fixture::etcd(&mut observed, name).leader_id = 1;
        }
        let findings = etcd_leader(&Look { topology: &topology, observed: &observed });
        assert_eq!(findings[0].verdict, Verdict::Warn);
        assert!(findings[0].evidence.contains("host1: a guard moves"), "{findings:?}");
        let mut unguarded = topology;
        unguarded.guard.enabled = false;
        let findings = etcd_leader(&Look { topology: &unguarded, observed: &observed });
        assert!(findings[0].evidence.contains("an extended lease longer"), "{findings:?}");
    }
}
