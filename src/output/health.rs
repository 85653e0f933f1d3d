//! `health` as data and as a table, and the list of problems that `status` ends with.

use std::collections::BTreeMap;

use serde::Serialize;

use super::table::{self, toned};
use super::ui::{Report, Tone, Ui};
use crate::health::{CHECKS, Check, CheckResult, Condition, Diagnosis, Verdict};

/// Version of the JSON document: raised when a key changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// All checks of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HealthReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// Number of results that passed.
    pub passed: usize,
    /// That warn.
    pub warned: usize,
    /// That failed.
    pub failed: usize,
    /// Condition, reasons, results.
    #[serde(flatten)]
    pub diagnosis: Diagnosis,
    /// Level of detail of the table; the JSON always has everything.
    #[serde(skip)]
    pub verbose: u8,
}

impl HealthReport {
    /// Counts.
    pub fn new(cluster: impl ToString, diagnosis: Diagnosis, verbose: u8) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            cluster: cluster.to_string(),
            passed: diagnosis.count(Verdict::Pass),
            warned: diagnosis.count(Verdict::Warn),
            failed: diagnosis.count(Verdict::Fail),
            diagnosis,
            verbose,
        }
    }
}

impl Report for HealthReport {
    fn text(&self, ui: &Ui) -> String {
        let mut table = table::table(&["check", "subject", "result", "evidence"]);
        for check in CHECKS {
            let results: Vec<&CheckResult> = self.diagnosis.results.iter().filter(|r| r.id == check.id).collect();
            for row in rows(check, &results, self.verbose) {
                table.add_row([
                    check.id.into(),
                    row.subject.into(),
                    toned(row.verdict, tone_of(row.verdict)),
                    if row.told { row.evidence.into() } else { toned(row.evidence, Tone::Faint) },
                ]);
            }
        }
        let mut text = table::render_for(table, ui);
        let found: Vec<CheckResult> = self.diagnosis.problems().cloned().collect();
        if !found.is_empty() {
            text += "\n";
            text += &problems(&found, self.verbose, ui);
        }
        let condition = condition(&self.cluster, self.diagnosis.condition, ui);
        text + &format!("\n{condition}: {} passed, {} warned, {} failed\n", self.passed, self.warned, self.failed)
    }
}

/// A line of the table: one result, or several of one check that need no telling apart.
struct Row {
    subject: String,
    verdict: Verdict,
    evidence: String,
    /// Whether the evidence is that of a result, not a summary.
    told: bool,
}

impl From<&CheckResult> for Row {
    fn from(result: &CheckResult) -> Self {
        let finding = &result.finding;
        Self { subject: finding.subject.clone(), verdict: finding.verdict, evidence: finding.evidence.clone(), told: true }
    }
}

/// The lines of a check. What passes is one line, and so is what follows from the same failure, unless `verbose` asks for each.
fn rows(check: &Check, results: &[&CheckResult], verbose: u8) -> Vec<Row> {
    if verbose > 0 || results.len() == 1 {
        return results.iter().map(|r| Row::from(*r)).collect();
    }
    let all = results.len();
    let mut bundles: BTreeMap<(Verdict, &str), Vec<&CheckResult>> = BTreeMap::new();
    let mut rows = Vec::new();
    for result in results {
        let finding = &result.finding;
        if finding.verdict != Verdict::Pass && finding.follows_from.is_empty() {
            rows.push(Row::from(*result));
        } else {
            bundles.entry((finding.verdict, &finding.follows_from)).or_default().push(result);
        }
    }
    let bundle = |((verdict, root), results): ((Verdict, &str), Vec<&CheckResult>)| match results.as_slice() {
        [one] if !root.is_empty() => Row::from(*one),
        many => Row {
            subject: if many.len() == all { format!("all {all}") } else { format!("{} of {all}", many.len()) },
            verdict,
            evidence: if root.is_empty() { check.promise.into() } else { format!("follow from {root}") },
            told: false,
        },
    };
    let mut lines: Vec<Row> = bundles.into_iter().map(bundle).collect();
    lines.append(&mut rows);
    lines
}

/// What did not pass, each with what to do. What only follows from something else is counted there; with `-v` it is told.
pub fn problems(found: &[CheckResult], verbose: u8, ui: &Ui) -> String {
    let mut text = String::new();
    for result in found.iter().filter(|r| verbose > 0 || r.finding.follows_from.is_empty()) {
        let finding = &result.finding;
        let verdict = ui.paint(tone_of(finding.verdict), &finding.verdict.to_string());
        let name = format!("{} {}", result.id, finding.subject);
        text += &format!("{verdict}  {}: {}\n", ui.paint(Tone::Head, &name), finding.evidence);
        text += &format!("      {}\n", ui.paint(Tone::Faint, &finding.remedy));
        let following = if verbose > 0 { 0 } else { following(found, &name) };
        if following > 0 {
            let (results, follow) = if following == 1 { ("result", "follows") } else { ("results", "follow") };
            text += &ui.paint(Tone::Faint, &format!("      {following} more {results} {follow} from this (-v)"));
            text += "\n";
        }
    }
    text
}

/// How many results follow from the named one, directly or through others.
fn following(found: &[CheckResult], root: &str) -> usize {
    let children = found.iter().filter(|r| r.finding.follows_from == root);
    children.map(|r| 1 + following(found, &format!("{} {}", r.id, r.finding.subject))).sum()
}

/// The colour of a verdict.
pub fn tone_of(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Pass => Tone::Good,
        Verdict::Warn => Tone::Odd,
        Verdict::Fail => Tone::Bad,
    }
}

/// `pgcluster is healthy`.
pub fn condition(cluster: &str, condition: Condition, ui: &Ui) -> String {
    let (verb, tone) = match condition {
        Condition::Healthy => ("is", Tone::Good),
        Condition::Absent => ("is", Tone::Odd),
        Condition::Degraded => ("is", Tone::Odd),
        Condition::Down => ("is", Tone::Bad),
        Condition::Unknown => ("cannot be seen, its condition is", Tone::Bad),
    };
    format!("{} {verb} {}", ui.paint(Tone::Head, cluster), ui.paint(tone, &condition.to_string()))
}
