//! What one look asks for more than once: daemons, etcd members, the coordinators' leader. Each is asked or connected to at
//! most once, by whoever needs it first; the others wait for the same answer. Commands in containers are the expensive part of
//! a look (some 50 to 100 ms of a core each, measured), so none is started twice.

use std::collections::{BTreeMap, HashMap};

use bollard::models::SystemInfo;
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::OnceCell;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::patience::Patience;
use crate::error::one_line;
use crate::remote::container::{Container, SERVICE_LABEL, STACK_LABEL};
use crate::remote::etcd::Etcd;
use crate::remote::fleet::{Fleet, FleetError, Link};
use crate::remote::sql;
use crate::topology::Topology;
use crate::topology::ids::{GroupId, HostName, MemberName};

/// The database that every cluster has.
const MAINTENANCE: &str = "postgres";

/// What a daemon says without asking anybody else.
#[derive(Debug)]
pub(super) struct Daemon {
    /// Docker Engine version.
    pub version: String,
    /// Running containers of the cluster: service name inside the stack -> container id.
    pub containers: BTreeMap<String, String>,
}

/// SQL on a leader, as postgres.
pub(super) struct Session {
    pub container: Container,
    pub client: Client,
}

/// An answer, or in one line why there is none.
type Answer<T> = OnceCell<Result<T, String>>;

/// Connections of one look.
pub(super) struct Lines<'a> {
    pub topology: &'a Topology,
    pub fleet: &'a Fleet,
    pub patience: Patience,
    daemons: BTreeMap<HostName, Answer<Daemon>>,
    infos: BTreeMap<HostName, Answer<SystemInfo>>,
    stores: BTreeMap<MemberName, Answer<Etcd>>,
    sessions: BTreeMap<GroupId, Answer<Session>>,
    places: BTreeMap<String, HostName>,
}

impl<'a> Lines<'a> {
    /// None is open yet.
    pub fn new(topology: &'a Topology, fleet: &'a Fleet) -> Self {
        Self {
            topology,
            fleet,
            patience: if fleet.is_quick() { Patience::SHORT } else { Patience::LONG },
            daemons: topology.hosts.iter().map(|h| (h.name.clone(), OnceCell::new())).collect(),
            infos: topology.hosts.iter().map(|h| (h.name.clone(), OnceCell::new())).collect(),
            stores: topology.etcd.iter().map(|m| (m.name.clone(), OnceCell::new())).collect(),
            sessions: topology.groups.iter().map(|g| (g.id, OnceCell::new())).collect(),
            places: topology.services(),
        }
    }

    /// The connection to a host, or why there is none.
    pub fn link(&self, host: &HostName) -> Result<&'a Link, String> {
        self.fleet.link(host).map_err(|e| one_line(&e))
    }

    /// Version and containers of a host's daemon.
    pub async fn daemon(&self, host: &HostName) -> Result<&Daemon, String> {
        let cell = self.daemons.get(host).ok_or_else(|| format!("{host} is not in the topology"))?;
        let ask = || async {
            let link = self.link(host)?;
            let asked = tokio::time::timeout(self.patience.daemon, ask(self.topology.name.as_str(), link)).await;
            asked.unwrap_or_else(|_| {
                Err(format!("{host}: its Docker daemon did not answer within {} ms", self.patience.daemon.as_millis()))
            })
        };
        cell.get_or_init(ask).await.as_ref().map_err(Clone::clone)
    }

    /// `docker info` of a host. A manager asks the Swarm's leader for it, and answers nothing while there is none.
    pub async fn info(&self, host: &HostName) -> Result<&SystemInfo, String> {
        let cell = self.infos.get(host).ok_or_else(|| format!("{host} is not in the topology"))?;
        let ask = || async {
            let link = self.link(host)?;
            match tokio::time::timeout(self.patience.info, link.docker.info()).await {
                Ok(answer) => answer.map_err(|e| one_line(&e)),
                Err(_) => {
                    Err(format!("no answer within {} ms: the Swarm may be electing a leader", self.patience.info.as_millis()))
                }
            }
        };
        cell.get_or_init(ask).await.as_ref().map_err(Clone::clone)
    }

    /// The first manager with a working control plane to answer.
    pub async fn manager(&self) -> Result<&'a Link, String> {
        let ask = |host: &'a HostName| async move {
            let info = self.info(host).await.ok()?;
            info.swarm.as_ref()?.control_available?.then(|| self.link(host).ok())?
        };
        let mut asked: FuturesUnordered<_> = self.topology.hosts.iter().map(|host| ask(&host.name)).collect();
        while let Some(answer) = asked.next().await {
            if let Some(link) = answer {
                return Ok(link);
            }
        }
        // A host that is lost is told elsewhere; a daemon that says nothing is the cause here.
        let connected = self.topology.hosts.iter().filter(|host| self.link(&host.name).is_ok());
        let mut silent = connected.filter_map(|host| self.infos.get(&host.name)?.get()?.as_ref().err());
        Err(silent.next().cloned().unwrap_or_else(|| FleetError::NoManager.to_string()))
    }

    /// The running container of a service.
    pub async fn container(&self, service: &str) -> Result<Container, String> {
        let host = self.places.get(service).ok_or_else(|| format!("the topology has no {service}"))?;
        let link = self.link(host)?;
        let daemon = self.daemon(host).await?;
        let id = daemon.containers.get(service).ok_or_else(|| format!("does not run on {host}"))?;
        Ok(Container { docker: link.docker.clone(), host: host.clone(), name: service.to_owned(), id: id.clone() })
    }

    /// A connection to an etcd member.
    pub async fn store(&self, member: &MemberName) -> Result<&Etcd, String> {
        let cell = self.stores.get(member).ok_or_else(|| format!("the topology has no {member}"))?;
        let open = || async {
            let container = self.container(member.as_str()).await?;
            Etcd::connect(&container).await.map_err(|e| one_line(&e))
        };
        cell.get_or_init(open).await.as_ref().map_err(Clone::clone)
    }

    /// SQL on the leader of a group; with Citus in the application's database, where it keeps its metadata.
    pub async fn session(&self, group: GroupId, leader: &str) -> Result<&Session, String> {
        let cell = self.sessions.get(&group).ok_or_else(|| format!("the topology has no {group}"))?;
        let open = || async {
            let container = self.container(leader).await.map_err(|reason| format!("{leader}: {reason}"))?;
            let database = if self.topology.citus.is_some() { self.topology.database.as_str() } else { MAINTENANCE };
            let connected = match sql::connect_to(&container, database).await {
                // Not made yet, while the first leader is being set up.
                Err(error) if sql::says(&error, &SqlState::INVALID_CATALOG_NAME) => {
                    sql::connect_to(&container, MAINTENANCE).await
                }
                other => other,
            };
            let client = connected.map_err(|e| one_line(&e))?;
            Ok(Session { container, client })
        };
        cell.get_or_init(open).await.as_ref().map_err(Clone::clone)
    }
}

async fn ask(stack: &str, link: &Link) -> Result<Daemon, String> {
    let filters = HashMap::from([("label", vec![format!("{STACK_LABEL}={stack}")])]);
    let options = ListContainersOptionsBuilder::default().filters(&filters).build();
    let (version, running) =
        tokio::try_join!(link.docker.version(), link.docker.list_containers(Some(options))).map_err(|e| one_line(&e))?;
    let prefix = format!("{stack}_");
    let mut running: Vec<_> = running;
    // Where an old container is still stopping, the newest one is meant.
    running.sort_by_key(|container| container.created);
    let named = running.into_iter().filter_map(|container| {
        let service = container.labels?.remove(SERVICE_LABEL)?;
        Some((service.strip_prefix(&prefix)?.to_owned(), container.id?))
    });
    Ok(Daemon { version: version.version.unwrap_or_default(), containers: named.collect() })
}
