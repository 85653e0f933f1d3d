//! What keeps shards from being moved, found before the first one moves.

use serde::Serialize;

use super::model::ShardMap;
use super::moves::{Move, TransferMode};
use crate::topology::GroupId;

/// What is looked at before shards move.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MoveFacts {
    /// Tables without primary key or replica identity.
    pub without_identity: Vec<String>,
    /// How many moves Citus does at once, in all and on one node.
    pub executors: u32,
    /// Number of a job that is not over yet.
    pub running_job: Option<i64>,
    /// `wal_level` of the coordinators' leader.
    pub wal_level: String,
    /// Free bytes where each group's leader keeps its data, as Citus tells.
    pub free_bytes: Vec<(GroupId, u64)>,
}

/// Something in the way, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// What it is.
    pub what: String,
    /// What to do about it.
    pub way_out: String,
}

/// Of a disk's free room so much must stay free beside what is moved onto it: a tenth, for WAL and the copies' indexes.
const SPARE: u64 = 10;

/// All that is in the way of these moves, so many at once.
pub fn obstacles(map: &ShardMap, facts: &MoveFacts, moves: &[Move], mode: TransferMode, parallel: u32) -> Vec<Obstacle> {
    let mut found = Vec::new();
    let mut add = |what: String, way_out: &str| found.push(Obstacle { what, way_out: way_out.to_owned() });
    if let Some(job) = facts.running_job {
        add(
            format!("job {job} of Citus is not over yet"),
            "`pgclusterctl shards status` follows it, `pgclusterctl shards cancel` stops it",
        );
    }
    for (group, node) in &map.nodes {
        if !node.active {
            add(
                format!("{}, the leader of {group}, is not active in pg_dist_node", node.leader),
                "`pgclusterctl health` shows why; Patroni activates it when it is back",
            );
        } else if !node.metadata_synced && !group.is_coordinator() {
            add(
                format!("{}, the leader of {group}, does not have the newest metadata", node.leader),
                "Citus sends it within a minute once the node answers; try again then",
            );
        }
    }
    if mode == TransferMode::Auto {
        for table in facts.without_identity.iter().filter(|table| moves.iter().any(|m| m.tables.contains(table))) {
            add(
                format!("{table} has neither a primary key nor a replica identity"),
                "give it one (`ALTER TABLE … REPLICA IDENTITY FULL` does always), or use --transfer block-writes",
            );
        }
    }
    if mode != TransferMode::BlockWrites && facts.wal_level != "logical" {
        add(
            format!("wal_level is {}, moving shards needs logical", facts.wal_level),
            "remove wal_level from [postgres.parameters] and run `pgclusterctl up`",
        );
    }
    if parallel > facts.executors {
        add(
            format!("Citus does {} moves at once here, not {parallel}", facts.executors),
            "ask for fewer; or set citus.max_background_task_executors and citus.max_background_task_executors_per_node under \
             [postgres.parameters] and run `pgclusterctl up`, which restarts nothing for it",
        );
    }
    for (group, free) in &facts.free_bytes {
        let coming: u64 = moves.iter().filter(|m| m.to == *group).filter_map(|m| m.bytes).sum();
        if coming > 0 && coming + coming / SPARE > *free {
            add(
                format!(
                    "{group} has {} free, and {} are to come",
                    crate::quantity::bytes(*free),
                    crate::quantity::bytes(coming)
                ),
                "make room on its leader's host, or take a group in with more room",
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn facts() -> MoveFacts {
        MoveFacts { wal_level: "logical".into(), executors: 4, free_bytes: vec![(GroupId(1), 1_000)], ..MoveFacts::default() }
    }

    fn one_move(bytes: u64) -> Vec<Move> {
        vec![Move { shard: 103, tables: vec!["orders".into()], from: GroupId(3), to: GroupId(1), bytes: Some(bytes) }]
    }

    fn what(map: &ShardMap, facts: &MoveFacts, bytes: u64, mode: TransferMode) -> Vec<String> {
        obstacles(map, facts, &one_move(bytes), mode, 4).into_iter().map(|o| o.what).collect()
    }

    #[test]
    fn nothing_is_in_the_way_of_a_sound_cluster() {
        assert!(what(&fixture::map(), &facts(), 300, TransferMode::Auto).is_empty());
    }

    #[test]
    fn each_obstacle_is_named() {
        let mut map = fixture::map();
        map.nodes.get_mut(&GroupId(1)).expect("of the fixture").active = false;
        map.nodes.get_mut(&GroupId(2)).expect("of the fixture").metadata_synced = false;
        let facts = MoveFacts {
            without_identity: vec!["orders".into(), "elsewhere".into()],
            executors: 2,
            running_job: Some(4),
            wal_level: "replica".into(),
            free_bytes: vec![(GroupId(1), 320)],
        };
        let found = what(&map, &facts, 300, TransferMode::Auto);
        let begins = ["job 4", "worker-1-1", "worker-2-1", "orders", "wal_level", "Citus does 2 moves", "shard-1 has 320 B"];
        assert_eq!(found.len(), begins.len(), "{found:#?}");
        for (found, begin) in found.iter().zip(begins) {
            assert!(found.starts_with(begin), "{found}");
        }
    }

    #[test]
    fn a_plain_copy_needs_neither_identity_nor_logical_wal() {
        let facts = MoveFacts { without_identity: vec!["orders".into()], wal_level: "replica".into(), ..facts() };
        assert!(what(&fixture::map(), &facts, 300, TransferMode::BlockWrites).is_empty());
        assert_eq!(what(&fixture::map(), &facts, 300, TransferMode::ForceLogical).len(), 1);
    }
}
