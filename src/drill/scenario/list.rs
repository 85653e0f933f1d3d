//! All scenarios.

use std::time::Duration;

use super::Act::{
    Cut, Disturb, FillDisk, Freeze, GrowAndShrink, Isolate, Kill, KillBackend, KillDockerd, KillLeaders, KillPatroni,
    KillPostmaster, KillUp, Lag, MoveShards, PowerOff, PowerOffWithEtcdLeader, PowerOn, PowerOnFirst, ShardSwitchover, Stop,
    Switchover, Thaw, UntilServed, UntilWhole, UsualDisks, Wait,
};
use super::Time::BeyondTtl;
use super::{Act, Arrange, Direction, Peer, Place, Scenario, Time, Weather, Who};
use crate::topology::Event;

const fn secs(count: u64) -> Time {
    Time::Of(Duration::from_secs(count))
}

/// How long a host stays without power once clients are served: what they have of it is over.
const DARK: Time = secs(2);

const fn scenario(name: &'static str, about: &'static str, acts: &'static [Act]) -> Scenario {
    Scenario { name, about, event: None, arrange: &[], acts, steady: false, ci: false }
}

/// All of them.
pub const ALL: &[Scenario] = &[
    scenario("backend-kill", "the server process of a client is killed on the leader: PostgreSQL recovers", &[KillBackend(Who::Leader)])
        .event(Event::PostgresCrash),
    scenario("postmaster-kill", "the leader's PostgreSQL is killed, Patroni stays", &[KillPostmaster(Who::Leader)])
        .event(Event::PostgresCrash)
        .ci(),
    scenario("container-kill", "the leader's container is killed, Patroni with it", &[Kill(Who::Leader)])
        .event(Event::ContainerKill)
        .ci(),
    scenario("patroni-kill", "the leader's Patroni is killed, its container ends with it", &[KillPatroni(Who::Leader)])
        .event(Event::ContainerKill),
    scenario("shard-leader-kill", "the container of a shard group's leader is killed", &[Kill(Who::ShardLeader)])
        .event(Event::ShardLeaderKill)
        .ci(),
    // Without a promise: its last checkpoint is part of the outage, and takes as long as there is to write.
    scenario("graceful-stop", "the leader's container is stopped in order, after a last checkpoint", &[Stop(Who::Leader)]),
    scenario("switchover", "planned change of the coordinators' leader under load", &[Switchover])
        .event(Event::SwitchoverPause)
        .ci(),
    scenario("shard-switchover", "planned change of a shard group's leader under load", &[ShardSwitchover]).ci(),
    scenario(
        "host-loss",
        "the host with the leader and the VIP loses its power, and comes back",
        &[PowerOff(Place::OfLeader), UntilServed, Wait(DARK), PowerOn],
    )
    .event(Event::HostLoss)
    .after(&[Arrange::LeaderWithVip, Arrange::EtcdLedElsewhere])
    .ci(),
    scenario(
        "host-loss-etcd",
        "the same, and etcd is led from that host too",
        &[PowerOffWithEtcdLeader(Place::OfLeader), UntilServed, Wait(DARK), PowerOn],
    )
    .event(Event::HostLossWithEtcdLeader)
    .after(&[Arrange::LeaderWithVip]),
    // Of a group that is led elsewhere it may have the synchronous standby, which takes longer than the VIP.
    scenario(
        "vip-holder-loss",
        "the host with the VIP loses its power, and no leader with it",
        &[PowerOff(Place::OfVip), UntilServed, Wait(DARK), PowerOn],
    )
    .event(Event::StandbyLoss)
    .after(&[Arrange::NoLeaderWithVip]),
    scenario("haproxy-kill", "HAProxy beside the VIP is killed", &[Kill(Who::Haproxy)]).event(Event::Vip).ci(),
    scenario("pgbouncer-kill", "PgBouncer beside the VIP is killed", &[Kill(Who::Pgbouncer)]).event(Event::Vip),
    scenario(
        "isolation",
        "the leader's host is cut off from everybody for longer than the ttl",
        &[Isolate(Place::OfLeader, Direction::Both, BeyondTtl), Wait(BeyondTtl)],
    )
    .event(Event::Isolation)
    .after(&[Arrange::LeaderWithVip, Arrange::EtcdLedElsewhere]),
    // Its leaders are heard asking for renewals, but write no heartbeat, as they hear no answer.
    scenario(
        "isolation-inbound",
        "the leader's host hears nobody for longer than the ttl; the VIP is elsewhere",
        &[Isolate(Place::OfLeader, Direction::Inbound, BeyondTtl), Wait(BeyondTtl)],
    )
    .event(Event::Isolation)
    .after(&[Arrange::LeaderWithoutVip, Arrange::EtcdLedElsewhere]),
    scenario(
        "isolation-inbound-vip",
        "the leader's host, which holds the VIP, hears nobody for longer than the ttl",
        &[Isolate(Place::OfLeader, Direction::Inbound, BeyondTtl), Wait(BeyondTtl)],
    )
    .event(Event::Isolation)
    .after(&[Arrange::LeaderWithVip, Arrange::EtcdLedElsewhere]),
    scenario(
        "isolation-outbound",
        "nobody hears the leader's host for longer than the ttl; the VIP is elsewhere",
        &[Isolate(Place::OfLeader, Direction::Outbound, BeyondTtl), Wait(BeyondTtl)],
    )
    .event(Event::Isolation)
    .after(&[Arrange::LeaderWithoutVip, Arrange::EtcdLedElsewhere]),
    scenario(
        "freeze",
        "the leader's container stands still for longer than the ttl, and thaws",
        &[Freeze(Who::Leader, BeyondTtl), Wait(BeyondTtl)],
    )
    .event(Event::Isolation),
    scenario(
        "cut-standby",
        "the leader and its synchronous standby do not reach each other for 20 s",
        &[Cut(Who::Leader, Peer::SyncStandby, secs(20)), Wait(secs(20))],
    )
    .event(Event::StandbyLoss),
    scenario("cut-etcd", "the leader does not reach etcd for longer than the ttl", &[Cut(Who::Leader, Peer::Etcd, BeyondTtl), Wait(BeyondTtl)])
        .event(Event::Isolation),
    scenario("etcd-leader-kill", "the member that leads etcd is killed", &[Kill(Who::EtcdLeader), Wait(secs(5))]),
    scenario(
        "etcd-quorum-loss",
        "all but one member of etcd stand still for 15 s: no leader may stay, and one comes back",
        &[Freeze(Who::EtcdMajority, secs(15)), Wait(secs(15))],
    ),
    scenario("standby-loss", "the synchronous standby is killed: commits wait for another", &[Kill(Who::SyncStandby)])
        .event(Event::StandbyLoss),
    scenario(
        "replica-lag",
        "leader and synchronous standby are lost, the standby that is left lags: it may not lead, one of them has to come back",
        &[
            Lag(Who::OtherStandbys, secs(45)),
            // Less than `maximum_lag_on_failover`: what keeps the laggard from leading is that it is not synchronous.
            Wait(secs(8)),
            Freeze(Who::Leader, secs(30)),
            Freeze(Who::SyncStandby, secs(20)),
            Wait(secs(20)),
            UntilServed,
            Wait(secs(20)),
        ],
    ),
    scenario(
        "lagging-loss",
        "all standbys stand still for 3 s, then the leader is killed: what replication may lose, it loses now",
        &[Lag(Who::Standbys, secs(15)), Wait(secs(3)), Kill(Who::Leader), UntilServed, Wait(secs(12))],
    ),
    scenario(
        "lagging-host-loss",
        "all standbys stand still, then the leader's host loses its power: the same, and the files are away as well",
        // Well before they are given up, after which nobody but the lost leader may lead.
        &[Lag(Who::Standbys, secs(15)), Wait(secs(1)), PowerOff(Place::OfLeader), UntilServed, Wait(DARK), PowerOn],
    )
    .after(&[Arrange::EtcdLedElsewhere]),
    scenario(
        "disk-full",
        "the disk under the leader's data is full for 20 s",
        &[FillDisk(Who::Leader, secs(20)), UntilServed, Wait(secs(20)), UsualDisks],
    )
    .after(&[Arrange::LeaderOnSmallDisk]),
    scenario(
        "slow-network",
        "the leader's host sends everything 50 ms late for 20 s: nobody may take over",
        &[Disturb(Place::OfLeader, Weather::Slow(Duration::from_millis(50)), secs(20)), Wait(secs(20))],
    )
    .steady(),
    scenario(
        "lossy-network",
        "the leader's host loses 2 % of what it sends for 20 s: nobody may take over",
        &[Disturb(Place::OfLeader, Weather::Lossy(2), secs(20)), Wait(secs(20))],
    )
    .steady(),
    scenario(
        "failover-of-failover",
        "the leader is killed, and so is the next one as soon as it serves",
        &[Kill(Who::Leader), UntilServed, Kill(Who::Leader)],
    ),
    scenario(
        "two-leaders-lost",
        "the coordinators' leader and a shard group's are killed together",
        &[KillLeaders],
    ),
    scenario(
        "sequential-loss",
        "the leader's host is lost and comes back; once all is whole, the host of the new leader",
        &[
            PowerOff(Place::OfLeader),
            UntilServed,
            PowerOn,
            UntilWhole,
            PowerOff(Place::OfLeader),
            UntilServed,
            Wait(DARK),
            PowerOn,
        ],
    ),
    scenario(
        "sequential-loss-stale",
        "the leader's host is lost, then the next leader's; the first one is back alone: it is stale, and may not lead",
        &[
            PowerOff(Place::OfLeader),
            UntilServed,
            // The new leader names the third coordinator its synchronous standby: commits are there, and not on the lost one.
            Wait(secs(15)),
            // It could lead in the place of the stale one, which would then prove nothing. Thaws by itself after all that follows.
            Freeze(Who::SyncStandby, secs(270)),
            PowerOff(Place::OfLeader),
            Wait(DARK),
            PowerOnFirst,
            // Its host starts Docker, etcd has a majority again and lets the last lease run out: then it is on its own.
            Wait(secs(55)),
            PowerOn,
            UntilServed,
            Thaw,
        ],
    ),
    scenario(
        "swarm-manager-loss",
        "the host with the leading Swarm manager loses its power, and comes back",
        &[PowerOff(Place::OfSwarmLeader), UntilServed, Wait(DARK), PowerOn],
    ),
    scenario(
        "up-killed",
        "`up` restarts every member for a setting, is killed while it hands over, and run again; then the setting is taken back",
        &[KillUp],
    )
    .after(&[Arrange::NothingPending]),
    scenario(
        "rebalance",
        "all shards of the first shard group are moved to the others, and its share back, under load",
        &[MoveShards],
    ),
    scenario(
        "grow-and-shrink",
        "a shard group is added, filled with its share of the shards, and taken out again, under load",
        &[GrowAndShrink],
    )
    .after(&[Arrange::NothingPending]),
    scenario(
        "dockerd-restart",
        "the leader's host loses its Docker daemon, which starts again",
        &[KillDockerd(Place::OfLeader)],
    ),
];
