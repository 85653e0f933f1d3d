//! What an event costs: the time for which writes fail, added up from the settings of everything that has to notice and to act.
//! Pure arithmetic, so that a promise can be refused before anything is deployed.
//!
//! `terms` are the parts, each with the settings that it follows from; `events` strings them together. Read by the check of
//! `[failover.promise]`, by `topology budget`, and by whoever measures an event and wants to know where the time went.
//!
//! The worst is that of each part at once, with one failure at a time and hosts that are not overloaded. What no setting bounds,
//! such as a promotion, is a measured or estimated number and says so.

mod events;
mod terms;

use std::time::Duration;

use serde::Serialize;

use super::limits::{GUARD_MARGIN, LOOP_WAIT_MIN, RETRY_TIMEOUT_MIN};
use super::model::Topology;
use super::promise::Event;

/// What one event costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// The event.
    pub event: Event,
    /// How it ends.
    pub end: End,
}

/// How an event ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Writes go on after these parts, one after the other.
    After(Vec<Term>),
    /// Nobody takes over, or no setting bounds how long it takes; why.
    Unbounded(String),
    /// It cannot happen in this topology; why.
    Absent(String),
}

/// A part of what an event costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Term {
    /// What is waited for.
    pub name: &'static str,
    /// On average.
    #[serde(rename = "expected_ms", serialize_with = "crate::quantity::as_millis")]
    pub expected: Duration,
    /// At worst.
    #[serde(rename = "worst_ms", serialize_with = "crate::quantity::as_millis")]
    pub worst: Duration,
    /// The settings it follows from, and where the rule is from.
    pub source: String,
    /// What runs side by side within it; the slowest of them counts.
    pub beside: Vec<Term>,
    /// What in the topology would shorten it, if anything.
    #[serde(skip)]
    pub lever: Option<Lever>,
}

/// A setting of the topology that shortens a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lever {
    /// `failover.loop_wait` is above its minimum.
    LoopWait,
    /// `failover.retry_timeout` is above its minimum.
    RetryTimeout,
    /// `failover.primary_start_timeout` is not zero.
    PrimaryStartTimeout,
    /// `guard.enabled` is false.
    Guard,
    /// `guard.margin` is above its minimum.
    Margin,
}

impl Lever {
    /// The topology with this setting at its best value.
    fn pulled(self, topology: &Topology) -> Topology {
        let mut better = topology.clone();
        match self {
            Self::LoopWait => better.failover.loop_wait = LOOP_WAIT_MIN,
            Self::RetryTimeout => better.failover.retry_timeout = RETRY_TIMEOUT_MIN,
            Self::PrimaryStartTimeout => better.failover.primary_start_timeout = Duration::ZERO,
            Self::Guard => better.guard.enabled = true,
            Self::Margin => better.guard.margin = GUARD_MARGIN.0,
        }
        better
    }

    /// What to do, as the end of a sentence.
    pub fn advice(self) -> &'static str {
        match self {
            Self::LoopWait => "lower failover.loop_wait",
            Self::RetryTimeout => "lower failover.retry_timeout",
            Self::PrimaryStartTimeout => "lower failover.primary_start_timeout",
            Self::Guard => "write guard.enabled = true",
            Self::Margin => "lower guard.margin",
        }
    }
}

/// What every event costs, in the order of [`Event::ALL`].
pub fn all(topology: &Topology) -> Vec<Budget> {
    Event::ALL.into_iter().map(|event| of(topology, event)).collect()
}

/// What an event costs.
pub fn of(topology: &Topology, event: Event) -> Budget {
    Budget { event, end: events::end(topology, event) }
}

impl Budget {
    /// Its parts in order; none when it has no end or cannot happen.
    pub fn terms(&self) -> &[Term] {
        match &self.end {
            End::After(terms) => terms,
            End::Unbounded(_) | End::Absent(_) => &[],
        }
    }

    /// On average; `None` when it has no end or cannot happen.
    pub fn expected(&self) -> Option<Duration> {
        self.sum(|term| term.expected)
    }

    /// At worst, rounded up to a tenth of a second; `None` when it has no end or cannot happen.
    pub fn worst(&self) -> Option<Duration> {
        self.sum(|term| term.worst).map(tenths_up)
    }

    /// In 95 of 100 cases not more than this, rounded up to a tenth of a second: what a promise is measured by. Parts are late
    /// independently of each other, so their deviations add up by squares; the distance between what is expected and the worst
    /// is taken for two standard deviations.
    pub fn p95(&self) -> Option<Duration> {
        let deviation = |term: &Term| (term.worst.saturating_sub(term.expected).as_secs_f64() / 2.0).powi(2);
        let sigma = self.terms().iter().map(deviation).sum::<f64>().sqrt();
        self.expected().map(|expected| tenths_up(expected + Duration::from_secs_f64(QUANTILE * sigma)))
    }

    /// Its parts until the old leader is taken for lost, and those from there until writes are served; `None` where no leadership
    /// changes.
    pub fn phases(&self) -> Option<(&[Term], &[Term])> {
        let promotes = |term: &Term| term.beside.iter().chain([term]).any(|term| term.name == terms::PROMOTES);
        let at = self.terms().iter().position(promotes)?;
        Some(self.terms().split_at(at))
    }

    fn sum(&self, of: fn(&Term) -> Duration) -> Option<Duration> {
        let terms = self.terms();
        (!terms.is_empty()).then(|| terms.iter().map(of).sum())
    }

    /// The setting that would shorten it most at its best value, and the 95th percentile with it; `None` when nothing in the topology would.
    pub fn lever(&self, topology: &Topology) -> Option<(Lever, Duration)> {
        let levers = self.terms().iter().flat_map(|term| term.beside.iter().chain([term])).filter_map(|term| term.lever);
        let tried = levers.filter_map(|lever| Some((lever, of(&lever.pulled(topology), self.event).p95()?)));
        tried.min_by_key(|(_, p95)| *p95)
    }
}

/// The 95th percentile of a normal distribution, in standard deviations.
const QUANTILE: f64 = 1.645;

/// A promise finer than that would pretend to know more than a sum of measured numbers can.
fn tenths_up(duration: Duration) -> Duration {
    let tenths = duration.as_micros().div_ceil(100_000);
    Duration::from_millis(u64::try_from(tenths).unwrap_or(u64::MAX).saturating_mul(100))
}

#[cfg(test)]
mod tests;
