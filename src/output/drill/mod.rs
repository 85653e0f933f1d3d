//! A drill as text for people, and as a page of HTML.

mod chart;
#[cfg(test)]
pub(super) mod fixture;
pub mod html;

use std::time::Duration;

use super::table::{self, MISSING, align_right, toned};
use super::ui::{Report, Tone, Ui};
use crate::drill::millis;
use crate::drill::outage::Statistics;
use crate::drill::report::{DrillReport, Run, Summary};

impl Report for DrillReport {
    fn text(&self, ui: &Ui) -> String {
        let mut text = summaries(&self.summary, ui);
        for run in self.runs.iter().filter(|run| !run.passed) {
            text += "\n";
            text += &failure(run, ui);
        }
        let passed = self.runs.iter().filter(|run| run.passed).count();
        let word = if self.passed { ui.paint(Tone::Good, "passed") } else { ui.paint(Tone::Bad, "failed") };
        let name = ui.paint(Tone::Head, &self.name);
        text + &format!("\n{name} {word}: {passed} of {} runs kept every promise (seed {})\n", self.runs.len(), self.seed)
    }
}

/// One line for each scenario.
fn summaries(summaries: &[Summary], ui: &Ui) -> String {
    let heads = ["scenario", "passed", "outage p50", "p95", "max", "promised", "redundant", "lost", "result"];
    let mut table = table::table(&heads);
    for summary in summaries {
        let good = summary.passed == summary.runs;
        let of = |pick: fn(&Statistics) -> Duration| shown(summary.outage.as_ref().map(pick));
        table.add_row([
            summary.scenario.clone().into(),
            format!("{}/{}", summary.passed, summary.runs).into(),
            of(|s| s.p50).into(),
            of(|s| s.p95).into(),
            of(|s| s.max).into(),
            shown(summary.promised_outage).into(),
            shown(summary.redundancy_restored.map(|s| s.max)).into(),
            summary.lost.to_string().into(),
            if good { toned("pass", Tone::Good) } else { toned("fail", Tone::Bad) },
        ]);
    }
    (1..8).for_each(|column| align_right(&mut table, column));
    table::render_for(table, ui)
}

/// A run that failed, with every reason.
fn failure(run: &Run, ui: &Ui) -> String {
    let name = format!("{} run {}", run.scenario, run.number);
    let mut text = format!("{}  {}\n", ui.paint(Tone::Bad, "fail"), ui.paint(Tone::Head, &name));
    run.reasons.iter().for_each(|reason| text += &format!("      {reason}\n"));
    text
}

/// A duration, or what stands for none.
fn shown(duration: Option<Duration>) -> String {
    duration.map_or_else(|| MISSING.into(), |duration| table::millis(millis::of(duration)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_lines_and_failures_have_their_reasons() {
        let text = fixture::report().text(&Ui::new(false, true, true, false));
        let expected = "\
SCENARIO       PASSED  OUTAGE P50     P95     MAX  PROMISED  REDUNDANT  LOST  RESULT
kill <leader>     1/2       4.0 s   9.0 s   9.0 s     5.0 s     30.0 s     1  fail
cut a link        1/1      700 ms  700 ms  700 ms     5.0 s     30.0 s     0  pass

fail  kill <leader> run 2
      lost in worker-1: acknowledged, and not on <b>: 1 operation (1#3)
      the outage took 9.0 s, promised are at most 5.0 s

a <drill> & \"more\" failed: 2 of 3 runs kept every promise (seed 42)
";
        assert_eq!(text, expected);
    }
}
