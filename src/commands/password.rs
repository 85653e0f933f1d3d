//! `password`: reads a password out of the cluster.

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Arguments of `password`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose: app, stats, superuser, replication, rewind, restapi or pgbouncer.
    #[arg(default_value = "app")]
    pub user: String,
}

/// Runs the command.
pub async fn run(_context: &Context, _args: &Args) -> Result<Exit, CommandError> {
    Err(CommandError::new(Exit::Internal, "not built yet"))
}
