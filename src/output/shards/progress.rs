//! Moves that are followed: a line for all and a line for each that runs where a terminal is, a line whenever one is done elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use crate::output::progress::{Step, style};
use crate::output::table::{self, UNKNOWN};
use crate::output::ui::Ui;
use crate::quantity::whole_millis;
use crate::shards::{FinishedMove, Job, NO_WORKER, Pace, RunningMove, way_out};
use crate::topology::GroupId;

/// Looks farther apart say too little about when a move began or ended.
const NEAR: Duration = Duration::from_secs(5);

/// A job that does nothing for so long is held up: Citus looks for the next move to begin every 5 s (`citus.background_task_queue_interval`).
const HELD_UP: Duration = Duration::from_secs(15);

/// A job that is followed. Dropped before [`Following::done`] it vanishes without a word.
#[derive(Debug)]
pub struct Following {
    ui: Ui,
    step: Step,
    started: Instant,
    looks: Looks,
    lines: Lines,
}

impl Following {
    /// Begins to follow.
    pub fn start(ui: &Ui, title: impl Into<String>) -> Self {
        let (step, lines) = (Step::start(ui, title), Lines::default());
        Self { ui: ui.clone(), step, started: Instant::now(), looks: Looks::default(), lines }
    }

    /// Shows the job as it is now.
    pub fn show(&mut self, job: &Job) {
        let news = self.looks.look(self.started.elapsed(), job);
        self.step.at(&whole(job));
        self.lines.show(&self.ui, self.looks.lines(job));
        if let Some(news) = news.filter(|_| !self.ui.draws_progress()) {
            self.ui.note(format!("  {news}"));
        }
    }

    /// Ends with one line about the whole.
    pub fn done(self, job: &Job) {
        drop(self.lines);
        self.step.done(&format!("{}, {} of {} moves", job.state.word(), job.done, job.moves));
    }
}

/// Lines below that of the whole; each stays where it is for as long as its move runs.
#[derive(Debug, Default)]
struct Lines(BTreeMap<String, ProgressBar>);

impl Lines {
    fn show(&mut self, ui: &Ui, texts: BTreeMap<String, String>) {
        self.0.retain(|name, line| {
            let runs = texts.contains_key(name);
            if !runs {
                line.finish_and_clear();
            }
            runs
        });
        for (name, text) in texts {
            let line = self.0.entry(name).or_insert_with(|| {
                let line = ui.progress().add(ProgressBar::new_spinner());
                line.set_style(style("  {wide_msg}"));
                line
            });
            line.set_message(text);
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.0.values().for_each(ProgressBar::finish_and_clear);
    }
}

/// What looks at a job tell together.
#[derive(Debug, Default)]
struct Looks {
    pace: Pace,
    /// When the newest was.
    at: Option<Duration>,
    /// Moves that run, and when they began, where that was seen.
    begun: BTreeMap<u64, Option<Duration>>,
    /// Moves that were done.
    finished: BTreeSet<u64>,
    /// Since when the job has done nothing.
    idle: Option<Duration>,
    /// What was told.
    told: Option<(u64, Vec<String>, bool)>,
}

impl Looks {
    /// Takes a look into account; a line whenever moves are done, or broke.
    fn look(&mut self, at: Duration, job: &Job) -> Option<String> {
        self.pace.look(at, &job.running);
        let first = self.at.is_none();
        let near = self.at.replace(at).is_some_and(|last| at.saturating_sub(last) <= NEAR);
        let fresh = job.finished.iter().filter(|one| !first && !self.finished.contains(&one.shard));
        let took = |one: &FinishedMove| {
            self.begun.get(&one.shard).copied().flatten().filter(|_| near).map(|begun| at.saturating_sub(begun))
        };
        let moved: Vec<String> = fresh.map(|one| moved(one, took(one))).collect();
        self.finished = job.finished.iter().map(|one| one.shard).collect();
        let begun = |one: &RunningMove| self.begun.get(&one.shard).copied().unwrap_or(near.then_some(at));
        self.begun = job.running.iter().map(|one| (one.shard, begun(one))).collect();

        self.idle = job.idle.then(|| self.idle.unwrap_or(at));
        let now = Some((job.done, job.errors.clone(), self.is_held_up()));
        (self.told != now).then(|| {
            self.told = now;
            let lines = self.lines(job);
            std::iter::once(whole(job)).chain(moved).chain(lines.into_values()).collect::<Vec<_>>().join("; ")
        })
    }

    /// Whether the job has done nothing for long, at the newest look.
    fn is_held_up(&self) -> bool {
        self.idle.zip(self.at).is_some_and(|(since, now)| now.saturating_sub(since) >= HELD_UP)
    }

    /// A line for each move that runs, and for each that broke and is tried again, with the way out below it: nothing else says
    /// what is waited for then.
    fn lines(&self, job: &Job) -> BTreeMap<String, String> {
        let running = job.running.iter().map(|one| (name(one), format!("{}: {}", name(one), doing(one, &self.pace))));
        let broken = job.errors.iter().map(|error| (error.clone(), format!("tried again: {error}")));
        let ways = job.errors.iter().filter_map(|error| Some((format!("{error} way out"), format!("  {}", way_out(error)?))));
        let held_up = self.is_held_up().then(|| (NO_WORKER.to_owned(), NO_WORKER.to_owned()));
        running.chain(broken).chain(ways).chain(held_up).collect()
    }
}

/// `3 of 10 moves; 36.0 of 120 MiB, about 40.0 s left`.
fn whole(job: &Job) -> String {
    let mut text = format!("{} of {} moves", job.done, job.moves);
    if let Some((there, all)) = job.progress_bytes().filter(|(_, all)| *all > 0) {
        text += &format!("; {}", part(there, all));
    }
    if let Some(left) = job.left().filter(|left| !left.is_zero()) {
        text += &format!(", about {} left", time(left));
    }
    text
}

/// `shard 102535 of orders, shard-3 -> shard-1`.
fn name(one: &RunningMove) -> String {
    let group = |group: Option<GroupId>| group.map_or_else(|| UNKNOWN.to_owned(), |group| group.to_string());
    format!("shard {} of {}, {} -> {}", one.shard, one.table, group(one.from), group(one.to))
}

/// `Copying Data, 3.1 of 12.0 MiB, 2.0 MiB/s, 4.5 s left`: of what can be said of a move that runs all, and nothing else.
pub fn doing(one: &RunningMove, pace: &Pace) -> String {
    let mut text = if one.phase.is_empty() { "starting".to_owned() } else { one.phase.clone() };
    if one.source_bytes > 0 {
        text += &format!(", {}", part(one.target_bytes, one.source_bytes));
    }
    if let Some(speed) = pace.speed(one) {
        text += &format!(", {}/s", table::bytes(speed.rate));
        text += &speed.left.map(|left| format!(", {} left", time(left))).unwrap_or_default();
    }
    text + &one.lag_bytes.map(|lag| format!(", {} behind", table::bytes(lag))).unwrap_or_default()
}

/// `shard 102535 of orders moved, 12.0 MiB in about 6.1 s, 2.0 MiB/s`.
fn moved(one: &FinishedMove, took: Option<Duration>) -> String {
    let mut text = format!("shard {} of {} moved", one.shard, one.table);
    text += &one.bytes.map(|bytes| format!(", {}", table::bytes(bytes))).unwrap_or_default();
    text += &took.map(|took| format!(" in about {}", time(took))).unwrap_or_default();
    text + &one.bytes.zip(took).and_then(|(bytes, took)| rate(bytes, took)).map(|rate| format!(", {rate}")).unwrap_or_default()
}

/// Bytes a second over the whole time; `None` of no time.
pub fn rate(bytes: u64, took: Duration) -> Option<String> {
    let millis = whole_millis(took);
    (millis > 0).then(|| format!("{}/s", table::bytes((u128::from(bytes) * 1000 / u128::from(millis)) as u64)))
}

/// `3.1 of 12.0 MiB`, `8.0 KiB of 12.0 MiB`.
pub fn part(some: u64, all: u64) -> String {
    let (some, all) = (table::bytes(some), table::bytes(all));
    match some.split_once(' ').zip(all.split_once(' ')) {
        Some(((number, unit), (_, same))) if unit == same => format!("{number} of {all}"),
        _ => format!("{some} of {all}"),
    }
}

fn time(time: Duration) -> String {
    table::millis(whole_millis(time))
}

#[cfg(test)]
mod tests {
    use super::super::job::tests::{job, running};
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn at(looks: &mut Looks, seconds: u64, job: &Job) -> Option<String> {
        looks.look(Duration::from_secs(seconds), job)
    }

    fn done(shard: u64, bytes: Option<u64>) -> FinishedMove {
        FinishedMove { shard, table: "orders".into(), bytes }
    }

    #[test]
    fn a_move_tells_what_it_does_now() {
        let one = running("Copying Data", 10 * MIB);
        let mut pace = Pace::default();
        pace.look(Duration::ZERO, [&one]);
        assert_eq!(doing(&one, &pace), "Copying Data, 10.0 of 40.0 MiB", "one look makes no rate");
        let one = running("Copying Data", 16 * MIB);
        pace.look(Duration::from_secs(2), [&one]);
        let text = doing(&one, &pace);
        assert_eq!(text, "Copying Data, 16.0 of 40.0 MiB, 3.0 MiB/s, 8.0 s left");
        let line = format!("  {}: {text}", name(&one));
        assert!(line.len() <= 100, "a terminal of usual width shows it whole: {line}");
    }

    #[test]
    fn where_no_bytes_flow_none_are_told() {
        let pace = Pace::default();
        let starting = RunningMove { source_bytes: 0, ..running("", 0) };
        assert_eq!(doing(&starting, &pace), "starting");
        assert_eq!(doing(&running("Setting Up", 8192), &pace), "Setting Up, 8.0 KiB of 40.0 MiB");
        let behind = RunningMove { lag_bytes: Some(2048), ..running("Catching Up", 30 * MIB) };
        assert_eq!(doing(&behind, &pace), "Catching Up, 30.0 of 40.0 MiB, 2.0 KiB behind");
    }

    #[test]
    fn a_line_is_told_when_a_move_is_done_with_its_rate() {
        let mut looks = Looks::default();
        let before = job(3, vec![]);
        assert_eq!(at(&mut looks, 0, &before).as_deref(), Some("3 of 10 moves; 60.0 of 200 MiB, about 2 min left"));
        let runs = Job { running: vec![running("Copying Data", 10 * MIB)], waiting_bytes: Some(100 * MIB), ..before };
        assert_eq!(at(&mut looks, 1, &runs), None, "nothing is done yet");
        for second in 2..6 {
            assert_eq!(at(&mut looks, second, &runs), None);
        }
        let after = Job {
            waiting_bytes: Some(100 * MIB),
            moved_bytes: Some(100 * MIB),
            finished: vec![done(7, Some(40 * MIB))],
            ..job(4, vec![])
        };
        let told = at(&mut looks, 6, &after).expect("one is done");
        assert!(told.contains("; shard 7 of orders moved, 40.0 MiB in about 5.0 s, 8.0 MiB/s"), "{told}");
        assert_eq!(at(&mut looks, 7, &after), None, "it is told once");
    }

    #[test]
    fn of_a_move_whose_begin_nobody_saw_no_time_is_told() {
        let runs = job(3, vec![running("Copying Data", MIB)]);
        let after = Job { finished: vec![done(7, Some(40 * MIB))], ..job(4, vec![]) };
        let told = |seconds: &[u64]| {
            let mut looks = Looks::default();
            let [early, begin, end] = seconds else { panic!("three looks") };
            at(&mut looks, *early, &job(3, vec![]));
            at(&mut looks, *begin, &runs);
            at(&mut looks, *end, &after).expect("one is done")
        };
        assert!(told(&[0, 1, 2]).contains("in about"));
        assert!(told(&[0, 60, 61]).ends_with("moved, 40.0 MiB"), "it began while nobody looked");
        assert!(told(&[0, 1, 60]).ends_with("moved, 40.0 MiB"), "it ended while nobody looked");
        let mut looks = Looks::default();
        at(&mut looks, 0, &runs);
        assert!(at(&mut looks, 1, &after).expect("done").ends_with("moved, 40.0 MiB"), "it ran before the first look");
        let mut looks = Looks::default();
        let told = at(&mut looks, 0, &after).expect("the first look");
        assert!(!told.contains("moved"), "what was done before is no news: {told}");
    }

    #[test]
    fn a_move_that_broke_is_told_while_it_is_tried_again() {
        let error = "shard 103 of orders: ERROR: connection to the remote node failed".to_owned();
        let broken = Job { errors: vec![error.clone()], moved_bytes: None, ..job(3, vec![]) };
        let told = at(&mut Looks::default(), 0, &broken).expect("it is news");
        assert!(told.starts_with(&format!("3 of 10 moves; tried again: {error};   `pgclusterctl status` shows")), "{told}");
    }

    #[test]
    fn a_job_that_does_nothing_is_told_when_it_stays_so() {
        let mut looks = Looks::default();
        let idle = Job { idle: true, ..job(3, vec![]) };
        at(&mut looks, 0, &idle);
        assert_eq!(at(&mut looks, 10, &idle), None, "the next move is about to begin");
        assert!(at(&mut looks, 15, &idle).is_some_and(|told| told.ends_with(NO_WORKER)));
        assert_eq!(at(&mut looks, 16, &idle), None, "it is told once");
        let runs = job(3, vec![running("Copying Data", MIB)]);
        assert!(at(&mut looks, 17, &runs).is_some_and(|told| !told.contains(NO_WORKER)));
        assert_eq!(at(&mut looks, 18, &idle), None, "it begins anew");
    }

    #[test]
    fn units_are_said_once_where_they_are_the_same() {
        assert_eq!(part(MIB, 12 * MIB), "1.0 of 12.0 MiB");
        assert_eq!(part(8192, 12 * MIB), "8.0 KiB of 12.0 MiB");
        assert_eq!(part(0, 512), "0 of 512 B");
        assert_eq!(rate(u64::MAX, Duration::ZERO), None);
        assert_eq!(rate(3 * MIB, Duration::from_millis(1500)).as_deref(), Some("2.0 MiB/s"));
    }
}
