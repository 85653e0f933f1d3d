//! What Citus says about nodes, tables and shards. Plain data.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::topology::GroupId;

/// Everything about shards at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ShardMap {
    /// Primaries of pg_dist_node, by group.
    pub nodes: BTreeMap<GroupId, Node>,
    /// Distributed, reference and local tables that Citus knows, by name.
    pub tables: BTreeMap<String, Table>,
    /// Every placement, by shard and group.
    pub placements: Vec<Placement>,
}

impl ShardMap {
    /// Placements of distributed tables: those that can be moved. A reference table is on every node anyway.
    pub fn movable(&self) -> impl Iterator<Item = &Placement> {
        self.placements.iter().filter(|p| self.tables.get(&p.table).is_some_and(|t| t.kind.is_sharded()))
    }

    /// Placements with the same answer lie together and move together: tables of one colocation, the same range of hash values, one group.
    pub fn bundle(&self, placement: &Placement) -> (u32, Option<(i32, i32)>, GroupId) {
        (self.tables.get(&placement.table).map_or(0, |table| table.colocation), placement.range, placement.group)
    }

    /// Bytes of each shard with all that move along; `None` while one of them is unknown.
    pub fn bundle_bytes(&self) -> BTreeMap<u64, Option<u64>> {
        let mut sums = BTreeMap::new();
        for placement in self.movable() {
            let sum = sums.entry(self.bundle(placement)).or_insert(Some(0));
            *sum = sum.zip(placement.bytes).map(|(sum, more): (u64, u64)| sum + more);
        }
        self.movable().map(|placement| (placement.shard, sums[&self.bundle(placement)])).collect()
    }
}

/// A primary of pg_dist_node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// `nodeid`, which Citus' functions want.
    pub id: i32,
    /// The member that pg_dist_node names.
    pub leader: String,
    /// isactive.
    pub active: bool,
    /// metadatasynced.
    pub metadata_synced: bool,
    /// shouldhaveshards: false while it is drained, and on the coordinators.
    pub takes_shards: bool,
}

/// How a table is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    /// By the hash of a column.
    Distributed,
    /// All of it on one node: of a distributed schema, or without a distribution column.
    SingleShard,
    /// All of it on every node.
    Reference,
    /// On the coordinators alone.
    Local,
}

impl TableKind {
    /// Whether its shards are each on one shard group, and can be moved.
    pub fn is_sharded(self) -> bool {
        matches!(self, Self::Distributed | Self::SingleShard)
    }
}

impl fmt::Display for TableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Distributed => "distributed",
            Self::SingleShard => "single shard",
            Self::Reference => "reference",
            Self::Local => "local",
        })
    }
}

/// A table that Citus knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// How it is spread.
    pub kind: TableKind,
    /// Its distribution column; empty where it has none.
    pub column: String,
    /// Tables with the same number lie together, shard by shard; 0 is none.
    pub colocation: u32,
}

/// A shard on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Shard id, unique in the cluster.
    pub shard: u64,
    /// The table, as `regclass` prints it.
    pub table: String,
    /// The group it lies on.
    pub group: GroupId,
    /// With indexes and TOAST; `None` where its node did not answer.
    pub bytes: Option<u64>,
    /// Hash values that it holds, both ends included; `None` without a distribution column.
    pub range: Option<(i32, i32)>,
    /// Rows as the node's statistics have it; `None` where it was never analyzed, or its node did not answer.
    pub rows: Option<u64>,
}
