//! Why a drill could not be carried out. That a promise was broken is no error but its result.

use super::workload::WorkloadError;
use crate::engine::lock::LockError;
use crate::error::{Exit, Failure};
use crate::failover::FailoverError;
use crate::lab::LabError;
use crate::observe::shards::OpenError;
use crate::remote::etcd::EtcdError;
use crate::remote::fleet::FleetError;
use crate::remote::sql::SqlError;
use crate::remote::ssh::SshError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// A drill proves nothing on a cluster that is ill already.
    #[error("the cluster is not whole, and a drill begins with a whole one: {}", missing.join("; "))]
    Degraded {
        /// What is missing.
        missing: Vec<String>,
    },
    /// The drill's own `up` would do more than the drill wants.
    #[error("the scenario runs `up`, which would also do what is pending: the cluster is not what the topology says")]
    Pending,
    /// Nobody is what the scenario hits.
    #[error("there is no {what} now")]
    NoTarget {
        /// Who was looked for.
        what: String,
    },
    /// The hosts of this cluster cannot be switched off from here.
    #[error("{scenario} switches hosts or disks off, and {host} is no lab host of this machine")]
    NoLab {
        /// The scenario.
        scenario: &'static str,
        /// The host.
        host: String,
    },
    /// A host cannot delay or lose packets.
    #[error("{scenario} needs `tc` and the kernel module sch_netem on every host, and on {host} it does not work: {reason}")]
    NoNetem {
        /// The scenario.
        scenario: &'static str,
        /// The host.
        host: String,
        /// What `tc` said.
        reason: String,
    },
    /// The topology has no place for it.
    #[error("{scenario} {reason}")]
    Unfit {
        /// The scenario.
        scenario: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// A container could not be hit.
    #[error("{target}: Docker refused to {doing}")]
    Docker {
        /// Which.
        target: String,
        /// What was wanted.
        doing: &'static str,
        /// Docker's words.
        #[source]
        source: bollard::errors::Error,
    },
    /// A fault was not there to be made.
    #[error("{target}: {reason}")]
    Fault {
        /// Who was to be hit.
        target: String,
        /// Why it was not.
        reason: String,
    },
    /// Something went wrong after the fault was made: what came of it is not known.
    #[error("the fault was made, but what came of it could not be proved")]
    Unproved(#[source] Box<DrillError>),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// It ended early, and what was broken could not be healed.
    #[error("{error}; not healed: {}", left.join("; "))]
    Unhealed {
        /// What is left, and where.
        left: Vec<String>,
        /// Why it ended.
        #[source]
        error: Box<DrillError>,
    },
    /// A file of the drill.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// SSH broke, or a command failed.
    #[error(transparent)]
    Ssh(SshError),
    /// A host does not answer, or a service does not run.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// etcd was not read.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// A member was not read.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// Another operator is at work.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The clients.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The planned change of leader that the scenario consists of, or begins with.
    #[error(transparent)]
    Failover(#[from] FailoverError),
    /// The lab.
    #[error(transparent)]
    Lab(#[from] LabError),
}

impl From<OpenError> for DrillError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Fleet(error) => error.into(),
            OpenError::Sql(error) => error.into(),
        }
    }
}

impl DrillError {
    /// Whether no other scenario could be carried out either.
    pub fn is_final(&self) -> bool {
        self.exit() == Exit::Interrupted || matches!(self, Self::Workload(WorkloadError::Foreign { .. }))
    }

    /// Whether the scenario cannot be played here: no fault of the cluster, and reason enough to leave it out of a set.
    pub fn is_unfit(&self) -> bool {
        matches!(self, Self::Unfit { .. } | Self::NoLab { .. } | Self::NoNetem { .. })
    }
}

impl Failure for DrillError {
    fn exit(&self) -> Exit {
        match self {
            Self::Interrupted => Exit::Interrupted,
            Self::Unfit { .. } => Exit::Usage,
            Self::Degraded { .. } | Self::Pending | Self::NoLab { .. } | Self::NoNetem { .. } => Exit::Refused,
            Self::NoTarget { .. } | Self::Fault { .. } | Self::Unproved(_) => Exit::Unhealthy,
            Self::File { .. } => Exit::Internal,
            Self::Docker { .. } | Self::Ssh(_) | Self::Fleet(_) | Self::Etcd(_) | Self::Sql(_) => Exit::Unreachable,
            Self::Lock(error) => error.exit(),
            Self::Unhealed { error, .. } => error.exit(),
            Self::Workload(error) => error.exit(),
            Self::Failover(error) => error.exit(),
            Self::Lab(error) => error.exit(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Degraded { .. } => vec![
                "`pgclusterctl health` says what to do; `pgclusterctl drill heal` removes what an earlier drill left".into(),
            ],
            Self::Pending => vec!["`pgclusterctl plan` shows what is pending; run `pgclusterctl up` first".into()],
            Self::NoLab { .. } => {
                vec!["rehearse it in a lab (`pgclusterctl lab up`), or run `isolation`, which needs no power switch".into()]
            }
            Self::NoNetem { .. } => {
                vec![
                    "install iproute2 and the kernel's extra modules there, or run `cut-standby`, which needs iptables only"
                        .into(),
                ]
            }
            Self::Unfit { .. } => vec!["`pgclusterctl drill list` shows what each scenario needs".into()],
            Self::Unproved(error) => error.hints(),
            Self::Interrupted => Vec::new(),
            Self::Lock(error) => error.hints(),
            Self::Workload(error) => error.hints(),
            Self::Failover(error) => error.hints(),
            Self::Lab(error) => error.hints(),
            Self::Fleet(error) => error.hints(),
            _ => vec!["`pgclusterctl drill heal` removes what this drill left".into()],
        }
    }
}
