//! `guard`: the lease guard, as it runs in its container.

use std::net::SocketAddr;
use std::time::Duration;

use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::guard::{self, Options};
use crate::topology::units::parse_duration;

/// Arguments of `guard`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the cluster.
    #[arg(long)]
    pub cluster: String,
    /// The etcd member on this host.
    #[arg(long, value_name = "HOST:PORT")]
    pub etcd: String,
    /// Added to loop_wait + 2 · retry_timeout before a lease counts as abandoned.
    #[arg(long, value_name = "DURATION", default_value = "300ms", value_parser = parse_duration)]
    pub margin: Duration,
    /// Socket of this host's Docker daemon.
    #[arg(long, value_name = "PATH", default_value = "/var/run/docker.sock")]
    pub docker: String,
    /// Where metrics are served.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8009")]
    pub listen: SocketAddr,
}

/// Runs the command.
pub async fn run(_context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let options = Options {
        cluster: args.cluster.clone(),
        etcd: args.etcd.clone(),
        margin: args.margin,
        docker: args.docker.clone(),
        listen: args.listen,
    };
    guard::run(options).await?;
    Ok(Exit::Ok)
}
