//! What is noted during a run, and what follows from it. Told by [`super::director`] and the acts it plays.

use std::collections::BTreeSet;
use std::time::Duration;

use super::report::{Event, Terms};
use super::workload::Clock;
use crate::quantity::whole_millis;

/// How Patroni's line about a promotion begins (patroni/ha.py).
const PROMOTED: &str = "promoted self to leader";

/// See the module.
#[derive(Debug)]
pub struct Notes {
    /// The workload's clock.
    pub clock: Clock,
    /// What happened.
    pub events: Vec<Event>,
    /// Why the run has failed.
    pub reasons: Vec<String>,
    /// When the first harm was done.
    pub injected: Option<Duration>,
    /// Members that may not be promoted, whatever happens.
    pub barred: BTreeSet<String>,
}

impl Notes {
    /// Nothing yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, events: Vec::new(), reasons: Vec::new(), injected: None, barred: BTreeSet::new() }
    }

    /// Something that happens now.
    pub fn tell(&mut self, text: impl Into<String>) {
        let at_ms = whole_millis(self.clock.now());
        self.events.push(Event { at_ms, source: "drill".into(), text: text.into() });
    }

    /// The first harm is the injection.
    pub fn harm(&mut self, text: impl Into<String>) {
        self.injected.get_or_insert(self.clock.now());
        self.tell(text);
    }

    /// When the last thing was done to the cluster: clients have to write after it.
    pub fn last(&self) -> Duration {
        Duration::from_millis(self.events.last().map_or(0, |event| event.at_ms))
    }
}

/// Reasons for every promotion of a member that was barred from it.
pub fn wrongly_promoted(events: &[Event], barred: &BTreeSet<String>) -> Vec<String> {
    let promoted = events.iter().filter(|event| event.text.contains(PROMOTED));
    let members = promoted.filter_map(|event| event.source.strip_prefix("patroni "));
    let wrong: BTreeSet<&str> = members.filter(|member| barred.contains(*member)).collect();
    wrong.into_iter().map(|member| format!("{member} was promoted, and must not be in this scenario")).collect()
}

/// Where the time went, from what guards and Patroni said.
pub fn terms(events: &[Event], injected: Duration, recovery: Option<Duration>) -> Terms {
    let first = |words: &str| {
        let at = events.iter().filter(|e| e.text.contains(words)).map(|e| Duration::from_millis(e.at_ms));
        at.filter(|at| *at >= injected).min().map(|at| at.saturating_sub(injected))
    };
    let (revoked, promoted) = (first("event=revoked"), first(PROMOTED));
    let detection = revoked.filter(|revoked| promoted.is_none_or(|promoted| *revoked <= promoted));
    let promotion = promoted.map(|at| at.saturating_sub(detection.unwrap_or_default()));
    Terms { detection, promotion, routing: recovery.zip(promoted).and_then(|(end, at)| end.checked_sub(at)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at_ms: u64, source: &str, text: &str) -> Event {
        Event { at_ms, source: source.into(), text: text.into() }
    }

    #[test]
    fn who_was_barred_and_promoted_is_named_once() {
        let promoted = "promoted self to leader by acquiring session lock";
        let events = [
            event(1, "patroni coordinator-3", promoted),
            event(2, "patroni coordinator-2", promoted),
            event(3, "patroni coordinator-3", promoted),
            event(4, "drill", "coordinator-1 leads"),
        ];
        let barred = ["coordinator-1", "coordinator-3"].map(str::to_owned).into();
        let reasons = wrongly_promoted(&events, &barred);
        assert_eq!(reasons, ["coordinator-3 was promoted, and must not be in this scenario"]);
        assert!(wrongly_promoted(&events, &BTreeSet::new()).is_empty());
    }

    #[test]
    fn an_outage_is_made_of_detection_promotion_and_routing() {
        let ms = Duration::from_millis;
        let events = [
            event(900, "patroni coordinator-1", "promoted self to leader by acquiring session lock"),
            event(1_400, "guard guard-1", "event=revoked reason=container_died group=0"),
            event(1_600, "patroni coordinator-2", "promoted self to leader by acquiring session lock"),
        ];
        let terms = terms(&events, ms(1_000), Some(ms(900)));
        assert_eq!(terms.detection, Some(ms(400)));
        assert_eq!(terms.promotion, Some(ms(200)));
        assert_eq!(terms.routing, Some(ms(300)), "from the promotion on");
    }
}
