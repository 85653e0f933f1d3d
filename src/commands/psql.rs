//! `psql`: a shell on a leader or a member.

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Arguments of `psql`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// That member instead of the coordinator leader.
    #[arg(long, value_name = "MEMBER", conflicts_with = "shard")]
    pub member: Option<String>,
    /// The leader of that shard group.
    #[arg(long, value_name = "N")]
    pub shard: Option<u32>,
    /// Arguments for psql itself.
    #[arg(last = true)]
    pub args: Vec<String>,
}

/// Runs the command.
pub async fn run(_context: &Context, _args: &Args) -> Result<Exit, CommandError> {
    Err(CommandError::new(Exit::Internal, "not built yet"))
}
