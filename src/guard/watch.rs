//! When a leader's lease has not been renewed for so long that its holder has surely stepped down. Pure.
//!
//! etcd does not say when a lease was renewed, only how many whole seconds it still has. A sample that shows `r` seconds of a
//! lease granted for `g` proves that it was not renewed within the last `g - r - 1` seconds before the answer. The watch keeps
//! for each lease the latest moment at which it may have been renewed, always erring to the later side, and measures from there
//! on by the guard's own monotonic clock.

use std::collections::BTreeMap;
use std::time::Duration;

/// Longest time between two samples in which the watch still counts as unbroken. Beyond it the guard, or its etcd member, was
/// stalled, and what it knows is as old as that.
pub const HOLE: Duration = Duration::from_secs(1);
/// How long a greater bound is kept after the settings were lowered: a leader applies new settings in its next loop, so one
/// that was cut off just before still keeps to the old ones.
const SETTLE: Duration = Duration::from_secs(60);

/// What etcd showed between two moments. Times are the guard's own, monotonic, since its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Before the first question.
    pub sent: Duration,
    /// After the last answer.
    pub answered: Duration,
    /// Raft term before and after all questions: all was answered under one etcd leader, which a quorum confirmed afterwards.
    pub term: u64,
    /// Groups by their place under the scope: `0`, `1`, … with Citus, an empty name without.
    pub groups: BTreeMap<String, Group>,
}

/// A Patroni group in a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its leader key; `None` while nobody leads.
    pub leader: Option<Leader>,
    /// Its settings; `None` when they cannot be read: then nothing is done.
    pub settings: Option<Settings>,
}

/// A leader key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Name of the member.
    pub holder: String,
    /// The lease it is bound to.
    pub lease: i64,
    /// Revision at which the key was last written.
    pub revision: i64,
    /// Time the lease was granted for, in whole seconds.
    pub granted: u64,
    /// What is left of it, in whole seconds, rounded down.
    pub remaining: u64,
}

/// What of Patroni's settings decides when an isolated leader has stepped down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// `loop_wait + 2 · retry_timeout`.
    pub bound: Duration,
    /// Whether isolated leaders step down at all: neither in maintenance (`pause`) nor in `failsafe_mode` they do.
    pub steps_down: bool,
}

/// A lease to be revoked, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The group.
    pub group: String,
    /// Its leader key as it was seen.
    pub leader: Leader,
    /// How long the lease was not renewed for, at least.
    pub unrenewed: Duration,
    /// When the sample that proves it was asked for: the older it is, the less it proves.
    pub sampled: Duration,
}

/// What is known of all leases so far.
#[derive(Debug)]
pub struct Watch {
    margin: Duration,
    last: Option<(Duration, u64)>,
    tracks: BTreeMap<String, Track>,
    holes: u64,
}

#[derive(Debug)]
struct Track {
    lease: i64,
    /// Since when it was watched without a hole: nothing older is believed, whatever etcd's clock says.
    since: Duration,
    /// No renewal happened after this moment and before the last answer.
    renewed_by: Duration,
    bound: Duration,
    /// When the settings last gave that bound.
    bound_at: Duration,
}

impl Watch {
    /// A watch that adds `margin` to Patroni's bound: for clocks that run at different speed, and for the time that stopping
    /// PostgreSQL takes to begin.
    pub fn new(margin: Duration) -> Self {
        Self { margin, last: None, tracks: BTreeMap::new(), holes: 0 }
    }

    /// How often the watch was broken and began anew.
    pub fn holes(&self) -> u64 {
        self.holes
    }

    /// For how long each group's leader may have gone without a renewal, as of `now`, with the bound that applies.
    pub fn unrenewed(&self, now: Duration) -> impl Iterator<Item = (&str, Duration, Duration)> {
        self.tracks.iter().map(move |(group, t)| (group.as_str(), now.saturating_sub(t.renewed_by), t.bound + self.margin))
    }

    /// Takes a sample in, tells which leases are to be revoked.
    pub fn observe(&mut self, sample: &Sample) -> Vec<Verdict> {
        let unbroken = self.last.filter(|(sent, _)| sample.answered.saturating_sub(*sent) <= HOLE);
        if self.last.is_some() && unbroken.is_none() {
            self.holes += 1;
        }
        let mut tracks = BTreeMap::new();
        let mut verdicts = Vec::new();
        for (name, group) in &sample.groups {
            let (Some(leader), Some(settings)) = (&group.leader, group.settings) else { continue };
            if !settings.steps_down {
                continue;
            }
            let known = self.tracks.remove(name).filter(|track| track.lease == leader.lease);
            let track = follow(known, unbroken, sample, leader, settings.bound);
            let unrenewed = sample.sent.saturating_sub(track.renewed_by);
            if unrenewed >= track.bound + self.margin {
                verdicts.push(Verdict { group: name.clone(), leader: leader.clone(), unrenewed, sampled: sample.sent });
            }
            tracks.insert(name.clone(), track);
        }
        self.tracks = tracks;
        self.last = Some((sample.sent, sample.term));
        verdicts
    }
}

/// The track of a lease after one more sample.
fn follow(known: Option<Track>, unbroken: Option<(Duration, u64)>, sample: &Sample, leader: &Leader, bound: Duration) -> Track {
    let seen = sample.answered;
    // Whatever runs first begins now: what was before was not watched.
    let (Some(track), Some((before, term))) = (known, unbroken) else {
        return Track { lease: leader.lease, since: seen, renewed_by: seen, bound, bound_at: seen };
    };
    // By etcd's count. A new etcd leader extends all leases. That is no renewal, but from here it looks like one that happened
    // a little later than the extension did: it delays a verdict and never hastens one.
    let idle = Duration::from_secs(leader.granted.saturating_sub(leader.remaining + 1));
    let by_etcd = seen.saturating_sub(idle);
    // Seen from before the last sample on: then it is the last sample that tells, and the own clock. A new term is a new
    // witness: renewals under the old etcd leader after the last sample are known to nobody.
    let witnessed = term == sample.term && by_etcd <= before;
    let renewed_by = if witnessed { track.renewed_by.min(by_etcd) } else { by_etcd }.max(track.since);
    let (bound, bound_at) = if bound >= track.bound || seen.saturating_sub(track.bound_at) > SETTLE {
        (bound, seen)
    } else {
        (track.bound, track.bound_at)
    };
    Track { lease: leader.lease, since: track.since, renewed_by, bound, bound_at }
}
