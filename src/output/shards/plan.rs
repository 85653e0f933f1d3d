//! What a rebalance would do.

use serde::Serialize;

use super::SCHEMA_VERSION;
use crate::health::repair::Repair;
use crate::output::table::{self, UNKNOWN};
use crate::output::ui::{Report, Ui};
use crate::quantity::whole_millis;
use crate::shards::{Estimate, Move, estimate};

/// Moves before they happen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// In order.
    pub moves: Vec<Move>,
    /// How many, how much, how long.
    pub estimate: Estimate,
    /// What is put right before the first one.
    pub repairs: Vec<Repair>,
}

impl PlanReport {
    /// Of these moves, so many at once.
    pub fn new(moves: Vec<Move>, parallel: u32) -> Self {
        Self { schema_version: SCHEMA_VERSION, estimate: estimate(&moves, parallel), moves, repairs: Vec::new() }
    }

    /// The same, after these. Where nothing moves they are not needed.
    #[must_use]
    pub fn after(mut self, repairs: Vec<Repair>) -> Self {
        if !self.moves.is_empty() {
            self.repairs = repairs;
        }
        self
    }
}

impl Report for PlanReport {
    fn text(&self, ui: &Ui) -> String {
        if self.moves.is_empty() {
            return "Nothing to move.\n".into();
        }
        let mut table = table::table(&["shard", "from", "to", "size", "tables"]);
        table::align_right(&mut table, 0);
        table::align_right(&mut table, 3);
        for one in &self.moves {
            table.add_row([
                one.shard.to_string(),
                one.from.to_string(),
                one.to.to_string(),
                one.bytes.map_or_else(|| UNKNOWN.to_owned(), table::bytes),
                one.tables.join(", "),
            ]);
        }
        let Estimate { moves, parallel, bytes, time } = self.estimate;
        let how = if parallel > 1 { format!("{parallel} at once") } else { "one after another".to_owned() };
        let (moves, bytes) = (if moves == 1 { "1 move".to_owned() } else { format!("{moves} moves") }, table::bytes(bytes));
        let time = table::millis(whole_millis(time));
        let first: String = self.repairs.iter().map(|repair| format!("first, {repair}\n")).collect();
        table::render_for(table, ui) + &format!("\n{first}{moves}, {bytes}, about {time}, {how} (an estimate)\n")
    }
}
