//! How fast moves go, from looks at them that follow each other, and how long what is left will take.

use std::collections::BTreeMap;
use std::time::Duration;

use super::job::{Job, RunningMove};
use super::moves::{MOVE_OVERHEAD, expected};

/// A rate is a mean of the last seconds, the newer the heavier: files grow by leaps.
const SMOOTH: Duration = Duration::from_secs(5);
/// Bytes a second below which a copy stands still: when it will end, nobody knows.
const STILL: f64 = 1024.0;

/// The rate of each move that copies. A move has one from its second look on; one that begins again, or that has done copying, has none.
#[derive(Debug, Clone, Default)]
pub struct Pace(BTreeMap<u64, Sample>);

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    bytes: u64,
    retried: u64,
    /// Bytes a second.
    rate: Option<f64>,
}

/// How fast a move copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed {
    /// Bytes a second.
    pub rate: u64,
    /// Until the target is as large as the source; `None` while the copy stands still, or has grown beyond it.
    pub left: Option<Duration>,
}

impl Pace {
    /// Takes a look into account. `at` counts from any moment, the same for all looks.
    pub fn look<'a>(&mut self, at: Duration, running: impl IntoIterator<Item = &'a RunningMove>) {
        // 0 bytes are those of a node that did not answer, too.
        let copying = running.into_iter().filter(|one| one.is_copying() && one.target_bytes > 0);
        self.0 = copying.map(|one| (one.shard, self.sample(at, one))).collect();
    }

    fn sample(&self, at: Duration, one: &RunningMove) -> Sample {
        let (bytes, retried) = (one.target_bytes, one.retried);
        let first = Sample { at, bytes, retried, rate: None };
        let Some(last) = self.0.get(&one.shard).filter(|last| last.retried == retried) else { return first };
        let Some(more) = bytes.checked_sub(last.bytes) else { return first };
        let Some(passed) = at.checked_sub(last.at).filter(|passed| !passed.is_zero()) else { return *last };
        let now = more as f64 / passed.as_secs_f64();
        let weight = 1.0 - (-passed.as_secs_f64() / SMOOTH.as_secs_f64()).exp();
        Sample { rate: Some(last.rate.map_or(now, |rate| rate + weight * (now - rate))), ..first }
    }

    /// By all looks so far.
    pub fn speed(&self, one: &RunningMove) -> Option<Speed> {
        let rate = self.0.get(&one.shard)?.rate?;
        let left = Some(one.left_bytes()).filter(|left| *left > 0 && rate >= STILL);
        let left = left.and_then(|left| Duration::try_from_secs_f64(left as f64 / rate).ok());
        Some(Speed { rate: rate.round() as u64, left })
    }
}

impl Job {
    /// Bytes that are where they shall be, of all that shall be there; `None` while the size of a shard is not known.
    pub fn progress_bytes(&self) -> Option<(u64, u64)> {
        let (moved, waiting) = self.moved_bytes.zip(self.waiting_bytes)?;
        let copied: u64 = self.running.iter().map(|one| one.source_bytes - one.left_bytes()).sum();
        let sources: u64 = self.running.iter().map(|one| one.source_bytes).sum();
        Some((moved + copied, moved + sources + waiting))
    }

    /// How long the rest takes if it goes on as it went so far. `None` when it is over; and before a move is done, or so much is copied
    /// as takes as long: the time of a first set-up says nothing.
    pub fn left(&self) -> Option<Duration> {
        let (there, all) = self.progress_bytes().filter(|_| !self.state.is_over())?;
        let elapsed = Duration::from_millis(self.elapsed_ms?);
        let done = expected(self.done, there);
        let left = expected(self.moves.saturating_sub(self.done), all - there);
        let left = (done >= MOVE_OVERHEAD).then(|| elapsed.as_secs_f64() * left.as_secs_f64() / done.as_secs_f64());
        left.and_then(|left| Duration::try_from_secs_f64(left).ok())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::job::JobState;
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn copying(bytes: u64) -> RunningMove {
        RunningMove {
            shard: 7,
            table: "orders".into(),
            from: None,
            to: None,
            phase: "Copying Data".into(),
            source_bytes: 100 * MIB,
            target_bytes: bytes,
            lag_bytes: None,
            retried: 0,
        }
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// After looks at (milliseconds, move).
    fn after(looks: &[(u64, RunningMove)]) -> Option<Speed> {
        let mut pace = Pace::default();
        for (at, one) in looks {
            pace.look(Duration::from_millis(*at), [one]);
        }
        looks.last().and_then(|(_, one)| pace.speed(one))
    }

    #[test]
    fn two_looks_make_a_rate() {
        assert_eq!(after(&[(0, copying(MIB))]), None);
        let speed = after(&[(0, copying(10 * MIB)), (2000, copying(20 * MIB))]);
        assert_eq!(speed, Some(Speed { rate: 5 * MIB, left: Some(secs(16)) }));
    }

    #[test]
    fn a_look_at_the_same_moment_or_an_earlier_one_changes_nothing() {
        let speed = after(&[(0, copying(10 * MIB)), (2000, copying(20 * MIB))]);
        for at in [2000, 1000] {
            let again = after(&[(0, copying(10 * MIB)), (2000, copying(20 * MIB)), (at, copying(20 * MIB))]);
            assert_eq!(again, speed);
        }
        assert_eq!(after(&[(0, copying(MIB)), (0, copying(2 * MIB))]), None);
    }

    #[test]
    fn a_move_that_begins_again_has_no_rate() {
        let before = [(0, copying(10 * MIB)), (1000, copying(20 * MIB))];
        let with = |more: &[(u64, RunningMove)]| after(&[&before, more].concat());
        assert_eq!(with(&[(2000, copying(MIB))]), None, "bytes shrank");
        assert_eq!(with(&[(2000, RunningMove { retried: 1, ..copying(21 * MIB) })]), None, "tried again");
        let speed = with(&[(2000, copying(MIB)), (3000, copying(4 * MIB))]);
        assert_eq!(speed.map(|speed| speed.rate), Some(3 * MIB), "nothing of the old rate");
    }

    #[test]
    fn where_nothing_is_copied_there_is_no_rate() {
        let setting_up = RunningMove { phase: "Setting Up".into(), ..copying(8192) };
        assert_eq!(after(&[(0, setting_up.clone()), (1000, setting_up.clone())]), None);
        assert_eq!(after(&[(0, setting_up), (1000, copying(MIB))]), None, "it has only begun");
        let indexes = RunningMove { phase: "Creating Constraints".into(), ..copying(90 * MIB) };
        assert_eq!(after(&[(0, copying(70 * MIB)), (1000, copying(80 * MIB)), (2000, indexes)]), None);
        // What a node that does not answer is taken for.
        let lost = [(0, copying(70 * MIB)), (1000, copying(71 * MIB)), (2000, copying(0)), (3000, copying(73 * MIB))];
        assert_eq!(after(&lost), None);
    }

    #[test]
    fn a_copy_that_stands_still_or_has_all_has_no_time_left() {
        let still = after(&[(0, copying(MIB)), (1000, copying(MIB))]);
        assert_eq!(still, Some(Speed { rate: 0, left: None }));
        let all = after(&[(0, copying(90 * MIB)), (1000, copying(110 * MIB))]);
        assert_eq!(all, Some(Speed { rate: 20 * MIB, left: None }));
    }

    #[test]
    fn a_move_that_is_gone_is_forgotten() {
        let mut pace = Pace::default();
        pace.look(secs(0), [&copying(MIB)]);
        pace.look(secs(1), [&copying(2 * MIB)]);
        pace.look(secs(2), []);
        assert_eq!(pace.speed(&copying(3 * MIB)), None);
        pace.look(secs(3), [&copying(3 * MIB)]);
        assert_eq!(pace.speed(&copying(3 * MIB)), None);
    }

    fn job(done: u64, moves: u64, moved: Option<u64>, waiting: u64, elapsed: u64) -> Job {
        Job {
            id: 1,
            state: JobState::Running,
            description: String::new(),
            done,
            moves,
            moved_bytes: moved,
            waiting_bytes: Some(waiting),
            elapsed_ms: Some(elapsed),
            running: vec![],
            errors: vec![],
            hints: vec![],
            idle: false,
            finished: vec![],
        }
    }

    #[test]
    fn the_rest_takes_as_long_as_its_like_took() {
        assert_eq!(job(5, 10, Some(5 * MIB), 5 * MIB, 60_000).left(), Some(secs(60)));
        assert_eq!(job(10, 10, Some(5 * MIB), 0, 60_000).left(), Some(secs(0)));
        // Small shards take the time of their set-up, not that of their bytes.
        let left = job(9, 10, Some(9000), 200 * MIB, 27_000).left().expect("a time");
        assert!(left > secs(6) && left < secs(8), "{left:?}");
    }

    #[test]
    fn nothing_is_said_of_the_rest_without_a_reason() {
        assert_eq!(job(0, 10, Some(0), 5 * MIB, 5_000).left(), None, "nothing is done yet");
        assert_eq!(job(5, 10, None, 5 * MIB, 60_000).left(), None, "a size is unknown");
        assert_eq!(Job { elapsed_ms: None, ..job(5, 10, Some(1), 1, 0) }.left(), None, "it has not begun");
        assert_eq!(Job { state: JobState::Cancelled, ..job(5, 10, Some(1), 1, 60_000) }.left(), None, "it is over");
        let large = Job {
            running: vec![RunningMove { source_bytes: 400 * MIB, ..copying(200 * MIB) }],
            ..job(0, 1, Some(0), 0, 10_000)
        };
        assert_eq!(large.progress_bytes(), Some((200 * MIB, 400 * MIB)));
        assert!(large.left().is_some(), "half of a large move says something");
    }

    #[test]
    fn a_target_larger_than_its_source_is_not_more_than_all() {
        let fat = Job { running: vec![copying(120 * MIB)], ..job(1, 2, Some(MIB), 0, 1000) };
        assert_eq!(fat.progress_bytes(), Some((101 * MIB, 101 * MIB)));
    }

    proptest! {
        #[test]
        fn an_even_copy_has_its_rate_however_it_is_looked_at(steps in prop::collection::vec(1u64..10_000, 1..20), rate in 1u64..1_000_000) {
            let mut at = 0;
            let mut looks = vec![(0, copying(1))];
            for step in steps {
                at += step;
                looks.push((at, copying(1 + at * rate)));
            }
            let speed = after(&looks).expect("two looks");
            prop_assert!(speed.rate.abs_diff(rate * 1000) <= 1 + rate / 1000, "{} for {}", speed.rate, rate * 1000);
        }

        #[test]
        fn a_rate_is_never_higher_than_what_was_seen(looks in prop::collection::vec((1u64..5_000, 0u64..50 * MIB, 0u64..2), 1..30)) {
            let (mut at, mut fastest) = (0, 0.0_f64);
            let mut last: Option<RunningMove> = None;
            let mut pace = Pace::default();
            for (step, bytes, retried) in looks {
                at += step;
                let one = RunningMove { retried, ..copying(bytes) };
                pace.look(Duration::from_millis(at), [&one]);
                let more = last.map_or(0, |last| bytes.saturating_sub(last.target_bytes));
                fastest = fastest.max(more as f64 * 1000.0 / step as f64);
                if let Some(speed) = pace.speed(&one) {
                    prop_assert!(speed.rate as f64 <= fastest + 1.0, "{} of {fastest}", speed.rate);
                }
                last = Some(one);
            }
        }

        #[test]
        fn the_rest_shrinks_with_each_move(moves in 2u64..50, size in 0u64..1000 * MIB) {
            let left = |done: u64| job(done, moves, Some(done * size), (moves - done) * size, done * 5000).left();
            for done in 1..moves {
                prop_assert!(left(done + 1) <= left(done));
            }
            prop_assert_eq!(left(moves), Some(Duration::ZERO));
        }
    }
}
