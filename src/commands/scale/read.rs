//! `scale read`: more readers of a group. Hosts that have one already are brought up with the rest, so that a command that was
//! killed is run again.

use std::time::Instant;

use super::super::group::GroupArgs;
use super::super::session::Session;
use super::super::up;
use super::{not_up, text, write_and_bring};
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::images;
use crate::observe::Scope;
use crate::output::scale::ReadersReport;
use crate::plan::Refused;
use crate::plan::diff::unified;
use crate::plan::planner::Refusal;
use crate::topology::edit;

/// Arguments of `scale read`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose readers.
    #[command(flatten)]
    pub group: GroupArgs,
    /// A reader on each of these hosts. Default: one, on the host with the fewest members.
    #[arg(long, value_name = "HOST,…", value_delimiter = ',')]
    pub hosts: Vec<String>,
    /// How they are brought up.
    #[command(flatten)]
    pub up: up::Args,
}

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let started = Instant::now();
    let id = args.group.id();
    let (path, old) = (&context.topology_path, text(context)?);
    let edit::Edit { before, text: new, after } = edit::add_readers(&old, path, id, &args.hosts)?;
    let session = Session::of(context, before).await?;
    session.fleet.require_all()?;
    let observed = session.observe(Scope::plan()).await;
    // There is nobody yet whom a reader could follow.
    if not_up(&session, &observed).contains(&id) {
        let why = "is in the topology file, and not there yet";
        return Err(Refused(vec![Refusal::new(id.to_string(), why, "bring it up first: `pgclusterctl up`")]).into());
    }
    let session = session.meaning(after)?;
    let (_, mut report) = session.plan().await?;
    images::require(&session.topology, &session.fleet).await?;
    report.differences.splice(0..0, unified(&path.display().to_string(), &old, &new));
    let pending = report.pending || old != new;
    let result = |pending| ReadersReport::new(&session.topology, id, pending, started.elapsed());
    if !pending {
        context.ui.result(&result(false))?;
        return Ok(Exit::Ok);
    }
    context.ui.aside(&report);
    context.ui.confirm(&format!("Write {}, and bring {} to this?", path.display(), session.topology.name))?;

    write_and_bring(context, &session, "scale read", (&old, &new), "the readers", &args.up).await?;
    context.ui.result(&result(true))?;
    Ok(Exit::Ok)
}
