//! Why the guard cannot start. Once it runs nothing ends it: what fails is logged, counted and tried again.

use crate::error::{Exit, Failure};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The address of etcd is none.
    #[error("{endpoint:?} is no address of etcd")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        #[source]
        source: etcd_client::Error,
    },
    /// The port for metrics is taken.
    #[error("cannot listen on {address}")]
    Listen {
        /// What was given.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The socket's path is none.
    #[error("cannot use the Docker socket {path}")]
    Docker {
        /// What was given.
        path: String,
        /// Why.
        #[source]
        source: bollard::errors::Error,
    },
}

impl Failure for GuardError {
    fn exit(&self) -> Exit {
        match self {
            Self::Endpoint { .. } => Exit::Usage,
            Self::Listen { .. } | Self::Docker { .. } => Exit::Unreachable,
        }
    }
}
