//! `shards list` and `shards where`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::SCHEMA_VERSION;
use crate::output::table::{self, MISSING, UNKNOWN};
use crate::output::ui::{Report, Tone, Ui};
use crate::shards::{Load, ShardMap, TableKind, imbalance_percent, loads, shared};
use crate::topology::{GroupId, Topology};

/// What the table's lines are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// Shard groups.
    #[default]
    Node,
    /// Tables.
    Table,
    /// Tables that lie together.
    Colocation,
}

/// Where the shards are. JSON has all views; the table shows the one that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// By how much the largest shard group exceeds the mean, by bytes; `null` while a size is unknown.
    pub imbalance_bytes_percent: Option<f64>,
    /// The same, by number of shards.
    pub imbalance_shards_percent: f64,
    /// Shard groups.
    pub nodes: Vec<NodeRow>,
    /// Tables.
    pub tables: Vec<TableRow>,
    /// Tables that lie together.
    pub colocations: Vec<ColocationRow>,
    /// The largest shards, largest first.
    pub largest: Vec<ShardRow>,
    /// Which table is shown.
    #[serde(skip)]
    pub by: By,
}

/// A shard group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeRow {
    /// The group.
    pub group: String,
    /// Its leader in pg_dist_node.
    pub leader: String,
    /// The leader's host.
    pub host: String,
    /// Shards that can be moved.
    pub shards: u64,
    /// Their bytes; `null` while one is unknown.
    pub bytes: Option<u64>,
    /// Their rows, by the nodes' statistics.
    pub rows_estimate: Option<u64>,
    /// Whether it takes shards; false while it is drained.
    pub takes_shards: bool,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableRow {
    /// As `regclass` prints it.
    pub table: String,
    /// How it is spread.
    pub kind: TableKind,
    /// Distribution column; empty where it has none.
    pub column: String,
    /// Colocation; 0 is none.
    pub colocation: u32,
    /// Its shards, each counted once.
    pub shards: u64,
    /// Bytes of all placements.
    pub bytes: Option<u64>,
    /// Rows of all shards, by the nodes' statistics.
    pub rows_estimate: Option<u64>,
    /// The largest shard.
    pub largest_bytes: Option<u64>,
}

/// Tables that lie together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColocationRow {
    /// Its number.
    pub colocation: u32,
    /// Its tables.
    pub tables: Vec<String>,
    /// Shard groups that hold part of it.
    pub groups: Vec<String>,
    /// Placements.
    pub shards: u64,
    /// Bytes of all placements.
    pub bytes: Option<u64>,
    /// Rows, by the nodes' statistics.
    pub rows_estimate: Option<u64>,
}

/// A shard.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShardRow {
    /// Its id.
    pub shard: u64,
    /// Its table.
    pub table: String,
    /// Where it lies.
    pub group: String,
    /// The leader there.
    pub leader: String,
    /// Its host.
    pub host: String,
    /// Size.
    pub bytes: Option<u64>,
    /// Rows, by the node's statistics.
    pub rows_estimate: Option<u64>,
}

impl ListReport {
    /// From what Citus says; `top` shards are listed one by one.
    pub fn new(topology: &Topology, map: &ShardMap, by: By, top: usize) -> Self {
        let loads = loads(map);
        let shared = shared(map);
        let sizes: Option<Vec<u64>> = shared.iter().map(Load::known_bytes).collect();
        let mut placements: Vec<_> = map.movable().collect();
        placements.sort_by_key(|p| (std::cmp::Reverse(p.bytes), p.shard));
        Self {
            schema_version: SCHEMA_VERSION,
            cluster: topology.name.to_string(),
            imbalance_bytes_percent: sizes.map(imbalance_percent),
            imbalance_shards_percent: imbalance_percent(shared.iter().map(|load| load.shards)),
            nodes: loads.iter().map(|(group, load)| node_row(topology, map, *group, load)).collect(),
            tables: tables(map),
            colocations: colocations(map),
            largest: placements
                .into_iter()
                .take(top)
                .map(|p| {
                    let (leader, host) = place(topology, map, p.group);
                    let (shard, table, group) = (p.shard, p.table.clone(), p.group.to_string());
                    ShardRow { shard, table, group, leader, host, bytes: p.bytes, rows_estimate: p.rows }
                })
                .collect(),
            by,
        }
    }
}

/// The leader of a group and its host.
fn place(topology: &Topology, map: &ShardMap, group: GroupId) -> (String, String) {
    let leader = map.nodes.get(&group).map(|node| node.leader.clone()).unwrap_or_default();
    let host = topology.member(&leader).map(|m| m.host.to_string()).unwrap_or_default();
    (leader, host)
}

fn node_row(topology: &Topology, map: &ShardMap, group: GroupId, load: &Load) -> NodeRow {
    let (leader, host) = place(topology, map, group);
    NodeRow {
        group: group.to_string(),
        leader,
        host,
        shards: load.shards,
        bytes: load.known_bytes(),
        rows_estimate: load.known_rows(),
        takes_shards: map.nodes.get(&group).is_some_and(|node| node.takes_shards),
    }
}

fn tables(map: &ShardMap) -> Vec<TableRow> {
    let rows = map.tables.iter().map(|(name, table)| {
        let mine = || map.placements.iter().filter(|p| p.table == *name);
        // Rows of a reference table are the same on every node, its bytes are not.
        let counted = mine().filter(|p| table.kind.is_sharded() || p.group == mine().map(|p| p.group).max().unwrap_or(p.group));
        let load = mine().fold(Load::default(), Load::and);
        TableRow {
            table: name.clone(),
            kind: table.kind,
            column: table.column.clone(),
            colocation: table.colocation,
            shards: mine().map(|p| p.shard).collect::<BTreeSet<_>>().len() as u64,
            bytes: load.known_bytes(),
            rows_estimate: counted.fold(Load::default(), Load::and).known_rows(),
            largest_bytes: mine().filter_map(|p| p.bytes).max(),
        }
    });
    rows.collect()
}

fn colocations(map: &ShardMap) -> Vec<ColocationRow> {
    let mut bundles: BTreeMap<u32, (BTreeSet<String>, BTreeSet<GroupId>, Load)> = BTreeMap::new();
    for placement in map.movable() {
        let colocation = map.tables.get(&placement.table).map_or(0, |table| table.colocation);
        let (tables, groups, load) = bundles.entry(colocation).or_default();
        tables.insert(placement.table.clone());
        groups.insert(placement.group);
        *load = load.and(placement);
    }
    let row = |(colocation, (tables, groups, load)): (u32, (BTreeSet<String>, BTreeSet<GroupId>, Load))| ColocationRow {
        colocation,
        tables: tables.into_iter().collect(),
        groups: groups.iter().map(GroupId::to_string).collect(),
        shards: load.shards,
        bytes: load.known_bytes(),
        rows_estimate: load.known_rows(),
    };
    bundles.into_iter().map(row).collect()
}

fn bytes(value: Option<u64>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), table::bytes)
}

/// Rows are unknown until a table is analyzed: nothing is wrong then.
fn rows(value: Option<u64>) -> String {
    value.map_or_else(|| MISSING.to_owned(), |count| count.to_string())
}

fn or_missing(text: &str) -> &str {
    if text.is_empty() { MISSING } else { text }
}

fn right(table: &mut comfy_table::Table, columns: &[usize]) {
    for column in columns {
        table::align_right(table, *column);
    }
}

impl ListReport {
    fn by_node(&self) -> comfy_table::Table {
        let mut table = table::table(&["group", "leader", "host", "shards", "size", "rows", "state"]);
        right(&mut table, &[3, 4, 5]);
        for row in &self.nodes {
            let state = if row.takes_shards {
                table::toned("takes shards", Tone::Faint)
            } else {
                table::toned("is drained", Tone::Odd)
            };
            table.add_row([
                row.group.clone().into(),
                row.leader.clone().into(),
                row.host.clone().into(),
                row.shards.into(),
                bytes(row.bytes).into(),
                rows(row.rows_estimate).into(),
                state,
            ]);
        }
        table
    }

    fn by_table(&self) -> comfy_table::Table {
        let mut table = table::table(&["table", "kind", "column", "colocation", "shards", "size", "largest", "rows"]);
        right(&mut table, &[3, 4, 5, 6, 7]);
        for row in &self.tables {
            let colocation = if row.colocation == 0 { MISSING.to_owned() } else { row.colocation.to_string() };
            table.add_row([
                row.table.clone(),
                row.kind.to_string(),
                or_missing(&row.column).to_owned(),
                colocation,
                row.shards.to_string(),
                bytes(row.bytes),
                row.largest_bytes.map_or_else(|| MISSING.to_owned(), table::bytes),
                rows(row.rows_estimate),
            ]);
        }
        table
    }

    fn by_colocation(&self) -> comfy_table::Table {
        let mut table = table::table(&["colocation", "shards", "size", "rows", "groups", "tables"]);
        right(&mut table, &[0, 1, 2, 3]);
        for row in &self.colocations {
            table.add_row([
                row.colocation.to_string(),
                row.shards.to_string(),
                bytes(row.bytes),
                rows(row.rows_estimate),
                row.groups.join(", "),
                row.tables.join(", "),
            ]);
        }
        table
    }

    fn shards(&self) -> comfy_table::Table {
        let mut table = table::table(&["shard", "table", "group", "leader", "host", "size", "rows"]);
        right(&mut table, &[0, 5, 6]);
        for row in &self.largest {
            table.add_row([
                row.shard.to_string(),
                row.table.clone(),
                row.group.clone(),
                row.leader.clone(),
                row.host.clone(),
                bytes(row.bytes),
                rows(row.rows_estimate),
            ]);
        }
        table
    }
}

impl Report for ListReport {
    fn text(&self, ui: &Ui) -> String {
        if self.tables.is_empty() {
            return "No table is distributed yet: `SELECT create_distributed_table('…', '…')`.\n".into();
        }
        let table = match self.by {
            By::Node => self.by_node(),
            By::Table => self.by_table(),
            By::Colocation => self.by_colocation(),
        };
        let mut text = table::render_for(table, ui);
        if !self.largest.is_empty() {
            text += "\n";
            text += &table::render_for(self.shards(), ui);
        }
        let size = self.imbalance_bytes_percent.map_or_else(|| UNKNOWN.to_owned(), |percent| format!("{percent:.0} %"));
        text + &format!(
            "\nThe fullest group exceeds the mean by {size} in size, {:.0} % in shards.\n",
            self.imbalance_shards_percent
        )
    }
}

/// Where a value lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WhereReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The table.
    pub table: String,
    /// How it is spread.
    pub kind: TableKind,
    /// The distribution column; empty where it has none.
    pub column: String,
    /// The value that was asked for.
    pub value: String,
    /// The shard.
    pub shard: u64,
    /// Its relation on the node.
    pub relation: String,
    /// Everywhere it lies: one place, or all of a reference table.
    pub places: Vec<Place>,
}

/// A node with a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The group.
    pub group: String,
    /// Its leader.
    pub leader: String,
    /// The leader's host.
    pub host: String,
}

impl WhereReport {
    /// Of a value whose shard and its relation are known.
    pub fn new(
        topology: &Topology,
        map: &ShardMap,
        table: &str,
        value: &str,
        (shard, relation): (u64, String),
    ) -> Option<Self> {
        let found = map.tables.get(table)?;
        let places = map.placements.iter().filter(|p| p.shard == shard).map(|p| {
            let (leader, host) = place(topology, map, p.group);
            Place { group: p.group.to_string(), leader, host }
        });
        Some(Self {
            schema_version: SCHEMA_VERSION,
            table: table.to_owned(),
            kind: found.kind,
            column: found.column.clone(),
            value: value.to_owned(),
            shard,
            relation,
            places: places.collect(),
        })
    }
}

impl Report for WhereReport {
    fn text(&self, ui: &Ui) -> String {
        let mut table = table::table(&["shard", "relation", "group", "leader", "host"]);
        table::align_right(&mut table, 0);
        for place in &self.places {
            table.add_row([
                self.shard.to_string(),
                self.relation.clone(),
                place.group.clone(),
                place.leader.clone(),
                place.host.clone(),
            ]);
        }
        let head = if self.column.is_empty() {
            format!("{} is a {} table\n\n", self.table, self.kind)
        } else {
            format!("{}.{} = {}\n\n", self.table, self.column, self.value)
        };
        head + &table::render_for(table, ui)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::health;
    use crate::shards::fixture;

    const MIB: u64 = 1024 * 1024;

    /// The fixture in sizes as they are, with one fuller group, one that is drained, and a table that was never analyzed.
    fn uneven() -> ShardMap {
        let mut map = fixture::map();
        for placement in &mut map.placements {
            placement.bytes = placement.bytes.map(|bytes| bytes * MIB / 10);
            placement.rows = placement.rows.filter(|_| placement.table != "items").map(|rows| rows * 1000);
        }
        map.placements.iter_mut().filter(|p| p.shard == 101).for_each(|p| p.bytes = Some(70 * MIB));
        map.placements.retain(|p| p.group != GroupId(3) || p.table == "country");
        map.nodes.get_mut(&GroupId(3)).expect("of the fixture").takes_shards = false;
        map
    }

    fn show(map: &ShardMap, by: By, top: usize) -> String {
        let (topology, _) = health::fixture::healthy();
        ListReport::new(&topology, map, by, top).text(&Ui::new(false, false, false, false))
    }

    #[test]
    fn by_node() {
        assert_snapshot!(show(&uneven(), By::Node, 0));
    }

    #[test]
    fn by_table() {
        assert_snapshot!(show(&uneven(), By::Table, 0));
    }

    #[test]
    fn by_colocation() {
        assert_snapshot!(show(&uneven(), By::Colocation, 0));
    }

    #[test]
    fn the_largest_shards_follow() {
        assert_snapshot!(show(&uneven(), By::Node, 3));
    }

    #[test]
    fn a_node_that_does_not_answer_has_no_size() {
        let mut map = uneven();
        map.placements.iter_mut().filter(|p| p.group == GroupId(2)).for_each(|p| (p.bytes, p.rows) = (None, None));
        assert_snapshot!(show(&map, By::Node, 3));
    }

    #[test]
    fn imbalance_is_that_of_groups_that_take_shards() {
        let last = |map: &ShardMap| show(map, By::Node, 0).lines().last().map(str::to_owned).expect("a line");
        assert_eq!(last(&fixture::map()), "The fullest group exceeds the mean by 0 % in size, 0 % in shards.");
        let mut map = fixture::map();
        // 600 of 900 bytes and 4 of 6 shards on one of three groups.
        map.placements.iter_mut().filter(|p| p.group == GroupId(3) && p.table != "country").for_each(|p| p.group = GroupId(1));
        assert_eq!(last(&map), "The fullest group exceeds the mean by 100 % in size, 100 % in shards.");
        map.nodes.get_mut(&GroupId(3)).expect("of the fixture").takes_shards = false;
        assert_eq!(last(&map), "The fullest group exceeds the mean by 33 % in size, 33 % in shards.");
    }

    #[test]
    fn without_a_table_it_says_how_to_make_one() {
        let map = ShardMap { tables: BTreeMap::new(), placements: Vec::new(), ..fixture::map() };
        assert!(show(&map, By::Node, 3).starts_with("No table is distributed yet"));
    }
}
