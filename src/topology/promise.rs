//! What a cluster promises: for each event how long writes may fail, for each group how many acknowledged transactions may be
//! lost. Plain values, made by the sections' reader, which refuses what [`super::budget`] says cannot be kept.
//!
//! Read by whoever provokes an event on purpose and measures what it costs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::ids::GroupId;
use super::model::{Group, Replication};
use crate::quantity::whole_millis;

/// Something that happens to a cluster and costs its clients time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// PostgreSQL of the coordinator leader crashes, its container stays.
    PostgresCrash,
    /// The coordinator leader's container is killed (SIGKILL).
    ContainerKill,
    /// The container of a shard group's leader is killed (SIGKILL).
    ShardLeaderKill,
    /// The host with the coordinator leader and the VIP is lost.
    HostLoss,
    /// The same, and etcd's leader is on that host too.
    HostLossWithEtcdLeader,
    /// The network cuts the coordinator leader's host off from all others.
    Isolation,
    /// Synchronous standbys are lost, with their host at worst, and no leader: commits wait until they are given up.
    StandbyLoss,
    /// The proxy host that holds the VIP, or HAProxy on it, is lost, and nobody whom commits wait for.
    Vip,
    /// Leadership of the coordinators is handed over by order.
    SwitchoverPause,
}

impl Event {
    /// All of them, the smaller ones first.
    pub const ALL: [Self; 9] = [
        Self::PostgresCrash,
        Self::ContainerKill,
        Self::ShardLeaderKill,
        Self::HostLoss,
        Self::HostLossWithEtcdLeader,
        Self::Isolation,
        Self::StandbyLoss,
        Self::Vip,
        Self::SwitchoverPause,
    ];

    /// Its key in `[failover.promise]`.
    pub fn key(self) -> &'static str {
        match self {
            Self::PostgresCrash => "postgres_crash",
            Self::ContainerKill => "container_kill",
            Self::ShardLeaderKill => "shard_leader_kill",
            Self::HostLoss => "host_loss",
            Self::HostLossWithEtcdLeader => "host_loss_with_etcd_leader",
            Self::Isolation => "isolation",
            Self::StandbyLoss => "standby_loss",
            Self::Vip => "vip",
            Self::SwitchoverPause => "switchover_pause",
        }
    }

    /// What is promised unless the topology says otherwise, or cannot keep it.
    pub fn default_promise(self) -> Duration {
        Duration::from_millis(match self {
            Self::Vip => 1_500,
            Self::SwitchoverPause => 2_000,
            Self::ContainerKill => 3_000,
            Self::PostgresCrash | Self::ShardLeaderKill => 4_000,
            Self::StandbyLoss => 8_000,
            Self::HostLoss => 9_000,
            Self::HostLossWithEtcdLeader | Self::Isolation => 10_000,
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.key())
    }
}

/// What is promised.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Promise {
    /// How long writes may fail, as clients see it through the VIP: from the last commit before to the first one after. An event
    /// that cannot happen in this topology (no VIP, no shard groups), or after which nobody takes over (a single host), is not
    /// in here: nothing is promised for it.
    #[serde(serialize_with = "with_unit")]
    pub outage: BTreeMap<Event, Duration>,
    /// Acknowledged transactions that may be lost in any of these events, for every group.
    pub loss: BTreeMap<GroupId, LossLimit>,
}

/// Keys of JSON name their unit.
fn with_unit<S: Serializer>(outage: &BTreeMap<Event, Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(outage.len()))?;
    for (event, duration) in outage {
        map.serialize_entry(&format!("{event}_ms"), &whole_millis(*duration))?;
    }
    map.end()
}

/// How many acknowledged transactions of a group may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LossLimit {
    /// So many at most.
    AtMost(u32),
    /// Any number: nothing is promised, what is lost is counted.
    Unbounded,
}

impl LossLimit {
    /// What a group promises unless the topology says otherwise.
    pub fn default_of(group: &Group) -> Self {
        match group.replication {
            Replication::Async => Self::Unbounded,
            Replication::Sync | Replication::Quorum => Self::AtMost(0),
        }
    }

    /// Whether a loss of that many transactions keeps the promise.
    pub fn allows(self, lost: u64) -> bool {
        match self {
            Self::AtMost(limit) => lost <= u64::from(limit),
            Self::Unbounded => true,
        }
    }
}

impl fmt::Display for LossLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => f.pad(&limit.to_string()),
            Self::Unbounded => f.pad("no limit"),
        }
    }
}

impl Promise {
    /// What is promised for an event; `None` when nothing is.
    pub fn outage(&self, event: Event) -> Option<Duration> {
        self.outage.get(&event).copied()
    }

    /// What a group may lose.
    pub fn loss(&self, group: GroupId) -> LossLimit {
        self.loss.get(&group).copied().unwrap_or(LossLimit::Unbounded)
    }
}
