//! A lab: real Docker hosts as containers of the local engine, to try a cluster on one machine and to test it.
//!
//! Each host runs sshd and a Docker daemon of its own, has a fixed address and a volume on /var/lib/docker, and can be killed
//! like a machine whose power is cut. To everything else of this program a lab's hosts are hosts like any other: they are
//! reached over SSH with the keys and the topology of the lab's folder. Called by `commands::lab` and by the tests.
//!
//! Only objects that bear the lab's label are ever changed or removed.

mod error;
mod folder;
mod host;
mod power;
mod privilege;
mod report;
mod spec;
mod state;
mod topology_file;
mod up;

pub use error::LabError;
pub use power::{down, kill, of_host, start, what_goes};
pub use report::{HostReport, LabReport, Power};
pub use spec::{DEFAULT_SUBNET, LabName, MAX_HOSTS, counted};
pub use state::{DaemonFacts, Existing};
pub use up::{Request, up};

use crate::images::local;

/// How the lab is now.
pub async fn status(name: &LabName) -> Result<LabReport, LabError> {
    report::look(&local::connect().await?, name).await
}
