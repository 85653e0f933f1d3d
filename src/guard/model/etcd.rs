//! etcd: three members, one leader with a quorum, leases whose remaining time only the leader knows.
//!
//! Renewals and looks succeed only while the leader has a quorum: etcd 3.5.16 asks one before it renews a lease
//! (`LeaseRenew`, `ensureLeadership`), and a guard's last question is one that only a leader with a quorum can answer. So a
//! leader of before is one that nobody gets an answer from.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{At, Clock, HOSTS, MS, Random, SECOND};
use crate::guard::watch::Settings;

/// Granted to every lease.
pub const TTL: u64 = 20;
/// What a new leader adds to all leases: the election timeout (`lessor.Promote`).
const EXTENSION: Duration = Duration::from_millis(500);

/// Patroni's dynamic configuration, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    pub loop_wait: Duration,
    pub retry_timeout: Duration,
    pub pause: bool,
}

impl Config {
    pub fn settings(self) -> Settings {
        Settings::new(self.loop_wait, self.retry_timeout, !self.pause)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub holder: usize,
    pub lease: i64,
    pub revision: i64,
}

/// What a linearizable read shows.
#[derive(Debug, Clone, Copy)]
pub struct View {
    pub key: Option<Key>,
    pub config: Config,
    /// The leader that the synchronous standby belongs to, and that standby: who may take over.
    pub sync: (usize, Option<usize>),
    /// The lease with which the leader's heartbeat was last written, and when, by etcd's revisions.
    pub heartbeat: Option<(i64, i64)>,
}

#[derive(Debug)]
struct Lease {
    /// When its time was last set, and to what, by the leader's clock.
    set: At,
    to: Duration,
    /// When its holder last renewed it, in a way that counts for its holder.
    renewed: At,
    /// Whether only renewals with a heartbeat do.
    beats: bool,
}

pub type Cuts = [[bool; 2 * HOSTS]; 2 * HOSTS];

#[derive(Debug)]
pub struct Etcd {
    pub view: View,
    pub leader: usize,
    pub term: u64,
    pub up: [bool; HOSTS],
    /// Whether its space is used up: then it renews leases and takes no writes.
    pub full: bool,
    clocks: [Clock; HOSTS],
    leases: BTreeMap<i64, Lease>,
    next: i64,
    /// When a new leader is elected, unless the old one has its quorum back before.
    election: Option<At>,
}

impl Etcd {
    /// Process 0 leads, process 1 is its synchronous standby.
    pub fn new(clocks: [Clock; HOSTS]) -> Self {
        let config = Config { loop_wait: Duration::from_secs(1), retry_timeout: Duration::from_secs(3), pause: false };
        let view = View { key: None, config, sync: (0, Some(1)), heartbeat: None };
        let (up, leases) = ([true; HOSTS], BTreeMap::new());
        let mut etcd = Self { view, leader: 2, term: 1, up, full: false, clocks, leases, next: 1, election: None };
        let lease = etcd.grant(0);
        etcd.bind(0, lease);
        etcd
    }

    /// Whether the member answers what needs a quorum.
    pub fn serves(&self, member: usize, cut: &Cuts) -> bool {
        let linked = |a: usize, b: usize| !cut[a][b] && !cut[b][a];
        self.up[member] && self.has_quorum(self.leader, cut) && (member == self.leader || linked(member, self.leader))
    }

    fn has_quorum(&self, leader: usize, cut: &Cuts) -> bool {
        let follows = |other: usize| self.up[other] && !cut[leader][other] && !cut[other][leader];
        self.up[leader] && (0..HOSTS).any(|other| other != leader && follows(other))
    }

    pub fn tick(&mut self, now: At, cut: &Cuts, random: &mut Random) {
        if self.has_quorum(self.leader, cut) {
            self.election = None;
            self.expire(now);
            return;
        }
        let at = *self.election.get_or_insert_with(|| now + random.between(500 * MS, 1_500 * MS));
        if now >= at
            && let Some(new) = (0..HOSTS).find(|m| *m != self.leader && self.has_quorum(*m, cut))
        {
            self.lead(new, now);
        }
    }

    /// A new leader begins: all leases start over, and a little more.
    pub fn lead(&mut self, new: usize, now: At) {
        self.leader = new;
        self.term += 1;
        self.election = None;
        for lease in self.leases.values_mut() {
            lease.set = now;
            lease.to = Duration::from_secs(TTL) + EXTENSION;
        }
    }

    fn expire(&mut self, now: At) {
        let over: Vec<i64> = self.leases.iter().filter(|(_, l)| self.left(l, now).is_zero()).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|lease| self.end(lease));
    }

    fn left(&self, lease: &Lease, now: At) -> Duration {
        lease.to.saturating_sub(self.clocks[self.leader].shows(now - lease.set))
    }

    /// Whole seconds that a lease has left.
    pub fn remaining(&self, lease: i64, now: At) -> Option<u64> {
        self.leases.get(&lease).map(|l| self.left(l, now).as_secs())
    }

    /// When its holder last renewed it, in a way that counts for its holder.
    pub fn renewed(&self, lease: i64) -> Option<At> {
        self.leases.get(&lease).map(|l| l.renewed)
    }

    pub fn grant(&mut self, now: At) -> i64 {
        let id = self.next;
        self.next += 1;
        self.leases.insert(id, Lease { set: now, to: Duration::from_secs(TTL), renewed: now, beats: false });
        id
    }

    /// Whether there was such a lease.
    pub fn renew(&mut self, lease: i64, now: At) -> bool {
        let Some(lease) = self.leases.get_mut(&lease) else { return false };
        (lease.set, lease.to) = (now, Duration::from_secs(TTL));
        if !lease.beats {
            lease.renewed = now;
        }
        true
    }

    /// Writes the heartbeat of a lease, unless there is no such lease.
    pub fn beat(&mut self, lease: i64, now: At) -> bool {
        let Some(known) = self.leases.get_mut(&lease) else { return false };
        (known.renewed, known.beats) = (now, true);
        let revision = self.revision();
        self.view.heartbeat = Some((lease, revision));
        true
    }

    /// Deletes the heartbeat of a lease that is renewed without from now on.
    pub fn withdraw(&mut self, lease: i64, now: At) -> bool {
        let Some(known) = self.leases.get_mut(&lease) else { return false };
        (known.renewed, known.beats) = (now, false);
        self.view.heartbeat = self.view.heartbeat.filter(|(of, _)| *of != lease);
        true
    }

    /// Ends a lease, and with it the leader key and the heartbeat.
    pub fn end(&mut self, lease: i64) {
        self.leases.remove(&lease);
        self.view.key = self.view.key.filter(|key| key.lease != lease);
        self.view.heartbeat = self.view.heartbeat.filter(|(of, _)| *of != lease);
    }

    /// Writes the leader key.
    pub fn bind(&mut self, holder: usize, lease: i64) {
        let revision = self.revision();
        self.view.key = Some(Key { holder, lease, revision });
    }

    fn revision(&mut self) -> i64 {
        self.next += 1;
        i64::try_from(self.term * SECOND).expect("small") + self.next
    }
}
