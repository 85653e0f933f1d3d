//! A host that is alive leaves the cluster: whether it can, and what comes before `up` moves its members. Pure.
//!
//! Only members that have a host in the new topology, and whose group has other members, may leave it: they are copied from their
//! leaders. What holds the quorum does not move this way.

use std::collections::BTreeMap;

use super::action::{Condition, Plan};
use super::condition::missing;
use super::planner::{self, Refusal, group_conditions};
use crate::observe::model::{Observed, Probe};
use crate::quantity::shortage;
use crate::templates::Artifacts;
use crate::topology::Topology;
use crate::topology::ids::{GroupId, HostName};
use crate::topology::model::{Group, Member};

/// Hosts with which a majority of managers survives no loss.
const TWO: usize = 2;

/// A removal as it stands.
#[derive(Debug, Clone, Copy)]
pub struct Removal<'a> {
    /// The cluster with the host.
    pub before: &'a Topology,
    /// What that renders to.
    pub artifacts: &'a Artifacts,
    /// What was seen of the cluster with the host.
    pub observed: &'a Observed,
    /// The host that goes.
    pub host: &'a HostName,
    /// What it carries, each with its next host, where it has one.
    pub services: &'a BTreeMap<String, Option<HostName>>,
}

/// Whose quorum would lack the host. Told before a file without it is judged, which would speak of numbers alone.
pub fn votes(before: &Topology, host: &HostName) -> Vec<Refusal> {
    let mut found = Vec::new();
    let left = before.hosts.iter().filter(|h| h.name != *host).count();
    if left == TWO {
        let why = "would leave two hosts: the Swarm's managers have no quorum without either of them";
        let instead = "add a host first, or put another in its place: `pgclusterctl host replace`";
        found.push(Refusal::new(host.as_str(), why, instead));
    }
    for member in before.etcd.iter().filter(|m| m.host == *host) {
        let why = format!("is a member of etcd on {host}, and part of its quorum");
        let instead = "etcd's members are exchanged, not moved: power the host off, then `pgclusterctl host replace`; while no \
                       other host takes its place, it stays";
        found.push(Refusal::new(member.name.as_str(), why, instead));
    }
    found
}

/// How a shard group leaves a host that it has no other place for: as a whole. The coordinators cannot.
fn whole(group: &Group) -> String {
    match group.id {
        GroupId::COORDINATOR => String::new(),
        GroupId(number) => format!("; or take the whole group out: `pgclusterctl scale in --shard {number}`"),
    }
}

impl Removal<'_> {
    /// Everything else that forbids it, at once.
    pub fn refusals(&self) -> Vec<Refusal> {
        let mut found = Vec::new();
        for (group, member) in self.leaving() {
            let name = member.name.as_str();
            if group.members.len() == 1 {
                let why = format!("is the only member of {}: its data is nowhere else", group.id);
                let instead = format!("give the group a second member first{}", whole(group));
                found.push(Refusal::new(name, why, instead));
            } else if self.services.get(name).is_none_or(Option::is_none) {
                let why = format!("has no other place: {} would have one member less", group.id);
                let others = "name another host for it in the topology, or put another in the host's place";
                let instead = format!("{others}: `pgclusterctl host replace`{}", whole(group));
                found.push(Refusal::new(name, why, instead));
            }
            // What Citus has registered is not looked at here; `up` waits for it.
            let mut needed = group_conditions(self.before, group);
            needed.retain(|condition| !matches!(condition, Condition::Registered { .. }));
            let reasons = missing(&needed, self.before, self.artifacts, self.observed);
            if !reasons.is_empty() {
                let instead = "wait until it is whole, or bring it there: `pgclusterctl health`";
                found.push(Refusal::new(group.id.to_string(), reasons.join("; "), instead));
            }
        }
        found.extend(self.too_small());
        found
    }

    /// Hosts without room for all that is copied to them. Who did not tell how much that is, or how much is free, is not judged.
    fn too_small(&self) -> Vec<Refusal> {
        let mut coming: BTreeMap<&HostName, (Vec<&str>, u64)> = BTreeMap::new();
        for (group, member) in self.leaving() {
            let name = member.name.as_str();
            let to = self.services.get(name).and_then(Option::as_ref);
            let leader = self.observed.leaders.get(&group.id).and_then(Probe::known);
            if let Some((to, leader)) = to.zip(leader) {
                let (names, size) = coming.entry(to).or_default();
                names.push(name);
                *size += leader.database_bytes;
            }
        }
        let free = self.observed.free_disks();
        let judge = |(host, (names, size)): (&HostName, (Vec<&str>, u64))| {
            let why = format!("{} for what comes to {}", shortage(*free.get(host)?, size)?, names.join(", "));
            Some(Refusal::new(host.as_str(), why, "make room there, or name another host for it in the topology"))
        };
        coming.into_iter().filter_map(judge).collect()
    }

    /// Leaders go to other hosts first, one group after another.
    pub fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        for (group, member) in self.leaving().filter(|(group, member)| self.leader(group) == Some(member.name.as_str())) {
            planner::hand_over(&mut plan, self.before, group, &member.name);
        }
        plan
    }

    /// What holds when every service that had another host to go to runs there: its task is made of its new definition, and a
    /// member of a group has been copied.
    pub fn arrived(&self, after: &Artifacts) -> Vec<Condition> {
        let moved = self.services.iter().filter(|(_, to)| to.is_some());
        let services = moved.filter_map(|(name, _)| after.service(name));
        let deployed = services.map(|s| Condition::Deployed { service: s.name.clone(), hash: s.hash.clone() });
        let members = self.leaving().map(|(group, m)| Condition::Member { member: m.name.clone(), group: group.id });
        deployed.chain(members).collect()
    }

    /// The cluster as `up` will find it: nobody leads from there.
    pub fn expected(&self) -> Observed {
        let mut after = self.observed.clone();
        after.hosts.remove(self.host);
        let Probe::Known(states) = &mut after.patroni else { return after };
        for (group, member) in self.leaving() {
            let Some(state) = states.get_mut(&group.id).filter(|state| state.leader == member.name.as_str()) else { continue };
            let other = group.members.iter().find(|m| m.name != member.name);
            state.leader = other.map_or_else(String::new, |m| m.name.to_string());
        }
        after
    }

    /// Its members, with their groups.
    fn leaving(&self) -> impl Iterator<Item = (&Group, &Member)> {
        let here = |group| {
            let group: &Group = group;
            group.members.iter().find(|m| m.host == *self.host).map(|member| (group, member))
        };
        self.before.groups.iter().filter_map(here)
    }

    fn leader(&self, group: &Group) -> Option<&str> {
        self.observed.patroni.known()?.get(&group.id).map(|state| state.leader.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::fixture;
    use crate::templates;
    use crate::topology::edit::host::left;

    /// The healthy cluster of the fixture with a fourth host, which carries the second member of group 3, or its first.
    fn world(first: bool) -> (Topology, Topology, Observed) {
        let (after, mut observed) = fixture::healthy();
        // The command does not ask for it.
        observed.citus = Probe::fail("coordinator", "was not asked");
        let mut before = after.clone();
        let mut fourth = before.hosts[0].clone();
        fourth.name = HostName::new("host4").expect("a name");
        observed.hosts.insert(fourth.name.clone(), observed.hosts[&before.hosts[0].name].clone());
        before.groups[3].members[usize::from(!first)].host = fourth.name.clone();
        before.hosts.push(fourth);
        (before, after, observed)
    }

    #[test]
    fn a_member_has_arrived_when_it_follows_its_leader_from_there() {
        let (before, after, observed) = world(false);
        let (host, artifacts) = (HostName::new("host4").expect("a name"), templates::render(&after).expect("renders"));
        let services = left(&before, &after, &host).expect("nothing else changes");
        let removal = Removal { before: &before, artifacts: &artifacts, observed: &observed, host: &host, services: &services };
        let (member, group) = (fixture::member("worker-3-2"), GroupId(3));
        let hash = artifacts.service("worker-3-2").expect("it is rendered").hash.clone();
        let expected = [Condition::Deployed { service: member.clone(), hash }, Condition::Member { member, group }];
        assert_eq!(removal.arrived(&artifacts), expected);
    }

    fn said(before: &Topology, after: &Topology, observed: &Observed) -> (Vec<String>, Vec<String>) {
        let host = HostName::new("host4").expect("a name");
        let artifacts = templates::render(before).expect("renders");
        let services = left(before, after, &host).expect("nothing else changes");
        let removal = Removal { before, artifacts: &artifacts, observed, host: &host, services: &services };
        let refused = removal.refusals().iter().map(ToString::to_string).collect();
        (refused, removal.plan().actions().map(ToString::to_string).collect())
    }

    #[test]
    fn a_leader_is_handed_over_first() {
        let (before, after, observed) = world(false);
        assert_eq!(said(&before, &after, &observed), (Vec::new(), Vec::new()));
        let (before, after, observed) = world(true);
        let (refused, done) = said(&before, &after, &observed);
        assert!(refused.is_empty(), "{refused:?}");
        assert_eq!(done, ["switch shard-3 over, away from worker-3-1"]);
    }

    #[test]
    fn a_host_without_room_is_no_other_place() {
        let (before, after, mut observed) = world(false);
        fixture::leader(&mut observed, 3).database_bytes = 10 << 30;
        let next = after.groups[3].members[1].host.clone();
        let room = |observed: &mut Observed, gib: u64| fixture::host(observed, next.as_str()).disk_free_bytes = gib << 30;
        room(&mut observed, 12);
        assert_eq!(said(&before, &after, &observed).0, Vec::<String>::new());
        room(&mut observed, 10);
        let (refused, _) = said(&before, &after, &observed);
        let said_why = format!("{next}: has 10.0 GiB free, and 11.0 GiB are needed for what comes to worker-3-2");
        assert!(matches!(&refused[..], [one] if one.starts_with(&said_why)), "{refused:?}");
    }

    #[test]
    fn a_shard_group_without_another_place_may_go_as_a_whole() {
        let (mut before, mut after, observed) = world(false);
        let host = HostName::new("host4").expect("a name");
        let ways_out = |before: &Topology, after: &Topology| -> Vec<String> {
            let artifacts = templates::render(before).expect("renders");
            let services = left(before, after, &host).expect("nothing else changes");
            let removal = Removal { before, artifacts: &artifacts, observed: &observed, host: &host, services: &services };
            removal.refusals().into_iter().map(|refusal| refusal.instead).collect()
        };
        after.groups[3].members.pop();
        let both = ways_out(&before, &after);
        assert!(
            both[0].contains("host replace`; or take") && both[0].ends_with("`pgclusterctl scale in --shard 3`"),
            "{both:?}"
        );
        // The coordinators are what all others need.
        before.groups[3].members.pop();
        before.groups[0].members[2].host = host.clone();
        after.groups[0].members.pop();
        let coordinator = ways_out(&before, &after);
        assert!(coordinator[0].ends_with("`pgclusterctl host replace`"), "{coordinator:?}");
    }

    #[test]
    fn what_would_lose_data_or_quorum_is_refused() {
        let (mut before, after, mut observed) = world(true);
        fixture::group(&mut observed, 3).members.remove("worker-3-2");
        let (refused, _) = said(&before, &after, &observed);
        assert_eq!(refused.len(), 1, "{refused:?}");
        let votes = |before: &Topology| -> Vec<String> {
            votes(before, &HostName::new("host4").expect("a name")).iter().map(ToString::to_string).collect()
        };
        assert_eq!(votes(&before), Vec::<String>::new(), "four hosts, and no etcd on the fourth");
        before.etcd.push(crate::topology::model::EtcdMember {
            name: crate::topology::MemberName::new("etcd-4").expect("a name"),
            host: HostName::new("host4").expect("a name"),
        });
        before.hosts.remove(0);
        let refused = votes(&before);
        assert_eq!(refused.len(), 2, "{refused:?}");
        assert!(refused[0].starts_with("host4: would leave two hosts"), "{refused:?}");
        assert!(refused[1].starts_with("etcd-4: is a member of etcd on host4"), "{refused:?}");
    }
}
