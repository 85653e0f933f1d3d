//! `up`: plan, consent, waves, waits; again until nothing is left to do. Then declared tables without rows.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::schema;
use super::session::Session;
use super::shards::fill::fill;
use super::shards::rebalance::Filling;
use super::work::Work;
use crate::context::Context;
use crate::engine::runner::{self, Limits};
use crate::engine::{Events, Lock};
use crate::error::{CommandError, Exit};
use crate::health::{Condition, diagnose};
use crate::images;
use crate::observe::Scope;
use crate::output::plan::{WholePlan, left_tables};
use crate::output::{Report, Ui};
use crate::plan::Plan;
use crate::plan::planner::health_conditions;
use crate::quantity::whole_millis;
use crate::steps::poolers;
use crate::topology::{GroupId, Topology};

/// Arguments of `up`.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// How long to wait for a wave to become healthy, e.g. 90s or 5m.
    #[arg(long, value_name = "DURATION", default_value = "180s", value_parser = crate::topology::units::parse_duration)]
    pub timeout: Duration,
}

/// Rounds of planning and running. The second deals with what the first made known, such as settings that want a restart;
/// more than a few would mean that the plan does not converge, which is a bug.
const ROUNDS: usize = 4;

/// How long `up` waits for what `health` asks beyond the conditions of its waves, such as guards that have had a good look.
const SETTLE: Duration = Duration::from_secs(15);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let started = Instant::now();
    let session = Session::open_whole(context).await?;
    let (_, report) = session.plan().await?;
    images::require(&session.topology, &session.fleet).await?;
    let whole = WholePlan::new(report, schema::seen(&session).await);
    let pending = whole.report.pending;
    let consent = if pending {
        context.ui.aside(&whole);
        Some(context.ui.confirm(&format!("Bring {} to this?", session.topology.name))?)
    } else {
        None
    };
    let guard = context.interrupt.guard();
    let lock = session.lock(context, "up").await?;
    let outcome = bring(context, &session, &lock, args).await;
    let tables = match (&outcome, &consent) {
        (Ok(()), Some(consent)) => schema::spread_empty(context, &session, consent).await,
        _ => Ok(whole.tables.known().cloned().unwrap_or_default()),
    };
    lock.release().await;
    outcome?;
    let healthy = settle(context, &session).await;
    context.ui.result(&UpReport::new(&session.topology, pending, healthy, started.elapsed(), left_tables(&tables?)))?;
    drop(guard);
    offer_shards(context, session).await
}

/// Brings the cluster to what the session's topology says, and shows how it goes.
pub async fn bring(context: &Context, session: &Session, lock: &Lock, args: &Args) -> Result<(), CommandError> {
    let work = Work { cluster: &session.topology.name, name: "up", wave: args.timeout, lock: Some(lock) };
    work.run(context, async |events, limits| converge(session, events, limits).await).await
}

/// Waits until `health` would pass. What it finds then is no failure of `up`: a full disk, say, is nothing that it brought about.
async fn settle(context: &Context, session: &Session) -> bool {
    let started = Instant::now();
    loop {
        let diagnosis = diagnose(&session.topology, &session.observe(Scope::all()).await);
        if diagnosis.condition == Condition::Healthy {
            return true;
        }
        if started.elapsed() > SETTLE || context.interrupt.is_asked() {
            context.ui.warn(format!("{}; `pgclusterctl health` says what to do", diagnosis.reasons.join("; ")));
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// A new shard group has no shards until somebody moves some there. That is offered with its plan where somebody can answer; consent to
/// `up`, and `--yes` above all, is none to move data. That idle groups cannot be seen is no failure of `up`.
async fn offer_shards(context: &Context, session: Session) -> Result<Exit, CommandError> {
    let idle = idle_groups(&session).await.unwrap_or_default();
    if idle.is_empty() || context.interrupt.is_asked() {
        return Ok(Exit::Ok);
    }
    let names = idle.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let verb = if idle.len() == 1 { "has" } else { "have" };
    if context.ui.can_offer() {
        context.ui.note(format!("\n{names} {verb} no shards yet. To even that out:"));
        let (exit, _) = fill(context, session, &Filling::default(), None).await?;
        return Ok(exit);
    }
    context.ui.note(format!(
        "\n{names} {verb} no shards yet: `pgclusterctl shards rebalance` moves some there, with --plan it shows which"
    ));
    Ok(Exit::Ok)
}

async fn idle_groups(session: &Session) -> Option<Vec<GroupId>> {
    session.topology.citus.as_ref()?;
    super::shards::catalog(session).await.ok()?.idle_groups().await.ok()
}

/// Plans and runs until nothing is pending and all is healthy. The first plan is made again under the lock: between
/// consent and lock somebody else may have worked.
pub(super) async fn converge(session: &Session, events: &Events, limits: Limits<'_>) -> Result<(), CommandError> {
    for round in 0..ROUNDS {
        let (plan, _) = session.plan().await?;
        if plan.is_empty() {
            let until = health_conditions(&session.topology, &session.artifacts);
            let mut health = Plan::default();
            health.push("healthy", Vec::new(), until);
            runner::run(&health, session.world(), events, limits).await?;
            // Members may be elsewhere by now, or have led and lead no more: sessions that poolers keep would try them once more.
            if round > 0 && session.topology.citus.is_some() {
                poolers::renew(session.world()).await?;
            }
            return Ok(());
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
    healthy: bool,
    took_ms: u64,
    write_url: String,
    read_url: String,
    stats_url: String,
    /// Declared tables that are not spread as declared: for `schema apply`.
    tables_left: Vec<String>,
}

impl UpReport {
    fn new(topology: &Topology, changed: bool, healthy: bool, took: Duration, tables_left: Vec<String>) -> Self {
        let address = topology.client_address();
        let database = &topology.database;
        Self {
            schema_version: 1,
            cluster: topology.name.to_string(),
            changed,
            healthy,
            took_ms: whole_millis(took),
            write_url: format!("postgresql://app@{address}:5432/{database}"),
            read_url: format!("postgresql://app@{address}:5433/{database}"),
            stats_url: format!("http://{address}:8404/"),
            tables_left,
        }
    }
}

impl Report for UpReport {
    fn text(&self, _ui: &Ui) -> String {
        let left = if self.tables_left.is_empty() {
            String::new()
        } else {
            format!("\nNot spread as declared:  {} (pgclusterctl schema apply)\n", self.tables_left.join(", "))
        };
        let state = if self.changed { "is up" } else { "was up already" };
        let health = if self.healthy { " and healthy" } else { "" };
        format!(
            "{} {state}{health} ({:.1} s)\n\n  write   {}\n  read    {}\n  stats   {}\n\n\
             Password of app:  pgclusterctl password app\nNext:             pgclusterctl status\n{left}",
            self.cluster,
            self.took_ms as f64 / 1000.0,
            self.write_url,
            self.read_url,
            self.stats_url,
        )
    }
}
