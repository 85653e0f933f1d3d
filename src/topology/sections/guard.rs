//! `[guard]`: whether lease guards run, and how long they wait beyond Patroni's own bound.

use std::time::Duration;

use crate::topology::file::GuardSection;
use crate::topology::finding::Finding;
use crate::topology::limits::GUARD_MARGIN;
use crate::topology::model::Guard;
use crate::topology::units::{parse_duration, show_duration};

/// Ten times what an answer of etcd takes on a busy host, and little beside the seconds that are waited anyway.
const MARGIN: Duration = Duration::from_millis(300);

/// Reads the section.
pub(super) fn read(section: &GuardSection, findings: &mut Vec<Finding>) -> Guard {
    let enabled = section.enabled.as_ref().is_none_or(|written| written.value);
    let Some(written) = &section.margin else { return Guard { enabled, margin: MARGIN } };
    let margin = match parse_duration(written) {
        Ok(margin) => margin,
        Err(help) => {
            findings.push(
                Finding::error("duration", written.span.clone(), format!("{:?} is not a duration", written.value))
                    .label("margin is a duration")
                    .help(help),
            );
            return Guard { enabled, margin: MARGIN };
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
                    "write {} to {}; the default is \"{}\"",
                    show_duration(least),
                    show_duration(most),
                    show_duration(MARGIN)
                )),
        );
    }
    Guard { enabled, margin }
}
