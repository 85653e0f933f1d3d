//! `host`: the hosts of a cluster that runs.

mod remove;
mod replace;

use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::topology::HostName;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Put another host in the place of one that is lost for good.
    Replace(replace::Args),
    /// Take a host out that is alive and not needed any more.
    Remove(remove::Args),
}

/// Runs the command.
pub async fn run(context: &Context, command: &Command) -> Result<Exit, CommandError> {
    match command {
        Command::Replace(args) => replace::run(context, args).await,
        Command::Remove(args) => remove::run(context, args).await,
    }
}

fn name(text: &str) -> Result<HostName, String> {
    HostName::new(text).map_err(|e| e.to_string())
}
