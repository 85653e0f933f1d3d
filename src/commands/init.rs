//! `init`: from bare Docker hosts to a Swarm with labels, networks and secrets.

use std::time::Duration;

use serde::Serialize;

use super::session::Session;
use super::work::Work;
use crate::context::Context;
use crate::engine::runner;
use crate::error::{CommandError, Exit};
use crate::observe::Scope;
use crate::output::{Report, Ui, table, ui::Tone};
use crate::plan::preflight::{self, Check, Outcome};
use crate::plan::{PlanReport, Refused, init};

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Check only; change nothing.
    #[arg(long)]
    pub check: bool,
}

/// Joining a Swarm answers within seconds or not at all.
const WAVE: Duration = Duration::from_secs(60);

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let session = Session::open_whole(context).await?;
    let observed = session.observe(Scope::init()).await;
    let checks = preflight::checks(&session.topology, &observed);
    let failed = checks.iter().filter(|c| c.outcome == Outcome::Fail).count();
    let report = InitReport { schema_version: 1, cluster: session.topology.name.to_string(), prepared: false, checks };
    if failed > 0 {
        context.ui.result(&report)?;
        let error = CommandError::new(Exit::Refused, format!("{failed} checks failed; nothing was changed"));
        return Err(error.hint("mend them, and run `pgclusterctl init` again"));
    }
    let plan = init::plan(&session.topology, &observed).map_err(Refused)?;
    if args.check {
        context.ui.result(&report)?;
        return Ok(if plan.is_empty() { Exit::Ok } else { Exit::Unhealthy });
    }
    if !plan.is_empty() {
        context.ui.aside(&report);
        let cluster = report.cluster.clone();
        context.ui.aside(&PlanReport {
            schema_version: 1,
            cluster,
            pending: true,
            plan: plan.clone(),
            differences: Vec::new(),
        });
        context.ui.confirm("Prepare the hosts like this?")?;
    }
    let _guard = context.interrupt.guard();
    // The lock lives in the Swarm: while there is none, two operators are kept apart by Swarm itself, which is created once.
    let lock = match session.fleet.manager().await {
        Ok(_) => Some(session.lock(context, "init").await?),
        Err(_) => None,
    };
    let work = Work { cluster: &session.topology.name, name: "init", wave: WAVE, lock: lock.as_ref() };
    let outcome =
        work.run(context, async |events, limits| Ok(runner::run(&plan, session.world(), events, limits).await?)).await;
    if let Some(lock) = lock {
        lock.release().await;
    }
    outcome?;
    context.ui.result(&InitReport { prepared: true, ..report })?;
    Ok(Exit::Ok)
}

/// The checks of the hosts, and whether they are prepared.
#[derive(Debug, Clone, Serialize)]
struct InitReport {
    schema_version: u32,
    cluster: String,
    prepared: bool,
    checks: Vec<Check>,
}

impl Report for InitReport {
    fn text(&self, ui: &Ui) -> String {
        let mut table = table::table(&["host", "check", "result", "seen", "remedy"]);
        // All is well: a line per host would only hide the last line.
        let shown = self.checks.iter().filter(|c| !self.prepared || c.outcome != Outcome::Pass);
        for check in shown {
            let (tone, word) = match check.outcome {
                Outcome::Pass => (Tone::Good, "pass"),
                Outcome::Warn => (Tone::Odd, "warn"),
                Outcome::Fail => (Tone::Bad, "FAIL"),
            };
            let remedy = if check.remedy.is_empty() { table::MISSING } else { &check.remedy };
            table.add_row([&check.host, check.check, &ui.paint(tone, word), &check.seen, remedy]);
        }
        let mut text = if table.is_empty() { String::new() } else { table::render(&table) };
        if self.prepared {
            text.push_str(&format!(
                "The hosts of {} are prepared.\nNext:  pgclusterctl image push   (once, and after each new version)\n       pgclusterctl up\n",
                self.cluster
            ));
        }
        text
    }
}
