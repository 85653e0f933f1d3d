//! Patroni processes, with all the time they may take, and their PostgreSQL.
//!
//! [`Contract::Rule`] is Patroni's rule as the guard reads it: a loop reads within `retry_timeout`, renews within
//! `retry_timeout`, pauses for `loop_wait`, and a failure of either ends leadership at once. Every delay within it may be drawn,
//! answers may be lost, and a request may arrive after its sender gave up. [`Contract::Source`] is what Patroni 4.0.7 does
//! when packets vanish: a renewal that failed is followed by a reload of etcd's member list of the same length before the
//! leader gives up, and one that is cut off in the middle of its loop first finishes that loop, with writes that wait for
//! their own timeouts (`api_execute`, `_load_machines_cache`, `write_status`, `touch_member`).

use std::time::Duration;

use super::etcd::{Config, View};
use super::{At, Clock, Event, HOSTS, MS, PATRONI, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contract {
    /// Within its rule, each read as long as is drawn.
    Rule,
    /// Within its rule, each step as late as it may be.
    Latest,
    /// As the source is written.
    Source,
    /// A mistake: a leader whose heartbeat etcd refuses goes on, and leaves the old one where it is.
    LeavesHeartbeat,
}

/// Tries that share `retry_timeout`: one for each etcd member.
const TRIES: usize = 3;
/// A loop's work between renewal and the writes that follow it.
const WORK: At = 10 * MS;

#[derive(Debug)]
pub struct Process {
    clock: Clock,
    pub up: bool,
    /// Counts starts: what was meant for an earlier process is void.
    boot: u32,
    pub lease: Option<i64>,
    /// Its PostgreSQL is a running leader.
    pub leads: bool,
    /// The settings it goes by.
    config: Config,
    /// What it last saw.
    view: Option<View>,
    /// A read may be answered from here, for as long as no connection is known to be lost.
    cached: bool,
    call: Call,
    loop_began: At,
    /// The standby that its commits wait for; `None` acknowledges alone.
    waits_for: Option<usize>,
    /// Whose stream it takes.
    pub follows: Option<usize>,
    /// The etcd member it asks first.
    base: usize,
    /// Until then all its processes stand still.
    frozen_until: At,
}

#[derive(Debug, Clone, Copy, Default)]
struct Call {
    number: u32,
    kind: Kind,
    attempt: usize,
    ends: At,
    /// The standby to be named.
    standby: Option<usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// Of a leader: its lease, and the key when that has another lease.
    #[default]
    Renew,
    /// Of a leader whose lease is renewed: the write without which that does not count, in what is left of the same time.
    Heartbeat,
    /// There is no leader.
    Acquire,
    /// Of a standby: its lease alone.
    Touch,
}

#[derive(Debug, Clone, Copy)]
pub struct Request {
    call: u32,
    kind: Kind,
    attempt: usize,
    member: usize,
    lease: Option<i64>,
    /// The standby to be named as the one that may take over.
    standby: Option<usize>,
}

#[derive(Debug, Clone)]
pub enum Step {
    Loop,
    ReadEnds,
    Arrives(Request),
    Answered(Request, Option<i64>),
    TryEnds(u32, usize),
    GivesUp(u32),
    Writes,
}

impl Process {
    pub fn new(clock: Clock, p: usize) -> Self {
        let config = Config { loop_wait: Duration::from_secs(1), retry_timeout: Duration::from_secs(3), pause: false };
        Self {
            clock,
            up: true,
            boot: 0,
            lease: (p == 0).then_some(1),
            leads: p == 0,
            config,
            view: None,
            cached: true,
            call: Call::default(),
            loop_began: 0,
            waits_for: (p == 0).then_some(1),
            follows: (p != 0).then_some(0),
            base: p,
            frozen_until: 0,
        }
    }
}

impl World {
    pub fn acknowledges(&self, p: usize) -> bool {
        let process = &self.processes[p];
        process.leads && !self.is_frozen(p) && (!self.setup.synchronous || process.waits_for.is_none_or(|q| self.streams(p, q)))
    }

    /// Whether `q` takes what `p` writes.
    fn streams(&self, p: usize, q: usize) -> bool {
        let standby = &self.processes[q];
        let linked = self.reaches(PATRONI + p, PATRONI + q) && self.reaches(PATRONI + q, PATRONI + p);
        standby.up && !self.is_frozen(q) && !standby.leads && standby.follows == Some(p) && linked
    }

    fn is_frozen(&self, p: usize) -> bool {
        self.processes[p].frozen_until > self.now
    }

    pub fn freeze_member(&mut self, p: usize, length: At) {
        let until = self.now + length;
        let process = &mut self.processes[p];
        process.frozen_until = process.frozen_until.max(until);
    }

    /// Whether a process stood still at some time after `since`: its clock tells it nothing then, before it looks.
    pub fn was_frozen(&self, p: usize, since: At) -> bool {
        self.processes[p].frozen_until > since
    }

    pub fn kill(&mut self, p: usize) {
        let process = &mut self.processes[p];
        if !std::mem::take(&mut process.up) {
            return;
        }
        process.leads = false;
        process.boot += 1;
        self.tell_death(p);
    }

    pub fn boot(&mut self, p: usize) {
        if self.processes[p].up {
            return;
        }
        let (clock, boot) = (self.processes[p].clock, self.processes[p].boot + 1);
        let config = self.etcd.view.config;
        let fresh =
            Process { boot, config, lease: None, leads: false, waits_for: None, follows: None, ..Process::new(clock, p) };
        self.processes[p] = fresh;
        self.next_step(p, self.now + 500 * MS, Step::Loop);
    }

    fn next_step(&mut self, p: usize, at: At, step: Step) {
        let boot = self.processes[p].boot;
        self.push(at, Event::Patroni(p, boot, step));
    }

    pub fn patroni(&mut self, p: usize, boot: u32, step: Step) {
        // A request that is on its way arrives whatever became of its sender.
        if let Step::Arrives(request) = step {
            return self.arrives(p, boot, request);
        }
        if self.processes[p].boot != boot {
            return;
        }
        if self.is_frozen(p) {
            let at = self.processes[p].frozen_until;
            return self.next_step(p, at, step);
        }
        let current = self.processes[p].call;
        match step {
            Step::Loop => self.begin_loop(p),
            Step::ReadEnds => self.read(p),
            Step::Answered(request, lease) if (request.call, request.attempt) == (current.number, current.attempt) => {
                if self.reaches(request.member, PATRONI + p) {
                    self.answered(p, request, lease);
                }
            }
            Step::TryEnds(call, attempt) if (call, attempt) == (current.number, current.attempt) => self.next_try(p),
            Step::GivesUp(call) if call == current.number => self.gave_up(p),
            Step::Writes => self.writes(p),
            Step::Arrives(_) | Step::Answered(..) | Step::TryEnds(..) | Step::GivesUp(_) => {}
        }
    }

    /// Whether etcd's news reach it: on the connection that it has, or, where that is lost, on one that it can make.
    fn hears(&self, p: usize) -> bool {
        let told = |m: usize| self.etcd.serves(m, &self.cut) && self.reaches(m, PATRONI + p);
        if self.processes[p].cached { (0..HOSTS).any(told) } else { self.is_answered(p) }
    }

    fn is_answered(&self, p: usize) -> bool {
        (0..HOSTS).any(|m| self.etcd.serves(m, &self.cut) && self.reaches(PATRONI + p, m) && self.reaches(m, PATRONI + p))
    }

    fn begin_loop(&mut self, p: usize) {
        let longest = self.processes[p].clock.takes(self.processes[p].config.retry_timeout);
        self.processes[p].loop_began = self.now;
        let takes = match self.setup.contract {
            Contract::Rule | Contract::LeavesHeartbeat if self.random.chance(60) => 0,
            Contract::Rule | Contract::LeavesHeartbeat => self.random.between(0, longest),
            // A healthy loop is not slow: only one that hears nothing waits.
            Contract::Latest if self.hears(p) => 0,
            Contract::Source if self.processes[p].cached || self.hears(p) => 0,
            Contract::Latest | Contract::Source => longest,
        };
        self.next_step(p, self.now + takes, Step::ReadEnds);
    }

    fn read(&mut self, p: usize) {
        let hears = self.hears(p);
        if hears {
            self.processes[p].view = Some(self.etcd.view);
            self.processes[p].cached = true;
        }
        let process = &self.processes[p];
        let failed = !hears && !process.cached;
        let Some(view) = process.view.filter(|_| !failed) else {
            self.step_down(p);
            return self.end_loop(p);
        };
        let leads = process.leads;
        match view.key {
            Some(key) if key.holder == p => self.call(p, Kind::Renew),
            None if leads || (self.may_take_over(&view, p) && !view.config.pause) => self.call(p, Kind::Acquire),
            key => {
                self.step_down(p);
                let process = &mut self.processes[p];
                process.follows = key.map(|k| k.holder).or(process.follows);
                self.call(p, Kind::Touch);
            }
        }
    }

    fn call(&mut self, p: usize, kind: Kind) {
        let process = &mut self.processes[p];
        process.call.number += 1;
        process.call.kind = kind;
        process.call.attempt = 0;
        process.call.ends = self.now + process.clock.takes(process.config.retry_timeout);
        // A commit waits for a standby before that standby is named as the one that may take over, and for as long as it is.
        let waits_for = self.processes[p].waits_for;
        let standby = match waits_for {
            Some(q) => self.streams(p, q).then_some(q),
            None => (0..HOSTS).find(|q| *q != p && self.streams(p, *q)),
        };
        let process = &mut self.processes[p];
        process.call.standby = standby;
        if process.leads && waits_for.is_none() {
            process.waits_for = standby;
        }
        self.attempt(p);
    }

    fn attempt(&mut self, p: usize) {
        let process = &self.processes[p];
        let Call { number: call, kind, attempt, ends, standby } = process.call;
        let member = (process.base + attempt) % HOSTS;
        let request = Request { call, kind, attempt, member, lease: process.lease, standby };
        let lasts = process.clock.takes(process.config.retry_timeout / u32::try_from(TRIES).expect("three"));
        let arrives = self.now + self.latency();
        self.next_step(p, arrives, Step::Arrives(request));
        self.next_step(p, (self.now + lasts).min(ends), Step::TryEnds(call, attempt));
    }

    /// At etcd.
    fn arrives(&mut self, p: usize, boot: u32, request: Request) {
        let Request { member, kind, standby, .. } = request;
        if !self.reaches(PATRONI + p, member) || !self.etcd.serves(member, &self.cut) {
            return;
        }
        let now = self.now;
        if kind == Kind::Heartbeat {
            let answer = request.lease.filter(|lease| self.heartbeat(*lease));
            return self.answer(p, boot, request, answer);
        }
        // No lease is granted and no key written where there is no space.
        if self.etcd.full && (kind == Kind::Acquire || request.lease.is_none_or(|lease| self.etcd.renewed(lease).is_none())) {
            return self.answer(p, boot, request, None);
        }
        let known = request.lease.filter(|lease| self.etcd.renew(*lease, now));
        let lease = known.unwrap_or_else(|| self.etcd.grant(now));
        if p == 0 && known.is_some() {
            self.outcome.renewals.push(now);
        }
        let key = self.etcd.view.key;
        let is_mine = key.is_some_and(|k| k.holder == p);
        let holds = match kind {
            Kind::Touch | Kind::Heartbeat => false,
            Kind::Renew => is_mine || key.is_none(),
            Kind::Acquire => key.is_none(),
        };
        if holds {
            if key.is_none_or(|k| k.lease != lease) {
                self.etcd.bind(p, lease);
            }
            if !self.etcd.full {
                self.etcd.view.sync = (p, if kind == Kind::Acquire { None } else { standby });
            }
        }
        let answer = (holds || kind == Kind::Touch).then_some(lease);
        self.answer(p, boot, request, answer);
    }

    fn answer(&mut self, p: usize, boot: u32, request: Request, answer: Option<i64>) {
        let back = self.now + self.latency();
        self.push(back, Event::Patroni(p, boot, Step::Answered(request, answer)));
    }

    /// At etcd: what is refused is taken back, in one step here.
    fn heartbeat(&mut self, lease: i64) -> bool {
        if !self.etcd.full {
            let written = self.etcd.beat(lease, self.now);
            if written {
                self.tell_heartbeat();
            }
            return written;
        }
        self.setup.contract == Contract::LeavesHeartbeat || self.etcd.withdraw(lease, self.now)
    }

    fn answered(&mut self, p: usize, request: Request, lease: Option<i64>) {
        let process = &mut self.processes[p];
        process.call.number += 1;
        match (lease, request.kind) {
            (Some(lease), Kind::Touch) => process.lease = Some(lease),
            (Some(lease), Kind::Renew) if self.setup.heartbeats => {
                process.lease = Some(lease);
                (process.call.kind, process.call.attempt) = (Kind::Heartbeat, 0);
                process.call.standby = request.standby;
                return self.attempt(p);
            }
            (Some(lease), kind) => {
                // What was written is what counts from now on: without a standby that may take over, nobody is waited for.
                let named = if kind == Kind::Acquire { None } else { request.standby };
                if !process.leads || named.is_none() {
                    process.waits_for = named;
                }
                process.lease = Some(lease);
                process.leads = true;
                process.follows = None;
            }
            (None, _) => self.step_down(p),
        }
        if self.setup.contract == Contract::Source && self.processes[p].leads {
            return self.next_step(p, self.now + WORK, Step::Writes);
        }
        self.end_loop(p);
    }

    fn next_try(&mut self, p: usize) {
        let call = self.processes[p].call;
        if call.attempt + 1 < TRIES && self.now < call.ends {
            self.processes[p].call.attempt += 1;
            return self.attempt(p);
        }
        // An answer that comes now is too late.
        self.processes[p].call.number += 1;
        let number = self.processes[p].call.number;
        let process = &self.processes[p];
        let reload = match self.setup.contract {
            Contract::Source => process.clock.takes(process.config.retry_timeout),
            Contract::Rule | Contract::Latest | Contract::LeavesHeartbeat => 0,
        };
        self.next_step(p, self.now + reload, Step::GivesUp(number));
    }

    fn gave_up(&mut self, p: usize) {
        let process = &mut self.processes[p];
        process.base = (process.base + 1) % HOSTS;
        process.cached = false;
        if process.call.kind != Kind::Touch {
            self.step_down(p);
        }
        self.end_loop(p);
    }

    /// The status, then, when that took long, the lease again; neither ends leadership when it fails.
    fn writes(&mut self, p: usize) {
        if self.is_answered(p) {
            return self.end_loop(p);
        }
        let process = &mut self.processes[p];
        process.cached = false;
        let timeout = process.config.retry_timeout;
        let takes = process.clock.takes(timeout / 3 + 2 * timeout);
        self.processes[p].call.kind = Kind::Touch;
        self.processes[p].call.number += 1;
        let number = self.processes[p].call.number;
        self.next_step(p, self.now + takes, Step::GivesUp(number));
    }

    fn end_loop(&mut self, p: usize) {
        let process = &mut self.processes[p];
        let pause = process.clock.takes(process.config.loop_wait);
        let at = self.now.max(process.loop_began + pause);
        if let Some(view) = process.view {
            process.config = view.config;
        }
        self.next_step(p, at, Step::Loop);
    }

    /// Without synchronous standbys anybody may.
    fn may_take_over(&self, view: &View, p: usize) -> bool {
        !self.setup.synchronous || view.sync.0 == p || view.sync.1 == Some(p)
    }

    /// Unless in maintenance: then it leads on, come what may.
    fn step_down(&mut self, p: usize) {
        let process = &mut self.processes[p];
        if process.leads && !process.config.pause {
            process.leads = false;
            self.outcome.stepped_down = Some(self.now);
        }
    }
}
