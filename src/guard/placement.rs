//! Keeps the leader of etcd off the host of the coordinators' leader.
//!
//! Lost together they cost more: a new etcd leader must be elected first, and it extends all leases, so the count of what was
//! not renewed begins late.

use std::time::Duration;

use futures_util::future::join_all;

use super::containers::Containers;
use super::store::{Raft, Store, StoreError, follows};
use super::watch::{Leader, Sample};

/// How long somebody must have led before anything is moved: longer than a failover takes until all clients are served again. Every
/// write to etcd waits while its leadership moves, and a promotion is made of such writes.
const ESTABLISHED: Duration = Duration::from_secs(10);

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
pub async fn keep_apart(store: &Store, containers: &Containers, leader: &Leader) -> Result<Placement, StoreError> {
    if !is_calm(leader.granted, leader.remaining) {
        return Ok(Placement::Good);
    }
    let raft: Raft = store.raft().await?;
    if !raft.leads || !containers.lives(&leader.holder).await.unwrap_or(false) {
        return Ok(Placement::Good);
    }
    let beside = leader.holder.clone();
    let follow = join_all(raft.others.iter().map(|(_, url)| async {
        match url {
            Some(url) => follows(url, raft.index).await,
            None => false,
        }
    }));
    match raft.others.first() {
        Some((to, _)) if follow.await.into_iter().all(|follows| follows) => {
            store.hand_over(*to).await?;
            Ok(Placement::Moved { to: *to, beside })
        }
        _ => Ok(Placement::Stuck { beside }),
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
        let leader =
            leader.map(|(holder, lease)| Leader { holder: holder.into(), lease, revision: 1, granted: 20, remaining: 19 });
        let group = Group { leader, settings: None, late: Duration::ZERO, woken: 0 };
        let at = Duration::from_secs(at);
        Sample { sent: at, answered: at, term: 1, groups: [("0".to_owned(), group)].into() }
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
