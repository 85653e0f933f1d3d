//! `[guard]`: whether lease guards run, and how long they wait beyond Patroni's own bound.

use std::time::Duration;

use crate::topology::file::TopologyFile;
use crate::topology::finding::Finding;
use crate::topology::limits::GUARD_MARGIN;
use crate::topology::model::{Guard, Timings};
use crate::topology::span::At;
use crate::topology::timing::{GUARD_LOOK, guard_is_first};
use crate::topology::units::{parse_duration, show_duration};

/// Room for a renewal on its way to etcd, and little beside the seconds that are waited anyway.
const MARGIN: Duration = Duration::from_millis(300);

/// Reads the section.
pub(super) fn read(file: &TopologyFile, timings: &Timings, findings: &mut Vec<Finding>) -> Guard {
    let section = &file.guard;
    let enabled = section.enabled.as_ref().is_none_or(|written| written.value);
    let margin = section.margin.as_ref().map_or(MARGIN, |written| margin(written, findings));
    let guard = Guard { enabled, margin };
    if !findings.iter().any(Finding::is_error) {
        too_late(file, &guard, timings, findings);
    }
    guard
}

fn margin(written: &At<String>, findings: &mut Vec<Finding>) -> Duration {
    let margin = match parse_duration(written) {
        Ok(margin) => margin,
        Err(help) => {
            findings.push(
                Finding::error("duration", written.span.clone(), format!("{:?} is not a duration", written.value))
                    .label("margin is a duration")
                    .help(help),
            );
            return MARGIN;
        }
    };
    let (least, most) = GUARD_MARGIN;
    if !(least..=most).contains(&margin) {
        let why = if margin < least {
            "a guard sees renewals some 100 ms late: it would depose leaders that are well"
        } else {
            "writes wait that long for a new leader"
        };
        findings.push(
            Finding::error("guard-margin", written.span.clone(), format!("margin cannot be {}", show_duration(margin)))
                .label(why)
                .help(format!(
                    "write \"{}\" to \"{}\"; the default is \"{}\"",
                    show_duration(least),
                    show_duration(most),
                    show_duration(MARGIN)
                )),
        );
    }
    margin
}

/// A guard that would act when the key has expired already.
fn too_late(file: &TopologyFile, guard: &Guard, timings: &Timings, findings: &mut Vec<Finding>) {
    if !guard.enabled || guard_is_first(guard, timings) {
        return;
    }
    let failover = &file.failover;
    let written = [&file.guard.margin, &failover.retry_timeout, &failover.loop_wait, &failover.ttl];
    let span = written.into_iter().flatten().next().map(|at| at.span.clone());
    let sum = show_duration(guard.revokes_after(timings) + GUARD_LOOK);
    findings.push(
        Finding::warning("guard-too-late", span, "the lease guards come too late to help")
            .label(format!("they would act after {sum}, and a ttl of {} is over by then", show_duration(timings.ttl)))
            .help("raise failover.ttl, or lower failover.retry_timeout"),
    );
}
