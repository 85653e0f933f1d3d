//! `new`: a commented topology.toml to start from.

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Arguments of `new`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Hosts as name=address, address or name, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub hosts: Vec<String>,
    /// Number of shard groups; 0 for a plain Patroni cluster.
    #[arg(long, default_value_t = 3)]
    pub shards: u32,
    /// Replace a file that exists.
    #[arg(long)]
    pub force: bool,
}

/// Runs the command.
pub async fn run(_context: &Context, _args: &Args) -> Result<Exit, CommandError> {
    Err(CommandError::new(Exit::Internal, "not built yet"))
}
