//! `status`: the cluster at one glance.

use super::rounds;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::output::status::StatusReport;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show it again every two seconds until interrupted.
    #[arg(short, long)]
    pub watch: bool,
}

/// Runs the command: 5 when the cluster is not healthy, 4 when none of its hosts answers.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    rounds::run(context, args.watch, |topology, observed| {
        let report = StatusReport::new(topology, observed, context.verbose);
        let condition = report.condition;
        (report, condition)
    })
    .await
}
