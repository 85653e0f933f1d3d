//! `topology check | show | schema | tolerance`: the file explained; touches no host.

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// What to explain.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub enum Command {
    /// Report every mistake of the file.
    Check,
    /// Show the resolved topology: who runs where.
    Show,
    /// Print the JSON Schema of topology.toml, for editors.
    Schema,
    /// Show which combinations of lost hosts the cluster survives, and what each costs.
    Tolerance,
}

/// Runs the command.
pub async fn run(_context: &Context, _command: Command) -> Result<Exit, CommandError> {
    Err(CommandError::new(Exit::Internal, "not built yet"))
}
