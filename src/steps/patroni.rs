//! Patroni: its dynamic configuration in etcd, restarts, and handing leadership over before an update.

use std::time::Duration;

use super::{StepError, World};
use crate::observe::{Scope, observe};
use crate::plan::candidate::{self, Occasion};
use crate::plan::{Condition, dynamic};
use crate::remote::fleet::FleetError;
use crate::remote::patroni::{self, PatroniError};
use crate::topology::ids::{GroupId, MemberName};

/// How long PostgreSQL may take to reload its configuration and Patroni to notice what it could not apply.
const SETTLE: Duration = Duration::from_secs(6);

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

/// Restarts PostgreSQL of a member.
pub async fn restart(world: World<'_>, member: &MemberName) -> Result<(), StepError> {
    let container = world.fleet.member(world.topology, member.as_str()).await?;
    patroni::restart(&container).await.map_err(|e| StepError::Refused { target: member.to_string(), reason: e.to_string() })
}

/// Hands leadership to the best standby.
pub async fn switch_away(world: World<'_>, group: GroupId, from: &MemberName) -> Result<(), StepError> {
    let refused = |reason: String| StepError::Refused { target: group.to_string(), reason };
    let scope = Scope::of_conditions(&[Condition::Leader { group }]);
    let observed = observe(world.topology, world.fleet, scope).await;
    let states = observed.patroni.known().ok_or_else(|| refused("etcd does not answer".into()))?;
    let state = states.get(&group).ok_or_else(|| refused("no keys in etcd".into()))?;
    if state.leader != from.as_str() {
        // Patroni moved it in the meantime: what this step is for is already so.
        return Ok(());
    }
    let group_spec = world.topology.group(group).ok_or_else(|| StepError::NotRendered(group.to_string()))?;
    let lag = world.topology.failover.maximum_lag_on_failover;
    let candidate = candidate::choose(group_spec, state, Occasion::Planned, lag, None).map_err(|e| refused(e.to_string()))?;
    hand_over(world, from.as_str(), &candidate.member, Occasion::Planned).await.map_err(|e| refused(e.to_string()))
}

/// Why leadership was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// Neither member runs where it could be asked.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// Patroni said no, or nothing.
    #[error(transparent)]
    Patroni(#[from] PatroniError),
}

/// How often a switchover is asked for that Patroni found impossible at that moment.
const TRIES: usize = 4;
/// Pause before it is asked again. A member whose container was replaced has another address, and its leader may not reach it
/// for a few seconds more: Docker's DNS and the overlay's neighbour tables take that long.
const AGAIN: Duration = Duration::from_secs(3);
/// HTTP status with which Patroni says that a switchover was begun and did not come about. The leader is still the same.
const FAILED: u16 = 503;

/// Asks Patroni to make `candidate` the leader in the place of `leader`, which may be empty in an unplanned change.
///
/// Any member passes the request on. The candidate is asked first: it is the one that is surely well. The old leader is
/// asked when that fails without an answer; a request that is refused is not repeated.
pub async fn hand_over(world: World<'_>, leader: &str, candidate: &str, occasion: Occasion) -> Result<(), HandOverError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let first = ask(world, candidate, leader, candidate, occasion).await;
        match first {
            Ok(()) => return Ok(()),
            Err(HandOverError::Patroni(PatroniError::Rejected { status: FAILED, .. })) if tries < TRIES => {
                tokio::time::sleep(AGAIN).await;
            }
            Err(HandOverError::Patroni(PatroniError::Rejected { .. })) => return first,
            Err(_) if leader.is_empty() => return first,
            Err(_) => return ask(world, leader, leader, candidate, occasion).await,
        }
    }
}

async fn ask(world: World<'_>, asked: &str, leader: &str, candidate: &str, occasion: Occasion) -> Result<(), HandOverError> {
    let member = world.fleet.member(world.topology, asked).await?;
    match occasion {
        Occasion::Planned => patroni::switchover(&member, leader, candidate).await?,
        Occasion::Unplanned { .. } => patroni::failover(&member, candidate).await?,
    }
    Ok(())
}
