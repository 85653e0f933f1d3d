//! The scenarios, as data: what each breaks, in which order, and which promise it holds the cluster to.

use std::time::Duration;

use crate::topology::Event;

/// A rehearsed failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens, in one line.
    pub about: &'static str,
    /// The promise that its outage is held against; `None` has none, only that nothing is lost and all becomes whole.
    pub event: Option<Event>,
    /// Put in place before the clients start.
    pub arrange: &'static [Arrange],
    /// What is done, in order.
    pub acts: &'static [Act],
    /// Part of the set for CI: short, and telling.
    pub ci: bool,
}

/// What has to be so before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrange {
    /// The coordinators' leader is on the host that holds the VIP.
    LeaderWithVip,
    /// It is on another.
    LeaderWithoutVip,
}

/// Who is hit, by what they are at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The coordinators' leader.
    Leader,
    /// The leader of the first shard group; without shards the coordinators'.
    ShardLeader,
    /// A synchronous standby of the coordinators.
    SyncStandby,
    /// HAProxy beside the VIP.
    Haproxy,
    /// PgBouncer beside the VIP.
    Pgbouncer,
    /// The member that leads etcd.
    EtcdLeader,
    /// All members of etcd but one.
    EtcdMajority,
}

/// A host, by what is on it at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// With the coordinators' leader.
    OfLeader,
    /// With the VIP.
    OfVip,
    /// With the leading Swarm manager.
    OfSwarmLeader,
}

/// What of the traffic is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Nothing comes or goes.
    Both,
    /// Nothing comes.
    Inbound,
    /// Nothing goes.
    Outbound,
}

/// Who is on the other end of a cut line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The synchronous standby.
    SyncStandby,
    /// All members of etcd.
    Etcd,
}

/// One thing that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// SIGKILL to all processes of a container; Swarm starts another.
    Kill(Who),
    /// SIGKILL to the postmaster; Patroni and the container stay.
    KillPostmaster(Who),
    /// SIGKILL to one server process: PostgreSQL ends all sessions and recovers.
    KillBackend(Who),
    /// An orderly stop of a container.
    Stop(Who),
    /// All processes of a container stand still for so long, then go on.
    Freeze(Who, Duration),
    /// A host loses its power. Only in a lab.
    PowerOff(Place),
    /// All hosts without power get it back. Only in a lab.
    PowerOn,
    /// A host is cut off from all others for so long. SSH stays.
    Isolate(Place, Direction, Duration),
    /// One member does not reach others for so long.
    Cut(Who, Peer, Duration),
    /// A planned change of the coordinators' leader.
    Switchover,
    /// A planned change of the first shard group's leader.
    ShardSwitchover,
    /// The Docker daemon of a host is killed; its containers end with it, and it is started anew.
    KillDockerd(Place),
    /// Until every client has written again.
    UntilServed,
    /// So long.
    Wait(Duration),
}

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

use Act::{
    Cut, Freeze, Isolate, Kill, KillBackend, KillDockerd, KillPostmaster, PowerOff, PowerOn, ShardSwitchover, Stop, Switchover,
    UntilServed, Wait,
};

const fn scenario(name: &'static str, about: &'static str, acts: &'static [Act]) -> Scenario {
    Scenario { name, about, event: None, arrange: &[], acts, ci: false }
}

impl Scenario {
    const fn event(self, event: Event) -> Self {
        Self { event: Some(event), ..self }
    }

    const fn after(self, arrange: &'static [Arrange]) -> Self {
        Self { arrange, ..self }
    }

    const fn ci(self) -> Self {
        Self { ci: true, ..self }
    }

    /// Whether it needs hosts that can be switched off: a lab's.
    pub fn needs_lab(&self) -> bool {
        self.acts.iter().any(|act| matches!(act, PowerOff(_) | PowerOn | KillDockerd(_)))
    }

    /// Whether all that happens is ordered: then nobody may be turned away.
    pub fn is_planned(&self) -> bool {
        self.acts.iter().all(|act| matches!(act, Switchover | ShardSwitchover))
    }

    /// Whether it needs shard groups.
    pub fn needs_shards(&self) -> bool {
        self.event == Some(Event::ShardLeaderKill) || self.acts.contains(&ShardSwitchover)
    }

    /// How long its faults last at least, when they are healed by time.
    pub fn lasts(&self) -> Duration {
        let time = |act: &Act| match act {
            Freeze(_, time) | Isolate(_, _, time) | Cut(_, _, time) | Wait(time) => *time,
            _ => Duration::ZERO,
        };
        self.acts.iter().map(time).sum()
    }
}

/// All of them.
pub const ALL: &[Scenario] = &[
    scenario("backend-kill", "one server process of the leader is killed: PostgreSQL recovers", &[KillBackend(Who::Leader)])
        .event(Event::PostgresCrash),
    scenario("postmaster-kill", "the leader's PostgreSQL is killed, Patroni stays", &[KillPostmaster(Who::Leader)])
        .event(Event::PostgresCrash)
        .ci(),
    scenario("container-kill", "the leader's container is killed, Patroni with it", &[Kill(Who::Leader)])
        .event(Event::ContainerKill)
        .ci(),
    scenario("shard-leader-kill", "the container of a shard group's leader is killed", &[Kill(Who::ShardLeader)])
        .event(Event::ShardLeaderKill)
        .ci(),
    scenario("graceful-stop", "the leader's container is stopped in order", &[Stop(Who::Leader)]).event(Event::ContainerKill),
    scenario("switchover", "planned change of the coordinators' leader under load", &[Switchover])
        .event(Event::SwitchoverPause)
        .ci(),
    scenario("shard-switchover", "planned change of a shard group's leader under load", &[ShardSwitchover]).ci(),
    scenario(
        "host-loss",
        "the host with the leader and the VIP loses its power, and comes back",
        &[PowerOff(Place::OfLeader), UntilServed, Wait(secs(5)), PowerOn],
    )
    .event(Event::HostLoss)
    .after(&[Arrange::LeaderWithVip])
    .ci(),
    scenario(
        "vip-holder-loss",
        "the host with the VIP loses its power, the leader is elsewhere",
        &[PowerOff(Place::OfVip), UntilServed, Wait(secs(5)), PowerOn],
    )
    .event(Event::Vip)
    .after(&[Arrange::LeaderWithoutVip]),
    scenario("haproxy-kill", "HAProxy beside the VIP is killed", &[Kill(Who::Haproxy)]).event(Event::Vip).ci(),
    scenario("pgbouncer-kill", "PgBouncer beside the VIP is killed", &[Kill(Who::Pgbouncer)]).event(Event::Vip),
    scenario(
        "isolation",
        "the leader's host is cut off from everybody for 25 s, longer than the ttl",
        &[Isolate(Place::OfLeader, Direction::Both, secs(25)), Wait(secs(25))],
    )
    .event(Event::Isolation)
    .after(&[Arrange::LeaderWithVip]),
    scenario(
        "isolation-inbound",
        "the leader's host hears nobody for 25 s; the VIP is elsewhere",
        &[Isolate(Place::OfLeader, Direction::Inbound, secs(25)), Wait(secs(25))],
    )
    .event(Event::Isolation)
    .after(&[Arrange::LeaderWithoutVip]),
    scenario(
        "isolation-outbound",
        "nobody hears the leader's host for 25 s; the VIP is elsewhere",
        &[Isolate(Place::OfLeader, Direction::Outbound, secs(25)), Wait(secs(25))],
    )
    .event(Event::Isolation)
    .after(&[Arrange::LeaderWithoutVip]),
    scenario(
        "freeze",
        "the leader's container stands still for 30 s, longer than the ttl, and thaws",
        &[Freeze(Who::Leader, secs(30)), Wait(secs(30))],
    )
    .event(Event::Isolation),
    scenario(
        "cut-standby",
        "the leader and its synchronous standby do not reach each other for 20 s",
        &[Cut(Who::Leader, Peer::SyncStandby, secs(20)), Wait(secs(20))],
    ),
    scenario("cut-etcd", "the leader does not reach etcd for 25 s", &[Cut(Who::Leader, Peer::Etcd, secs(25)), Wait(secs(25))])
        .event(Event::Isolation),
    scenario("etcd-leader-kill", "the member that leads etcd is killed", &[Kill(Who::EtcdLeader), Wait(secs(5))]),
    scenario(
        "etcd-quorum-loss",
        "all but one member of etcd stand still for 15 s: no leader may stay, and one comes back",
        &[Freeze(Who::EtcdMajority, secs(15)), Wait(secs(15))],
    ),
    scenario("standby-loss", "the synchronous standby is killed: commits wait for another", &[Kill(Who::SyncStandby)]),
    scenario(
        "failover-of-failover",
        "the leader is killed, and so is the next one as soon as it serves",
        &[Kill(Who::Leader), UntilServed, Kill(Who::Leader)],
    ),
    scenario(
        "two-leaders-lost",
        "the coordinators' leader and a shard group's are killed together",
        &[Kill(Who::ShardLeader), Kill(Who::Leader)],
    ),
    scenario(
        "sequential-loss",
        "the leader's host is lost and comes back, then the host of the new leader",
        &[
            PowerOff(Place::OfLeader),
            UntilServed,
            PowerOn,
            Wait(secs(25)),
            PowerOff(Place::OfLeader),
            UntilServed,
            Wait(secs(5)),
            PowerOn,
        ],
    ),
    scenario(
        "swarm-manager-loss",
        "the host with the leading Swarm manager loses its power, and comes back",
        &[PowerOff(Place::OfSwarmLeader), UntilServed, Wait(secs(5)), PowerOn],
    ),
    scenario(
        "dockerd-restart",
        "the leader's host loses its Docker daemon, which starts again",
        &[KillDockerd(Place::OfLeader)],
    ),
];

/// The scenario of that name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_fit_the_command_line() {
        let names: BTreeSet<_> = ALL.iter().map(|s| s.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
    }

    #[test]
    fn whoever_loses_power_gets_it_back() {
        for scenario in ALL {
            let count = |want: fn(&Act) -> bool| scenario.acts.iter().filter(|act| want(act)).count();
            let off = count(|act| matches!(act, PowerOff(_)));
            assert_eq!(off, count(|act| *act == PowerOn), "{}", scenario.name);
        }
    }

    #[test]
    fn the_ci_set_covers_the_promises_that_need_no_long_faults() {
        let events: BTreeSet<_> = ALL.iter().filter(|s| s.ci).filter_map(|s| s.event).collect();
        for event in [Event::ContainerKill, Event::ShardLeaderKill, Event::HostLoss, Event::Vip, Event::SwitchoverPause] {
            assert!(events.contains(&event), "{event}");
        }
    }
}
