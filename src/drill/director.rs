//! One run of a scenario, from a whole cluster to a whole cluster, with the proof of what happened in between.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::cast::{self, Casting};
use super::journal::{self, Epoch};
use super::outage::{leaders, outages};
use super::report::{Event, Promises, Run, Terms};
use super::scenario::{Act, Arrange, Direction, Place, Scenario, Who};
use super::verdict::Promise;
use super::workload::{Clock, Target, Timeouts, Workload};
use super::{DrillError, checker, fault, finale, target};
use crate::consent::Consent;
use crate::context::Interrupt;
use crate::failover;
use crate::lab;
use crate::observe::{Observed, Scope, observe};
use crate::output::Ui;
use crate::plan::candidate::Occasion;
use crate::plan::condition::missing;
use crate::plan::planner::health_conditions;
use crate::quantity::whole_millis;
use crate::remote::fleet::Fleet;
use crate::steps::World;
use crate::steps::handover::Patience;
use crate::templates::Artifacts;
use crate::topology::{GroupId, HostName, LossLimit, Topology};

/// How long a cluster may take to become whole, before a run and after its faults have ended: a rewound or copied member, etcd,
/// Swarm's restarts.
const WHOLE: Duration = Duration::from_secs(180);
/// How long clients may take to begin.
const BEGIN: Duration = Duration::from_secs(30);
/// Undisturbed writing before the fault.
const CALM: Duration = Duration::from_secs(2);
/// How long clients may be turned away before the next act goes on without them.
const SERVED: Duration = Duration::from_secs(90);
/// Writing after all is whole, so that what follows the last gap is proved too.
const AFTER: Duration = Duration::from_secs(1);
/// Pause between two looks at the clients.
const LOOK: Duration = Duration::from_millis(50);
/// Pause between two looks at the whole cluster, which cost its hosts some work: nobody looks while clients are turned away.
const WHOLE_LOOK: Duration = Duration::from_secs(1);
/// Tries to bring leader and VIP where a scenario wants them.
const ARRANGE: u32 = 5;
/// Patience with transactions in planned changes: the drill's own are short.
const PATIENCE: Patience = Patience { wait: Duration::from_secs(10), kill_after: None };

/// Clients of a planned change wait for its end, as applications do: being held back is no failure.
const PATIENT: Timeouts = Timeouts { connect: Duration::from_secs(5), operation: Duration::from_secs(5) };

/// What all runs of a drill share.
#[derive(Debug)]
pub struct Director<'a> {
    /// The cluster.
    pub topology: &'a Topology,
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
}

/// What is noted during a run.
struct Notes {
    clock: Clock,
    events: Vec<Event>,
    reasons: Vec<String>,
    injected: Option<Duration>,
}

impl Notes {
    fn tell(&mut self, text: impl Into<String>) {
        let at_ms = whole_millis(self.clock.now());
        self.events.push(Event { at_ms, source: "drill".into(), text: text.into() });
    }

    /// The first harm is the injection.
    fn harm(&mut self, text: impl Into<String>) {
        self.injected.get_or_insert(self.clock.now());
        self.tell(text);
    }
}

impl Director<'_> {
    fn world(&self) -> World<'_> {
        World { topology: self.topology, artifacts: self.artifacts, fleet: &self.fleet, interrupt: self.interrupt }
    }

    async fn observe(&self) -> Observed {
        observe(self.topology, &self.fleet, Scope { guards: false, ..Scope::all() }).await
    }

    /// Runs a scenario once.
    pub async fn run(&mut self, scenario: &Scenario, number: u32) -> Result<Run, DrillError> {
        self.whole(WHOLE).await?.map_err(|missing| DrillError::Degraded { missing })?;
        let lab = if scenario.needs_lab() { Some(self.lab(scenario).await?) } else { None };
        for arrange in scenario.arrange {
            self.arrange(*arrange).await?;
        }
        let folder = self.folder.join(format!("{}-{number}", scenario.name));
        std::fs::create_dir_all(&folder).map_err(|source| DrillError::File { path: folder.display().to_string(), source })?;
        let hit = if scenario.needs_shards() { target::first_shard(self.topology) } else { GroupId::COORDINATOR };
        let observed = self.observe().await;
        let leader = one(target::services(Who::Leader, self.topology, &observed), "leader of the coordinators")?;
        let casting = Casting {
            target: self.target.clone(),
            hit,
            clients: self.clients,
            seed: self.seed.wrapping_add(u64::from(number)),
            folder,
            timeouts: if scenario.is_planned() { PATIENT } else { Timeouts::default() },
            run_time: WHOLE + SERVED * 2 + scenario.lasts(),
        };
        let options = cast::prepare(self.world(), casting, &leader).await?;
        let accounts = options.accounts.len();
        let workload = Workload::start(options)?;
        let clock = workload.clock();
        let epoch = Epoch::from_elapsed(clock.now());
        let mut notes = Notes { clock, events: Vec::new(), reasons: Vec::new(), injected: None };
        if !self.served(&workload, Duration::ZERO, BEGIN).await? {
            return Err(DrillError::Fault {
                target: "the clients".into(),
                reason: "not all could write before any fault".into(),
            });
        }
        tokio::time::sleep(CALM).await;

        let played = self.play(scenario, lab.as_ref(), &workload, &mut notes).await;
        if let Err(error) = played {
            // Nothing of it may stay, whatever went wrong.
            self.fleet.revive(self.topology).await;
            fault::heal_all(self.world()).await;
            if let Some(lab) = &lab {
                lab::start(self.ui, lab, &[]).await?;
            }
            return Err(error);
        }
        let injected = notes.injected.unwrap_or_else(|| clock.now());
        if !self.served(&workload, injected.max(last_of(&notes)), SERVED).await? {
            notes.reasons.push(format!("clients were not served again within {} s", SERVED.as_secs()));
        }
        let whole = self.whole(WHOLE).await?;
        let redundancy_restored = whole.is_ok().then(|| clock.now().saturating_sub(injected));
        match whole {
            Ok(()) => notes.tell("the cluster is whole again"),
            Err(missing) => notes.reasons.push(format!("not whole again: {}", missing.join("; "))),
        }
        // A fault may reach a client a little after it was made: only who writes now has seen the end of it.
        if !self.served(&workload, clock.now(), SERVED).await? {
            notes.reasons.push(format!("clients were not served again within {} s", SERVED.as_secs()));
        }
        tokio::time::sleep(AFTER).await;
        let took = clock.now();
        let history = workload.finish().await?;
        let observed = self.observe().await;
        let read = finale::read(self.world(), &observed, accounts).await?;
        self.leftovers(&observed, &mut notes).await?;
        notes.events.extend(journal::collect(self.world(), epoch).await);
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
            terms: terms(&notes.events, injected, outages.recovery()),
            promise,
            redundancy_restored,
            outages,
            leaders: leaders(&history),
            events: notes.events,
            reasons: notes.reasons,
            ..Run::default()
        };
        Ok(run.judged())
    }

    /// Waits until the cluster is whole; the inner error is what is missing after the limit.
    async fn whole(&mut self, limit: Duration) -> Result<Result<(), Vec<String>>, DrillError> {
        let started = Instant::now();
        let conditions = health_conditions(self.topology, self.artifacts);
        loop {
            self.fleet.revive(self.topology).await;
            let observed = self.observe().await;
            let missing = missing(&conditions, self.topology, self.artifacts, &observed);
            if missing.is_empty() {
                return Ok(Ok(()));
            }
            self.stopped()?;
            if started.elapsed() > limit {
                return Ok(Err(missing));
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

    fn stopped(&self) -> Result<(), DrillError> {
        if self.interrupt.is_asked() { Err(DrillError::Interrupted) } else { Ok(()) }
    }

    /// The lab that all hosts belong to.
    async fn lab(&self, scenario: &Scenario) -> Result<lab::LabName, DrillError> {
        let mut found = None;
        for host in &self.topology.hosts {
            let lab = lab::of_host(host.name.as_str(), host.address).await?;
            let none = || DrillError::NoLab { scenario: scenario.name.to_owned(), host: host.name.to_string() };
            found = Some(lab.ok_or_else(none)?);
        }
        found.ok_or_else(|| DrillError::NoLab { scenario: scenario.name.to_owned(), host: "no host".into() })
    }

    /// Brings leader and VIP together or apart. The VIP goes where it is wanted more easily than leadership, which only a
    /// synchronous standby can take.
    async fn arrange(&mut self, arrange: Arrange) -> Result<(), DrillError> {
        for _ in 0..ARRANGE {
            let observed = self.observe().await;
            let place = |place| target::host(place, self.topology, &observed);
            let (leader, vip) = (place(Place::OfLeader), place(Place::OfVip));
            if (leader == vip) == (arrange == Arrange::LeaderWithVip) {
                return Ok(());
            }
            let on_proxy = self.topology.proxies.iter().any(|proxy| Some(&proxy.host) == leader.as_ref());
            if self.topology.network.vip.is_some() && (on_proxy || arrange == Arrange::LeaderWithoutVip) {
                let holder = self.topology.proxies.iter().find(|p| Some(&p.host) == vip.as_ref());
                let name = format!("keepalived-{}", holder.map_or(1, |p| p.ordinal));
                fault::kill(&self.fleet.member(self.topology, &name).await?, "SIGKILL", self.consent).await?;
                self.moved(vip.as_ref()).await;
            } else {
                self.switch(GroupId::COORDINATOR).await?;
            }
            self.whole(WHOLE).await?.map_err(|missing| DrillError::Degraded { missing })?;
        }
        Err(DrillError::NoTarget { what: "way to bring the leader and the VIP where the scenario wants them".into() })
    }

    /// Waits until another host than `from` holds the VIP. Until then everything looks as it did before.
    async fn moved(&self, from: Option<&HostName>) {
        let started = Instant::now();
        while started.elapsed() < BEGIN {
            tokio::time::sleep(WHOLE_LOOK).await;
            let holder = target::vip_host(self.topology, &self.observe().await);
            if holder.is_some() && holder.as_ref() != from {
                return;
            }
        }
    }

    async fn switch(&self, group: GroupId) -> Result<failover::Change, DrillError> {
        let (planned, world) = (Occasion::Planned, self.world());
        let spec = self.topology.group(group).ok_or_else(|| DrillError::NoTarget { what: group.to_string() })?;
        let (state, candidate) = tokio::select! {
            found = failover::candidate(world, spec, planned, None, self.ui) => found?,
            () = self.interrupt.asked() => return Err(DrillError::Interrupted),
        };
        Ok(failover::carry_out(world, spec, &state, &candidate, planned, Some(PATIENCE), self.consent).await?)
    }

    async fn play(
        &mut self,
        scenario: &Scenario,
        lab: Option<&lab::LabName>,
        workload: &Workload,
        notes: &mut Notes,
    ) -> Result<(), DrillError> {
        for act in scenario.acts {
            self.stopped()?;
            self.act(*act, lab, workload, notes).await?;
        }
        Ok(())
    }

    async fn act(
        &mut self,
        act: Act,
        lab: Option<&lab::LabName>,
        workload: &Workload,
        notes: &mut Notes,
    ) -> Result<(), DrillError> {
        match act {
            Act::Kill(who) => self.kill(who, "SIGKILL", notes).await?,
            Act::Stop(who) => self.kill(who, "SIGTERM", notes).await?,
            Act::KillPostmaster(who) => self.kill_inside(who, fault::POSTMASTER, "the postmaster", notes).await?,
            Act::KillBackend(who) => self.kill_inside(who, fault::BACKEND, "a server process", notes).await?,
            Act::Freeze(who, time) => {
                for name in self.services(who).await? {
                    let container = self.fleet.member(self.topology, &name).await?;
                    let link = self.fleet.link(&container.host)?;
                    notes.harm(format!("{name} stands still for {} s", time.as_secs()));
                    fault::freeze(link, &container, time, self.consent).await?;
                }
            }
            Act::Isolate(place, direction, time) => {
                let name = self.place(place).await?;
                let what = match direction {
                    Direction::Both => "is cut off",
                    Direction::Inbound => "hears nobody",
                    Direction::Outbound => "is heard by nobody",
                };
                notes.harm(format!("{name} {what} for {} s", time.as_secs()));
                fault::isolate(self.fleet.link(&name)?, self.topology.host(&name), direction, time, self.consent).await?;
            }
            Act::Cut(who, peer, time) => {
                let observed = self.observe().await;
                let peers = target::peers(peer, self.topology, &observed);
                let name = one(target::services(who, self.topology, &observed), "such member")?;
                let container = self.fleet.member(self.topology, &name).await?;
                let link = self.fleet.link(&container.host)?;
                notes.harm(format!("{name} does not reach {} for {} s", peers.join(", "), time.as_secs()));
                fault::cut(link, &container, &peers, time, self.consent).await?;
            }
            Act::PowerOff(place) => {
                let name = self.place(place).await?;
                let lab = lab.ok_or_else(|| DrillError::NoTarget { what: "power switch".into() })?;
                notes.harm(format!("{name} loses its power"));
                lab::kill(lab, name.as_str()).await?;
            }
            Act::PowerOn => {
                let lab = lab.ok_or_else(|| DrillError::NoTarget { what: "power switch".into() })?;
                notes.tell("power is back");
                lab::start(self.ui, lab, &[]).await?;
                self.fleet.revive(self.topology).await;
            }
            Act::Switchover => self.ordered(GroupId::COORDINATOR, notes).await?,
            Act::ShardSwitchover => self.ordered(target::first_shard(self.topology), notes).await?,
            Act::KillDockerd(place) => {
                let name = self.place(place).await?;
                notes.harm(format!("the Docker daemon of {name} is killed"));
                fault::kill_dockerd(self.fleet.link(&name)?, self.consent).await?;
            }
            Act::UntilServed => {
                if !self.served(workload, notes.clock.now(), SERVED).await? {
                    notes.reasons.push(format!("clients were not served again within {} s", SERVED.as_secs()));
                }
            }
            Act::Wait(time) => tokio::time::sleep(time).await,
        }
        Ok(())
    }

    async fn services(&self, who: Who) -> Result<Vec<String>, DrillError> {
        let found = target::services(who, self.topology, &self.observe().await);
        if found.is_empty() { Err(DrillError::NoTarget { what: format!("{who:?}") }) } else { Ok(found) }
    }

    async fn place(&self, place: Place) -> Result<HostName, DrillError> {
        let found = target::host(place, self.topology, &self.observe().await);
        found.ok_or_else(|| DrillError::NoTarget { what: format!("host {place:?}") })
    }

    async fn kill(&self, who: Who, signal: &str, notes: &mut Notes) -> Result<(), DrillError> {
        for name in self.services(who).await? {
            let container = self.fleet.member(self.topology, &name).await?;
            notes.harm(format!("{signal} to {name}"));
            fault::kill(&container, signal, self.consent).await?;
        }
        Ok(())
    }

    async fn kill_inside(&self, who: Who, pid: &str, what: &str, notes: &mut Notes) -> Result<(), DrillError> {
        for name in self.services(who).await? {
            let container = self.fleet.member(self.topology, &name).await?;
            notes.harm(format!("SIGKILL to {what} of {name}"));
            fault::kill_process(&container, pid, self.consent).await?;
        }
        Ok(())
    }

    async fn ordered(&self, group: GroupId, notes: &mut Notes) -> Result<(), DrillError> {
        notes.harm(format!("switchover of {group} is ordered"));
        let change = self.switch(group).await?;
        let held = change.held_back_ms.map_or(String::new(), |ms| format!(", clients were held back for {ms} ms"));
        notes.tell(format!("{} leads {group}{held}", change.to));
        Ok(())
    }

    async fn leftovers(&self, observed: &Observed, notes: &mut Notes) -> Result<(), DrillError> {
        for (group, state) in observed.patroni.known().into_iter().flatten() {
            let left = finale::left_over(self.world(), &state.leader).await?;
            if left > 0 {
                notes.reasons.push(format!("{left} prepared transactions are left over on {} of {group}", state.leader));
            }
        }
        for (host, names) in fault::heal_all(self.world()).await {
            notes.reasons.push(format!("{host} had to be healed afterwards: {}", names.join(", ")));
        }
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
            outage: scenario.event.and_then(|event| self.topology.promise.outage(event)),
            redundancy: None,
            loss: loss.collect::<BTreeMap<_, _>>(),
        }
    }
}

/// When the last thing was done to the cluster: clients have to write after it.
fn last_of(notes: &Notes) -> Duration {
    Duration::from_millis(notes.events.last().map_or(0, |event| event.at_ms))
}

fn one(mut names: Vec<String>, what: &str) -> Result<String, DrillError> {
    names.pop().ok_or_else(|| DrillError::NoTarget { what: what.to_owned() })
}

/// Where the time went, from what guards and Patroni said.
fn terms(events: &[Event], injected: Duration, recovery: Option<Duration>) -> Terms {
    let first = |words: &str| {
        let at = events.iter().filter(|e| e.text.contains(words)).map(|e| Duration::from_millis(e.at_ms));
        at.filter(|at| *at >= injected).min().map(|at| at.saturating_sub(injected))
    };
    let (revoked, promoted) = (first("event=revoked"), first("promoted self to leader"));
    let detection = revoked.filter(|revoked| promoted.is_none_or(|promoted| *revoked <= promoted));
    let promotion = promoted.map(|at| at.saturating_sub(detection.unwrap_or_default()));
    Terms { detection, promotion, routing: recovery.zip(promoted).and_then(|(end, at)| end.checked_sub(at)) }
}
