//! The world that the guard's decisions must hold in, as a simulation: Patroni processes, etcd, the network between them, and
//! guards with the real [`Watch`](super::watch::Watch). For tests alone.
//!
//! Time is true time in microseconds; every actor has a clock of its own that runs up to 1 % fast or slow. What happens is a
//! queue of events, so a run is a pure function of its seed and its schedule. [`patroni`] says what a leader may do and when it
//! steps down, [`etcd`] what is kept and who may ask, [`guards`] how guards look and act, [`deaths`] what Docker tells them and how
//! they prove it, [`schedule`] what goes wrong.
//!
//! Two things are watched. [`Violation::Early`]: a lease is revoked although its holder has not begun to step down; that is
//! the guard's own promise. [`Violation::Both`]: two processes acknowledge commits, which no user ever forgives.

mod deaths;
mod etcd;
mod guards;
mod patroni;
mod schedule;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use etcd::Etcd;
use guards::{Guard, Look, Rule};
use patroni::{Contract, Process, Step};
use schedule::Action;

/// True time, microseconds since the start of a run.
type At = u64;
const MS: At = 1_000;
const SECOND: At = 1_000_000;

/// Three etcd members and three Patroni processes; host `h` has members `h` and `PATRONI + h`.
const HOSTS: usize = 3;
const PATRONI: usize = HOSTS;

/// A clock that runs this many millionths too fast.
#[derive(Debug, Clone, Copy)]
struct Clock(i64);

impl Clock {
    /// What it shows after so much true time.
    fn shows(self, real: At) -> Duration {
        Duration::from_micros(scale(real, 1_000_000 + self.0, 1_000_000))
    }

    /// How long it truly takes until it has gone so far.
    fn takes(self, shown: Duration) -> At {
        scale(u64::try_from(shown.as_micros()).expect("minutes"), 1_000_000, 1_000_000 + self.0)
    }
}

fn scale(value: u64, by: i64, of: i64) -> u64 {
    let scaled = i128::from(value) * i128::from(by) / i128::from(of);
    u64::try_from(scaled).expect("clocks run forward")
}

/// Splitmix: the same numbers on every machine and in every version.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From `low` to below `high`.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low).max(1)
    }

    fn index(&mut self, below: usize) -> usize {
        usize::try_from(self.between(0, below as u64)).expect("small")
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.between(0, 100) < percent
    }
}

/// How a run is set up.
#[derive(Debug, Clone)]
struct Setup {
    seed: u64,
    rule: Rule,
    contract: Contract,
    /// A commit waits for the standby; otherwise the leader acknowledges alone.
    synchronous: bool,
    /// Leaders write a heartbeat with each renewal.
    heartbeats: bool,
    /// Clocks of etcd, of Patroni and of the guards, in millionths; `None` draws each.
    clocks: Option<[i64; 3]>,
    guards: usize,
    /// A guard may be stopped for seconds between a conclusion and the deed.
    pauses: bool,
    length: At,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Violation {
    /// A lease was revoked while its holder led on, so long after its last renewal.
    Early { holder: usize, unrenewed: Duration, at: Duration },
    /// Two processes acknowledge commits. Unless a guard has ended the lease of one of them, it was etcd itself, by `ttl`.
    Both { at: Duration, by_guard: bool },
}

#[derive(Debug, Clone)]
enum Event {
    Do(Action),
    Etcd,
    Patroni(usize, u32, Step),
    Guard(usize, u32, Box<Look>),
}

/// What a run was.
#[derive(Debug, Default)]
struct Outcome {
    violations: Vec<Violation>,
    /// True time of each renewal by the process that led first.
    renewals: Vec<At>,
    /// Each revocation: when, and how long after the last renewal.
    revoked: Vec<(At, At)>,
    /// Each revocation of a lease that was renewed while the revocation was under way.
    came_back: Vec<At>,
    /// When a process last stepped down while it led.
    stepped_down: Option<At>,
    /// Longest time in which two processes led at once, and in which two would have acknowledged without standbys to wait for.
    two_leaders: At,
}

struct World {
    now: At,
    queue: BTreeMap<(At, u64), Event>,
    number: u64,
    random: Random,
    /// What sends cannot reach what receives.
    cut: [[bool; 2 * HOSTS]; 2 * HOSTS],
    /// Answers take up to a second.
    slow: bool,
    etcd: Etcd,
    processes: Vec<Process>,
    /// Whether the Docker daemon of a host is there.
    docker: [bool; HOSTS],
    guards: Vec<Guard>,
    setup: Setup,
    outcome: Outcome,
    /// Leases that guards have ended.
    ended: BTreeSet<i64>,
    both_since: Option<At>,
}

/// Runs one world to its end.
fn run(setup: Setup, schedule: Vec<(At, Action)>) -> Outcome {
    let mut random = Random(setup.seed);
    let mut clock = |which: usize| {
        let drawn = i64::try_from(random.between(0, 20_001)).expect("small") - 10_000;
        Clock(setup.clocks.map_or(drawn, |clocks| clocks[which]))
    };
    let etcd = Etcd::new([clock(0), clock(0), clock(0)]);
    let processes = (0..HOSTS).map(|p| Process::new(clock(1), p)).collect();
    let guards: Vec<Guard> = (0..setup.guards).map(|g| Guard::new(setup.rule, clock(2), g)).collect();
    let mut world = World {
        now: 0,
        queue: BTreeMap::new(),
        number: 0,
        random,
        cut: Default::default(),
        slow: false,
        etcd,
        processes,
        docker: [true; HOSTS],
        guards,
        setup,
        outcome: Outcome::default(),
        ended: BTreeSet::new(),
        both_since: None,
    };
    world.start(schedule);
    world.work();
    world.outcome
}

impl World {
    fn start(&mut self, schedule: Vec<(At, Action)>) {
        for (at, action) in schedule {
            self.push(at, Event::Do(action));
        }
        self.push(0, Event::Etcd);
        for p in 0..HOSTS {
            let at = self.random.between(0, SECOND);
            self.push(at, Event::Patroni(p, 0, Step::Loop));
        }
        for g in 0..self.guards.len() {
            let at = self.random.between(0, 200 * MS);
            self.push(at, Event::Guard(g, 0, Box::new(Look::Begin)));
        }
    }

    fn work(&mut self) {
        while let Some(((at, _), event)) = self.queue.pop_first() {
            if at > self.setup.length {
                break;
            }
            self.now = at;
            match event {
                Event::Do(action) => self.act(action),
                Event::Etcd => {
                    self.etcd.tick(self.now, &self.cut, &mut self.random);
                    self.push(self.now + 100 * MS, Event::Etcd);
                }
                Event::Patroni(p, boot, step) => self.patroni(p, boot, step),
                Event::Guard(g, boot, look) => self.guard(g, boot, *look),
            }
            self.check();
        }
    }

    fn push(&mut self, at: At, event: Event) {
        self.number += 1;
        self.queue.insert((at.max(self.now), self.number), event);
    }

    fn check(&mut self) {
        let acknowledging: Vec<usize> = (0..HOSTS).filter(|p| self.acknowledges(*p)).collect();
        if acknowledging.len() > 1 && !self.outcome.violations.iter().any(|v| matches!(v, Violation::Both { .. })) {
            let by_guard = acknowledging.iter().any(|p| self.processes[*p].lease.is_some_and(|l| self.ended.contains(&l)));
            self.outcome.violations.push(Violation::Both { at: Duration::from_micros(self.now), by_guard });
        }
        if self.processes.iter().filter(|p| p.leads).count() > 1 {
            let since = *self.both_since.get_or_insert(self.now);
            self.outcome.two_leaders = self.outcome.two_leaders.max(self.now - since);
        } else if let Some(since) = self.both_since.take() {
            self.outcome.two_leaders = self.outcome.two_leaders.max(self.now - since);
        }
    }

    /// Whether a message gets from one node to another.
    fn reaches(&self, from: usize, to: usize) -> bool {
        !self.cut[from][to]
    }

    /// How long a message is on its way.
    fn latency(&mut self) -> At {
        if self.slow { self.random.between(MS, 700 * MS) } else { self.random.between(MS / 2, 20 * MS) }
    }

    /// Everything stands still and goes on later, while clocks go on: the machine below all of them was stopped.
    fn freeze(&mut self, length: At) {
        let until = self.now + length;
        let (still, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.queue).into_iter().partition(|((at, _), _)| *at < until);
        self.queue = later.into_iter().collect();
        for (_, event) in still {
            let at = until + self.random.between(0, 200 * MS);
            self.push(at, event);
        }
    }
}
