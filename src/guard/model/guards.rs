//! Guards: they look as `store` does, conclude with the real watch, and act as `service` does.
//!
//! [`Rule`] also has guards with one mistake each. They show that the simulation sees what it is for.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::deaths::{Death, Proof};
use super::{At, Clock, Event, MS, SECOND, Violation, World};
use crate::guard::deed::{self, Suspect};
use crate::guard::heartbeats::{Heard, Heartbeat};
use crate::guard::watch::{Group, HOLE, Leader, Sample, Verdict, Watch};

const MARGIN: Duration = Duration::from_millis(300);
/// From one look to the next (`service`).
const LOOK: Duration = Duration::from_millis(200);
/// Longest wait for one answer (`store`).
const TIMEOUT: At = 600 * MS;
/// Longest time in which a revocation that was sent is carried out.
const UNDER_WAY: At = 2 * TIMEOUT;
/// From the beginning of a look to the end of what it led to: the age that a proof of a death may have (`deed`), by a clock that runs
/// 1 % slow, one step, and the way.
const EXCUSED: At = 2_050 * MS + UNDER_WAY;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// As it is.
    Real,
    /// Four seconds would do.
    ShortBound,
    /// All clocks are alike.
    NoMargin,
    /// What was before a hole still counts.
    LooksOverHoles,
    /// A new etcd leader knows of all renewals, and its extension can be taken off again.
    TakesOffExtensions,
    /// New settings hold at once, and for what was seen before them.
    ForgetsSettings,
    /// The term in an answer is of no interest.
    BlindToTerms,
    /// Whoever holds a dead member's key is dead.
    TrustsDeaths,
    /// Docker is asked before etcd, not after it.
    AsksDockerFirst,
    /// A daemon that says nothing runs nothing.
    TrustsSilence,
    /// Leases need not have been there before a death.
    ForgetsLeases,
    /// A Patroni that is late is not waited for, whoever confirms commits.
    NeverWaits,
    /// What was concluded is done, however long ago that was.
    ActsOnStale,
    /// The same, but for the time between the last comparison and the deed.
    ActsOnStaleComparison,
}

/// A watch, and what a rule makes of samples before it sees them.
#[derive(Debug)]
struct Eye {
    rule: Rule,
    watch: Watch,
    seen: Vec<Sample>,
    /// What is taken off what a lease has left.
    surplus: u64,
}

impl Eye {
    fn new(rule: Rule) -> Self {
        Self { rule, watch: Watch::new(margin(rule)), seen: Vec::new(), surplus: 0 }
    }

    fn observe(&mut self, sample: &Sample) -> Vec<Verdict> {
        let mut shown = sample.clone();
        match self.rule {
            Rule::Real | Rule::NoMargin | Rule::ActsOnStale | Rule::ActsOnStaleComparison => {}
            Rule::TrustsDeaths | Rule::AsksDockerFirst | Rule::TrustsSilence | Rule::ForgetsLeases => {}
            Rule::NeverWaits => shown.groups.values_mut().for_each(|group| group.sole_standby = true),
            Rule::BlindToTerms => shown.term = 0,
            Rule::ShortBound => settings(&mut shown, Duration::from_secs(4)),
            Rule::LooksOverHoles => self.bridge(sample),
            Rule::TakesOffExtensions => self.take_off(&mut shown),
            Rule::ForgetsSettings => self.forget(sample),
        }
        let verdicts = self.watch.observe(&shown);
        self.seen.push(sample.clone());
        verdicts
    }

    fn awake(&mut self, now: Duration) {
        if self.rule != Rule::LooksOverHoles {
            self.watch.awake(now);
        }
    }

    /// Fills a hole with looks that never happened.
    fn bridge(&mut self, sample: &Sample) {
        let Some(mut last) = self.seen.last().cloned() else { return };
        while sample.answered.saturating_sub(last.sent) > HOLE {
            last.sent += HOLE / 2;
            last.answered += HOLE / 2;
            self.watch.observe(&last);
        }
    }

    fn take_off(&mut self, shown: &mut Sample) {
        let term = std::mem::replace(&mut shown.term, 0);
        let Some(leader) = shown.groups.get_mut("0").and_then(|g| g.leader.as_mut()) else { return };
        if let Some(last) = self.seen.last()
            && let Some(before) = last.groups.get("0").and_then(|g| g.leader.as_ref())
        {
            let (now, before) = (leader.remaining.unwrap_or_default(), before.remaining.unwrap_or_default());
            if term != last.term {
                let passed = (shown.answered - last.answered).as_secs();
                self.surplus += now.saturating_sub(before.saturating_sub(self.surplus + passed));
            } else if now > before {
                self.surplus = 0;
            }
        }
        leader.remaining = leader.remaining.map(|remaining| remaining.saturating_sub(self.surplus));
    }

    fn forget(&mut self, sample: &Sample) {
        let now = sample.groups["0"].settings;
        if self.seen.last().is_some_and(|last| last.groups["0"].settings != now) {
            self.watch = Watch::new(MARGIN);
            for mut old in self.seen.clone() {
                old.groups.values_mut().for_each(|group| group.settings = now);
                self.watch.observe(&old);
            }
        }
    }
}

fn margin(rule: Rule) -> Duration {
    if rule == Rule::NoMargin { Duration::ZERO } else { MARGIN }
}

fn settings(sample: &mut Sample, bound: Duration) {
    for settings in sample.groups.values_mut().filter_map(|g| g.settings.as_mut()) {
        settings.bound = bound;
    }
}

#[derive(Debug)]
pub struct Guard {
    clock: Clock,
    host: usize,
    pub rule: Rule,
    pub boot: u32,
    began: At,
    eye: Eye,
    stopped_until: At,
    /// When each lease of a leader key was first seen, by the clock of Docker's events.
    pub seen: BTreeMap<i64, Duration>,
    heard: Heard,
    /// The lease whose holder's heartbeat the last look showed.
    beating: Option<i64>,
    /// To be looked into.
    pub deaths: VecDeque<Death>,
}

/// The end of a lease, from the conclusion to the revocation.
#[derive(Debug, Clone)]
pub struct Deed {
    pub verdict: Verdict,
    /// When the sample that shows it was asked for.
    pub asked: At,
    /// Who is proved to be gone, where it is a death that was concluded.
    pub gone: Option<Suspect>,
}

impl Deed {
    fn may(&self, now: Duration) -> bool {
        match &self.gone {
            Some(suspect) => suspect.is_gone(Some(false), now).is_ok(),
            None => deed::carry_out(&self.verdict, now).is_ok(),
        }
    }
}

/// A look that is under way.
#[derive(Debug, Clone)]
pub struct Asking {
    sent: Duration,
    began: At,
    asked: At,
    question: u8,
    term: u64,
    key: Option<super::etcd::Key>,
    group: Group,
    /// What it is for, beside the watch.
    death: Option<Death>,
}

#[derive(Debug, Clone)]
pub enum Look {
    Begin,
    /// A question is with etcd.
    Asked(Box<Asking>),
    /// Its answer is with the guard.
    Heard(Box<Asking>),
    /// Something is concluded.
    Act(Deed),
    /// A last comparison is with etcd.
    Compare(Deed),
    /// Nothing has changed.
    Same(Deed),
    /// The end of a lease is with etcd.
    Revoke(Deed),
    /// etcd tells of a heartbeat.
    Told(i64),
    /// Docker tells of a member's death, and when it was.
    Died(usize, Duration),
    /// A question is with Docker.
    AskDocker(Box<Proof>),
    /// Whether the member runs, if it answers.
    DockerSays(Box<Proof>, Option<bool>),
}

impl Guard {
    pub fn new(rule: Rule, clock: Clock, host: usize) -> Self {
        let (seen, deaths) = (BTreeMap::new(), VecDeque::new());
        Self {
            clock,
            host,
            rule,
            boot: 0,
            began: 0,
            eye: Eye::new(rule),
            stopped_until: 0,
            seen,
            heard: Heard::default(),
            beating: None,
            deaths,
        }
    }

    pub fn now(&self, now: At) -> Duration {
        self.clock.shows(now - self.began)
    }

    /// The host's time of day, which goes on when the guard begins anew.
    pub fn wall_clock(&self, now: At) -> Duration {
        self.clock.shows(now)
    }

    fn count(&mut self, leader: Option<&Leader>, now: At) {
        let shown = self.wall_clock(now);
        self.seen.retain(|lease, _| leader.is_some_and(|leader| leader.lease == *lease));
        if let Some(leader) = leader {
            self.seen.entry(leader.lease).or_insert(shown);
        }
    }

    pub fn stop(&mut self, until: At) {
        self.stopped_until = until;
    }
}

impl World {
    pub fn restart_guard(&mut self, g: usize) {
        let now = self.now;
        let Some(guard) = self.guards.get_mut(g) else { return };
        guard.boot += 1;
        guard.began = now;
        guard.eye = Eye::new(guard.rule);
        guard.seen.clear();
        (guard.heard, guard.beating) = (Heard::default(), None);
        guard.deaths.clear();
        self.next_look(g, now + SECOND, Look::Begin);
    }

    pub fn next_look(&mut self, g: usize, at: At, look: Look) {
        let boot = self.guards[g].boot;
        self.push(at, Event::Guard(g, boot, Box::new(look)));
    }

    pub fn guard(&mut self, g: usize, boot: u32, look: Look) {
        // A request that is on its way arrives whatever became of its sender.
        if let Look::Revoke(deed) = look {
            return self.revoke(g, &deed);
        }
        let guard = &self.guards[g];
        if guard.boot != boot {
            return;
        }
        // etcd answers meanwhile; a guard that is stopped just does not hear it.
        if guard.stopped_until > self.now && !matches!(look, Look::Asked(_) | Look::Compare(..) | Look::AskDocker(_)) {
            let at = guard.stopped_until;
            return self.next_look(g, at, look);
        }
        match look {
            Look::Begin => self.begin_look(g),
            Look::Asked(asking) => self.reply(g, *asking),
            Look::Heard(asking) => self.heard(g, *asking),
            Look::Act(deed) => {
                if guard.rule == Rule::ActsOnStale || deed.may(guard.now(self.now)) {
                    let at = self.now + self.random.between(MS, 20 * MS);
                    self.next_look(g, at, Look::Compare(deed));
                }
            }
            Look::Compare(deed) => {
                if self.is_unchanged(g, &deed.verdict) {
                    let at = self.now + self.random.between(MS, 20 * MS) + self.pause();
                    self.next_look(g, at, Look::Same(deed));
                }
            }
            Look::Same(deed) => {
                let stale = matches!(guard.rule, Rule::ActsOnStale | Rule::ActsOnStaleComparison);
                if stale || deed.may(guard.now(self.now)) {
                    let late = self.setup.pauses && self.random.chance(5);
                    let at = self.now + self.random.between(MS, if late { UNDER_WAY } else { 20 * MS });
                    self.next_look(g, at, Look::Revoke(deed));
                }
            }
            Look::Revoke(_) => {}
            Look::Told(revision) => {
                let heard = guard.now(self.now);
                guard.heard.take("0".to_owned(), Heartbeat { revision, heard });
            }
            Look::Died(member, at) => self.hear_of_death(g, member, at),
            Look::AskDocker(proof) => self.ask_docker(g, proof),
            Look::DockerSays(proof, lives) => self.proved(g, *proof, lives),
        }
    }

    fn begin_look(&mut self, g: usize) {
        let guard = &mut self.guards[g];
        guard.eye.awake(guard.clock.shows(self.now - guard.began));
        let death = guard.deaths.pop_front().map(|death| death.begun(&guard.seen));
        let sent = guard.now(self.now);
        let asking =
            Asking { sent, began: self.now, asked: self.now, question: 0, term: 0, key: None, group: Group::default(), death };
        self.ask(g, asking);
    }

    /// Now and then a guard is stopped for seconds between two steps of a deed.
    fn pause(&mut self) -> At {
        if self.setup.pauses && self.random.chance(20) { self.random.between(0, 6 * SECOND) } else { 0 }
    }

    fn ask(&mut self, g: usize, mut asking: Asking) {
        asking.asked = self.now;
        let at = self.now + self.latency();
        self.next_look(g, at, Look::Asked(Box::new(asking)));
    }

    fn reply(&mut self, g: usize, mut asking: Asking) {
        let now = self.now;
        if !self.etcd.serves(self.guards[g].host, &self.cut) {
            let from = asking.asked + TIMEOUT;
            return self.look_failed(g, asking, from);
        }
        match asking.question {
            0 => {
                asking.term = self.etcd.term;
                asking.key = self.etcd.view.key;
                asking.group.settings = Some(self.etcd.view.config.settings());
                asking.group.sole_standby = self.setup.synchronous && self.etcd.view.sync.1.is_some();
            }
            1 => {
                let beating = self.guards[g].beating;
                let remaining = asking.key.and_then(|key| {
                    if beating == Some(key.lease) { Some(None) } else { self.etcd.remaining(key.lease, now).map(Some) }
                });
                asking.group.leader = asking.key.zip(remaining).map(|(key, remaining)| Leader {
                    holder: key.holder.to_string(),
                    lease: key.lease,
                    revision: key.revision,
                    granted: super::etcd::TTL,
                    remaining,
                    heartbeat: None,
                });
            }
            _ if asking.term != self.etcd.term => return self.look_failed(g, asking, now),
            _ => {
                if let Some(leader) = &mut asking.group.leader {
                    let revision = self.heartbeat_of(leader.lease);
                    leader.heartbeat = revision.map(|revision| Heartbeat { revision, heard: Duration::ZERO });
                }
            }
        }
        let at = now + self.latency();
        self.next_look(g, at, Look::Heard(Box::new(asking)));
    }

    fn heard(&mut self, g: usize, mut asking: Asking) {
        // After a pause of the guard either may come first: the answer that waits, or the end of its patience.
        if self.now - asking.asked > TIMEOUT && self.random.chance(50) {
            let from = self.now;
            return self.look_failed(g, asking, from);
        }
        if asking.question < 2 {
            asking.question += 1;
            return self.ask(g, asking);
        }
        let Asking { sent, began, term, mut group, death, .. } = asking;
        let guard = &mut self.guards[g];
        guard.count(group.leader.as_ref(), self.now);
        let answered = guard.now(self.now);
        if let Some(heartbeat) = group.leader.as_mut().and_then(|leader| leader.heartbeat.as_mut()) {
            *heartbeat = guard.heard.shown("0", heartbeat.revision, answered);
        }
        guard.beating = group.leader.as_ref().filter(|leader| leader.heartbeat.is_some()).map(|leader| leader.lease);
        let sample = Sample { sent, answered, term, groups: BTreeMap::from([("0".to_owned(), group)]) };
        for verdict in guard.eye.observe(&sample) {
            let at = self.now + self.pause();
            self.next_look(g, at, Look::Act(Deed { verdict, asked: began, gone: None }));
        }
        if let Some(death) = death {
            self.look_into(g, &death, &sample, began);
        }
        self.look_again(g, self.now);
    }

    fn look_failed(&mut self, g: usize, asking: Asking, from: At) {
        let guard = &mut self.guards[g];
        guard.deaths.extend(asking.death.and_then(Death::again));
        guard.eye.awake(guard.clock.shows(from - guard.began));
        self.look_again(g, from);
    }

    fn look_again(&mut self, g: usize, from: At) {
        let guard = &self.guards[g];
        let now = guard.now(from);
        let pause = guard.eye.watch.due(now).map_or(LOOK, |due| LOOK.min(due - now));
        self.next_look(g, from + guard.clock.takes(pause), Look::Begin);
    }

    /// Tells guards of the heartbeat that was written just now.
    pub fn tell_heartbeat(&mut self) {
        let Some((_, revision)) = self.etcd.view.heartbeat else { return };
        for g in 0..self.guards.len() {
            if self.etcd.serves(self.guards[g].host, &self.cut) {
                let at = self.now + self.latency();
                self.next_look(g, at, Look::Told(revision));
            }
        }
    }

    fn heartbeat_of(&self, lease: i64) -> Option<i64> {
        self.etcd.view.heartbeat.filter(|(of, _)| *of == lease).map(|(_, revision)| revision)
    }

    /// At etcd.
    fn is_unchanged(&self, g: usize, verdict: &Verdict) -> bool {
        let seen = &verdict.leader;
        let same = self.etcd.view.key.is_some_and(|key| (key.lease, key.revision) == (seen.lease, seen.revision));
        let beats = seen.heartbeat.is_some_and(|beat| self.heartbeat_of(seen.lease) != Some(beat.revision));
        same && !beats && self.etcd.serves(self.guards[g].host, &self.cut)
    }

    fn revoke(&mut self, g: usize, deed: &Deed) {
        let lease = deed.verdict.leader.lease;
        if !self.etcd.serves(self.guards[g].host, &self.cut) {
            return;
        }
        let Some(renewed) = self.etcd.renewed(lease) else { return };
        self.etcd.end(lease);
        self.ended.insert(lease);
        self.outcome.revoked.push((self.now, self.now - renewed));
        // A holder that came back after the look is not what the look was wrong about: it finds its lease gone. That excuses what was
        // under way, and no more.
        let back = renewed > deed.asked && self.now - deed.asked <= EXCUSED;
        if back {
            self.outcome.came_back.push(self.now);
        }
        let holder = self.processes.iter().position(|p| p.leads && p.lease == Some(lease));
        if let Some(holder) = holder.filter(|p| !back && !self.was_frozen(*p, renewed)) {
            let unrenewed = Duration::from_micros(self.now - renewed);
            self.outcome.violations.push(Violation::Early { holder, unrenewed, at: Duration::from_micros(self.now) });
        }
    }
}
