//! `activity`, `locks`, `tenants` and `tx`: what clients do on all nodes, who waits for whom, who asks for most, and what lost
//! transactions left behind.

use super::shards::open_catalog;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::observe::shards::Catalog;
use crate::output::tenants::TenantsReport;
use crate::output::traffic::{ActivityReport, LocksReport, TransactionsReport};
use crate::steps::rebalance::ShardError;
use crate::traffic::Gpid;

/// Arguments of `activity`.
#[derive(Debug, clap::Args)]
pub struct ActivityArgs {
    /// Also sessions that do nothing.
    #[arg(short, long)]
    pub all: bool,
}

/// Arguments of `locks`.
#[derive(Debug, clap::Args)]
pub struct LocksArgs {
    /// What to do; without it, show who waits for whom.
    #[command(subcommand)]
    pub command: Option<LocksCommand>,
}

/// What `locks` can do.
#[derive(Debug, clap::Subcommand)]
pub enum LocksCommand {
    /// End a session's statement, so that its transaction fails and lets go of its locks.
    Cancel {
        /// The session, as `locks` and `activity` show it.
        gpid: u64,
        /// End the whole session: an idle transaction has no statement.
        #[arg(long)]
        terminate: bool,
    },
}

/// Arguments of `tenants`.
#[derive(Debug, clap::Args)]
pub struct TenantsArgs {
    /// How many, the busiest first.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// Have every node count from zero instead.
    #[arg(long)]
    pub reset: bool,
}

/// What `tx` can do.
#[derive(Debug, clap::Subcommand)]
pub enum TxCommand {
    /// Show prepared transactions of the application's database on all nodes, in flight and left over; exits 5 when something is left.
    List,
    /// Have Citus end what is left over, by its own records.
    Recover,
}

/// Runs `activity`.
pub async fn activity(context: &Context, args: &ActivityArgs) -> Result<Exit, CommandError> {
    let catalog = open_catalog(context).await?;
    let sessions = catalog.sessions().await.map_err(ShardError::while_doing("looking at sessions"))?;
    context.ui.result(&ActivityReport::new(sessions, args.all))?;
    Ok(Exit::Ok)
}

/// Runs `locks`.
pub async fn locks(context: &Context, args: &LocksArgs) -> Result<Exit, CommandError> {
    let catalog = open_catalog(context).await?;
    match args.command {
        None => {
            let report = look_at_locks(&catalog).await?;
            context.ui.result(&report)?;
            Ok(if report.cycles.is_empty() { Exit::Ok } else { Exit::Unhealthy })
        }
        Some(LocksCommand::Cancel { gpid, terminate }) => cancel(context, &catalog, Gpid(gpid), terminate).await,
    }
}

async fn look_at_locks(catalog: &Catalog) -> Result<LocksReport, CommandError> {
    let waits = catalog.waits().await.map_err(ShardError::while_doing("looking at locks"))?;
    let sessions = catalog.sessions().await.map_err(ShardError::while_doing("looking at sessions"))?;
    Ok(LocksReport::new(waits, sessions))
}

async fn cancel(context: &Context, catalog: &Catalog, gpid: Gpid, terminate: bool) -> Result<Exit, CommandError> {
    let sessions = catalog.sessions().await.map_err(ShardError::while_doing("looking at sessions"))?;
    let gone = || ShardError::Unknown {
        what: format!("there is no session {gpid}"),
        hint: "`pgclusterctl locks` and `pgclusterctl activity` show those that are there".into(),
    };
    let session = sessions.iter().find(|session| session.gpid == gpid).ok_or_else(gone)?;
    if !terminate && !session.runs_statement() {
        let error = CommandError::new(Exit::Refused, format!("session {gpid} runs no statement: it is {}", session.state));
        return Err(error.hint(format!("end the session: `pgclusterctl locks cancel {gpid} --terminate`")));
    }
    let what = if terminate { "session" } else { "statement" };
    let question = format!("end the {what} of {} on {} ({}): {}", session.user, session.node, session.state, session.query);
    context.ui.confirm(&question)?;
    if !catalog.end_session(gpid, terminate).await.map_err(ShardError::while_doing("ending it"))? {
        return Err(gone().into());
    }
    context.ui.note(format!("the {what} of {gpid} is being ended"));
    Ok(Exit::Ok)
}

/// Runs `tenants`.
pub async fn tenants(context: &Context, args: &TenantsArgs) -> Result<Exit, CommandError> {
    let catalog = open_catalog(context).await?;
    if args.reset {
        let failed = catalog.forget_tenants().await.map_err(ShardError::while_doing("resetting what tenants asked for"))?;
        for (node, reason) in &failed {
            context.ui.warn(format!("{node}: {reason}"));
        }
        context.ui.note("tenants are counted from zero");
        return Ok(if failed.is_empty() { Exit::Ok } else { Exit::Partial });
    }
    let seen = catalog.tenants().await.map_err(ShardError::while_doing("looking at tenants"))?;
    context.ui.result(&TenantsReport::new(seen.tenants, args.top, seen.period_s, seen.not_counting, seen.silent))?;
    Ok(Exit::Ok)
}

/// Runs `tx`.
pub async fn tx(context: &Context, command: &TxCommand) -> Result<Exit, CommandError> {
    let catalog = open_catalog(context).await?;
    let before = look_at_transactions(&catalog).await?;
    if matches!(command, TxCommand::List) || !before.has_leftovers() {
        context.ui.result(&before)?;
        return Ok(if before.has_leftovers() { Exit::Unhealthy } else { Exit::Ok });
    }
    context.ui.aside(&before);
    context.ui.confirm("Have every node end what is left over of Citus' own? Others stay as they are.")?;
    for (node, reason) in catalog.recover().await.map_err(ShardError::while_doing("recovering transactions"))? {
        context.ui.warn(format!("{node}: {reason}"));
    }
    let after = look_at_transactions(&catalog).await?;
    context.ui.result(&after)?;
    Ok(if after.has_leftovers() { Exit::Partial } else { Exit::Ok })
}

async fn look_at_transactions(catalog: &Catalog) -> Result<TransactionsReport, CommandError> {
    let found = catalog.transactions().await.map_err(ShardError::while_doing("looking at prepared transactions"))?;
    Ok(TransactionsReport::new(found.prepared, found.silent))
}
