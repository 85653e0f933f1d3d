//! What `switchover` and `failover` have in common: choose, ask, lock, carry out, report.

use super::group::GroupArgs;
use super::session::Session;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::failover::{self, Change};
use crate::observe::model::GroupState;
use crate::output::{Report, Step, Ui, table};
use crate::plan::candidate::{Candidate, Occasion};
use crate::steps::handover::Patience;
use crate::topology::model::Group;

/// Changes the leader of a group; with `break_lock` also where another command holds the cluster's lock, which stops then.
pub async fn run(
    context: &Context,
    group: &GroupArgs,
    to: Option<&str>,
    occasion: Occasion,
    pause: Option<Patience>,
    break_lock: bool,
) -> Result<Exit, CommandError> {
    let session = Session::open(context).await?;
    let topology = &session.topology;
    let id = group.id();
    let Some(group) = topology.group(id) else {
        let error = CommandError::new(Exit::Usage, format!("the topology has no {id}"));
        return Err(error.hint("`pgclusterctl topology show` lists the groups"));
    };
    let (state, candidate) = failover::candidate(session.world(), group, occasion, to, &context.ui).await?;

    let verb = if occasion == Occasion::Planned { "switchover" } else { "failover" };
    let from = if state.leader.is_empty() { "no leader" } else { &state.leader };
    let host = topology.member(&candidate.member).map_or("?", |m| m.host.as_str());
    let kept = if candidate.synchronous {
        "synchronous: no acknowledged write is lost".to_owned()
    } else {
        format!("NOT synchronous, {} behind: acknowledged writes may be lost", table::bytes(candidate.lag_bytes))
    };
    let question = format!("{verb} of {id}: from {from} to {} on {host} ({kept}). Go on?", candidate.member);
    let consent = context.ui.confirm(&question)?;

    let _guard = context.interrupt.guard();
    let lock = if break_lock { session.seize_lock(context, verb).await? } else { session.lock(context, verb).await? };
    if break_lock && let Err(error) = is_as_shown(context, &session, group, occasion, (&state, &candidate)).await {
        lock.release().await;
        return Err(error);
    }
    let step = Step::start(&context.ui, format!("{verb} of {id} to {}", candidate.member));
    let outcome = failover::carry_out(session.world(), group, &state, &candidate, occasion, pause, &consent).await;
    lock.release().await;
    let change = outcome?;
    step.done("");
    context.ui.result(&change)?;
    Ok(Exit::Ok)
}

/// Until its lock was taken, another command may have changed what consent was given to.
async fn is_as_shown(
    context: &Context,
    session: &Session,
    group: &Group,
    occasion: Occasion,
    (shown, chosen): (&GroupState, &Candidate),
) -> Result<(), CommandError> {
    let (state, candidate) = failover::candidate(session.world(), group, occasion, Some(&chosen.member), &context.ui).await?;
    if state.leader == shown.leader && candidate.synchronous == chosen.synchronous {
        return Ok(());
    }
    let error = CommandError::new(Exit::Refused, format!("{} was changed by the command whose lock was taken", group.id));
    Err(error.hint("look at `pgclusterctl status`, and run this again if it is still wanted"))
}

impl Report for Change {
    fn text(&self, _ui: &Ui) -> String {
        let from = if self.from.is_empty() { "nobody" } else { &self.from };
        let outage = table::millis(self.outage_ms);
        let cost = match self.held_back() {
            Some(held) => {
                let turned_away = match self.transactions_ended {
                    0 => "none was turned away".to_owned(),
                    1 => "one transaction that was in the way was ended".to_owned(),
                    ended => format!("{ended} transactions that were in the way were ended"),
                };
                format!("{held}, {turned_away}")
            }
            None => format!("no leader took writes for {outage}"),
        };
        let (kind, group, to, timeline) = (self.kind, &self.group, &self.to, self.timeline);
        let took = table::millis(self.took_ms);
        format!("{kind} of {group}: {from} -> {to}, timeline {timeline}\n{cost}; whole again after {took}\n")
    }
}
