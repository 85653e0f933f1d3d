//! The plan as text, with the declared tables that are not as declared.

use serde::Serialize;

use super::ui::{Report, Tone, Ui};
use crate::observe::Probe;
use crate::plan::PlanReport;
use crate::plan::report::Line;
use crate::shards::{TableRow, TableState};

/// What `plan` prints and `up` asks consent for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WholePlan {
    /// Services and settings.
    #[serde(flatten)]
    pub report: PlanReport,
    /// Declared tables; not known as long as nobody can be asked. `up` spreads those without rows.
    pub tables: Probe<Vec<TableRow>>,
}

impl WholePlan {
    /// Pending is also a table that `up` spreads; one that is left for `schema apply` is not.
    pub fn new(mut report: PlanReport, tables: Probe<Vec<TableRow>>) -> Self {
        report.pending |= tables.known().is_some_and(|rows| rows.iter().any(|row| row.quick().is_some()));
        Self { report, tables }
    }
}

impl Report for PlanReport {
    fn text(&self, ui: &Ui) -> String {
        text(self.lines(), ui)
    }
}

impl Report for WholePlan {
    fn text(&self, ui: &Ui) -> String {
        let mut lines = self.report.lines();
        let tables = table_lines(&self.tables);
        if !tables.is_empty() {
            lines.push(Line::Head("Tables".into()));
            lines.extend(tables.into_iter().map(|line| Line::Plain(format!("  {line}"))));
        }
        text(lines, ui)
    }
}

fn text(lines: Vec<Line>, ui: &Ui) -> String {
    let mut text = String::new();
    for line in lines {
        match line {
            Line::Head(head) => text.push_str(&ui.paint(Tone::Head, &head)),
            Line::Plain(plain) => text.push_str(&plain),
            Line::Added(added) => text.push_str(&ui.paint(Tone::Good, &added)),
            Line::Removed(removed) => text.push_str(&ui.paint(Tone::Bad, &removed)),
        }
        text.push('\n');
    }
    text
}

/// What `up` does about tables, and what it leaves; nothing about those that are as declared, or not there.
fn table_lines(tables: &Probe<Vec<TableRow>>) -> Vec<String> {
    let rows = match tables {
        Probe::Known(rows) => rows,
        Probe::Failed(_) => return vec!["unknown: the coordinators' leader cannot be asked now".into()],
    };
    let left = |row: &TableRow, why: &str| format!("{} {why}; left for `pgclusterctl schema apply`", row.table);
    let line = |row: &TableRow| match &row.state {
        TableState::ToDo(task) if task.quick => Some(task.statement.clone()),
        TableState::ToDo(task) if task.filled => Some(left(row, "has rows")),
        TableState::ToDo(_) => Some(left(row, "comes after a table that has rows")),
        TableState::Differs { found, .. } => Some(left(row, &format!("differs, {found}"))),
        TableState::Blocked { .. } => Some(left(row, "cannot be spread as it is")),
        _ => None,
    };
    rows.iter().filter_map(line).collect()
}

/// Tables that `up` leaves for `schema apply`, by name.
pub fn left_tables(rows: &[TableRow]) -> Vec<String> {
    rows.iter().filter(|row| row.is_stuck() || row.task().is_some()).map(|row| row.table.to_string()).collect()
}
