//! `failover`: an unplanned change of leader.

use super::change;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::plan::candidate::Occasion;

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
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    change::run(context, &args.group, args.to.as_deref(), Occasion::Unplanned { force: args.force }, None).await
}
