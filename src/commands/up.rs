//! `up`: plan, consent, waves, waits.

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Arguments of `up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long to wait for a wave to become healthy.
    #[arg(long, value_name = "DURATION", default_value = "180s")]
    pub timeout: String,
}

/// Runs the command.
pub async fn run(_context: &Context, _args: &Args) -> Result<Exit, CommandError> {
    Err(CommandError::new(Exit::Internal, "not built yet"))
}
