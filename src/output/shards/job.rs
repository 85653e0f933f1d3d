//! A rebalance that runs or ran.

use serde::Serialize;

use super::SCHEMA_VERSION;
use crate::output::table::{self, MISSING, UNKNOWN};
use crate::output::ui::{Report, Tone, Ui};
use crate::shards::{Job, JobState, RunningMove, way_out};

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
        text += &format!("job {} is {state}: {} of {} moves done\n", job.id, job.done, job.moves);
        for error in &job.errors {
            text += &format!("{}  {error}\n", ui.paint(Tone::Bad, "error"));
            if let Some(way) = way_out(error) {
                text += &format!("       {}\n", ui.paint(Tone::Faint, way));
            }
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

/// A job on one line, for progress: `3 of 10 moves; shard 102535 of orders, shard-3 -> shard-1: Copying Data, 3.1 of 12 MiB`. A move
/// that broke is told with its cause: until Citus has tried again often enough, nothing else says what is waited for.
pub fn tell(job: &Job) -> String {
    let moves = job.running.iter().map(|one| {
        let [shard, table, from, to, phase, copied, of, _] = row(one);
        format!("shard {shard} of {table}, {from} -> {to}: {phase}, {copied} of {of}")
    });
    let broken = job.errors.iter().map(|error| format!("tried again: {error}"));
    let head = format!("{} of {} moves", job.done, job.moves);
    std::iter::once(head).chain(moves).chain(broken).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_that_broke_is_told_while_it_is_tried_again() {
        let error = "shard 103 of orders: ERROR: connection to the remote node failed".to_owned();
        let job = Job {
            id: 1,
            state: JobState::Failing,
            description: String::new(),
            done: 3,
            moves: 10,
            running: Vec::new(),
            errors: vec![error.clone()],
        };
        assert_eq!(tell(&job), format!("3 of 10 moves; tried again: {error}"));
    }
}
