//! Deaths of containers: each host's Docker daemon tells the guard beside it, who proves them as `service` does before it acts.
//!
//! A member is pinned to its host and has one container at a time there, which Swarm starts anew after it has died. An event may
//! be late, and is never told again; a daemon may be down when it is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use super::guards::{Look, Rule};
use super::{At, Event, MS, SECOND, World};
use crate::guard::watch::{Leader, Verdict};

/// How old what was seen may be when the proof is complete (`service`).
const FRESH: Duration = Duration::from_secs(2);
/// How often a death is looked into when etcd does not answer (`service`).
const TRIES: u32 = 5;
/// How late an event or an answer of Docker may be (`containers`).
const LATE: At = 2 * SECOND;

/// A death that is looked into.
#[derive(Debug, Clone)]
pub struct Death {
    member: usize,
    /// By the clock of its host, which is the guard's.
    at: Duration,
    /// When the guard first saw each lease, as of the moment at which it began to look into this.
    known: Option<BTreeMap<i64, Duration>>,
    tries: u32,
}

impl Death {
    /// Remembers what the guard knows as it begins; that stays when it has to begin again.
    pub fn begun(mut self, seen: &BTreeMap<i64, Duration>) -> Self {
        self.known.get_or_insert_with(|| seen.clone());
        self
    }

    fn is_older(&self, lease: i64) -> bool {
        self.known.as_ref().and_then(|known| known.get(&lease)).is_some_and(|seen| *seen < self.at)
    }

    /// The same once more, unless that was often enough.
    pub fn again(self) -> Option<Self> {
        (self.tries < TRIES).then(|| Self { tries: self.tries + 1, ..self })
    }
}

/// What Docker is asked to complete.
#[derive(Debug, Clone)]
pub struct Proof {
    member: usize,
    verdict: Verdict,
    /// When the look began that shows who holds the lease.
    asked: At,
}

impl Rule {
    /// Whether a lease that was not seen before the death is left alone.
    fn knows_leases(self) -> bool {
        !matches!(self, Self::TrustsDeaths | Self::AsksDockerFirst | Self::TrustsSilence | Self::ForgetsLeases)
    }
}

impl World {
    /// What Docker says of a member that dies now, if it is there to see it.
    pub fn tell_death(&mut self, member: usize) {
        if !self.docker[member] || member >= self.guards.len() {
            return;
        }
        let late = self.setup.pauses && self.random.chance(40);
        let takes = self.random.between(MS, if late { LATE } else { 30 * MS });
        let at = self.guards[member].wall_clock(self.now);
        let boot = self.guards[member].boot;
        self.push(self.now + takes, Event::Guard(member, boot, Look::Died(member, at)));
    }

    /// Takes what a guard was told: it is looked into with the next look.
    pub fn hear_of_death(&mut self, g: usize, member: usize, at: Duration) {
        if self.guards[g].rule == Rule::AsksDockerFirst && self.lives(member) != Some(false) {
            return;
        }
        self.guards[g].deaths.push_back(Death { member, at, known: None, tries: 1 });
    }

    /// Who leads was seen. What is left to ask is whether that one is gone.
    pub fn look_into(&mut self, g: usize, death: &Death, leader: Option<Leader>, sampled: Duration, asked: At) {
        let Some(leader) = leader.filter(|leader| leader.holder == death.member.to_string()) else { return };
        let rule = self.guards[g].rule;
        if rule.knows_leases() && !death.is_older(leader.lease) {
            return;
        }
        let verdict = Verdict { group: "0".into(), leader, unrenewed: Duration::ZERO, sampled };
        let proof = Proof { member: death.member, verdict, asked };
        if matches!(rule, Rule::TrustsDeaths | Rule::AsksDockerFirst) {
            return self.proved(g, proof, Some(false));
        }
        let at = self.now + self.random.between(MS, 20 * MS);
        self.next_look(g, at, Look::AskDocker(Box::new(proof)));
    }

    /// At the daemon.
    pub fn ask_docker(&mut self, g: usize, proof: Box<Proof>) {
        let lives = self.lives(proof.member);
        let at = self.now + self.random.between(MS, 20 * MS) + self.stall();
        self.next_look(g, at, Look::DockerSays(proof, lives));
    }

    /// Docker's answer is with the guard; `None` when there is none.
    pub fn proved(&mut self, g: usize, proof: Proof, lives: Option<bool>) {
        let guard = &self.guards[g];
        let gone = lives.map_or(guard.rule == Rule::TrustsSilence, |lives| !lives);
        if gone && guard.now(self.now).saturating_sub(proof.verdict.sampled) <= FRESH {
            self.send_revocation(g, proof.verdict, proof.asked);
        }
    }

    fn lives(&self, member: usize) -> Option<bool> {
        self.docker[member].then(|| self.processes[member].up)
    }

    /// Now and then a guard or a daemon has no processor for a while.
    fn stall(&mut self) -> At {
        if self.setup.pauses && self.random.chance(30) { self.random.between(0, LATE) } else { 0 }
    }
}
