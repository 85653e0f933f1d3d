//! Deaths of containers: each host's Docker daemon tells the guard beside it, who proves them as `service` does before it acts.
//!
//! A member is pinned to its host and has one container at a time there, which Swarm starts anew after it has died. An event may
//! be late, and is never told again; a daemon may be down when it is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use super::guards::{Deed, Look, Rule};
use super::{At, Event, MS, SECOND, World};
use crate::guard::deed::{self, Suspect, TRIES};
use crate::guard::watch::{Sample, Verdict};

/// How late an event or an answer of Docker may be (`containers`).
const LATE: At = 2 * SECOND;

/// A death that is looked into.
#[derive(Debug, Clone)]
pub struct Death {
    member: usize,
    /// By the clock of its host, which is the guard's.
    at: Duration,
    /// With what the guard knows of leases as of the moment at which it begins to look into this.
    begun: Option<deed::Death<Duration>>,
    tries: u32,
}

impl Death {
    /// Remembers what the guard knows as it begins; that stays when it has to begin again.
    pub fn begun(mut self, seen: &BTreeMap<i64, Duration>) -> Self {
        self.begun.get_or_insert_with(|| deed::Death::new(self.member.to_string(), self.at, seen.clone()));
        self
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
    suspect: Suspect,
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
        self.push(self.now + takes, Event::Guard(member, boot, Box::new(Look::Died(member, at))));
    }

    /// Takes what a guard was told: it is looked into with the next look.
    pub fn hear_of_death(&mut self, g: usize, member: usize, at: Duration) {
        if self.guards[g].rule == Rule::AsksDockerFirst && self.lives(member) != Some(false) {
            return;
        }
        self.guards[g].deaths.push_back(Death { member, at, begun: None, tries: 1 });
    }

    /// Who leads was seen. What is left to ask is whether that one is gone.
    pub fn look_into(&mut self, g: usize, death: &Death, sample: &Sample, asked: At) {
        let rule = self.guards[g].rule;
        for suspect in death.begun.iter().flat_map(|begun| begun.suspects(sample)) {
            if rule.knows_leases() && suspect.held().is_err() {
                continue;
            }
            let proof = Proof { member: death.member, suspect, asked };
            if matches!(rule, Rule::TrustsDeaths | Rule::AsksDockerFirst) {
                self.proved(g, proof, Some(false));
                continue;
            }
            let at = self.now + self.random.between(MS, 20 * MS);
            self.next_look(g, at, Look::AskDocker(Box::new(proof)));
        }
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
        let lives = lives.or((guard.rule == Rule::TrustsSilence).then_some(false));
        if proof.suspect.is_gone(lives, guard.now(self.now)).is_ok() {
            let Suspect { group, leader, sampled, .. } = proof.suspect.clone();
            let verdict = Verdict { group, leader, unrenewed: Duration::ZERO, sampled };
            self.next_look(g, self.now, Look::Act(Deed { verdict, asked: proof.asked, gone: Some(proof.suspect) }));
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
