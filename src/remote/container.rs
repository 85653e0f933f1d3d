//! A running container of the cluster: who it is and the daemon that runs it.

use std::collections::HashMap;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::ListContainersOptionsBuilder;

use crate::topology::ids::{ClusterName, HostName};

/// A running container of the cluster.
#[derive(Debug, Clone)]
pub struct Container {
    /// The daemon.
    pub docker: Docker,
    /// Its host.
    pub host: HostName,
    /// Service name inside the stack, e.g. `worker-1-2`.
    pub name: String,
    /// Container id.
    pub id: String,
}

impl Container {
    /// Its addresses, in each of its networks.
    pub async fn addresses(&self) -> Result<Vec<String>, Error> {
        let facts = self.docker.inspect_container(&self.id, None).await?;
        let networks = facts.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        Ok(networks.into_values().filter_map(|network| network.ip_address).filter(|address| !address.is_empty()).collect())
    }
}

/// Label that `docker stack deploy` gives every service of a stack and its containers: the stack's name.
pub const STACK_LABEL: &str = "com.docker.stack.namespace";
/// Label that Swarm gives every container of a service: `<stack>_<service>`.
pub const SERVICE_LABEL: &str = "com.docker.swarm.service.name";

/// Which containers of a service count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that run.
    Running,
    /// Also those that ended.
    Any,
}

/// The container of a service on this daemon; the newest where an old one is still stopping.
pub async fn find(
    docker: &Docker,
    host: &HostName,
    cluster: &ClusterName,
    service: &str,
    which: Which,
) -> Result<Option<Container>, Error> {
    Ok(list(docker, host, cluster, service, which).await?.pop())
}

/// All containers of the service on this daemon, also those that ended, the oldest first.
pub async fn every(docker: &Docker, host: &HostName, cluster: &ClusterName, service: &str) -> Result<Vec<Container>, Error> {
    list(docker, host, cluster, service, Which::Any).await
}

async fn list(
    docker: &Docker,
    host: &HostName,
    cluster: &ClusterName,
    service: &str,
    which: Which,
) -> Result<Vec<Container>, Error> {
    let filters = HashMap::from([("label", vec![format!("{SERVICE_LABEL}={cluster}_{service}")])]);
    let options = ListContainersOptionsBuilder::default().all(which == Which::Any).filters(&filters).build();
    let mut found = docker.list_containers(Some(options)).await?;
    found.sort_by_key(|container| container.created);
    let container = |id| Container { docker: docker.clone(), host: host.clone(), name: service.to_owned(), id };
    Ok(found.into_iter().filter_map(|found| found.id).map(container).collect())
}
