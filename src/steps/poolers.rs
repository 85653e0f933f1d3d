//! Holding clients back for a moment: all poolers are paused, or none, and every pause ends.
//!
//! PgBouncer's PAUSE lets running transactions end and keeps what comes next waiting: clients see a pause instead of an error.
//! Each pooler gets a watchdog before it is paused: a command in its container that resumes it when told so, when the
//! connection to this machine breaks, or after [`LONGEST`]. Whatever becomes of this program, clients go on.

use std::time::{Duration, Instant};

use futures_util::future::{join_all, select_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use super::{StepError, World};
use crate::error::one_line;
use crate::remote::container::Container;
use crate::remote::exec::{self, ExecStream};
use crate::remote::fleet::FleetError;
use crate::remote::{relay, sql};

/// After this the watchdog resumes its pooler, come what may.
pub const LONGEST: Duration = Duration::from_secs(10);
/// A console answers at once, PAUSE aside.
const CONSOLE: Duration = Duration::from_secs(3);
/// From one look at a pooler to the next.
const WATCH: Duration = Duration::from_millis(20);
/// So many looks in a row have to find no login: where clients come back one after the other, so do logins.
const QUIET: u32 = 3;
/// Logins take milliseconds. Where they go on for longer than this, or clients wait since all connections are busy, waiting is of no use.
const LOGINS: Duration = Duration::from_secs(1);
/// The signals are PgBouncer's own (its manual, "Signals"): USR2 is RESUME, and is ignored where nothing is paused. PgBouncer
/// is the container's first process. `read` ends with a line, with the end of input, or with the time.
const WATCHDOG: &str = r#"echo armed; read -r -t "$1" _; kill -USR2 1"#;

/// Why clients were not held back. All that was paused is resumed.
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    /// A pooler cannot be told. Nothing was changed.
    #[error("{pooler} cannot be paused: {reason}")]
    Unreachable {
        /// The pooler.
        pooler: String,
        /// Why.
        reason: String,
    },
    /// Transactions did not end in time.
    #[error("transactions on {pooler} did not end within {} s", limit.as_secs_f64())]
    Busy {
        /// A pooler that could not be paused.
        pooler: String,
        /// The limit.
        limit: Duration,
        /// How long clients were held back for nothing.
        held: Duration,
    },
    /// A pooler was not seen to take clients again.
    #[error("{pooler} was told to resume and did not confirm it: {reason}; its watchdog resumes it within {} s", LONGEST.as_secs())]
    Stuck {
        /// The pooler.
        pooler: String,
        /// What was seen.
        reason: String,
    },
}

/// Poolers that hold their clients back. Dropping it resumes them too, through their watchdogs.
#[derive(Debug)]
pub struct Hold {
    poolers: Vec<Pooler>,
}

struct Pooler {
    name: String,
    container: Container,
    console: Client,
    watchdog: ExecStream,
    /// When it was told to pause.
    since: Option<Instant>,
    /// Whether the console was answered: one that was told to pause, and was not able to, takes no other question any more.
    paused: bool,
}

impl std::fmt::Debug for Pooler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pooler").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Pauses all poolers, waiting at most `limit` for running transactions; when one cannot be paused all go on.
pub async fn pause(world: World<'_>, limit: Duration) -> Result<Hold, PauseError> {
    let armed = join_all(world.topology.proxies.iter().map(|proxy| arm(world, proxy.ordinal))).await;
    let mut poolers = Vec::new();
    for pooler in armed {
        // A pooler that does not run holds no clients.
        poolers.extend(pooler?);
    }
    let paused = join_all(poolers.iter_mut().map(|pooler| pooler.pause(limit))).await;
    let hold = Hold { poolers };
    match paused.into_iter().find_map(Result::err) {
        None => Ok(hold),
        Some(PauseError::Busy { pooler, limit, .. }) => {
            let held = hold.resume().await?;
            Err(PauseError::Busy { pooler, limit, held })
        }
        Some(error) => {
            hold.resume().await?;
            Err(error)
        }
    }
}

impl Hold {
    /// Ends all connections to the database: clients go on with new ones.
    pub async fn renew(&self) -> Result<(), PauseError> {
        let renewed = join_all(self.poolers.iter().map(|pooler| async move {
            reconnect(&pooler.console).await.map_err(|reason| PauseError::Unreachable { pooler: pooler.name.clone(), reason })
        }));
        renewed.await.into_iter().collect()
    }

    /// Lets clients go on; tells for how long they were held back at most.
    pub async fn resume(mut self) -> Result<Duration, PauseError> {
        let resumed = join_all(self.poolers.iter_mut().map(Pooler::resume)).await;
        let since = self.poolers.iter().filter_map(|pooler| pooler.since).min();
        let held = since.map(|since| since.elapsed()).unwrap_or_default();
        resumed.into_iter().collect::<Result<(), _>>()?;
        Ok(held)
    }
}

impl Pooler {
    async fn pause(&mut self, limit: Duration) -> Result<(), PauseError> {
        let unreachable = |reason: String| PauseError::Unreachable { pooler: self.name.clone(), reason };
        told(logins_over(&self.console)).await.map_err(unreachable)?;
        self.since = Some(Instant::now());
        match tokio::time::timeout(limit, self.console.simple_query("PAUSE")).await {
            Ok(Ok(_)) => {
                self.paused = true;
                Ok(())
            }
            Ok(Err(error)) => Err(unreachable(one_line(&error))),
            Err(_) => Err(PauseError::Busy { pooler: self.name.clone(), limit, held: limit }),
        }
    }

    /// By the watchdog, since a console that waits for PAUSE takes nothing else; a console then tells that it is so.
    async fn resume(&mut self) -> Result<(), PauseError> {
        let stuck = |reason: String| PauseError::Stuck { pooler: self.name.clone(), reason };
        self.watchdog.write_all(b"\n").await.map_err(|e| stuck(one_line(&e)))?;
        let state = async {
            if !self.paused {
                self.console = sql::console(&self.container).await.map_err(|e| one_line(&e))?;
            }
            loop {
                let rows = self.console.simple_query("SHOW STATE").await.map_err(|e| one_line(&e))?;
                if is_active(&rows) {
                    return Ok::<(), String>(());
                }
                tokio::time::sleep(WATCH).await;
            }
        };
        match tokio::time::timeout(CONSOLE, state).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(stuck(reason)),
            Err(_) => Err(stuck(format!("still paused after {} s", CONSOLE.as_secs()))),
        }
    }
}

/// `SHOW STATE` lists `active`, `paused` and `suspended`, each with yes or no.
fn is_active(rows: &[SimpleQueryMessage]) -> bool {
    rows.iter()
        .any(|row| matches!(row, SimpleQueryMessage::Row(row) if row.get(0) == Some("active") && row.get(1) == Some("yes")))
}

/// Ends each connection to the database once its transaction is over; the next one opens another. Clients see nothing of it.
///
/// A session of the coordinators keeps its connections to shard groups, and a change of a definition takes one that is dead for
/// living: it fails then, once for each such session (Citus looks only before a query for rows).
pub async fn renew(world: World<'_>) -> Result<(), StepError> {
    let renewed = join_all(world.topology.proxies.iter().map(|proxy| async move {
        let name = format!("pgbouncer-{}", proxy.ordinal);
        let refused = |reason| StepError::Refused { target: name.clone(), reason };
        let Some((_, console)) = open(world, &name).await.map_err(refused)? else { return Ok(()) };
        reconnect(&console).await.map_err(refused)
    }));
    renewed.await.into_iter().collect()
}

async fn reconnect(console: &Client) -> Result<(), String> {
    let reconnect = async {
        logins_over(console).await?;
        console.simple_query("RECONNECT").await.map(drop)
    };
    told(reconnect).await
}

/// What a console answers, or that it does not.
async fn told(asked: impl Future<Output = Result<(), tokio_postgres::Error>>) -> Result<(), String> {
    match tokio::time::timeout(CONSOLE, asked).await {
        Ok(told) => told.map_err(|error| one_line(&error)),
        Err(_) => Err(format!("no answer in {} s", CONSOLE.as_secs())),
    }
}

/// Waits until no connection to a server is about to log in.
///
/// PAUSE and RECONNECT cut such a connection off, which PgBouncer takes for a login that failed: until another one has succeeded,
/// each client for whom no connection is free fails with "server login has been failing, cached error: pause mode" (its source:
/// `disconnect_server` and `check_fast_fail`). Right after clients went on, or after a RECONNECT, there are many logins.
async fn logins_over(console: &Client) -> Result<(), tokio_postgres::Error> {
    let (since, mut quiet) = (Instant::now(), 0);
    loop {
        quiet = if is_about_to_log_in(&console.simple_query("SHOW POOLS").await?) { 0 } else { quiet + 1 };
        if quiet == QUIET || since.elapsed() > LOGINS {
            return Ok(());
        }
        tokio::time::sleep(WATCH).await;
    }
}

/// `SHOW POOLS` counts, for each database and user, the connections that log in, and the clients that wait for one.
fn is_about_to_log_in(rows: &[SimpleQueryMessage]) -> bool {
    let some = |row: &SimpleQueryRow, column: &str| row.get(column).is_some_and(|count| count != "0");
    rows.iter().any(|row| matches!(row, SimpleQueryMessage::Row(row) if some(row, "sv_login") || some(row, "cl_waiting")))
}

/// Waits until a pooler holds its clients back.
pub async fn held_back(world: World<'_>) -> Result<(), StepError> {
    let seen = world.topology.proxies.iter().map(|proxy| {
        Box::pin(async move {
            let name = format!("pgbouncer-{}", proxy.ordinal);
            let refused = |reason| StepError::Refused { target: name.clone(), reason };
            let Some((_, console)) = open(world, &name).await.map_err(refused)? else { return std::future::pending().await };
            while is_active(&console.simple_query("SHOW STATE").await.map_err(|error| refused(one_line(&error)))?) {
                tokio::time::sleep(WATCH).await;
            }
            Ok(())
        })
    });
    select_all(seen).await.0
}

/// Opens the console; `None` where the pooler does not run: it has no clients and no connections.
async fn open(world: World<'_>, pooler: &str) -> Result<Option<(Container, Client)>, String> {
    let container = match world.fleet.member(world.topology, pooler).await {
        Ok(container) => container,
        Err(FleetError::NotRunning { .. }) => return Ok(None),
        Err(error) => return Err(one_line(&error)),
    };
    let console = sql::console(&container).await.map_err(|error| one_line(&error))?;
    Ok(Some((container, console)))
}

/// Opens the console and starts the watchdog; `None` where the pooler does not run.
async fn arm(world: World<'_>, ordinal: u32) -> Result<Option<Pooler>, PauseError> {
    let name = format!("pgbouncer-{ordinal}");
    let unreachable = |reason: String| PauseError::Unreachable { pooler: name.clone(), reason };
    let Some((container, console)) = open(world, &name).await.map_err(unreachable)? else { return Ok(None) };
    let watchdog = watchdog(&container).await.map_err(|e| unreachable(one_line(&e)))?;
    Ok(Some(Pooler { name, container, console, watchdog, since: None, paused: false }))
}

async fn watchdog(container: &Container) -> std::io::Result<ExecStream> {
    let seconds = LONGEST.as_secs().to_string();
    let argv = ["bash", "-c", WATCHDOG, "watchdog", &seconds];
    let mut stream = exec::stream(&container.docker, &container.id, "postgres", &argv).await.map_err(std::io::Error::other)?;
    let mut line = [0; 6];
    stream.read_exact(&mut line).await?;
    Ok(stream)
}

/// Administration sockets of all HAProxies, opened while nobody waits yet.
pub struct Routes(Vec<ExecStream>);

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Routes").field(&self.0.len()).finish()
    }
}

impl Routes {
    /// Opens them; one that cannot be reached finds out by itself who leads.
    pub async fn open(world: World<'_>) -> Self {
        let sockets = world.topology.proxies.iter().map(|proxy| async move {
            let container = world.fleet.member(world.topology, &format!("haproxy-{}", proxy.ordinal)).await.ok()?;
            relay::haproxy(&container).await.ok()
        });
        Self(join_all(sockets).await.into_iter().flatten().collect())
    }

    /// Tells every HAProxy at once who leads, instead of leaving it to the next check: half a second less to wait for clients.
    /// What is said here is what was just seen; if it were wrong, the next check would say so.
    pub async fn lead(self, from: &str, to: &str) {
        let order = format!("set server coordinator_leader/{from} health down; set server coordinator_leader/{to} health up\n");
        join_all(self.0.into_iter().map(|mut socket| {
            let order = order.clone();
            async move {
                socket.write_all(order.as_bytes()).await.ok()?;
                let mut answer = [0; 256];
                tokio::time::timeout(CONSOLE, socket.read(&mut answer)).await.ok()?.ok()
            }
        }))
        .await;
    }
}
