//! `exec`: a command in a container of the cluster.

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Arguments of `exec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Member, etcd member or proxy service.
    pub member: String,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// Runs the command.
pub async fn run(_context: &Context, _args: &Args) -> Result<Exit, CommandError> {
    Err(CommandError::new(Exit::Internal, "not built yet"))
}
