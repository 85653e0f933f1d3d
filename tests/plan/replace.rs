//! A lost host is replaced in a simulated cluster: cut off after any number of actions and run again, it comes to an end, and on the
//! way no etcd member ever starts with an empty disk under an id that had one.

use std::collections::BTreeMap;

use pgclusterctl::observe::model::{EtcdDisk, EtcdPeer, HostFacts, Observed, Probe, SwarmFacts, SwarmMembership};
use pgclusterctl::plan::replace::Replacement;
use pgclusterctl::plan::{self, Action, Refusal};
use pgclusterctl::templates::{self, Artifacts};
use pgclusterctl::topology::edit::host::{NewHost, replace};
use pgclusterctl::topology::{self, GroupId, HostName, Topology};
use proptest::prelude::*;

use super::{apply, example, made};

const TEXT: &str = include_str!("../../examples/three-hosts.toml");

/// A cluster some seconds after host1 was lost, and the topology in which another host has its place.
struct World {
    topology: Topology,
    artifacts: Artifacts,
    seen: Observed,
    old: HostName,
    new: HostName,
    old_answers: bool,
    disk: EtcdDisk,
    next_id: u64,
}

fn host(name: &str) -> HostName {
    HostName::new(name).expect("a name")
}

fn swarm(seen: &mut Observed) -> &mut SwarmFacts {
    let Probe::Known(swarm) = &mut seen.swarm else { panic!("the Swarm is known") };
    swarm
}

impl World {
    fn lost(new: &str) -> Self {
        let (before, artifacts) = example("three-hosts.toml");
        let mut seen = made(&before, &artifacts);
        let old = host("host1");
        let wanted =
            NewHost { name: host(new), address: Some("10.0.0.19".parse().expect("an address")), user: None, identity: None };
        let text = replace(TEXT, &old, &wanted).expect("replaces");
        let (topology, _) = topology::parse(&text, std::path::Path::new("topology.toml")).expect("valid");
        for host in &before.hosts {
            let node = swarm(&mut seen).nodes.get_mut(&format!("node-{}", host.name)).expect("a node");
            node.labels.extend(plan::init::node_labels(&before, host));
        }
        swarm(&mut seen).nodes.get_mut("node-host1").expect("a node").state = "down".into();
        let Some(Probe::Known(mut facts)) = seen.hosts.remove(&old) else { panic!("host1 was known") };
        facts.swarm = SwarmMembership { state: "inactive".into(), ..SwarmMembership::default() };
        facts.addresses = BTreeMap::from([("eth0".to_owned(), vec![topology.host(&wanted.name).address])]);
        seen.hosts.insert(wanted.name.clone(), Probe::Known(HostFacts { containers: BTreeMap::new(), ..facts }));
        let peers = (1..).zip(&before.etcd).map(|(id, m)| EtcdPeer { id, name: m.name.to_string(), url: m.peer_url() });
        seen.membership = Probe::Known(peers.collect());
        seen.etcd.retain(|name, _| name.as_str() != "etcd-1");
        let Probe::Known(groups) = &mut seen.patroni else { panic!("etcd is known") };
        for group in &before.groups {
            let state = groups.get_mut(&group.id).expect("a group");
            let gone = group.members.iter().filter(|m| m.host == old);
            gone.for_each(|m| drop(state.members.remove(m.name.as_str())));
            if !state.members.contains_key(&state.leader) {
                state.leader = state.members.keys().next().expect("another member").clone();
            }
        }
        let artifacts = templates::render(&topology).expect("renders");
        Self { topology, artifacts, seen, old, new: wanted.name, old_answers: false, disk: EtcdDisk::Empty, next_id: 9 }
    }

    fn replacement(&self) -> Replacement<'_> {
        Replacement {
            topology: &self.topology,
            observed: &self.seen,
            old: &self.old,
            old_address: None,
            old_answers: self.old_answers,
            new: &self.new,
            disk: Some(self.disk),
        }
    }

    fn refused(&self) -> Vec<Refusal> {
        self.replacement().plan().expect_err("a reason to refuse")
    }

    /// What is left to do, as the command does it: what `up` does follows from what was done before.
    fn run(&mut self, limit: usize) -> usize {
        let mut left = limit;
        let plan = self.replacement().plan().expect("no reason to refuse");
        let expected = self.replacement().expected();
        let promised = plan::plan(&self.topology, &self.artifacts, &expected).expect("nothing stands in the way of `up`");
        for action in plan.actions() {
            if left == 0 {
                return limit;
            }
            self.prepare(action);
            left -= 1;
        }
        let deploy = plan::plan(&self.topology, &self.artifacts, &self.seen).expect("prepared");
        assert_eq!(deploy, promised, "what is shown is what is done");
        for action in deploy.actions() {
            if left == 0 {
                return limit;
            }
            apply(action, &self.topology, &self.artifacts, &mut self.seen);
            if matches!(action, Action::Deploy { service, .. } if service.as_str() == "etcd-1") {
                self.start_etcd();
            }
            left -= 1;
        }
        limit - left
    }

    fn peers(&mut self) -> &mut Vec<EtcdPeer> {
        let Probe::Known(peers) = &mut self.seen.membership else { panic!("etcd is known") };
        peers
    }

    fn prepare(&mut self, action: &Action) {
        let id = format!("node-{}-new", self.new);
        match action {
            Action::SwarmForget { node, .. } => {
                let gone = swarm(&mut self.seen).nodes.remove(node).expect("only what exists is removed");
                assert_eq!(gone.state, "down");
            }
            Action::SwarmJoin { host } => {
                assert_eq!(*host, self.new);
                let Some(Probe::Known(facts)) = self.seen.hosts.get_mut(host) else { panic!("the new host is known") };
                facts.swarm.state = "active".into();
                facts.swarm.cluster_id = "swarm".into();
                facts.swarm.control_available = true;
                facts.swarm.node_id = id.clone();
                let address = self.topology.host(host).address.to_string();
                let swarm = swarm(&mut self.seen);
                assert_eq!(swarm.nodes.len(), 2, "a manager joins when the dead one is none any more");
                let mut node = swarm.nodes["node-host2"].clone();
                (node.hostname, node.address) = (host.to_string(), address);
                node.labels.clear();
                swarm.nodes.insert(id, node);
            }
            Action::LabelNode { host } => {
                let labels = plan::init::node_labels(&self.topology, self.topology.host(host));
                let node = swarm(&mut self.seen).nodes.get_mut(&id).expect("it has joined");
                node.labels.extend(labels);
                // What is pinned to this name starts at once.
                if self.new == self.old {
                    self.start_etcd();
                }
            }
            Action::EtcdRemove { id, .. } => self.peers().retain(|peer| peer.id != *id),
            Action::EtcdAdd { member } => {
                let url = format!("http://{member}:2380");
                assert!(self.peers().iter().all(|peer| peer.url != url), "{member} is there");
                let id = self.next_id;
                self.next_id += 1;
                self.peers().push(EtcdPeer { id, name: String::new(), url });
            }
            Action::EtcdSeed { .. } => {
                assert_ne!(self.disk, EtcdDisk::Log, "a log is never thrown away");
                self.disk = EtcdDisk::Seeded;
            }
            other => panic!("{other} is no preparation"),
        }
    }

    fn start_etcd(&mut self) {
        let seeded = self.disk == EtcdDisk::Seeded;
        let peer = self.peers().iter_mut().find(|peer| peer.url == "http://etcd-1:2380").expect("it was added");
        assert!(peer.name.is_empty() && peer.id >= 9, "it had a disk under this id: {peer:?}");
        assert!(seeded, "it would make a store of its own");
        peer.name = "etcd-1".into();
        self.disk = EtcdDisk::Log;
    }

    /// All of it is done: nothing is planned, and etcd has as many members as before.
    fn is_done(&mut self) -> bool {
        assert_eq!(self.peers().len(), 3);
        let nothing = self.replacement().plan().is_ok_and(|plan| plan.is_empty());
        nothing && plan::plan(&self.topology, &self.artifacts, &self.seen).is_ok_and(|plan| plan.is_empty())
    }
}

#[test]
fn the_steps_are_in_the_order_that_is_safe() {
    let world = World::lost("host4");
    let plan = world.replacement().plan().expect("no reason to refuse");
    let told: Vec<_> = plan.actions().map(ToString::to_string).collect();
    let expected = [
        "remove the node of host1 from the Swarm",
        "join host4 as a manager",
        "remove etcd-1 from etcd (1: its disk is lost)",
        "add etcd-1 to etcd under a new id",
        "prepare an empty disk for etcd-1 on host4",
        "label node host4",
    ];
    assert_eq!(told, expected);
    let deploy = plan::plan(&world.topology, &world.artifacts, &world.replacement().expected()).expect("fine");
    let created =
        deploy.actions().filter(|action| matches!(action, Action::Deploy { change: plan::Change::Create, .. })).count();
    assert_eq!(created, 0, "every service exists, and has another host now");
    let moved = deploy.actions().filter(|action| matches!(action, Action::Deploy { host, .. } if *host == world.new)).count();
    assert_eq!(moved, world.topology.services().values().filter(|host| **host == world.new).count());
}

#[test]
fn a_host_that_lives_is_not_replaced() {
    let mut world = World::lost("host4");
    world.old_answers = true;
    assert!(world.refused()[0].why.contains("by SSH"));
    world.old_answers = false;
    swarm(&mut world.seen).nodes.get_mut("node-host1").expect("a node").state = "ready".into();
    assert!(world.refused()[0].why.contains("its Swarm node is ready"));
    assert_eq!(world.refused().len(), 1, "nothing that follows from it is told");
}

/// Somebody took its label away, as one may who wants to be rid of it. Without its address it is a stranger, and nothing is done.
#[test]
fn the_node_of_a_lost_host_is_known_by_its_address_too() {
    let mut world = World::lost("host4");
    swarm(&mut world.seen).nodes.get_mut("node-host1").expect("a node").labels.clear();
    let forgets = |old_address: Option<&str>| {
        let old_address = old_address.map(|address| address.parse().expect("an address"));
        let plan = Replacement { old_address, ..world.replacement() }.plan();
        plan.is_ok_and(|plan| plan.actions().any(|action| matches!(action, Action::SwarmForget { .. })))
    };
    assert!(forgets(Some("10.0.0.10")) && !forgets(Some("10.0.0.77")) && !forgets(None));
}

#[test]
fn without_quorum_or_data_nothing_is_done() {
    let mut world = World::lost("host4");
    world.seen.membership = Probe::fail("etcd", "no quorum");
    assert_eq!(world.refused()[0].what, "etcd");
    let mut world = World::lost("host4");
    world.seen.swarm = Probe::fail("Swarm", "no manager");
    assert_eq!(world.refused()[0].what, "the Swarm");
    let mut world = World::lost("host4");
    let Probe::Known(groups) = &mut world.seen.patroni else { panic!("etcd is known") };
    groups.get_mut(&GroupId(1)).expect("group 1").leader.clear();
    groups.get_mut(&GroupId(3)).expect("group 3").leader = "worker-3-2".into();
    let said: Vec<_> = world.refused().iter().map(|r| format!("{} {}", r.what, r.why)).collect();
    let expected = [
        "shard-1 has no leader: nobody could give the new member its data",
        "shard-3 is still led by worker-3-2, which is lost",
    ];
    assert_eq!(said, expected);
    let mut world = World::lost("host4");
    world.topology.groups[1].members.truncate(1);
    let Probe::Known(groups) = &mut world.seen.patroni else { panic!("etcd is known") };
    groups.get_mut(&GroupId(1)).expect("group 1").leader.clear();
    assert!(world.refused()[0].why.contains("had its only member worker-1-1 on host1"), "{:#?}", world.refused());
}

#[test]
fn an_etcd_member_moves_with_etcds_consent_alone() {
    let mut world = World::lost("host4");
    // Somebody removed the node and labelled the new host, and did nothing about etcd.
    for action in world.replacement().plan().expect("no reason to refuse").actions() {
        if matches!(action, Action::SwarmForget { .. } | Action::SwarmJoin { .. } | Action::LabelNode { .. }) {
            world.prepare(action);
        }
    }
    let refusals = plan::plan(&world.topology, &world.artifacts, &world.seen).expect_err("its data was on host1");
    assert!(refusals.iter().any(|r| r.what == "etcd-1" && r.instead.contains("host replace host1 host4")), "{refusals:#?}");
    world.run(usize::MAX);
    assert!(world.is_done());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Killed after any number of actions and run again, a replacement converges, under a new name or under the old one.
    #[test]
    fn an_interrupted_replacement_is_completed(same in any::<bool>(), cuts in proptest::collection::vec(0usize..24, 0..4)) {
        let mut world = World::lost(if same { "host1" } else { "host4" });
        for cut in cuts {
            world.run(cut);
        }
        world.run(usize::MAX);
        prop_assert!(world.is_done());
        prop_assert_eq!(world.run(usize::MAX), 0);
    }
}
