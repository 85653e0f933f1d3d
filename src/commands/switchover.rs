//! `switchover`: a planned change of leader.

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Arguments of `switchover`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which group.
    #[command(flatten)]
    pub group: super::group::GroupArgs,
    /// The standby that becomes leader. Default: the best one.
    #[arg(long, value_name = "MEMBER")]
    pub to: Option<String>,
}

/// Runs the command.
pub async fn run(_context: &Context, _args: &Args) -> Result<Exit, CommandError> {
    Err(CommandError::new(Exit::Internal, "not built yet"))
}
