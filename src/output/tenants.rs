//! `tenants` as data and as a table.

use serde::Serialize;

use super::table::{self, MISSING};
use super::traffic::{SCHEMA_VERSION, Silent};
use super::ui::{Report, Tone, Ui};
use crate::traffic::{Tenant, busiest};

/// Who asks for how much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TenantsReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Length of a period in seconds; 0 where no node told.
    pub period_s: u64,
    /// The busiest first.
    pub tenants: Vec<Tenant>,
    /// How many are left out.
    pub more: usize,
    /// Nodes that count nothing, as `citus.stat_tenants_track` is `none` there.
    pub not_counting: Vec<String>,
    /// Nodes that did not answer.
    pub silent: Vec<Silent>,
}

impl TenantsReport {
    /// Of these tenants, the `top` busiest.
    pub fn new(
        tenants: Vec<Tenant>,
        top: usize,
        period_s: u64,
        not_counting: Vec<String>,
        silent: Vec<(String, String)>,
    ) -> Self {
        let mut tenants = busiest(tenants, usize::MAX);
        let more = tenants.len().saturating_sub(top);
        tenants.truncate(top);
        let silent = silent.into_iter().map(|(node, reason)| Silent { node, reason }).collect();
        Self { schema_version: SCHEMA_VERSION, period_s, tenants, more, not_counting, silent }
    }
}

impl Report for TenantsReport {
    fn text(&self, ui: &Ui) -> String {
        let mut text = String::new();
        if self.tenants.is_empty() {
            text += &format!("No tenant asked for anything in the last {} s.\n", 2 * self.period_s);
        } else {
            let heads =
                ["tenant", "group", "node", "reads", "writes", "cpu", "reads before", "writes before", "cpu before", "tables"];
            let mut table = table::table(&heads);
            for column in 3..9 {
                table::align_right(&mut table, column);
            }
            for one in &self.tenants {
                let (this, last) = (one.this_period, one.last_period);
                table.add_row([
                    one.tenant.clone(),
                    one.group.clone(),
                    one.node.clone(),
                    this.reads.to_string(),
                    this.writes.to_string(),
                    table::millis(this.cpu_ms),
                    last.reads.to_string(),
                    last.writes.to_string(),
                    table::millis(last.cpu_ms),
                    if one.tables.is_empty() { MISSING.to_owned() } else { one.tables.join(", ") },
                ]);
            }
            text += &table::render_for(table, ui);
            let more = if self.more > 0 { format!("; {} not shown (--top)", self.more) } else { String::new() };
            text += &format!("\nCounted since the full {}, and in the one before{more}\n", period(self.period_s));
        }
        if !self.not_counting.is_empty() {
            text += &format!(
                "{}  not counted on {}: citus.stat_tenants_track is none, which [postgres.parameters] can change\n",
                ui.paint(Tone::Odd, "unknown"),
                self.not_counting.join(", ")
            );
        }
        for silent in &self.silent {
            text += &format!("{}  {} did not tell: {}\n", ui.paint(Tone::Bad, "unknown"), silent.node, silent.reason);
        }
        text
    }
}

/// Periods begin where a clock's do.
fn period(seconds: u64) -> String {
    match seconds {
        60 => "minute".into(),
        3600 => "hour".into(),
        seconds => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Usage;

    #[test]
    fn what_is_not_shown_and_not_known_is_said() {
        let tenant = |name: &str, reads| Tenant {
            tenant: name.into(),
            group: "shard-1".into(),
            node: "worker-1-1".into(),
            this_period: Usage { reads, writes: 2, cpu_ms: 12 },
            last_period: Usage { reads: 1, writes: 0, cpu_ms: 1500 },
            tables: vec!["customers".into(), "orders".into()],
        };
        let text = |report: TenantsReport| report.text(&Ui::new(false, false, false, false));
        let silent = vec![("worker-3-1".to_owned(), "no route".to_owned())];
        let some = vec![tenant("7", 10), tenant("42", 900)];
        let shown = text(TenantsReport::new(some, 1, 60, vec!["worker-2-1".into()], silent));
        assert_eq!(
            shown.lines().collect::<Vec<_>>(),
            [
                "TENANT  GROUP    NODE        READS  WRITES    CPU  READS BEFORE  WRITES BEFORE  CPU BEFORE  TABLES",
                "42      shard-1  worker-1-1    900       2  12 ms             1              0       1.5 s  customers, orders",
                "",
                "Counted since the full minute, and in the one before; 1 not shown (--top)",
                "unknown  not counted on worker-2-1: citus.stat_tenants_track is none, which [postgres.parameters] can change",
                "unknown  worker-3-1 did not tell: no route",
            ]
        );
        let none = TenantsReport::new(Vec::new(), 1, 60, Vec::new(), Vec::new());
        assert_eq!(
            text(none),
            "No tenant asked for anything in the last 120 s.
"
        );
    }
}
