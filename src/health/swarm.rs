//! Checks of the Swarm: managers, nodes, and whether each service runs where it belongs.

use std::collections::BTreeMap;

use super::look::{SERVICES, SWARM, list};
use super::{Finding, Look, Verdict};
use crate::observe::model::{NodeFacts, Probe, SwarmFacts};
use crate::templates::artifacts::LABEL_HOST;
use crate::topology::HostName;
use crate::topology::model::Host;

/// A majority of the managers is reachable; all of them are.
pub fn quorum(look: &Look<'_>) -> Vec<Finding> {
    let facts = match &look.observed.swarm {
        Probe::Known(facts) => facts,
        Probe::Failed(error) => {
            if look.undeployed().is_some() {
                return vec![Finding::fail(
                    SWARM,
                    "the hosts are in no Swarm",
                    "run `pgclusterctl init`, then `pgclusterctl up`",
                )];
            }
            let remedy = "wait half a minute for its managers to elect a leader; else bring a majority of them back";
            return vec![Finding::fail(SWARM, format!("unknown: {}", error.reason), remedy).following(lost_host(look))];
        }
    };
    let managers: Vec<&NodeFacts> = facts.nodes.values().filter(|n| n.manager.is_some()).collect();
    let reachable = |n: &&&NodeFacts| n.manager.as_ref().is_some_and(|m| m.reachability == "reachable");
    let (up, all) = (managers.iter().filter(reachable).count(), managers.len());
    let led = managers.iter().any(|n| n.manager.as_ref().is_some_and(|m| m.leader));
    let evidence = format!("{up} of {all} managers reachable{}", if led { "" } else { ", none leads" });
    let finding = if !led || up <= all / 2 {
        Finding::fail(SWARM, evidence, "bring a majority of the managers back: without it no service is moved or started")
    } else if up < all {
        Finding::warn(SWARM, evidence, "bring the missing managers back").following(lost_host(look))
    } else {
        Finding::pass(SWARM, evidence)
    };
    vec![finding]
}

/// Every host is an active, ready node that carries its label.
pub fn nodes(look: &Look<'_>) -> Vec<Finding> {
    let Some(facts) = look.observed.swarm.known() else {
        return vec![unknown(look)];
    };
    let by_label = by_label(facts);
    let judge = |host: &Host| match by_label.get(host.name.as_str()) {
        None => Finding::fail(
            &host.name,
            format!("no Swarm node carries the label {LABEL_HOST}={}", host.name),
            "run `pgclusterctl init`",
        ),
        Some(node) if node.state != "ready" => {
            let lost = look.lost_with([&host.name]);
            let remedy = match &lost {
                Some(_) => format!("start {} and its Docker daemon", host.name),
                // The host answers; only its agent has not found back to the managers.
                None => format!("wait a minute; then restart the Docker daemon of {}", host.name),
            };
            Finding::fail(&host.name, format!("Swarm says {}", node.state), remedy).following(lost)
        }
        Some(node) if node.availability != "active" => Finding::warn(
            &host.name,
            format!("ready, but set to {}: nothing is started here", node.availability),
            format!("docker node update --availability active {}", node.hostname),
        ),
        Some(_) => Finding::pass(&host.name, "ready, active"),
    };
    look.topology.hosts.iter().map(judge).collect()
}

/// Every service of the topology has a running task on the host it is pinned to.
pub fn services(look: &Look<'_>) -> Vec<Finding> {
    let Some(facts) = look.observed.swarm.known() else {
        return vec![unknown(look)];
    };
    let labels: BTreeMap<&str, &str> =
        facts.nodes.iter().filter_map(|(id, node)| Some((id.as_str(), node.labels.get(LABEL_HOST)?.as_str()))).collect();
    if look.undeployed().is_some() {
        return vec![Finding::fail(SERVICES, "none is deployed", "run `pgclusterctl up`")];
    }
    let judge = |(name, host): (String, HostName)| {
        let lost = look.lost_with([&host]);
        let Some(service) = facts.services.get(&name) else {
            return Finding::fail(&name, format!("not deployed (belongs on {host})"), "run `pgclusterctl up`");
        };
        let place = labels.get(service.task_node.as_str()).copied().unwrap_or_default();
        if lost.is_some() {
            return Finding::fail(&name, format!("lost with {host}"), format!("bring {host} back")).following(lost);
        }
        if service.task_state != "running" {
            let error = if service.task_error.is_empty() { String::new() } else { format!(": {}", service.task_error) };
            let evidence = format!("task on {host} is {}{error}", service.task_state);
            return Finding::fail(&name, evidence, format!("pgclusterctl logs {name}"));
        }
        if place != host.as_str() {
            return Finding::fail(&name, format!("runs on {}, belongs on {host}", or_unknown(place)), "run `pgclusterctl up`");
        }
        if service.update_state == "paused" || service.update_state == "rollback_paused" {
            let remedy = format!("pgclusterctl logs {name}, then `pgclusterctl up`");
            return Finding::warn(&name, format!("runs, but its update is {}", service.update_state), remedy);
        }
        Finding::pass(&name, format!("running on {host}"))
    };
    look.topology.services().into_iter().map(judge).collect()
}

/// Nodes by the host name that their label carries.
pub fn by_label(facts: &SwarmFacts) -> BTreeMap<&str, &NodeFacts> {
    facts.nodes.values().filter_map(|node| Some((node.labels.get(LABEL_HOST)?.as_str(), node))).collect()
}

fn unknown(look: &Look<'_>) -> Finding {
    let reason = look.observed.swarm.failed().map(|e| e.reason.clone()).unwrap_or_default();
    Finding::new(Verdict::Warn, SWARM, format!("unknown: {reason}"), "see swarm-quorum")
        .following(Some(format!("swarm-quorum {SWARM}")))
}

fn lost_host(look: &Look<'_>) -> Option<String> {
    let lost = look.lost_hosts();
    look.lost_with(lost.iter().map(|h| &h.name))
}

fn or_unknown(place: &str) -> String {
    if place.is_empty() { "a node without a label".into() } else { list([place]) }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, verdict_of};
    use super::*;
    use crate::observe::model::ManagerFacts;

    fn with(change: impl Fn(&mut SwarmFacts), check: fn(&Look<'_>) -> Vec<Finding>) -> Vec<Finding> {
        let (topology, mut observed) = fixture::healthy();
        change(fixture::known(&mut observed.swarm));
        check(&Look { topology: &topology, observed: &observed })
    }

    fn manager<'a>(facts: &'a mut SwarmFacts, node: &str) -> &'a mut ManagerFacts {
        facts.nodes.get_mut(node).and_then(|n| n.manager.as_mut()).expect("a manager of the fixture")
    }

    #[test]
    fn quorum_warns_at_one_and_fails_at_two_lost_managers() {
        let lose = |n: usize| {
            move |facts: &mut SwarmFacts| {
                for node in ["node-host3", "node-host2"].iter().take(n) {
                    manager(facts, node).reachability = "unreachable".into();
                }
            }
        };
        assert_eq!(with(lose(1), quorum)[0].verdict, Verdict::Warn);
        assert_eq!(with(lose(2), quorum)[0].verdict, Verdict::Fail);
        let leaderless = with(|facts| manager(facts, "node-host1").leader = false, quorum);
        assert_eq!(leaderless[0].verdict, Verdict::Fail);
    }

    #[test]
    fn a_node_that_is_down_drained_or_unlabelled_does_not_pass() {
        let down = with(|f| f.nodes.get_mut("node-host2").expect("node").state = "down".into(), nodes);
        assert_eq!(verdict_of(&down, "host2"), Verdict::Fail);
        let drained = with(|f| f.nodes.get_mut("node-host2").expect("node").availability = "drain".into(), nodes);
        assert_eq!(verdict_of(&drained, "host2"), Verdict::Warn);
        let bare = with(|f| f.nodes.get_mut("node-host2").expect("node").labels.clear(), nodes);
        assert_eq!(verdict_of(&bare, "host2"), Verdict::Fail);
    }

    #[test]
    fn a_cluster_that_was_never_deployed_says_so_once() {
        let findings = with(|f| f.services.clear(), services);
        assert_eq!((findings.len(), findings[0].verdict), (1, Verdict::Fail));
    }

    #[test]
    fn a_service_must_exist_run_and_be_at_home() {
        let gone = with(|f| drop(f.services.remove("etcd-1")), services);
        assert_eq!(verdict_of(&gone, "etcd-1"), Verdict::Fail);
        let crashed = with(|f| f.services.get_mut("haproxy-1").expect("service").task_state = "failed".into(), services);
        assert_eq!(verdict_of(&crashed, "haproxy-1"), Verdict::Fail);
        let strayed = with(|f| f.services.get_mut("worker-1-1").expect("service").task_node = "node-host3".into(), services);
        assert_eq!(verdict_of(&strayed, "worker-1-1"), Verdict::Fail);
        let paused = with(|f| f.services.get_mut("worker-1-1").expect("service").update_state = "paused".into(), services);
        assert_eq!(verdict_of(&paused, "worker-1-1"), Verdict::Warn);
    }
}
