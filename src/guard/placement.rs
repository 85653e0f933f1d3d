//! Keeps the leader of etcd off the host of the coordinators' leader.
//!
//! Lost together they cost more: a new etcd leader must be elected first, and it extends all leases, so the count of what was
//! not renewed begins late.

use std::time::Duration;

use super::containers::Containers;
use super::store::{Raft, Store, StoreError, follows};
use super::watch::Sample;

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
    /// They are together, and no other etcd member could take over.
    Stuck {
        /// The coordinators' leader on this host.
        beside: String,
    },
}

/// Looks, and moves the leadership of etcd when it is here together with the coordinators' leader, and all is calm: nothing is
/// moved while a lease is not being renewed.
pub async fn keep_apart(store: &Store, containers: &Containers, sample: &Sample) -> Result<Placement, StoreError> {
    let leader = COORDINATORS.iter().find_map(|group| sample.groups.get(*group)?.leader.as_ref());
    let Some(leader) = leader.filter(|l| is_calm(l.granted, l.remaining)) else { return Ok(Placement::Good) };
    let raft: Raft = store.raft().await?;
    if !raft.leads || !containers.lives(&leader.holder).await.unwrap_or(false) {
        return Ok(Placement::Good);
    }
    for (id, url) in &raft.others {
        if follows(url).await {
            store.hand_over(*id).await?;
            return Ok(Placement::Moved { to: *id, beside: leader.holder.clone() });
        }
    }
    Ok(Placement::Stuck { beside: leader.holder.clone() })
}

/// Renewed within the last three seconds, three rounds of Patroni's shortest loop.
fn is_calm(granted: u64, remaining: u64) -> bool {
    Duration::from_secs(granted.saturating_sub(remaining)) <= Duration::from_secs(3)
}
