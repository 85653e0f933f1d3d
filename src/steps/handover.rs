//! Handing leadership over: Patroni does it; for a planned change of the coordinators' leader clients are held back meanwhile.
//!
//! Shard groups need no pause: on a planned change the coordinator blocks writes to that group by itself (Citus'
//! `citus_update_node`, called by Patroni), and clients wait there.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::World;
use super::poolers::{self, PauseError};
use crate::plan::candidate::Occasion;
use crate::remote::container::Container;
use crate::remote::fleet::FleetError;
use crate::remote::patroni::{self, PatroniError};
use crate::remote::sql::{self, SqlError};
use crate::topology::model::Group;

/// Longest wait for running transactions in one attempt to pause: everybody else waits with them.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Clients go on for so long between two attempts.
const BREATH: Duration = Duration::from_secs(1);
/// How long a new leader may take to accept writes before clients are let go anyway.
const WRITES: Duration = Duration::from_secs(8);
/// Pause between two looks whether it does.
const LOOK: Duration = Duration::from_millis(20);
/// A server that says nothing for this long takes no writes.
const SILENCE: Duration = Duration::from_millis(500);
/// A checkpoint before, so that the one that ends the old leader is short. It may take as long as it likes, nobody waits for
/// it but the operator.
const CHECKPOINT: Duration = Duration::from_secs(300);
/// Statistics of the leader answer at once.
const LIST: Duration = Duration::from_secs(3);

/// What to do about transactions that keep a pooler from pausing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long to try again.
    pub wait: Duration,
    /// Ends transactions that are older.
    pub kill_after: Option<Duration>,
}

/// A transaction that did not end in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// Process id on the leader.
    pub pid: i32,
    /// Who.
    pub user: String,
    /// `active` or `idle in transaction`, as PostgreSQL says.
    pub state: String,
    /// Age of the transaction.
    pub age: Duration,
    /// The beginning of its latest statement.
    pub query: String,
}

/// Why leadership was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// Neither member runs where it could be asked.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// Patroni said no, or nothing.
    #[error(transparent)]
    Patroni(#[from] PatroniError),
    /// The candidate cannot be asked whether it takes writes.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// Clients could not be held back, or were not seen to go on.
    #[error(transparent)]
    Pause(#[from] PauseError),
    /// The change failed, and clients were not seen to go on after it.
    #[error("{change}; and {pause}")]
    StillHeld {
        /// Why the leader did not change.
        change: Box<HandOverError>,
        /// Which pooler.
        pause: PauseError,
    },
    /// Transactions run for too long.
    #[error("the change was given up, all clients go on: {} did not end within {} s{}", transactions(blockers.len()), waited.as_secs(), list(blockers))]
    Blocked {
        /// How long was waited in all.
        waited: Duration,
        /// The transactions, oldest first.
        blockers: Vec<Blocker>,
    },
    /// Ctrl-C, while transactions were waited for.
    #[error("the change was given up on request, all clients go on")]
    Interrupted,
    /// The new leader did not take writes in time.
    #[error("{member} did not take writes within {} s; clients go on and find out by themselves", WRITES.as_secs())]
    Unwritable {
        /// The new leader.
        member: String,
    },
}

impl HandOverError {
    /// Whether Patroni began the change and it did not come about: asked again in a moment, it may. The leader is still the same.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Patroni(PatroniError::Rejected { status: FAILED, .. }))
    }
}

fn transactions(count: usize) -> String {
    if count == 1 { "one transaction".to_owned() } else { format!("{count} transactions") }
}

fn list(blockers: &[Blocker]) -> String {
    let line =
        |b: &Blocker| format!("\n  pid {} of {}, {}, for {:.1} s: {}", b.pid, b.user, b.state, b.age.as_secs_f64(), b.query);
    blockers.iter().map(line).collect()
}

/// What a planned change cost clients. A pause is in vain when transactions do not end, or Patroni finds the change impossible at
/// that moment; clients wait in it all the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// How long poolers held them back at most, in any of the pauses.
    pub longest: Duration,
    /// How long in the last one, in which the leader changed.
    pub last: Duration,
    /// How often.
    pub pauses: usize,
    /// Transactions that were ended because they were in the way for too long.
    pub ended: usize,
}

impl Held {
    fn count(&mut self, time: Duration) {
        self.longest = self.longest.max(time);
        self.last = time;
        self.pauses += 1;
    }
}

/// A planned change, for which clients wait a moment instead of failing. `None` when poolers did not have to hold them back.
pub async fn planned(
    world: World<'_>,
    group: &Group,
    leader: &str,
    candidate: &str,
    patience: Patience,
) -> Result<Option<Held>, HandOverError> {
    if !group.id.is_coordinator() {
        hand_over(world, leader, candidate, Occasion::Planned).await?;
        return Ok(None);
    }
    let old = sql::connect(&world.fleet.member(world.topology, leader).await?).await?;
    let new = sql::connect(&world.fleet.member(world.topology, candidate).await?).await?;
    checkpoint(&old).await;
    let (mut tries, mut held) = (0, Held::default());
    loop {
        tries += 1;
        // Whatever takes time to start is started before anybody waits.
        let routes = poolers::Routes::open(world).await;
        // The leader that is asked acts at once; asked through another member it would find out in its next round.
        let request = patroni::prepare_switchover(&world.fleet.member(world.topology, leader).await?).await?;
        let hold = pause(world, &old, patience, &mut held).await?;
        // Meanwhile somebody may have thought better of it, or somebody else may have taken the cluster's lock.
        let changed = match world.interrupt.is_asked() {
            true => Err(HandOverError::Interrupted),
            false => change(request, routes, leader, candidate, &new).await,
        };
        // In every case.
        let (changed, time) = settled(changed, hold.resume().await)?;
        held.count(time);
        match changed {
            Ok(()) => return Ok(Some(held)),
            Err(error) if tries < TRIES && error.may_pass() => tokio::time::sleep(AGAIN).await,
            Err(error) => return Err(error),
        }
        if world.interrupt.is_asked() {
            return Err(HandOverError::Interrupted);
        }
    }
}

/// Restarts a leader where it is, while clients wait instead of failing. Those of a shard group come through the coordinators, whose
/// leader is `coordinator`: their sessions begin anew after it, as they would take their connections to the group for living.
pub async fn restarted(world: World<'_>, leader: &str, coordinator: &str, patience: Patience) -> Result<Held, HandOverError> {
    let member = world.fleet.member(world.topology, leader).await?;
    checkpoint(&sql::connect(&member).await?).await;
    let first = sql::connect(&world.fleet.member(world.topology, coordinator).await?).await?;
    let mut held = Held::default();
    let hold = pause(world, &first, patience, &mut held).await?;
    let changed = match world.interrupt.is_asked() {
        true => Err(HandOverError::Interrupted),
        false => restart(&hold, &member).await,
    };
    let (changed, time) = settled(changed, hold.resume().await)?;
    held.count(time);
    changed.map(|()| held)
}

/// With clients held back: the leader takes writes again afterwards.
async fn restart(hold: &poolers::Hold, leader: &Container) -> Result<(), HandOverError> {
    hold.renew().await?;
    patroni::restart(leader).await?;
    let back = async {
        // It may take no connection yet.
        while !takes_writes(leader).await {
            tokio::time::sleep(LOOK).await;
        }
    };
    let unwritable = |_| HandOverError::Unwritable { member: leader.name.clone() };
    tokio::time::timeout(WRITES, back).await.map_err(unwritable)
}

/// Whether a new connection can write.
async fn takes_writes(leader: &Container) -> bool {
    match sql::connect(leader).await {
        Ok(client) => writable(&client).await,
        Err(_) => false,
    }
}

/// Only saves time: a leader that cannot finish one is handed over or restarted all the same.
async fn checkpoint(leader: &Client) {
    let _ = tokio::time::timeout(CHECKPOINT, leader.batch_execute("checkpoint")).await;
}

/// What became of a change, and for how long clients were held back; an error when they may be still. Neither hides the other.
fn settled(
    changed: Result<(), HandOverError>,
    resumed: Result<Duration, PauseError>,
) -> Result<(Result<(), HandOverError>, Duration), HandOverError> {
    match (changed, resumed) {
        (changed, Ok(time)) => Ok((changed, time)),
        (Ok(()), Err(pause)) => Err(pause.into()),
        (Err(error), Err(pause)) => Err(HandOverError::StillHeld { change: Box::new(error), pause }),
    }
}

/// Patroni's answer comes up to a second after the fact, so the new leader itself is asked.
async fn change(
    request: patroni::Prepared,
    routes: poolers::Routes,
    leader: &str,
    candidate: &str,
    new: &Client,
) -> Result<(), HandOverError> {
    let ordered = request.switchover(leader, candidate);
    tokio::pin!(ordered);
    let writable = writable(new);
    tokio::pin!(writable);
    tokio::select! {
        answer = &mut ordered => {
            answer?;
            if !tokio::time::timeout(WRITES, writable).await.unwrap_or(false) {
                return Err(HandOverError::Unwritable { member: candidate.to_owned() });
            }
        }
        true = &mut writable => {}
    }
    routes.lead(leader, candidate).await;
    Ok(())
}

/// Waits until the server takes writes; false when it cannot be asked any more.
async fn writable(client: &Client) -> bool {
    loop {
        match tokio::time::timeout(SILENCE, client.query_one("select not pg_is_in_recovery()", &[])).await {
            Ok(Ok(row)) if row.get::<_, bool>(0) => return true,
            Ok(Err(_)) if client.is_closed() => return false,
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Pauses all poolers, in as many attempts as patience allows; counts those that were in vain, and the transactions that it ends.
async fn pause(world: World<'_>, leader: &Client, patience: Patience, held: &mut Held) -> Result<poolers::Hold, HandOverError> {
    let started = Instant::now();
    // What is to be ended must have had the time to get old enough.
    let deadline = patience.kill_after.map_or(patience.wait, |age| patience.wait.max(age + 2 * ATTEMPT));
    loop {
        match poolers::pause(world, ATTEMPT).await {
            Ok(hold) => return Ok(hold),
            Err(PauseError::Busy { held: time, .. }) => held.count(time),
            Err(error) => return Err(error.into()),
        }
        if world.interrupt.is_asked() {
            return Err(HandOverError::Interrupted);
        }
        let blockers = blockers(leader).await;
        let (old, young): (Vec<_>, Vec<_>) =
            blockers.into_iter().partition(|b| patience.kill_after.is_some_and(|age| b.age >= age));
        if !old.is_empty() {
            for blocker in old {
                // One that has just ended by itself is as good as ended.
                let done = leader.query_one("select pg_terminate_backend($1)", &[&blocker.pid]).await;
                held.ended += usize::from(done.is_ok_and(|row| row.get(0)));
            }
            continue;
        }
        if started.elapsed() >= deadline {
            return Err(HandOverError::Blocked { waited: started.elapsed(), blockers: young });
        }
        tokio::time::sleep(BREATH).await;
    }
}

/// Transactions of clients on the leader, oldest first.
async fn blockers(leader: &Client) -> Vec<Blocker> {
    const SQL: &str = "select pid, coalesce(usename, ''), coalesce(state, ''), \
         extract(epoch from clock_timestamp() - xact_start)::float8, left(regexp_replace(query, '\\s+', ' ', 'g'), 80) \
         from pg_stat_activity where backend_type = 'client backend' and xact_start is not null and pid <> pg_backend_pid() \
         and application_name not like 'citus_internal%' and application_name not in ('pgclusterctl', 'Patroni heartbeat') \
         order by xact_start";
    let Ok(Ok(rows)) = tokio::time::timeout(LIST, leader.query(SQL, &[])).await else { return Vec::new() };
    let blocker = |row: &tokio_postgres::Row| Blocker {
        pid: row.get(0),
        user: row.get(1),
        state: row.get(2),
        age: Duration::from_secs_f64(row.get::<_, f64>(3).max(0.0)),
        query: row.get(4),
    };
    rows.iter().map(blocker).collect()
}

/// How often a switchover is asked for that Patroni found impossible at that moment.
const TRIES: usize = 4;
/// Pause before it is asked again. A member whose container was replaced has another address, and its leader may not reach it
/// for a few seconds more: Docker's DNS and the overlay's neighbour tables take that long.
const AGAIN: Duration = Duration::from_secs(3);
/// HTTP status with which Patroni says so.
const FAILED: u16 = 503;

/// Asks Patroni to make `candidate` the leader in the place of `leader`, which may be empty in an unplanned change.
///
/// Any member passes the request on. In a planned change the leader is asked first: it acts at once, and would find out in its
/// next round otherwise. In an unplanned one it is the candidate, which is surely well. The other one is asked when that fails
/// without an answer; a request that is refused is not repeated.
pub async fn hand_over(world: World<'_>, leader: &str, candidate: &str, occasion: Occasion) -> Result<(), HandOverError> {
    let [asked, other] = if occasion == Occasion::Planned { [leader, candidate] } else { [candidate, leader] };
    let mut tries = 0;
    loop {
        tries += 1;
        let first = ask(world, asked, leader, candidate, occasion).await;
        match first {
            Ok(()) => return Ok(()),
            Err(error) if tries < TRIES && error.may_pass() => {
                tokio::time::sleep(AGAIN).await;
            }
            Err(HandOverError::Patroni(PatroniError::Rejected { .. })) => return first,
            Err(_) if other.is_empty() => return first,
            Err(_) => return ask(world, other, leader, candidate, occasion).await,
        }
    }
}

async fn ask(world: World<'_>, asked: &str, leader: &str, candidate: &str, occasion: Occasion) -> Result<(), HandOverError> {
    let member = world.fleet.member(world.topology, asked).await?;
    match occasion {
        Occasion::Planned => patroni::switchover(&member, leader, candidate).await?,
        Occasion::Unplanned { .. } => patroni::failover(&member, candidate).await?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_failed_does_not_hide_a_pooler_that_stays_paused() {
        let failed = || Err(HandOverError::Unwritable { member: "coordinator-2".into() });
        let stuck = || Err(PauseError::Stuck { pooler: "pgbouncer-1".into(), reason: "still paused".into() });
        let said = |changed, resumed| settled(changed, resumed).map(drop).expect_err("an error").to_string();
        let both = said(failed(), stuck());
        assert!(both.contains("coordinator-2") && both.contains("pgbouncer-1"), "{both}");
        assert!(said(Ok(()), stuck()).starts_with("pgbouncer-1"));
        let time = Duration::from_millis(700);
        assert!(
            matches!(settled(failed(), Ok(time)), Ok((Err(_), held)) if held == time),
            "clients go on, it may be tried again"
        );
    }

    #[test]
    fn pauses_in_vain_count() {
        let mut held = Held::default();
        [1_200, 2_050, 900].into_iter().for_each(|ms| held.count(Duration::from_millis(ms)));
        let [longest, last] = [2_050, 900].map(Duration::from_millis);
        assert_eq!(held, Held { longest, last, pauses: 3, ended: 0 });
    }
}
