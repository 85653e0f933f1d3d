//! The planner against a simulated cluster: whatever the cluster's state, carrying a plan out leads to an empty plan, and
//! on the way no living group ever has two members down by our hand.

mod replace;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pgclusterctl::observe::model::{
    CitusFacts, EtcdFacts, HostFacts, MemberState, NetworkFacts, NodeFacts, Observed, Probe, ProxyFacts, ServiceFacts,
    SwarmFacts, SwarmMembership,
};
use pgclusterctl::plan::{self, Action, Change, Plan};
use pgclusterctl::templates::artifacts::{Kind, LABEL_HOST, SECRETS};
use pgclusterctl::templates::{self, Artifacts};
use pgclusterctl::topology::{self, GroupId, Topology};
use proptest::prelude::*;

fn example(name: &str) -> (Topology, Artifacts) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let topology = topology::load(&path).expect("the example is valid");
    let artifacts = templates::render(&topology).expect("the example renders");
    (topology, artifacts)
}

/// Hosts after `init`: a Swarm with labels, networks and secrets, and nothing deployed.
fn prepared(topology: &Topology) -> Observed {
    let node_id = |name: &str| format!("node-{name}");
    let hosts = topology.hosts.iter().map(|host| {
        let swarm = SwarmMembership {
            state: "active".into(),
            node_id: node_id(host.name.as_str()),
            cluster_id: "swarm".into(),
            control_available: true,
            error: String::new(),
        };
        let facts = HostFacts {
            docker_version: "26.1.5".into(),
            kernel: "6.1".into(),
            cpus: 2,
            memory_bytes: 8 << 30,
            disk_total_bytes: 100 << 30,
            disk_free_bytes: 50 << 30,
            clock_skew_ms: 0,
            addresses: BTreeMap::from([("eth0".to_owned(), vec![host.address])]),
            listening: Vec::new(),
            swarm,
            containers: BTreeMap::new(),
        };
        (host.name.clone(), Probe::Known(facts))
    });
    let nodes = topology.hosts.iter().map(|host| {
        let node = NodeFacts {
            hostname: host.name.to_string(),
            state: "ready".into(),
            availability: "active".into(),
            manager: None,
            address: host.address.to_string(),
            labels: BTreeMap::from([(LABEL_HOST.to_owned(), host.name.to_string())]),
        };
        (node_id(host.name.as_str()), node)
    });
    let networks = topology.network.overlays(&topology.name).into_iter();
    let swarm = SwarmFacts {
        seen_from: topology.hosts[0].name.clone(),
        cluster_id: "swarm".into(),
        nodes: nodes.collect(),
        services: BTreeMap::new(),
        networks: networks
            .map(|(name, subnet)| (name, NetworkFacts { subnet: subnet.to_string(), options: BTreeMap::new() }))
            .collect(),
        secrets: SECRETS.iter().map(|s| format!("{}-{s}", topology.name)).collect(),
        configs: BTreeMap::new(),
    };
    Observed {
        hosts: hosts.collect(),
        swarm: Probe::Known(swarm),
        etcd: BTreeMap::new(),
        membership: Probe::fail("etcd", "not deployed"),
        patroni: Probe::fail("etcd", "not deployed"),
        leaders: BTreeMap::new(),
        citus: Probe::Known(CitusFacts::default()),
        proxies: BTreeMap::new(),
        guards: BTreeMap::new(),
    }
}

/// Carries out one action at once and perfectly.
fn apply(action: &Action, topology: &Topology, artifacts: &Artifacts, seen: &mut Observed) {
    let Probe::Known(swarm) = &mut seen.swarm else { panic!("a plan without a Swarm") };
    match action {
        Action::CreateConfig { name } => {
            swarm.configs.insert(name.clone(), artifacts.configs[name].text.clone());
        }
        Action::RemoveConfig { name } => {
            swarm.configs.remove(name).expect("only what exists is removed");
        }
        Action::RemoveService { service } => {
            swarm.services.remove(service).expect("only what exists is removed");
        }
        Action::WriteDynamic { group, .. } => {
            let Probe::Known(groups) = &mut seen.patroni else { panic!("settings are written after etcd is up") };
            groups.entry(*group).or_default().config = artifacts.dynamic[group].clone();
        }
        Action::Deploy { service, .. } => {
            let service = artifacts.service(service.as_str()).expect("only rendered services are deployed");
            for config in &service.configs {
                assert!(swarm.configs.contains_key(config), "{} needs {config} before it is created", service.name);
            }
            swarm.services.insert(
                service.name.to_string(),
                ServiceFacts {
                    id: service.name.to_string(),
                    hash: service.hash.clone(),
                    fragment: service.fragment.clone(),
                    image: service.image.clone(),
                    replicas: 1,
                    configs: service.configs.clone(),
                    task_hash: service.hash.clone(),
                    task_state: "running".into(),
                    task_node: format!("node-{}", service.host),
                    task_error: String::new(),
                    container: "c".into(),
                    update_state: String::new(),
                },
            );
            match service.kind {
                Kind::Etcd => {
                    let facts = EtcdFacts {
                        member_id: 1,
                        leader_id: 1,
                        raft_term: 1,
                        raft_index: 1,
                        db_size_bytes: 1,
                        version: "3.5".into(),
                        alarms: Vec::new(),
                    };
                    seen.etcd.insert(service.name.clone(), Probe::Known(facts));
                    if seen.patroni.known().is_none() {
                        seen.patroni = Probe::Known(BTreeMap::new());
                    }
                }
                Kind::Member(group) => join(group, service.name.as_str(), seen),
                Kind::Haproxy => {
                    let facts = ProxyFacts { holds_vip: false, backends: BTreeMap::new(), sessions: 0 };
                    seen.proxies.insert(service.name.clone(), Probe::Known(facts));
                }
                Kind::Pgbouncer | Kind::Keepalived | Kind::Guard => {}
            }
        }
        Action::Switchover { group, from } => {
            let Probe::Known(groups) = &mut seen.patroni else { panic!("no etcd") };
            let state = groups.get_mut(group).expect("the group exists");
            assert_eq!(state.leader, from.as_str());
            let other = topology.group(*group).and_then(|g| g.members.iter().find(|m| m.name != *from));
            state.leader = other.expect("a switchover needs a standby").name.to_string();
        }
        Action::RestartMember { member, group } => {
            let Probe::Known(groups) = &mut seen.patroni else { panic!("no etcd") };
            let state = groups.get_mut(group).expect("the group exists");
            state.members.get_mut(member.as_str()).expect("the member exists").pending_restart = false;
        }
        other => panic!("{other} belongs to init"),
    }
}

fn join(group: GroupId, member: &str, seen: &mut Observed) {
    let Probe::Known(groups) = &mut seen.patroni else { panic!("members start after etcd") };
    let state = groups.get_mut(&group).expect("settings are written before the first member starts");
    assert!(!state.config.is_null(), "Patroni would start with its own defaults");
    if state.leader.is_empty() {
        state.leader = member.to_owned();
        state.initialized = true;
    }
    let leads = state.leader == member;
    let facts = MemberState {
        role: if leads { "primary" } else { "replica" }.into(),
        state: if leads { "running" } else { "streaming" }.into(),
        timeline: 1,
        ..MemberState::default()
    };
    state.members.insert(member.to_owned(), facts);
}

fn carry_out(plan: &Plan, topology: &Topology, artifacts: &Artifacts, seen: &mut Observed, limit: usize) {
    for action in plan.actions().take(limit) {
        apply(action, topology, artifacts, seen);
    }
}

fn made(topology: &Topology, artifacts: &Artifacts) -> Observed {
    let mut seen = prepared(topology);
    let plan = plan::plan(topology, artifacts, &seen).expect("prepared hosts are enough");
    carry_out(&plan, topology, artifacts, &mut seen, usize::MAX);
    seen
}

#[test]
fn a_new_cluster_is_made_in_one_plan_and_leaders_are_at_home() {
    for name in ["three-hosts.toml", "ha.toml", "classic.toml", "read-scaling.toml", "geographic.toml"] {
        let (topology, artifacts) = example(name);
        let seen = made(&topology, &artifacts);
        let again = plan::plan(&topology, &artifacts, &seen).expect("still fine");
        assert!(again.is_empty(), "{name}: {again:#?}");
        for group in &topology.groups {
            let state = &seen.patroni.known().expect("known")[&group.id];
            assert_eq!(state.leader, group.members[0].name.as_str(), "{name}");
        }
    }
}

#[test]
fn a_changed_cluster_is_rolled_member_by_member_with_the_leader_last() {
    let (topology, artifacts) = example("three-hosts.toml");
    let seen = made(&topology, &artifacts);
    let mut changed = topology.clone();
    changed.images.node = "pgclusterctl/node:other".into();
    let artifacts = templates::render(&changed).expect("renders");
    let plan = plan::plan(&changed, &artifacts, &seen).expect("a new image is no reason to refuse");
    for wave in &plan.waves {
        let members = wave.actions.iter().filter(|a| matches!(a, Action::Deploy { change: Change::Update, .. })).count();
        assert!(members <= 1, "wave '{}' takes {members} members down", wave.title);
    }
    for group in &changed.groups {
        let leader = group.members[0].name.clone();
        let steps: Vec<_> = plan
            .actions()
            .filter_map(|action| match action {
                Action::Deploy { service, .. } if group.members.iter().any(|m| m.name == *service) => Some(service.clone()),
                Action::Switchover { group: id, .. } if *id == group.id => Some(leader.clone()),
                _ => None,
            })
            .collect();
        // The switchover stands in for the leader once, right before its own update.
        assert_eq!(steps[steps.len() - 2..], [leader.clone(), leader], "{}", group.id);
    }
    let mut after = seen;
    carry_out(&plan, &changed, &artifacts, &mut after, usize::MAX);
    assert!(plan::plan(&changed, &artifacts, &after).expect("fine").is_empty());
}

#[test]
fn readers_come_beside_members_that_stay_as_they_are_and_are_rolled_first() {
    let (topology, artifacts) = example("read-scaling.toml");
    let mut fewer = topology.clone();
    fewer.groups[0].readers.truncate(1);
    let mut seen = made(&fewer, &templates::render(&fewer).expect("renders"));
    let plan = plan::plan(&topology, &artifacts, &seen).expect("more readers are no reason to refuse");
    let deployed = |plan: &Plan| -> Vec<String> {
        let name = |action: &Action| match action {
            Action::Deploy { service, .. } => Some(service.to_string()),
            _ => None,
        };
        plan.actions().filter_map(name).collect()
    };
    assert_eq!(deployed(&plan), ["coordinator-reader-2", "coordinator-reader-3", "haproxy-2", "haproxy-1"]);
    carry_out(&plan, &topology, &artifacts, &mut seen, usize::MAX);
    assert!(plan::plan(&topology, &artifacts, &seen).expect("fine").is_empty());

    let refusals = plan::plan(&fewer, &templates::render(&fewer).expect("renders"), &seen).expect_err("readers are missing");
    let instead =
        "put it back into the topology, or take it out for good: `pgclusterctl scale in --member coordinator-reader-2`";
    assert_eq!((refusals.len(), refusals[0].instead.as_str()), (2, instead));

    let mut changed = topology.clone();
    changed.images.node = "pgclusterctl/node:other".into();
    let artifacts = templates::render(&changed).expect("renders");
    let plan = plan::plan(&changed, &artifacts, &seen).expect("a new image is no reason to refuse");
    let order = ["coordinator-reader-1", "coordinator-reader-2", "coordinator-reader-3", "coordinator-2", "coordinator-1"];
    assert_eq!(deployed(&plan), order);
    assert!(plan.waves.iter().all(|wave| wave.actions.len() <= 1 || wave.title == "configuration files"), "{plan:#?}");
}

#[test]
fn a_setting_of_one_group_restarts_nothing_else() {
    let (topology, artifacts) = example("three-hosts.toml");
    let mut seen = made(&topology, &artifacts);
    if let Probe::Known(groups) = &mut seen.patroni {
        let state = groups.get_mut(&GroupId(2)).expect("group 2");
        state.members.values_mut().for_each(|m| m.pending_restart = true);
    }
    let plan = plan::plan(&topology, &artifacts, &seen).expect("fine");
    let restarted: Vec<_> = plan.actions().map(ToString::to_string).collect();
    let expected =
        ["restart PostgreSQL of worker-2-2", "switch shard-2 over, away from worker-2-1", "restart PostgreSQL of worker-2-1"];
    assert_eq!(restarted, expected);
}

#[test]
fn less_shared_memory_restarts_the_leader_first_and_in_place() {
    let (topology, artifacts) = example("three-hosts.toml");
    let mut seen = made(&topology, &artifacts);
    if let Probe::Known(groups) = &mut seen.patroni {
        let state = groups.get_mut(&GroupId(2)).expect("group 2");
        state.members.values_mut().for_each(|m| (m.pending_restart, m.restart_shrinks) = (true, true));
    }
    let plan = plan::plan(&topology, &artifacts, &seen).expect("fine");
    let restarted: Vec<_> = plan.actions().map(ToString::to_string).collect();
    assert_eq!(restarted, ["restart PostgreSQL of worker-2-1", "restart PostgreSQL of worker-2-2"]);
}

#[test]
fn what_holds_data_is_never_removed_by_omission() {
    let (topology, artifacts) = example("three-hosts.toml");
    let seen = made(&topology, &artifacts);
    let mut smaller = topology.clone();
    smaller.groups.pop();
    let artifacts = templates::render(&smaller).expect("renders");
    let refusals = plan::plan(&smaller, &artifacts, &seen).expect_err("a shard group is missing");
    let what: BTreeSet<_> = refusals.iter().map(|r| r.what.as_str()).collect();
    assert!(what.contains("worker-3-1") && what.contains("worker-3-2"), "{refusals:#?}");
    assert!(refusals.iter().all(|r| r.instead.contains("scale in --shard 3")), "{refusals:#?}");
    // A member of a group that stays goes alone.
    let mut thinner = topology.clone();
    thinner.groups[3].members.pop();
    let artifacts = templates::render(&thinner).expect("renders");
    let refusals = plan::plan(&thinner, &artifacts, &seen).expect_err("a member is missing");
    assert!(
        refusals.iter().all(|r| r.what == "worker-3-2" && r.instead.contains("scale in --member worker-3-2")),
        "{refusals:#?}"
    );
}

#[test]
fn without_etcd_nothing_is_guessed() {
    let (topology, artifacts) = example("three-hosts.toml");
    let mut seen = made(&topology, &artifacts);
    seen.patroni = Probe::fail("etcd", "no quorum");
    let refusals = plan::plan(&topology, &artifacts, &seen).expect_err("who leads is unknown");
    assert!(refusals.iter().any(|r| r.what == "etcd"), "{refusals:#?}");
}

#[test]
fn unprepared_hosts_are_sent_to_init() {
    let (topology, artifacts) = example("three-hosts.toml");
    let mut seen = prepared(&topology);
    if let Probe::Known(swarm) = &mut seen.swarm {
        swarm.secrets.clear();
        swarm.networks.clear();
        swarm.nodes.values_mut().for_each(|n| n.labels.clear());
    }
    let refusals = plan::plan(&topology, &artifacts, &seen).expect_err("nothing is prepared");
    assert!(refusals.len() >= 3 + 3 + SECRETS.len() - 1, "all of it is reported at once: {refusals:#?}");
    assert!(refusals.iter().all(|r| r.instead.contains("init")));
}

proptest! {
    /// Killed after any number of actions and run again, a deployment converges.
    #[test]
    fn an_interrupted_deployment_is_completed(cuts in proptest::collection::vec(0usize..60, 0..4)) {
        let (topology, artifacts) = example("three-hosts.toml");
        let mut seen = prepared(&topology);
        for cut in cuts {
            let plan = plan::plan(&topology, &artifacts, &seen).expect("an interrupted state is no reason to refuse");
            carry_out(&plan, &topology, &artifacts, &mut seen, cut);
        }
        let rest = plan::plan(&topology, &artifacts, &seen).expect("fine");
        carry_out(&rest, &topology, &artifacts, &mut seen, usize::MAX);
        prop_assert!(plan::plan(&topology, &artifacts, &seen).expect("fine").is_empty());
    }
}
