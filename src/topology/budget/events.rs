//! Each event as the parts that follow one another, or the reason why nothing can be said about it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{End, terms};
use crate::topology::ids::{GroupId, HostName};
use crate::topology::model::{Group, Replication, Topology};
use crate::topology::promise::Event;
use crate::topology::tolerance;

/// How an event ends.
pub(super) fn end(topology: &Topology, event: Event) -> End {
    match event {
        Event::PostgresCrash => postgres_crash(topology),
        Event::ContainerKill => container_kill(topology),
        Event::ShardLeaderKill => shard_leader_kill(topology),
        Event::HostLoss | Event::HostLossWithEtcdLeader | Event::Isolation => host_loss(topology, event),
        Event::StandbyLoss => standby_loss(topology),
        Event::Vip => vip(topology),
        Event::SwitchoverPause => switchover(topology),
    }
}

/// A group of one member has nobody who takes over.
fn alone(topology: &Topology, id: GroupId) -> bool {
    topology.group(id).is_none_or(|group| group.members.len() < 2)
}

/// It recovers where it is, which takes as long as there is WAL since the last checkpoint.
fn nobody_takes_over(who: &str) -> End {
    End::Unbounded(format!("{who} one member: nobody takes over"))
}

fn postgres_crash(topology: &Topology) -> End {
    if alone(topology, GroupId::COORDINATOR) {
        return nobody_takes_over("the coordinators have");
    }
    let mut parts = vec![terms::notices(topology)];
    parts.extend(terms::in_place(topology));
    parts.push(terms::give_back());
    parts.extend([terms::new_leader(topology, false, false), terms::sessions(topology), terms::clients()]);
    End::After(parts)
}

/// Whether a guard runs on every host of these groups, so that it sees each of their containers die.
fn guarded<'t>(topology: &Topology, mut groups: impl Iterator<Item = &'t Group>) -> bool {
    let etcd: BTreeSet<&HostName> = topology.etcd.iter().map(|member| &member.host).collect();
    topology.guard.enabled && groups.all(|group| group.members.iter().all(|member| etcd.contains(&member.host)))
}

fn container_kill(topology: &Topology) -> End {
    if alone(topology, GroupId::COORDINATOR) {
        return nobody_takes_over("the coordinators have");
    }
    let coordinators = topology.groups.iter().filter(|group| group.id.is_coordinator());
    let mut parts = if guarded(topology, coordinators) { vec![terms::die_event()] } else { terms::comes_back(topology) };
    parts.extend([terms::new_leader(topology, false, false), terms::sessions(topology), terms::clients()]);
    End::After(parts)
}

fn shard_leader_kill(topology: &Topology) -> End {
    let shards = || topology.groups.iter().filter(|group| !group.id.is_coordinator());
    if shards().next().is_none() {
        return End::Absent("there are no shard groups".to_owned());
    }
    if let Some(group) = shards().find(|group| group.members.len() < 2) {
        return nobody_takes_over(&format!("{} has", group.id));
    }
    let mut parts = if guarded(topology, shards()) { vec![terms::die_event()] } else { terms::comes_back(topology) };
    parts.extend(terms::new_shard_leader(topology));
    End::After(parts)
}

fn host_loss(topology: &Topology, event: Event) -> End {
    if tolerance::report(topology, 1).any_hosts == 0 {
        return End::Unbounded("the loss of one host stops writes: see `topology tolerance`".to_owned());
    }
    let mut parts = terms::lease(topology);
    match event {
        Event::HostLossWithEtcdLeader => parts.push(terms::election(topology, &parts)),
        // Guards keep etcd's leader elsewhere. Without them it may be cut off too: on average it is not, at worst it is.
        Event::Isolation if !topology.guard.enabled => {
            let mut election = terms::election(topology, &parts);
            election.expected = Duration::ZERO;
            election.source = format!("only if etcd's leader is cut off too: {}", election.source);
            parts.push(election);
        }
        _ => {}
    }
    let moves = topology.network.vip.is_some().then(|| terms::meanwhile("VIP moves", &terms::address_moves(topology), &parts));
    parts.extend(moves);
    parts.extend([terms::new_leader(topology, false, true), terms::sessions(topology)]);
    parts.extend((event == Event::Isolation).then(terms::lives_on));
    End::After(parts)
}

fn standby_loss(topology: &Topology) -> End {
    let waits = |group: &Group| group.replication != Replication::Async && group.members.len() > 1;
    if !topology.groups.iter().any(waits) {
        return End::Absent("commits wait for no standby".to_owned());
    }
    if tolerance::report(topology, 1).any_hosts == 0 {
        return End::Unbounded("the loss of one host stops writes: see `topology tolerance`".to_owned());
    }
    let Some(silence) = terms::silence(topology) else {
        let why = "postgres.parameters has neither wal_sender_timeout nor tcp_user_timeout, or one that is no duration";
        return End::Unbounded(why.to_owned());
    };
    End::After(vec![silence, terms::notices(topology), terms::standby_left_out(), terms::clients()])
}

fn vip(topology: &Topology) -> End {
    if topology.network.vip.is_none() {
        return End::Absent("there is no VIP".to_owned());
    }
    if topology.proxies.len() < 2 {
        return End::Unbounded("there is one proxy: nobody takes over".to_owned());
    }
    let host = terms::together("host lost", &terms::address_moves(topology));
    let haproxy = terms::together("HAProxy lost", &terms::haproxy_gone());
    End::After(vec![terms::either("VIP serves again", vec![host, haproxy])])
}

fn switchover(topology: &Topology) -> End {
    if alone(topology, GroupId::COORDINATOR) {
        return End::Absent("the coordinators have one member".to_owned());
    }
    let (held, stops) = (terms::pools_held(), terms::clean_stop());
    End::After(vec![held, stops, terms::new_leader(topology, true, false), terms::sessions(topology)])
}
