//! Changing a group's leader by order: choose, ask Patroni, measure, verify.
//!
//! Called by `switchover`, `failover` and, inside `up`, before a leader is updated. Patroni does the work; this module makes
//! sure that it is asked for the right thing, that its no is heard, and that the end is what was promised.

pub mod error;
pub mod probe;

use std::time::{Duration, Instant};

use serde::Serialize;

pub use error::FailoverError;
use probe::Measurement;

use crate::consent::Consent;
use crate::engine::runner::look;
use crate::observe::model::GroupState;
use crate::observe::{Scope, group_state, observe};
use crate::output::{Step, Ui};
use crate::plan::Condition;
use crate::plan::candidate::{Candidate, Occasion, choose};
use crate::plan::planner::group_conditions;
use crate::quantity::{millis, whole_millis};
use crate::steps::World;
use crate::steps::handover::{self, Patience, hand_over};
use crate::topology::GroupId;
use crate::topology::model::Group;

/// How long a new leader may take. Patroni itself gives up a switchover after about half of that.
const LEADER: Duration = Duration::from_secs(60);
/// How long the group may take to be whole again: the old leader is rewound or copied anew.
const WHOLE: Duration = Duration::from_secs(120);
/// How long a planned change waits for a standby: Patroni names one within a few rounds after it streams again.
const IN_SYNC: Duration = Duration::from_secs(30);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(300);
/// Clients that were held back work off what they owe when they are let go, and begin their sessions anew. Looking at the cluster would
/// take processor time from them, and for what is seen nobody waits.
const SETTLED: Duration = Duration::from_millis(1_500);

/// A change of leader, carried out.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    /// Version of this document's shape.
    pub schema_version: u32,
    /// `switchover` or `failover`.
    pub kind: &'static str,
    /// The group.
    pub group: String,
    /// The leader before; empty when there was none.
    pub from: String,
    /// The leader now.
    pub to: String,
    /// Timeline of the leader now.
    pub timeline: u64,
    /// Whether every acknowledged write was known to be on the new leader before.
    pub synchronous: bool,
    /// From the last moment the old leader took writes to the first the new one did, in milliseconds; from the request when
    /// the old leader could not be asked any more.
    pub outage_ms: u64,
    /// How long poolers held clients back at most, over all attempts, in milliseconds; `null` when they did not.
    pub held_back_ms: Option<u64>,
    /// How long in the last attempt, in which the leader changed.
    pub held_back_last_ms: Option<u64>,
    /// How often they held clients back: more than once where transactions did not end, or Patroni was not ready.
    pub pauses: usize,
    /// Transactions of clients that were ended because they were in the way for too long.
    pub transactions_ended: usize,
    /// From the request until all members of the group were in order again, in milliseconds.
    pub took_ms: u64,
}

impl Change {
    /// What clients noticed of it, where poolers held them back: every pause counts, also those in vain.
    pub fn held_back(&self) -> Option<String> {
        let (most, last) = (millis(self.held_back_ms?), millis(self.held_back_last_ms?));
        Some(match self.pauses {
            0 | 1 => format!("clients were held back for {most}"),
            often => format!("clients were held back {often} times, for {most} at most and {last} when the leader changed"),
        })
    }
}

/// A group's state in etcd.
pub async fn state(world: World<'_>, group: GroupId) -> Result<GroupState, FailoverError> {
    let blind = |reason: String| FailoverError::Blind { group: group.to_string(), reason };
    group_state(world.topology, world.fleet, group).await.map_err(blind)
}

/// Who takes over, and from which state. For a planned change a standby is waited for that is not in sync yet; meanwhile nothing
/// is touched, so this may be dropped at any moment.
pub async fn candidate(
    world: World<'_>,
    group: &Group,
    occasion: Occasion,
    to: Option<&str>,
    ui: &Ui,
) -> Result<(GroupState, Candidate), FailoverError> {
    let started = Instant::now();
    let lag = world.topology.failover.maximum_lag_on_failover;
    let mut waiting = None;
    loop {
        let state = state(world, group.id).await?;
        let none = match choose(group, &state, occasion, lag, to) {
            Ok(candidate) => return Ok((state, candidate)),
            Err(none) => none,
        };
        if occasion != Occasion::Planned || !none.may_pass() || started.elapsed() > IN_SYNC {
            return Err(none.into());
        }
        let step = || Step::start(ui, format!("waiting up to {} s for a standby: {none}", IN_SYNC.as_secs()));
        waiting.get_or_insert_with(step).at(&none.to_string());
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks Patroni to make the candidate the leader, and sees it through until the group is whole. With `pause` clients are held
/// back meanwhile.
pub async fn carry_out(
    world: World<'_>,
    group: &Group,
    state: &GroupState,
    candidate: &Candidate,
    occasion: Occasion,
    pause: Option<Patience>,
    _consent: &Consent,
) -> Result<Change, FailoverError> {
    // Shard groups need no pause, see `handover`.
    let pause = pause.filter(|_| group.id.is_coordinator());
    // Where clients are held back, that is the outage; a probe would only take time from what they wait for.
    let measurement =
        if pause.is_some() { None } else { Some(Measurement::start(world, &state.leader, &candidate.member).await) };
    let requested = Instant::now();
    let held = match pause {
        Some(patience) => handover::planned(world, group, &state.leader, &candidate.member, patience).await?,
        None => {
            hand_over(world, &state.leader, &candidate.member, occasion).await?;
            None
        }
    };
    if occasion == Occasion::Planned {
        tokio::time::sleep(SETTLED).await;
    }
    let until_led = [Condition::Leader { group: group.id }];
    wait(world, group, &until_led, LEADER).await?;
    let outage = match measurement {
        Some(measurement) => measurement.finish(requested).await,
        None => held.map(|held| held.last).unwrap_or_default(),
    };
    wait(world, group, &group_conditions(world.topology, group), WHOLE).await?;
    let observed = observe(world.topology, world.fleet, Scope::of_conditions(&until_led)).await;
    let after = observed.patroni.known().and_then(|groups| groups.get(&group.id)).cloned().unwrap_or_default();
    if after.leader != candidate.member {
        return Err(FailoverError::Other {
            group: group.id.to_string(),
            wanted: candidate.member.clone(),
            leader: after.leader,
        });
    }
    Ok(Change {
        schema_version: 1,
        kind: if occasion == Occasion::Planned { "switchover" } else { "failover" },
        group: group.id.to_string(),
        from: state.leader.clone(),
        timeline: after.members.get(&after.leader).map_or(0, |m| m.timeline),
        to: after.leader,
        synchronous: candidate.synchronous,
        outage_ms: whole_millis(outage),
        held_back_ms: held.map(|held| whole_millis(held.longest)),
        held_back_last_ms: held.map(|held| whole_millis(held.last)),
        pauses: held.map_or(0, |held| held.pauses),
        transactions_ended: held.map_or(0, |held| held.ended),
        took_ms: whole_millis(requested.elapsed()),
    })
}

async fn wait(world: World<'_>, group: &Group, conditions: &[Condition], limit: Duration) -> Result<(), FailoverError> {
    let started = Instant::now();
    loop {
        let missing: Vec<_> = look(conditions, world).await.into_iter().map(|unmet| unmet.why).collect();
        if missing.is_empty() {
            return Ok(());
        }
        if started.elapsed() > limit {
            return Err(FailoverError::Unfinished { group: group.id.to_string(), after: limit, missing });
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_in_vain_are_told() {
        let change = |pauses, longest| Change {
            schema_version: 1,
            kind: "switchover",
            group: "coordinator".into(),
            from: "coordinator-1".into(),
            to: "coordinator-2".into(),
            timeline: 2,
            synchronous: true,
            outage_ms: 900,
            held_back_ms: longest,
            held_back_last_ms: longest.map(|_| 900),
            pauses,
            transactions_ended: 0,
            took_ms: 9_000,
        };
        assert_eq!(change(0, None).held_back(), None);
        assert_eq!(change(1, Some(900)).held_back().as_deref(), Some("clients were held back for 900 ms"));
        let words = "clients were held back 3 times, for 2.0 s at most and 900 ms when the leader changed";
        assert_eq!(change(3, Some(2_040)).held_back().as_deref(), Some(words));
    }
}
