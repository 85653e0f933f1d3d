//! One client: its schedule, its connection, and one operation after another.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::classify::{Stage, Trouble, classify, warned};
use super::script::{choose, read, script};
use super::session::Session;
use super::{ClientSpec, Shared};
use crate::drill::history::{Completion, Invocation, Outcome, id};

/// Runs until it is told to stop, or a limit is reached; an error is one of the record.
pub(super) async fn run(shared: Arc<Shared>, client: u32, mut stopped: watch::Receiver<bool>) -> std::io::Result<()> {
    let options = &shared.options;
    let spec = &options.clients[client as usize];
    let mut session = None;
    for sequence in 0_u32.. {
        let due = options.due(client, sequence);
        tokio::select! {
            biased;
            // Also when nobody is left who could finish it.
            _ = stopped.wait_for(|stop| *stop) => break,
            () = sleep_until(shared.clock.at(due)) => {}
        }
        let now = shared.clock.now();
        if now >= options.limits.run_time || shared.begun.fetch_add(1, Ordering::Relaxed) >= options.limits.operations {
            break;
        }
        let sequence = u64::from(sequence);
        let call = Invocation {
            id: id(client, sequence),
            client,
            sequence,
            group: spec.group.clone(),
            action: choose(spec, &options.accounts, options.seed, client, sequence),
            due_ns: nanos(due),
            invoked_ns: nanos(now),
        };
        shared.recorder.invoked(&call)?;
        let outcome = perform(&shared, spec, &call, &mut session).await;
        let completed_ns = shared.clock.now_ns();
        shared.tallies[client as usize].count(&outcome, call.action.writes(), completed_ns);
        shared.recorder.completed(Completion { id: call.id, completed_ns, outcome })?;
    }
    Ok(())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One operation. Whatever does not end well ends the connection, too: behind a pooler that is also how a client gets rid
/// of a server that is no leader any more.
async fn perform(shared: &Shared, spec: &ClientSpec, call: &Invocation, kept: &mut Option<Session>) -> Outcome {
    let (target, timeouts) = (&shared.options.target, &shared.options.timeouts);
    let session = match kept.take().filter(|session| !session.is_over()) {
        Some(session) => session,
        None => match Session::open(target, timeouts).await {
            Ok(session) => session,
            Err(trouble) => return classify(Stage::Open, &trouble),
        },
    };
    match exchange(&session, spec, call, Instant::now() + timeouts.operation).await {
        Ok(outcome) => {
            if outcome.is_ok() {
                *kept = Some(session);
            }
            outcome
        }
        Err((stage, trouble)) => classify(stage, &trouble),
    }
}

async fn exchange(
    session: &Session,
    spec: &ClientSpec,
    call: &Invocation,
    deadline: Instant,
) -> Result<Outcome, (Stage, Trouble)> {
    let script = script(spec, call);
    let stage = if script.commit || !call.action.writes() { Stage::Open } else { Stage::Deciding };
    session.take_warnings();
    let answer = session.send(&script.body, deadline).await.map_err(|trouble| (stage, trouble))?;
    let told = read(&script, &answer).map_err(|trouble| (stage, trouble))?;
    if script.commit {
        // Every statement did what it had to, so this is no failed transaction, of which a commit would make a rollback
        // without an error. What the statements warned of does not concern the commit.
        session.take_warnings();
        session.send("commit", deadline).await.map_err(|trouble| (Stage::Deciding, trouble))?;
    }
    let warnings = if call.action.writes() { session.take_warnings() } else { Vec::new() };
    let acknowledged = || Outcome::Ok { timeline: told.timeline, server: told.server, system: told.system, items: told.items };
    Ok(warned(&warnings).unwrap_or_else(acknowledged))
}
