//! What exists of a lab, and how its hosts are: seen through the local engine alone, so that it works when nothing else does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use bollard::Docker;
use bollard::models::ContainerSummaryStateEnum;
use bollard::query_parameters::{ListContainersOptions, ListNetworksOptions, ListVolumesOptions};
use futures_util::future::join_all;
use serde::Serialize;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::error::LabError;
use super::host;
use super::spec::{FOLDER_LABEL, HOST_LABEL, LabName, SPARE_LABEL, Subnet, ordinal};
use crate::images::local::{LocalError, failed};
use crate::observe::model::Probe;

/// How long a host may take to become ready after its start; measured: 1 to 3 s.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two looks at a host that is starting.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Longest wait for one answer of a host.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What exists of a lab.
#[derive(Debug)]
pub struct Existing {
    /// Its network, when that exists.
    pub network: Option<Net>,
    /// Its hosts by number: whether each is switched on.
    pub hosts: BTreeMap<u8, bool>,
    /// Those of them that its topology leaves out.
    pub spares: BTreeSet<u8>,
    /// Names of all its containers, volumes and networks.
    pub objects: Objects,
}

/// A lab's network.
#[derive(Debug)]
pub struct Net {
    /// Its addresses.
    pub subnet: Subnet,
    /// The lab's folder.
    pub folder: PathBuf,
}

/// Everything that bears a lab's label, by kind.
#[derive(Debug, Default)]
pub struct Objects {
    /// Containers.
    pub containers: Vec<String>,
    /// Volumes.
    pub volumes: Vec<String>,
    /// Networks.
    pub networks: Vec<String>,
}

impl Objects {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.volumes.is_empty() && self.networks.is_empty()
    }
}

/// What a host's own daemon says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DaemonFacts {
    /// Docker Engine version.
    pub docker_version: String,
    /// `inactive`, `pending`, `active`, `error`, `locked`.
    pub swarm: String,
    /// Whether it is a Swarm manager.
    pub manager: bool,
    /// Running containers.
    pub containers: u64,
    /// Storage driver, `overlay2` unless something is wrong.
    pub storage_driver: String,
}

/// Finds all of a lab.
pub async fn find(docker: &Docker, name: &LabName) -> Result<Existing, LabError> {
    let filters = Some(name.filter());
    let containers = ListContainersOptions { all: true, filters: filters.clone(), ..Default::default() };
    let containers = docker.list_containers(Some(containers)).await.map_err(failed("list containers"))?;
    let volumes = ListVolumesOptions { filters: filters.clone() };
    let volumes = docker.list_volumes(Some(volumes)).await.map_err(failed("list volumes"))?;
    let networks = ListNetworksOptions { filters };
    let networks = docker.list_networks(Some(networks)).await.map_err(failed("list networks"))?;

    let mut hosts = BTreeMap::new();
    let mut spares = BTreeSet::new();
    let mut objects = Objects::default();
    for container in containers {
        let labels = container.labels.unwrap_or_default();
        if let Some(n) = labels.get(HOST_LABEL).and_then(|host| ordinal(host)) {
            hosts.insert(n, container.state == Some(ContainerSummaryStateEnum::RUNNING));
            spares.extend(labels.contains_key(SPARE_LABEL).then_some(n));
        }
        objects
            .containers
            .extend(container.names.unwrap_or_default().first().map(|name| name.trim_start_matches('/').to_owned()));
    }
    objects.volumes.extend(volumes.volumes.unwrap_or_default().into_iter().map(|volume| volume.name));
    let mut network = None;
    for found in networks {
        objects.networks.extend(found.name);
        let subnet = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default().into_iter().find_map(|c| c.subnet);
        let subnet = subnet.and_then(|text| text.parse().ok()).map(Subnet::new).transpose()?;
        let folder = found.labels.unwrap_or_default().remove(FOLDER_LABEL).map(PathBuf::from);
        if let (Some(subnet), Some(folder)) = (subnet, folder) {
            network = Some(Net { subnet, folder });
        }
    }
    Ok(Existing { network, hosts, spares, objects })
}

/// Asks a host's daemon about itself.
pub async fn daemon(docker: &Docker, object: &str) -> Probe<DaemonFacts> {
    let asked = timeout(ANSWER_WITHIN, host::exec(docker, object, &["docker", "info", "--format", "{{json .}}"])).await;
    match asked {
        Err(_) => Probe::fail(object, format!("dockerd gave no answer within {} s", ANSWER_WITHIN.as_secs())),
        Ok(Err(error)) => Probe::fail(object, cause(&error)),
        Ok(Ok((_, text))) => match parse_info(&text) {
            Ok(facts) => Probe::Known(facts),
            Err(reason) => Probe::fail(object, reason),
        },
    }
}

/// The daemons of several hosts, all at once.
pub async fn daemons(docker: &Docker, name: &LabName, hosts: &[String]) -> Vec<Probe<DaemonFacts>> {
    join_all(hosts.iter().map(|host| async { daemon(docker, &name.object(host)).await })).await
}

/// Waits until a host's sshd and dockerd answer.
pub async fn wait_ready(docker: &Docker, name: &LabName, host: &str, address: Ipv4Addr) -> Result<DaemonFacts, LabError> {
    let object = name.object(host);
    let started = Instant::now();
    loop {
        let running =
            docker.inspect_container(&object, None).await.map_err(failed(format!("inspect the container {object}")))?;
        if running.state.and_then(|state| state.running) != Some(true) {
            return Err(LabError::Ended { host: host.to_owned(), log: host::log_tail(docker, &object).await });
        }
        let (daemon, ssh) = tokio::join!(daemon(docker, &object), ssh_answers(address));
        let missing = match (daemon, ssh) {
            (Probe::Known(facts), Ok(())) => return Ok(facts),
            (Probe::Failed(error), _) => format!("its dockerd does not answer ({})", error.reason),
            (_, Err(error)) => format!("its sshd does not answer at {address}:22 from this machine ({error})"),
        };
        if started.elapsed() >= READY_WITHIN {
            return Err(LabError::NotReady { host: host.to_owned(), waited: READY_WITHIN, missing });
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Whether a server that speaks SSH greets at this address.
async fn ssh_answers(address: Ipv4Addr) -> std::io::Result<()> {
    let greeting = async {
        let mut greeting = [0; 4];
        TcpStream::connect((address, 22)).await?.read_exact(&mut greeting).await?;
        Ok::<_, std::io::Error>(greeting)
    };
    match timeout(ANSWER_WITHIN, greeting).await {
        Ok(Ok(greeting)) if &greeting == b"SSH-" => Ok(()),
        Ok(Ok(_)) => Err(std::io::Error::other("what answers is no SSH server")),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}

/// Reads `docker info`, whose JSON is complete but for the server's part when the daemon does not answer.
fn parse_info(text: &str) -> Result<DaemonFacts, String> {
    // Warnings of the client may stand on other lines.
    let line = text.lines().find(|line| line.starts_with('{')).ok_or_else(|| text.trim().to_owned())?;
    let info: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let word = |pointer: &str| info.pointer(pointer).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    let docker_version = word("/ServerVersion");
    if docker_version.is_empty() {
        let error = word("/ServerErrors/0");
        return Err(if error.is_empty() { "not yet".into() } else { error });
    }
    Ok(DaemonFacts {
        docker_version,
        swarm: word("/Swarm/LocalNodeState"),
        manager: info.pointer("/Swarm/ControlAvailable").and_then(|v| v.as_bool()).unwrap_or_default(),
        containers: info.pointer("/ContainersRunning").and_then(|v| v.as_u64()).unwrap_or_default(),
        storage_driver: word("/Driver"),
    })
}

fn cause(error: &LocalError) -> String {
    match error {
        LocalError::Request { source, .. } | LocalError::Absent { source, .. } => source.to_string(),
        LocalError::TooOld { .. } => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_of_a_daemon_that_answers() {
        let text = r#"{"ServerVersion":"26.1.5","Swarm":{"LocalNodeState":"active","ControlAvailable":true},"ContainersRunning":7,"Driver":"overlay2"}"#;
        let facts = parse_info(text).expect("facts");
        assert_eq!(
            (facts.docker_version.as_str(), facts.swarm.as_str(), facts.manager, facts.containers),
            ("26.1.5", "active", true, 7)
        );
    }

    #[test]
    fn info_of_a_daemon_that_does_not() {
        let text =
            r#"{"ServerErrors":["Cannot connect to the Docker daemon at unix:///var/run/docker.sock."],"ServerVersion":""}"#;
        assert!(parse_info(text).expect_err("no facts").starts_with("Cannot connect"));
        assert_eq!(parse_info("sh: docker: not found\n"), Err("sh: docker: not found".into()));
    }
}
