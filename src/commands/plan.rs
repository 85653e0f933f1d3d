//! `plan`: what `up` would do.

use super::schema;
use super::session::Session;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::output::plan::WholePlan;

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Exit with 5 when anything is pending.
    #[arg(long)]
    pub check: bool,
}

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    // A plan over hosts that nobody can see would be a guess.
    let session = Session::open_whole(context).await?;
    let (_, report) = session.plan().await?;
    let whole = WholePlan::new(report, schema::seen(&session).await);
    context.ui.result(&whole)?;
    Ok(if args.check && whole.report.pending { Exit::Unhealthy } else { Exit::Ok })
}
