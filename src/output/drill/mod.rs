//! A drill as text for people, and as a page of HTML.

mod chart;
#[cfg(test)]
pub(super) mod fixture;
pub mod html;

use std::time::Duration;

use serde::Serialize;

use super::table::{self, MISSING, align_right, toned};
use super::ui::{Report, Tone, Ui};
use crate::drill::budget::Budget;
use crate::drill::millis;
use crate::drill::outage::Statistics;
use crate::drill::report::{DrillReport, Run, Summary};
use crate::drill::scenario::{self, Need, Scenario};
use crate::quantity;
use crate::topology::Topology;

impl Report for DrillReport {
    fn text(&self, ui: &Ui) -> String {
        let mut text = summaries(&self.summary, ui) + &budgets(&self.summary, ui);
        for run in self.runs.iter().filter(|run| !run.passed) {
            text += &told("fail", &format!("{} run {}", run.scenario, run.number), &run.reasons, ui);
        }
        for summary in &self.summary {
            if let Some(broken) = &summary.broken_promise {
                text += &told("fail", &format!("{} promise", summary.scenario), std::slice::from_ref(broken), ui);
            }
        }
        for ended in &self.not_carried_out {
            let name = format!("{} run {} was not carried out", ended.scenario, ended.number);
            text += &told("void", &name, std::slice::from_ref(&ended.reason), ui);
        }
        for skipped in &self.skipped {
            text += &format!("\n{}  {}\n      {}\n", ui.paint(Tone::Odd, "skip"), skipped.scenario, skipped.reason);
        }
        let passed = self.runs.iter().filter(|run| run.passed).count();
        let promises = || self.summary.iter().filter(|summary| summary.promised_outage.is_some());
        let kept = promises().filter(|summary| summary.broken_promise.is_none()).count();
        let word = if self.passed { ui.paint(Tone::Good, "passed") } else { ui.paint(Tone::Bad, "failed") };
        let name = ui.paint(Tone::Head, &self.name);
        let (runs, promised, seed) = (self.runs.len(), promises().count(), self.seed);
        let void = match self.not_carried_out.len() {
            0 => String::new(),
            count => format!(", {count} not carried out"),
        };
        text + &format!(
            "\n{name} {word}: {passed} of {runs} runs passed{void}, {kept} of {promised} promises kept (seed {seed})\n"
        )
    }
}

/// What can be rehearsed, with the promise of each in a topology.
#[derive(Debug, Serialize)]
pub struct ScenarioList {
    /// Version of this document's shape.
    pub schema_version: u32,
    /// The scenarios.
    pub scenarios: Vec<ScenarioLine>,
}

/// A scenario of the list.
#[derive(Debug, Serialize)]
pub struct ScenarioLine {
    /// Its name.
    pub name: &'static str,
    /// What happens.
    pub about: &'static str,
    /// The longest outage that is promised, in milliseconds; `null` when nothing is.
    pub promise_ms: Option<u64>,
    /// Part of the set for CI.
    pub ci: bool,
    /// Whether it switches hosts off or exchanges their disks, which only a lab's can be.
    pub needs_lab: bool,
    /// Whether it needs kernels that can delay and lose packets.
    pub needs_netem: bool,
    /// Whether it needs shard groups, and this topology has none.
    pub needs_shards: bool,
    /// What it needs that this topology does not have; `null` when nothing is missing.
    pub lacks: Option<&'static str>,
}

impl ScenarioList {
    /// The list for a topology.
    pub fn new(topology: &Topology) -> Self {
        let line = |scenario: &Scenario| {
            let needs = scenario.needs();
            ScenarioLine {
                name: scenario.name,
                about: scenario.about,
                promise_ms: scenario.event_in(topology).and_then(|event| topology.promise.outage(event)).map(millis::of),
                ci: scenario.ci,
                needs_lab: needs.contains(&Need::Lab),
                needs_netem: needs.contains(&Need::Netem),
                needs_shards: needs.contains(&Need::Shards) && topology.citus.is_none(),
                lacks: needs.into_iter().find(|need| need.lacking(topology).is_some()).map(Need::name),
            }
        };
        Self { schema_version: 1, scenarios: scenario::ALL.iter().map(line).collect() }
    }
}

impl Report for ScenarioList {
    fn text(&self, ui: &Ui) -> String {
        let mut table = table::table(&["scenario", "promise", "ci", "needs", "what happens"]);
        align_right(&mut table, 1);
        for line in &self.scenarios {
            let hosts = [(line.needs_lab, Need::Lab), (line.needs_netem, Need::Netem)];
            let hosts = hosts.into_iter().filter(|(needed, _)| *needed).map(|(_, need)| need.name());
            let needs = line.lacks.into_iter().chain(hosts).collect::<Vec<_>>().join(", ");
            table.add_row([
                line.name.to_owned(),
                line.promise_ms.map_or_else(|| MISSING.to_owned(), quantity::millis),
                if line.ci { "yes" } else { "" }.to_owned(),
                needs,
                line.about.to_owned(),
            ]);
        }
        table::render_for(table, ui)
    }
}

/// What `drill heal` removed.
#[derive(Debug, Serialize)]
pub struct Healed {
    /// Version of this document's shape.
    pub schema_version: u32,
    /// Hosts with the faults that were healed there; hosts without any are not listed.
    pub hosts: Vec<(String, Vec<String>)>,
    /// Whether the drill's tables were dropped from the application's database.
    pub schema_dropped: bool,
    /// Hosts, and `tables`, with what was not healed, each with its reason.
    pub left: Vec<(String, Vec<String>)>,
}

impl Healed {
    /// Hosts that have their power back.
    pub fn of_power(hosts: Vec<String>) -> Self {
        let hosts = hosts.into_iter().map(|host| (host, vec!["power".to_owned()])).collect();
        Self { schema_version: 1, hosts, schema_dropped: false, left: Vec::new() }
    }

    /// What became of the faults on each host.
    pub fn add(&mut self, healings: impl IntoIterator<Item = (String, Vec<String>, Vec<String>)>) {
        for (host, healed, left) in healings {
            self.hosts.extend((!healed.is_empty()).then(|| (host.clone(), healed)));
            self.left.extend((!left.is_empty()).then_some((host, left)));
        }
    }
}

impl Report for Healed {
    fn text(&self, ui: &Ui) -> String {
        if self.hosts.is_empty() && self.left.is_empty() && !self.schema_dropped {
            return "No host has anything left of a drill.\n".to_owned();
        }
        let healed = self.hosts.iter().map(|(host, faults)| format!("{host}: healed {}\n", faults.join(", ")));
        let left = self
            .left
            .iter()
            .map(|(host, faults)| format!("{host}: {}\n", ui.paint(Tone::Bad, &format!("not healed: {}", faults.join("; ")))));
        let dropped =
            self.schema_dropped.then(|| "the drill's tables are dropped from the application's database\n".to_owned());
        healed.chain(dropped).chain(left).collect()
    }
}

/// One line for each scenario.
fn summaries(summaries: &[Summary], ui: &Ui) -> String {
    let heads = ["scenario", "passed", "outage p50", "p95", "max", "promised", "exceeded", "redundant", "lost", "result"];
    let mut table = table::table(&heads);
    for summary in summaries {
        let of = |pick: fn(&Statistics) -> Duration| shown(summary.outage.as_ref().map(pick));
        table.add_row([
            summary.scenario.clone().into(),
            format!("{}/{}", summary.passed, summary.runs).into(),
            of(|s| s.p50).into(),
            of(|s| s.p95).into(),
            of(|s| s.max).into(),
            shown(summary.promised_outage).into(),
            summary.promised_outage.map_or_else(|| MISSING.into(), |_| summary.exceeded.to_string()).into(),
            shown(summary.redundancy_restored.map(|s| s.max)).into(),
            summary.lost.to_string().into(),
            match (summary.is_good(), summary.is_kept()) {
                (true, _) => toned("pass", Tone::Good),
                (false, true) => toned("void", Tone::Odd),
                (false, false) => toned("fail", Tone::Bad),
            },
        ]);
    }
    (1..9).for_each(|column| align_right(&mut table, column));
    table::render_for(table, ui)
}

/// What was measured beside what the settings allow for, of each scenario that is held to an event.
fn budgets(summaries: &[Summary], ui: &Ui) -> String {
    let mut table = table::table(&["scenario", "of its outage", "p50", "p95", "max", "budget", "p95", "worst"]);
    let budgeted = || summaries.iter().filter_map(|summary| Some((summary, summary.budget.as_ref()?)));
    for (summary, budget) in budgeted() {
        for part in parts(budget) {
            let measured = (part.measured)(summary);
            let of = |pick: fn(&Statistics) -> Duration| shown(measured.as_ref().map(pick));
            table.add_row([
                summary.scenario.clone(),
                part.name.to_owned(),
                of(|s| s.p50),
                of(|s| s.p95),
                of(|s| s.max),
                shown(Some(part.expected)),
                shown(part.p95),
                shown(Some(part.worst)),
            ]);
        }
    }
    (2..8).for_each(|column| align_right(&mut table, column));
    if budgeted().next().is_none() { String::new() } else { format!("\n{}", table::render_for(table, ui)) }
}

/// A part of a budget that is measured, too.
struct Row {
    name: &'static str,
    measured: fn(&Summary) -> Option<Statistics>,
    of_run: fn(&Run) -> Option<Duration>,
    expected: Duration,
    /// Only the whole has one: parts are late independently of each other.
    p95: Option<Duration>,
    worst: Duration,
}

fn parts(budget: &Budget) -> Vec<Row> {
    let whole = Row {
        name: "all of it",
        measured: |summary| summary.outage,
        of_run: |run| run.outage,
        expected: budget.expected,
        p95: Some(budget.p95),
        worst: budget.worst,
    };
    let detection = budget.detection.map(|span| Row {
        name: "detection",
        measured: |summary| summary.detection,
        of_run: |run| run.terms.detection,
        expected: span.expected,
        p95: None,
        worst: span.worst,
    });
    let service = budget.service.map(|span| Row {
        name: "promotion, routing",
        measured: |summary| summary.service,
        of_run: |run| run.terms.service(),
        expected: span.expected,
        p95: None,
        worst: span.worst,
    });
    detection.into_iter().chain(service).chain([whole]).collect()
}

/// What failed, or was not carried out, with every reason.
fn told(word: &str, name: &str, reasons: &[String], ui: &Ui) -> String {
    let mut text = format!("\n{}  {}\n", ui.paint(Tone::Bad, word), ui.paint(Tone::Head, name));
    reasons.iter().for_each(|reason| text += &format!("      {reason}\n"));
    text
}

/// A duration, or what stands for none.
fn shown(duration: Option<Duration>) -> String {
    duration.map_or_else(|| MISSING.into(), |duration| table::millis(millis::of(duration)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::report::Skipped;

    #[test]
    fn scenarios_are_lines_and_failures_have_their_reasons() {
        let text = fixture::report().text(&Ui::new(false, true, true, false));
        let expected = "\
SCENARIO       PASSED  OUTAGE P50     P95     MAX  PROMISED  EXCEEDED  REDUNDANT  LOST  RESULT
kill <leader>     1/2       4.0 s   9.0 s   9.0 s     5.0 s         1     30.0 s     1  fail
cut a link        1/1      700 ms  700 ms  700 ms     5.0 s         0     30.0 s     0  pass

SCENARIO       OF ITS OUTAGE          P50     P95     MAX  BUDGET    P95  WORST
kill <leader>  detection            2.0 s   4.5 s   4.5 s  500 ms      –  1.0 s
kill <leader>  promotion, routing   1.9 s   4.4 s   4.4 s  400 ms      –  1.0 s
kill <leader>  all of it            4.0 s   9.0 s   9.0 s  900 ms  1.6 s  2.0 s
cut a link     detection           350 ms  350 ms  350 ms  500 ms      –  1.0 s
cut a link     promotion, routing  250 ms  250 ms  250 ms  400 ms      –  1.0 s
cut a link     all of it           700 ms  700 ms  700 ms  900 ms  1.6 s  2.0 s

fail  kill <leader> run 2
      lost in worker-1: acknowledged, and not on <b>: 1 operation (1#3)

fail  kill <leader> promise
      the longest of 2 outages took 9.0 s, promised are at most 5.0 s

a <drill> & \"more\" failed: 2 of 3 runs passed, 1 of 2 promises kept (seed 42)
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_was_not_carried_out_is_neither_passed_nor_failed() {
        let text = fixture::interspersed().text(&Ui::new(false, true, true, false));
        let row = text.lines().find(|line| line.starts_with("freeze <all>")).expect("a row");
        assert!(row.contains(" 0/0 ") && row.ends_with("  void"), "{row}");
        assert!(text.contains("\nvoid  freeze <all> run 1 was not carried out\n      there is no <leader> now\n"), "{text}");
        assert!(text.contains("2 of 3 runs passed, 1 not carried out, 1 of 2 promises kept"), "{text}");
    }

    #[test]
    fn what_is_not_healed_is_told_with_its_reason() {
        let ui = Ui::new(false, true, true, false);
        let mut healed = Healed::of_power(vec![]);
        healed.add([]);
        assert_eq!(healed.text(&ui), "No host has anything left of a drill.\n");
        healed.add([
            ("host1".to_owned(), vec!["isolate".to_owned()], vec![]),
            ("host2".to_owned(), vec![], vec!["freeze-coordinator-1: no daemon".to_owned()]),
        ]);
        assert_eq!(healed.text(&ui), "host1: healed isolate\nhost2: not healed: freeze-coordinator-1: no daemon\n");
    }

    #[test]
    fn what_was_left_out_is_named() {
        let skipped = Skipped { scenario: "slow-network".into(), reason: "slow-network needs `tc`".into() };
        let text = fixture::report().skipping(vec![skipped]).text(&Ui::new(false, true, true, false));
        assert!(text.contains("\nskip  slow-network\n      slow-network needs `tc`\n"), "{text}");
    }
}
