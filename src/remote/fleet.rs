//! Connections to all hosts of a topology. A host that does not answer is a value in it, never a reason to stop looking at
//! the others.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::models::{LocalNodeState, SwarmInfo};
use futures_util::future::join_all;

use super::container::{self, Container};
use super::docker;
use super::etcd::{Etcd, EtcdError};
use super::ssh::{Ssh, SshError, SshOptions, SshTarget};
use crate::error::{Exit, Failure, one_line};
use crate::topology::Topology;
use crate::topology::ids::HostName;
use crate::topology::model::Host;

/// A daemon that does not say who it is within this time is not waited for.
const ASK: Duration = Duration::from_secs(2);
/// How long a Swarm may tell nothing: when a manager is lost or taken out the others elect a leader, and answer nobody meanwhile.
const ELECTION: Duration = Duration::from_secs(15);
/// Pause before it is asked again.
const AGAIN: Duration = Duration::from_millis(500);

/// Patience of a look. A kernel that lives accepts a connection within milliseconds, or at the first repetition after one
/// second; a login takes some 100 ms, many times that on a loaded host. So `status` knows a dead host soon and takes no busy
/// one for dead: it is promised within three seconds.
const QUICK: SshOptions = SshOptions {
    reach_timeout: Duration::from_millis(1_200),
    connect_timeout: Duration::from_millis(3_000),
    vanish_after: Duration::from_millis(2_500),
};

/// A connected host.
#[derive(Debug, Clone)]
pub struct Link {
    /// The host.
    pub host: HostName,
    /// Its SSH session.
    pub ssh: Ssh,
    /// Its Docker daemon, through that session.
    pub docker: Docker,
}

/// What a host is in a Swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// It can be told what to change.
    Manager,
    /// It may become one that can: it has a node that is not in order, or says nothing in time.
    Unclear,
    /// It has no node, or no daemon.
    None,
}

fn part_in_swarm(swarm: Option<SwarmInfo>) -> Part {
    match swarm.map(|swarm| (swarm.control_available, swarm.local_node_state)) {
        Some((Some(true), _)) => Part::Manager,
        Some((_, Some(LocalNodeState::ACTIVE | LocalNodeState::PENDING | LocalNodeState::ERROR))) => Part::Unclear,
        _ => Part::None,
    }
}

/// Connections to all hosts of a topology.
#[derive(Debug)]
pub struct Fleet {
    hosts: BTreeMap<HostName, Result<Link, SshError>>,
    options: SshOptions,
}

/// Why a connection is not there.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// Hosts did not answer or refused the login; all of them at once.
    #[error("{}", failures.join("\n  "))]
    Unreachable {
        /// One line per host.
        failures: Vec<String>,
        /// What to do about them.
        hints: Vec<String>,
    },
    /// No host that answers is a manager of a Swarm.
    #[error("no host that answers is a manager of a Swarm with a working control plane")]
    NoManager,
    /// The service has no running container.
    #[error("{service} does not run on {host}")]
    NotRunning {
        /// Service name inside the stack.
        service: String,
        /// Where it should.
        host: HostName,
    },
    /// There is no such service in the topology.
    #[error("the topology has no {service}; it has {known}")]
    Unknown {
        /// As asked for.
        service: String,
        /// What there is.
        known: String,
    },
    /// A daemon did not answer.
    #[error("{host}: its Docker daemon does not answer")]
    Docker {
        /// The host.
        host: HostName,
        /// Its words.
        #[source]
        source: bollard::errors::Error,
    },
    /// No etcd member could be asked.
    #[error("no etcd member answers: {0}")]
    NoEtcd(String),
}

impl Failure for FleetError {
    fn exit(&self) -> Exit {
        match self {
            Self::Unknown { .. } => Exit::Usage,
            _ => Exit::Unreachable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Unreachable { hints, .. } => hints.clone(),
            Self::NoManager => vec!["run `pgclusterctl init`; if the Swarm lost its majority, start its manager hosts".into()],
            Self::NotRunning { .. } => {
                vec!["`pgclusterctl status` shows what runs; `pgclusterctl up` starts what does not".into()]
            }
            Self::Docker { .. } | Self::NoEtcd(_) => vec!["`pgclusterctl status` shows what answers".into()],
            Self::Unknown { .. } => Vec::new(),
        }
    }
}

impl Fleet {
    /// Connects to all hosts at the same time.
    pub async fn connect(topology: &Topology) -> Self {
        Self::connect_with(topology, SshOptions::default()).await
    }

    /// [`Self::connect`] with little patience, for looks that somebody waits for.
    pub async fn connect_quickly(topology: &Topology) -> Self {
        Self::connect_with(topology, QUICK).await
    }

    async fn connect_with(topology: &Topology, options: SshOptions) -> Self {
        let links = join_all(topology.hosts.iter().map(|host| link(host, options))).await;
        Self { hosts: topology.hosts.iter().map(|host| host.name.clone()).zip(links).collect(), options }
    }

    /// Whether these connections were made with little patience.
    pub fn is_quick(&self) -> bool {
        self.options == QUICK
    }

    /// Connects again to the hosts whose connection failed or broke; all others stay as they are.
    pub async fn revive(&mut self, topology: &Topology) {
        let options = self.options;
        let gone = |host: &&Host| match self.hosts.get(&host.name) {
            Some(Ok(link)) => link.ssh.lost().is_some(),
            _ => true,
        };
        let gone: Vec<&Host> = topology.hosts.iter().filter(gone).collect();
        let links = join_all(gone.iter().map(|host| link(host, options))).await;
        self.hosts.extend(gone.into_iter().map(|host| host.name.clone()).zip(links));
    }

    /// The connection to a host.
    pub fn link(&self, host: &HostName) -> Result<&Link, FleetError> {
        match self.hosts.get(host) {
            Some(Ok(link)) => Ok(link),
            Some(Err(error)) => Err(unreachable([error])),
            None => Err(FleetError::Unknown { service: host.to_string(), known: self.names() }),
        }
    }

    /// All hosts that answered.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.hosts.values().filter_map(|link| link.as_ref().ok())
    }

    /// All hosts that did not.
    pub fn failures(&self) -> impl Iterator<Item = (&HostName, &SshError)> {
        self.hosts.iter().filter_map(|(host, link)| Some((host, link.as_ref().err()?)))
    }

    /// An error that names every host that did not answer.
    pub fn require_all(&self) -> Result<(), FleetError> {
        if self.failures().next().is_none() {
            return Ok(());
        }
        Err(unreachable(self.failures().map(|(_, error)| error)))
    }

    /// A host that answers and is a Swarm manager with a working control plane; the first in the topology's order. Waits for a Swarm that
    /// elects its leader.
    pub async fn manager(&self) -> Result<&Link, FleetError> {
        let started = Instant::now();
        loop {
            let asked = join_all(self.links().map(|link| async move {
                match tokio::time::timeout(ASK, link.docker.info()).await {
                    Ok(info) => (link, part_in_swarm(info.ok().and_then(|info| info.swarm))),
                    Err(_) => (link, Part::Unclear),
                }
            }));
            let parts = asked.await;
            if let Some((link, _)) = parts.iter().find(|(_, part)| *part == Part::Manager) {
                return Ok(link);
            }
            if parts.iter().all(|(_, part)| *part == Part::None) || started.elapsed() > ELECTION {
                return Err(FleetError::NoManager);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// The running container of a service.
    pub async fn member(&self, topology: &Topology, service: &str) -> Result<Container, FleetError> {
        self.container(topology, service, container::Which::Running).await
    }

    /// The newest container of a service, also one that ended: its log tells why.
    pub async fn latest(&self, topology: &Topology, service: &str) -> Result<Container, FleetError> {
        self.container(topology, service, container::Which::Any).await
    }

    /// All containers of a service on its host, also those that ended, the oldest first.
    pub async fn every(&self, topology: &Topology, service: &str) -> Result<Vec<Container>, FleetError> {
        let link = self.link_of(topology, service)?;
        let found = container::every(&link.docker, &link.host, &topology.name, service).await;
        found.map_err(|source| FleetError::Docker { host: link.host.clone(), source })
    }

    /// The host that a service belongs to.
    fn link_of(&self, topology: &Topology, service: &str) -> Result<&Link, FleetError> {
        let known = topology.services();
        let Some(host) = known.get(service) else {
            let known = known.into_keys().collect::<Vec<_>>().join(", ");
            return Err(FleetError::Unknown { service: service.to_owned(), known });
        };
        self.link(host)
    }

    async fn container(&self, topology: &Topology, service: &str, which: container::Which) -> Result<Container, FleetError> {
        let link = self.link_of(topology, service)?;
        let found = container::find(&link.docker, &link.host, &topology.name, service, which).await;
        let found = found.map_err(|source| FleetError::Docker { host: link.host.clone(), source })?;
        found.ok_or_else(|| FleetError::NotRunning { service: service.to_owned(), host: link.host.clone() })
    }

    /// A connection to an etcd member that has a quorum behind it.
    pub async fn etcd(&self, topology: &Topology) -> Result<Etcd, FleetError> {
        let mut reasons = Vec::new();
        for member in &topology.etcd {
            let container = match self.member(topology, member.name.as_str()).await {
                Ok(container) => container,
                Err(error) => {
                    reasons.push(error.to_string());
                    continue;
                }
            };
            match healthy(&container).await {
                Ok(etcd) => return Ok(etcd),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        Err(FleetError::NoEtcd(reasons.join("; ")))
    }

    fn names(&self) -> String {
        self.hosts.keys().map(HostName::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// Logs in to a host and makes a client for its daemon; the daemon itself is not asked yet.
async fn link(host: &Host, options: SshOptions) -> Result<Link, SshError> {
    let ssh = Ssh::connect(&SshTarget::from(host), &options).await?;
    let docker = docker::connect(&ssh).map_err(|e| SshError::Local {
        host: host.name.clone(),
        what: "make a client for its Docker daemon",
        source: std::io::Error::other(e),
    })?;
    Ok(Link { host: host.name.clone(), ssh, docker })
}

/// A member that answers a read which the quorum has to confirm.
async fn healthy(container: &Container) -> Result<Etcd, EtcdError> {
    let etcd = Etcd::connect(container).await?;
    etcd.get("/health").await?;
    Ok(etcd)
}

fn unreachable<'a>(errors: impl IntoIterator<Item = &'a SshError>) -> FleetError {
    let (mut failures, mut hints) = (Vec::new(), Vec::new());
    for error in errors {
        failures.push(one_line(error));
        hints.extend(error.hints().into_iter().filter(|hint| !hints.contains(hint)).collect::<Vec<_>>());
    }
    FleetError::Unreachable { failures, hints }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_control_plane_may_get_one() {
        let part = |state, control| {
            part_in_swarm(Some(SwarmInfo { local_node_state: state, control_available: control, ..SwarmInfo::default() }))
        };
        assert_eq!(part(Some(LocalNodeState::ACTIVE), Some(true)), Part::Manager);
        assert_eq!(part(Some(LocalNodeState::ACTIVE), Some(false)), Part::Unclear);
        assert_eq!(part(Some(LocalNodeState::PENDING), None), Part::Unclear);
        assert_eq!(part(Some(LocalNodeState::INACTIVE), Some(false)), Part::None);
        assert_eq!(part(Some(LocalNodeState::LOCKED), Some(false)), Part::None, "it waits for a key");
        assert_eq!((part(None, None), part_in_swarm(None)), (Part::None, Part::None));
    }
}
