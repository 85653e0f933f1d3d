//! `up`: plan, consent, waves, waits; again until nothing is left to do.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::session::Session;
use crate::context::Context;
use crate::engine::journal::Journal;
use crate::engine::runner::{self, Limits};
use crate::engine::{Events, Lock};
use crate::error::{CommandError, Exit};
use crate::images;
use crate::output::{Report, Ui, run};
use crate::plan::Plan;
use crate::plan::planner::health_conditions;
use crate::quantity::whole_millis;
use crate::topology::Topology;

/// Arguments of `up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long to wait for a wave to become healthy, e.g. 90s or 5m.
    #[arg(long, value_name = "DURATION", default_value = "180s", value_parser = crate::topology::units::parse_duration)]
    pub timeout: Duration,
}

/// Rounds of planning and running. The second deals with what the first made known, such as settings that want a restart;
/// more than a few would mean that the plan does not converge, which is a bug.
const ROUNDS: usize = 4;

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let started = Instant::now();
    let session = Session::open_whole(context).await?;
    let (_, report) = session.plan().await?;
    images::require(&session.topology, &session.fleet).await?;
    if report.pending {
        context.ui.aside(&report);
        context.ui.confirm(&format!("Bring {} to this?", session.topology.name))?;
    }
    let _guard = context.interrupt.guard();
    let manager = session.fleet.manager().await?;
    let lock = Lock::take(&manager.docker, &session.topology.name, "up", |text| context.ui.note(text)).await?;
    let (events, receiver) = Events::channel();
    let view = run::follow(&context.ui, Journal::open(&session.topology.name, "up"), receiver);
    let limits = Limits { wave: args.timeout, interrupt: &context.interrupt, lock: Some(&lock) };
    let outcome = converge(&session, &events, limits).await;
    drop(events);
    // The view ends when its sender is gone; it cannot fail in a way that matters here.
    let _ = view.await;
    lock.release().await;
    outcome?;
    context.ui.result(&UpReport::new(&session.topology, report.pending, started.elapsed()))?;
    Ok(Exit::Ok)
}

/// Plans and runs until nothing is pending and all is healthy. The first plan is made again under the lock: between
/// consent and lock somebody else may have worked.
pub(super) async fn converge(session: &Session, events: &Events, limits: Limits<'_>) -> Result<(), CommandError> {
    for _ in 0..ROUNDS {
        let (plan, _) = session.plan().await?;
        if plan.is_empty() {
            let until = health_conditions(&session.topology, &session.artifacts);
            let mut health = Plan::default();
            health.push("healthy", Vec::new(), until);
            return Ok(runner::run(&health, session.world(), events, limits).await?);
        }
        runner::run(&plan, session.world(), events, limits).await?;
    }
    let error = CommandError::new(Exit::Partial, format!("after {ROUNDS} rounds something is still pending"));
    Err(error.hint("`pgclusterctl plan` shows what; please report it"))
}

/// The end of `up`.
#[derive(Debug, Serialize)]
struct UpReport {
    schema_version: u32,
    cluster: String,
    changed: bool,
    took_ms: u64,
    write_url: String,
    read_url: String,
    stats_url: String,
}

impl UpReport {
    fn new(topology: &Topology, changed: bool, took: Duration) -> Self {
        let address = topology.client_address();
        let database = &topology.database;
        Self {
            schema_version: 1,
            cluster: topology.name.to_string(),
            changed,
            took_ms: whole_millis(took),
            write_url: format!("postgresql://app@{address}:5432/{database}"),
            read_url: format!("postgresql://app@{address}:5433/{database}"),
            stats_url: format!("http://{address}:8404/"),
        }
    }
}

impl Report for UpReport {
    fn text(&self, _ui: &Ui) -> String {
        let state = if self.changed { "is up" } else { "was up already" };
        format!(
            "{} {state} and healthy ({:.1} s)\n\n  write   {}\n  read    {}\n  stats   {}\n\n\
             Password of app:  pgclusterctl password app\nNext:             pgclusterctl status\n",
            self.cluster,
            self.took_ms as f64 / 1000.0,
            self.write_url,
            self.read_url,
            self.stats_url,
        )
    }
}
