//! `[failover]`: Patroni's timings. What Patroni would silently adjust is refused here, since the adjusted cluster would keep
//! another promise than the one that is written.

use std::ops::Range;
use std::time::Duration;

use crate::topology::file::FailoverSection;
use crate::topology::finding::Finding;
use crate::topology::limits::{LOOP_WAIT_MIN, RETRY_TIMEOUT_MIN, TTL_MIN};
use crate::topology::model::Timings;
use crate::topology::span::At;
use crate::topology::units::{parse_duration, parse_size, show_duration};

/// Beyond this a value is surely a wrong unit.
const LONGEST: Duration = Duration::from_secs(3600);

/// A value with the place it was written at, if it was.
struct Timing {
    value: Duration,
    span: Option<Range<usize>>,
}

/// Reads the timings.
pub(super) fn read(section: &FailoverSection, findings: &mut Vec<Finding>) -> Timings {
    let before = findings.len();
    let ttl = timing(section.ttl.as_ref(), "ttl", TTL_MIN, TTL_MIN, findings);
    let loop_wait = timing(section.loop_wait.as_ref(), "loop_wait", LOOP_WAIT_MIN, LOOP_WAIT_MIN, findings);
    let retry = timing(section.retry_timeout.as_ref(), "retry_timeout", RETRY_TIMEOUT_MIN, RETRY_TIMEOUT_MIN, findings);
    let start =
        timing(section.primary_start_timeout.as_ref(), "primary_start_timeout", Duration::ZERO, Duration::ZERO, findings);
    if findings.len() == before {
        patroni_rule(&ttl, &loop_wait, &retry, findings);
    }
    let maximum_lag_on_failover = match &section.maximum_lag_on_failover {
        None => 1 << 20,
        Some(written) => parse_size(written).unwrap_or_else(|help| {
            findings.push(
                Finding::error("size", written.span.clone(), format!("{:?} is not a size", written.value))
                    .label("maximum_lag_on_failover is a number of bytes")
                    .help(help),
            );
            0
        }),
    };
    Timings {
        ttl: ttl.value,
        loop_wait: loop_wait.value,
        retry_timeout: retry.value,
        primary_start_timeout: start.value,
        maximum_lag_on_failover,
    }
}

fn timing(written: Option<&At<String>>, key: &str, default: Duration, min: Duration, findings: &mut Vec<Finding>) -> Timing {
    let Some(written) = written else { return Timing { value: default, span: None } };
    let span = written.span.clone();
    let value = match parse_duration(written) {
        Ok(value) => value,
        Err(help) => {
            findings.push(
                Finding::error("duration", span.clone(), format!("{:?} is not a duration", written.value))
                    .label(format!("{key} is a duration"))
                    .help(help),
            );
            return Timing { value: default, span: Some(span) };
        }
    };
    let shown = show_duration(value);
    if value.subsec_nanos() != 0 {
        findings.push(
            Finding::error("patroni-whole-seconds", span.clone(), format!("{key} cannot be {shown}"))
                .label("Patroni counts in whole seconds")
                .help(format!("write \"{}s\"", value.as_secs().max(min.as_secs()))),
        );
    } else if value < min {
        findings.push(
            Finding::error("patroni-minimum", span.clone(), format!("{key} cannot be {shown}"))
                .label(format!("Patroni's minimum is {}, and it would silently use that", show_duration(min)))
                .help(format!("write \"{}\" or more", show_duration(min))),
        );
    } else if value > LONGEST {
        findings.push(
            Finding::error("duration-too-long", span.clone(), format!("{key} cannot be {shown}"))
                .label("clients would wait that long for a new leader")
                .help(format!("the default is \"{}\"", show_duration(default))),
        );
    }
    Timing { value, span: Some(span) }
}

/// loop_wait + 2 * retry_timeout <= ttl, or a leader could lose its key while it still retries.
fn patroni_rule(ttl: &Timing, loop_wait: &Timing, retry: &Timing, findings: &mut Vec<Finding>) {
    let need = loop_wait.value + 2 * retry.value;
    if need <= ttl.value {
        return;
    }
    let parts = [("ttl", ttl), ("retry_timeout", retry), ("loop_wait", loop_wait)];
    let mut written = parts.iter().filter_map(|(key, t)| t.span.clone().map(|span| (*key, t, span)));
    let Some((_, _, span)) = written.next() else { return };
    let sum = format!("{} + 2 · {} = {}", show_duration(loop_wait.value), show_duration(retry.value), show_duration(need));
    let mut finding =
        Finding::error("patroni-timings", span, "the timings break Patroni's rule loop_wait + 2 · retry_timeout ≤ ttl")
            .label(format!("{sum}, more than a ttl of {}", show_duration(ttl.value)))
            .help(format!(
                "write ttl = \"{}\", or lower retry_timeout; Patroni would silently adjust them",
                show_duration(need)
            ));
    for (key, timing, span) in written {
        finding = finding.also(span, format!("{key} is {}", show_duration(timing.value)));
    }
    findings.push(finding);
}
