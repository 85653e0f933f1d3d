//! What can go wrong with a lab.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::error::{Exit, Failure};
use crate::images::ImageError;
use crate::images::local::LocalError;

/// A lab cannot be made, seen or changed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The engine below the lab.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The lab host's image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A host could not be taken off the network before its power was to be cut.
    #[error("{host} keeps its power, since it cannot be taken off the network: {said}")]
    Silence {
        /// Its container.
        host: String,
        /// What the command said.
        said: String,
    },
    /// A subnet that no lab can have.
    #[error("the subnet {subnet} cannot be a lab's: {reason}")]
    Subnet {
        /// As asked for.
        subnet: Ipv4Net,
        /// Why not.
        reason: &'static str,
    },
    /// Another network has these addresses.
    #[error("the subnet {subnet} overlaps with a network that exists")]
    SubnetTaken {
        /// As asked for.
        subnet: Ipv4Net,
        /// The engine's answer.
        #[source]
        source: LocalError,
    },
    /// The lab exists with other settings.
    #[error("lab {name} exists with {what} {has}; {wanted} was asked for")]
    Differs {
        /// The lab.
        name: String,
        /// `subnet` or `folder`.
        what: &'static str,
        /// As it is.
        has: String,
        /// As asked for.
        wanted: String,
    },
    /// More hosts than a lab can have.
    #[error("a lab has {} hosts at most, with spare ones; this would be {asked}", super::spec::MAX_HOSTS)]
    TooMany {
        /// How many it would be.
        asked: u8,
    },
    /// No such lab.
    #[error("there is no lab {name}")]
    NoLab {
        /// Its name.
        name: String,
        /// Its flag on the command line.
        flag: String,
    },
    /// No such host.
    #[error("lab {name} has no host {host}; it has {known}")]
    NoHost {
        /// The lab.
        name: String,
        /// As asked for.
        host: String,
        /// Those that exist, joined.
        known: String,
    },
    /// Hosts of the lab are off.
    #[error("{hosts} of lab {name} {verb} switched off", verb = if *.many { "are" } else { "is" })]
    Off {
        /// The lab.
        name: String,
        /// Their names, joined.
        hosts: String,
        /// Whether there are several.
        many: bool,
        /// The lab's flag on the command line.
        flag: String,
    },
    /// Neither way to give a host its rights works.
    #[error(
        "the Docker engine of this machine cannot run a Docker host, neither privileged ({privileged}) nor with single capabilities"
    )]
    Privileges {
        /// Answer to the first way.
        privileged: String,
        /// Answer to the second.
        #[source]
        source: LocalError,
    },
    /// A host ended by itself.
    #[error("{host} ended by itself; the last it said:\n{log}")]
    Ended {
        /// Its name.
        host: String,
        /// Tail of its log, indented.
        log: String,
    },
    /// A host does not become ready.
    #[error("{host} is not ready after {} s: {missing}", waited.as_secs())]
    NotReady {
        /// Its name.
        host: String,
        /// How long it was waited for.
        waited: Duration,
        /// What does not answer.
        missing: String,
    },
    /// A program of this machine.
    #[error("{program} failed: {reason}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What happened.
        reason: String,
        /// How to get it.
        hint: &'static str,
    },
    /// A file of the lab's folder.
    #[error("{}: cannot be {doing}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// `read`, `written`, `created`.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Failure for LabError {
    fn exit(&self) -> Exit {
        match self {
            Self::Local(error) => error.exit(),
            Self::Image(error) => error.exit(),
            Self::Subnet { .. } | Self::NoHost { .. } | Self::TooMany { .. } => Exit::Usage,
            Self::SubnetTaken { .. } | Self::Differs { .. } | Self::NoLab { .. } => Exit::Refused,
            Self::Off { .. } => Exit::Unhealthy,
            Self::Privileges { .. } | Self::Silence { .. } => Exit::Unreachable,
            Self::Ended { .. } | Self::NotReady { .. } => Exit::Partial,
            Self::Program { .. } | Self::File { .. } => Exit::Internal,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Local(error) => error.hints(),
            Self::Image(error) => error.hints(),
            Self::SubnetTaken { subnet, .. } => vec![
                format!("choose another, for instance --subnet {}", after(*subnet)),
                "`docker network ls` and `ip route` show what is taken; another lab takes its own subnet".into(),
            ],
            Self::Differs { name, .. } => {
                vec![format!("remove it first with `pgclusterctl lab down --name {name}`, or make a second one with --name")]
            }
            Self::NoLab { flag, .. } => vec![format!("make it: pgclusterctl lab up{flag}")],
            Self::Off { flag, .. } => vec![format!("switch them on: pgclusterctl lab start{flag}")],
            Self::Privileges { .. } => vec![
                "a lab host needs what `docker run --privileged` gives; rootless engines and most hosted CI containers refuse it".into(),
            ],
            Self::Ended { .. } | Self::NotReady { .. } => vec![
                "the inner Docker daemon needs overlayfs, bridges, iptables (nf_tables) and VXLAN from this machine's kernel".into(),
                "`pgclusterctl lab down` removes what was made".into(),
            ],
            Self::Silence { host, .. } => vec![format!("`docker restart {host}` puts it back on the network")],
            Self::Program { hint, .. } => vec![(*hint).to_owned()],
            Self::Subnet { .. } | Self::NoHost { .. } | Self::TooMany { .. } | Self::File { .. } => Vec::new(),
        }
    }
}

/// The next subnet of the same size, around at the end of all addresses.
fn after(subnet: Ipv4Net) -> Ipv4Net {
    let next = u32::from(subnet.broadcast()).wrapping_add(1);
    Ipv4Net::new(next.into(), subnet.prefix_len()).unwrap_or(subnet)
}

/// Wraps an I/O error of a file.
pub fn file(path: impl Into<PathBuf>, doing: &'static str) -> impl FnOnce(io::Error) -> LabError {
    let path = path.into();
    move |source| LabError::File { path, doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_names_another_subnet() {
        let subnet: Ipv4Net = "172.30.77.0/24".parse().expect("a subnet");
        assert_eq!(after(subnet).to_string(), "172.30.78.0/24");
    }
}
