//! What a scenario needs that not every cluster has. Pure: the topology answers a part of it, the hosts have to be asked for
//! the rest.

use std::collections::BTreeSet;

use super::{Act, Arrange, Peer, Scenario, Who};
use crate::topology::model::Replication;
use crate::topology::{GroupId, Topology};

/// One such thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Shard groups.
    Shards,
    /// Two of them at least.
    OtherShards,
    /// A standby of the coordinators.
    Standby,
    /// One whose confirmation commits of the coordinators wait for.
    SyncStandby,
    /// One more than that.
    OtherStandby,
    /// Hosts that can be switched off, and be given other disks: a lab's.
    Lab,
    /// Kernels that can delay and lose packets.
    Netem,
}

impl Need {
    /// In a word or two, for a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shards => "shards",
            Self::OtherShards => "second shard group",
            Self::Standby => "standby",
            Self::SyncStandby => "sync standby",
            Self::OtherStandby => "third coordinator",
            Self::Lab => "lab",
            Self::Netem => "netem",
        }
    }

    /// Why a topology cannot have it; `None` where it has, or where only the hosts know.
    pub fn lacking(self, topology: &Topology) -> Option<&'static str> {
        let coordinators = topology.group(GroupId::COORDINATOR);
        let members = coordinators.map_or(0, |group| group.members.len());
        let synchronous = coordinators.is_some_and(|group| group.replication != Replication::Async);
        let (there, lacking) = match self {
            Self::Shards => (topology.citus.is_some(), "needs shard groups, and the topology has none"),
            Self::OtherShards => {
                let shards = topology.groups.iter().filter(|group| !group.id.is_coordinator()).count();
                (shards >= 2, "needs two shard groups, and the topology has fewer")
            }
            Self::Standby => (members >= 2, "needs a standby of the coordinators, and the topology has one coordinator"),
            Self::SyncStandby => {
                (synchronous && members >= 2, "needs a synchronous standby, and the coordinators' replication is \"async\"")
            }
            Self::OtherStandby => (members >= 3, "needs three coordinators, and the topology has fewer"),
            Self::Lab | Self::Netem => (true, ""),
        };
        (!there).then_some(lacking)
    }
}

impl Scenario {
    /// All that it needs.
    pub fn needs(&self) -> BTreeSet<Need> {
        let acts = self.acts.iter().flat_map(Act::needs).copied();
        let arrange = self.arrange.iter().flat_map(Arrange::needs).copied();
        acts.chain(arrange).collect()
    }

    /// Whether it hits a shard group.
    pub fn needs_shards(&self) -> bool {
        self.needs().contains(&Need::Shards)
    }

    /// Whether it needs hosts of a lab.
    pub fn needs_lab(&self) -> bool {
        self.needs().contains(&Need::Lab)
    }

    /// Why it cannot be played in this topology, if that is certain already.
    pub fn lacks(&self, topology: &Topology) -> Option<&'static str> {
        self.needs().into_iter().find_map(|need| need.lacking(topology))
    }
}

impl Act {
    fn needs(&self) -> &'static [Need] {
        match self {
            Self::KillLeaders | Self::ShardSwitchover | Self::GrowAndShrink => &[Need::Shards],
            Self::MoveShards => &[Need::Shards, Need::OtherShards],
            Self::PowerOff(_)
            | Self::PowerOffWithEtcdLeader(_)
            | Self::PowerOn
            | Self::KillDockerd(_)
            | Self::FillDisk(..)
            | Self::UsualDisks => &[Need::Lab],
            // The other two are lost meanwhile, or stand still.
            Self::PowerOnFirst => &[Need::SyncStandby, Need::OtherStandby, Need::Lab],
            // Somebody to hand over to.
            Self::KillUp => &[Need::Standby],
            Self::Disturb(..) => &[Need::Netem],
            Self::Cut(_, Peer::SyncStandby, _) => &[Need::SyncStandby],
            Self::Kill(who)
            | Self::Stop(who)
            | Self::KillPatroni(who)
            | Self::KillPostmaster(who)
            | Self::KillBackend(who)
            | Self::Freeze(who, _)
            | Self::Cut(who, ..)
            | Self::Lag(who, _) => who.needs(),
            Self::Isolate(..) | Self::Thaw | Self::Switchover | Self::UntilServed | Self::UntilWhole | Self::Wait(_) => &[],
        }
    }
}

impl Arrange {
    fn needs(&self) -> &'static [Need] {
        match self {
            Self::LeaderWithVip
            | Self::LeaderWithoutVip
            | Self::NoLeaderWithVip
            | Self::EtcdLedElsewhere
            | Self::NothingPending => &[],
            // Leadership is handed to a standby that was given such a disk.
            Self::LeaderOnSmallDisk => &[Need::Standby, Need::Lab],
        }
    }
}

impl Who {
    fn needs(self) -> &'static [Need] {
        match self {
            Self::ShardLeader => &[Need::Shards],
            Self::SyncStandby => &[Need::SyncStandby],
            Self::OtherStandbys => &[Need::SyncStandby, Need::OtherStandby],
            Self::Standbys => &[Need::Standby],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ALL, find};
    use super::*;
    use crate::topology::example;

    fn lacks(name: &str, topology: &Topology) -> Option<&'static str> {
        find(name).expect("a scenario").lacks(topology)
    }

    #[test]
    fn the_default_topology_can_play_everything() {
        let topology = example("three-hosts");
        assert!(ALL.iter().all(|scenario| scenario.lacks(&topology).is_none()));
    }

    #[test]
    fn what_a_topology_lacks_is_said() {
        let mut topology = example("three-hosts");
        topology.citus = None;
        for name in ["shard-leader-kill", "two-leaders-lost", "shard-switchover"] {
            assert!(lacks(name, &topology).is_some_and(|reason| reason.contains("shard groups")), "{name}");
        }
        topology.groups[0].replication = Replication::Async;
        assert!(lacks("replica-lag", &topology).is_some_and(|reason| reason.contains("async")));
        assert_eq!(lacks("lagging-loss", &topology), None, "what asynchronous replication loses is worth a drill");
        topology.groups[0].replication = Replication::Sync;
        topology.groups[0].members.truncate(2);
        assert!(lacks("replica-lag", &topology).is_some_and(|reason| reason.contains("three coordinators")));
        assert_eq!(lacks("standby-loss", &topology), None);
        topology.groups[0].members.truncate(1);
        assert!(lacks("lagging-loss", &topology).is_some_and(|reason| reason.contains("one coordinator")));
    }

    #[test]
    fn only_hosts_can_tell_the_rest() {
        let needs = |name| find(name).expect("a scenario").needs();
        assert_eq!(needs("disk-full"), BTreeSet::from([Need::Standby, Need::Lab]));
        assert_eq!(needs("lossy-network"), BTreeSet::from([Need::Netem]));
        assert!(needs("container-kill").is_empty());
    }
}
