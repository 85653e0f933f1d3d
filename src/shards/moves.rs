//! What a rebalance is going to do: Citus' own plan, put together move by move.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::model::ShardMap;
use crate::quantity::as_millis;
use crate::topology::GroupId;

/// How a shard's rows get to their new node. Citus' `shard_transfer_mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TransferMode {
    /// Logical replication while clients go on writing; refused for tables without a replica identity.
    #[default]
    Auto,
    /// Logical replication also without a replica identity: UPDATE and DELETE on such tables fail while they move.
    ForceLogical,
    /// A plain copy; writes to the shards that move wait until it is done.
    BlockWrites,
}

impl fmt::Display for TransferMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::ForceLogical => "force_logical",
            Self::BlockWrites => "block_writes",
        })
    }
}

/// A row of Citus' plan: one shard of one table. Those that lie together move together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedShard {
    /// The shard.
    pub shard: u64,
    /// From here,
    pub from: GroupId,
    /// to here.
    pub to: GroupId,
}

/// Shards that lie together, from one group to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Move {
    /// The first of its shards, by which Citus names the move.
    pub shard: u64,
    /// The tables that it carries.
    pub tables: Vec<String>,
    /// From here,
    pub from: GroupId,
    /// to here.
    pub to: GroupId,
    /// All its shards together; `None` where a node did not tell.
    pub bytes: Option<u64>,
}

/// Bundles Citus' plan by move. Rows follow each other in the order of the moves; within a move they share source, target and
/// colocation, and no table comes twice.
pub fn moves(map: &ShardMap, planned: &[PlannedShard]) -> Vec<Move> {
    let mut moves: Vec<(u32, Move)> = Vec::new();
    for row in planned {
        let placement = map.placements.iter().find(|p| p.shard == row.shard);
        let table = placement.map(|p| p.table.clone()).unwrap_or_default();
        let colocation = map.tables.get(&table).map_or(0, |t| t.colocation);
        let bytes = placement.and_then(|p| p.bytes);
        let (from, to) = (row.from, row.to);
        match moves.last_mut() {
            Some((last, bundle))
                if *last == colocation && bundle.from == from && bundle.to == to && !bundle.tables.contains(&table) =>
            {
                bundle.tables.push(table);
                bundle.bytes = bundle.bytes.zip(bytes).map(|(sum, more)| sum + more);
            }
            _ => moves.push((colocation, Move { shard: row.shard, tables: vec![table], from, to, bytes })),
        }
    }
    moves.into_iter().map(|(_, bundle)| bundle).collect()
}

/// What a move costs before its first byte and after its last: replication set up, caught up and switched (measured on the lab).
pub(super) const MOVE_OVERHEAD: Duration = Duration::from_secs(3);
/// Bytes a second of all moves together: an initial copy over a network of 1 Gbit/s, with indexes built behind it. An estimate.
const COPY_RATE: u64 = 50 * 1024 * 1024;

/// How long moves take, so many at once. An estimate, in both directions: moves at once wait for each other's bytes, since they share
/// disks and network, and only what is not copying happens side by side.
pub fn estimate(moves: &[Move], parallel: u32) -> Estimate {
    let bytes = moves.iter().filter_map(|m| m.bytes).sum();
    let rounds = u32::try_from(moves.len()).unwrap_or(u32::MAX).div_ceil(parallel.max(1));
    Estimate { moves: moves.len(), parallel, bytes, time: expected(u64::from(rounds), bytes) }
}

/// How long so many moves of so many bytes take, one after another. An estimate.
pub(super) fn expected(moves: u64, bytes: u64) -> Duration {
    let overhead = MOVE_OVERHEAD * u32::try_from(moves).unwrap_or(u32::MAX);
    overhead + Duration::from_millis(bytes / (COPY_RATE / 1000))
}

/// See [`estimate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// How many moves.
    pub moves: usize,
    /// At most so many at once.
    pub parallel: u32,
    /// Bytes of all whose size is known.
    pub bytes: u64,
    /// Until the last one is done.
    #[serde(rename = "time_ms", serialize_with = "as_millis")]
    pub time: Duration,
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn row(shard: u64, from: u32, to: u32) -> PlannedShard {
        PlannedShard { shard, from: GroupId(from), to: GroupId(to) }
    }

    #[test]
    fn what_lies_together_moves_together() {
        let map = fixture::map();
        let rows = [row(103, 3, 1), row(203, 3, 1), row(102, 2, 1), row(202, 2, 1)];
        let found = moves(&map, &rows);
        let told: Vec<_> = found.iter().map(|m| (m.shard, m.from.0, m.to.0, m.bytes, m.tables.len())).collect();
        assert_eq!(told, [(103, 3, 1, Some(300), 2), (102, 2, 1, Some(300), 2)]);
    }

    #[test]
    fn two_moves_between_the_same_groups_stay_two() {
        let mut map = fixture::map();
        for shard in [104, 204] {
            let like = map.placements.iter().find(|p| p.shard == shard - 1).expect("of the fixture").clone();
            map.placements.push(super::super::Placement { shard, ..like });
        }
        let rows = [103, 203, 104, 204].map(|shard| row(shard, 3, 1));
        assert_eq!(moves(&map, &rows).iter().map(|m| m.shard).collect::<Vec<_>>(), [103, 104]);
    }

    #[test]
    fn an_unknown_size_makes_the_sum_unknown() {
        let mut map = fixture::map();
        map.placements.iter_mut().filter(|p| p.shard == 203).for_each(|p| p.bytes = None);
        let rows = [row(103, 3, 1), row(203, 3, 1)];
        assert_eq!(moves(&map, &rows)[0].bytes, None);
    }

    #[test]
    fn an_estimate_counts_moves_and_bytes() {
        let one = Move { shard: 1, tables: vec![], from: GroupId(1), to: GroupId(2), bytes: Some(100 * 1024 * 1024) };
        let three = [one.clone(), one.clone(), one];
        let times = [1, 2, 3, 9].map(|parallel| estimate(&three, parallel).time.as_secs());
        assert_eq!(times, [15, 12, 9, 9]);
        assert_eq!(estimate(&[], 1).time, Duration::ZERO);
    }
}
