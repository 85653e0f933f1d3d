//! Taking a cluster away: services first, then what they used. Everything here wants a [`Consent`], finds its objects by
//! the cluster's label or stack, and may be run again after an interruption.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bollard::models::{ContainerSummary, Volume};
use bollard::query_parameters::{
    ListConfigsOptionsBuilder, ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListSecretsOptionsBuilder,
    ListServicesOptionsBuilder, ListVolumesOptionsBuilder, RemoveVolumeOptions,
};

use super::objects::unless_gone;
use super::swarm::refused;
use super::{StepError, World};
use crate::consent::Consent;
use crate::remote::fleet::Link;
use crate::templates::artifacts::LABEL_CLUSTER;

/// Longest stop: PostgreSQL's grace period of the stack files, and a margin.
const STOP: Duration = Duration::from_secs(120);
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
    let started = Instant::now();
    for link in world.fleet.links() {
        loop {
            let left = containers(world, link).await?;
            if left.is_empty() {
                break;
            }
            if started.elapsed() > STOP {
                let names: Vec<_> = left.into_iter().filter_map(|c| c.names?.into_iter().next()).collect();
                let reason = format!("containers are still there after {} s: {}", STOP.as_secs(), names.join(", "));
                return Err(StepError::Refused { target: link.host.to_string(), reason });
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(found.len())
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
        for volume in volumes_of(world, link).await? {
            let removed = link.docker.remove_volume(&volume.name, None::<RemoveVolumeOptions>).await;
            unless_gone(removed).map_err(|e| refused(link, &format!("delete volume {}", volume.name), e))?;
            deleted += 1;
        }
    }
    Ok(deleted)
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

async fn volumes_of(world: World<'_>, link: &Link) -> Result<Vec<Volume>, StepError> {
    let options = ListVolumesOptionsBuilder::default().filters(&of_cluster(world)).build();
    let listed = link.docker.list_volumes(Some(options)).await.map_err(|e| refused(link, "list volumes", e))?;
    Ok(listed.volumes.unwrap_or_default())
}

/// `docker stack deploy` labels services and containers with the stack's name.
fn of_stack(world: World<'_>) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![format!("com.docker.stack.namespace={}", world.topology.name)])])
}

fn of_cluster(world: World<'_>) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![format!("{LABEL_CLUSTER}={}", world.topology.name)])])
}
