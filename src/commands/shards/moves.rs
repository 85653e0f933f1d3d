//! `shards move`, `isolate` and `split`: one shard at a time, with those that lie together with it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Instant;

use super::list::known_table;
use super::rebalance::LOOK;
use super::{Shards, carried, catalog, ready};
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::output::shards as output;
use crate::output::{Step, table};
use crate::shards::{Move, Node, Pace, Placement, TableKind, TransferMode, split_points};
use crate::steps::rebalance::{self, ShardError, key_value, shard_of};
use crate::topology::GroupId;

/// Arguments of `shards move`.
#[derive(Debug, clap::Args)]
pub struct MoveArgs {
    /// Its id, as in `shards list --top 10`.
    pub shard: u64,
    /// The shard group that it goes to.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub to: u32,
    /// How rows get to their new place.
    #[arg(long, value_enum, value_name = "MODE", default_value_t)]
    pub transfer: TransferMode,
}

/// Arguments of `shards isolate`.
#[derive(Debug, clap::Args)]
pub struct IsolateArgs {
    /// A distributed table.
    pub table: String,
    /// The value of its distribution column.
    #[arg(allow_hyphen_values = true)]
    pub value: String,
    /// How rows get to their new shard.
    #[arg(long, value_enum, value_name = "MODE", default_value_t)]
    pub transfer: TransferMode,
}

/// Arguments of `shards split`.
#[derive(Debug, clap::Args)]
pub struct SplitArgs {
    /// Its id, as in `shards list --top 10`.
    pub shard: u64,
    /// Into how many parts of equal width.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=64))]
    pub into: u32,
    /// How rows get to their new shards.
    #[arg(long, value_enum, value_name = "MODE", default_value_t)]
    pub transfer: TransferMode,
}

/// Runs `shards move`.
pub async fn relocate(context: &Context, args: &MoveArgs) -> Result<Exit, CommandError> {
    let shards = Shards::open(context).await?;
    let (placement, from) = find(&shards, args.shard)?;
    let group = GroupId(args.to);
    taker(&shards.map.nodes, group)?;
    if placement.group == group {
        context.ui.note(format!("shard {} is on {group} already", args.shard));
        return Ok(Exit::Ok);
    }
    let one = together(&shards, placement, group);
    let plan = ready::checked(context, &shards, one.clone(), args.transfer).await?;
    context.ui.aside(&plan);
    let consent = context.ui.confirm("Move it?")?;
    let work = async {
        ready::mend(context, &shards, &plan.repairs, &consent).await?;
        // Between the question and the lock somebody may have begun to empty it.
        let nodes = shards.catalog.nodes().await.map_err(ShardError::while_doing("looking at the shard groups"))?;
        let to = taker(&nodes, group)?;
        let step = Step::start(&context.ui, format!("shard {} from {} to {group}", args.shard, placement.group));
        let started = Instant::now();
        let moved = rebalance::move_shard(&shards.catalog, args.shard, from, to, args.transfer, &consent);
        tokio::select! {
            moved = shards.session.unless_interrupted(carried(&shards.session, moved)) => moved?,
            never = watch(context, &shards, &one, &step) => match never {},
        }
        let rate = |bytes| output::rate(bytes, started.elapsed()).map(|rate| format!(", {}, {rate}", table::bytes(bytes)));
        step.done(&format!("moved{}", one.bytes.and_then(rate).unwrap_or_default()));
        Ok(Exit::Ok)
    };
    shards.session.locked(context, "shards move", work).await
}

/// The node of a group that may get shards.
fn taker(nodes: &BTreeMap<GroupId, Node>, group: GroupId) -> Result<&Node, CommandError> {
    let node = nodes.get(&group).ok_or_else(|| {
        let groups = nodes.keys().filter(|g| !g.is_coordinator()).map(GroupId::to_string);
        let hint = format!("shard groups are {}", groups.collect::<Vec<_>>().join(", "));
        ShardError::Unknown { what: format!("there is no {group}"), hint }
    })?;
    if node.takes_shards {
        return Ok(node);
    }
    let error = CommandError::new(Exit::Refused, format!("{group} takes no shards: it is drained, or being taken out"));
    Err(error
        .hint(format!("`pgclusterctl shards drain --shard {} --undo` lets it take shards again", group.0))
        .hint("`pgclusterctl shards list` shows which groups take shards"))
}

/// Shows how far a move is until it is dropped, over a connection of its own: the other one waits for the move.
async fn watch(context: &Context, shards: &Shards, one: &Move, step: &Step) -> Infallible {
    if !context.ui.draws_progress() {
        return std::future::pending().await;
    }
    let (started, mut pace, mut watching) = (Instant::now(), Pace::default(), None);
    loop {
        tokio::time::sleep(LOOK).await;
        if watching.is_none() {
            watching = catalog(&shards.session).await.ok();
        }
        let Some(watcher) = &watching else { continue };
        match watcher.moving(one).await {
            Ok(Some(now)) => {
                pace.look(started.elapsed(), [&now]);
                step.at(&output::doing(&now, &pace));
            }
            Ok(None) => {}
            Err(_) => watching = None,
        }
    }
}

/// Runs `shards isolate`.
pub async fn isolate(context: &Context, args: &IsolateArgs) -> Result<Exit, CommandError> {
    let shards = Shards::open(context).await?;
    let (name, table) = known_table(&shards.catalog, &shards.map, &args.table).await?;
    if table.kind != TableKind::Distributed {
        let error = CommandError::new(Exit::Usage, format!("{name} has no distribution column"));
        return Err(error.hint("`pgclusterctl shards list --by table` shows which have"));
    }
    let column = &table.column;
    let key = key_value(&shards.catalog, name, column, &args.value).await?;
    let shard = shard_of(&shards.catalog, &key).await?;
    let (placement, _) = find(&shards, shard)?;
    if placement.range.is_some_and(|(from, to)| from == to) {
        context.ui.note(format!("{name}.{column} = {} has shard {shard} for itself already", args.value));
        return Ok(Exit::Ok);
    }
    // Rebuilt where it lies: a move to its own group.
    let plan = ready::checked(context, &shards, together(&shards, placement, placement.group), args.transfer).await?;
    ready::tell(context, &plan.repairs);
    let question = format!(
        "give {name}.{column} = {} a shard of its own, out of shard {shard} on {}, in all tables that lie together?",
        args.value, placement.group
    );
    let consent = context.ui.confirm(&question)?;
    let work = async {
        ready::mend(context, &shards, &plan.repairs, &consent).await?;
        let step = Step::start(&context.ui, format!("isolating {} of {name}", args.value));
        let isolated = rebalance::isolate(&shards.catalog, &key, args.transfer, &consent);
        let new = shards.session.unless_interrupted(carried(&shards.session, isolated)).await?;
        step.done(&format!("shard {new}"));
        Ok(Exit::Ok)
    };
    shards.session.locked(context, "shards isolate", work).await
}

/// Runs `shards split`.
pub async fn split(context: &Context, args: &SplitArgs) -> Result<Exit, CommandError> {
    let shards = Shards::open(context).await?;
    let (placement, on) = find(&shards, args.shard)?;
    let points = placement.range.and_then(|range| split_points(range, args.into)).ok_or_else(|| {
        let what = format!("shard {} cannot be split into {} parts", args.shard, args.into);
        ShardError::Unknown { what, hint: "its range of hash values is too narrow, or it has none".into() }
    })?;
    let plan = ready::checked(context, &shards, together(&shards, placement, placement.group), args.transfer).await?;
    ready::tell(context, &plan.repairs);
    let consent = context.ui.confirm(&format!(
        "split shard {} of {} on {} into {} parts, with all that lie together with it?",
        args.shard, placement.table, placement.group, args.into
    ))?;
    let work = async {
        ready::mend(context, &shards, &plan.repairs, &consent).await?;
        let step = Step::start(&context.ui, format!("splitting shard {}", args.shard));
        let parts = rebalance::split(&shards.catalog, args.shard, &points, on, args.transfer, &consent);
        shards.session.unless_interrupted(carried(&shards.session, parts)).await?;
        step.done(&format!("{} shards", args.into));
        Ok(Exit::Ok)
    };
    shards.session.locked(context, "shards split", work).await
}

/// A shard that can be moved, and the node it is on.
fn find(shards: &Shards, shard: u64) -> Result<(&Placement, &Node), ShardError> {
    let found = shards.map.movable().find(|p| p.shard == shard);
    found.and_then(|p| Some((p, shards.map.nodes.get(&p.group)?))).ok_or_else(|| ShardError::Unknown {
        what: format!("there is no shard {shard} that could be moved"),
        hint: "`pgclusterctl shards list --top 20` shows the largest".into(),
    })
}

/// The move of a shard with all that lie together with it.
fn together(shards: &Shards, placement: &Placement, to: GroupId) -> Move {
    let map = &shards.map;
    let all: Vec<&Placement> = map.movable().filter(|p| map.bundle(p) == map.bundle(placement)).collect();
    Move {
        shard: placement.shard,
        tables: all.iter().map(|p| p.table.clone()).collect(),
        from: placement.group,
        to,
        bytes: all.iter().map(|p| p.bytes).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shards::fixture;

    #[test]
    fn a_group_that_is_emptied_gets_no_shards() {
        let mut nodes = fixture::map().nodes;
        assert_eq!(taker(&nodes, GroupId(3)).map(|node| node.id).ok(), Some(4));
        assert_eq!(taker(&nodes, GroupId(9)).map_err(|error| error.exit()), Err(Exit::Usage));
        nodes.entry(GroupId(3)).and_modify(|node| node.takes_shards = false);
        let refused = taker(&nodes, GroupId(3)).expect_err("it is drained");
        assert_eq!(refused.exit(), Exit::Refused);
        assert_eq!(refused.hints()[0], "`pgclusterctl shards drain --shard 3 --undo` lets it take shards again");
    }
}
