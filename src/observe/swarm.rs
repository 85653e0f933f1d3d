//! Swarm's objects and tasks, from a manager that answers.

use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bollard::errors::Error;
use bollard::models::{Node, Service, Task};
use bollard::query_parameters::{
    ListConfigsOptionsBuilder, ListNetworksOptionsBuilder, ListNodesOptions, ListSecretsOptionsBuilder,
    ListServicesOptionsBuilder, ListTasksOptionsBuilder,
};

use super::lines::Lines;
use super::model::{ManagerFacts, NetworkFacts, NodeFacts, Probe, ServiceFacts, SwarmFacts};
use super::{Scope, not_asked, within};
use crate::error::one_line;
use crate::remote::container::STACK_LABEL;
use crate::remote::fleet::Link;
use crate::templates::artifacts::{LABEL_CLUSTER, LABEL_FRAGMENT, LABEL_HASH};
use crate::topology::Topology;

pub(super) async fn collect(lines: &Lines<'_>, scope: Scope) -> Probe<SwarmFacts> {
    if !scope.swarm {
        return not_asked("Swarm");
    }
    let look = || async {
        let look = async {
            let manager = lines.manager().await?;
            read(lines.topology, manager, scope).await.map_err(|e| one_line(&e))
        };
        within("Swarm", lines.patience.swarm, look).await
    };
    lines.patience.election.until_answered(look).await
}

async fn read(topology: &Topology, manager: &Link, scope: Scope) -> Result<SwarmFacts, Error> {
    let docker = &manager.docker;
    let ours = HashMap::from([("label", vec![format!("{LABEL_CLUSTER}={}", topology.name)])]);
    let stack = HashMap::from([("label", vec![format!("{STACK_LABEL}={}", topology.name)])]);
    let (swarm, nodes, services, tasks, networks, secrets, configs) = tokio::try_join!(
        docker.inspect_swarm(),
        docker.list_nodes(None::<ListNodesOptions>),
        docker.list_services(Some(ListServicesOptionsBuilder::default().filters(&stack).build())),
        docker.list_tasks(Some(ListTasksOptionsBuilder::default().filters(&stack).build())),
        docker.list_networks(Some(ListNetworksOptionsBuilder::default().filters(&ours).build())),
        docker.list_secrets(Some(ListSecretsOptionsBuilder::default().filters(&ours).build())),
        docker.list_configs(Some(ListConfigsOptionsBuilder::default().filters(&ours).build())),
    )?;
    let lock = format!("{}-lock", topology.name);
    let prefix = format!("{}_", topology.name);
    Ok(SwarmFacts {
        seen_from: manager.host.clone(),
        cluster_id: swarm.id.unwrap_or_default(),
        nodes: nodes.into_iter().filter_map(|n| Some((n.id.clone()?, node(n)))).collect(),
        services: services.into_iter().filter_map(|s| named(s, &prefix, &tasks)).collect(),
        networks: networks.into_iter().filter_map(network).collect(),
        secrets: secrets.into_iter().filter_map(|s| s.spec?.name).collect(),
        configs: configs
            .into_iter()
            .filter_map(|c| c.spec)
            .filter_map(|spec| {
                let text = if scope.configs { decoded(spec.data.as_deref()) } else { String::new() };
                Some((spec.name?, text))
            })
            // The operators' lock is no configuration.
            .filter(|(name, _)| *name != lock)
            .collect(),
    })
}

fn decoded(data: Option<&str>) -> String {
    let bytes = data.and_then(|data| STANDARD.decode(data).ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn node(node: Node) -> NodeFacts {
    let spec = node.spec.unwrap_or_default();
    let status = node.status.unwrap_or_default();
    let manager = node.manager_status;
    // A manager's own status has the address of the control plane; the node's may be 0.0.0.0 for the leader.
    let control = manager.as_ref().and_then(|m| m.addr.as_deref()).and_then(|a| a.rsplit_once(':')).map(|(a, _)| a.to_owned());
    NodeFacts {
        hostname: node.description.and_then(|d| d.hostname).unwrap_or_default(),
        state: status.state.map(|s| s.to_string()).unwrap_or_default(),
        availability: spec.availability.map(|a| a.to_string()).unwrap_or_default(),
        address: control.or(status.addr).unwrap_or_default(),
        manager: manager.map(|m| ManagerFacts {
            leader: m.leader.unwrap_or_default(),
            reachability: m.reachability.map(|r| r.to_string()).unwrap_or_default(),
        }),
        labels: spec.labels.unwrap_or_default().into_iter().collect(),
    }
}

fn network(network: bollard::models::Network) -> Option<(String, NetworkFacts)> {
    let config = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    let subnet = config.into_iter().find_map(|c| c.subnet).unwrap_or_default();
    let options = network.options.unwrap_or_default().into_iter().collect();
    Some((network.name?, NetworkFacts { subnet, options }))
}

fn named(service: Service, prefix: &str, tasks: &[Task]) -> Option<(String, ServiceFacts)> {
    let id = service.id.unwrap_or_default();
    let spec = service.spec?;
    let name = spec.name?.strip_prefix(prefix)?.to_owned();
    let labels: BTreeMap<_, _> = spec.labels.unwrap_or_default().into_iter().collect();
    let label = |key: &str| labels.get(key).cloned().unwrap_or_default();
    let container = spec.task_template.and_then(|t| t.container_spec).unwrap_or_default();
    let image = container.image.unwrap_or_default();
    let task = newest(&id, tasks);
    let status = task.and_then(|t| t.status.clone()).unwrap_or_default();
    let facts = ServiceFacts {
        hash: label(LABEL_HASH),
        fragment: label(LABEL_FRAGMENT),
        image: image.split('@').next().unwrap_or_default().to_owned(),
        replicas: spec
            .mode
            .and_then(|m| m.replicated)
            .and_then(|r| r.replicas)
            .and_then(|count| u64::try_from(count).ok())
            .unwrap_or_default(),
        configs: container.configs.unwrap_or_default().into_iter().filter_map(|c| c.config_name).collect(),
        task_hash: task.and_then(task_hash).unwrap_or_default(),
        task_state: status.state.map_or_else(|| "none".to_owned(), |s| s.to_string()),
        task_node: task.and_then(|t| t.node_id.clone()).unwrap_or_default(),
        task_error: status.err.unwrap_or_default(),
        container: status.container_status.and_then(|c| c.container_id).unwrap_or_default(),
        update_state: service.update_status.and_then(|u| u.state).map(|s| s.to_string()).unwrap_or_default(),
        id,
    };
    Some((name, facts))
}

fn task_hash(task: &Task) -> Option<String> {
    task.spec.as_ref()?.container_spec.as_ref()?.labels.as_ref()?.get(LABEL_HASH).cloned()
}

/// The task that should run, the newest first: after an update the old one is still listed as shut down.
fn newest<'a>(service: &str, tasks: &'a [Task]) -> Option<&'a Task> {
    let wanted = |task: &&Task| {
        let desired = task.desired_state.map(|s| s.to_string()).unwrap_or_default();
        task.service_id.as_deref() == Some(service) && matches!(desired.as_str(), "running" | "ready")
    };
    tasks.iter().filter(wanted).max_by_key(|t| t.created_at.clone())
}
