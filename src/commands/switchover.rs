//! `switchover`: a planned change of leader.

use std::time::Duration;

use super::change;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::plan::candidate::Occasion;
use crate::steps::handover::Patience;
use crate::topology::units::parse_duration;

/// Arguments of `switchover`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which group.
    #[command(flatten)]
    pub group: super::group::GroupArgs,
    /// The standby that becomes leader. Default: the best one.
    #[arg(long, value_name = "MEMBER")]
    pub to: Option<String>,
    /// How long to wait for transactions that do not end, trying again and again. They are listed when the change is given up. Of the
    /// coordinators, as all that follow: writes to a shard group are held back by Citus.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration, conflicts_with = "shard")]
    pub wait: Duration,
    /// End transactions that are older than this.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "shard")]
    pub kill_after: Option<Duration>,
    /// Do not hold clients back: each open transaction fails once.
    #[arg(long, conflicts_with_all = ["wait", "kill_after", "shard"])]
    pub no_pause: bool,
}

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let pause = (!args.no_pause).then_some(Patience { wait: args.wait, kill_after: args.kill_after });
    change::run(context, &args.group, args.to.as_deref(), Occasion::Planned, pause, false).await
}
