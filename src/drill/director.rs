//! One run of a scenario, from a whole cluster to a whole cluster, with the proof of what happened in between.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::budget::Budget;
use super::cast::{self, Casting};
use super::fault::Healing;
use super::final_read::FinalRead;
use super::finale::Finale;
use super::history::History;
use super::journal::{self, Epoch};
use super::notes::{self, Notes, STEADY};
use super::outage::{Addresses, leaders, outages};
use super::report::{Promises, Run};
use super::scenario::{SERVED, Scenario, WHOLE, Who};
use super::verdict::Promise;
use super::workload::{Target, Timeouts, Workload, WorkloadOptions, tables};
use super::{DrillError, checker, fault, finale, fitness, soundness, traces};
use crate::consent::Consent;
use crate::context::Interrupt;
use crate::engine::Lock;
use crate::error::{Exit, Failure, one_line};
use crate::health::diagnose;
use crate::lab::LabName;
use crate::observe::{Observed, Scope, observe};
use crate::output::Ui;
use crate::plan::condition::missing;
use crate::plan::planner::health_conditions;
use crate::remote::fleet::Fleet;
use crate::steps::World;
use crate::templates::Artifacts;
use crate::topology::{HostName, LossLimit, Topology};

/// How long a cluster may take to become whole before the first run: what was just changed may need a moment, and one that is ill is
/// left alone.
pub const AT_FIRST: Duration = Duration::from_secs(20);
/// How long a cluster may take to become whole before another run. Longer than after one, which has failed by then: all that is left to do
/// depends on it.
pub const BEFORE: Duration = Duration::from_secs(300);
/// How long clients may take to begin.
pub(super) const BEGIN: Duration = Duration::from_secs(30);
/// Undisturbed writing before the fault.
const CALM: Duration = Duration::from_secs(2);
/// How long clients may take to catch up before the cluster is looked at all the same.
const CATCH_UP: Duration = Duration::from_secs(10);
/// Writing after all is whole, so that what follows the last gap is proved too.
const AFTER: Duration = Duration::from_secs(1);
/// Pause between two looks at the clients.
const LOOK: Duration = Duration::from_millis(50);
/// Pause between two looks at the whole cluster, which cost its hosts some work: nobody looks while clients are turned away.
pub(super) const WHOLE_LOOK: Duration = Duration::from_secs(1);
/// How long `health` may call something failed after all is over: Citus sends a node's metadata again once a minute
/// (`citus.metadata_sync_interval`).
const SOUND: Duration = Duration::from_secs(60);
/// Clients of a planned change wait for its end, as applications do: being held back is no failure.
const PATIENT: Timeouts = Timeouts::each(Duration::from_secs(5));

/// What all runs of a drill share.
#[derive(Debug)]
pub struct Director<'a> {
    /// The cluster.
    pub topology: &'a Topology,
    /// Its file, as it was named.
    pub topology_file: &'a Path,
    /// What it renders to.
    pub artifacts: &'a Artifacts,
    /// Connections to its hosts; made again when a host comes back.
    pub fleet: Fleet,
    /// Where clients connect.
    pub target: Target,
    /// Clients of the group that is hit.
    pub clients: usize,
    /// The choices of all clients.
    pub seed: u64,
    /// Where records go, one folder for each run.
    pub folder: PathBuf,
    /// For what is told meanwhile.
    pub ui: &'a Ui,
    /// Ctrl-C.
    pub interrupt: &'a Interrupt,
    /// The operator's word that things may be broken.
    pub consent: &'a Consent,
    /// Hosts without power in the order in which they lost it, with what gives it back if this program dies.
    pub dark: Vec<(HostName, fault::power::Clock)>,
    /// Against other operators; `None` while the drill plays one.
    pub lock: Option<Lock>,
}

/// What is left to judge when a fault is over.
struct Proof {
    injected: Duration,
    redundancy_restored: Option<Duration>,
    took: Duration,
    history: History,
    read: FinalRead,
    prepared: u64,
}

impl Director<'_> {
    pub(super) fn world(&self) -> World<'_> {
        World { topology: self.topology, artifacts: self.artifacts, fleet: &self.fleet, interrupt: self.interrupt }
    }

    pub(super) async fn observe(&self) -> Observed {
        observe(self.topology, &self.fleet, scope()).await
    }

    /// Takes the cluster's lock.
    pub async fn lock(&mut self) -> Result<(), DrillError> {
        let manager = self.fleet.manager().await?;
        let note = |text: &str| self.ui.note(text);
        self.lock = Some(Lock::take(&manager.docker, &self.topology.name, "drill", self.interrupt, note).await?);
        self.keep_lock();
        Ok(())
    }

    /// Whatever host the drill switches off, another one keeps its lock.
    fn keep_lock(&self) {
        if let Some(lock) = &self.lock {
            lock.through(self.fleet.links().map(|link| link.docker.clone()));
        }
    }

    /// Gives it back.
    pub async fn unlock(&mut self) {
        if let Some(lock) = self.lock.take() {
            lock.release().await;
        }
    }

    /// Drops the drill's tables when all is over; says so where they stay.
    pub async fn clear(&self) {
        // Without the lock they may be another's by now.
        if self.lock.as_ref().is_some_and(|lock| !lock.is_lost())
            && let Err(error) = traces::remove(self.world()).await
        {
            let (schema, database) = (tables::SCHEMA, &self.topology.database);
            let reason = one_line(&error);
            self.ui.note(format!("schema {schema} stays in {database}: {reason}; `pgclusterctl drill heal` drops it"));
        }
    }

    /// Waits until the next scenario can begin: the drill holds the lock, and the cluster is whole within the limit. Says what it waits
    /// for.
    pub async fn ready(&mut self, limit: Duration) -> Result<(), DrillError> {
        if self.lock.is_none() {
            self.lock().await?;
        }
        let ui = self.ui;
        let tell = |missing: &[String]| ui.note(format!("waiting for a whole cluster: {}", missing.join("; ")));
        self.whole(limit, tell).await?.map_err(|missing| DrillError::Degraded { missing })
    }

    /// Runs a scenario once; the cluster is [`Self::ready`].
    pub async fn run(&mut self, scenario: &Scenario, number: u32) -> Result<Run, DrillError> {
        let lab = if scenario.needs_lab() { Some(fitness::lab(scenario, self.topology).await?) } else { None };
        let rehearsed = self.rehearse(scenario, lab.as_ref(), number).await;
        if rehearsed.is_err() {
            // Nothing of it may stay, whatever went wrong.
            let lit = match &lab {
                Some(lab) => self.lights(lab).await,
                None => Ok(()),
            };
            self.fleet.revive(self.topology).await;
            let mut left = left(&fault::heal_all(self.world()).await);
            left.extend(lit.err().map(|error| format!("power: {}", one_line(&error))));
            if !left.is_empty() {
                return rehearsed.map_err(|error| DrillError::Unhealed { left, error: Box::new(error) });
            }
        }
        rehearsed
    }

    async fn rehearse(&mut self, scenario: &Scenario, lab: Option<&LabName>, number: u32) -> Result<Run, DrillError> {
        for arrange in scenario.arrange {
            self.arrange(*arrange).await?;
        }
        let mut addresses = Addresses::default();
        self.learn(&mut addresses).await;
        let options = self.clients(scenario, number).await?;
        let accounts = options.accounts.len();
        let workload = Workload::start(options)?;
        let epoch = Epoch::from_elapsed(workload.clock().now());
        let mut notes = Notes::new(&workload);
        if !self.served(&workload, Duration::ZERO, BEGIN).await? {
            let reason = "not all could write before any fault".into();
            return Err(DrillError::Fault { target: "the clients".into(), reason });
        }
        tokio::time::sleep(CALM).await;

        if scenario.steady {
            notes.barred.extend(self.topology.groups.iter().flat_map(|g| &g.members).map(|m| m.name.to_string()));
        }
        let Proof { injected, redundancy_restored, took, history, read, prepared } =
            match self.prove(scenario, lab, workload, accounts, &mut notes).await {
                Err(error) if notes.injected.is_some() && error.exit() != Exit::Interrupted => {
                    return Err(DrillError::Unproved(Box::new(error)));
                }
                proved => proved?,
            };
        self.learn(&mut addresses).await;
        let told = journal::collect(self.world(), epoch).await;
        notes.events.extend(told.events);
        notes.reasons.extend(notes::wrongly_promoted(&notes.events, &notes.barred));
        notes.reasons.extend(notes::unread(&told.unread, &notes.barred));
        let promise = self.promises(scenario);
        let outages = outages(&history, injected);
        let turned_away: u64 = outages.clients.iter().map(|c| c.failed + c.unknown).sum();
        if scenario.is_planned() && turned_away > 0 {
            notes.reasons.push(format!("{turned_away} transactions failed in a planned change"));
        }
        let run = Run {
            scenario: scenario.name.to_owned(),
            number,
            took,
            injected,
            verdict: checker::check(&history, &read, &promise.loss),
            terms: notes::terms(&notes.events, injected, &outages, self.topology),
            budget: scenario.event_in(self.topology).and_then(|event| Budget::of(self.topology, event)),
            promise,
            redundancy_restored,
            outages,
            leaders: leaders(&history, &addresses),
            prepared,
            events: notes.events,
            reasons: notes.reasons,
            ..Run::default()
        };
        Ok(run.judged())
    }

    /// Learns the addresses that members have now; a report without some of them has the addresses alone.
    async fn learn(&self, addresses: &mut Addresses) {
        for member in self.topology.groups.iter().flat_map(|group| group.everyone()) {
            let Ok(container) = self.fleet.member(self.topology, member.name.as_str()).await else { continue };
            for address in container.addresses().await.unwrap_or_default() {
                addresses.learn(address, member.name.as_str());
            }
        }
    }

    /// Does what the scenario says, and reads what came of it.
    async fn prove(
        &mut self,
        scenario: &Scenario,
        lab: Option<&LabName>,
        workload: Workload,
        accounts: usize,
        notes: &mut Notes,
    ) -> Result<Proof, DrillError> {
        let homes = if scenario.moves_shards() {
            Some(finale::homes(self.world(), &self.one(Who::Leader).await?).await?)
        } else {
            None
        };
        self.play(scenario, lab, &workload, notes).await?;
        let injected = notes.injected.unwrap_or_else(|| notes.clock.now());
        let redundancy_restored = self.recover(&workload, injected, notes).await?;
        let took = notes.clock.now();
        let history = workload.finish().await?;
        let observed = self.wants_health(notes).await?;
        let Finale { read, prepared, stuck } = finale::read(self.world(), &observed, accounts, homes.as_ref()).await?;
        for (leader, count) in &prepared {
            notes.tell(format!("{count} prepared transactions were left on {leader}"));
        }
        notes.reasons.extend(stuck.iter().map(|(leader, count)| {
            format!("{count} prepared transactions were still left on {leader} after {} s", finale::RECOVERED.as_secs())
        }));
        self.leftovers(&observed, notes).await?;
        let prepared = prepared.values().sum();
        Ok(Proof { injected, redundancy_restored, took, history, read, prepared })
    }

    /// The clients of a run, with their tables made anew.
    async fn clients(&self, scenario: &Scenario, number: u32) -> Result<WorkloadOptions, DrillError> {
        let folder = self.folder.join(format!("{}-{number}", scenario.name));
        std::fs::create_dir_all(&folder).map_err(|source| DrillError::File { path: folder.display().to_string(), source })?;
        let leader = self.one(Who::Leader).await?;
        let casting = Casting {
            target: self.target.clone(),
            hit: scenario.hits(self.topology),
            clients: self.clients,
            seed: self.seed.wrapping_add(u64::from(number)),
            folder,
            timeouts: if scenario.is_planned() { PATIENT } else { Timeouts::default() },
            run_time: BEGIN + CALM + STEADY + scenario.lasts(&self.topology.failover) + SERVED * 2 + CATCH_UP + WHOLE + AFTER,
        };
        cast::prepare(self.world(), casting, &leader).await
    }

    /// Waits until clients are served and the cluster is whole; tells how long after the injection it was.
    async fn recover(
        &mut self,
        workload: &Workload,
        injected: Duration,
        notes: &mut Notes,
    ) -> Result<Option<Duration>, DrillError> {
        self.wants_service(workload, notes.reached(), notes).await?;
        self.caught_up(workload).await?;
        let whole = self.wants_whole_again(notes).await?;
        let restored = whole.then(|| notes.clock.now().saturating_sub(injected));
        // A fault may reach a client a little after it was made: only who writes now has seen the end of it.
        self.wants_service(workload, notes.clock.now(), notes).await?;
        tokio::time::sleep(AFTER).await;
        Ok(restored)
    }

    /// Waits until every client has written after `since`; notes when that takes too long.
    pub(super) async fn wants_service(
        &self,
        workload: &Workload,
        since: Duration,
        notes: &mut Notes,
    ) -> Result<(), DrillError> {
        if !self.served(workload, since, SERVED).await? {
            notes.reasons.push(format!("clients were not served again within {} s", SERVED.as_secs()));
        }
        Ok(())
    }

    /// Lets clients catch up with what they owe, which takes all that small hosts have, before the hosts have to answer questions too.
    async fn caught_up(&self, workload: &Workload) -> Result<(), DrillError> {
        let pace = workload.pace();
        tokio::select! {
            () = pace.caught_up(CATCH_UP) => Ok(()),
            () = self.interrupt.asked() => Err(DrillError::Interrupted),
        }
    }

    /// Waits until the cluster is whole after a fault, and notes on the way what is missing; false when that takes too long.
    pub(super) async fn wants_whole_again(&mut self, notes: &mut Notes) -> Result<bool, DrillError> {
        let whole = self.whole(WHOLE, |missing| notes.lack(missing)).await?;
        let again = whole.is_ok();
        match whole {
            Ok(()) => notes.tell("the cluster is whole again"),
            Err(missing) => notes.reasons.push(format!("not whole again: {}", missing.join("; "))),
        }
        Ok(again)
    }

    /// What `health` sees when the clients have ended; notes what it still calls failed after a while.
    async fn wants_health(&mut self, notes: &mut Notes) -> Result<Observed, DrillError> {
        let topology = self.topology;
        let judge = |observed: &Observed| soundness::failed(&diagnose(topology, observed));
        let tell = |failed: &[String]| notes.tell(format!("health: {}", failed.join("; ")));
        let (observed, failed) = self.comes_to(Scope::all(), SOUND, judge, tell).await?;
        notes.reasons.extend(failed.into_iter().map(|why| format!("health: {why}")));
        Ok(observed)
    }

    /// Waits until the cluster is whole; the inner error is what is missing after the limit. Tells what is missing whenever that
    /// changes.
    pub(super) async fn whole(
        &mut self,
        limit: Duration,
        tell: impl FnMut(&[String]),
    ) -> Result<Result<(), Vec<String>>, DrillError> {
        let (topology, artifacts) = (self.topology, self.artifacts);
        let conditions = health_conditions(topology, artifacts);
        let judge = |observed: &Observed| missing(&conditions, topology, artifacts, observed);
        let (_, missing) = self.comes_to(scope(), limit, judge, tell).await?;
        Ok(if missing.is_empty() { Ok(()) } else { Err(missing) })
    }

    /// Looks at the cluster until nothing is wrong with it, or the limit is over: what was seen last, and what is wrong then. Tells what
    /// is wrong whenever that changes.
    async fn comes_to(
        &mut self,
        scope: Scope,
        limit: Duration,
        judge: impl Fn(&Observed) -> Vec<String>,
        mut tell: impl FnMut(&[String]),
    ) -> Result<(Observed, Vec<String>), DrillError> {
        let started = Instant::now();
        let mut told = Vec::new();
        loop {
            self.fleet.revive(self.topology).await;
            self.keep_lock();
            let observed = observe(self.topology, &self.fleet, scope).await;
            let wrong = judge(&observed);
            if wrong.is_empty() {
                return Ok((observed, wrong));
            }
            if wrong != told {
                tell(&wrong);
                told.clone_from(&wrong);
            }
            self.stopped()?;
            if started.elapsed() > limit {
                return Ok((observed, wrong));
            }
            tokio::time::sleep(WHOLE_LOOK).await;
        }
    }

    /// Waits until every client has written after `since`; false after the limit.
    async fn served(&self, workload: &Workload, since: Duration, limit: Duration) -> Result<bool, DrillError> {
        let started = Instant::now();
        while !workload.all_wrote_since(since) {
            self.stopped()?;
            if started.elapsed() > limit {
                return Ok(false);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(true)
    }

    pub(super) fn stopped(&self) -> Result<(), DrillError> {
        if self.interrupt.is_asked() { Err(DrillError::Interrupted) } else { Ok(()) }
    }

    async fn leftovers(&self, observed: &Observed, notes: &mut Notes) -> Result<(), DrillError> {
        for (group, state) in observed.patroni.known().into_iter().flatten() {
            let left = finale::left_over(self.world(), &state.leader).await?;
            if left > 0 {
                notes.reasons.push(format!("{left} prepared transactions are left over on {} of {group}", state.leader));
            }
        }
        let healings = fault::heal_all(self.world()).await;
        for (host, Healing { healed, .. }) in healings.iter().filter(|(_, healing)| !healing.healed.is_empty()) {
            notes.reasons.push(format!("{host} had to be healed afterwards: {}", healed.join(", ")));
        }
        notes.reasons.extend(left(&healings).into_iter().map(|left| format!("not healed: {left}")));
        Ok(())
    }

    fn promises(&self, scenario: &Scenario) -> Promises {
        let loss = self.topology.groups.iter().map(|group| {
            let promise = match self.topology.promise.loss(group.id) {
                LossLimit::AtMost(operations) => Promise::AtMost { operations: operations.into() },
                LossLimit::Unbounded => Promise::Counted,
            };
            (group.id.to_string(), promise)
        });
        Promises {
            outage: scenario.event_in(self.topology).and_then(|event| self.topology.promise.outage(event)),
            loss: loss.collect::<BTreeMap<_, _>>(),
        }
    }
}

/// What is asked while clients write.
fn scope() -> Scope {
    Scope { guards: false, citus_copies: false, ..Scope::all() }
}

/// What could not be healed, with the host where it is left.
fn left(healings: &BTreeMap<HostName, Healing>) -> Vec<String> {
    healings.iter().flat_map(|(host, healing)| healing.left.iter().map(move |left| format!("{host}: {left}"))).collect()
}
