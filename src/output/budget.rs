//! `topology budget` as data and as a table: what each event costs, what is promised, and where the time goes.

use std::time::Duration;

use serde::Serialize;

use super::table::{self, MISSING, align_right, toned};
use super::ui::{Report, Tone, Ui};
use crate::quantity::{millis, whole_millis};
use crate::topology::budget::{self, Budget, End, Term};
use crate::topology::{Event, LossLimit, Topology};

/// Version of the JSON document: raised when a key changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// Columns that the table may fill; sources are wrapped to them.
const WIDTH: usize = 100;

/// The budgets of a topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BudgetReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// Every event, in the order of [`Event::ALL`].
    pub events: Vec<EventReport>,
    /// Acknowledged transactions that each group may lose in any of the events.
    pub loss: Vec<GroupLoss>,
    /// Whether the table shows the terms; the JSON always has them.
    #[serde(skip)]
    pub verbose: bool,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventReport {
    /// The event.
    pub event: Event,
    /// Whether there is a budget.
    pub outcome: Outcome,
    /// Why there is none; empty when there is one.
    pub reason: String,
    /// What is promised; `null` when nothing is.
    pub promise_ms: Option<u64>,
    /// On average; `null` when there is no budget.
    pub expected_ms: Option<u64>,
    /// Not more than this in 95 of 100 cases; `null` when there is no budget.
    pub p95_ms: Option<u64>,
    /// At worst; `null` when there is no budget.
    pub worst_ms: Option<u64>,
    /// What it is made of, one after the other.
    pub terms: Vec<Term>,
}

/// Whether there is a budget for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There is one.
    Bounded,
    /// Nobody takes over, or no setting bounds how long it takes.
    Unbounded,
    /// It cannot happen in this topology.
    Absent,
}

/// What a group may lose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupLoss {
    /// The group.
    pub group: String,
    /// Transactions.
    pub limit: LossLimit,
}

impl BudgetReport {
    /// The budgets of a topology.
    pub fn new(topology: &Topology, verbose: bool) -> Self {
        let loss = topology.promise.loss.iter().map(|(group, limit)| GroupLoss { group: group.to_string(), limit: *limit });
        Self {
            schema_version: SCHEMA_VERSION,
            cluster: topology.name.to_string(),
            events: budget::all(topology).into_iter().map(|budget| EventReport::new(topology, budget)).collect(),
            loss: loss.collect(),
            verbose,
        }
    }

    fn overview(&self) -> comfy_table::Table {
        let mut table = table::table(&["event", "promise", "expected", "p95", "worst", "most of it"]);
        (1..=4).for_each(|column| align_right(&mut table, column));
        let name = self.events.iter().map(|line| line.event.key().len()).max().unwrap_or_default();
        // Five gaps of two blanks; numbers are as wide as their heads.
        let room = WIDTH.saturating_sub(name + "promise".len() + "expected".len() + 2 * "10.0 s".len() + 10);
        for line in &self.events {
            let longest = line.terms.iter().max_by_key(|term| term.worst);
            let most = longest.map_or_else(|| line.reason.clone(), |term| format!("{} {}", term.name, seconds(term.worst)));
            table.add_row([
                line.event.key().to_owned(),
                or_missing(line.promise_ms),
                or_missing(line.expected_ms),
                or_missing(line.p95_ms),
                or_missing(line.worst_ms),
                wrapped(&most, room),
            ]);
        }
        table
    }

    fn details(&self) -> comfy_table::Table {
        let mut table = table::table(&["event and its parts", "expected", "worst", "from"]);
        (1..=2).for_each(|column| align_right(&mut table, column));
        let names = self.events.iter().flat_map(|line| {
            let terms = line.terms.iter().flat_map(|term| {
                let inner = term.beside.iter().map(|inner| inner.name.chars().count() + 4);
                inner.chain([term.name.chars().count() + 2])
            });
            terms.chain([line.event.key().len()])
        });
        // Three gaps of two blanks; numbers are as wide as their heads.
        let left = names.chain(["event and its parts".len()]).max().unwrap_or_default() + "expected".len() + "10.0 s".len() + 6;
        let room = WIDTH.saturating_sub(left).max(30);
        for line in &self.events {
            let told = match line.promise_ms {
                Some(promise) => format!("promise {}", millis(promise)),
                None => line.reason.clone(),
            };
            let cells = [line.event.key().to_owned(), or_missing(line.expected_ms), or_missing(line.worst_ms)];
            let mut row: Vec<_> = cells.into_iter().map(|cell| toned(cell, Tone::Head)).collect();
            row.push(wrapped(&told, room).into());
            table.add_row(row);
            for term in &line.terms {
                table.add_row(part(term, 2, room));
                for inner in &term.beside {
                    table.add_row(part(inner, 4, room));
                }
            }
        }
        table
    }

    fn losses(&self) -> String {
        let nothing = |loss: &GroupLoss| loss.limit == LossLimit::AtMost(0);
        if self.loss.iter().all(nothing) {
            return "No acknowledged transaction may be lost in any of them.".to_owned();
        }
        let groups: Vec<String> = self.loss.iter().map(|loss| format!("{} {}", loss.group, loss.limit)).collect();
        format!("Acknowledged transactions that may be lost: {}.", groups.join(", "))
    }
}

impl EventReport {
    fn new(topology: &Topology, budget: Budget) -> Self {
        let (expected, p95, worst) = (budget.expected(), budget.p95(), budget.worst());
        let (outcome, reason, terms) = match budget.end {
            End::After(terms) => (Outcome::Bounded, String::new(), terms),
            End::Unbounded(why) => (Outcome::Unbounded, why, Vec::new()),
            End::Absent(why) => (Outcome::Absent, why, Vec::new()),
        };
        Self {
            event: budget.event,
            outcome,
            reason,
            promise_ms: topology.promise.outage(budget.event).map(whole_millis),
            expected_ms: expected.map(whole_millis),
            p95_ms: p95.map(whole_millis),
            worst_ms: worst.map(whole_millis),
            terms,
        }
    }
}

impl Report for BudgetReport {
    fn text(&self, ui: &Ui) -> String {
        let grid = if self.verbose { self.details() } else { self.overview() };
        let more = if self.verbose { "" } else { "-v shows what each is made of, and which settings it follows from.\n" };
        let losses = wrapped(&self.losses(), WIDTH);
        format!(
            "{}\nTimes for which writes fail, as clients see them through the VIP.\n{losses}\n{more}",
            table::render_for(grid, ui)
        )
    }
}

fn part(term: &Term, indent: usize, room: usize) -> [String; 4] {
    let name = format!("{:indent$}{}", "", term.name);
    [name, seconds(term.expected), seconds(term.worst), wrapped(&term.source, room)]
}

fn seconds(duration: Duration) -> String {
    millis(whole_millis(duration))
}

fn or_missing(value: Option<u64>) -> String {
    value.map_or_else(|| MISSING.to_owned(), millis)
}

/// Words in lines of at most so many characters.
fn wrapped(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is a line");
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::example;

    #[test]
    fn no_line_is_wider_than_the_table_may_be() {
        let ui = Ui::new(false, false, false, false);
        for name in ["three-hosts", "classic", "ha", "five-hosts", "one-host"] {
            for verbose in [false, true] {
                let text = BudgetReport::new(&example(name), verbose).text(&ui);
                let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > WIDTH).collect();
                assert!(wide.is_empty(), "{name}: {wide:#?}");
            }
        }
    }
}
