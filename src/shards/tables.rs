//! Declared tables against what Citus has: what is to be done for each, in which order, and what is in the way.

mod blocked;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::model::TableKind;
use super::obstacle::Obstacle;
use crate::topology::TableName;
use crate::topology::tables::{DeclaredTable, Spread, literal};

/// What the coordinators' leader says of tables.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TablesSeen {
    /// Declared tables that exist.
    pub tables: BTreeMap<TableName, TableFacts>,
    /// Tables that Citus knows, partitions aside.
    pub citus: BTreeMap<TableName, CitusTable>,
    /// `wal_level`: distributing a filled table while clients write is a logical replication.
    pub wal_level: String,
}

/// A declared table that exists, as PostgreSQL has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableFacts {
    /// What it is instead of a table that can be distributed, e.g. `a view`; empty for a table.
    pub unfit: String,
    /// Whether it has rows; false for what Citus has spread already.
    pub filled: bool,
    /// Whether logical replication can tell its rows apart, those of its partitions included.
    pub has_identity: bool,
    /// Type of each column by its name.
    pub columns: BTreeMap<String, String>,
    /// Unique and exclusion constraints and indexes: each one's name, and its columns.
    pub uniques: BTreeMap<String, BTreeSet<String>>,
    /// Other tables that its foreign keys refer to.
    pub refers_to: BTreeSet<TableName>,
    /// Other tables whose foreign keys refer to it.
    pub referred_by: BTreeSet<TableName>,
}

/// A table as Citus has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CitusTable {
    /// How it is spread.
    pub kind: TableKind,
    /// Distribution column; empty where it has none.
    pub column: String,
    /// Tables with the same number lie together.
    pub colocation: u32,
    /// Shards that it was made with; splits add to them without a change of this number.
    pub shard_count: u32,
}

/// A table and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableRow {
    /// Which.
    pub table: TableName,
    /// As it is declared; `None` where it is not.
    pub declared: Option<Spread>,
    /// How it is.
    #[serde(flatten)]
    pub state: TableState,
}

/// A table, compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TableState {
    /// It is as declared.
    AsDeclared,
    /// The application has not made it yet.
    NotCreated,
    /// It is to be spread.
    ToDo(Task),
    /// It cannot lie together with a table that is not spread yet.
    Waits {
        /// That table.
        waits_for: TableName,
    },
    /// Citus has it spread in another way. Changing that rewrites it while its writes wait.
    Differs {
        /// As Citus has it.
        found: String,
        /// What would change it, as a first step.
        statement: String,
    },
    /// It cannot be spread as it is.
    Blocked {
        /// All that is in the way.
        obstacles: Vec<Obstacle>,
    },
    /// Citus has it spread, and the topology does not mention it.
    Undeclared {
        /// As Citus has it.
        found: String,
    },
}

/// Spreading a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Task {
    /// The table.
    #[serde(skip)]
    pub table: TableName,
    /// How.
    #[serde(skip)]
    pub spread: Spread,
    /// Whether it has rows, which have to be carried to their nodes.
    pub filled: bool,
    /// Whether it is done at once and hurts nobody: neither it nor a table that has to be spread before has rows.
    pub quick: bool,
    /// The statement, as people would write it.
    pub statement: String,
}

impl Task {
    fn new(one: &DeclaredTable, facts: &TableFacts, after: &After<'_>) -> Self {
        let (table, spread, filled) = (one.table.clone(), one.spread.clone(), facts.filled);
        let statement = statement(&table, &spread, filled);
        let quick = !filled && !after.slow.iter().any(|other| needs(one, after.seen, other));
        Self { table, spread, filled, quick, statement }
    }
}

impl TableRow {
    /// What `up` does by the way.
    pub fn quick(&self) -> Option<&Task> {
        self.task().filter(|task| task.quick)
    }

    /// What is to be done.
    pub fn task(&self) -> Option<&Task> {
        match &self.state {
            TableState::ToDo(task) => Some(task),
            _ => None,
        }
    }

    /// Whether somebody has to do something about it that this program does not do.
    pub fn is_stuck(&self) -> bool {
        matches!(self.state, TableState::Differs { .. } | TableState::Blocked { .. })
    }
}

/// The statement that spreads a table; a filled one without keeping its writers waiting, where Citus can do that.
fn statement(table: &TableName, spread: &Spread, filled: bool) -> String {
    let function = if filled { "create_distributed_table_concurrently" } else { "create_distributed_table" };
    let name = literal(&table.qualified());
    let Spread::Distributed { column, colocate_with, shard_count } = spread else {
        return format!("select create_reference_table({name})");
    };
    let mut arguments = format!("{name}, {}", literal(column));
    if let Some(other) = colocate_with {
        arguments += &format!(", colocate_with => {}", literal(&other.qualified()));
    } else if let Some(count) = shard_count {
        arguments += &format!(", shard_count => {count}");
    }
    format!("select {function}({arguments})")
}

/// Each declared table in the order in which they can be spread, then those that only Citus knows. None where none is declared.
pub fn compare(declared: &[DeclaredTable], seen: &TablesSeen) -> Vec<TableRow> {
    if declared.is_empty() {
        return Vec::new();
    }
    let mut after = After { seen, spread: BTreeMap::new(), slow: BTreeSet::new() };
    let mut rows = Vec::new();
    for one in in_order(declared, seen) {
        let state = state(one, &after);
        if matches!(state, TableState::AsDeclared | TableState::ToDo(_)) {
            after.spread.insert(&one.table, &one.spread);
        }
        if matches!(&state, TableState::ToDo(task) if !task.quick) {
            after.slow.insert(&one.table);
        }
        rows.push(TableRow { table: one.table.clone(), declared: Some(one.spread.clone()), state });
    }
    let known = |table: &TableName| declared.iter().any(|one| one.table == *table);
    // The only shard of a table without a distribution column cannot be declared; local ones are Citus' own matter.
    let foreign = seen
        .citus
        .iter()
        .filter(|(table, has)| !known(table) && matches!(has.kind, TableKind::Distributed | TableKind::Reference));
    rows.extend(foreign.map(|(table, has)| {
        let state = TableState::Undeclared { found: words(has) };
        TableRow { table: table.clone(), declared: None, state }
    }));
    rows
}

/// What is spread once the tasks so far are done.
struct After<'a> {
    seen: &'a TablesSeen,
    spread: BTreeMap<&'a TableName, &'a Spread>,
    /// Those of them that take time.
    slow: BTreeSet<&'a TableName>,
}

impl After<'_> {
    /// As Citus has it now; what it has on the coordinators alone is not spread.
    fn found(&self, table: &TableName) -> Option<&CitusTable> {
        self.seen.citus.get(table).filter(|has| has.kind != TableKind::Local)
    }

    fn is_distributed(&self, table: &TableName) -> bool {
        self.found(table).is_some_and(|has| has.kind.is_sharded())
            || self.spread.get(table).is_some_and(|spread| **spread != Spread::Reference)
    }

    /// Whether Citus will know it, in whatever way.
    fn is_known(&self, table: &TableName) -> bool {
        self.seen.citus.contains_key(table) || self.spread.contains_key(table)
    }
}

/// Whether a table is spread after another one: it lies with it, or refers to it.
fn needs(one: &DeclaredTable, seen: &TablesSeen, other: &TableName) -> bool {
    let refers = seen.tables.get(&one.table).is_some_and(|facts| facts.refers_to.contains(other));
    let lies = matches!(&one.spread, Spread::Distributed { colocate_with: Some(with), .. } if with == other);
    one.table != *other && (refers || lies)
}

/// Reference tables first, since others refer to them; each table after those that it lies with or refers to.
fn in_order<'a>(declared: &'a [DeclaredTable], seen: &TablesSeen) -> Vec<&'a DeclaredTable> {
    let mut left: Vec<&DeclaredTable> = declared.iter().collect();
    left.sort_by_key(|one| one.spread != Spread::Reference);
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let free = left.iter().position(|one| !left.iter().any(|other| needs(one, seen, &other.table)));
        // Foreign keys may go in a circle: then any is as good as another, and Citus has its say.
        ordered.push(left.remove(free.unwrap_or(0)));
    }
    ordered
}

fn state(one: &DeclaredTable, after: &After<'_>) -> TableState {
    let Some(facts) = after.seen.tables.get(&one.table) else { return TableState::NotCreated };
    match after.found(&one.table) {
        Some(has) => spread_already(one, facts, has, after),
        None => match waits_for(one, after) {
            Some(other) => TableState::Waits { waits_for: other.clone() },
            None => {
                let obstacles = blocked::obstacles(one, facts, after);
                if obstacles.is_empty() {
                    TableState::ToDo(Task::new(one, facts, after))
                } else {
                    TableState::Blocked { obstacles }
                }
            }
        },
    }
}

/// The table that has to be spread before this one.
fn waits_for<'a>(one: &'a DeclaredTable, after: &After<'_>) -> Option<&'a TableName> {
    let Spread::Distributed { colocate_with, .. } = &one.spread else { return None };
    colocate_with.as_ref().filter(|other| !after.is_distributed(other))
}

/// A table that Citus has spread: as declared, or what would make it so.
fn spread_already(one: &DeclaredTable, facts: &TableFacts, has: &CitusTable, after: &After<'_>) -> TableState {
    let name = literal(&one.table.qualified());
    let differs = |statement: String| TableState::Differs { found: words(has), statement };
    let whole_again = || {
        let tied = !(facts.refers_to.is_empty() && facts.referred_by.is_empty());
        let cascade = if tied { ", cascade_via_foreign_keys => true" } else { "" };
        differs(format!("select undistribute_table({name}{cascade})"))
    };
    let alter = |arguments: String| differs(format!("select alter_distributed_table({name}, {arguments})"));
    let (column, colocate_with, shard_count) = match &one.spread {
        Spread::Reference if has.kind == TableKind::Reference => return TableState::AsDeclared,
        Spread::Distributed { column, colocate_with, shard_count } if has.kind == TableKind::Distributed => {
            (column, colocate_with, shard_count)
        }
        _ => return whole_again(),
    };
    if has.column != *column {
        return alter(format!("distribution_column => {}", literal(column)));
    }
    match (colocate_with, shard_count) {
        (Some(other), _) => match after.found(other) {
            Some(theirs) if theirs.colocation == has.colocation => TableState::AsDeclared,
            Some(_) => alter(format!("colocate_with => {}", literal(&other.qualified()))),
            None => TableState::Waits { waits_for: other.clone() },
        },
        (None, Some(count)) if *count != has.shard_count => {
            let others = after.seen.citus.iter().any(|(table, c)| *table != one.table && c.colocation == has.colocation);
            let together = if others { ", cascade_to_colocated => true" } else { "" };
            alter(format!("shard_count => {count}{together}"))
        }
        _ => TableState::AsDeclared,
    }
}

/// How Citus has it, in the words of a declaration.
fn words(has: &CitusTable) -> String {
    match has.kind {
        TableKind::Distributed => format!("by {}, {} shards", has.column, has.shard_count),
        kind => kind.to_string(),
    }
}
