//! A healthy three-host cluster for tests, and ways to break it. Used by the checks' tests and by those of `status`.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Finding, Verdict};
use crate::observe::model::{
    CitusFacts, CitusNode, EtcdFacts, GroupState, GuardFacts, HostFacts, LeaderFacts, ManagerFacts, MemberState, NodeFacts,
    Observed, Probe, ProxyFacts, ServiceFacts, SlotFacts, StandbyFacts, SwarmFacts, SwarmMembership,
};
use crate::templates::artifacts::LABEL_HOST;
use crate::topology::model::{Group, Host, Replication};
use crate::topology::{GroupId, HostName, MemberName, Topology, resolve};

const FILE: &str = r#"
schema = 1
[cluster]
name = "pgcluster"
[[host]]
name = "host1"
address = "10.0.0.10"
[[host]]
name = "host2"
address = "10.0.0.11"
[[host]]
name = "host3"
address = "10.0.0.12"
[network]
vip = "10.0.0.100/24"
[coordinators]
replication = "sync"
[shards]
count = 3
[proxy]
hosts = ["host1", "host2"]
"#;

/// A guard that sees and hears.
const WATCHES: GuardFacts = GuardFacts { last_look_ms: Some(120), hears_docker: true };

/// The default cluster on three hosts, as it looks when all is well: etcd-2 leads, every first member leads its group.
pub fn healthy() -> (Topology, Observed) {
    healthy_of(FILE)
}

/// The same with a reader of shard-1 on host3, worker-1-reader-1.
pub fn healthy_with_reader() -> (Topology, Observed) {
    healthy_of(&format!("{FILE}[[reader]]\nshard = 1\nhost = \"host3\"\n"))
}

fn healthy_of(file: &str) -> (Topology, Observed) {
    let (topology, _) = resolve::parse(file, Path::new("topology.toml")).expect("the fixture is valid");
    let observed = Observed {
        hosts: topology
            .hosts
            .iter()
            .map(|h| (h.name.clone(), Probe::Known(host_facts(h, h.name.as_str() == "host1"))))
            .collect(),
        swarm: Probe::Known(swarm_facts(&topology)),
        etcd: (1..).zip(&topology.etcd).map(|(id, m)| (m.name.clone(), Probe::Known(etcd_facts(id)))).collect(),
        membership: Probe::fail("etcd", "was not asked"),
        patroni: Probe::Known(topology.groups.iter().map(|g| (g.id, group_state(g))).collect()),
        leaders: topology.groups.iter().map(|g| (g.id, Probe::Known(leader_facts(g)))).collect(),
        citus: Probe::Known(citus_facts(&topology)),
        proxies: topology
            .proxies
            .iter()
            .map(|p| (member(&format!("haproxy-{}", p.ordinal)), Probe::Known(proxy_facts(&topology, p.ordinal == 1))))
            .collect(),
        guards: topology.guards().into_iter().map(|g| (g.name, Probe::Known(WATCHES))).collect(),
    };
    (topology, observed)
}

/// The same cluster when nothing could be seen at all.
pub fn blind(topology: &Topology) -> Observed {
    let why = "connection timed out after 2 s";
    Observed {
        hosts: topology.hosts.iter().map(|h| (h.name.clone(), Probe::fail(h.name.as_str(), why))).collect(),
        swarm: Probe::fail("swarm", "no manager answers"),
        etcd: topology.etcd.iter().map(|m| (m.name.clone(), Probe::fail(m.name.as_str(), why))).collect(),
        membership: Probe::fail("etcd", "no member answers"),
        patroni: Probe::fail("etcd", "no member answers"),
        leaders: topology.groups.iter().map(|g| (g.id, Probe::fail(g.id.to_string(), "its leader is unknown"))).collect(),
        citus: Probe::fail("coordinator", "its leader is unknown"),
        proxies: topology
            .proxies
            .iter()
            .map(|p| (member(&format!("haproxy-{}", p.ordinal)), Probe::fail(format!("haproxy-{}", p.ordinal), why)))
            .collect(),
        guards: topology.guards().into_iter().map(|g| (g.name.clone(), Probe::fail(g.name.as_str(), why))).collect(),
    }
}

/// Prepared hosts on which nothing was deployed yet.
pub fn undeployed() -> (Topology, Observed) {
    let (topology, seen) = healthy();
    let mut observed = Observed { hosts: seen.hosts, swarm: seen.swarm, ..blind(&topology) };
    known(&mut observed.swarm).services.clear();
    hold_vip(&mut observed, &[]);
    (topology, observed)
}

/// What is seen some seconds after a host was lost: Patroni has moved every leader that stood there to the next member.
pub fn lose_host(topology: &Topology, observed: &mut Observed, name: &str) {
    let why = "connection timed out after 2 s";
    let gone = HostName::new(name).expect("a name");
    observed.hosts.insert(gone.clone(), Probe::fail(name, why));
    for m in topology.etcd.iter().filter(|m| m.host == gone) {
        observed.etcd.insert(m.name.clone(), Probe::fail(m.name.as_str(), format!("{gone} does not answer")));
    }
    for p in topology.proxies.iter().filter(|p| p.host == gone) {
        let haproxy = format!("haproxy-{}", p.ordinal);
        observed.proxies.insert(member(&haproxy), Probe::fail(haproxy, format!("{gone} does not answer")));
    }
    for g in topology.guards().into_iter().filter(|g| g.host == gone) {
        observed.guards.insert(g.name.clone(), Probe::fail(g.name.as_str(), format!("{gone} does not answer")));
    }
    let swarm = known(&mut observed.swarm);
    let node = swarm.nodes.get_mut(&format!("node-{name}")).expect("a node");
    node.state = "down".into();
    node.manager = Some(ManagerFacts { leader: false, reachability: "unreachable".into() });
    for group in &topology.groups {
        let Some(lost) = group.everyone().find(|m| m.host == gone) else { continue };
        let state = known(&mut observed.patroni).get_mut(&group.id).expect("a group");
        state.members.remove(lost.name.as_str());
        state.sync_standbys.retain(|s| s != lost.name.as_str());
        let facts = leader(observed, group.id.0);
        facts.standbys.remove(lost.name.as_str());
        facts.slots.entry(lost.name.as_str().replace('-', "_")).and_modify(|s| s.active = false);
        if facts.member == lost.name {
            promote(topology, observed, group);
        }
    }
}

/// The group's second member has taken over, on a new timeline, and nobody follows yet.
fn promote(topology: &Topology, observed: &mut Observed, old: &Group) {
    let heir = &old.members[1];
    let state = group(observed, old.id.0);
    state.leader = heir.name.to_string();
    state.sync_leader = heir.name.to_string();
    state.sync_standbys.clear();
    for m in state.members.values_mut() {
        m.timeline = 2;
    }
    let own = state.members.get_mut(heir.name.as_str()).expect("the heir is up");
    (own.role, own.state) = ("primary".into(), "running".into());
    let rest: Vec<String> = state.members.keys().filter(|m| *m != heir.name.as_str()).cloned().collect();
    let facts = leader(observed, old.id.0);
    facts.member = heir.name.clone();
    facts.timeline = 2;
    facts.standbys = rest.iter().map(|name| (name.clone(), standby_facts(Replication::Sync))).collect();
    if topology.citus.is_some() {
        node(observed, old.id.0).name = heir.name.to_string();
        let names = citus(observed).nodes.clone();
        for copy in citus(observed).copies.values_mut() {
            *copy = Probe::Known(names.clone());
        }
    }
}

/// The leader of that group does not answer SQL.
pub fn silence_leader(observed: &mut Observed, id: u32) {
    let name = group(observed, id).leader.clone();
    observed.leaders.insert(GroupId(id), Probe::fail(format!("{name} (SQL)"), "connection timed out after 1 s"));
}

/// These hosts, and no others, carry the virtual address.
pub fn hold_vip(observed: &mut Observed, holders: &[&str]) {
    let vip = "10.0.0.100".parse().expect("an address");
    for (name, probe) in &mut observed.hosts {
        let addresses = known(probe).addresses.entry("eth0".into()).or_default();
        addresses.retain(|a| *a != vip);
        if holders.contains(&name.as_str()) {
            addresses.push(vip);
        }
    }
}

/// The verdict on that subject.
pub fn verdict_of(findings: &[Finding], subject: &str) -> Verdict {
    findings.iter().find(|f| f.subject == subject).unwrap_or_else(|| panic!("{subject} not in {findings:?}")).verdict
}

/// A known value, to be changed.
pub fn known<T>(probe: &mut Probe<T>) -> &mut T {
    match probe {
        Probe::Known(value) => value,
        Probe::Failed(error) => panic!("{error}"),
    }
}

pub fn member(name: &str) -> MemberName {
    MemberName::new(name).expect("a name")
}

pub fn host<'a>(observed: &'a mut Observed, name: &str) -> &'a mut HostFacts {
    known(observed.hosts.get_mut(&HostName::new(name).expect("a name")).expect("a host"))
}

pub fn etcd<'a>(observed: &'a mut Observed, name: &str) -> &'a mut EtcdFacts {
    known(observed.etcd.get_mut(&member(name)).expect("an etcd member"))
}

pub fn group(observed: &mut Observed, id: u32) -> &mut GroupState {
    known(&mut observed.patroni).get_mut(&GroupId(id)).expect("a group")
}

pub fn state<'a>(observed: &'a mut Observed, id: u32, name: &str) -> &'a mut MemberState {
    group(observed, id).members.get_mut(name).expect("a member")
}

pub fn leader(observed: &mut Observed, id: u32) -> &mut LeaderFacts {
    known(observed.leaders.get_mut(&GroupId(id)).expect("a group"))
}

pub fn standby<'a>(observed: &'a mut Observed, id: u32, name: &str) -> &'a mut StandbyFacts {
    leader(observed, id).standbys.get_mut(name).expect("a standby")
}

pub fn citus(observed: &mut Observed) -> &mut CitusFacts {
    known(&mut observed.citus)
}

pub fn node(observed: &mut Observed, id: u32) -> &mut CitusNode {
    citus(observed).nodes.iter_mut().find(|n| n.group.0 == id && n.role == "primary").expect("a node")
}

/// The row of a group's leader in the copy that another group's leader has.
pub fn copied(observed: &mut Observed, at: u32, id: u32) -> &mut CitusNode {
    let copy = known(citus(observed).copies.get_mut(&GroupId(at)).expect("a copy"));
    copy.iter_mut().find(|n| n.group.0 == id && n.role == "primary").expect("a node")
}

pub fn proxy<'a>(observed: &'a mut Observed, name: &str) -> &'a mut ProxyFacts {
    known(observed.proxies.get_mut(&member(name)).expect("a proxy"))
}

fn host_facts(host: &Host, holds_vip: bool) -> HostFacts {
    let mut addresses = vec![host.address];
    if holds_vip {
        addresses.push("10.0.0.100".parse().expect("an address"));
    }
    HostFacts {
        docker_version: "26.1.5".into(),
        kernel: "6.1.0".into(),
        cpus: 2,
        memory_bytes: 8 << 30,
        disk_total_bytes: 200 << 30,
        disk_free_bytes: 120 << 30,
        clock_skew_ms: 3,
        addresses: BTreeMap::from([("eth0".into(), addresses)]),
        listening: vec![22, 5432, 5433, 8404],
        swarm: SwarmMembership {
            state: "active".into(),
            node_id: format!("node-{}", host.name),
            cluster_id: "swarm".into(),
            control_available: true,
            error: String::new(),
        },
        containers: BTreeMap::new(),
    }
}

fn swarm_facts(topology: &Topology) -> SwarmFacts {
    let node = |host: &Host| NodeFacts {
        hostname: host.name.to_string(),
        state: "ready".into(),
        availability: "active".into(),
        manager: Some(ManagerFacts { leader: host.name.as_str() == "host1", reachability: "reachable".into() }),
        address: host.address.to_string(),
        labels: BTreeMap::from([(LABEL_HOST.into(), host.name.to_string())]),
    };
    let service = |name: String, host: &HostName| {
        let facts = ServiceFacts {
            id: name.clone(),
            hash: "0".repeat(12),
            fragment: String::new(),
            image: "image".into(),
            replicas: 1,
            configs: Vec::new(),
            task_hash: "h".into(),
            task_state: "running".into(),
            task_node: format!("node-{host}"),
            task_error: String::new(),
            container: format!("container-{name}"),
            update_state: String::new(),
        };
        (name, facts)
    };
    SwarmFacts {
        seen_from: topology.hosts[0].name.clone(),
        cluster_id: "swarm".into(),
        nodes: topology.hosts.iter().map(|h| (format!("node-{}", h.name), node(h))).collect(),
        services: topology.services().into_iter().map(|(name, host)| service(name, &host)).collect(),
        networks: BTreeMap::new(),
        secrets: Vec::new(),
        configs: BTreeMap::new(),
    }
}

fn etcd_facts(member_id: u64) -> EtcdFacts {
    EtcdFacts {
        member_id,
        leader_id: 2,
        raft_term: 4,
        raft_index: 1_802,
        db_size_bytes: 180 << 10,
        version: "3.5.16".into(),
        alarms: Vec::new(),
    }
}

fn group_state(group: &Group) -> GroupState {
    let leader = &group.members[0].name;
    let member_state = |index: usize| MemberState {
        role: if index == 0 { "primary" } else { "replica" }.into(),
        state: if index == 0 { "running" } else { "streaming" }.into(),
        timeline: 1,
        lsn: 0x300_0148,
        version: "4.0.7".into(),
        ..MemberState::default()
    };
    let tags = ["nofailover", "nosync"].map(|tag| (tag.to_owned(), true.into()));
    let reader = || MemberState { tags: tags.clone().into(), ..member_state(1) };
    let members = group.members.iter().enumerate().map(|(i, m)| (m.name.to_string(), member_state(i)));
    GroupState {
        initialized: true,
        leader: leader.to_string(),
        leader_lease: 7,
        leader_lsn: 0x300_0148,
        sync_leader: leader.to_string(),
        sync_standbys: group.members[1..].iter().map(|m| m.name.to_string()).collect(),
        config: serde_json::json!({}),
        members: members.chain(group.readers.iter().map(|r| (r.name.to_string(), reader()))).collect(),
        ..GroupState::default()
    }
}

fn leader_facts(group: &Group) -> LeaderFacts {
    let standbys = || group.everyone().skip(1);
    let follows = |name: &str| standby_facts(if group.is_reader(name) { Replication::Async } else { group.replication });
    LeaderFacts {
        member: group.members[0].name.clone(),
        in_recovery: false,
        standbys: standbys().map(|m| (m.name.to_string(), follows(m.name.as_str()))).collect(),
        slots: standbys()
            .map(|m| (m.name.as_str().replace('-', "_"), SlotFacts { active: true, retained_bytes: 4096 }))
            .collect(),
        connections_used: 12,
        connections_max: 100,
        oldest_transaction_ms: 0,
        prepared: Vec::new(),
        database_bytes: 42 << 20,
        synchronous_standby_names: String::new(),
        timeline: 1,
    }
}

fn standby_facts(replication: Replication) -> StandbyFacts {
    StandbyFacts { state: "streaming".into(), sync_state: replication.as_str().into(), lag_bytes: 0, lag_ms: 0 }
}

fn citus_facts(topology: &Topology) -> CitusFacts {
    let row = |group: &Group, index: usize| CitusNode {
        id: i32::try_from(group.id.0 * 10 + 1).expect("a small number") + i32::try_from(index).expect("a small number"),
        group: group.id,
        name: group.members[index].name.to_string(),
        port: 5432,
        role: if index == 0 { "primary" } else { "secondary" }.into(),
        active: true,
        has_metadata: true,
        metadata_synced: true,
        should_have_shards: !group.id.is_coordinator(),
        shards: if group.id.is_coordinator() { 0 } else { 11 },
    };
    let nodes: Vec<_> = topology.groups.iter().flat_map(|g| (0..g.members.len()).map(move |i| row(g, i))).collect();
    let groups = topology.groups.iter().map(|g| g.id).filter(|id| !id.is_coordinator());
    CitusFacts {
        version: "13.2.2".into(),
        copies: groups.map(|id| (id, Probe::Known(nodes.clone()))).collect(),
        nodes,
        tables: 2,
    }
}

fn proxy_facts(topology: &Topology, holds_vip: bool) -> ProxyFacts {
    let coordinators = &topology.groups[0].members;
    let servers = |up: fn(usize) -> bool| {
        let state = |index| if up(index) { "UP" } else { "DOWN" };
        coordinators.iter().enumerate().map(|(i, m)| (m.name.to_string(), state(i).to_owned())).collect()
    };
    ProxyFacts {
        holds_vip,
        backends: BTreeMap::from([
            ("poolers".into(), topology.proxies.iter().map(|p| (format!("pgbouncer-{}", p.ordinal), "UP".into())).collect()),
            ("coordinator_leader".into(), servers(|i| i == 0)),
            ("standbys".into(), servers(|i| i > 0)),
        ]),
        sessions: 4,
    }
}

/// What a check finds in a healthy cluster after one change.
pub fn with(change: impl Fn(&mut Observed), check: fn(&super::Look<'_>) -> Vec<super::Finding>) -> Vec<super::Finding> {
    let (topology, mut observed) = healthy();
    change(&mut observed);
    check(&super::Look { topology: &topology, observed: &observed })
}
