//! `health`: named checks with evidence and remedy; with `--repair` it puts Citus' metadata right.

use std::time::Duration;

use super::rounds;
use super::session::Session;
use crate::consent::Consent;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::health::repair::{Repairs, repairs};
use crate::health::{Look, diagnose};
use crate::observe::Scope;
use crate::observe::shards::Catalog;
use crate::output::Step;
use crate::output::health::HealthReport;
use crate::steps::metadata;
use crate::topology::GroupId;

/// What is wrong for longer than this stays so, beside Patroni's own rounds: Citus sends outdated metadata again every 5 s
/// (`citus.metadata_sync_retry_interval`).
const SETTLE: Duration = Duration::from_secs(7);
/// How often to look whether a repair took effect, and how long.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
const LOOKS: u32 = 15;

/// Arguments of `health`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Check again every two seconds until interrupted.
    #[arg(short, long)]
    pub watch: bool,
    /// Put Citus' metadata right where neither Patroni nor Citus does: shows what it would do, and asks.
    #[arg(long, conflicts_with = "watch")]
    pub repair: bool,
}

/// Runs the command: 5 when a check failed, 4 when no host answers. Warnings alone are no failure.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    if args.repair {
        return repair(context).await;
    }
    report(context, args.watch).await
}

async fn report(context: &Context, watch: bool) -> Result<Exit, CommandError> {
    rounds::run(context, watch, |topology, observed| {
        let diagnosis = diagnose(topology, observed);
        let condition = diagnosis.condition;
        (HealthReport::new(&topology.name, diagnosis, context.verbose), condition)
    })
    .await
}

async fn repair(context: &Context) -> Result<Exit, CommandError> {
    let session = Session::open(context).await?;
    let wanted = lasting(context, &session).await?;
    for advice in &wanted.advice {
        context.ui.warn(advice);
    }
    if wanted.steps.is_empty() {
        context.ui.note("Nothing of Citus' metadata is to be repaired.");
        return report(context, false).await;
    }
    for step in &wanted.steps {
        context.ui.note(format!("  {step}"));
    }
    let consent = context.ui.confirm("Do this on the coordinators' leader?")?;

    session.locked(context, "health --repair", mend(context, &session, &wanted, &consent)).await?;
    report(context, false).await
}

/// Does what is to be done and still is, and waits until it took effect. The caller holds the cluster's lock.
pub(super) async fn mend(
    context: &Context,
    session: &Session,
    wanted: &Repairs,
    consent: &Consent,
) -> Result<(), CommandError> {
    // Somebody thought about the question, and a leader may have changed meanwhile.
    let wanted = wanted.clone().lasting(look(session).await?);
    let leader = session.leader(GroupId::COORDINATOR).await?;
    let catalog = Catalog::open(&session.topology, &session.fleet, &leader).await.map_err(metadata::RepairError::from)?;
    for step in &wanted.steps {
        if context.interrupt.is_asked() {
            return Err(CommandError::new(Exit::Interrupted, "interrupted; what was not begun is not done"));
        }
        let shown = Step::start(&context.ui, step.to_string());
        metadata::repair(&catalog, step, consent).await?;
        shown.done("");
    }
    settle(session).await;
    Ok(())
}

/// What is to be done now and some seconds later.
pub(super) async fn lasting(context: &Context, session: &Session) -> Result<Repairs, CommandError> {
    let first = look(session).await?;
    if first == Repairs::default() {
        return Ok(first);
    }
    let wait = SETTLE + session.topology.failover.loop_wait;
    let step = Step::start(
        &context.ui,
        format!("looking again in {} s: what Patroni and Citus do by themselves is left to them", wait.as_secs()),
    );
    tokio::time::sleep(wait).await;
    let second = look(session).await?;
    step.done("");
    Ok(first.lasting(second))
}

async fn look(session: &Session) -> Result<Repairs, CommandError> {
    let observed = session.observe(Scope { patroni: true, citus: true, citus_copies: true, ..Scope::default() }).await;
    repairs(&Look { topology: &session.topology, observed: &observed }).map_err(|reason| {
        let error = CommandError::new(Exit::Refused, format!("Citus' metadata is not touched now: {reason}"));
        error.hint("wait until `pgclusterctl status` shows a leader of every group, and run this again")
    })
}

/// Waits until nothing is left to be done; a report follows in any case.
async fn settle(session: &Session) {
    for _ in 0..LOOKS {
        if look(session).await.is_ok_and(|left| left.steps.is_empty()) {
            return;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
