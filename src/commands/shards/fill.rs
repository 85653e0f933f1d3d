//! Shards for a group that has none: what `scale add-shard` and `up` offer once it is there.

use super::super::session::Session;
use super::Shards;
use super::rebalance::{self, Filling};
use crate::consent::Consent;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::shards::{Job, JobState};

/// Shows what would move to the new group, and moves it if that is wanted; asks where there is no consent yet. The group is there in
/// any case.
pub async fn fill(
    context: &Context,
    session: Session,
    filling: &Filling,
    consent: Option<&Consent>,
) -> Result<(Exit, Option<Job>), CommandError> {
    const LATER: &str = "`pgclusterctl shards rebalance` does it at any time";
    let shards = Shards::over(session).await?;
    let planned = match rebalance::planned(context, &shards, filling).await {
        Ok(planned) => planned,
        // What was asked for is done but for this; without having asked, it is done.
        Err(error) => {
            context.ui.warn(format!("{error}\n  the group is up; {LATER}"));
            return Ok((if consent.is_some() { Exit::Partial } else { Exit::Ok }, None));
        }
    };
    if planned.moves.is_empty() {
        context.ui.note("No shard has to move.");
        return Ok((Exit::Ok, None));
    }
    context.ui.aside(&planned);
    let asked;
    let consent = match consent {
        Some(consent) => consent,
        None => match context.ui.confirm("Move these shards?") {
            Ok(given) => {
                asked = given;
                &asked
            }
            Err(_) => {
                context.ui.note(format!("No shard is moved: {LATER}."));
                return Ok((Exit::Ok, None));
            }
        },
    };
    let job = rebalance::rebalanced(context, &shards, filling, &planned.repairs, consent).await?;
    let exit = match &job {
        Some(job) if job.state != JobState::Finished => Exit::Partial,
        None if context.interrupt.is_asked() => Exit::Interrupted,
        _ => Exit::Ok,
    };
    Ok((exit, job))
}
