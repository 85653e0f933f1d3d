//! When a leader's lease has not been renewed for so long that its holder has surely stepped down. Pure.
//!
//! A leader writes its heartbeat with each renewal, and believes in none before that is written. Two looks that show the same
//! revision of it prove that there was no renewal in between, whatever became of the guard's view, of etcd's leader or of the lease's
//! time meanwhile.
//!
//! Without a heartbeat there is only the lease. etcd does not say when it was renewed, only how many whole seconds it still has. A
//! sample that shows `r` seconds of a lease granted for `g` proves that it was not renewed within the last `g - r - 1` seconds before
//! the answer.
//!
//! The watch keeps for each lease the latest moment at which it may have been renewed, always erring to the later side, and
//! measures from there on by the guard's own clock.

use std::collections::BTreeMap;
use std::time::Duration;

use super::heartbeats::Heartbeat;
use crate::topology::timing::{late_demotion, self_demotion};

/// Longest time between two samples in which the watch of a lease still counts as unbroken. Beyond it the guard, or its etcd member,
/// was stalled, and what it knows is as old as that. The same between two signs of the guard's own life, whatever it watches: with
/// it all others may have stood still.
pub const HOLE: Duration = Duration::from_secs(1);
/// The same for heartbeats, while the guard itself is awake: as long as etcd may be without a leader when a vote is split
/// ([`ETCD_ELECTION`](crate::topology::timing::ETCD_ELECTION), four of it at worst), with a look before and one after.
pub const SILENCE: Duration = Duration::from_secs(3);
/// How long a leader that is in contact may take to apply new settings. It is a matter of its next loop; the rest is for one
/// that sees them late. One that was cut off before keeps to the old ones for as long as these say.
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// Its leader key; `None` while nobody leads.
    pub leader: Option<Leader>,
    /// Its settings; `None` when they cannot be read: then nothing is done.
    pub settings: Option<Settings>,
    /// Whether a sole standby has to have every commit before it is acknowledged, and only that one may be promoted. Only the leader
    /// says who its standbys are, and only through etcd: what is seen is what a leader that was cut off goes by.
    pub sole_standby: bool,
    /// Revision at which its Patronis were last woken by a guard; 0 when they never were.
    pub woken: i64,
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
    /// What is left of it, in whole seconds, rounded down; `None` where it was not asked for, as a heartbeat tells more.
    pub remaining: Option<u64>,
    /// The last heartbeat that its holder wrote with this lease; `None` where it writes none.
    pub heartbeat: Option<Heartbeat>,
}

/// What of Patroni's settings decides when an isolated leader has stepped down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// See [`self_demotion`].
    pub bound: Duration,
    /// How much longer it may take in rare moments, see [`late_demotion`]. With a sole standby the old leader acknowledges nothing in these
    /// moments, and nobody waits for them to pass.
    pub late: Duration,
    /// Whether isolated leaders step down at all: neither in maintenance (`pause`) nor in `failsafe_mode` they do.
    pub steps_down: bool,
}

impl Settings {
    /// What follows from Patroni's timings.
    pub fn new(loop_wait: Duration, retry_timeout: Duration, steps_down: bool) -> Self {
        Self { bound: self_demotion(loop_wait, retry_timeout), late: late_demotion(retry_timeout), steps_down }
    }
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
    /// When the guard was last known to run.
    awake: Option<Duration>,
    tracks: BTreeMap<String, Track>,
    /// By group, whoever leads it.
    settings: BTreeMap<String, Recent>,
    holes: u64,
}

/// Settings that a group's leader may still keep to, each with the moment at which they were last seen in force. Kept over
/// holes and changes of leases: what is forgotten here is what a leader that was cut off may still believe.
#[derive(Debug, Default)]
struct Recent(Vec<(Settings, Duration)>);

#[derive(Debug)]
struct Track {
    lease: i64,
    /// Revision of the last heartbeat.
    heartbeat: Option<i64>,
    /// Since when it was watched without a hole: nothing older is believed, whatever etcd's clock says.
    since: Duration,
    /// No renewal happened after this moment and before the last answer.
    renewed_by: Duration,
    bound: Duration,
}

impl Watch {
    /// A watch that adds `margin` to Patroni's bound: for clocks that run at different speed, and for the time that stopping
    /// PostgreSQL takes to begin.
    pub fn new(margin: Duration) -> Self {
        Self { margin, last: None, awake: None, tracks: BTreeMap::new(), settings: BTreeMap::new(), holes: 0 }
    }

    /// How often the watch was broken and began anew.
    pub fn holes(&self) -> u64 {
        self.holes
    }

    /// For how long each group's leader may have gone without a renewal, as of `now`, with the bound that applies.
    pub fn unrenewed(&self, now: Duration) -> impl Iterator<Item = (&str, Duration, Duration)> {
        self.tracks.iter().map(move |(group, t)| (group.as_str(), now.saturating_sub(t.renewed_by), t.bound + self.margin))
    }

    /// The next moment after `now` at which a look may find that a lease has to be revoked.
    pub fn due(&self, now: Duration) -> Option<Duration> {
        self.tracks.values().map(|t| t.renewed_by + t.bound + self.margin).filter(|due| *due > now).min()
    }

    /// Hears that the guard runs, whether or not it sees anything. After a pause of it nothing counts that was before: whoever
    /// stopped it may have stopped the leaders, too, while clocks went on.
    pub fn awake(&mut self, now: Duration) {
        let last = *self.awake.get_or_insert(now);
        if now.saturating_sub(last) > HOLE {
            self.tracks.clear();
        }
        self.awake = Some(last.max(now));
    }

    /// Takes a sample in, tells which leases are to be revoked.
    pub fn observe(&mut self, sample: &Sample) -> Vec<Verdict> {
        self.awake(sample.sent);
        self.awake(sample.answered);
        if self.last.is_some_and(|(sent, _)| sample.answered.saturating_sub(sent) > HOLE) {
            self.holes += 1;
        }
        let mut tracks = BTreeMap::new();
        let mut verdicts = Vec::new();
        for (name, group) in &sample.groups {
            let Some(settings) = group.settings else { continue };
            let recent = self.settings.entry(name.clone()).or_default();
            recent.take(settings, sample.answered);
            let Some(leader) = &group.leader else { continue };
            let ttl = Duration::from_secs(leader.granted);
            let Some(bound) = recent.bound(ttl, group.sole_standby, sample.answered) else { continue };
            let known = self.tracks.remove(name).filter(|track| track.lease == leader.lease);
            let track = follow(known, self.last, sample, leader, bound);
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

impl Recent {
    fn take(&mut self, settings: Settings, seen: Duration) {
        self.0.retain(|(old, _)| *old != settings);
        self.0.push((settings, seen));
    }

    /// The longest bound that a leader may keep to; `None` while it may keep to settings by which it does not step down. Such a
    /// leader loses its lease by its `ttl`, if it does not renew it; who renews it learns of the change.
    fn bound(&mut self, ttl: Duration, sole_standby: bool, seen: Duration) -> Option<Duration> {
        let lasts = |old: &Settings| SETTLE + if old.steps_down { old.bound + old.late } else { ttl };
        let bound = |old: &Settings| old.bound + if sole_standby { Duration::ZERO } else { old.late };
        self.0.retain(|(old, at)| seen.saturating_sub(*at) <= lasts(old));
        self.0.iter().all(|(old, _)| old.steps_down).then(|| self.0.iter().map(|(old, _)| bound(old)).max())?
    }
}

/// The track of a lease after one more sample; the last one was asked for at that moment, under that term.
fn follow(known: Option<Track>, last: Option<(Duration, u64)>, sample: &Sample, leader: &Leader, bound: Duration) -> Track {
    let seen = sample.answered;
    let heartbeat = leader.heartbeat.map(|heartbeat| heartbeat.revision);
    // Whatever runs first begins now: what was before was not watched.
    let begins = Track { lease: leader.lease, heartbeat, since: seen, renewed_by: seen, bound };
    let (Some(track), Some((before, term))) = (known, last) else { return begins };
    let gap = seen.saturating_sub(before);
    let renewed_by = match (track.heartbeat, leader.heartbeat, leader.remaining) {
        (last, Some(now), _) if gap <= SILENCE => {
            if last == heartbeat {
                track.renewed_by
            } else {
                now.heard.max(track.since)
            }
        }
        (None, None, Some(remaining)) if gap <= HOLE => {
            // By etcd's count.
            let idle = Duration::from_secs(leader.granted.saturating_sub(remaining + 1));
            renewed_by_lease(&track, before, term == sample.term, seen.saturating_sub(idle))
        }
        _ => return begins,
    };
    Track { since: track.since, renewed_by, ..begins }
}

/// What etcd's count of a lease's time proves. A new etcd leader extends all leases. That is no renewal, but from here it looks like
/// one that happened a little later than the extension did: it delays a verdict and never hastens one.
fn renewed_by_lease(track: &Track, before: Duration, same_term: bool, by_etcd: Duration) -> Duration {
    // Seen from before the last sample on: then it is the last sample that tells, and the own clock. A new term is a new
    // witness: renewals under the old etcd leader after the last sample are known to nobody.
    let witnessed = same_term && by_etcd <= before;
    if witnessed { track.renewed_by.min(by_etcd) } else { by_etcd }.max(track.since)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::timing::ETCD_ELECTION;

    /// Between two looks, and until etcd has answered all questions of one.
    const LOOK: u64 = 200;
    const ANSWER: u64 = 20;
    const TTL: u64 = 20;
    const DEFAULTS: Settings = Settings { bound: Duration::from_secs(7), late: Duration::from_secs(4), steps_down: true };
    const LONG: Settings = Settings { bound: Duration::from_secs(130), late: Duration::from_secs(80), steps_down: true };
    const MAINTENANCE: Settings = Settings { steps_down: false, ..DEFAULTS };

    fn watch() -> Watch {
        Watch::new(Duration::from_millis(300))
    }

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    /// What etcd shows at `at` of a lease that was last set to its whole time at `set`. All in milliseconds.
    fn sample(at: u64, set: u64, lease: i64, term: u64, settings: Settings) -> Sample {
        let remaining = Some((TTL * 1_000).saturating_sub(at - set) / 1_000);
        let leader = Leader { holder: "coordinator-1".into(), lease, revision: 5, granted: TTL, remaining, heartbeat: None };
        let group = Group { leader: Some(leader), settings: Some(settings), sole_standby: true, woken: 0 };
        Sample { sent: ms(at), answered: ms(at + ANSWER), term, groups: BTreeMap::from([("0".into(), group)]) }
    }

    fn plain(at: u64, set: u64) -> Sample {
        sample(at, set, 1, 1, DEFAULTS)
    }

    /// Looks from `from` to `to` at a lease that is renewed once a second until `last`.
    fn live(watch: &mut Watch, from: u64, to: u64, last: u64, settings: Settings) -> Option<u64> {
        (from..to).step_by(200).find(|at| {
            let set = (*at - *at % 1_000).min(last);
            !watch.observe(&sample(*at, set, 1, 1, settings)).is_empty()
        })
    }

    #[test]
    fn who_renews_every_second_is_left_alone() {
        assert_eq!(live(&mut watch(), 0, 300_000, u64::MAX, DEFAULTS), None);
    }

    #[test]
    fn who_does_not_renew_is_revoked_after_the_bound_and_the_margin() {
        // The last renewal at every phase of the looks.
        for phase in (0..LOOK).step_by(10) {
            let mut watch = watch();
            let renewed = 10_000 + phase;
            assert_eq!(live(&mut watch, 0, 10_000, 9_000, DEFAULTS), None);
            let looks = (10_000..30_000).step_by(200);
            let revoked = looks.into_iter().find(|at| {
                let set = if *at >= renewed { renewed } else { 9_000 };
                !watch.observe(&plain(*at, set)).is_empty()
            });
            let after = revoked.expect("a verdict") - renewed;
            assert!((7_300..7_650).contains(&after), "phase {phase}: {after}");
        }
    }

    #[test]
    fn a_look_at_the_moment_that_is_due_finds_what_one_before_does_not() {
        let mut watch = watch();
        assert_eq!(watch.due(ms(0)), None, "nothing is watched");
        assert_eq!(watch.observe(&beating(10_000, 9_900, 1)), []);
        let due = ms(10_000 + ANSWER + 7_300);
        assert_eq!(watch.due(ms(10_020)), Some(due));
        for at in (10_200..17_300).step_by(200).chain([17_319]) {
            assert_eq!(watch.observe(&beating(at, 9_900, 1)), [], "{at}");
        }
        assert_eq!(watch.due(ms(17_319)), Some(due));
        assert_eq!(watch.observe(&beating(17_320, 9_900, 1)).len(), 1);
        assert_eq!(watch.due(due), None, "it is over, and there is no hurry with the next one");
    }

    #[test]
    fn a_verdict_says_what_was_seen() {
        let mut watch = watch();
        let verdict = (0..10_000).step_by(200).find_map(|at| watch.observe(&plain(at, 0)).pop()).expect("a verdict");
        assert_eq!((verdict.group.as_str(), verdict.leader.lease, verdict.leader.revision), ("0", 1, 5));
        assert!(verdict.unrenewed >= ms(7_300) && verdict.sampled > ms(7_300), "{verdict:?}");
    }

    #[test]
    fn without_a_sole_standby_the_guard_waits_for_a_patroni_that_is_late() {
        let several = |at, settings| {
            let mut sample = sample(at, 0, 1, 1, settings);
            sample.groups.values_mut().for_each(|group| group.sole_standby = false);
            sample
        };
        let mut watch = watch();
        let revoked = (0..30_000).step_by(200).find(|at| !watch.observe(&several(*at, DEFAULTS)).is_empty());
        assert!(revoked.is_some_and(|at| (11_300..11_650).contains(&at)), "{revoked:?}");
        // Lowered while the leader was cut off: it is late by what it knows.
        let mut watch = Watch::new(Duration::from_millis(300));
        let seven = Settings { late: Duration::from_secs(7), ..DEFAULTS };
        assert_eq!(watch.observe(&several(0, seven)), []);
        let revoked = (200..30_000).step_by(200).find(|at| !watch.observe(&several(*at, DEFAULTS)).is_empty());
        assert!(revoked.is_some_and(|at| (14_300..14_650).contains(&at)), "{revoked:?}");
    }

    #[test]
    fn a_guard_that_starts_late_waits_the_whole_time() {
        // Not renewed for ten seconds when the guard starts: it did not see that.
        let revoked = live(&mut watch(), 10_000, 30_000, 0, DEFAULTS);
        assert!(revoked.is_some_and(|at| (17_300..17_650).contains(&at)), "{revoked:?}");
    }

    #[test]
    fn what_was_before_a_hole_does_not_count() {
        let mut watch = watch();
        assert_eq!(live(&mut watch, 0, 5_000, 0, DEFAULTS), None);
        let revoked = live(&mut watch, 6_400, 30_000, 0, DEFAULTS);
        assert_eq!(watch.holes(), 1);
        assert!(revoked.is_some_and(|at| (6_400 + 7_300..6_400 + 7_650).contains(&at)), "{revoked:?}");
    }

    #[test]
    fn a_look_that_fails_is_no_hole() {
        let mut watch = watch();
        assert_eq!(live(&mut watch, 0, 5_000, 0, DEFAULTS), None);
        let revoked = live(&mut watch, 5_600, 30_000, 0, DEFAULTS);
        assert_eq!(watch.holes(), 0);
        assert!(revoked.is_some_and(|at| (7_300..7_650).contains(&at)), "{revoked:?}");
    }

    #[test]
    fn another_lease_is_watched_from_its_first_sight_on() {
        let mut watch = watch();
        assert_eq!(live(&mut watch, 0, 7_000, 0, DEFAULTS), None);
        let mut looks = (7_000..30_000).step_by(200);
        // It is as old as the one before: the holder has started anew, and nobody saw it renew.
        let revoked = looks.find(|at| !watch.observe(&sample(*at, 0, 2, 1, DEFAULTS)).is_empty());
        assert!(revoked.is_some_and(|at| (14_300..14_650).contains(&at)), "{revoked:?}");
    }

    #[test]
    fn a_new_etcd_leader_delays_and_never_hastens() {
        let mut watch = watch();
        // Last renewed at 0; at 3 s a new leader extends the lease to 20.5 s.
        let mut looks = (0..30_000).step_by(200);
        let revoked = looks.find(|at| {
            let (set, term) = if *at < 3_000 { (0, 1) } else { (3_500, 2) };
            !watch.observe(&sample((*at).max(set), set, 1, term, DEFAULTS)).is_empty()
        });
        assert!(revoked.is_some_and(|at| (10_800..11_150).contains(&at)), "{revoked:?}");
    }

    /// The same of a leader with a heartbeat, last written at `beat`, which is its revision, too.
    fn beating(at: u64, beat: u64, term: u64) -> Sample {
        let mut sample = sample(at, at, 1, term, DEFAULTS);
        let leader = sample.groups.get_mut("0").and_then(|group| group.leader.as_mut()).expect("a leader");
        // Any time that is left, as after an extension: it tells nothing where there is a heartbeat, and is not always asked for.
        leader.remaining = leader.remaining.filter(|_| at.is_multiple_of(400));
        let heard = sample.answered;
        leader.heartbeat = Some(Heartbeat { revision: i64::try_from(beat).expect("small"), heard });
        sample
    }

    /// Looks that fail, one after the other, as while etcd has no leader.
    fn blind(watch: &mut Watch, from: u64, to: u64) {
        (from..to).step_by(400).for_each(|at| watch.awake(ms(at)));
    }

    #[test]
    fn a_heartbeat_that_stays_is_no_renewal_whatever_the_lease_has_left() {
        let mut watch = watch();
        let looks = (10_000..30_000).step_by(200);
        let revoked = looks.into_iter().find(|at| {
            let beat = (*at - *at % 1_000).min(12_000);
            !watch.observe(&beating(*at, beat, 1)).is_empty()
        });
        assert!(revoked.is_some_and(|at| (19_300..19_650).contains(&at)), "{revoked:?}");
    }

    #[test]
    fn an_election_of_etcd_hides_no_renewal_from_who_sees_heartbeats() {
        let mut watch = watch();
        assert_eq!(watch.observe(&beating(10_000, 9_900, 1)), []);
        blind(&mut watch, 10_200, 12_600);
        let revoked = (12_600..30_000).step_by(200).find(|at| !watch.observe(&beating(*at, 9_900, 2)).is_empty());
        assert!(revoked.is_some_and(|at| (17_300..17_650).contains(&at)), "{revoked:?}");
    }

    #[test]
    fn what_was_renewed_while_nobody_saw_it_begins_anew() {
        let mut watch = watch();
        assert_eq!(watch.observe(&beating(10_000, 9_900, 1)), []);
        blind(&mut watch, 10_200, 12_600);
        let revoked = (12_600..30_000).step_by(200).find(|at| !watch.observe(&beating(*at, 10_500, 2)).is_empty());
        assert!(revoked.is_some_and(|at| (19_900..20_250).contains(&at)), "{revoked:?}");
    }

    #[test]
    fn what_was_heard_of_before_an_election_is_as_old_as_that() {
        let mut watch = watch();
        assert_eq!(watch.observe(&beating(10_000, 9_900, 1)), []);
        blind(&mut watch, 10_200, 12_600);
        let heard = |at| {
            let mut sample = beating(at, 10_100, 2);
            let leader = sample.groups.get_mut("0").and_then(|group| group.leader.as_mut()).expect("a leader");
            leader.heartbeat = Some(Heartbeat { revision: 10_100, heard: ms(10_110) });
            sample
        };
        let revoked = (12_600..30_000).step_by(200).find(|at| !watch.observe(&heard(*at)).is_empty());
        assert!(revoked.is_some_and(|at| (17_410..17_650).contains(&at)), "{revoked:?}");
    }

    #[test]
    fn heartbeats_do_not_count_over_a_pause_of_the_guard_nor_over_a_long_silence() {
        let mut paused = watch();
        assert_eq!(paused.observe(&beating(10_000, 9_900, 1)), []);
        let revoked = (12_600..30_000).step_by(200).find(|at| !paused.observe(&beating(*at, 9_900, 1)).is_empty());
        assert!(revoked.is_some_and(|at| (19_900..20_250).contains(&at)), "{revoked:?}");
        let mut silent = watch();
        assert_eq!(silent.observe(&beating(10_000, 9_900, 1)), []);
        blind(&mut silent, 10_200, 13_400);
        let revoked = (13_400..30_000).step_by(200).find(|at| !silent.observe(&beating(*at, 9_900, 1)).is_empty());
        assert!(revoked.is_some_and(|at| (20_700..21_050).contains(&at)), "{revoked:?}");
    }

    #[test]
    fn who_takes_its_heartbeat_back_is_judged_by_its_lease() {
        let mut watch = watch();
        assert_eq!(watch.observe(&beating(10_000, 9_900, 1)), []);
        assert_eq!(live(&mut watch, 10_200, 60_000, u64::MAX, DEFAULTS), None);
        let revoked = live(&mut watch, 60_000, 90_000, 60_000, DEFAULTS);
        assert!(revoked.is_some_and(|at| (67_300..67_650).contains(&at)), "{revoked:?}");
    }

    #[test]
    fn a_lease_whose_time_nobody_asked_for_proves_nothing() {
        let mut watch = watch();
        let unasked = |at| {
            let mut sample = beating(at, 9_900, 1);
            let leader = sample.groups.get_mut("0").and_then(|group| group.leader.as_mut()).expect("a leader");
            (leader.remaining, leader.heartbeat) = (None, None);
            sample
        };
        assert_eq!((10_000..60_000).step_by(200).find(|at| !watch.observe(&unasked(*at)).is_empty()), None);
    }

    #[test]
    fn a_silence_is_longer_than_an_election() {
        // Four election timeouts, and a look that takes as long as one may.
        let election = ETCD_ELECTION * 4 + ms(LOOK) + ms(600);
        assert!(election < SILENCE && HOLE < SILENCE, "{election:?}");
    }

    #[test]
    fn lowered_settings_wait_until_nobody_keeps_to_the_old_ones() {
        let mut watch = watch();
        assert_eq!(live(&mut watch, 0, 10_000, u64::MAX, LONG), None);
        // Cut off just before the settings were lowered: it may lead on until 140 s, longer than settling takes.
        let revoked = live(&mut watch, 10_000, 300_000, 10_000, DEFAULTS);
        assert!(revoked.is_some_and(|at| at > 140_000), "{revoked:?}");
    }

    #[test]
    fn lowered_settings_are_remembered_over_holes_and_leases() {
        let mut watch = watch();
        assert_eq!(live(&mut watch, 0, 10_000, u64::MAX, LONG), None);
        let mut looks = (15_000..60_000).step_by(200);
        assert_eq!(looks.find(|at| !watch.observe(&sample(*at, 10_000, 2, 1, DEFAULTS)).is_empty()), None);
    }

    #[test]
    fn lowered_settings_hold_in_the_end() {
        let mut watch = watch();
        assert_eq!(live(&mut watch, 0, 10_000, u64::MAX, LONG), None);
        let revoked = live(&mut watch, 10_000, 400_000, 300_000, DEFAULTS);
        assert!(revoked.is_some_and(|at| (307_300..307_650).contains(&at)), "{revoked:?}");
    }

    #[test]
    fn raised_settings_hold_at_once() {
        let mut watch = watch();
        assert_eq!(live(&mut watch, 0, 10_000, u64::MAX, DEFAULTS), None);
        let revoked = live(&mut watch, 10_000, 200_000, 10_000, LONG);
        assert!(revoked.is_some_and(|at| (140_300..140_650).contains(&at)), "{revoked:?}");
    }

    #[test]
    fn maintenance_ends_for_a_guard_when_nobody_can_be_in_it_any_more() {
        let mut watch = watch();
        assert_eq!(live(&mut watch, 0, 30_000, 10_000, MAINTENANCE), None);
        assert_eq!(live(&mut watch, 30_000, 110_000, 10_000, DEFAULTS), None);
        let revoked = live(&mut watch, 110_000, 200_000, 10_000, DEFAULTS);
        assert!(revoked.is_some_and(|at| at < 120_000), "{revoked:?}");
    }

    #[test]
    fn unknown_settings_are_no_settings() {
        let mut watch = watch();
        for at in (0..30_000).step_by(200) {
            let mut sample = plain(at, 0);
            sample.groups.values_mut().for_each(|group| group.settings = None);
            assert_eq!(watch.observe(&sample), []);
        }
    }
}
