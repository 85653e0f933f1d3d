//! The last questions before a lease is revoked, and what their answers allow. Pure: [`super::service`] asks them of etcd and Docker,
//! the simulation of a world it has drawn.

use std::collections::BTreeMap;
use std::time::Duration;

use super::watch::{Leader, Sample, Verdict};

/// An answer that is older proves too little to act on.
pub const FRESH: Duration = Duration::from_secs(1);
/// The same for what a death rests on: one question more, and Docker may take a moment to answer.
const FRESH_PROOF: Duration = Duration::from_secs(2);
/// How often a death is looked into when etcd does not answer at once.
pub const TRIES: u32 = 5;

/// Why a lease was left alone after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalledOff {
    /// What was seen is too old: the process may have been stopped since.
    Stale,
    /// The leader key is not what was seen.
    Changed,
    /// The lease is not known to be older than the death: it may be another container's.
    NotItsLease,
    /// A container of the member has processes.
    RunsAgain,
    /// Docker did not answer, which proves nothing.
    DockerSilent,
}

impl CalledOff {
    /// As it stands in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Changed => "changed",
            Self::NotItsLease => "not_its_lease",
            Self::RunsAgain => "runs_again",
            Self::DockerSilent => "docker_silent",
        }
    }
}

/// Whether a verdict may be carried out at `now`, by the clock of its sample.
pub fn carry_out(verdict: &Verdict, now: Duration) -> Result<(), CalledOff> {
    if now.saturating_sub(verdict.sampled) > FRESH { Err(CalledOff::Stale) } else { Ok(()) }
}

/// A container of a member has died. `T` is the clock of Docker's events.
///
/// The order of the questions is in the types: a [`Suspect`] comes from a sample that was asked for afterwards, and only a suspect
/// takes an answer of Docker.
#[derive(Debug, Clone)]
pub struct Death<T> {
    member: String,
    at: T,
    /// When each lease of a leader key was first seen, as of the moment at which this began to be looked into.
    known: BTreeMap<i64, T>,
}

impl<T: Ord> Death<T> {
    /// What is learned later than `known` is no knowledge from before.
    pub fn new(member: String, at: T, known: BTreeMap<i64, T>) -> Self {
        Self { member, at, known }
    }

    /// The leases that the member holds. Docker is to be asked about each that is [its own](Suspect::held), after this.
    pub fn suspects(&self, sample: &Sample) -> Vec<Suspect> {
        let held = sample.groups.iter().filter_map(|(group, g)| Some((group, g.leader.as_ref()?)));
        held.filter(|(_, leader)| leader.holder == self.member)
            .map(|(group, leader)| Suspect {
                group: group.clone(),
                leader: leader.clone(),
                sampled: sample.sent,
                is_older: self.known.get(&leader.lease).is_some_and(|seen| *seen < self.at),
            })
            .collect()
    }
}

/// A lease of a member whose container has died.
#[derive(Debug, Clone)]
pub struct Suspect {
    /// The group.
    pub group: String,
    /// Its leader key.
    pub leader: Leader,
    /// When the sample that shows it was asked for.
    pub sampled: Duration,
    is_older: bool,
}

impl Suspect {
    /// Whether the lease was held before the death, so that it can be the dead container's.
    pub fn held(&self) -> Result<(), CalledOff> {
        if self.is_older { Ok(()) } else { Err(CalledOff::NotItsLease) }
    }

    /// Whether its holder is gone at `now`. `lives` is Docker's answer to whether any container of the member has processes, to a
    /// question that was asked when this was known; `None` when there is no answer.
    pub fn is_gone(&self, lives: Option<bool>, now: Duration) -> Result<(), CalledOff> {
        match lives {
            None => Err(CalledOff::DockerSilent),
            Some(true) => Err(CalledOff::RunsAgain),
            Some(false) if now.saturating_sub(self.sampled) > FRESH_PROOF => Err(CalledOff::Stale),
            Some(false) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::watch::Group;

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    fn leader(holder: &str, lease: i64) -> Leader {
        Leader { holder: holder.into(), lease, revision: 5, granted: 20, remaining: Some(19), heartbeat: None }
    }

    fn sample(sent: u64, leaders: &[(&str, &str, i64)]) -> Sample {
        let group = |holder, lease| Group { leader: Some(leader(holder, lease)), ..Group::default() };
        let groups = leaders.iter().map(|(name, holder, lease)| ((*name).to_owned(), group(holder, *lease))).collect();
        Sample { sent: ms(sent), answered: ms(sent + 20), term: 1, groups }
    }

    #[test]
    fn a_verdict_is_carried_out_within_a_second_of_the_question_that_led_to_it() {
        let verdict = Verdict { group: "0".into(), leader: leader("a", 1), unrenewed: ms(7_300), sampled: ms(10_000) };
        assert_eq!(carry_out(&verdict, ms(10_020)), Ok(()));
        assert_eq!(carry_out(&verdict, ms(11_000)), Ok(()));
        assert_eq!(carry_out(&verdict, ms(11_001)), Err(CalledOff::Stale));
    }

    #[test]
    fn only_what_the_dead_member_holds_is_asked_about() {
        let death = Death::new("a".into(), 100, BTreeMap::from([(1, 50), (2, 50), (3, 50)]));
        let suspects = death.suspects(&sample(10_000, &[("0", "a", 1), ("1", "b", 2), ("2", "a", 3)]));
        let found: Vec<_> = suspects.iter().map(|s| (s.group.as_str(), s.leader.lease, s.held())).collect();
        assert_eq!(found, [("0", 1, Ok(())), ("2", 3, Ok(()))]);
        assert!(death.suspects(&sample(10_000, &[])).is_empty(), "nobody leads");
    }

    #[test]
    fn a_lease_that_is_not_known_to_be_older_than_the_death_is_left_alone() {
        for (what, known, held) in [
            ("seen before", vec![(1, 99)], Ok(())),
            ("seen at that moment", vec![(1, 100)], Err(CalledOff::NotItsLease)),
            ("seen afterwards", vec![(1, 101)], Err(CalledOff::NotItsLease)),
            ("never seen", vec![(2, 50)], Err(CalledOff::NotItsLease)),
        ] {
            let death = Death::new("a".into(), 100, known.into_iter().collect());
            let suspects = death.suspects(&sample(10_000, &[("0", "a", 1)]));
            assert_eq!(suspects.iter().map(Suspect::held).collect::<Vec<_>>(), [held], "{what}");
        }
    }

    #[test]
    fn only_a_daemon_that_knows_of_no_process_proves_a_death_and_not_for_long() {
        let death = Death::new("a".into(), 100, BTreeMap::from([(1, 50)]));
        let suspect = death.suspects(&sample(10_000, &[("0", "a", 1)])).remove(0);
        for (lives, at, gone) in [
            (Some(false), 10_050, Ok(())),
            (Some(false), 12_000, Ok(())),
            (Some(false), 12_001, Err(CalledOff::Stale)),
            (Some(true), 10_050, Err(CalledOff::RunsAgain)),
            (None, 10_050, Err(CalledOff::DockerSilent)),
        ] {
            assert_eq!(suspect.is_gone(lives, ms(at)), gone, "{lives:?} at {at}");
        }
    }
}
