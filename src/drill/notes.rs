//! What is noted during a run, and what follows from it. Told by [`super::director`] and the acts it plays.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::outage::Outages;
use super::report::{Event, Terms};
use super::workload::{Clock, Pace, Workload};
use crate::quantity::whole_millis;
use crate::topology::{GroupId, Topology};

/// How Patroni's line about a promotion begins (patroni/ha.py).
const PROMOTED: &str = "promoted self to leader";

/// How long clients may take until they are on schedule before a fault; a machine that they overload all the time gets it late.
pub(super) const STEADY: Duration = Duration::from_secs(5);

/// How long what was done may take to reach every client: who writes before that may not have met it yet, and the looks at the cluster
/// that follow would take the hosts' time while others are turned away. Several times the period of a client.
const REACHES: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug)]
pub struct Notes {
    /// The workload's clock.
    pub clock: Clock,
    /// How its clients keep up.
    pace: Pace,
    /// What happened.
    pub events: Vec<Event>,
    /// Why the run has failed.
    pub reasons: Vec<String>,
    /// When the first harm was done.
    pub injected: Option<Duration>,
    /// When whatever was done to the cluster last had been done.
    done: Duration,
    /// Members that may not be promoted, whatever happens.
    pub barred: BTreeSet<String>,
}

impl Notes {
    /// Nothing yet of what its clients meet.
    pub fn new(workload: &Workload) -> Self {
        Self {
            clock: workload.clock(),
            pace: workload.pace(),
            events: Vec::new(),
            reasons: Vec::new(),
            injected: None,
            done: Duration::ZERO,
            barred: BTreeSet::new(),
        }
    }

    /// Something that happens now.
    pub fn tell(&mut self, text: impl Into<String>) {
        self.done = self.clock.now();
        self.saw(text);
    }

    /// What the cluster lacks while it is waited for; nothing is done to it.
    pub fn lack(&mut self, missing: &[String]) {
        self.saw(format!("not whole yet: {}", missing.join("; ")));
    }

    fn saw(&mut self, text: impl Into<String>) {
        let at_ms = whole_millis(self.clock.now());
        self.events.push(Event { at_ms, source: "drill".into(), text: text.into() });
    }

    /// The first harm is the injection. It is for clients that are on schedule: finding whom to harm took time from them, and who is late
    /// already would be late for longer.
    pub async fn harm(&mut self, text: impl Into<String>) {
        if self.injected.is_none() {
            self.pace.caught_up(STEADY).await;
        }
        self.injected.get_or_insert(self.clock.now());
        self.tell(text);
    }

    /// What was told last is done now; it took its time.
    pub fn done(&mut self) {
        self.done = self.clock.now();
    }

    /// When the last thing that was done to the cluster has reached every client: they have to write after it.
    pub fn reached(&self) -> Duration {
        self.done + REACHES
    }
}

/// Reasons for every promotion of a member that was barred from it.
pub fn wrongly_promoted(events: &[Event], barred: &BTreeSet<String>) -> Vec<String> {
    let promoted = events.iter().filter(|event| event.text.contains(PROMOTED));
    let members = promoted.filter_map(|event| event.source.strip_prefix("patroni "));
    let wrong: BTreeSet<&str> = members.filter(|member| barred.contains(*member)).collect();
    wrong.into_iter().map(|member| format!("{member} was promoted, and must not be in this scenario")).collect()
}

/// Reasons for every member that was barred from a promotion, and whose log does not tell whether it was promoted.
pub fn unread(unread: &BTreeMap<String, String>, barred: &BTreeSet<String>) -> Vec<String> {
    let silent = unread.iter().filter(|(member, _)| barred.contains(*member));
    silent.map(|(member, why)| format!("{member} must not be promoted, and its log was not read: {why}")).collect()
}

/// Where the time of the client with the longest outage went, from what guards and Patroni said. It waited for the leaders of its own
/// group and of the coordinators, or of all groups when it moves money between them; the last of these promotions is what it waited
/// for last.
pub fn terms(events: &[Event], injected: Duration, outages: &Outages, topology: &Topology) -> Terms {
    // Not who was served last: on a busy machine others pause for a moment when all is over, such as while a member is rewound.
    let Some(worst) = outages.worst() else { return Terms::default() };
    let anywhere = worst.group == GroupId::COORDINATOR.to_string();
    let concerns = |group: GroupId| anywhere || group.is_coordinator() || group.to_string() == worst.group;
    let promotions: Vec<(Duration, GroupId)> = events
        .iter()
        .filter(|event| event.text.contains(PROMOTED))
        .filter_map(|event| {
            let member = event.source.strip_prefix("patroni ")?;
            let group = topology.groups.iter().find(|group| group.everyone().any(|m| m.name.as_str() == member))?;
            Some((Duration::from_millis(event.at_ms).checked_sub(injected)?, group.id))
        })
        .collect();
    let in_time = |at: Duration| worst.recovery.is_none_or(|end| at <= end);
    let awaited = promotions.iter().filter(|(at, group)| in_time(*at) && concerns(*group)).max();
    let Some((promoted, group)) = awaited.copied() else { return Terms::default() };
    // A leader that was promoted meanwhile, and lost too, was revoked after that.
    let before = promotions.iter().filter(|(at, of)| *of == group && *at < promoted).map(|(at, _)| *at).max();
    let word = format!("group={}", group.0);
    let revoked = events
        .iter()
        .filter(|event| event.text.contains("event=revoked") && event.text.split(' ').any(|said| said == word))
        .filter_map(|event| Duration::from_millis(event.at_ms).checked_sub(injected))
        .filter(|at| *at <= promoted && before.is_none_or(|before| *at > before));
    let detection = revoked.min();
    Terms {
        group: Some(group.to_string()),
        detection,
        promotion: Some(promoted.saturating_sub(detection.unwrap_or_default())),
        routing: worst.recovery.and_then(|end| end.checked_sub(promoted)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::outage::{ClientOutage, Gap};
    use crate::topology::example;

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
    fn what_was_not_read_does_not_pass() {
        let unread_logs = ["coordinator-2", "guard-1"].map(|name| (name.to_owned(), "gone".to_owned())).into();
        let barred = BTreeSet::from(["coordinator-2".to_owned(), "coordinator-3".to_owned()]);
        let reasons = unread(&unread_logs, &barred);
        assert_eq!(reasons, ["coordinator-2 must not be promoted, and its log was not read: gone"]);
        assert!(unread(&unread_logs, &BTreeSet::new()).is_empty());
    }

    const PROMOTED: &str = "promoted self to leader by acquiring session lock";

    /// A client whose outage began so long after the injection, which is at one second, and ended, if it did.
    fn paused(group: &str, from: u64, recovery: Option<u64>) -> ClientOutage {
        let injected = Duration::from_secs(1);
        let recovery = recovery.map(Duration::from_millis);
        let until = injected + recovery.unwrap_or(Duration::from_secs(9));
        let gap = Gap { from: injected + Duration::from_millis(from), until, closed: recovery.is_some() };
        ClientOutage { client: 0, group: group.into(), outage: Some(gap), recovery, failed: 0, unknown: 0, gaps: vec![gap] }
    }

    fn served(group: &str, recovery: Option<u64>) -> ClientOutage {
        paused(group, 0, recovery)
    }

    fn told(events: &[Event], clients: Vec<ClientOutage>) -> (Option<String>, [Option<u64>; 3]) {
        let terms = terms(events, Duration::from_secs(1), &Outages { clients }, &example("three-hosts"));
        let millis = [terms.detection, terms.promotion, terms.routing].map(|term| term.map(whole_millis));
        (terms.group, millis)
    }

    #[test]
    fn an_outage_is_made_of_detection_promotion_and_routing() {
        let events = [
            event(900, "patroni coordinator-1", PROMOTED),
            event(1_400, "guard guard-1", "event=revoked reason=container_died group=0 holder=coordinator-1"),
            event(1_600, "patroni coordinator-2", PROMOTED),
            event(3_000, "patroni coordinator-1", PROMOTED),
        ];
        let coordinator = Some("coordinator".to_owned());
        let terms = told(&events, vec![served("shard-1", Some(700)), served("shard-2", Some(900))]);
        assert_eq!(terms, (coordinator.clone(), [Some(400), Some(200), Some(300)]), "promoted before it was served");
        let unserved = told(&events[..3], vec![served("shard-1", None)]);
        assert_eq!(unserved, (coordinator.clone(), [Some(400), Some(200), None]));
        let given_back = told(&[event(1_600, "patroni coordinator-2", PROMOTED)], vec![served("shard-1", Some(900))]);
        assert_eq!(given_back, (coordinator, [None, Some(600), Some(300)]));
        assert_eq!(told(&events, vec![]), (None, [None; 3]));
    }

    #[test]
    fn of_several_groups_that_one_is_told_of_which_was_waited_for() {
        let events = [
            event(1_300, "guard guard-1", "event=revoked reason=unrenewed group=2 holder=worker-2-1"),
            event(1_400, "patroni worker-2-2", PROMOTED),
            event(1_500, "guard guard-1", "event=revoked reason=unrenewed group=0 holder=coordinator-1"),
            event(1_600, "patroni coordinator-2", PROMOTED),
            event(1_700, "guard guard-1", "event=revoked reason=unrenewed group=1 holder=worker-1-1"),
            event(2_000, "patroni worker-1-2", PROMOTED),
        ];
        let clients = |last: &str| vec![served("shard-2", Some(700)), served(last, Some(1_100))];
        assert_eq!(told(&events, clients("shard-1")), (Some("shard-1".into()), [Some(700), Some(300), Some(100)]));
        assert_eq!(told(&events, clients("shard-3")), (Some("coordinator".into()), [Some(500), Some(100), Some(500)]));
        // A client of the bank.
        assert_eq!(told(&events, clients("coordinator")).0, Some("shard-1".into()));
    }

    #[test]
    fn a_moment_that_others_wait_later_is_not_what_is_told_of() {
        let events = [
            event(1_400, "guard guard-1", "event=revoked reason=container_died group=1 holder=worker-1-1"),
            event(1_500, "patroni worker-1-2", PROMOTED),
        ];
        let clients = vec![
            served("shard-1", Some(1_600)),
            paused("shard-2", 6_900, Some(7_600)),
            paused("coordinator", 7_000, Some(7_500)),
        ];
        assert_eq!(told(&events, clients), (Some("shard-1".into()), [Some(400), Some(100), Some(1_100)]));
    }

    #[test]
    fn of_two_losses_the_last_one_is_told_of() {
        let events = [
            event(1_300, "guard guard-1", "event=revoked reason=container_died group=0"),
            event(1_600, "patroni coordinator-2", PROMOTED),
            event(4_000, "guard guard-2", "event=revoked reason=container_died group=0"),
            event(4_200, "patroni coordinator-3", PROMOTED),
        ];
        let terms = told(&events, vec![served("shard-1", Some(3_500))]);
        assert_eq!(terms.1, [Some(3_000), Some(200), Some(300)]);
    }
}
