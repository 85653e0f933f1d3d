//! What goes wrong, and when.

use std::time::Duration;

use super::etcd::Cuts;
use super::{At, HOSTS, MS, PATRONI, Random, SECOND, World};

/// Which messages of an isolated party are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Both,
    In,
    Out,
}

/// Whom it happens to, as of then.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    Leader,
    EtcdLeader,
    Host(usize),
}

#[derive(Debug, Clone)]
pub enum Action {
    /// A host is cut off from the others.
    Isolate(Target, Way),
    /// A member is cut off from all of etcd, and from nobody else.
    CutEtcd(Target, Way),
    /// One node is cut off from another.
    Cut(usize, usize),
    Heal,
    /// Patroni and PostgreSQL die.
    Kill(Target),
    /// With a lease of its own.
    Boot,
    /// The daemon of a host says nothing, and sees no deaths; containers stay.
    StopDocker(Target),
    StartDocker,
    StopEtcd(Target),
    StartEtcd,
    MoveEtcd(usize),
    StopGuard(usize, At),
    RestartGuard(usize),
    /// Everything stands still.
    Freeze(At),
    /// All processes of a member stand still, and go on as if nothing had been.
    FreezeMember(Target, At),
    /// etcd renews leases and takes no writes, or takes them again.
    Full(bool),
    Slow(bool),
    RetryTimeout(u64),
    Pause(bool),
}

impl World {
    fn host(&self, target: Target) -> usize {
        match target {
            Target::Host(host) => host,
            Target::EtcdLeader => self.etcd.leader,
            Target::Leader => self.etcd.view.key.map_or(0, |key| key.holder),
        }
    }

    pub fn act(&mut self, action: Action) {
        match action {
            Action::Isolate(target, way) => {
                let host = self.host(target);
                let own = [host, PATRONI + host];
                let others: Vec<usize> = (0..2 * HOSTS).filter(|n| !own.contains(n)).collect();
                own.iter().for_each(|node| cut(&mut self.cut, *node, &others, way));
            }
            Action::CutEtcd(target, way) => {
                let host = self.host(target);
                cut(&mut self.cut, PATRONI + host, &[0, 1, 2], way);
            }
            Action::Cut(a, b) => cut(&mut self.cut, a, &[b], Way::Out),
            Action::Heal => {
                self.cut = Default::default();
                self.slow = false;
            }
            Action::Kill(target) => {
                let host = self.host(target);
                self.kill(host);
            }
            Action::Boot => (0..HOSTS).for_each(|p| self.boot(p)),
            Action::StopDocker(target) => {
                let host = self.host(target);
                self.docker[host] = false;
            }
            Action::StartDocker => self.docker = [true; HOSTS],
            Action::StopEtcd(target) => {
                let host = self.host(target);
                self.etcd.up[host] = false;
            }
            Action::StartEtcd => self.etcd.up = [true; HOSTS],
            Action::MoveEtcd(to) => {
                if self.etcd.leader != to && self.etcd.serves(to, &self.cut) {
                    self.etcd.lead(to, self.now);
                }
            }
            Action::StopGuard(g, length) => {
                let until = self.now + length;
                self.guards.get_mut(g).into_iter().for_each(|guard| guard.stop(until));
            }
            Action::RestartGuard(g) => self.restart_guard(g),
            Action::Freeze(length) => self.freeze(length),
            Action::FreezeMember(target, length) => {
                let host = self.host(target);
                self.freeze_member(host, length);
            }
            Action::Full(full) => self.etcd.full = full,
            Action::Slow(slow) => self.slow = slow,
            Action::RetryTimeout(seconds) => self.etcd.view.config.retry_timeout = Duration::from_secs(seconds),
            Action::Pause(pause) => self.etcd.view.config.pause = pause,
        }
    }
}

fn cut(cuts: &mut Cuts, node: usize, others: &[usize], way: Way) {
    for other in others {
        cuts[node][*other] |= way != Way::In;
        cuts[*other][node] |= way != Way::Out;
    }
}

/// Some of everything, at any time between 5 s and 35 s. Settings change in some runs, guards restart in the others: a guard
/// that starts just after settings were lowered cannot know what a leader that was cut off just before goes by.
pub fn draw(seed: u64) -> Vec<(At, Action)> {
    let random = &mut Random(seed ^ 0xD1CE);
    let settings = random.chance(40);
    let many = random.between(2, 9);
    let mut schedule: Vec<_> = (0..many).map(|_| (random.between(5 * SECOND, 35 * SECOND), one(random, settings))).collect();
    // A cut and what may confuse a guard about it, close together.
    if random.chance(60) {
        let at = random.between(8 * SECOND, 20 * SECOND);
        schedule.push((at, cut_off(random)));
        schedule.push((at.saturating_add(random.between(0, 2 * SECOND)).saturating_sub(SECOND), one(random, settings)));
    }
    schedule
}

/// The leader's container dies and comes back, in many runs twice, with what may confuse the guard beside it.
pub fn restarts(seed: u64) -> Vec<(At, Action)> {
    let random = &mut Random(seed ^ 0xDEAD);
    let first = random.between(8 * SECOND, 12 * SECOND);
    let mut schedule = Vec::new();
    let mut die = |random: &mut Random, at: At| {
        schedule.push((at, Action::Kill(Target::Host(0))));
        schedule.push((at + random.between(0, 1_500 * MS), Action::Boot));
    };
    die(random, first);
    if random.chance(60) {
        let again = first + random.between(SECOND, 5 * SECOND);
        die(random, again);
    }
    let near = |random: &mut Random| first + random.between(0, 4 * SECOND) - SECOND;
    let docker = [(near(random), Action::StopDocker(Target::Host(0))), (near(random) + 2 * SECOND, Action::StartDocker)];
    schedule.extend(docker.into_iter().filter(|_| random.chance(40)));
    let others = [
        Action::StopGuard(0, random.between(100 * MS, 3 * SECOND)),
        Action::MoveEtcd(random.index(HOSTS)),
        Action::Slow(true),
        cut_off(random),
    ];
    for action in others {
        if random.chance(30) {
            schedule.push((near(random), action));
        }
    }
    schedule
}

fn cut_off(random: &mut Random) -> Action {
    let way = [Way::Both, Way::In, Way::Out][random.index(3)];
    if random.chance(50) { Action::Isolate(Target::Leader, way) } else { Action::CutEtcd(Target::Leader, way) }
}

fn one(random: &mut Random, settings: bool) -> Action {
    let host = random.index(HOSTS);
    let target = [Target::Leader, Target::EtcdLeader, Target::Host(host)][random.index(3)];
    match random.between(0, 18) {
        0 | 1 => cut_off(random),
        2 => Action::Isolate(target, [Way::Both, Way::In, Way::Out][random.index(3)]),
        3 => Action::Cut(random.index(2 * HOSTS), random.index(2 * HOSTS)),
        4 | 5 => Action::Heal,
        6 => Action::Kill(target),
        7 => Action::Boot,
        8 => Action::StopEtcd(target),
        9 => Action::StartEtcd,
        10 => Action::MoveEtcd(host),
        11 => Action::StopGuard(host, random.between(100 * MS, 9 * SECOND)),
        12 => Action::Freeze(random.between(500 * MS, 12 * SECOND)),
        13 => Action::Slow(random.chance(70)),
        14 => Action::StopDocker(target),
        15 => Action::StartDocker,
        16 => Action::Full(random.chance(50)),
        _ if !settings => Action::RestartGuard(host),
        _ if random.chance(50) => Action::RetryTimeout([3, 6, 9][random.index(3)]),
        _ => Action::Pause(random.chance(50)),
    }
}
