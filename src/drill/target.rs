//! Who is hit: names out of what was observed. Pure.

use super::scenario::{Place, Who};
use crate::observe::Scope;
use crate::observe::model::{GroupState, NodeFacts, Observed};
use crate::templates::artifacts::LABEL_HOST;
use crate::topology::model::Replication;
use crate::topology::{GroupId, HostName, Topology};

/// What of the cluster tells who `who` is: a look at all of it takes seconds where hosts are busy, and a fault that is to follow
/// another would come too late.
pub fn scope_of(who: Who) -> Scope {
    match who {
        Who::Leader | Who::ShardLeader | Who::SyncStandby | Who::OtherStandbys | Who::Standbys => {
            Scope { patroni: true, ..Scope::default() }
        }
        Who::Haproxy | Who::Pgbouncer => scope_of_place(Place::OfVip),
        Who::EtcdLeader | Who::EtcdMajority => Scope { etcd: true, ..Scope::default() },
    }
}

/// What of the cluster tells which host `place` is.
pub fn scope_of_place(place: Place) -> Scope {
    match place {
        Place::OfLeader => scope_of(Who::Leader),
        // Who holds the VIP is told by the hosts' addresses.
        Place::OfVip => Scope { hosts: true, proxies: true, ..Scope::default() },
        Place::OfSwarmLeader => Scope { swarm: true, ..Scope::default() },
    }
}

/// Services that `who` is now; empty when nobody is.
pub fn services(who: Who, topology: &Topology, observed: &Observed) -> Vec<String> {
    let beside_vip = |program: &str| {
        let host = vip_host(topology, observed)?;
        let proxy = topology.proxies.iter().find(|p| p.host == host)?;
        Some(format!("{program}-{}", proxy.ordinal))
    };
    let one = match who {
        Who::Leader => leader(GroupId::COORDINATOR, observed),
        Who::ShardLeader => leader(first_shard(topology), observed),
        Who::SyncStandby => state(observed, GroupId::COORDINATOR).and_then(|s| s.sync_standbys.first().cloned()),
        Who::Standbys => return standbys(topology, observed),
        Who::OtherStandbys => {
            let chosen = services(Who::SyncStandby, topology, observed);
            return standbys(topology, observed).into_iter().filter(|name| !chosen.contains(name)).collect();
        }
        Who::Haproxy => beside_vip("haproxy"),
        Who::Pgbouncer => beside_vip("pgbouncer"),
        Who::EtcdLeader => etcd_leader(observed),
        Who::EtcdMajority => {
            let leader = etcd_leader(observed);
            let mut members: Vec<_> = topology.etcd.iter().map(|m| m.name.to_string()).collect();
            // The leader is among them, so that the one that is left cannot even believe itself to follow.
            members.sort_by_key(|m| Some(m) != leader.as_ref());
            members.truncate(members.len() / 2 + 1);
            return members;
        }
    };
    one.into_iter().collect()
}

/// The host that `place` is now.
pub fn host(place: Place, topology: &Topology, observed: &Observed) -> Option<HostName> {
    match place {
        Place::OfLeader => leader_host(GroupId::COORDINATOR, topology, observed),
        Place::OfVip => vip_host(topology, observed),
        Place::OfSwarmLeader => {
            let swarm = observed.swarm.known()?;
            let node = swarm.nodes.values().find(|node| node.manager.as_ref().is_some_and(|m| m.leader))?;
            let label = node.labels.get(LABEL_HOST)?;
            topology.hosts.iter().map(|h| &h.name).find(|name| name.as_str() == label).cloned()
        }
    }
}

/// Whether Swarm takes a host for lost.
pub fn is_down(host: &HostName, observed: &Observed) -> bool {
    let nodes = observed.swarm.known().into_iter().flat_map(|swarm| swarm.nodes.values());
    let its = |node: &&NodeFacts| node.labels.get(LABEL_HOST).is_some_and(|label| label == host.as_str());
    nodes.filter(its).any(|node| node.state == "down")
}

/// Where a group is led from.
pub fn leader_host(group: GroupId, topology: &Topology, observed: &Observed) -> Option<HostName> {
    Some(topology.member(&leader(group, observed)?)?.host.clone())
}

fn leader(group: GroupId, observed: &Observed) -> Option<String> {
    state(observed, group).map(|s| s.leader.clone()).filter(|l| !l.is_empty())
}

/// The group whose leader is hit when a scenario speaks of a shard group.
pub fn first_shard(topology: &Topology) -> GroupId {
    topology.groups.iter().map(|g| g.id).find(|id| !id.is_coordinator()).unwrap_or(GroupId::COORDINATOR)
}

/// Where the VIP is; without one, the first proxy's host.
pub fn vip_host(topology: &Topology, observed: &Observed) -> Option<HostName> {
    if topology.network.vip.is_none() {
        return topology.proxies.first().map(|p| p.host.clone());
    }
    topology.proxies.iter().find(|p| observed.holds_vip(p.ordinal)).map(|p| p.host.clone())
}

/// Members on a host whose groups may lose nothing: of these nobody may lead who lacks what was acknowledged.
pub fn bound(host: &HostName, topology: &Topology) -> Vec<String> {
    let groups = topology.groups.iter().filter(|group| group.replication != Replication::Async);
    groups.flat_map(|group| &group.members).filter(|m| m.host == *host).map(|m| m.name.to_string()).collect()
}

/// All coordinators but their leader.
fn standbys(topology: &Topology, observed: &Observed) -> Vec<String> {
    let leader = services(Who::Leader, topology, observed);
    let coordinators = topology.group(GroupId::COORDINATOR).into_iter().flat_map(|group| &group.members);
    coordinators.map(|member| member.name.to_string()).filter(|name| !leader.contains(name)).collect()
}

fn state(observed: &Observed, group: GroupId) -> Option<&GroupState> {
    observed.patroni.known()?.get(&group)
}

fn etcd_leader(observed: &Observed) -> Option<String> {
    let leads = |facts: &crate::observe::model::EtcdFacts| facts.member_id == facts.leader_id;
    observed.etcd.iter().find(|(_, probe)| probe.known().is_some_and(leads)).map(|(name, _)| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::example;

    #[test]
    fn whose_group_may_lose_something_may_lead_although_it_is_stale() {
        let mut topology = example("three-hosts");
        let host = topology.hosts[0].name.clone();
        let on_it = |topology: &Topology| {
            let members = topology.groups.iter().flat_map(|group| &group.members);
            members.filter(|member| member.host == host).count()
        };
        let all = bound(&host, &topology);
        assert_eq!(all.len(), on_it(&topology));
        assert!(all.contains(&"coordinator-1".to_owned()), "{all:?}");
        topology.groups[0].replication = Replication::Async;
        assert!(!bound(&host, &topology).contains(&"coordinator-1".to_owned()));
        assert_eq!(bound(&host, &topology).len(), all.len() - 1);
    }
}
