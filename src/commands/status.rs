//! `status`: the cluster at one glance.

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show it again and again until interrupted.
    #[arg(short, long)]
    pub watch: bool,
}

/// Runs the command.
pub async fn run(_context: &Context, _args: &Args) -> Result<Exit, CommandError> {
    Err(CommandError::new(Exit::Internal, "not built yet"))
}
