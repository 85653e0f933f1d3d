//! `failover`: an unplanned change of leader.

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Arguments of `failover`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which group.
    #[command(flatten)]
    pub group: super::group::GroupArgs,
    /// The standby that becomes leader. Default: the best one.
    #[arg(long, value_name = "MEMBER")]
    pub to: Option<String>,
    /// Accept a candidate that may have lost acknowledged writes.
    #[arg(long)]
    pub force: bool,
}

/// Runs the command.
pub async fn run(_context: &Context, _args: &Args) -> Result<Exit, CommandError> {
    Err(CommandError::new(Exit::Internal, "not built yet"))
}
