//! What `init` has to do: the Swarm, labels, networks and secrets. Pure.

use std::collections::BTreeSet;

use super::action::{Action, Plan};
use super::planner::Refusal;
use crate::observe::model::{HostFacts, NodeFacts, Observed, Probe, SwarmFacts};
use crate::templates::artifacts::{LABEL_CLUSTER, LABEL_HOST, SECRETS};
use crate::topology::Topology;
use crate::topology::ids::HostName;
use crate::topology::model::Host;

/// What is missing on the hosts; all refusals at once when a host cannot be used.
pub fn plan(topology: &Topology, observed: &Observed) -> Result<Plan, Vec<Refusal>> {
    let refusals = refusals(topology, observed);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let swarm = observed.swarm.known();
    let mut plan = Plan::default();
    let active = |host: &&HostName| facts(observed, host).is_some_and(|f| f.swarm.state == "active");
    let names: Vec<_> = topology.hosts.iter().map(|h| &h.name).collect();
    if !names.iter().any(active) {
        plan.push("Swarm", vec![Action::SwarmInit { host: names[0].clone() }], Vec::new());
    }
    let first = (!names.iter().any(active)).then(|| names[0]);
    // One after another: each join changes the managers' Raft membership, and two at once can lose its quorum for a moment.
    for host in names.iter().filter(|h| Some(**h) != first) {
        let Some(facts) = facts(observed, host) else { continue };
        if facts.swarm.state != "active" {
            plan.push(format!("manager {host}"), vec![Action::SwarmJoin { host: (*host).clone() }], Vec::new());
        } else if !facts.swarm.control_available {
            plan.push(format!("manager {host}"), vec![Action::SwarmPromote { host: (*host).clone() }], Vec::new());
        }
    }
    plan.push("labels", labels(topology, observed, swarm), Vec::new());
    plan.push("networks", networks(topology, swarm), Vec::new());
    plan.push("secrets", secrets(topology, swarm), Vec::new());
    Ok(plan)
}

/// The labels that a host's node must bear.
pub fn node_labels(topology: &Topology, host: &Host) -> Vec<(String, String)> {
    let mut labels =
        vec![(LABEL_CLUSTER.to_owned(), topology.name.to_string()), (LABEL_HOST.to_owned(), host.name.to_string())];
    labels.extend(host.labels.iter().map(|(k, v)| (k.clone(), v.clone())));
    labels
}

fn facts<'a>(observed: &'a Observed, host: &HostName) -> Option<&'a HostFacts> {
    observed.hosts.get(host).and_then(Probe::known)
}

/// The Swarm node that a host is, while it is part of one.
fn node<'a>(observed: &Observed, swarm: Option<&'a SwarmFacts>, host: &HostName) -> Option<&'a NodeFacts> {
    let id = &facts(observed, host)?.swarm.node_id;
    swarm?.nodes.get(id)
}

fn labels(topology: &Topology, observed: &Observed, swarm: Option<&SwarmFacts>) -> Vec<Action> {
    let missing = |host: &&Host| {
        let node = node(observed, swarm, &host.name);
        !node.is_some_and(|node| node_labels(topology, host).iter().all(|(k, v)| node.labels.get(k) == Some(v)))
    };
    topology.hosts.iter().filter(missing).map(|h| Action::LabelNode { host: h.name.clone() }).collect()
}

fn networks(topology: &Topology, swarm: Option<&SwarmFacts>) -> Vec<Action> {
    let exists = |name: &String| swarm.is_some_and(|s| s.networks.contains_key(name));
    let overlays = topology.network.overlays(&topology.name).into_iter();
    overlays
        .filter(|(name, _)| !exists(name))
        .map(|(name, subnet)| Action::CreateNetwork { name, subnet: subnet.to_string() })
        .collect()
}

fn secrets(topology: &Topology, swarm: Option<&SwarmFacts>) -> Vec<Action> {
    let names = SECRETS.iter().map(|secret| format!("{}-{secret}", topology.name));
    names.filter(|name| !swarm.is_some_and(|s| s.secrets.contains(name))).map(|name| Action::CreateSecret { name }).collect()
}

fn refusals(topology: &Topology, observed: &Observed) -> Vec<Refusal> {
    let mut found = Vec::new();
    let mut swarms = BTreeSet::new();
    for host in &topology.hosts {
        let Some(facts) = facts(observed, &host.name) else { continue };
        let swarm = &facts.swarm;
        let refuse = |why: &str, instead: &str| Refusal {
            what: host.name.to_string(),
            why: why.to_owned(),
            instead: instead.to_owned(),
        };
        match swarm.state.as_str() {
            "inactive" | "" => {}
            "active" if !swarm.cluster_id.is_empty() => {
                swarms.insert((swarm.cluster_id.clone(), host.name.clone()));
            }
            // A worker does not know its Swarm's id; whether it is ours shows in the managers' list of nodes.
            "active" => {
                if !observed.swarm.known().is_some_and(|s| s.nodes.contains_key(&swarm.node_id)) {
                    found.push(refuse(
                        "is a worker of another Swarm",
                        "run `docker swarm leave` there if nothing else needs it",
                    ));
                }
            }
            "unknown" => {
                found.push(refuse(&format!("does not tell about its Swarm: {}", swarm.error), "try again in half a minute"))
            }
            "locked" => found.push(refuse("its Swarm is locked", "run `docker swarm unlock` there")),
            state => {
                let why = format!("its Swarm is in state {state}: {}", swarm.error);
                found.push(refuse(&why, "run `docker swarm leave --force` there if it is a leftover, then `init` again"));
            }
        }
    }
    let ids: BTreeSet<_> = swarms.iter().map(|(id, _)| id).collect();
    if ids.len() > 1 {
        let members: Vec<_> = swarms.iter().map(|(id, host)| format!("{host} in {}", id.get(..8).unwrap_or(id))).collect();
        found.push(Refusal {
            what: "the hosts".into(),
            why: format!("belong to different Swarms: {}", members.join(", ")),
            instead: "decide which Swarm is right, and run `docker swarm leave --force` on the hosts of the other".into(),
        });
    }
    found.extend(foreign_nodes(topology, observed));
    found
}

/// A Swarm with nodes that the topology does not know belongs to somebody else.
fn foreign_nodes(topology: &Topology, observed: &Observed) -> Option<Refusal> {
    let swarm = observed.swarm.known()?;
    let ours: BTreeSet<_> = topology.hosts.iter().filter_map(|h| Some(&facts(observed, &h.name)?.swarm.node_id)).collect();
    let addresses: BTreeSet<_> = topology.hosts.iter().map(|h| h.address.to_string()).collect();
    let foreign: Vec<_> = swarm
        .nodes
        .iter()
        // A dead node at one of our addresses is an earlier life of the same host.
        .filter(|(id, node)| !(ours.contains(id) || addresses.contains(&node.address) && node.state != "ready"))
        .map(|(_, node)| format!("{} ({})", node.hostname, node.address))
        .collect();
    (!foreign.is_empty()).then(|| Refusal {
        what: format!("{}", swarm.seen_from),
        why: format!("belongs to a Swarm with nodes that the topology does not name: {}", foreign.join(", ")),
        instead: "add them as [[host]] if they are yours, or run `docker swarm leave --force` on the hosts of this topology"
            .into(),
    })
}
