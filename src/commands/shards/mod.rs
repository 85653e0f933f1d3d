//! `shards`: where the rows are, and moving them.

mod cancel;
pub mod fill;
mod list;
mod moves;
pub mod ready;
pub mod rebalance;

use std::convert::Infallible;
use std::time::Duration;

use super::session::Session;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::observe::shards::Catalog;
use crate::shards::ShardMap;
use crate::steps::rebalance::{ShardError, nudge};
use crate::topology::GroupId;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show where the shards are, how large, and how evenly they lie.
    List(list::ListArgs),
    /// Show which shard, group and host a value lives on.
    Where(list::WhereArgs),
    /// Move shards until all shard groups carry alike; goes on without this program.
    Rebalance(rebalance::Args),
    /// Show the newest rebalance.
    Status(rebalance::StatusArgs),
    /// Stop the rebalance that runs.
    Cancel,
    /// Empty shard groups: none of their shards stays.
    Drain(rebalance::DrainArgs),
    /// Move one shard, and those that lie with it, to another group.
    Move(moves::MoveArgs),
    /// Give one value of the distribution column a shard of its own.
    Isolate(moves::IsolateArgs),
    /// Split a shard, and those that lie with it, into equal parts.
    Split(moves::SplitArgs),
}

/// Runs the command.
pub async fn run(context: &Context, command: &Command) -> Result<Exit, CommandError> {
    match command {
        Command::List(args) => list::list(context, args).await,
        Command::Where(args) => list::locate(context, args).await,
        Command::Rebalance(args) => rebalance::run(context, args).await,
        Command::Status(args) => rebalance::status(context, args).await,
        Command::Cancel => cancel::run(context).await,
        Command::Drain(args) => rebalance::drain(context, args).await,
        Command::Move(args) => moves::relocate(context, args).await,
        Command::Isolate(args) => moves::isolate(context, args).await,
        Command::Split(args) => moves::split(context, args).await,
    }
}

/// A cluster with shards, and Citus' catalog of it.
pub struct Shards {
    /// The cluster.
    pub session: Session,
    /// Its catalog.
    pub catalog: Catalog,
    /// What the catalog says.
    pub map: ShardMap,
}

/// Opens Citus' catalog, for what needs no more than that.
pub async fn open_catalog(context: &Context) -> Result<Catalog, CommandError> {
    catalog(&sharded(context).await?).await
}

/// A session with a cluster that has shard groups.
pub async fn sharded(context: &Context) -> Result<Session, CommandError> {
    let session = Session::open(context).await?;
    if session.topology.citus.is_some() {
        return Ok(session);
    }
    let error = CommandError::new(Exit::Usage, format!("{} has no shard groups", session.topology.name));
    Err(error.hint("add [shards] to the topology and run `pgclusterctl up`"))
}

impl Shards {
    async fn open(context: &Context) -> Result<Self, CommandError> {
        Self::over(sharded(context).await?).await
    }

    /// Of a session with a cluster that has shard groups.
    pub async fn over(session: Session) -> Result<Self, CommandError> {
        let catalog = catalog(&session).await?;
        let map = catalog.map().await.map_err(ShardError::while_doing("looking at the shards"))?;
        Ok(Self { session, catalog, map })
    }
}

/// Does what carries rows from node to node, with a [`nudge`] every half second, over a connection of its own.
pub async fn carried<T>(session: &Session, work: impl Future<Output = T>) -> T {
    tokio::select! {
        done = work => done,
        never = Box::pin(nudging(session)) => match never {},
    }
}

async fn nudging(session: &Session) -> Infallible {
    /// Twice in the second between two looks of Citus.
    const PAUSE: Duration = Duration::from_millis(500);
    let mut nudger = None;
    loop {
        tokio::time::sleep(PAUSE).await;
        if nudger.is_none() {
            nudger = catalog(session).await.ok();
        }
        let Some(open) = &nudger else { continue };
        if nudge(open).await.is_err() {
            nudger = None;
        }
    }
}

/// Connects to wherever the coordinators' leader is now.
pub async fn catalog(session: &Session) -> Result<Catalog, CommandError> {
    let leader = session.leader(GroupId::COORDINATOR).await?;
    Ok(Catalog::open(&session.topology, &session.fleet, &leader).await.map_err(ShardError::from)?)
}
