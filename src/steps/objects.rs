//! Networks, secrets, configs and services as Swarm objects. A name that is taken is no error: names carry a hash, or the
//! object is made once and kept.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bollard::errors::Error as DockerError;
use bollard::models::{ConfigSpec, Ipam, IpamConfig, NetworkCreateRequest, SecretSpec};
use rand::distr::{Alphanumeric, SampleString};

use super::swarm::refused;
use super::{StepError, World};
use crate::templates::artifacts::LABEL_CLUSTER;

/// Length of a generated password. 32 characters of 62 are 190 bits: more than SCRAM-SHA-256 itself can protect.
const PASSWORD_LENGTH: usize = 32;

/// Creates an overlay network.
pub async fn create_network(world: World<'_>, name: &str, subnet: &str) -> Result<(), StepError> {
    let manager = world.fleet.manager().await?;
    let network = &world.topology.network;
    let mut options = HashMap::from([("com.docker.network.driver.mtu".to_owned(), network.mtu.to_string())]);
    if network.encrypted {
        options.insert("encrypted".into(), String::new());
    }
    let config = IpamConfig { subnet: Some(subnet.to_owned()), ..IpamConfig::default() };
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("overlay".into()),
        scope: Some("swarm".into()),
        ipam: Some(Ipam { config: Some(vec![config]), ..Ipam::default() }),
        options: Some(options),
        labels: Some(labels(world)),
        ..NetworkCreateRequest::default()
    };
    let created = manager.docker.create_network(request).await.map(drop);
    unless_taken(created).map_err(|e| refused(manager, &format!("create network {name}"), e))
}

/// Generates a password and keeps it as a secret. It exists in this process's memory for the length of one request.
pub async fn create_secret(world: World<'_>, name: &str) -> Result<(), StepError> {
    let manager = world.fleet.manager().await?;
    let password = Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LENGTH);
    let spec = SecretSpec {
        name: Some(name.to_owned()),
        labels: Some(labels(world)),
        data: Some(STANDARD.encode(password)),
        ..SecretSpec::default()
    };
    let created = manager.docker.create_secret(spec).await.map(drop);
    unless_taken(created).map_err(|e| refused(manager, &format!("create secret {name}"), e))
}

/// Creates the config of that name from the artifacts.
pub async fn create_config(world: World<'_>, name: &str) -> Result<(), StepError> {
    let file = world.artifacts.configs.get(name).ok_or_else(|| StepError::NotRendered(name.to_owned()))?;
    let manager = world.fleet.manager().await?;
    let spec = ConfigSpec {
        name: Some(name.to_owned()),
        labels: Some(labels(world)),
        data: Some(STANDARD.encode(&file.text)),
        templating: None,
    };
    let created = manager.docker.create_config(spec).await.map(drop);
    unless_taken(created).map_err(|e| refused(manager, &format!("create config {name}"), e))
}

/// Removes a config that nothing uses any more.
pub async fn remove_config(world: World<'_>, name: &str) -> Result<(), StepError> {
    let manager = world.fleet.manager().await?;
    unless_gone(manager.docker.delete_config(name).await).map_err(|e| refused(manager, &format!("remove config {name}"), e))
}

/// Removes a service of the stack.
pub async fn remove_service(world: World<'_>, service: &str) -> Result<(), StepError> {
    let manager = world.fleet.manager().await?;
    let full = format!("{}_{service}", world.topology.name);
    unless_gone(manager.docker.delete_service(&full).await).map_err(|e| refused(manager, &format!("remove service {full}"), e))
}

fn labels(world: World<'_>) -> HashMap<String, String> {
    HashMap::from([(LABEL_CLUSTER.to_owned(), world.topology.name.to_string())])
}

fn unless_taken(result: Result<(), DockerError>) -> Result<(), DockerError> {
    match result {
        Err(DockerError::DockerResponseServerError { status_code: 409, .. }) => Ok(()),
        other => other,
    }
}

/// An object that is already gone needs no removal.
pub fn unless_gone(result: Result<(), DockerError>) -> Result<(), DockerError> {
    match result {
        Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        other => other,
    }
}
