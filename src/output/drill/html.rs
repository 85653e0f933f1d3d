//! A drill as one page of HTML that needs nothing else: no script, no font, no network. It can be mailed and archived.

use std::sync::LazyLock;
use std::time::Duration;

use serde::Serialize;
use tera::{Context, Tera};

use super::chart::{self, Histogram, Timeline, seconds};
use super::{Row, parts, shown};
use crate::drill::budget::Part;
use crate::drill::report::{DrillReport, NotCarriedOut, Run, Summary};
use crate::drill::verdict::Counts;
use crate::error::{Exit, Failure};

/// By its ending Tera knows that every value is to be escaped: the file's own ending, `.tera`, must not be part of it.
const NAME: &str = "drill-report.html";

static ENGINE: LazyLock<Tera> = LazyLock::new(|| {
    let mut tera = Tera::new();
    tera.add_raw_templates([(NAME, include_str!("../../../templates/drill-report.html.tera"))])
        .expect("the embedded template parses: the test that renders it shows it");
    tera
});

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
#[error("the drill cannot be written as HTML")]
pub struct HtmlError(#[from] tera::Error);

impl Failure for HtmlError {
    fn exit(&self) -> Exit {
        Exit::Internal
    }
}

#[derive(Serialize)]
struct Page<'a> {
    name: &'a str,
    passed: bool,
    seed: u64,
    started_at: String,
    versions: Vec<(&'a str, &'a str)>,
    scenarios: Vec<Scenario<'a>>,
    not_carried_out: &'a [NotCarriedOut],
    runs: Vec<RunView<'a>>,
}

#[derive(Serialize)]
struct Scenario<'a> {
    name: &'a str,
    runs: u64,
    passed: u64,
    good: bool,
    broken_promise: Option<&'a str>,
    p50: String,
    p95: String,
    max: String,
    promised: String,
    redundant: String,
    lost: u64,
    /// None or one.
    histogram: Vec<Histogram>,
}

#[derive(Serialize)]
struct RunView<'a> {
    scenario: &'a str,
    number: u32,
    passed: bool,
    reasons: &'a [String],
    remarks: &'a [String],
    /// Name and value, in the order of their time.
    terms: Vec<(&'static str, String)>,
    /// Measured, and what the settings let it cost: name, measured, expected, 95th percentile, worst.
    budget: Vec<(&'static str, [String; 4])>,
    /// What the settings let each part of it cost.
    parts: Vec<String>,
    timeline: Timeline,
    events: Vec<EventView<'a>>,
    findings: Vec<FindingView<'a>>,
    counts: Vec<(&'a str, Counts)>,
}

#[derive(Serialize)]
struct EventView<'a> {
    number: usize,
    at: String,
    source: &'a str,
    text: &'a str,
}

#[derive(Serialize)]
struct FindingView<'a> {
    rule: &'static str,
    group: &'a str,
    detail: &'a str,
}

/// The page; whatever text is in the report, it is escaped.
pub fn html(report: &DrillReport) -> Result<String, HtmlError> {
    let page = Page {
        name: &report.name,
        passed: report.passed,
        seed: report.seed,
        started_at: report.started_at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        versions: report.versions.iter().map(|(program, version)| (program.as_str(), version.as_str())).collect(),
        scenarios: report.summary.iter().map(|summary| scenario(summary, report)).collect(),
        not_carried_out: &report.not_carried_out,
        runs: report.runs.iter().map(run).collect(),
    };
    let text = ENGINE.render(NAME, &Context::from_serialize(&page)?)?;
    // What programs say may bring colours for terminals along; HTML has no place for control characters.
    Ok(text.chars().filter(|c| !c.is_control() || *c == '\n').collect())
}

fn scenario<'a>(summary: &'a Summary, report: &'a DrillReport) -> Scenario<'a> {
    let outages: Vec<Duration> = report.runs_of(&summary.scenario).filter_map(|run| run.outage).collect();
    let outage = summary.outage;
    Scenario {
        name: &summary.scenario,
        runs: summary.runs,
        passed: summary.passed,
        good: summary.is_good(),
        broken_promise: summary.broken_promise.as_deref(),
        p50: shown(outage.map(|s| s.p50)),
        p95: shown(outage.map(|s| s.p95)),
        max: shown(outage.map(|s| s.max)),
        promised: shown(summary.promised_outage),
        redundant: shown(summary.redundancy_restored.map(|s| s.max)),
        lost: summary.lost,
        histogram: chart::histogram(&outages, summary.promised_outage).into_iter().collect(),
    }
}

fn run(run: &Run) -> RunView<'_> {
    let terms = [
        ("outage", run.outage),
        ("detection", run.terms.detection),
        ("promotion", run.terms.promotion),
        ("routing", run.terms.routing),
        ("all clients served again", run.outages.recovery()),
        ("redundant again", run.redundancy_restored),
    ];
    let events = (1..).zip(&run.events).map(|(number, event)| EventView {
        number,
        at: seconds(event.at_ms),
        source: &event.source,
        text: &event.text,
    });
    let findings = run.verdict.findings.iter();
    RunView {
        scenario: &run.scenario,
        number: run.number,
        passed: run.passed,
        reasons: &run.reasons,
        remarks: &run.remarks,
        terms: terms.map(|(name, value)| (name, shown(value))).to_vec(),
        budget: run.budget.iter().flat_map(parts).map(|part| budgeted(run, &part)).collect(),
        parts: run.budget.iter().flat_map(|budget| &budget.parts).map(part).collect(),
        timeline: chart::timeline(run),
        events: events.collect(),
        findings: findings.map(|f| FindingView { rule: f.rule.id(), group: &f.group, detail: &f.detail }).collect(),
        counts: run.verdict.groups.iter().map(|(group, counts)| (group.as_str(), *counts)).collect(),
    }
}

fn budgeted(run: &Run, row: &Row) -> (&'static str, [String; 4]) {
    (row.name, [(row.of_run)(run), Some(row.expected), row.p95, Some(row.worst)].map(shown))
}

fn part(part: &Part) -> String {
    let beside: Vec<String> = part.beside.iter().map(self::part).collect();
    let slowest = if beside.is_empty() { String::new() } else { format!(" (the slowest of {})", beside.join(", ")) };
    format!("{} {}, at worst {}{slowest}", part.name, shown(Some(part.expected)), shown(Some(part.worst)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::drill::fixture;

    #[test]
    fn names_are_escaped_wherever_they_stand() {
        let page = html(&fixture::report()).expect("a page");
        assert!(page.contains("a &lt;drill&gt; &amp; &quot;more&quot;"), "{page}");
        assert!(page.contains("17.6 &lt;&quot;&#x27;&amp;&gt;") || page.contains("17.6 &lt;&quot;&#39;&amp;&gt;"), "{page}");
        assert!(page.contains("killed &lt;worker-1-a&gt;"), "{page}");
        for raw in ["<drill>", "<leader>", "<worker-1-a>", "<b>", "10.0.0.<2>", "</script>"] {
            assert!(!page.contains(raw), "{raw} is not escaped");
        }
        assert!(!page.contains('\u{1b}'));
    }

    #[test]
    fn a_page_names_what_was_not_carried_out() {
        let page = html(&fixture::interspersed()).expect("a page");
        assert!(page.contains("freeze &lt;all&gt;, run 1, was not carried out: there is no &lt;leader&gt; now"), "{page}");
        assert!(!html(&fixture::report()).expect("a page").contains("not carried out"));
    }

    #[test]
    fn a_page_shows_everything_and_needs_nothing() {
        let page = html(&fixture::report()).expect("a page");
        assert_eq!(page.matches("<h3").count(), 3, "every run");
        assert!(page.contains("class=\"outage\"") && page.contains("timeline 2 on"), "who led, and who was not served");
        assert!(page.contains("2 runs") || page.contains("1 run from"), "histogram");
        assert!(page.contains("acknowledged, and not on"), "findings");
        assert!(page.contains("kill &lt;leader&gt;: the longest of 2 outages took 9.0 s"), "broken promises");
        assert!(page.contains("<li>the outage took 9.0 s"), "remarks");
        assert!(
            page.contains("<td>detection</td><td class=\"number\">2.0 s</td><td class=\"number\">500 ms</td>"),
            "budget: {page}"
        );
        assert!(page.contains("guard &lt;sees&gt; 500 ms, at worst 1.0 s"), "its parts");
        for outside in ["http:", "https:", "src=", "href=\"", "@import", "url(", "<script"] {
            assert!(!page.replace("http://www.w3.org/2000/svg", "").contains(outside), "{outside} leads out of the page");
        }
    }
}
