//! What drills leave in the application's database: a schema of their own. It goes when a drill ends, or by `drill heal`; both hold the
//! cluster's lock, so that nobody's drill loses its tables.

use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;

use super::DrillError;
use super::cast::{connect, synced};
use super::workload::tables;
use crate::failover;
use crate::remote::sql::{self, says};
use crate::steps::World;
use crate::topology::GroupId;

/// Dropping a distributed table removes its shards on every group.
const PATIENCE: Duration = Duration::from_secs(60);
/// Shards that were moved are removed from where they were after half of that ([`tables::DROP_SCHEMA`]).
const MOVED_AWAY: Duration = Duration::from_secs(30);
/// Pause until the schema is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// Nobody waits for whom a client has left there: what holds a lock for longer, is told of.
const LOCKS: &str = "set lock_timeout to '10s'";

/// Drops the schema with the drill's tables; false when there is none that a drill has made.
pub async fn remove(world: World<'_>) -> Result<bool, DrillError> {
    let leader = failover::state(world, GroupId::COORDINATOR).await?.leader;
    if leader.is_empty() {
        return Err(DrillError::NoTarget { what: "leader of the coordinators".into() });
    }
    let (container, client) = connect(world, &leader).await?;
    let found = sql::rows(&container, &client, tables::READ_MARK, PATIENCE).await?;
    if !found.iter().any(|row| tables::is_ours(row.get(0))) {
        return Ok(false);
    }
    synced(world, &leader).await?;
    for statement in [LOCKS.to_owned()].into_iter().chain(tables::drop_tables()) {
        sql::rows(&container, &client, &statement, PATIENCE).await?;
    }
    let started = Instant::now();
    loop {
        match sql::rows(&container, &client, tables::DROP_SCHEMA, PATIENCE).await {
            Err(error) if says(&error, &SqlState::DEPENDENT_OBJECTS_STILL_EXIST) && started.elapsed() < MOVED_AWAY => {
                tokio::time::sleep(AGAIN).await;
            }
            dropped => return Ok(dropped.map(|_| true)?),
        }
    }
}
