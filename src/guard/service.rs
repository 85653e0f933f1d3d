//! The guard at work: looks five times a second, and when a lease is due to be revoked, listens to Docker, and acts on what
//! [`super::watch`] concludes.
//!
//! Every decision is a line on stderr (`key=value`, readable by people and by log collectors) and a counter; what is done several
//! times a second is a line for the first time.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use tokio::sync::{mpsc, watch as channel};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::containers::{Containers, Died};
use super::deed::{self, CalledOff, Death, FRESH, TRIES};
use super::error::GuardError;
use super::metrics::{self, Metrics};
use super::placement::{self, Absences, Placement, Tenure};
use super::store::{Store, StoreError};
use super::watch::{Leader, Sample, Verdict, Watch};
use crate::output::log_line;
use crate::topology::timing::GUARD_LOOK as LOOK;

/// Pause between two looks at where etcd is led from.
const PLACEMENT: Duration = Duration::from_secs(2);
/// After the leadership of etcd was moved it stays for at least so long.
const SETTLED: Duration = Duration::from_secs(10);
/// Before Docker's events, and etcd's, are asked for again.
const RECONNECT: Duration = Duration::from_secs(1);
/// After a change of leader the rounds of a group's Patronis are begun early for so long: who leads tells the coordinators in its
/// next round, and they change `pg_dist_node` in theirs.
const LIVELY: Duration = Duration::from_secs(4);
/// From one such round to the next. Each costs every member some milliseconds of processor time.
const PACE: Duration = Duration::from_millis(300);

/// What a guard is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the cluster: Patroni's scope and the stack's name.
    pub cluster: String,
    /// The etcd member on this host, `host:port`.
    pub etcd: String,
    /// Added to Patroni's own bound.
    pub margin: Duration,
    /// Path of the Docker daemon's socket.
    pub docker: String,
    /// Where metrics are served.
    pub listen: SocketAddr,
}

/// Runs until the process is ended. Fails only before the first look.
pub async fn run(options: Options) -> Result<(), GuardError> {
    let metrics = Metrics::default();
    metrics::serve(metrics.clone(), options.listen).await?;
    let store = Store::connect(&options.etcd, &options.cluster).await?;
    let containers = Containers::connect(&options.docker, &options.cluster)?;
    log_line(&format!(
        "event=start cluster={} etcd={} margin={:?} version={}",
        options.cluster,
        options.etcd,
        options.margin,
        env!("CARGO_PKG_VERSION")
    ));
    let (died, deaths) = mpsc::channel(64);
    let (newest, latest) = channel::channel(None);
    tokio::spawn(hear(store.clone()));
    tokio::spawn(listen(containers.clone(), metrics.clone(), died));
    tokio::spawn(place(store.clone(), containers.clone(), metrics.clone(), latest));
    let guard = Guard {
        store,
        containers,
        metrics,
        watch: Watch::new(options.margin),
        seen: BTreeMap::new(),
        newest,
        changes: BTreeMap::new(),
    };
    guard.work(deaths).await;
    Ok(())
}

struct Guard {
    store: Store,
    containers: Containers,
    metrics: Metrics,
    watch: Watch,
    /// When each lease of a leader key was first seen, in nanoseconds since 1970, the clock of Docker's events.
    seen: BTreeMap<i64, i64>,
    newest: channel::Sender<Option<Sample>>,
    /// By group: the lease of its leader (0 for none), when that changed, when its Patronis were last seen to be woken.
    changes: BTreeMap<String, LeaderChange>,
}

#[derive(Debug)]
struct LeaderChange {
    lease: i64,
    at: Option<Duration>,
    woken: i64,
    woken_at: Duration,
    /// Whether this guard has said so: once for each change.
    told: Arc<AtomicBool>,
}

/// A revocation that is about to happen.
#[derive(Debug)]
struct Deed<'a> {
    reason: &'static str,
    group: &'a str,
    leader: &'a Leader,
    why: String,
}

impl Guard {
    async fn work(mut self, mut deaths: mpsc::Receiver<Died>) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut blind = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => match self.look().await {
                    Ok(_) => {
                        if std::mem::take(&mut blind) {
                            log_line("event=sees_again");
                        }
                        let now = self.store.now();
                        if let Some(left) = self.watch.due(now).map(|due| due - now).filter(|left| *left < LOOK) {
                            ticks.reset_after(left);
                        }
                    }
                    Err(error) if !blind => {
                        log_line(&format!("event=blind reason=\"{error}\""));
                        blind = true;
                    }
                    Err(_) => {}
                },
                Some(died) = deaths.recv() => self.look_into(died).await,
            }
        }
    }

    /// One look at the leases, and what follows from it.
    async fn look(&mut self) -> Result<Sample, StoreError> {
        let store = self.store.clone();
        let sample = match self.awake(store.sample()).await {
            Ok(sample) => sample,
            Err(error) => {
                self.metrics.counts().failed_samples += 1;
                return Err(error);
            }
        };
        let verdicts = self.watch.observe(&sample);
        self.count(&sample);
        for verdict in verdicts {
            self.carry_out(&verdict).await;
        }
        self.enliven(&sample);
        self.newest.send_replace(Some(sample.clone()));
        Ok(sample)
    }

    /// Waits for an answer; that the guard runs meanwhile is told to the watch.
    async fn awake<T>(&mut self, answer: impl Future<Output = T>) -> T {
        let mut answer = pin!(answer);
        loop {
            self.watch.awake(self.store.now());
            if let Ok(answer) = timeout(LOOK, &mut answer).await {
                self.watch.awake(self.store.now());
                return answer;
            }
        }
    }

    fn count(&mut self, sample: &Sample) {
        let leaders: Vec<i64> = sample.groups.values().filter_map(|g| g.leader.as_ref()).map(|l| l.lease).collect();
        let now = wall_clock();
        self.seen.retain(|lease, _| leaders.contains(lease));
        for lease in leaders {
            self.seen.entry(lease).or_insert(now);
        }
        let mut counts = self.metrics.counts();
        counts.samples += 1;
        let holes = self.watch.holes();
        if holes > counts.holes {
            log_line("event=begins_anew reason=\"no two looks in time had an answer\"");
        }
        counts.holes = holes;
        counts.last_sample = Some(std::time::Instant::now());
        counts.leases =
            self.watch.unrenewed(sample.answered).map(|(group, idle, limit)| (group.to_owned(), idle, limit)).collect();
    }

    /// Wakes Patroni while leadership changes hands. Any guard may; etcd lets one of them.
    fn enliven(&mut self, sample: &Sample) {
        let now = sample.answered;
        for (name, group) in &sample.groups {
            let lease = group.leader.as_ref().map_or(0, |l| l.lease);
            let first = LeaderChange { lease, at: None, woken: group.woken, woken_at: now, told: Arc::default() };
            let change = self.changes.entry(name.clone()).or_insert(first);
            if change.lease != lease {
                (change.lease, change.at, change.told) = (lease, Some(now), Arc::default());
            }
            if change.woken != group.woken {
                (change.woken, change.woken_at) = (group.woken, now);
            }
            let lively = change.at.is_some_and(|at| now.saturating_sub(at) < LIVELY);
            if lively && now.saturating_sub(change.woken_at) >= PACE {
                let (store, metrics, told) = (self.store.clone(), self.metrics.clone(), Arc::clone(&change.told));
                let (name, woken) = (name.clone(), group.woken);
                tokio::spawn(async move {
                    if store.wake(&name, woken).await.is_ok_and(|done| done) {
                        metrics.counts().wakes += 1;
                        if !told.swap(true, Ordering::Relaxed) {
                            log_line(&format!("event=woken group={}", shown(&name)));
                        }
                    }
                });
            }
        }
    }

    async fn carry_out(&mut self, verdict: &Verdict) {
        let deed = Deed {
            reason: "unrenewed",
            group: &verdict.group,
            leader: &verdict.leader,
            why: format!("unrenewed={:.2}s", verdict.unrenewed.as_secs_f64()),
        };
        self.revoke(deed, |now| deed::carry_out(verdict, now)).await;
    }

    /// A container of a member has died. Everything is asked anew, in the order that makes it a proof: who holds the lease,
    /// then whether any container of that member has processes.
    async fn look_into(&mut self, died: Died) {
        let death = Death::new(died.member.clone(), died.at, self.seen.clone());
        for _ in 0..TRIES {
            let Ok(sample) = self.look().await else {
                sleep(LOOK).await;
                continue;
            };
            for suspect in death.suspects(&sample) {
                if let Err(why) = suspect.held() {
                    self.call_off(why, &suspect.group, &suspect.leader);
                    continue;
                }
                let containers = self.containers.clone();
                let lives = self.awake(containers.lives(&suspect.leader.holder)).await.ok();
                let deed = Deed {
                    reason: "container_died",
                    group: &suspect.group,
                    leader: &suspect.leader,
                    why: "its processes are gone".to_owned(),
                };
                self.revoke(deed, |now| suspect.is_gone(lives, now)).await;
            }
            return;
        }
        // Its lease is watched as before, and ends when it is not renewed.
        *self.metrics.counts().called_off.entry("etcd_silent").or_default() += 1;
        log_line(&format!("event=death_unproved member={} reason=\"etcd has no usable answer\"", died.member));
    }

    /// Ends a lease, as long as it `may`.
    async fn revoke(&mut self, deed: Deed<'_>, may: impl Fn(Duration) -> Result<(), CalledOff>) {
        let Deed { reason, group, leader, why } = deed;
        let what = format!("group={} holder={} lease={:x}", shown(group), leader.holder, leader.lease);
        let store = self.store.clone();
        let revoked = async {
            if let Err(why) = may(store.now()) {
                return Ok(Err(why));
            }
            if !store.is_unchanged(group, leader).await? {
                return Ok(Err(CalledOff::Changed));
            }
            // The answer was on its way, and who was stopped meanwhile may have woken up an hour later.
            if let Err(why) = may(store.now()) {
                return Ok(Err(why));
            }
            store.end(leader.lease).await.map(|ended| if ended { Ok(()) } else { Err(CalledOff::Changed) })
        };
        match self.awake(revoked).await {
            Ok(Ok(())) => {
                *self.metrics.counts().revocations.entry((shown(group).to_owned(), reason)).or_default() += 1;
                log_line(&format!("event=revoked reason={reason} {what} why=\"{why}\""));
            }
            Ok(Err(why)) => self.call_off(why, group, leader),
            Err(error) => {
                let error: StoreError = error;
                *self.metrics.counts().called_off.entry("failed").or_default() += 1;
                log_line(&format!("event=revoke_failed reason={reason} {what} error=\"{error}\""));
            }
        }
    }

    fn call_off(&self, reason: CalledOff, group: &str, leader: &Leader) {
        let reason = reason.name();
        *self.metrics.counts().called_off.entry(reason).or_default() += 1;
        log_line(&format!(
            "event=called_off reason={reason} group={} holder={} lease={:x}",
            shown(group),
            leader.holder,
            leader.lease
        ));
    }
}

/// The only group of a cluster without Citus has no name in etcd.
fn shown(group: &str) -> &str {
    if group.is_empty() { "0" } else { group }
}

/// Without it heartbeats are dated by the looks that show them, which is later.
async fn hear(store: Store) {
    loop {
        // That etcd does not answer is told by the looks.
        drop(store.listen().await);
        sleep(RECONNECT).await;
    }
}

async fn listen(containers: Containers, metrics: Metrics, died: mpsc::Sender<Died>) {
    loop {
        // Events are silence until somebody dies: only an answer tells that the daemon is there.
        if containers.answers().await {
            let mut events = Box::pin(containers.deaths());
            metrics.counts().events_connected = true;
            while let Some(Ok(event)) = events.next().await {
                metrics.counts().deaths += 1;
                log_line(&format!("event=container_died member={}", event.member));
                if died.send(event).await.is_err() {
                    return;
                }
            }
            metrics.counts().events_connected = false;
            log_line("event=docker_lost");
        }
        sleep(RECONNECT).await;
    }
}

async fn place(store: Store, containers: Containers, metrics: Metrics, latest: channel::Receiver<Option<Sample>>) {
    let (mut stuck, mut failing) = (false, false);
    let mut tenure = Tenure::default();
    let mut absences = Absences::default();
    loop {
        sleep(PLACEMENT).await;
        let Some(sample) = latest.borrow().clone() else { continue };
        if store.now().saturating_sub(sample.answered) > FRESH {
            continue;
        }
        let Some(leader) = tenure.established(&sample) else { continue };
        let found = timeout(PLACEMENT, placement::keep_apart(&store, &containers, &mut absences, leader)).await;
        let late = |_| format!("no answer within {} s", PLACEMENT.as_secs());
        let found = found.map_err(late).and_then(|found| found.map_err(|error| error.to_string()));
        let failed_before = std::mem::replace(&mut failing, found.is_err());
        match found {
            Ok(Placement::Moved { to, beside }) => {
                metrics.counts().moves += 1;
                log_line(&format!("event=etcd_leader_moved to={to:x} beside={beside}"));
                sleep(SETTLED).await;
            }
            Ok(Placement::Stuck { beside }) if !stuck => {
                stuck = true;
                metrics.counts().stays += 1;
                log_line(&format!(
                    "event=etcd_leader_stays beside={beside} reason=\"a member of etcd is missing or catches up\""
                ));
            }
            Ok(Placement::Good) => stuck = false,
            Err(why) if !failed_before => log_line(&format!("event=etcd_leader_unplaced reason=\"{why}\"")),
            // Tried again in a moment.
            Ok(Placement::Stuck { .. }) | Err(_) => {}
        }
    }
}

fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
