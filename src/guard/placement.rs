//! Keeps the leader of etcd off the host of the coordinators' leader.
//!
//! Lost together they cost more: a new etcd leader must be elected first, and it extends all leases, so the count of what was
//! not renewed begins late.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;

use super::containers::Containers;
use super::store::{Follower, Raft, Store, StoreError, follower};
use super::watch::{Leader, Sample};

/// How long somebody must have led before anything is moved: longer than a failover takes until all clients are served again. Every
/// write to etcd waits while its leadership moves, and a promotion is made of such writes.
const ESTABLISHED: Duration = Duration::from_secs(10);

/// So many entries are in flight at most where a member keeps up: some seconds of what Patroni and the guards write. One that catches
/// up after a while without the others, or has just joined, is thousands behind.
const ENTRIES_BEHIND: u64 = 100;

/// Groups that clients write through: the coordinators with Citus, the only group without.
const COORDINATORS: [&str; 2] = ["0", ""];

/// What was found, and done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// Nothing to do here.
    Good,
    /// They were together; etcd is led from elsewhere now.
    Moved {
        /// The member that leads etcd now, by its id.
        to: u64,
        /// The coordinators' leader on this host.
        beside: String,
    },
    /// They are together, and etcd is not whole.
    Stuck {
        /// The coordinators' leader on this host.
        beside: String,
    },
}

/// Since when the coordinators have had the leader that they have.
#[derive(Debug, Default)]
pub struct Tenure {
    /// The leader, its lease, and when they were first seen.
    of: Option<(String, i64, Duration)>,
}

impl Tenure {
    /// The coordinators' leader, once it has been seen to lead for long enough.
    pub fn established<'a>(&mut self, sample: &'a Sample) -> Option<&'a Leader> {
        let leader = COORDINATORS.iter().find_map(|group| sample.groups.get(*group)?.leader.as_ref());
        let Some(leader) = leader else {
            self.of = None;
            return None;
        };
        let since = match &self.of {
            Some((holder, lease, since)) if (holder, *lease) == (&leader.holder, leader.lease) => *since,
            _ => {
                self.of = Some((leader.holder.clone(), leader.lease, sample.answered));
                sample.answered
            }
        };
        (sample.answered.saturating_sub(since) >= ESTABLISHED).then_some(leader)
    }
}

/// Looks, and moves the leadership of etcd when it is here together with the coordinators' leader, and all is calm: nothing is
/// moved while a lease is not being renewed, nor while a member of etcd is missing or catches up. A leader that hands over takes no
/// writes until the other has its whole log, or an election timeout has passed; and where one of three is missing, the next loss
/// costs the quorum, wherever the leader is.
pub async fn keep_apart(
    store: &Store,
    containers: &Containers,
    absences: &mut Absences,
    leader: &Leader,
) -> Result<Placement, StoreError> {
    let raft: Raft = store.raft().await?;
    if !raft.leads || !containers.lives(&leader.holder).await.unwrap_or(false) {
        return Ok(Placement::Good);
    }
    if !store.time_to_live(leader.lease).await?.is_some_and(|life| is_calm(life.granted, life.remaining)) {
        return Ok(Placement::Good);
    }
    let beside = leader.holder.clone();
    let others = join_all(raft.others.iter().map(|(id, url)| async {
        match url {
            Some(url) => (*id, follower(url).await),
            None => (*id, None),
        }
    }));
    match absences.successor(&others.await, raft.index, store.now()) {
        Some(to) => {
            store.hand_over(to).await?;
            Ok(Placement::Moved { to, beside })
        }
        None => Ok(Placement::Stuck { beside }),
    }
}

/// When members of etcd were last seen to be missing or behind, by their ids.
#[derive(Debug, Default)]
pub struct Absences(BTreeMap<u64, Duration>);

impl Absences {
    /// Who is to lead etcd instead of a leader whose log ends at `index`: nobody unless all others answer (`Some`), complain of nothing,
    /// know a leader and are up to date. Of these the one that was there for longest, as one that is just back may go once more: Swarm,
    /// which had given its host up, ends what still runs there and starts it anew.
    fn successor(&mut self, others: &[(u64, Option<Follower>)], index: u64, now: Duration) -> Option<u64> {
        let keeps_up = |member: &Follower| member.well && member.led && member.applied.saturating_add(ENTRIES_BEHIND) >= index;
        let absent = others.iter().filter(|(_, member)| !member.as_ref().is_some_and(keeps_up));
        let absent: Vec<_> = absent.map(|(id, _)| (*id, now)).collect();
        if !absent.is_empty() {
            self.0.extend(absent);
            return None;
        }
        others.iter().map(|(id, _)| *id).min_by_key(|id| self.0.get(id).copied())
    }
}

/// Renewed within the last three seconds, three rounds of Patroni's shortest loop.
fn is_calm(granted: u64, remaining: u64) -> bool {
    Duration::from_secs(granted.saturating_sub(remaining)) <= Duration::from_secs(3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::watch::Group;

    fn sample(at: u64, leader: Option<(&str, i64)>) -> Sample {
        let leader = leader.map(|(holder, lease)| Leader {
            holder: holder.into(),
            lease,
            revision: 1,
            granted: 20,
            remaining: Some(19),
            heartbeat: None,
        });
        let group = Group { leader, ..Group::default() };
        let at = Duration::from_secs(at);
        Sample { sent: at, answered: at, term: 1, groups: [("0".to_owned(), group)].into() }
    }

    const INDEX: u64 = 5_000;

    fn member(applied: u64) -> Option<Follower> {
        Some(Follower { well: true, led: true, applied })
    }

    fn successor(others: &[(u64, Option<Follower>)], index: u64) -> Option<u64> {
        Absences::default().successor(others, index, Duration::ZERO)
    }

    #[test]
    fn etcd_is_led_on_by_the_first_of_the_others() {
        assert_eq!(successor(&[(7, member(INDEX)), (9, member(INDEX))], INDEX), Some(7));
        // A follower goes on after the leader was asked.
        assert_eq!(successor(&[(7, member(INDEX + 3)), (9, member(INDEX - ENTRIES_BEHIND))], INDEX), Some(7));
        assert_eq!(successor(&[(7, member(0))], 60), Some(7), "a log that has just begun");
    }

    #[test]
    fn who_was_missing_leads_only_where_nobody_was_there_for_longer() {
        let mut absences = Absences::default();
        let mut at = |second, seventh: Option<Follower>, ninth: Option<Follower>| {
            absences.successor(&[(7, seventh), (9, ninth)], INDEX, Duration::from_secs(second))
        };
        assert_eq!(at(10, None, member(INDEX)), None);
        assert_eq!(at(20, member(INDEX), member(INDEX)), Some(9));
        assert_eq!(at(30, member(INDEX), member(0)), None, "now that one is behind");
        assert_eq!(at(40, member(INDEX), member(INDEX)), Some(7), "away for longer ago");
    }

    #[test]
    fn etcd_stays_where_it_is_while_a_member_of_it_is_missing_or_behind() {
        let well = (7, member(INDEX));
        let complains = Some(Follower { well: false, led: true, applied: INDEX });
        let alone = Some(Follower { well: true, led: false, applied: INDEX });
        for (what, other) in
            [("silent", None), ("behind", member(INDEX - ENTRIES_BEHIND - 1)), ("complains", complains), ("alone", alone)]
        {
            assert_eq!(successor(&[well, (9, other)], INDEX), None, "{what}");
            assert_eq!(successor(&[(9, other), well], INDEX), None, "{what}, and asked first");
        }
        assert_eq!(successor(&[], INDEX), None, "the only member");
    }

    #[test]
    fn nothing_is_moved_while_a_lease_is_not_being_renewed() {
        assert!(is_calm(20, 20) && is_calm(20, 17) && !is_calm(20, 16));
        assert!(is_calm(20, 21), "extended by a new leader of etcd");
    }

    #[test]
    fn a_leader_is_left_alone_until_it_has_led_for_a_while() {
        let mut tenure = Tenure::default();
        let mut established = |at, leader| tenure.established(&sample(at, leader)).map(|l| l.holder.clone());
        let (a, b) = (Some(("a", 1)), Some(("b", 2)));
        assert_eq!(established(100, a), None);
        assert_eq!(established(109, a), None);
        assert_eq!(established(110, a).as_deref(), Some("a"));
        assert_eq!(established(111, b), None, "another one");
        assert_eq!(established(120, b), None);
        assert_eq!(established(121, None), None);
        assert_eq!(established(122, b), None, "it had to be elected again");
        assert_eq!(established(132, b).as_deref(), Some("b"));
        assert_eq!(established(133, Some(("b", 3))), None, "it was started again");
    }
}
