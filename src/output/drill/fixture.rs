//! A drill with everything in it that a view shows, and names that a careless view would not survive.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::drill::budget::{Budget, Part, Span};
use crate::drill::outage::{ClientOutage, Gap, LeaderSpan, Outages};
use crate::drill::report::{DrillReport, Event, NotCarriedOut, Outcome, Promises, Run, Terms};
use crate::drill::verdict::{Finding, Rule};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Three runs of two scenarios; the second run fails.
pub(crate) fn report() -> DrillReport {
    of(runs().into_iter().map(Ok).collect())
}

/// The same runs, and between them one that came to no end.
pub(crate) fn interspersed() -> DrillReport {
    let ended = NotCarriedOut { scenario: "freeze <all>".into(), number: 1, reason: "there is no <leader> now".into() };
    let mut outcomes: Vec<Outcome> = runs().into_iter().map(Ok).collect();
    outcomes.insert(1, Err(ended));
    of(outcomes)
}

fn of(outcomes: Vec<Outcome>) -> DrillReport {
    let versions = BTreeMap::from([("postgresql".to_owned(), "17.6 <\"'&>".to_owned())]);
    DrillReport::new("a <drill> & \"more\"", 42, jiff::Timestamp::UNIX_EPOCH, versions, outcomes)
}

fn runs() -> Vec<Run> {
    let mut bad = run("kill <leader>", 2, 9000);
    bad.verdict.counts.lost = 1;
    bad.verdict.findings.push(Finding::about(Rule::Lost, "worker-1", "acknowledged, and not on <b>", vec![(1 << 40) | 3]));
    vec![run("kill <leader>", 1, 4000).judged(), bad.judged(), run("cut a link", 1, 700).judged()]
}

fn budget() -> Budget {
    let part =
        |name: &str, expected, worst, beside| Part { name: name.into(), expected: ms(expected), worst: ms(worst), beside };
    Budget {
        event: "container_kill".into(),
        expected: ms(900),
        p95: ms(1_600),
        worst: ms(2_000),
        detection: Some(Span { expected: ms(500), worst: ms(1_000) }),
        service: Some(Span { expected: ms(400), worst: ms(1_000) }),
        parts: vec![
            part("guard <sees>", 500, 1_000, vec![]),
            part("new leader", 400, 1_000, vec![part("promotion", 400, 1_000, vec![])]),
        ],
    }
}

fn run(scenario: &str, number: u32, outage: u64) -> Run {
    let gap = Gap { from: ms(9950), until: ms(9950 + outage), closed: true };
    let client = |client| ClientOutage {
        client,
        group: "worker-1".into(),
        outage: Some(gap),
        recovery: Some(ms(outage - 50)),
        failed: 12,
        unknown: 1,
        gaps: vec![gap],
    };
    let span = |timeline, server: &str, from, until| LeaderSpan {
        group: "worker-1".into(),
        timeline,
        server: server.into(),
        member: (timeline == 1).then(|| "worker-1-1".into()),
        from: ms(from),
        until: ms(until),
    };
    let event = |at_ms, source: &str, text: &str| Event { at_ms, source: source.into(), text: text.into() };
    Run {
        scenario: scenario.into(),
        number,
        took: ms(40_000),
        injected: ms(10_000),
        terms: Terms {
            group: Some("worker-1".into()),
            detection: Some(ms(outage / 2)),
            promotion: Some(ms(outage / 4)),
            routing: Some(ms(outage / 4 - 100)),
        },
        budget: (number == 1).then(budget),
        promise: Promises { outage: Some(ms(5000)), ..Promises::default() },
        redundancy_restored: Some(ms(30_000)),
        outages: Outages { clients: vec![client(0), client(1)] },
        leaders: vec![span(1, "10.0.0.1", 10, 9950), span(2, "10.0.0.<2>", 9950 + outage, 39_990)],
        events: vec![
            event(12_000, "patroni worker-1-b", "promoted \u{1b}[1mitself\u{1b}[0m & </script>"),
            event(10_000, "drill", "killed <worker-1-a>"),
        ],
        ..Run::default()
    }
}
