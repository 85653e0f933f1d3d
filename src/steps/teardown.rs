//! Taking a cluster away: services first, then what they used. Everything here wants a [`Consent`], finds its objects by
//! the cluster's label or stack, and may be run again after an interruption.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bollard::models::{ContainerSummary, Volume};
use bollard::query_parameters::{
    ListConfigsOptionsBuilder, ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListSecretsOptionsBuilder,
    ListServicesOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptions,
    StopContainerOptionsBuilder,
};
use futures_util::future::try_join_all;

use super::objects::unless_gone;
use super::swarm::refused;
use super::{StepError, World};
use crate::consent::Consent;
use crate::remote::container::{SERVICE_LABEL, STACK_LABEL};
use crate::remote::fleet::Link;
use crate::templates::artifacts::LABEL_CLUSTER;

/// How long Swarm has to stop and remove the containers by itself; most are gone after five seconds. Its agent has been
/// seen to lose sight of a container when managers had changed shortly before.
const SWARM: Duration = Duration::from_secs(30);
/// PostgreSQL's grace period of the stack files, in seconds, for containers that are stopped from here.
const GRACE: i32 = 120;
/// Longest removal of a host's containers: what Swarm has, one stop with its grace period, and a margin.
const STOP: Duration = Duration::from_secs(180);
/// Pause between two looks whether containers are gone.
const LOOK: Duration = Duration::from_millis(300);

/// Removes the services and waits until their containers are gone on every host that answers.
pub async fn services(world: World<'_>, _consent: &Consent) -> Result<usize, StepError> {
    let manager = world.fleet.manager().await?;
    let options = ListServicesOptionsBuilder::default().filters(&of_stack(world)).build();
    let found = manager.docker.list_services(Some(options)).await.map_err(|e| refused(manager, "list services", e))?;
    for id in found.iter().filter_map(|s| s.id.as_deref()) {
        unless_gone(manager.docker.delete_service(id).await).map_err(|e| refused(manager, "remove a service", e))?;
    }
    containers_gone(world, |_| true).await?;
    Ok(found.len())
}

/// Waits until no host that answers has any of these containers any more, named by their services inside the stack.
pub(super) async fn containers_gone(world: World<'_>, which: impl Fn(&str) -> bool + Copy) -> Result<(), StepError> {
    let started = Instant::now();
    try_join_all(world.fleet.links().map(|link| gone_from(world, link, which, started))).await.map(drop)
}

/// Waits until they are gone from one host. What Swarm leaves behind is stopped and removed from here: its service is gone, so
/// nobody else will.
async fn gone_from(world: World<'_>, link: &Link, which: impl Fn(&str) -> bool, started: Instant) -> Result<(), StepError> {
    let prefix = format!("{}_", world.topology.name);
    let service =
        |container: &ContainerSummary| container.labels.as_ref()?.get(SERVICE_LABEL)?.strip_prefix(&prefix).map(str::to_owned);
    loop {
        let mut left = containers(world, link).await?;
        left.retain(|container| which(&service(container).unwrap_or_default()));
        if left.is_empty() {
            return Ok(());
        }
        if started.elapsed() > STOP {
            let names: Vec<_> = left.iter().map(describe).collect();
            let reason = format!("containers are still there after {} s: {}", STOP.as_secs(), names.join(", "));
            return Err(StepError::Refused { target: link.host.to_string(), reason });
        }
        if started.elapsed() > SWARM {
            try_join_all(left.iter().map(|container| stop_and_remove(link, container))).await?;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn stop_and_remove(link: &Link, container: &ContainerSummary) -> Result<(), StepError> {
    let Some(id) = container.id.as_deref() else { return Ok(()) };
    let what = describe(container);
    let grace = StopContainerOptionsBuilder::default().t(GRACE).build();
    unless_gone(link.docker.stop_container(id, Some(grace)).await).map_err(|e| refused(link, &format!("stop {what}"), e))?;
    let options = RemoveContainerOptionsBuilder::default().force(true).build();
    match link.docker.remove_container(id, Some(options)).await {
        // Swarm has come round to it in the same moment.
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 409, .. }) => Ok(()),
        removed => unless_gone(removed).map_err(|e| refused(link, &format!("remove {what}"), e)),
    }
}

/// A container by its name and what it does, e.g. `pgcluster_etcd-1.1.x8k (Exited (137) 3 minutes ago)`.
fn describe(container: &ContainerSummary) -> String {
    let name = container.names.iter().flatten().next().map_or("?", |name| name.trim_start_matches('/'));
    format!("{name} ({})", container.status.as_deref().unwrap_or("state unknown"))
}

/// Removes the cluster's configs, the lock aside: whoever holds it releases it.
pub async fn configs(world: World<'_>, _consent: &Consent) -> Result<usize, StepError> {
    let manager = world.fleet.manager().await?;
    let options = ListConfigsOptionsBuilder::default().filters(&of_cluster(world)).build();
    let found = manager.docker.list_configs(Some(options)).await.map_err(|e| refused(manager, "list configs", e))?;
    let lock = format!("{}-lock", world.topology.name);
    let ours: Vec<_> = found
        .into_iter()
        .filter(|c| c.spec.as_ref().and_then(|s| s.name.as_deref()) != Some(&lock))
        .filter_map(|c| c.id)
        .collect();
    for id in &ours {
        unless_gone(manager.docker.delete_config(id).await).map_err(|e| refused(manager, "remove a config", e))?;
    }
    Ok(ours.len())
}

/// Deletes the data volumes on every host.
pub async fn volumes(world: World<'_>, _consent: &Consent) -> Result<usize, StepError> {
    let mut deleted = 0;
    for link in world.fleet.links() {
        deleted += volumes_on(world, link).await?;
    }
    Ok(deleted)
}

/// Removes what a host that has left the Swarm still has: containers, and the data volumes unless they are kept. Returns how many
/// volumes were deleted.
pub async fn host(world: World<'_>, link: &Link, volumes: bool, _consent: &Consent) -> Result<usize, StepError> {
    let left = containers(world, link).await?;
    try_join_all(left.iter().map(|container| stop_and_remove(link, container))).await?;
    if volumes { volumes_on(world, link).await } else { Ok(0) }
}

async fn volumes_on(world: World<'_>, link: &Link) -> Result<usize, StepError> {
    let found = volumes_of(world, link).await?;
    for volume in &found {
        self::volume(link, &volume.name).await?;
    }
    Ok(found.len())
}

/// Deletes the cluster's passwords.
pub async fn secrets(world: World<'_>, _consent: &Consent) -> Result<usize, StepError> {
    let manager = world.fleet.manager().await?;
    let options = ListSecretsOptionsBuilder::default().filters(&of_cluster(world)).build();
    let found = manager.docker.list_secrets(Some(options)).await.map_err(|e| refused(manager, "list secrets", e))?;
    let ids: Vec<_> = found.into_iter().filter_map(|s| s.id).collect();
    for id in &ids {
        unless_gone(manager.docker.delete_secret(id).await).map_err(|e| refused(manager, "delete a secret", e))?;
    }
    Ok(ids.len())
}

/// Deletes the cluster's overlay networks.
pub async fn networks(world: World<'_>, _consent: &Consent) -> Result<usize, StepError> {
    let manager = world.fleet.manager().await?;
    let options = ListNetworksOptionsBuilder::default().filters(&of_cluster(world)).build();
    let found = manager.docker.list_networks(Some(options)).await.map_err(|e| refused(manager, "list networks", e))?;
    let names: Vec<_> = found.into_iter().filter_map(|n| n.name).collect();
    for name in &names {
        unless_gone(manager.docker.remove_network(name).await)
            .map_err(|e| refused(manager, &format!("delete network {name}"), e))?;
    }
    Ok(names.len())
}

async fn containers(world: World<'_>, link: &Link) -> Result<Vec<ContainerSummary>, StepError> {
    let options = ListContainersOptionsBuilder::default().all(true).filters(&of_stack(world)).build();
    link.docker.list_containers(Some(options)).await.map_err(|e| refused(link, "list containers", e))
}

/// Deletes one data volume.
pub(super) async fn volume(link: &Link, name: &str) -> Result<(), StepError> {
    let removed = link.docker.remove_volume(name, None::<RemoveVolumeOptions>).await;
    unless_gone(removed).map_err(|e| refused(link, &format!("delete volume {name}"), e))
}

async fn volumes_of(world: World<'_>, link: &Link) -> Result<Vec<Volume>, StepError> {
    let options = ListVolumesOptionsBuilder::default().filters(&of_cluster(world)).build();
    let listed = link.docker.list_volumes(Some(options)).await.map_err(|e| refused(link, "list volumes", e))?;
    Ok(listed.volumes.unwrap_or_default())
}

/// `docker stack deploy` labels services and containers with the stack's name.
fn of_stack(world: World<'_>) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![format!("{STACK_LABEL}={}", world.topology.name)])])
}

fn of_cluster(world: World<'_>) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![format!("{LABEL_CLUSTER}={}", world.topology.name)])])
}
