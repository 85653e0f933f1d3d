//! `lab up | status | down | kill | start`: real Docker hosts on one machine.

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// What to do with the lab.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Start the hosts, and write keys, known_hosts and a matching topology.toml.
    Up(UpArgs),
    /// Show the hosts.
    Status,
    /// Remove the hosts with everything on them.
    Down,
    /// Cut a host's power.
    Kill {
        /// Host, e.g. host1.
        host: String,
    },
    /// Switch a killed host on again.
    Start {
        /// Host, e.g. host1.
        host: String,
    },
}

/// Arguments of `lab up`.
#[derive(Debug, clap::Args)]
pub struct UpArgs {
    /// Number of hosts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub hosts: u8,
    /// Number of shard groups in the topology that is written.
    #[arg(long, default_value_t = 3)]
    pub shards: u32,
}

/// Runs the command.
pub async fn run(_context: &Context, _command: &Command) -> Result<Exit, CommandError> {
    Err(CommandError::new(Exit::Internal, "not built yet"))
}
