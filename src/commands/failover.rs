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
    /// Do not wait for the command that holds the cluster's lock, on whatever machine it runs: it stops before its next step.
    #[arg(long)]
    pub break_lock: bool,
}

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let occasion = Occasion::Unplanned { force: args.force };
    change::run(context, &args.group, args.to.as_deref(), occasion, None, args.break_lock).await
}
