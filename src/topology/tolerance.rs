//! Which combinations of lost hosts a cluster survives, and what each costs. Pure arithmetic over the placement.
//!
//! Called by `topology tolerance`. It answers for losses at the same instant, and for the worst place the leaders can be in: what
//! it calls survived is survived wherever they are. Hosts that are lost one after another, with time for Patroni to choose new
//! synchronous standbys in between, cost less than what is said here, as long as etcd keeps its majority.

use std::collections::BTreeSet;

use serde::Serialize;

use super::ids::{GroupId, HostName};
use super::model::{Group, Replication, Topology};

/// Version of the report's JSON.
pub const SCHEMA_VERSION: u32 = 1;

/// What losses cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToleranceReport {
    /// Version of this structure.
    pub schema_version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// Number of hosts of the topology.
    pub hosts: usize,
    /// Largest number of hosts of which any may be lost at once while all writes go on.
    pub any_hosts: usize,
    /// The same, with no acknowledged commit lost either.
    pub any_hosts_without_loss: usize,
    /// Combinations, single hosts first, then pairs and so on, then whole zones.
    pub losses: Vec<Loss>,
}

/// What the loss of some hosts costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The hosts that are lost together.
    pub lost: Vec<HostName>,
    /// The zone that these hosts make up; empty when the combination is of hosts.
    pub zone: String,
    /// Whether clients can write.
    pub writes: Service,
    /// Whether clients can read.
    pub reads: Service,
    /// Groups without a leader until an operator forces a failover, in the worst case.
    pub blocked: Vec<GroupId>,
    /// Groups with no member left that may lead.
    pub gone: Vec<GroupId>,
    /// Groups that may lose acknowledged commits, since a standby need not have had them.
    pub may_lose_commits: Vec<GroupId>,
    /// Groups that go on with a single member.
    pub without_standby: Vec<GroupId>,
    /// etcd members left and in all.
    pub etcd: Majority,
    /// Swarm managers left and in all. Without a majority everything that runs goes on, but nothing can be deployed or moved.
    pub swarm: Majority,
    /// What becomes of the address that clients use.
    pub vip: VipState,
}

/// Whether something is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// All of it.
    Yes,
    /// What lies in the groups that are neither blocked nor gone.
    Partly,
    /// Nothing.
    No,
}

/// Voters left, and in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Majority {
    /// Members that are not lost.
    pub left: usize,
    /// All members.
    pub of: usize,
    /// Whether those left are a majority.
    pub quorum: bool,
}

/// What becomes of the clients' address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VipState {
    /// A proxy holds it, or takes it over within seconds.
    Held,
    /// There is none in the topology, but a proxy is left for clients that name it.
    ProxyLeft,
    /// No proxy is left.
    Lost,
}

/// The report for every combination of up to `max_lost` hosts, and for every zone when there are several. All hosts are never lost
/// together here, unless there is one only.
pub fn report(topology: &Topology, max_lost: usize) -> ToleranceReport {
    let hosts: Vec<&HostName> = topology.hosts.iter().map(|h| &h.name).collect();
    let deepest = max_lost.min(hosts.len().saturating_sub(1)).max(1);
    let mut losses = Vec::new();
    let (mut any_hosts, mut any_hosts_without_loss) = (0, 0);
    for size in 1..=deepest {
        let of_size: Vec<Loss> =
            combinations(hosts.len(), size).map(|c| loss(topology, &c.iter().map(|&i| hosts[i]).collect(), "")).collect();
        let writes_go_on = of_size.iter().all(|l| l.writes == Service::Yes);
        if writes_go_on && any_hosts == size - 1 {
            any_hosts = size;
        }
        let nothing_lost = writes_go_on && of_size.iter().all(|l| l.may_lose_commits.is_empty());
        if nothing_lost && any_hosts_without_loss == size - 1 {
            any_hosts_without_loss = size;
        }
        losses.extend(of_size);
    }
    let zones: BTreeSet<&str> = topology.hosts.iter().map(|h| h.zone.as_str()).collect();
    if zones.len() > 1 {
        for zone in zones {
            let lost = topology.hosts.iter().filter(|h| h.zone == zone).map(|h| &h.name).collect();
            losses.push(loss(topology, &lost, zone));
        }
    }
    ToleranceReport {
        schema_version: SCHEMA_VERSION,
        cluster: topology.name.to_string(),
        hosts: hosts.len(),
        any_hosts,
        any_hosts_without_loss,
        losses,
    }
}

/// What becomes of a group when `lost` hosts vanish at once.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Untouched, or a standby takes over by itself.
    Serves,
    /// A member is left, but Patroni may not promote it.
    Blocked,
    /// Nobody is left.
    Gone,
}

fn fate(group: &Group, lost: usize, etcd: bool) -> Fate {
    let left = group.members.len() - lost;
    if left == 0 {
        return Fate::Gone;
    }
    // Without etcd's majority nobody may hold a leader key: leaders demote themselves and serve reads.
    if !etcd {
        return Fate::Blocked;
    }
    match group.replication {
        Replication::Async => Fate::Serves,
        // One standby acknowledges each commit. When two members are lost at once, one may have been the leader and the other
        // the only one with the last commit, so Patroni promotes none of the rest (/sync in `sync`, too few votes in `quorum`).
        Replication::Sync | Replication::Quorum if lost <= 1 => Fate::Serves,
        Replication::Sync | Replication::Quorum => Fate::Blocked,
    }
}

fn loss(topology: &Topology, lost: &BTreeSet<&HostName>, zone: &str) -> Loss {
    let gone_with = |hosts: &mut dyn Iterator<Item = &HostName>| hosts.filter(|h| lost.contains(h)).count();
    let majority = |all: usize, lost: usize| Majority { left: all - lost, of: all, quorum: all - lost > all / 2 };
    let etcd = majority(topology.etcd.len(), gone_with(&mut topology.etcd.iter().map(|e| &e.host)));
    let swarm = majority(topology.hosts.len(), lost.len());
    let proxies_left = topology.proxies.len() - gone_with(&mut topology.proxies.iter().map(|p| &p.host));
    let vip = match (proxies_left, &topology.network.vip) {
        (0, _) => VipState::Lost,
        (_, Some(_)) => VipState::Held,
        (_, None) => VipState::ProxyLeft,
    };

    let (mut blocked, mut gone, mut may_lose_commits, mut without_standby) = (vec![], vec![], vec![], vec![]);
    // A group whose leader is alive, if only to answer reads.
    let mut readable = vec![];
    for group in &topology.groups {
        let members_lost = gone_with(&mut group.members.iter().map(|m| &m.host));
        let left = group.members.len() - members_lost;
        let fate = fate(group, members_lost, etcd.quorum);
        match fate {
            Fate::Gone => gone.push(group.id),
            Fate::Blocked => blocked.push(group.id),
            Fate::Serves => {}
        }
        // Citus asks the node that pg_dist_node names, which without a failover is the lost leader; a coordinator is reached
        // through the proxies, which find any member that lives, and any reader.
        let readers_left = group.readers.len() - gone_with(&mut group.readers.iter().map(|r| &r.host));
        let coordinator = group.id.is_coordinator() && left + readers_left > 0;
        if fate == Fate::Serves || coordinator || (left > 0 && members_lost == 0) {
            readable.push(group.id);
        }
        if members_lost > 0 && left > 0 && group.replication == Replication::Async {
            may_lose_commits.push(group.id);
        }
        if members_lost > 0 && left == 1 {
            without_standby.push(group.id);
        }
    }
    let down = |id: &GroupId| blocked.contains(id) || gone.contains(id);
    let ids: Vec<GroupId> = topology.groups.iter().map(|g| g.id).collect();
    let reachable = vip != VipState::Lost;
    let writes = service(&ids, reachable && !down(&GroupId::COORDINATOR), |id| !down(id));
    let reads = service(&ids, reachable && readable.contains(&GroupId::COORDINATOR), |id| readable.contains(id));
    Loss {
        lost: topology.hosts.iter().map(|h| &h.name).filter(|h| lost.contains(h)).cloned().collect(),
        zone: zone.to_owned(),
        writes,
        reads,
        blocked,
        gone,
        may_lose_commits,
        without_standby,
        etcd,
        swarm,
        vip,
    }
}

/// Nothing without the coordinators; with them, what the shard groups serve.
fn service(ids: &[GroupId], entrance: bool, serves: impl Fn(&GroupId) -> bool) -> Service {
    let shards: Vec<bool> = ids.iter().filter(|id| !id.is_coordinator()).map(serves).collect();
    match (entrance, shards.iter().all(|s| *s), shards.iter().any(|s| *s)) {
        (true, true, _) => Service::Yes,
        (true, false, true) => Service::Partly,
        _ => Service::No,
    }
}

/// All ways to choose `size` of `0..count`, in lexicographic order.
fn combinations(count: usize, size: usize) -> impl Iterator<Item = Vec<usize>> {
    let mut next = (size <= count).then(|| (0..size).collect::<Vec<usize>>());
    std::iter::from_fn(move || {
        let current = next.take()?;
        // Raise the last position that can still be raised, and let those behind it follow.
        if let Some(position) = (0..size).rev().find(|&p| current[p] < count - size + p) {
            let mut raised = current.clone();
            raised[position] += 1;
            for p in position + 1..size {
                raised[p] = raised[p - 1] + 1;
            }
            next = Some(raised);
        }
        Some(current)
    })
}

/// Columns of the table.
pub const COLUMNS: [&str; 8] = ["lost", "writes", "reads", "commits at risk", "no standby left", "etcd", "swarm", "vip"];

impl ToleranceReport {
    /// The table, one row per combination, in the order of [`COLUMNS`].
    pub fn rows(&self) -> Vec<[String; 8]> {
        self.losses.iter().map(Loss::row).collect()
    }

    /// The outcome in a sentence.
    pub fn summary(&self) -> String {
        let hosts = |n: usize| if n == 1 { "one host".to_owned() } else { format!("{n} hosts") };
        match (self.any_hosts, self.any_hosts_without_loss) {
            (0, _) => "There is a host whose loss stops writes.".to_owned(),
            (n, m) if n == m => {
                format!("Writes go on, and no acknowledged commit is lost, after the loss of any {}.", hosts(n))
            }
            (n, 0) => {
                format!("Writes go on after the loss of any {}; groups with async replication may lose commits.", hosts(n))
            }
            (n, m) => {
                let (any, safe) = (hosts(n), hosts(m));
                format!("Writes go on after the loss of any {any}; no acknowledged commit is lost up to any {safe}.")
            }
        }
    }
}

impl Loss {
    fn row(&self) -> [String; 8] {
        let hosts = self.lost.iter().map(HostName::as_str).collect::<Vec<_>>().join(" + ");
        let lost = if self.zone.is_empty() { hosts } else { format!("zone {}: {hosts}", self.zone) };
        let majority = |m: &Majority| format!("{}/{}{}", m.left, m.of, if m.quorum { "" } else { " no quorum" });
        let mut down = Vec::new();
        // Without etcd every group is blocked; the etcd column says so once.
        if self.etcd.quorum && !self.blocked.is_empty() {
            down.push(format!("{} blocked", list(&self.blocked)));
        }
        if !self.gone.is_empty() {
            down.push(format!("{} gone", list(&self.gone)));
        }
        let writes = match self.writes {
            Service::Yes => "yes".to_owned(),
            other if down.is_empty() => other.word().to_owned(),
            other => format!("{}: {}", other.word(), down.join(", ")),
        };
        let vip = match self.vip {
            VipState::Held => "held",
            VipState::ProxyLeft => "–",
            VipState::Lost => "lost",
        };
        [
            lost,
            writes,
            self.reads.word().to_owned(),
            list(&self.may_lose_commits),
            list(&self.without_standby),
            majority(&self.etcd),
            majority(&self.swarm),
            vip.to_owned(),
        ]
    }
}

impl Service {
    fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Partly => "partly",
            Self::No => "no",
        }
    }
}

fn list(groups: &[GroupId]) -> String {
    if groups.is_empty() { "–".to_owned() } else { groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topology::example;

    #[test]
    fn three_hosts_survive_any_one_without_losing_a_commit() {
        let report = report(&example("three-hosts"), 2);
        assert_eq!((report.any_hosts, report.any_hosts_without_loss), (1, 1));
        assert_eq!(report.losses.len(), 3 + 3);
        let pair = report.losses.last().expect("there are pairs");
        assert_eq!((pair.writes, pair.etcd.quorum, pair.swarm.quorum), (Service::No, false, false));
    }

    #[test]
    fn asynchronous_shard_groups_go_on_and_may_lose_commits() {
        let report = report(&example("classic"), 1);
        assert_eq!((report.any_hosts, report.any_hosts_without_loss), (1, 0));
        assert!(report.losses.iter().all(|l| !l.may_lose_commits.is_empty()));
    }

    #[test]
    fn a_single_host_survives_nothing() {
        let report = report(&example("one-host"), 2);
        assert_eq!((report.any_hosts, report.losses.len()), (0, 1));
        assert_eq!((report.losses[0].writes, report.losses[0].reads), (Service::No, Service::No));
    }

    proptest! {
        #[test]
        fn every_combination_appears_once(count in 0usize..8, size in 0usize..8) {
            let all: Vec<Vec<usize>> = combinations(count, size).collect();
            let distinct: BTreeSet<&Vec<usize>> = all.iter().collect();
            prop_assert_eq!(distinct.len(), all.len());
            let expected = if size > count { 0 } else { (0..size).fold(1, |n, i| n * (count - i) / (i + 1)) };
            prop_assert_eq!(all.len(), expected);
        }
    }
}
