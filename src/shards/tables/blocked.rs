//! Why a table cannot be spread as it is: what Citus would refuse half way or after long work, found before it begins.

use super::{After, Obstacle, TableFacts, statement};
use crate::shards::obstacle::SET_BY_UP;
use crate::topology::TableName;
use crate::topology::tables::{DeclaredTable, Spread};

/// All that is in the way of a table that Citus has not spread.
pub(super) fn obstacles(one: &DeclaredTable, facts: &TableFacts, after: &After<'_>) -> Vec<Obstacle> {
    let table = &one.table;
    let mut found = Vec::new();
    if !facts.unfit.is_empty() {
        add(
            &mut found,
            format!("{table} is {}", facts.unfit),
            "declare tables alone; a partitioned table brings its partitions along",
        );
        return found;
    }
    match &one.spread {
        Spread::Reference => {
            for other in facts.refers_to.iter().filter(|other| after.is_distributed(other)) {
                add(
                    &mut found,
                    format!("{table} refers to {other} by a foreign key, and {other} is distributed"),
                    "drop the foreign key, or distribute this table, too: a node has only part of the rows that it refers to",
                );
            }
        }
        Spread::Distributed { column, colocate_with, .. } => {
            let Some(kind) = facts.columns.get(column) else {
                let columns: Vec<&str> = facts.columns.keys().map(String::as_str).collect();
                add(&mut found, format!("{table} has no column {column}"), format!("its columns are {}", columns.join(", ")));
                return found;
            };
            if let Some(other) = colocate_with {
                other_type(table, kind, other, after, &mut found);
            }
            keys(table, column, facts, &mut found);
            unknown_targets(table, facts, after, &mut found);
            if facts.filled {
                while_clients_write(one, facts, after, &mut found);
            }
        }
    }
    found
}

fn add(found: &mut Vec<Obstacle>, what: String, way_out: impl Into<String>) {
    found.push(Obstacle { what, way_out: way_out.into() });
}

/// Equal values of two types need not have equal hashes.
fn other_type(table: &TableName, kind: &str, other: &TableName, after: &After<'_>, found: &mut Vec<Obstacle>) {
    let column = match (after.found(other), after.spread.get(other)) {
        (Some(has), _) => has.column.as_str(),
        (None, Some(Spread::Distributed { column, .. })) => column,
        _ => return,
    };
    let theirs = after.seen.tables.get(other).and_then(|facts| facts.columns.get(column));
    if let Some(theirs) = theirs.filter(|theirs| *theirs != kind) {
        let what = format!("{table} cannot lie together with {other}: their columns are {kind} and {theirs}");
        add(found, what, "give both columns the same type");
    }
}

/// No node sees all rows: what is unique has to be so within one value of the distribution column.
fn keys(table: &TableName, column: &str, facts: &TableFacts, found: &mut Vec<Obstacle>) {
    for (name, columns) in facts.uniques.iter().filter(|(_, columns)| !columns.contains(column)) {
        let listed = columns.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        add(
            found,
            format!("{name} of {table} is unique over ({listed}), without {column}"),
            format!("add {column} to it: no node sees the rows of all values"),
        );
    }
}

/// A distributed table may refer to what its nodes have.
fn unknown_targets(table: &TableName, facts: &TableFacts, after: &After<'_>, found: &mut Vec<Obstacle>) {
    for other in facts.refers_to.iter().filter(|other| !after.is_known(other)) {
        add(
            found,
            format!("{table} refers to {other} by a foreign key, and {other} is on the coordinators alone"),
            format!("declare {other} too: reference = true, or distributed together with {table}"),
        );
    }
}

/// What carrying rows wants while clients go on writing.
fn while_clients_write(one: &DeclaredTable, facts: &TableFacts, after: &After<'_>, found: &mut Vec<Obstacle>) {
    let table = &one.table;
    let blocking = || format!("or distribute it while its writes wait: {}", statement(table, &one.spread, false));
    if !facts.has_identity {
        add(
            found,
            format!("{table} has rows, and neither a primary key nor a replica identity"),
            format!("give it one (`alter table {} replica identity full` does always), {}", table.qualified(), blocking()),
        );
    }
    if after.seen.wal_level != "logical" {
        add(
            found,
            format!("{table} has rows, and wal_level is {}: carrying them needs logical", after.seen.wal_level),
            SET_BY_UP,
        );
    }
    for other in facts.referred_by.iter().filter(|other| !after.is_distributed(other)) {
        add(
            found,
            format!("{table} has rows, and {other} refers to it by a foreign key"),
            format!("drop the foreign key until both are distributed, {}", blocking()),
        );
    }
}
