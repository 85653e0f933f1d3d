//! `init`: from bare Docker hosts to a Swarm with networks and secrets.

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Check only; change nothing.
    #[arg(long)]
    pub check: bool,
}

/// Runs the command.
pub async fn run(_context: &Context, _args: &Args) -> Result<Exit, CommandError> {
    Err(CommandError::new(Exit::Internal, "not built yet"))
}
