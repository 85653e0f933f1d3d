//! Patroni: its dynamic configuration in etcd, restarts, and handing leadership over before an update.

use std::time::Duration;

use super::handover::{self, HandOverError, Patience};
use super::{StepError, World};
use crate::error::one_line;
use crate::observe::{Scope, group_state, observe};
use crate::plan::candidate::{self, Occasion};
use crate::plan::{Condition, dynamic};
use crate::remote::patroni;
use crate::topology::ids::{GroupId, MemberName};

/// How long PostgreSQL may take to reload its configuration and Patroni to notice what it could not apply.
const SETTLE: Duration = Duration::from_secs(6);
/// How long `up` waits for transactions that keep a pooler from pausing, before it gives up.
const PATIENT: Patience = Patience { wait: Duration::from_secs(60), kill_after: None };

/// Writes a group's dynamic configuration, keeping what belongs to the operator.
pub async fn write_dynamic(world: World<'_>, group: GroupId) -> Result<(), StepError> {
    let key = format!("{}config", world.topology.dcs_prefix(group));
    let wanted = world.artifacts.dynamic.get(&group).ok_or_else(|| StepError::NotRendered(format!("settings of {group}")))?;
    let etcd = world.fleet.etcd(world.topology).await?;
    let refused = |error: crate::remote::etcd::EtcdError| StepError::Refused { target: key.clone(), reason: error.to_string() };
    let present = etcd.get(&key).await.map_err(refused)?;
    let revision = present.as_ref().map_or(0, |entry| entry.revision);
    let value = match present.as_ref().and_then(|entry| serde_json::from_slice(&entry.value).ok()) {
        Some(present) => dynamic::merged(wanted, &present),
        None => wanted.clone(),
    };
    etcd.put(&key, value.to_string(), revision).await.map_err(refused)?;
    if present.is_some() {
        // Members read it in their next round, reload PostgreSQL, and say a round or two later what wants a restart: the next
        // plan must see that. Seen to take more than 3 s on a busy machine.
        tokio::time::sleep(world.topology.failover.loop_wait * 3 + SETTLE).await;
    }
    Ok(())
}

/// Restarts PostgreSQL of a member. Where it leads its group, which it does when a setting needs less shared memory, clients are held
/// back meanwhile.
pub async fn restart(world: World<'_>, member: &MemberName, group: GroupId) -> Result<(), StepError> {
    let refused = |reason: String| StepError::Refused { target: member.to_string(), reason };
    let scope = Scope::of_conditions(&[Condition::Leader { group }, Condition::Leader { group: GroupId::COORDINATOR }]);
    let observed = observe(world.topology, world.fleet, scope).await;
    let leader = |group: GroupId| observed.patroni.known().and_then(|states| Some(states.get(&group)?.leader.as_str()));
    match leader(GroupId::COORDINATOR) {
        Some(coordinator) if leader(group) == Some(member.as_str()) && !coordinator.is_empty() => {
            carried_out(handover::restarted(world, member.as_str(), coordinator, PATIENT).await, refused)
        }
        _ => {
            let container = world.fleet.member(world.topology, member.as_str()).await?;
            patroni::restart(&container).await.map_err(|error| refused(one_line(&error)))
        }
    }
}

/// Hands leadership to the best standby.
pub async fn switch_away(world: World<'_>, group: GroupId, from: &MemberName) -> Result<(), StepError> {
    let refused = |reason: String| StepError::Refused { target: group.to_string(), reason };
    let look = async || group_state(world.topology, world.fleet, group).await.map_err(refused);
    let state = look().await?;
    if state.leader != from.as_str() {
        // Patroni moved it in the meantime: what this step is for is already so.
        return Ok(());
    }
    let group_spec = world.topology.group(group).ok_or_else(|| StepError::NotRendered(group.to_string()))?;
    let lag = world.topology.failover.maximum_lag_on_failover;
    let candidate = candidate::choose(group_spec, &state, Occasion::Planned, lag, None).map_err(|e| refused(e.to_string()))?;
    let changed = handover::planned(world, group_spec, from.as_str(), &candidate.member, PATIENT).await;
    if let Err(HandOverError::Patroni(_)) = changed {
        // The same may have been asked for a moment before, by an `up` that was killed, and have come about after the look.
        let now = look().await?.leader;
        if !now.is_empty() && now != from.as_str() {
            return Ok(());
        }
    }
    carried_out(changed, refused)
}

fn carried_out<T>(done: Result<T, HandOverError>, refused: impl Fn(String) -> StepError) -> Result<(), StepError> {
    match done {
        Ok(_) => Ok(()),
        Err(error @ HandOverError::Interrupted) => Err(StepError::Interrupted(error.to_string())),
        Err(error) => Err(refused(one_line(&error))),
    }
}
