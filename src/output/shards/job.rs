//! A rebalance that runs or ran.

use std::time::Duration;

use serde::Serialize;

use super::SCHEMA_VERSION;
use super::progress::{part, rate};
use crate::output::table::{self, MISSING, UNKNOWN};
use crate::output::ui::{Report, Tone, Ui};
use crate::quantity::whole_millis;
use crate::shards::{Job, JobState, NO_WORKER, RunningMove, way_out};

/// Citus' newest rebalance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// `null` when there never was one.
    pub job: Option<Job>,
}

impl JobReport {
    /// Of this job.
    pub fn new(job: Option<Job>) -> Self {
        Self { schema_version: SCHEMA_VERSION, job }
    }
}

impl Report for JobReport {
    fn text(&self, ui: &Ui) -> String {
        let Some(job) = &self.job else { return "No rebalance was ever started.\n".into() };
        let mut text = String::new();
        if !job.running.is_empty() {
            let mut table = table::table(&["shard", "table", "from", "to", "phase", "copied", "of", "behind"]);
            for column in [0, 5, 6, 7] {
                table::align_right(&mut table, column);
            }
            for one in &job.running {
                table.add_row(row(one));
            }
            text += &table::render_for(table, ui);
            text += "\n";
        }
        let state = ui.paint(tone(job.state), job.state.word());
        text += &format!("job {} is {state}: {} of {} moves{}\n", job.id, job.done, job.moves, so_far(job));
        for error in &job.errors {
            text += &format!("{}  {error}\n", ui.paint(Tone::Bad, "error"));
            if let Some(way) = way_out(error) {
                text += &format!("       {}\n", ui.paint(Tone::Faint, way));
            }
        }
        if job.idle {
            text += &format!("When it stays so, {NO_WORKER}\n");
        }
        text
    }
}

fn row(one: &RunningMove) -> [String; 8] {
    let group = |group: Option<crate::topology::GroupId>| group.map_or_else(|| UNKNOWN.to_owned(), |g| g.to_string());
    [
        one.shard.to_string(),
        one.table.clone(),
        group(one.from),
        group(one.to),
        one.phase.clone(),
        table::bytes(one.target_bytes),
        table::bytes(one.source_bytes),
        one.lag_bytes.map_or_else(|| MISSING.to_owned(), table::bytes),
    ]
}

fn tone(state: JobState) -> Tone {
    match state {
        JobState::Finished => Tone::Good,
        JobState::Failed | JobState::Failing => Tone::Bad,
        JobState::Cancelled | JobState::Cancelling => Tone::Odd,
        JobState::Scheduled | JobState::Running => Tone::Head,
    }
}

/// ` done, 36.0 of 120 MiB in 4 min, 512 KiB/s, about 9 min left`: as much of it as is known.
fn so_far(job: &Job) -> String {
    let mut text = " done".to_owned();
    let bytes = job.progress_bytes();
    if let Some((there, all)) = bytes.filter(|(_, all)| *all > 0) {
        let bytes = if job.state.is_over() { table::bytes(there) } else { part(there, all) };
        text += &format!(", {bytes}");
    }
    if let Some(elapsed) = job.elapsed_ms {
        text += &format!(" in {}", table::millis(elapsed));
        let rate = bytes.filter(|(there, _)| *there > 0).and_then(|(there, _)| rate(there, Duration::from_millis(elapsed)));
        text += &rate.map(|rate| format!(", {rate}")).unwrap_or_default();
    }
    let left = job.left().filter(|left| !left.is_zero());
    text + &left.map(|left| format!(", about {} left", table::millis(whole_millis(left)))).unwrap_or_default()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::topology::GroupId;

    const MIB: u64 = 1024 * 1024;

    /// A move of 40 MiB.
    pub fn running(phase: &str, bytes: u64) -> RunningMove {
        RunningMove {
            shard: 7,
            table: "orders".into(),
            from: Some(GroupId(3)),
            to: Some(GroupId(1)),
            phase: phase.into(),
            source_bytes: 40 * MIB,
            target_bytes: bytes,
            lag_bytes: None,
            retried: 0,
        }
    }

    /// Ten moves, 60 MiB moved and 140 MiB waiting after a minute.
    pub fn job(done: u64, running: Vec<RunningMove>) -> Job {
        Job {
            id: 5,
            state: JobState::Running,
            description: String::new(),
            done,
            moves: 10,
            moved_bytes: Some(60 * MIB),
            waiting_bytes: Some(140 * MIB),
            elapsed_ms: Some(60_000),
            running,
            errors: Vec::new(),
            hints: Vec::new(),
            idle: false,
            finished: Vec::new(),
        }
    }

    fn show(job: Job) -> String {
        JobReport::new(Some(job)).text(&Ui::new(false, false, false, false))
    }

    #[test]
    fn a_job_that_runs() {
        let behind = RunningMove { shard: 8, lag_bytes: Some(2048), ..running("Catching Up", 30 * MIB) };
        let job = Job { waiting_bytes: Some(60 * MIB), ..job(3, vec![running("Copying Data", 10 * MIB), behind]) };
        insta::assert_snapshot!(show(job));
    }

    #[test]
    fn a_job_that_is_over_has_nothing_left() {
        let over = Job { state: JobState::Finished, moved_bytes: Some(200 * MIB), waiting_bytes: Some(0), ..job(10, vec![]) };
        assert_eq!(show(over), "job 5 is finished: 10 of 10 moves done, 200 MiB in 60.0 s, 3.3 MiB/s\n");
        let stopped = Job { state: JobState::Cancelled, ..job(3, vec![]) };
        assert_eq!(show(stopped), "job 5 is cancelled: 3 of 10 moves done, 60.0 MiB in 60.0 s, 1.0 MiB/s\n");
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let scheduled = Job { state: JobState::Scheduled, moved_bytes: Some(0), elapsed_ms: None, ..job(0, vec![]) };
        assert_eq!(show(scheduled), "job 5 is scheduled: 0 of 10 moves done, 0 B of 140 MiB\n");
        let gone = Job { moved_bytes: None, ..job(3, vec![]) };
        assert_eq!(show(gone), "job 5 is running: 3 of 10 moves done in 60.0 s\n");
    }

    #[test]
    fn what_holds_a_job_up_is_told_with_the_way_out() {
        let broken = "shard 103 of orders: ERROR: No space left on device".to_owned();
        let text = show(Job { errors: vec![broken.clone()], ..job(3, vec![]) });
        assert!(
            text.ends_with(&format!("error  {broken}\n       make room on the target's host, or drain to another group\n")),
            "{text}"
        );
        let text = show(Job { idle: true, ..job(3, vec![]) });
        assert!(text.contains("no free background worker; raise max_worker_processes"), "{text}");
    }

    #[test]
    fn a_job_as_json() {
        let report = JobReport::new(Some(job(3, vec![running("Copying Data", 10 * MIB)])));
        insta::assert_snapshot!(serde_json::to_string_pretty(&report).expect("it is written"));
    }
}
