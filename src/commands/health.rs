//! `health`: named checks with evidence and remedy.

use super::rounds;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::health::diagnose;
use crate::output::health::HealthReport;

/// Arguments of `health`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Check again every two seconds until interrupted.
    #[arg(short, long)]
    pub watch: bool,
}

/// Runs the command: 5 when a check failed, 4 when no host answers. Warnings alone are no failure.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    rounds::run(context, args.watch, |topology, observed| {
        let diagnosis = diagnose(topology, observed);
        let condition = diagnosis.condition;
        (HealthReport::new(&topology.name, diagnosis, context.verbose), condition)
    })
    .await
}
