//! Checks of PostgreSQL by what each leader says in SQL: slots, connections, transactions left open.

use super::host::percent;
use super::look::list;
use super::thresholds::{
    CONNECTIONS_FAIL_PERCENT, CONNECTIONS_WARN_PERCENT, PREPARED_FAIL, PREPARED_WARN, SLOT_FAIL_BYTES, SLOT_WARN_BYTES,
    TRANSACTION_FAIL, TRANSACTION_WARN,
};
use super::{Finding, Look};
use crate::quantity::{bytes, millis};
use crate::topology::GroupId;
use crate::topology::model::Group;

/// Every leader answers SQL.
pub fn answers(look: &Look<'_>) -> Vec<Finding> {
    let judge = |group: &Group| match look.leader(group) {
        Ok(facts) => Finding::pass(group.id, format!("{} answers", facts.member)),
        Err(error) => {
            // Without a leader there is nobody to ask; that is what has to be mended.
            let leader = look.group(group).ok().map(|s| s.leader.as_str()).filter(|l| !l.is_empty());
            let host = group.members.iter().find(|m| Some(m.name.as_str()) == leader).map(|m| &m.host);
            let root = match host {
                Some(host) => look.lost_with([host]),
                None => Some(format!("leader {}", group.id)),
            };
            Finding::fail(group.id, error.to_string(), format!("pgclusterctl logs {}", leader.unwrap_or("MEMBER")))
                .following(root)
        }
    };
    look.topology.groups.iter().map(judge).collect()
}

/// Slots are read, and little WAL is kept for them.
pub fn slots(look: &Look<'_>) -> Vec<Finding> {
    look.each_leader(|group, facts| {
        let Some((widest, slot)) = facts.slots.iter().max_by_key(|(_, slot)| slot.retained_bytes) else {
            return vec![Finding::pass(group.id, "no slots")];
        };
        let idle = facts.slots.iter().filter(|(name, slot)| !slot.active && !left_by_member(group, name));
        let idle: Vec<&String> = idle.map(|(name, _)| name).collect();
        let kept = slot.retained_bytes;
        let evidence = format!("at most {} of WAL kept, for {widest}", bytes(kept));
        let remedy = format!("bring the reader of {widest} back, or drop the slot: a full disk stops {}", facts.member);
        vec![if kept >= SLOT_FAIL_BYTES {
            Finding::fail(group.id, evidence, remedy)
        } else if kept >= SLOT_WARN_BYTES {
            Finding::warn(group.id, evidence, remedy)
        } else if !idle.is_empty() {
            let remedy = "bring the reader back; Patroni drops the slot of a member that stays away";
            let readers = group.everyone().filter(|m| idle.iter().any(|slot| **slot == slot_name(m.name.as_str())));
            let hosts: Vec<_> = readers.map(|m| &m.host).collect();
            let root = if hosts.len() == idle.len() { look.lost_with(hosts) } else { None };
            Finding::warn(group.id, format!("nobody reads from {}; {evidence}", list(idle)), remedy).following(root)
        } else {
            Finding::pass(group.id, format!("{} slots, {evidence}", facts.slots.len()))
        }]
    })
}

/// Patroni's name for a member's slot: what a slot may not contain becomes an underscore (source: `slot_name_from_member_name`).
fn slot_name(member: &str) -> String {
    member.replace(['-', '.'], "_")
}

/// Whether it is the slot of a member or a reader that was taken out, which Patroni keeps for `member_slots_ttl`: nobody is missed.
fn left_by_member(group: &Group, slot: &str) -> bool {
    let name = slot.replace('_', "-");
    GroupId::of_member(&name) == Some(group.id) && group.everyone().all(|member| member.name.as_str() != name)
}

/// Connections are left.
pub fn connections(look: &Look<'_>) -> Vec<Finding> {
    look.each_leader(|group, facts| {
        if facts.connections_max == 0 {
            return vec![Finding::warn(group.id, "unknown: max_connections was not told", "see sql")];
        }
        let used = percent(u64::from(facts.connections_used), u64::from(facts.connections_max));
        let evidence = format!("{} of {} ({used} %)", facts.connections_used, facts.connections_max);
        let remedy = "lower pooler.default_pool_size, or raise max_connections; idle sessions: pg_stat_activity";
        vec![match used {
            0..CONNECTIONS_WARN_PERCENT => Finding::pass(group.id, evidence),
            CONNECTIONS_WARN_PERCENT..CONNECTIONS_FAIL_PERCENT => Finding::warn(group.id, evidence, remedy),
            _ => Finding::fail(group.id, evidence, remedy),
        }]
    })
}

/// No transaction has been open for long.
pub fn transactions(look: &Look<'_>) -> Vec<Finding> {
    look.each_leader(|group, facts| {
        let age = facts.oldest_transaction_ms;
        if age == 0 {
            return vec![Finding::pass(group.id, "none open")];
        }
        let evidence = format!("the oldest has been open for {}", millis(age));
        let remedy = format!("pgclusterctl psql --member {}: pg_stat_activity by xact_start", facts.member);
        vec![match u128::from(age) {
            ms if ms >= TRANSACTION_FAIL.as_millis() => Finding::fail(group.id, evidence, remedy),
            ms if ms >= TRANSACTION_WARN.as_millis() => Finding::warn(group.id, evidence, remedy),
            _ => Finding::pass(group.id, evidence),
        }]
    })
}

/// No prepared transaction was left behind.
pub fn prepared(look: &Look<'_>) -> Vec<Finding> {
    look.each_leader(|group, facts| {
        let Some((gid, age)) = facts.prepared.iter().max_by_key(|(_, age)| *age) else {
            return vec![Finding::pass(group.id, "none")];
        };
        let evidence = format!("{}, the oldest ({gid}) for {}", facts.prepared.len(), millis(*age));
        let remedy = "SELECT recover_prepared_transactions() on the coordinator; what stays, COMMIT or ROLLBACK PREPARED";
        vec![match u128::from(*age) {
            ms if ms >= PREPARED_FAIL.as_millis() => Finding::fail(group.id, evidence, remedy),
            ms if ms >= PREPARED_WARN.as_millis() => Finding::warn(group.id, evidence, remedy),
            _ => Finding::pass(group.id, evidence),
        }]
    })
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::fixture::{self, verdict_of};
    use super::*;
    use crate::observe::model::{LeaderFacts, SlotFacts};

    fn with(change: impl Fn(&mut LeaderFacts), check: fn(&Look<'_>) -> Vec<Finding>) -> Verdict {
        let (topology, mut observed) = fixture::healthy();
        change(fixture::leader(&mut observed, 1));
        verdict_of(&check(&Look { topology: &topology, observed: &observed }), "shard-1")
    }

    #[test]
    fn a_leader_that_says_nothing_fails_and_its_other_answers_follow() {
        let (topology, mut observed) = fixture::healthy();
        fixture::silence_leader(&mut observed, 1);
        let look = Look { topology: &topology, observed: &observed };
        assert_eq!(verdict_of(&answers(&look), "shard-1"), Verdict::Fail);
        for check in [slots, connections, transactions, prepared] {
            let findings = check(&look);
            let finding = findings.iter().find(|f| f.subject == "shard-1").expect("asked of every group");
            assert_eq!((finding.verdict, finding.follows_from.as_str()), (Verdict::Warn, "sql shard-1"));
        }
    }

    #[test]
    fn kept_wal_warns_then_fails_and_an_idle_slot_warns() {
        let keep = |bytes| {
            move |l: &mut LeaderFacts| {
                l.slots.insert("x".into(), SlotFacts { active: true, retained_bytes: bytes });
            }
        };
        assert_eq!(with(keep(SLOT_WARN_BYTES - 1), slots), Verdict::Pass);
        assert_eq!(with(keep(SLOT_WARN_BYTES), slots), Verdict::Warn);
        assert_eq!(with(keep(SLOT_FAIL_BYTES), slots), Verdict::Fail);
        assert_eq!(with(|l| l.slots.values_mut().for_each(|s| s.active = false), slots), Verdict::Warn);
        assert_eq!(with(|l| l.slots.clear(), slots), Verdict::Pass);
        let left = |name: &'static str| {
            move |l: &mut LeaderFacts| {
                l.slots.insert(name.into(), SlotFacts { active: false, retained_bytes: 1 });
            }
        };
        assert_eq!(with(left("worker_1_reader_1"), slots), Verdict::Pass, "it was taken out");
        assert_eq!(with(left("worker_1_3"), slots), Verdict::Pass, "so was this");
        assert_eq!(with(left("worker_1_2"), slots), Verdict::Warn);
        assert_eq!(with(left("worker_2_3"), slots), Verdict::Warn, "of another group");
    }

    #[test]
    fn connections_that_run_out_fail() {
        assert_eq!(with(|l| l.connections_used = 79, connections), Verdict::Pass);
        assert_eq!(with(|l| l.connections_used = 80, connections), Verdict::Warn);
        assert_eq!(with(|l| l.connections_used = 95, connections), Verdict::Fail);
        assert_eq!(with(|l| l.connections_max = 0, connections), Verdict::Warn);
    }

    #[test]
    fn transactions_left_open_or_prepared_fail_in_the_end() {
        assert_eq!(with(|l| l.oldest_transaction_ms = 1_000, transactions), Verdict::Pass);
        assert_eq!(with(|l| l.oldest_transaction_ms = 400_000, transactions), Verdict::Warn);
        assert_eq!(with(|l| l.oldest_transaction_ms = 4_000_000, transactions), Verdict::Fail);
        assert_eq!(with(|l| l.prepared = vec![("citus_0_1".into(), 10_000)], prepared), Verdict::Pass);
        assert_eq!(with(|l| l.prepared = vec![("citus_0_1".into(), 130_000)], prepared), Verdict::Warn);
        assert_eq!(with(|l| l.prepared = vec![("a".into(), 1), ("b".into(), 700_000)], prepared), Verdict::Fail);
    }
}
