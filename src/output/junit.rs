//! A drill as JUnit XML, as CI systems read it: a suite for each scenario, with a test case for each run and one for the promised
//! outage, which only all runs together can keep or break.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use crate::drill::millis;
use crate::drill::report::{DrillReport, Event, NotCarriedOut, Run, Skipped, Summary};
use crate::error::{Exit, Failure};
use crate::quantity;

/// Why there is no XML.
#[derive(Debug, thiserror::Error)]
#[error("the drill cannot be written as JUnit XML")]
pub struct JunitError(#[from] SerializeError);

impl Failure for JunitError {
    fn exit(&self) -> Exit {
        Exit::Internal
    }
}

/// The document; whatever text is in the report, it is escaped.
pub fn junit(report: &DrillReport) -> Result<String, JunitError> {
    let mut junit = Report::new(report.name.as_str());
    junit.set_time(report.runs.iter().map(|run| run.took).sum());
    for summary in &report.summary {
        let mut suite = TestSuite::new(summary.scenario.as_str());
        suite.set_time(report.runs_of(&summary.scenario).map(|run| run.took).sum());
        suite.add_property(Property::new("seed", report.seed.to_string()));
        suite
            .add_properties(report.versions.iter().map(|(program, version)| Property::new(program.as_str(), version.as_str())));
        suite.add_test_cases(report.runs_of(&summary.scenario).map(of_run));
        suite.add_test_cases(report.not_carried_out.iter().filter(|e| e.scenario == summary.scenario).map(of_ended));
        suite.add_test_cases(summary.promised_outage.map(|promised| of_promise(summary, promised)));
        junit.add_test_suite(suite);
    }
    junit.add_test_suites(report.skipped.iter().map(left_out));
    Ok(junit.to_string()?)
}

fn left_out(skipped: &Skipped) -> TestSuite {
    let mut status = TestCaseStatus::skipped();
    status.set_message(skipped.reason.as_str());
    let mut case = TestCase::new("left out", status);
    case.set_classname(format!("drill.{}", skipped.scenario));
    let mut suite = TestSuite::new(skipped.scenario.as_str());
    suite.add_test_case(case);
    suite
}

fn of_run(run: &Run) -> TestCase {
    let status = if run.passed {
        TestCaseStatus::success()
    } else {
        let first = run.reasons.first().map_or("no reason was given", String::as_str);
        bad(NonSuccessKind::Failure, first, &run.reasons.join("\n"))
    };
    let mut case = TestCase::new(format!("run {}", run.number), status);
    case.set_classname(format!("drill.{}", run.scenario)).set_time(run.took);
    case.add_properties(run.outage.map(|outage| duration("outage_ms", outage)));
    case.add_properties(run.redundancy_restored.map(|restored| duration("redundancy_restored_ms", restored)));
    case.add_property(Property::new("lost", run.verdict.counts.lost.to_string()));
    case.add_properties(run.remarks.iter().map(|remark| Property::new("remark", remark)));
    let line = |event: &Event| format!("{:>9}  {}: {}\n", quantity::millis(event.at_ms), event.source, event.text);
    case.set_system_out(run.events.iter().map(line).collect::<String>());
    case
}

fn of_ended(ended: &NotCarriedOut) -> TestCase {
    let status = bad(NonSuccessKind::Error, "it was not carried out", &ended.reason);
    let mut case = TestCase::new(format!("run {}", ended.number), status);
    case.set_classname(format!("drill.{}", ended.scenario));
    case
}

fn of_promise(summary: &Summary, promised: Duration) -> TestCase {
    let status = summary
        .broken_promise
        .as_ref()
        .map_or_else(TestCaseStatus::success, |broken| bad(NonSuccessKind::Failure, broken, broken));
    let mut case = TestCase::new("promised outage", status);
    case.set_classname(format!("drill.{}", summary.scenario));
    case.add_property(duration("promised_outage_ms", promised));
    let measured = summary.outage.map(|s| [duration("p50_ms", s.p50), duration("p95_ms", s.p95), duration("max_ms", s.max)]);
    case.add_properties(measured.into_iter().flatten());
    case.add_property(Property::new("exceeded", summary.exceeded.to_string()));
    case
}

fn bad(kind: NonSuccessKind, message: &str, description: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(message);
    status.set_description(description);
    status
}

fn duration(name: &str, value: Duration) -> Property {
    Property::new(name, millis::of(value).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::drill::fixture;

    #[test]
    fn names_and_reasons_are_escaped() {
        let xml = junit(&fixture::report()).expect("XML");
        assert!(
            xml.contains(r#"<testsuites name="a &lt;drill&gt; &amp; &quot;more&quot;" tests="5" skipped="0" failures="2""#),
            "{xml}"
        );
        assert!(xml.contains(r#"<testsuite name="kill &lt;leader&gt;" tests="3""#), "{xml}");
        assert!(xml.contains("acknowledged, and not on &lt;b&gt;"), "{xml}");
        assert!(xml.contains(r#"<property name="outage_ms" value="4000"/>"#), "{xml}");
        assert!(xml.contains(r#"<failure message="the longest of 2 outages took 9.0 s"#), "{xml}");
        assert!(!xml.contains("<leader>") && !xml.contains('\u{1b}'), "{xml}");
    }

    #[test]
    fn what_was_not_carried_out_is_an_error() {
        let xml = junit(&fixture::interspersed()).expect("XML");
        assert!(
            xml.contains(r#"tests="6" skipped="0" failures="2" errors="1""#) || xml.contains(r#"errors="1" failures="2""#),
            "{xml}"
        );
        assert!(xml.contains(r#"<testsuite name="freeze &lt;all&gt;" tests="1""#), "{xml}");
        assert!(xml.contains(r#"<error message="it was not carried out">there is no &lt;leader&gt; now</error>"#), "{xml}");
    }

    #[test]
    fn what_was_left_out_is_a_skipped_test() {
        let skipped = Skipped { scenario: "slow-network".into(), reason: "no netem".into() };
        let xml = junit(&fixture::report().skipping(vec![skipped])).expect("XML");
        assert!(xml.contains(r#"tests="6" skipped="1" failures="2""#), "{xml}");
        assert!(xml.contains(r#"<skipped message="no netem"/>"#), "{xml}");
    }
}
