//! `host`: the hosts of a cluster that runs.

mod remove;
mod replace;

use std::time::Duration;

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

/// `host remove` under another name.
pub async fn take_out(context: &Context, host: &HostName, keep_volumes: bool, timeout: Duration) -> Result<Exit, CommandError> {
    remove::run(context, &remove::Args { host: host.clone(), keep_volumes, plan: false, timeout }).await
}

/// A host's name as an argument.
pub fn name(text: &str) -> Result<HostName, String> {
    HostName::new(text).map_err(|e| e.to_string())
}
