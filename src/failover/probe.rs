//! Measures an outage from inside: when the old leader last took writes, and when the new one first did.
//!
//! Both are asked over the relay, as fast as they answer; the clock is this machine's monotonic one. A client sees a little
//! more: the proxies need up to half a second to notice. Drills measure that.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::remote::sql;
use crate::steps::World;

/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(25);
/// A server that says nothing for this long takes no writes.
const PATIENCE: Duration = Duration::from_millis(500);
/// Longest measurement.
const LIMIT: Duration = Duration::from_secs(120);
/// Whether the server takes writes now.
const WRITABLE: &str = "select not pg_is_in_recovery()";

/// A measurement that runs.
#[derive(Debug)]
pub struct Measurement {
    old: Option<JoinHandle<Option<Instant>>>,
    new: Option<JoinHandle<Option<Instant>>>,
}

impl Measurement {
    /// Starts to ask both; a member that cannot be asked is left out.
    pub async fn start(world: World<'_>, old: &str, new: &str) -> Self {
        let (old, new) = tokio::join!(connect(world, old), connect(world, new));
        Self { old: old.map(|c| tokio::spawn(last_writable(c))), new: new.map(|c| tokio::spawn(first_writable(c))) }
    }

    /// The outage, counted from `requested` where the old leader could not be asked, up to now where the new one could not.
    pub async fn finish(self, requested: Instant) -> Duration {
        let now = Instant::now();
        let end = joined(self.new).await.unwrap_or(now);
        let start = joined(self.old).await.unwrap_or(requested);
        end.saturating_duration_since(start)
    }
}

async fn joined(task: Option<JoinHandle<Option<Instant>>>) -> Option<Instant> {
    task?.await.ok().flatten()
}

async fn connect(world: World<'_>, member: &str) -> Option<Client> {
    let member = world.fleet.member(world.topology, member).await.ok()?;
    sql::connect(&member).await.ok()
}

/// The last moment it took writes, once it stopped; `None` when it never did.
async fn last_writable(client: Client) -> Option<Instant> {
    let started = Instant::now();
    let mut last = None;
    while started.elapsed() < LIMIT {
        match ask(&client).await {
            Some(true) => last = Some(Instant::now()),
            _ if last.is_some() => return last,
            _ => return None,
        }
        tokio::time::sleep(PAUSE).await;
    }
    last
}

/// The first moment it took writes. A standby that becomes leader keeps its connections.
async fn first_writable(client: Client) -> Option<Instant> {
    let started = Instant::now();
    while started.elapsed() < LIMIT {
        match ask(&client).await {
            Some(true) => return Some(Instant::now()),
            Some(false) => tokio::time::sleep(PAUSE).await,
            None => return None,
        }
    }
    None
}

async fn ask(client: &Client) -> Option<bool> {
    let row = tokio::time::timeout(PATIENCE, client.query_one(WRITABLE, &[])).await.ok()?.ok()?;
    Some(row.get(0))
}
