//! `plan`: what `up` would do.

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Exit with 5 when anything is pending.
    #[arg(long)]
    pub check: bool,
}

/// Runs the command.
pub async fn run(_context: &Context, _args: &Args) -> Result<Exit, CommandError> {
    Err(CommandError::new(Exit::Internal, "not built yet"))
}
