//! What the settings of a topology let an event cost, in the words of a report: held beside what was measured. Plain data, made from
//! [`crate::topology::budget`] when a run is over, so that a report tells of the settings that were in force.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::millis;
use crate::topology::{Event, Topology, budget};

/// What an event may cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The event's key in `[failover.promise]`.
    pub event: String,
    /// On average.
    #[serde(rename = "expected_ms", with = "millis")]
    pub expected: Duration,
    /// In 95 of 100 cases not more than this.
    #[serde(rename = "p95_ms", with = "millis")]
    pub p95: Duration,
    /// At worst.
    #[serde(rename = "worst_ms", with = "millis")]
    pub worst: Duration,
    /// Until the old leader is taken for lost; `None` where no leadership changes.
    pub detection: Option<Span>,
    /// From there until writes are served: promotion and routing, which in part run side by side. `None` where no leadership changes.
    pub service: Option<Span>,
    /// What it is made of, one after the other.
    pub parts: Vec<Part>,
}

/// How long something takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// On average.
    #[serde(rename = "expected_ms", with = "millis")]
    pub expected: Duration,
    /// At worst.
    #[serde(rename = "worst_ms", with = "millis")]
    pub worst: Duration,
}

/// A part of what an event costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What is waited for.
    pub name: String,
    /// On average.
    #[serde(rename = "expected_ms", with = "millis")]
    pub expected: Duration,
    /// At worst.
    #[serde(rename = "worst_ms", with = "millis")]
    pub worst: Duration,
    /// What runs side by side within it; the slowest of them counts.
    pub beside: Vec<Part>,
}

impl Budget {
    /// Of an event; `None` when it has no end, or cannot happen in this topology.
    pub fn of(topology: &Topology, event: Event) -> Option<Self> {
        let budget = budget::of(topology, event);
        let phases = budget.phases();
        Some(Self {
            event: event.key().to_owned(),
            expected: budget.expected()?,
            p95: budget.p95()?,
            worst: budget.worst()?,
            detection: phases.map(|(before, _)| Span::of(before)),
            service: phases.map(|(_, after)| Span::of(after)),
            parts: budget.terms().iter().map(Part::of).collect(),
        })
    }
}

impl Span {
    fn of(terms: &[budget::Term]) -> Self {
        Self { expected: terms.iter().map(|term| term.expected).sum(), worst: terms.iter().map(|term| term.worst).sum() }
    }
}

impl Part {
    fn of(term: &budget::Term) -> Self {
        let beside = term.beside.iter().map(Self::of).collect();
        Self { name: term.name.to_owned(), expected: term.expected, worst: term.worst, beside }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::example;

    #[test]
    fn a_budget_falls_into_what_is_measured() {
        let topology = example("three-hosts");
        for event in Event::ALL {
            let budget = Budget::of(&topology, event).unwrap_or_else(|| panic!("{event} has an end here"));
            let phases = budget.detection.zip(budget.service);
            let leader_stays = [Event::StandbyLoss, Event::Vip].contains(&event);
            assert_eq!(phases.is_none(), leader_stays, "{event}");
            if let Some((detection, service)) = phases {
                assert!(!detection.worst.is_zero() && !service.worst.is_zero(), "{event}: {budget:#?}");
                assert_eq!(detection.expected + service.expected, budget.expected, "{event}");
            }
        }
        assert_eq!(Budget::of(&example("one-host"), Event::HostLoss), None);
    }
}
