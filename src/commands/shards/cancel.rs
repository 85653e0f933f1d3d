//! `shards cancel`: Citus' background job, stopped.

use std::time::{Duration, Instant};

use super::Shards;
use super::rebalance::{LOOK, last_job};
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::output::Step;
use crate::shards::{Job, JobState};
use crate::steps::rebalance::{self, ShardError};

/// How long a job that is being stopped is watched: taking back the moves that happen takes seconds, unless a node does not answer.
const STOPPING: Duration = Duration::from_secs(60);

/// Runs `shards cancel`.
pub async fn run(context: &Context) -> Result<Exit, CommandError> {
    let shards = Shards::open(context).await?;
    let running = last_job(&shards).await?.filter(|job| !job.state.is_over());
    let Some(job) = running else {
        return Err(CommandError::new(Exit::Refused, "no rebalance is running"));
    };
    let question =
        format!("stop job {}, of which {} of {} moves are done? What is moved stays moved.", job.id, job.done, job.moves);
    let consent = context.ui.confirm(&question)?;
    rebalance::cancel(&shards.catalog, job.id, &consent).await?;
    let step = Step::start(&context.ui, format!("stopping job {}", job.id));
    stopped(&last_look(&shards, job.id).await?)?;
    step.done("");
    context.ui.note(format!("job {} is stopped; `pgclusterctl shards rebalance` goes on where it was", job.id));
    Ok(Exit::Ok)
}

/// A job that is being stopped as it is when it is over, or when that takes too long.
async fn last_look(shards: &Shards, id: i64) -> Result<Job, ShardError> {
    let since = Instant::now();
    loop {
        let job =
            shards.catalog.job(id, &shards.map).await.map_err(ShardError::while_doing("asking Citus for its rebalance"))?;
        let job = job.ok_or(ShardError::Lost { job: id })?;
        if job.state.is_over() || since.elapsed() > STOPPING {
            return Ok(job);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// An error unless the job was stopped: it may have ended before that was asked for, and Citus may take its time.
fn stopped(job: &Job) -> Result<(), CommandError> {
    let Job { id, done, moves, .. } = job;
    let state = job.state.word();
    match job.state {
        JobState::Cancelled => Ok(()),
        JobState::Finished | JobState::Failed => {
            let text =
                format!("job {id} had ended before it could be stopped: it is {state}, {done} of {moves} moves are done");
            Err(CommandError::new(Exit::Refused, text).hint("`pgclusterctl shards status` shows it"))
        }
        _ => {
            let text = format!("job {id} is {state} still, after {} s: {done} of {moves} moves are done", STOPPING.as_secs());
            let hint = "Citus goes on stopping it, and `pgclusterctl shards status --follow` tells when it is over; \
                        `pgclusterctl status` shows whether a node does not answer";
            Err(CommandError::new(Exit::Partial, text).hint(hint))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: JobState) -> Job {
        Job {
            id: 5,
            state,
            description: String::new(),
            done: 3,
            moves: 10,
            moved_bytes: None,
            waiting_bytes: None,
            elapsed_ms: None,
            running: Vec::new(),
            errors: Vec::new(),
            hints: Vec::new(),
            idle: false,
            finished: Vec::new(),
        }
    }

    #[test]
    fn only_a_cancelled_job_was_stopped() {
        assert!(stopped(&job(JobState::Cancelled)).is_ok());
        for (state, exit, begin) in [
            (JobState::Finished, Exit::Refused, "job 5 had ended before it could be stopped: it is finished, 3 of 10"),
            (JobState::Failed, Exit::Refused, "job 5 had ended before it could be stopped: it is failed, 3 of 10"),
            (JobState::Cancelling, Exit::Partial, "job 5 is cancelling still, after 60 s"),
            (JobState::Running, Exit::Partial, "job 5 is running still, after 60 s"),
        ] {
            let error = stopped(&job(state)).expect_err("it was not stopped");
            assert_eq!(error.exit(), exit);
            assert!(error.to_string().starts_with(begin), "{error}");
        }
    }
}
