//! `[[table]]`: how the application's tables are spread over the shard groups.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::topology::file::{TableBlock, TopologyFile};
use crate::topology::finding::Finding;
use crate::topology::limits::CITUS_SHARDS;
use crate::topology::model::Citus;
use crate::topology::schema::nearest;
use crate::topology::span::At;
use crate::topology::tables::{self, DeclaredTable, Spread, SqlNameError, TableName};

/// A block whose name could be read.
struct Entry<'a> {
    table: TableName,
    block: &'a TableBlock,
    colocate_with: Option<TableName>,
}

/// All declared tables in the order of the file.
pub(super) fn read(file: &TopologyFile, citus: Option<&Citus>, findings: &mut Vec<Finding>) -> Vec<DeclaredTable> {
    if let Some(first) = file.table.first()
        && citus.is_none()
    {
        findings.push(
            Finding::error(
                "tables-without-shards",
                first.name.span.clone(),
                "a cluster without shard groups distributes no tables",
            )
            .label("there is nothing to distribute it over")
            .help("set shards.count, or remove the [[table]] blocks: every table is whole then"),
        );
        return Vec::new();
    }
    let entries = entries(file, findings);
    let known: BTreeMap<&TableName, &Entry<'_>> = entries.iter().map(|entry| (&entry.table, entry)).collect();
    cycles(&known, &entries, findings);
    entries.iter().filter_map(|entry| declared(entry, &known, findings)).collect()
}

/// Each table once, by its name.
fn entries<'a>(file: &'a TopologyFile, findings: &mut Vec<Finding>) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = Vec::new();
    for block in &file.table {
        let Some(table) = name(&block.name, findings) else { continue };
        let colocate_with = block.colocate_with.as_ref().and_then(|written| name(written, findings));
        match entries.iter().find(|entry| entry.table == table) {
            Some(first) => findings.push(
                Finding::error("duplicate-table", block.name.span.clone(), format!("{table} is declared twice"))
                    .label("again here")
                    .also(first.block.name.span.clone(), "declared here")
                    .help("keep one of the two blocks"),
            ),
            None => entries.push(Entry { table, block, colocate_with }),
        }
    }
    entries
}

fn name(written: &At<String>, findings: &mut Vec<Finding>) -> Option<TableName> {
    TableName::parse(written).map_err(|error| findings.push(bad_name("table", written, &error))).ok()
}

/// A name that SQL would not read, or would read as another one.
fn bad_name(what: &str, written: &At<String>, error: &SqlNameError) -> Finding {
    let text = written.as_str();
    let help = match error {
        SqlNameError::Capitals => {
            format!("write \"{}\"; if its name really has capitals, '\"{text}\"'", text.to_ascii_lowercase())
        }
        SqlNameError::Alphabet if !text.contains(['"', '\'']) => format!("write it in quotes of SQL: '\"{text}\"'"),
        SqlNameError::System(_) => "declare the application's own tables alone".to_owned(),
        _ if what == "column" => "write its name alone, such as \"customer\" or '\"Customer\"'".to_owned(),
        _ => "write it as in SQL, such as \"orders\", \"sales.orders\" or '\"Order Items\"'".to_owned(),
    };
    Finding::error("table-name", written.span.clone(), format!("{text:?} cannot name a {what}"))
        .label(error.to_string())
        .help(help)
}

/// What a block declares; nothing when it says too much or too little.
fn declared(entry: &Entry<'_>, known: &BTreeMap<&TableName, &Entry<'_>>, findings: &mut Vec<Finding>) -> Option<DeclaredTable> {
    let Entry { table, block, .. } = entry;
    let reference = block.reference.as_ref().filter(|written| written.value);
    let spread = match (reference, &block.distribution_column) {
        (Some(reference), Some(column)) => {
            findings.push(
                Finding::error("table-both-kinds", reference.span.clone(), format!("{table} cannot be spread in two ways"))
                    .label("all rows on every node")
                    .also(column.span.clone(), "rows spread by this column")
                    .help("keep reference = true for a small table that others join, else distribution_column"),
            );
            return None;
        }
        (None, None) => {
            findings.push(
                Finding::error("table-without-kind", block.name.span.clone(), format!("{table} is not said to be spread"))
                    .label("neither a distribution column nor a reference table")
                    .help("add distribution_column = \"…\", or reference = true"),
            );
            return None;
        }
        (Some(_), None) => {
            only_for_distributed(entry, findings);
            Spread::Reference
        }
        (None, Some(written)) => {
            let column = tables::column(written).map_err(|error| findings.push(bad_name("column", written, &error))).ok()?;
            colocation(entry, known, findings);
            let shard_count = block.shard_count.as_ref().map(|count| shard_count(count, findings));
            Spread::Distributed { column, colocate_with: entry.colocate_with.clone(), shard_count }
        }
    };
    Some(DeclaredTable { table: table.clone(), spread })
}

fn only_for_distributed(entry: &Entry<'_>, findings: &mut Vec<Finding>) {
    let keys = [
        ("colocate_with", entry.block.colocate_with.as_ref().map(|w| w.span.clone())),
        ("shard_count", entry.block.shard_count.as_ref().map(|w| w.span.clone())),
    ];
    for (key, span) in keys.into_iter().filter_map(|(key, span)| span.map(|span| (key, span))) {
        findings.push(
            Finding::error("reference-table-key", span, format!("{} is a reference table: it has no {key}", entry.table))
                .label("a reference table is one shard that lies on every node")
                .help("remove the key, or the table's reference = true"),
        );
    }
}

fn shard_count(written: &At<u32>, findings: &mut Vec<Finding>) -> u32 {
    let (min, max) = CITUS_SHARDS;
    if !(min..=max).contains(&written.value) {
        findings.push(
            Finding::error("table-shard-count", written.span.clone(), format!("a table cannot have {} shards", written.value))
                .label(format!("{min} to {max}"))
                .help("leave it out for shards.citus_shard_count"),
        );
    }
    written.value
}

/// Whether a table can lie together with the one that it names.
fn colocation(entry: &Entry<'_>, known: &BTreeMap<&TableName, &Entry<'_>>, findings: &mut Vec<Finding>) {
    let (Some(other), Some(written)) = (&entry.colocate_with, &entry.block.colocate_with) else { return };
    let table = &entry.table;
    let wrong = |rule, message: String| Finding::error(rule, written.span.clone(), message);
    if other == table {
        findings.push(
            wrong("colocate-with-itself", format!("{table} lies together with itself anyway"))
                .help("name another table, or remove the key"),
        );
        return;
    }
    let Some(target) = known.get(other) else {
        let names: Vec<String> = known.keys().map(ToString::to_string).filter(|name| *name != table.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let help = match nearest(&other.to_string(), &names) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("declare it: [[table]] with name = {:?}", written.value),
        };
        findings.push(
            wrong("colocate-with-unknown", format!("{other} is not declared")).label("no [[table]] has this name").help(help),
        );
        return;
    };
    if target.block.reference.as_ref().is_some_and(|reference| reference.value) {
        findings.push(
            wrong("colocate-with-reference", format!("{other} is a reference table"))
                .label("it lies on every node, with every table")
                .also(target.block.name.span.clone(), "declared here")
                .help("remove the key: joins with a reference table are local wherever its partner lies"),
        );
        return;
    }
    same_count(entry, root(entry, known), findings);
}

/// Tables that lie together have as many shards.
fn same_count(entry: &Entry<'_>, root: &Entry<'_>, findings: &mut Vec<Finding>) {
    let Some(own) = &entry.block.shard_count else { return };
    let theirs = root.block.shard_count.as_ref();
    if root.table == entry.table || theirs.is_some_and(|theirs| theirs.value == own.value) {
        return;
    }
    let said = theirs.map(|theirs| theirs.span.clone()).unwrap_or_else(|| root.block.name.span.clone());
    let message = format!("{} has as many shards as {}, with which it lies", entry.table, root.table);
    let finding = Finding::error("colocate-shard-count", own.span.clone(), message);
    let help = format!("remove the key here; shard_count of {} counts for all that lie with it", root.table);
    findings.push(match theirs {
        Some(theirs) => finding.label("another number than there").also(said, format!("{} shards", theirs.value)).help(help),
        None => finding.label("not said there").also(said, "this table's number counts").help(help),
    });
}

/// Where a chain of `colocate_with` ends; anywhere on it, if it never does.
fn root<'a>(entry: &'a Entry<'a>, known: &BTreeMap<&TableName, &'a Entry<'a>>) -> &'a Entry<'a> {
    let mut at = entry;
    for _ in 0..known.len() {
        let Some(next) = at.colocate_with.as_ref().and_then(|name| known.get(name)) else { break };
        at = next;
    }
    at
}

/// Tables that name each other in a circle: none of them can be first.
fn cycles(known: &BTreeMap<&TableName, &Entry<'_>>, entries: &[Entry<'_>], findings: &mut Vec<Finding>) {
    let mut told: BTreeSet<&TableName> = BTreeSet::new();
    for entry in entries.iter().filter(|entry| entry.colocate_with.as_ref() != Some(&entry.table)) {
        let Some(circle) = circle(entry, known).filter(|_| !told.contains(&entry.table)) else { continue };
        told.extend(circle.iter().map(|member| &member.table));
        let names = circle.iter().chain(circle.first()).map(|member| member.table.to_string()).collect::<Vec<_>>();
        let spans: Vec<Range<usize>> = circle
            .iter()
            .filter_map(|member| member.block.colocate_with.as_ref())
            .map(|written| written.span.clone())
            .collect();
        let mut finding = Finding::error("colocate-cycle", spans.first().cloned(), "tables lie together in a circle")
            .label(names.join(" -> "))
            .help("one of them has to be first: remove its colocate_with");
        for span in spans.into_iter().skip(1) {
            finding = finding.also(span, "and on from here");
        }
        findings.push(finding);
    }
}

/// The tables of the circle that `entry` is part of, from it on.
fn circle<'a>(entry: &'a Entry<'a>, known: &BTreeMap<&TableName, &'a Entry<'a>>) -> Option<Vec<&'a Entry<'a>>> {
    let mut circle = vec![entry];
    let mut at = entry;
    for _ in 0..known.len() {
        at = known.get(at.colocate_with.as_ref()?)?;
        if at.table == entry.table {
            return Some(circle);
        }
        circle.push(at);
    }
    None
}
