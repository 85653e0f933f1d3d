//! `schema apply`: the application's tables, spread as the topology declares.

use super::session::Session;
use super::shards::{carried, catalog, sharded};
use crate::consent::Consent;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::observe::Probe;
use crate::observe::shards::Catalog;
use crate::output::Step;
use crate::output::shards::TablesReport;
use crate::shards::{TableRow, Task, compare};
use crate::steps::rebalance::ShardError;
use crate::steps::tables::spread;
use crate::topology::GroupId;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Spread declared tables that are not spread yet, also those with rows, while clients write.
    Apply(ApplyArgs),
}

/// Arguments of `schema apply`.
#[derive(Debug, clap::Args)]
pub struct ApplyArgs {
    /// Show what would be done, and change nothing.
    #[arg(long)]
    pub plan: bool,
}

/// Runs the command.
pub async fn run(context: &Context, command: &Command) -> Result<Exit, CommandError> {
    let Command::Apply(args) = command;
    let session = sharded(context).await?;
    if session.topology.tables.is_empty() {
        let error = CommandError::new(Exit::Usage, format!("{} declares no tables", session.topology.name));
        return Err(error.hint("add [[table]] blocks to the topology: docs/topology.md has their keys"));
    }
    let catalog = catalog(&session).await?;
    let report = TablesReport::new(look(&session, &catalog).await?);
    let tasks: Vec<Task> = report.tables.iter().filter_map(TableRow::task).cloned().collect();
    if args.plan || tasks.is_empty() {
        context.ui.result(&report)?;
        let refused = !args.plan && report.tables.iter().any(TableRow::is_stuck);
        return Ok(if refused { Exit::Refused } else { Exit::Ok });
    }
    context.ui.aside(&report);
    let consent = context.ui.confirm("Spread these tables?")?;
    let spread = async {
        // Between the question and the lock an `up` may have spread some of them, and others may have got rows.
        let rows = look(&session, &catalog).await?;
        let agreed = |task: &&Task| tasks.iter().any(|one| one.table == task.table);
        for task in rows.iter().filter_map(TableRow::task).filter(agreed) {
            session.unless_interrupted(carried(&session, work(context, &catalog, task, &consent))).await?;
        }
        Ok(TablesReport::new(look(&session, &catalog).await?))
    };
    let after = session.locked(context, "schema apply", spread).await?;
    context.ui.result(&after)?;
    let whole = !after.tables.iter().any(|row| row.is_stuck() || row.task().is_some());
    Ok(if whole { Exit::Ok } else { Exit::Partial })
}

/// Declared tables as they are; unknown where nobody can be asked, such as before the first `up`.
pub async fn seen(session: &Session) -> Probe<Vec<TableRow>> {
    if session.topology.tables.is_empty() {
        return Probe::Known(Vec::new());
    }
    let look = async {
        let leader = session.leader(GroupId::COORDINATOR).await?;
        let catalog = Catalog::open(&session.topology, &session.fleet, &leader).await.map_err(ShardError::from)?;
        look(session, &catalog).await
    };
    look.await.map_or_else(|error: CommandError| Probe::fail("tables", error), Probe::Known)
}

/// The part of it that `up` does: tables without rows. Gives back how tables are then.
pub async fn spread_empty(context: &Context, session: &Session, consent: &Consent) -> Result<Vec<TableRow>, CommandError> {
    if session.topology.tables.is_empty() {
        return Ok(Vec::new());
    }
    let catalog = catalog(session).await?;
    let rows = look(session, &catalog).await?;
    let tasks: Vec<&Task> = rows.iter().filter_map(TableRow::quick).collect();
    if tasks.is_empty() {
        return Ok(rows);
    }
    for task in tasks {
        work(context, &catalog, task, consent).await?;
    }
    look(session, &catalog).await
}

async fn look(session: &Session, catalog: &Catalog) -> Result<Vec<TableRow>, CommandError> {
    let declared = &session.topology.tables;
    let seen = catalog.tables(declared).await.map_err(ShardError::while_doing("looking at tables"))?;
    Ok(compare(declared, &seen))
}

async fn work(context: &Context, catalog: &Catalog, task: &Task, consent: &Consent) -> Result<(), CommandError> {
    let step = Step::start(&context.ui, format!("{} {}", task.table, task.spread));
    spread(catalog, task, consent).await?;
    step.done("");
    Ok(())
}
