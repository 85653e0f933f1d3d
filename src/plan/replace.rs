//! A host is lost for good, another takes its place: what has to happen before `up` can do the rest. Pure.
//!
//! The topology names the new host already. Nothing here remembers an earlier run: what is left to do follows from what is seen,
//! so an interrupted replacement is simply run again. The order of waves is the safety argument: the dead manager leaves Raft
//! before the new one joins, so the managers are never more than a majority can be had of; an etcd member is removed before it
//! is added, and its disk is prepared before anything can start on it, which the node's label decides.

use std::net::Ipv4Addr;

use super::action::{Action, Plan};
use super::init;
use super::planner::Refusal;
use crate::observe::model::{EtcdDisk, EtcdPeer, GroupState, HostFacts, NodeFacts, Observed, Probe, SwarmFacts};
use crate::templates::artifacts::LABEL_HOST;
use crate::topology::Topology;
use crate::topology::ids::HostName;
use crate::topology::model::{EtcdMember, Group};

/// A replacement as it stands.
#[derive(Debug, Clone, Copy)]
pub struct Replacement<'a> {
    /// The cluster with the new host in it.
    pub topology: &'a Topology,
    /// The cluster as it is seen.
    pub observed: &'a Observed,
    /// The host that is lost.
    pub old: &'a HostName,
    /// Its address, while the file still had it.
    pub old_address: Option<Ipv4Addr>,
    /// Whether something still answers for it there.
    pub old_answers: bool,
    /// The host that takes over; the same name when the machine is new and keeps the name.
    pub new: &'a HostName,
    /// What the new host's volume of its etcd member holds; nobody asks where there is none.
    pub disk: Option<EtcdDisk>,
}

impl Replacement<'_> {
    /// What is left to do before `up`; all refusals at once when it must not be done.
    pub fn plan(&self) -> Result<Plan, Vec<Refusal>> {
        let Some(swarm) = self.observed.swarm.known() else {
            let why = self.observed.swarm.failed().map_or_else(String::new, ToString::to_string);
            let instead =
                "try again in half a minute; if its managers have no majority for good: docs/runbooks/docker-swarm.md";
            return Err(vec![refusal("the Swarm", why, instead)]);
        };
        if let Some(alive) = self.alive(swarm) {
            // Whatever else is in the way follows from that.
            return Err(vec![alive]);
        }
        let mut refusals: Vec<_> = self.etcd_lost(swarm).into_iter().collect();
        refusals.extend(self.topology.groups.iter().filter_map(|group| self.group_lost(group)));
        let without = self.without_dead(swarm);
        let prepared = init::plan(self.topology, &without);
        let (prepared, refused) = prepared.map_or_else(|refused| (Plan::default(), refused), |plan| (plan, Vec::new()));
        refusals.extend(refused);
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let mut plan = Plan::default();
        for (node, _) in self.dead(swarm) {
            let action = Action::SwarmForget { host: self.old.clone(), node: node.clone() };
            plan.push(format!("Swarm without {}", self.old), vec![action], Vec::new());
        }
        let labels = |action: &Action| matches!(action, Action::LabelNode { .. });
        let (last, first): (Vec<_>, Vec<_>) = prepared.waves.into_iter().partition(|wave| wave.actions.iter().any(labels));
        plan.waves.extend(first);
        self.etcd(swarm, &mut plan);
        plan.waves.extend(last);
        Ok(plan)
    }

    /// The cluster as `up` will find it when the plan is carried out: from it follows what `up` will do.
    pub fn expected(&self) -> Observed {
        let mut after = self.observed.clone();
        let Probe::Known(swarm) = &mut after.swarm else { return after };
        let dead: Vec<String> = self.dead(swarm).map(|(id, _)| id.clone()).collect();
        swarm.nodes.retain(|id, _| !dead.contains(id));
        let host = self.topology.host(self.new);
        let id = self.node_id().filter(|id| !id.is_empty()).unwrap_or("the new node").to_owned();
        let node = swarm.nodes.entry(id).or_insert_with(|| NodeFacts {
            hostname: self.new.to_string(),
            state: "ready".into(),
            availability: "active".into(),
            manager: None,
            address: host.address.to_string(),
            labels: std::collections::BTreeMap::new(),
        });
        node.labels.extend(init::node_labels(self.topology, host));
        if let (Some(member), Probe::Known(peers)) = (self.member(), &mut after.membership)
            && self.disk != Some(EtcdDisk::Log)
        {
            peers.retain(|peer| peer.url != member.peer_url());
            peers.push(EtcdPeer { id: 0, name: String::new(), url: member.peer_url() });
        }
        after
    }

    /// The etcd member that belongs on the new host.
    pub fn member(&self) -> Option<&EtcdMember> {
        self.topology.etcd.iter().find(|m| m.host == *self.new)
    }

    fn etcd(&self, swarm: &SwarmFacts, plan: &mut Plan) {
        let (Some(member), true) = (self.member(), has_etcd(swarm)) else { return };
        let Some(peers) = self.observed.membership.known() else { return };
        let listed = peers.iter().find(|peer| peer.url == member.peer_url());
        // A log on this host is that of a member which lives here: it was replaced before.
        if self.disk == Some(EtcdDisk::Log) {
            return;
        }
        let name = &member.name;
        if let Some(peer) = listed.filter(|peer| !peer.name.is_empty()) {
            let remove = Action::EtcdRemove { member: name.clone(), id: peer.id };
            plan.push(format!("etcd without {name}"), vec![remove], Vec::new());
        }
        if listed.is_none_or(|peer| !peer.name.is_empty()) {
            plan.push(format!("etcd with a new {name}"), vec![Action::EtcdAdd { member: name.clone() }], Vec::new());
        }
        let seed = Action::EtcdSeed { member: name.clone(), host: self.new.clone() };
        // Written again even if it is there: the word must be of this membership.
        plan.push(format!("disk of {name}"), vec![seed], Vec::new());
    }

    /// Nodes of the host that is lost.
    fn dead<'s>(&'s self, swarm: &'s SwarmFacts) -> impl Iterator<Item = (&'s String, &'s NodeFacts)> {
        let own = self.node_id().unwrap_or_default();
        swarm.nodes.iter().filter(move |(id, node)| self.was_old(node) && id.as_str() != own && node.state != "ready")
    }

    fn was_old(&self, node: &NodeFacts) -> bool {
        let at_its_address = self.old_address.is_some_and(|address| node.address == address.to_string());
        match node.labels.get(LABEL_HOST) {
            Some(host) => host == self.old.as_str(),
            None => at_its_address,
        }
    }

    fn without_dead(&self, swarm: &SwarmFacts) -> Observed {
        let dead: Vec<&String> = self.dead(swarm).map(|(id, _)| id).collect();
        let mut observed = self.observed.clone();
        if let Probe::Known(swarm) = &mut observed.swarm {
            swarm.nodes.retain(|id, _| !dead.contains(&id));
        }
        observed
    }

    fn facts(&self) -> Option<&HostFacts> {
        self.observed.hosts.get(self.new).and_then(Probe::known)
    }

    /// Id of the new host's own node, empty while it is in no Swarm.
    fn node_id(&self) -> Option<&str> {
        self.facts().map(|facts| facts.swarm.node_id.as_str())
    }

    /// A host that lives is not replaced: what it has would be there twice.
    fn alive(&self, swarm: &SwarmFacts) -> Option<Refusal> {
        let own = self.node_id().unwrap_or_default();
        let ready = swarm.nodes.iter().any(|(id, node)| self.was_old(node) && id != own && node.state == "ready");
        let why = match (ready, self.old_answers) {
            (true, _) => "is alive: its Swarm node is ready",
            (false, true) => "is alive: something answers at its address by SSH",
            (false, false) => return None,
        };
        let instead = format!("if {} is to go, power it off for good, wait for half a minute, and run this again", self.old);
        Some(refusal(self.old.as_str(), why, &instead))
    }

    /// Members of etcd can be exchanged by its quorum alone.
    fn etcd_lost(&self, swarm: &SwarmFacts) -> Option<Refusal> {
        let error = self.observed.membership.failed().filter(|_| has_etcd(swarm))?;
        if self.member().is_some() && self.topology.etcd.len() == 1 {
            let why = format!("its only member was on {}, and with it who leads and how Patroni is set", self.old);
            return Some(refusal("etcd", why, "bring the old host's disk back; docs/runbooks/etcd.md, 4"));
        }
        let instead = "bring a majority of etcd's members back first: docs/runbooks/etcd.md";
        Some(refusal("etcd", format!("has no quorum without {}: {error}", self.old), instead))
    }

    /// A group whose data is nowhere else, or that nobody leads.
    fn group_lost(&self, group: &Group) -> Option<Refusal> {
        let member = group.members.iter().find(|m| m.host == *self.new)?;
        let state = self.observed.patroni.known()?.get(&group.id).filter(|state| state.initialized)?;
        let here = self.facts().is_some_and(|facts| facts.containers.contains_key(member.name.as_str()));
        let led_elsewhere = !state.leader.is_empty() && (state.leader != member.name.as_str() || here);
        if led_elsewhere {
            return None;
        }
        let id = group.id;
        if group.members.len() == 1 {
            let why = format!("had its only member {} on {}: its data is lost with that host", member.name, self.old);
            return Some(refusal(&id.to_string(), why, "bring the old host's disk back, or restore the group from a backup"));
        }
        Some(refusal(
            &id.to_string(),
            leaderless(state, member.name.as_str()),
            &format!(
                "wait until a standby leads (some 10 s after the loss, `ttl` without guards); if none can, `pgclusterctl failover {}` says why",
                id.flag()
            ),
        ))
    }
}

fn leaderless(state: &GroupState, lost: &str) -> String {
    if state.leader.is_empty() {
        "has no leader: nobody could give the new member its data".to_owned()
    } else {
        format!("is still led by {lost}, which is lost")
    }
}

/// Whether etcd was ever deployed: before that there is nothing to exchange.
fn has_etcd(swarm: &SwarmFacts) -> bool {
    swarm.services.keys().any(|name| name.starts_with("etcd-"))
}

fn refusal(what: &str, why: impl Into<String>, instead: &str) -> Refusal {
    Refusal { what: what.to_owned(), why: why.into(), instead: instead.to_owned() }
}
