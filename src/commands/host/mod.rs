//! `host`: the hosts of a cluster that runs.

mod replace;

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Put another host in the place of one that is lost for good.
    Replace(replace::Args),
}

/// Runs the command.
pub async fn run(context: &Context, command: &Command) -> Result<Exit, CommandError> {
    match command {
        Command::Replace(args) => replace::run(context, args).await,
    }
}
