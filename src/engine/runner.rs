//! Runs a plan wave by wave: actions in parallel, then looking until the wave's conditions hold.
//!
//! Stops at the next safe point when the operator asks, when the lock is lost, or when a wave does not become healthy in
//! time. Nothing is rolled back: the next run observes and plans again from what is there.

use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::event::{Event, Events, Unmet};
use super::lock::Lock;
use crate::context::Interrupt;
use crate::error::{Exit, Failure};
use crate::observe::{Leaders, Observed, Scope, observe};
use crate::plan::condition::unmet;
use crate::plan::{Action, Condition, Plan, Wave};
use crate::steps::{self, StepError, World};
use crate::topology::MemberName;

/// Actions of a wave that run at the same time: enough to hide round trips, few enough for a small manager.
const PARALLEL: usize = 8;
/// Pause between two looks at the cluster. Patroni's own loop takes a second; looking more often costs the hosts more than
/// it tells.
const LOOK: Duration = Duration::from_millis(400);

/// Why a run ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An action failed.
    #[error("cannot {action}")]
    Action {
        /// What was tried.
        action: String,
        /// Why it failed.
        #[source]
        source: Box<StepError>,
    },
    /// A wave's conditions did not come true.
    #[error("after {} s, wave '{wave}' still waits: {}", waited.as_secs(), unmet.join("; "))]
    Timeout {
        /// The wave.
        wave: String,
        /// How long was waited.
        waited: Duration,
        /// What is missing.
        unmet: Vec<String>,
    },
    /// The operator pressed Ctrl-C.
    #[error("interrupted: {done} of {of} actions are done; not done: {}", left.join("; "))]
    Interrupted {
        /// Actions done.
        done: usize,
        /// Actions planned.
        of: usize,
        /// What is left.
        left: Vec<String>,
    },
    /// Another operator holds the lock now.
    #[error("another operator took the cluster's lock: in an emergency, or as this machine was cut off or asleep for too long")]
    LockLost,
}

impl Failure for RunError {
    fn exit(&self) -> Exit {
        match self {
            Self::Interrupted { .. } => Exit::Interrupted,
            Self::Action { source, .. } if source.exit() == Exit::Interrupted => Exit::Interrupted,
            _ => Exit::Partial,
        }
    }

    fn hints(&self) -> Vec<String> {
        let again = "run the same command again: it goes on from what is there".to_owned();
        match self {
            Self::Action { source, .. } => source.hints().into_iter().chain([again]).collect(),
            Self::Timeout { .. } => {
                vec!["`pgclusterctl status` shows the whole picture, `pgclusterctl logs MEMBER` the reason".into(), again]
            }
            Self::Interrupted { .. } | Self::LockLost => vec![again],
        }
    }
}

/// What a run may be stopped by.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// How long a wave may take to become healthy.
    pub wave: Duration,
    /// Ctrl-C.
    pub interrupt: &'a Interrupt,
    /// The cluster's lock, where one is held.
    pub lock: Option<&'a Lock>,
}

/// Runs all waves of a plan.
pub async fn run(plan: &Plan, world: World<'_>, events: &Events, limits: Limits<'_>) -> Result<(), RunError> {
    let of = plan.waves.len();
    for (position, wave) in plan.waves.iter().enumerate() {
        let started = Instant::now();
        let stopped = || limits.stopped(plan, position);
        stopped()?;
        events.send(Event::WaveStarted { index: position + 1, of, title: wave.title.clone(), subjects: subjects(wave) });
        act(wave, world, events).await?;
        wait(&wave.title, &wave.until, world, events, limits.wave, stopped).await?;
        events.send(Event::WaveDone { index: position + 1, took: started.elapsed() });
    }
    Ok(())
}

/// Looks until all conditions hold; `stopped` is asked between two looks.
pub async fn wait(
    title: &str,
    conditions: &[Condition],
    world: World<'_>,
    events: &Events,
    limit: Duration,
    stopped: impl Fn() -> Result<(), RunError>,
) -> Result<(), RunError> {
    let started = Instant::now();
    loop {
        stopped()?;
        if conditions.is_empty() {
            return Ok(());
        }
        let missing = look(conditions, world).await;
        events.send(Event::Waiting { unmet: missing.clone() });
        if missing.is_empty() {
            return Ok(());
        }
        if started.elapsed() >= limit {
            let mut reasons: Vec<_> = missing.into_iter().map(|m| m.why).collect();
            reasons.dedup();
            return Err(RunError::Timeout { wave: title.to_owned(), waited: started.elapsed(), unmet: reasons });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What does not hold. Leaders are asked about their members only once the keys in etcd look well, and after all else was seen:
/// that is a command in a container of each group, and what holds before a member has come back says nothing after it.
pub async fn look(conditions: &[Condition], world: World<'_>) -> Vec<Unmet> {
    let scope = Scope { leaders: Leaders::None, ..Scope::of_conditions(conditions) };
    let by_keys = missing(conditions, world, &observe(world.topology, world.fleet, scope).await);
    let is_member = |condition: &&Condition| matches!(condition, Condition::Member { .. });
    let members: Vec<_> = conditions.iter().filter(is_member).cloned().collect();
    if !by_keys.is_empty() || members.is_empty() {
        return by_keys;
    }
    let scope = Scope::of_conditions(&members);
    missing(&members, world, &observe(world.topology, world.fleet, scope).await)
}

impl Limits<'_> {
    /// Whether to stop before the wave at `position`, or while it waits.
    fn stopped(&self, plan: &Plan, position: usize) -> Result<(), RunError> {
        if self.lock.is_some_and(Lock::is_lost) {
            return Err(RunError::LockLost);
        }
        if !self.interrupt.is_asked() {
            return Ok(());
        }
        let left: Vec<_> = plan.waves[position..].iter().flat_map(|w| &w.actions).map(ToString::to_string).collect();
        let of = plan.actions().count();
        Err(RunError::Interrupted { done: of - left.len(), of, left })
    }
}

async fn act(wave: &Wave, world: World<'_>, events: &Events) -> Result<(), RunError> {
    let (deployments, others): (Vec<_>, Vec<_>) = wave.actions.iter().partition(|a| matches!(a, Action::Deploy { .. }));
    stream::iter(others.into_iter().map(|action| one(action, world, events)))
        .buffer_unordered(PARALLEL)
        .try_collect::<Vec<_>>()
        .await?;
    deploy(&deployments, world, events).await
}

async fn one(action: &Action, world: World<'_>, events: &Events) -> Result<(), RunError> {
    let started = Instant::now();
    events.send(Event::ActionStarted { action: action.to_string() });
    steps::apply(action, world)
        .await
        .map_err(|source| RunError::Action { action: action.to_string(), source: Box::new(source) })?;
    events.send(Event::ActionDone { action: action.to_string(), took: started.elapsed() });
    Ok(())
}

/// Deployments of one wave are one `docker stack deploy`.
async fn deploy(actions: &[&Action], world: World<'_>, events: &Events) -> Result<(), RunError> {
    let names: Vec<&MemberName> = actions.iter().filter_map(|action| service_of(action)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let started = Instant::now();
    for action in actions {
        events.send(Event::ActionStarted { action: action.to_string() });
    }
    let all = || actions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    steps::deploy::services(world, &names)
        .await
        .map_err(|source| RunError::Action { action: all(), source: Box::new(source) })?;
    for action in actions {
        events.send(Event::ActionDone { action: action.to_string(), took: started.elapsed() });
    }
    Ok(())
}

fn service_of(action: &Action) -> Option<&MemberName> {
    match action {
        Action::Deploy { service, .. } => Some(service),
        _ => None,
    }
}

fn missing(conditions: &[Condition], world: World<'_>, observed: &Observed) -> Vec<Unmet> {
    let of = |condition: &Condition| {
        let why = unmet(condition, world.topology, world.artifacts, observed)?;
        Some(Unmet { subject: condition.subject(), why })
    };
    conditions.iter().filter_map(of).collect()
}

/// Members and objects that a wave is about, in the order of its conditions.
fn subjects(wave: &Wave) -> Vec<String> {
    let mut subjects = Vec::new();
    for subject in wave.until.iter().map(Condition::subject) {
        if !subjects.contains(&subject) {
            subjects.push(subject);
        }
    }
    subjects
}
