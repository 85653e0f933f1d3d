//! `render`: everything that would be deployed, as files.

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Arguments of `render`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder to write to; created, and only files of an earlier render are replaced.
    #[arg(short, long, value_name = "DIR")]
    pub output: std::path::PathBuf,
}

/// Runs the command.
pub async fn run(_context: &Context, _args: &Args) -> Result<Exit, CommandError> {
    Err(CommandError::new(Exit::Internal, "not built yet"))
}
