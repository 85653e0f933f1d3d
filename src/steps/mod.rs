//! Doing: one file per kind of action. A step does what it is told, idempotently, and decides as little as it can.
//!
//! Called by the engine's runner alone; whether a step had the effect it should is judged by conditions, not here.

pub mod deploy;
pub mod etcd;
pub mod handover;
pub mod metadata;
pub mod objects;
pub mod patroni;
pub mod poolers;
pub mod rebalance;
pub mod removal;
pub mod swarm;
pub mod tables;
pub mod teardown;
pub mod topology_file;

use crate::context::Interrupt;
use crate::error::{Exit, Failure};
use crate::plan::Action;
use crate::remote::fleet::{Fleet, FleetError};
use crate::remote::ssh::SshError;
use crate::templates::Artifacts;
use crate::topology::Topology;

/// What steps work with.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// The wanted cluster.
    pub topology: &'a Topology,
    /// What it renders to.
    pub artifacts: &'a Artifacts,
    /// Connections to its hosts.
    pub fleet: &'a Fleet,
    /// Ctrl-C, for a step that waits for others.
    pub interrupt: &'a Interrupt,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A host is not connected.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// SSH broke.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// Docker's API said no.
    #[error("{host}: Docker refused to {doing}")]
    Docker {
        /// Where.
        host: String,
        /// What was asked of it.
        doing: String,
        /// Its words.
        #[source]
        source: bollard::errors::Error,
    },
    /// A command on a host failed.
    #[error("{host}: `{command}` failed with status {status}: {output}")]
    Command {
        /// Where.
        host: String,
        /// The command.
        command: String,
        /// Exit status.
        status: i32,
        /// The end of what it printed.
        output: String,
    },
    /// etcd or Patroni said no.
    #[error("{target}: {reason}")]
    Refused {
        /// Who.
        target: String,
        /// In their words.
        reason: String,
    },
    /// Ctrl-C, while a step waited and had changed nothing.
    #[error("interrupted: {0}")]
    Interrupted(String),
    /// The plan names something that the artifacts lack: a bug.
    #[error("the plan names {0}, which was not rendered")]
    NotRendered(String),
}

impl Failure for StepError {
    fn exit(&self) -> Exit {
        match self {
            Self::NotRendered(_) => Exit::Internal,
            Self::Interrupted(_) => Exit::Interrupted,
            _ => Exit::Partial,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Fleet(error) => error.hints(),
            Self::Ssh(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}

/// Carries out one action. Deployments are not among them: a wave's are done together by [`deploy::services`].
pub async fn apply(action: &Action, world: World<'_>) -> Result<(), StepError> {
    match action {
        Action::SwarmInit { host } => swarm::init(world, host).await,
        Action::SwarmJoin { host } => swarm::join(world, host).await,
        Action::SwarmPromote { host } => swarm::promote(world, host).await,
        Action::SwarmForget { node, .. } => swarm::forget(world, node).await,
        Action::EtcdRemove { id, .. } => etcd::remove(world, *id).await,
        Action::EtcdAdd { member } => etcd::add(world, member).await,
        Action::EtcdSeed { member, host } => etcd::seed(world, member, host).await,
        Action::LabelNode { host } => swarm::label(world, host).await,
        Action::CreateNetwork { name, subnet } => objects::create_network(world, name, subnet).await,
        Action::CreateSecret { name } => objects::create_secret(world, name).await,
        Action::CreateConfig { name } => objects::create_config(world, name).await,
        Action::RemoveConfig { name } => objects::remove_config(world, name).await,
        Action::RemoveService { service } => objects::remove_service(world, service).await,
        Action::WriteDynamic { group, .. } => patroni::write_dynamic(world, *group).await,
        Action::Switchover { group, from } => patroni::switch_away(world, *group, from).await,
        Action::RestartMember { member, group } => patroni::restart(world, member, *group).await,
        Action::Deploy { service, .. } => deploy::services(world, &[service]).await,
    }
}
