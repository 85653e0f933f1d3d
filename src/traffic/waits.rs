//! Who waits for whom, and where that goes round in a circle.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::session::{Gpid, Session};

/// One session waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Wait {
    /// Who waits,
    pub waiting: Gpid,
    /// for whom.
    pub blocking: Gpid,
}

/// Sessions that wait for each other: none of them goes on until one is ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cycle {
    /// All of them.
    pub sessions: Vec<Gpid>,
    /// The one to end: it has the youngest transaction, so the least is lost. Citus chooses by the same rule.
    pub victim: Option<Gpid>,
}

/// Every circle of waits. Sessions that only wait for one of a circle are not part of it.
pub fn cycles(waits: &[Wait], sessions: &[Session]) -> Vec<Cycle> {
    let mut next: BTreeMap<Gpid, BTreeSet<Gpid>> = BTreeMap::new();
    for wait in waits {
        next.entry(wait.waiting).or_default().insert(wait.blocking);
    }
    let reached: BTreeMap<Gpid, BTreeSet<Gpid>> = next.keys().map(|from| (*from, reach(&next, *from))).collect();
    let mut found: Vec<Cycle> = Vec::new();
    for (session, others) in reached.iter().filter(|(session, others)| others.contains(session)) {
        if found.iter().any(|cycle| cycle.sessions.contains(session)) {
            continue;
        }
        let back = |other: &&Gpid| reached.get(other).is_some_and(|reached| reached.contains(session));
        let members: Vec<Gpid> = others.iter().filter(back).copied().collect();
        let victim = youngest(&members, sessions);
        found.push(Cycle { sessions: members, victim });
    }
    found
}

/// Everybody whom a session waits for, directly or through others.
fn reach(next: &BTreeMap<Gpid, BTreeSet<Gpid>>, from: Gpid) -> BTreeSet<Gpid> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(at) = open.pop() {
        for to in next.get(&at).into_iter().flatten() {
            if reached.insert(*to) {
                open.push(*to);
            }
        }
    }
    reached
}

fn youngest(members: &[Gpid], sessions: &[Session]) -> Option<Gpid> {
    let known = sessions.iter().filter(|session| members.contains(&session.gpid));
    known.min_by_key(|session| (session.transaction_ms.unwrap_or(u64::MAX), session.gpid)).map(|session| session.gpid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wait(waiting: u64, blocking: u64) -> Wait {
        Wait { waiting: Gpid(waiting), blocking: Gpid(blocking) }
    }

    fn session(gpid: u64, transaction_ms: u64) -> Session {
        Session {
            gpid: Gpid(gpid),
            node: "coordinator-1".into(),
            user: "app".into(),
            application: String::new(),
            state: "active".into(),
            wait: "Lock: transactionid".into(),
            transaction_ms: Some(transaction_ms),
            statement_ms: Some(1),
            query: "update …".into(),
        }
    }

    #[test]
    fn a_queue_is_no_cycle() {
        assert!(cycles(&[wait(1, 2), wait(3, 2), wait(4, 3)], &[]).is_empty());
    }

    #[test]
    fn who_waits_for_a_cycle_is_not_in_it() {
        let waits = [wait(1, 2), wait(2, 3), wait(3, 1), wait(4, 1)];
        let found = cycles(&waits, &[session(1, 900), session(2, 100), session(3, 500), session(4, 1)]);
        assert_eq!(found, [Cycle { sessions: vec![Gpid(1), Gpid(2), Gpid(3)], victim: Some(Gpid(2)) }]);
    }

    #[test]
    fn two_cycles_are_two() {
        let found = cycles(&[wait(1, 2), wait(2, 1), wait(5, 6), wait(6, 5), wait(2, 5)], &[]);
        assert_eq!(found.iter().map(|c| c.sessions.clone()).collect::<Vec<_>>(), [[Gpid(1), Gpid(2)], [Gpid(5), Gpid(6)]]);
        assert_eq!(found[0].victim, None, "nobody is known to be younger");
    }

    proptest! {
        #[test]
        fn in_a_cycle_is_who_reaches_itself(edges in prop::collection::vec((0u64..8, 0u64..8), 0..16)) {
            let waits: Vec<Wait> = edges.iter().map(|(a, b)| wait(*a, *b)).collect();
            let found = cycles(&waits, &[]);
            let members: Vec<Gpid> = found.iter().flat_map(|cycle| cycle.sessions.clone()).collect();
            prop_assert_eq!(members.iter().collect::<BTreeSet<_>>().len(), members.len(), "nobody is in two");
            // Removing all that are in a cycle leaves none.
            let rest: Vec<Wait> =
                waits.into_iter().filter(|w| !members.contains(&w.waiting) && !members.contains(&w.blocking)).collect();
            prop_assert!(cycles(&rest, &[]).is_empty());
        }
    }
}
