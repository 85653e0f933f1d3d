//! The Docker engine of this machine: where images are built, and on which a lab's hosts run.
//!
//! Used by image building and by the lab; never by anything that talks to a cluster.

use std::time::Duration;

use bollard::Docker;

use crate::error::{Exit, Failure};

/// Oldest engine with what a lab needs (cgroup namespaces, Engine API 1.41).
const OLDEST_MAJOR: u32 = 20;

/// Longest silence of the engine within one request; archives of images take their time.
const TIMEOUT: Duration = Duration::from_secs(900);

/// The local engine is missing, too old or failed at something.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Nothing answers.
    #[error("no Docker engine answers at {address}")]
    Absent {
        /// `DOCKER_HOST`, or the default socket.
        address: String,
        /// What happened.
        #[source]
        source: bollard::errors::Error,
    },
    /// The engine lacks what is needed.
    #[error("the Docker engine of this machine is version {version}; {OLDEST_MAJOR}.10 or newer is needed")]
    TooOld {
        /// Its version.
        version: String,
    },
    /// A request failed.
    #[error("the Docker engine of this machine cannot {doing}")]
    Request {
        /// What was asked, e.g. `create the network x`.
        doing: String,
        /// Its answer.
        #[source]
        source: bollard::errors::Error,
    },
}

impl Failure for LocalError {
    fn exit(&self) -> Exit {
        match self {
            Self::Absent { .. } | Self::TooOld { .. } => Exit::Unreachable,
            Self::Request { .. } => Exit::Partial,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Absent { source, .. } if denied(source) => {
                vec!["run it as root, or join the group that owns the socket: usermod -aG docker $USER, then log in again".into()]
            }
            Self::Absent { .. } => vec![
                "Debian and Ubuntu: apt-get install docker.io, and docker-cli where that is a package".into(),
                "start it with `systemctl start docker`; where no systemd runs, as root: setsid dockerd >/var/log/dockerd.log 2>&1 &"
                    .into(),
            ],
            Self::TooOld { .. } => vec!["install the current docker.io of your distribution".into()],
            Self::Request { .. } => Vec::new(),
        }
    }
}

/// Wraps a failed request.
pub fn failed(doing: impl Into<String>) -> impl FnOnce(bollard::errors::Error) -> LocalError {
    let doing = doing.into();
    move |source| LocalError::Request { doing, source }
}

/// Connects to the engine that the `docker` command would use: `DOCKER_HOST`, or the default socket.
pub async fn connect() -> Result<Docker, LocalError> {
    let address = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".into());
    let absent = |source| LocalError::Absent { address: address.clone(), source };
    let docker = Docker::connect_with_defaults().map_err(absent)?.with_timeout(TIMEOUT);
    let docker = docker.negotiate_version().await.map_err(absent)?;
    let version = docker.version().await.map_err(absent)?.version.unwrap_or_default();
    if major(&version).is_some_and(|major| major < OLDEST_MAJOR) {
        return Err(LocalError::TooOld { version });
    }
    Ok(docker)
}

/// The first number of an engine's version; development builds have none.
pub fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

/// Whether the engine said that something does not exist.
pub fn is_not_found(error: &bollard::errors::Error) -> bool {
    matches!(error, bollard::errors::Error::DockerResponseServerError { status_code: 404, .. })
}

fn denied(error: &bollard::errors::Error) -> bool {
    // The cause is buried at a depth that differs between versions of the HTTP client.
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::PermissionDenied;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_a_major_number() {
        assert_eq!(major("20.10.24+dfsg1"), Some(20));
        assert_eq!(major("dev"), None);
    }
}
