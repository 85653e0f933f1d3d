//! The Swarm itself: its first manager, further managers, node labels.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bollard::models::{NodeSpec, NodeSpecAvailabilityEnum, NodeSpecRoleEnum, SwarmInitRequest, SwarmJoinRequest, SwarmSpec};
use bollard::query_parameters::{DeleteNodeOptionsBuilder, LeaveSwarmOptionsBuilder, UpdateNodeOptionsBuilder};

use super::{StepError, World};
use crate::plan::init::node_labels;
use crate::remote::fleet::Link;
use crate::templates::artifacts::LABEL_CLUSTER;
use crate::topology::HostName;

/// Port of Swarm's control traffic (Docker manual, "Open protocols and ports between the hosts").
const SWARM_PORT: u16 = 2377;
/// How long the managers may take to agree that a demoted node is none of them any more.
const DEMOTED: Duration = Duration::from_secs(30);
/// Pause between two tries to remove it.
const LOOK: Duration = Duration::from_millis(500);

/// Creates a Swarm whose only manager is this host.
pub async fn init(world: World<'_>, host: &HostName) -> Result<(), StepError> {
    let link = world.fleet.link(host)?;
    let address = world.topology.host(host).address.to_string();
    let labels = HashMap::from([(LABEL_CLUSTER.to_owned(), world.topology.name.to_string())]);
    let request = SwarmInitRequest {
        listen_addr: Some(format!("0.0.0.0:{SWARM_PORT}")),
        advertise_addr: Some(address.clone()),
        data_path_addr: Some(address),
        // A Swarm is named `default` by Docker itself; other names are refused.
        spec: Some(SwarmSpec { name: Some("default".into()), labels: Some(labels), ..SwarmSpec::default() }),
        ..SwarmInitRequest::default()
    };
    link.docker.init_swarm(request).await.map_err(|e| refused(link, "create a Swarm", e))?;
    Ok(())
}

/// Joins this host as a manager to the Swarm that another host of the topology is in.
pub async fn join(world: World<'_>, host: &HostName) -> Result<(), StepError> {
    let link = world.fleet.link(host)?;
    let manager = world.fleet.manager().await?;
    let swarm = manager.docker.inspect_swarm().await.map_err(|e| refused(manager, "show its Swarm", e))?;
    let token = swarm.join_tokens.and_then(|t| t.manager).ok_or_else(|| StepError::Refused {
        target: manager.host.to_string(),
        reason: "its Swarm has no join token for managers".into(),
    })?;
    let address = world.topology.host(host).address.to_string();
    let request = SwarmJoinRequest {
        listen_addr: Some(format!("0.0.0.0:{SWARM_PORT}")),
        advertise_addr: Some(address.clone()),
        data_path_addr: Some(address),
        remote_addrs: Some(vec![format!("{}:{SWARM_PORT}", world.topology.host(&manager.host).address)]),
        join_token: Some(token),
    };
    link.docker.join_swarm(request).await.map_err(|e| refused(link, "join the Swarm", e))
}

/// Makes this host's node a manager.
pub async fn promote(world: World<'_>, host: &HostName) -> Result<(), StepError> {
    change_node(world, host, |spec| spec.role = Some(NodeSpecRoleEnum::MANAGER)).await
}

/// Sets the labels by which services find this host; other labels stay.
pub async fn label(world: World<'_>, host: &HostName) -> Result<(), StepError> {
    let wanted = node_labels(world.topology, world.topology.host(host));
    change_node(world, host, |spec| spec.labels.get_or_insert_default().extend(wanted.iter().cloned())).await
}

/// Removes a node that is lost for good. A manager is demoted first; Swarm takes a moment to take it out of Raft, and keeps the
/// node until then.
pub async fn forget(world: World<'_>, id: &str) -> Result<(), StepError> {
    let manager = world.fleet.manager().await?;
    let gone = |error: &bollard::errors::Error| {
        matches!(error, bollard::errors::Error::DockerResponseServerError { status_code: 404, .. })
    };
    match change(manager, id, |spec| spec.role = Some(NodeSpecRoleEnum::WORKER)).await {
        Err(StepError::Docker { source, .. }) if gone(&source) => return Ok(()),
        demoted => demoted?,
    }
    let started = Instant::now();
    loop {
        let options = DeleteNodeOptionsBuilder::default().force(true).build();
        match manager.docker.delete_node(id, Some(options)).await {
            Ok(()) => return Ok(()),
            Err(error) if gone(&error) => return Ok(()),
            Err(_) if started.elapsed() < DEMOTED => tokio::time::sleep(LOOK).await,
            Err(error) => return Err(refused(manager, &format!("remove node {id}"), error)),
        }
    }
}

/// Takes a host that lives out of the Swarm. It is no manager any more before it leaves: the others must not take it for lost.
/// `world` is the cluster without it.
pub async fn leave(world: World<'_>, link: &Link) -> Result<(), StepError> {
    let info = link.docker.info().await.map_err(|e| refused(link, "describe itself", e))?;
    let Some(id) = info.swarm.and_then(|s| s.node_id).filter(|id| !id.is_empty()) else { return Ok(()) };
    let manager = world.fleet.manager().await?;
    change(manager, &id, |spec| {
        spec.role = Some(NodeSpecRoleEnum::WORKER);
        spec.availability = Some(NodeSpecAvailabilityEnum::DRAIN);
    })
    .await?;
    let started = Instant::now();
    while started.elapsed() < DEMOTED {
        let node = manager.docker.inspect_node(&id).await.map_err(|e| refused(manager, &format!("show node {id}"), e))?;
        if node.manager_status.is_none() {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    // By force where it has not yet heard that it is no manager.
    let options = LeaveSwarmOptionsBuilder::default().force(true).build();
    link.docker.leave_swarm(Some(options)).await.map_err(|e| refused(link, "leave the Swarm", e))?;
    forget(world, &id).await
}

async fn change_node(world: World<'_>, host: &HostName, spec: impl Fn(&mut NodeSpec)) -> Result<(), StepError> {
    let link = world.fleet.link(host)?;
    let info = link.docker.info().await.map_err(|e| refused(link, "describe itself", e))?;
    let id = info.swarm.and_then(|s| s.node_id).unwrap_or_default();
    change(world.fleet.manager().await?, &id, spec).await
}

/// Changes a node's spec; again with a fresh version when somebody else changed it in between.
async fn change(manager: &Link, id: &str, change: impl Fn(&mut NodeSpec)) -> Result<(), StepError> {
    /// Swarm itself touches a node that has just joined; three tries are plenty.
    const TRIES: usize = 3;
    let mut tries = 0;
    loop {
        tries += 1;
        let node = manager.docker.inspect_node(id).await.map_err(|e| refused(manager, &format!("show node {id}"), e))?;
        let version = node.version.and_then(|v| v.index).unwrap_or_default();
        let mut spec = node.spec.unwrap_or_default();
        change(&mut spec);
        let options = UpdateNodeOptionsBuilder::default().version(i64::try_from(version).unwrap_or(i64::MAX)).build();
        match manager.docker.update_node(id, spec, options).await {
            Ok(()) => return Ok(()),
            Err(error) if tries < TRIES && error.to_string().contains("out of sequence") => {}
            Err(error) => return Err(refused(manager, &format!("change node {id}"), error)),
        }
    }
}

/// An API error with its place.
pub fn refused(link: &Link, doing: &str, source: bollard::errors::Error) -> StepError {
    StepError::Docker { host: link.host.to_string(), doing: doing.to_owned(), source }
}
