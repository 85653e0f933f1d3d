//! Before shards move: all that stands in the way is told, and what can be put right without a decision is part of the plan.

use super::Shards;
use crate::commands::health;
use crate::consent::Consent;
use crate::context::Context;
use crate::error::CommandError;
use crate::health::repair::{Repair, Repairs};
use crate::observe::Scope;
use crate::output::shards::PlanReport;
use crate::shards::{Move, MoveFacts, ShardMap, TransferMode, Wanted, obstacles};
use crate::steps::rebalance::ShardError;

/// What moves need, asked of every node and every host.
pub async fn facts(shards: &Shards) -> Result<MoveFacts, ShardError> {
    let hosts = shards.session.observe(Scope { hosts: true, ..Scope::default() });
    let (facts, seen) = tokio::join!(shards.catalog.move_facts(), hosts);
    let facts = facts.map_err(ShardError::while_doing("looking at what moves need"))?;
    Ok(MoveFacts { disks: seen.free_disks(), ..facts })
}

/// One thing that is moved or rebuilt in a session of our own, checked for what is in its way.
pub async fn checked(context: &Context, shards: &Shards, one: Move, mode: TransferMode) -> Result<PlanReport, CommandError> {
    let facts = facts(shards).await?;
    let (map, repairs) = mendable(context, shards, &facts).await?;
    let moves = vec![one];
    let wanted = Wanted { moves: &moves, mode, parallel: 1, job: false };
    let found = obstacles(&shards.session.topology, &map, &facts, wanted);
    if found.is_empty() { Ok(PlanReport::new(moves, 1).after(repairs)) } else { Err(ShardError::Obstacles(found).into()) }
}

/// The shards as they will be when what can be put right is put right, and what that is: metadata which Citus does not send by
/// itself. A node that somebody has switched off, and names that are wrong, are for `health --repair` to ask about.
pub async fn mendable(context: &Context, shards: &Shards, facts: &MoveFacts) -> Result<(ShardMap, Vec<Repair>), CommandError> {
    let stale = shards.map.nodes.iter().any(|(group, node)| !group.is_coordinator() && node.active && !node.metadata_synced);
    if !stale || !facts.allow_a_plan() {
        return Ok((shards.map.clone(), Vec::new()));
    }
    // While a leader changes nothing is put right, and what is wrong stays in the way.
    let wanted = health::lasting(context, &shards.session).await.unwrap_or_default();
    let mut map = shards.catalog.map().await.map_err(ShardError::while_doing("looking at the shards"))?;
    let repairs = promised(&mut map, wanted);
    Ok((map, repairs))
}

fn promised(map: &mut ShardMap, wanted: Repairs) -> Vec<Repair> {
    let sends =
        |step: &Repair| matches!(step, Repair::Activate { group, .. } if map.nodes.get(group).is_some_and(|n| n.active));
    if !wanted.advice.is_empty() || !wanted.steps.iter().all(sends) {
        return Vec::new();
    }
    for step in &wanted.steps {
        if let Repair::Activate { group, .. } = step {
            map.nodes.entry(*group).and_modify(|node| node.metadata_synced = true);
        }
    }
    wanted.steps
}

/// Shows what is put right first, where no plan does.
pub fn tell(context: &Context, repairs: &[Repair]) {
    for repair in repairs {
        context.ui.note(format!("first, {repair}"));
    }
}

/// Puts right what the plan says, as `health --repair` does. The caller holds the cluster's lock.
pub async fn mend(context: &Context, shards: &Shards, repairs: &[Repair], consent: &Consent) -> Result<(), CommandError> {
    if repairs.is_empty() {
        return Ok(());
    }
    let wanted = Repairs { steps: repairs.to_vec(), advice: Vec::new() };
    health::mend(context, &shards.session, &wanted, consent).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::repair::Rename;
    use crate::shards::fixture;
    use crate::topology::GroupId;

    fn send() -> Repair {
        Repair::Activate { group: GroupId(2), name: "worker-2-1".into(), port: 5432 }
    }

    #[test]
    fn only_metadata_is_sent_and_only_where_nothing_else_is_wrong() {
        let mut stale = fixture::map();
        stale.nodes.entry(GroupId(2)).and_modify(|node| node.metadata_synced = false);
        let after = |map: &ShardMap, wanted: Repairs| {
            let mut map = map.clone();
            let repairs = promised(&mut map, wanted);
            (repairs.len(), map.nodes[&GroupId(2)].metadata_synced)
        };
        assert_eq!(after(&stale, Repairs { steps: vec![send()], advice: Vec::new() }), (1, true));
        assert_eq!(after(&stale, Repairs::default()), (0, false));
        assert_eq!(after(&stale, Repairs { steps: vec![send()], advice: vec!["add the group".into()] }), (0, false));
        let name = Rename { node: 1, from: "a".into(), to: "b".into(), port: 5432 };
        let renamed = Repair::Rename { group: GroupId(1), names: vec![name] };
        assert_eq!(after(&stale, Repairs { steps: vec![renamed, send()], advice: Vec::new() }), (0, false));
        stale.nodes.entry(GroupId(2)).and_modify(|node| node.active = false);
        assert_eq!(after(&stale, Repairs { steps: vec![send()], advice: Vec::new() }), (0, false));
    }
}
