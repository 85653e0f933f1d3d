//! Declared tables beside those that Citus has.

use serde::Serialize;

use super::SCHEMA_VERSION;
use crate::output::table::{self, MISSING, toned};
use crate::output::ui::{Report, Tone, Ui};
use crate::shards::{TableRow, TableState, Task};
use crate::topology::tables::Spread;

/// Tables, compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TablesReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// In the order in which they are spread; those that are not declared at the end.
    pub tables: Vec<TableRow>,
}

impl TablesReport {
    /// Of these rows.
    pub fn new(tables: Vec<TableRow>) -> Self {
        Self { schema_version: SCHEMA_VERSION, tables }
    }
}

impl Report for TablesReport {
    fn text(&self, ui: &Ui) -> String {
        let mut table = table::table(&["table", "declared", "state"]);
        for row in &self.tables {
            let declared = row.declared.as_ref().map_or_else(|| MISSING.to_owned(), ToString::to_string);
            let (words, tone) = words(&row.state);
            table.add_row([row.table.to_string().into(), declared.into(), toned(words, tone)]);
        }
        let mut text = table::render_for(table, ui);
        for row in &self.tables {
            match &row.state {
                TableState::ToDo(task) => text += &format!("\n{}\n", task.statement),
                TableState::Differs { statement, .. } => {
                    text += &format!(
                        "\n{} differs. Citus changes that by rewriting it, while its writes wait; when they may, run in \
                         `pgclusterctl psql`\n  {statement}\nand then `pgclusterctl schema apply` again.\n",
                        row.table
                    );
                }
                TableState::Blocked { obstacles } => {
                    text.push('\n');
                    for obstacle in obstacles {
                        text += &format!("{}\n  {}\n", obstacle.what, obstacle.way_out);
                    }
                }
                _ => {}
            }
        }
        if self.tables.iter().any(|row| row.state == TableState::NotCreated) {
            text +=
                "\nWhat is not created yet is no mistake: `pgclusterctl schema apply` again after the application made it.\n";
        }
        text
    }
}

fn words(state: &TableState) -> (String, Tone) {
    match state {
        TableState::AsDeclared => ("as declared".into(), Tone::Good),
        TableState::NotCreated => ("not created yet".into(), Tone::Faint),
        TableState::ToDo(task) => (cost(task).into(), Tone::Head),
        TableState::Waits { waits_for } => (format!("waits for {waits_for}"), Tone::Faint),
        TableState::Differs { found, .. } => (format!("differs: {found}"), Tone::Bad),
        TableState::Blocked { .. } => ("cannot be done as it is".into(), Tone::Bad),
        TableState::Undeclared { found } => (format!("not declared, left alone: {found}"), Tone::Faint),
    }
}

/// What spreading a table means for those who write to it.
fn cost(task: &Task) -> &'static str {
    match (&task.spread, task.filled) {
        (_, false) => "to do: has no rows",
        (Spread::Reference, true) => "to do: its writes wait while rows are copied",
        (Spread::Distributed { .. }, true) => "to do: rows are carried while clients write",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shards::{CitusTable, TableFacts, TableKind, TablesSeen, compare};
    use crate::topology::TableName;
    use crate::topology::tables::DeclaredTable;

    #[test]
    fn each_table_says_how_it_is_and_what_to_do() {
        let name = |name: &str| TableName::of("public", name);
        let by = |table: &str, with: Option<&str>| DeclaredTable {
            table: name(table),
            spread: Spread::Distributed { column: "customer".into(), colocate_with: with.map(name), shard_count: None },
        };
        let declared = [
            DeclaredTable { table: name("country"), spread: Spread::Reference },
            by("orders", None),
            by("items", Some("orders")),
            by("events", None),
            by("visits", None),
            by("later", None),
        ];
        let made = |filled| TableFacts {
            filled,
            has_identity: true,
            columns: [("customer".to_owned(), "bigint".to_owned())].into(),
            ..TableFacts::default()
        };
        let has = |kind, column: &str| CitusTable { kind, column: column.into(), colocation: 1, shard_count: 32 };
        let blocked = TableFacts { has_identity: false, ..made(true) };
        let seen = TablesSeen {
            tables: [
                (name("country"), made(false)),
                (name("orders"), made(true)),
                (name("items"), made(false)),
                (name("events"), blocked),
                (name("visits"), made(false)),
            ]
            .into(),
            citus: [(name("visits"), has(TableKind::Distributed, "page")), (name("old"), has(TableKind::Distributed, "id"))]
                .into(),
            wal_level: "logical".into(),
        };
        let report = TablesReport::new(compare(&declared, &seen));
        insta::assert_snapshot!(report.text(&Ui::new(false, false, false, false)));
        insta::assert_json_snapshot!("each_table_says_how_it_is_in_json", report);
    }
}
