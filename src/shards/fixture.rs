//! A small map for the tests of this module.

use std::collections::BTreeMap;

use super::model::{Node, Placement, ShardMap, Table, TableKind};
use crate::topology::GroupId;

fn node(id: i32, leader: &str, takes_shards: bool) -> Node {
    Node { id, leader: leader.into(), active: true, metadata_synced: true, takes_shards }
}

fn placement(shard: u64, table: &str, group: u32, bytes: u64) -> Placement {
    Placement { shard, table: table.into(), group: GroupId(group), bytes: Some(bytes), range: None, rows: Some(bytes / 10) }
}

/// Three shard groups; `orders` and `items` lie together, `country` is everywhere.
pub fn map() -> ShardMap {
    let table = |kind, column: &str, colocation| Table { kind, column: column.into(), colocation };
    ShardMap {
        nodes: BTreeMap::from([
            (GroupId::COORDINATOR, node(1, "coordinator-1", false)),
            (GroupId(1), node(2, "worker-1-1", true)),
            (GroupId(2), node(3, "worker-2-1", true)),
            (GroupId(3), node(4, "worker-3-1", true)),
        ]),
        tables: BTreeMap::from([
            ("orders".into(), table(TableKind::Distributed, "customer", 7)),
            ("items".into(), table(TableKind::Distributed, "customer", 7)),
            ("country".into(), table(TableKind::Reference, "", 8)),
        ]),
        placements: vec![
            placement(101, "orders", 1, 100),
            placement(102, "orders", 2, 100),
            placement(103, "orders", 3, 100),
            placement(201, "items", 1, 200),
            placement(202, "items", 2, 200),
            placement(203, "items", 3, 200),
            placement(300, "country", 0, 10),
            placement(300, "country", 1, 10),
            placement(300, "country", 2, 10),
            placement(300, "country", 3, 10),
        ],
    }
}
