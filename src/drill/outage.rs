//! What clients missed. Pure arithmetic over a history, and over repeated runs.
//!
//! An outage is what one client saw: from its last acknowledged write before to its first acknowledged write after. The
//! clock of a gap is that of the acknowledgements, so it is longer than the cluster's own pause by up to one period of the
//! client's schedule (two for a client that also reads) and one round trip, never shorter. Reads do not count: a leader that
//! takes no writes may serve them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::history::{History, Operation, Outcome};
use super::millis;
use crate::quantity::nearest_rank;

/// A pause that is shown; shorter ones are a schedule's period or a busy machine.
const NOTICEABLE: Duration = Duration::from_millis(250);

/// A time without an acknowledged write, counted from the start of the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The last acknowledgement before; without one, when the client first wanted to write.
    #[serde(rename = "from_ms", with = "millis")]
    pub from: Duration,
    /// The first acknowledgement after; without one, the end of the workload.
    #[serde(rename = "until_ms", with = "millis")]
    pub until: Duration,
    /// Whether it ended with an acknowledgement. If not, its length is only a lower bound.
    pub closed: bool,
}

impl Gap {
    /// How long it was.
    pub fn length(&self) -> Duration {
        self.until.saturating_sub(self.from)
    }
}

/// What a client saw of a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientOutage {
    /// Its index.
    pub client: u32,
    /// The group of its data.
    pub group: String,
    /// The longest of its gaps that ended after the injection; `None` when it never wrote anything after it, nor wanted to.
    pub outage: Option<Gap>,
    /// From the injection to the acknowledgement that ended the outage, or simply to the next one where the outage is not
    /// longer than a schedule's own pauses; `None` when none came.
    #[serde(rename = "recovery_ms", with = "millis::option")]
    pub recovery: Option<Duration>,
    /// Writes that surely failed, in all the workload.
    pub failed: u64,
    /// Writes of unknown outcome, in all the workload.
    pub unknown: u64,
    /// Every pause above a quarter of a second, in order, for drawing.
    pub gaps: Vec<Gap>,
}

/// What all clients saw of a fault.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outages {
    /// Each that wanted to write, by its index.
    pub clients: Vec<ClientOutage>,
}

impl Outages {
    /// The headline: the longest outage that any client saw.
    pub fn longest(&self) -> Option<Duration> {
        self.worst().and_then(|client| Some(client.outage?.length()))
    }

    /// The client that saw it.
    pub fn worst(&self) -> Option<&ClientOutage> {
        self.clients.iter().max_by_key(|client| client.outage.map(|gap| gap.length()))
    }

    /// Until the last client was served again, counted from the injection; `None` when one is not, or nobody was there.
    pub fn recovery(&self) -> Option<Duration> {
        self.clients.iter().map(|client| client.recovery).collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Whether every client was served again.
    pub fn recovered(&self) -> bool {
        self.recovery().is_some()
    }

    /// Writes that surely failed, over all clients.
    pub fn failed(&self) -> u64 {
        self.clients.iter().map(|client| client.failed).sum()
    }

    /// Writes of unknown outcome, over all clients.
    pub fn unknown(&self) -> u64 {
        self.clients.iter().map(|client| client.unknown).sum()
    }
}

/// The outages of all clients; `injected` is counted from the start of the workload.
pub fn outages(history: &History, injected: Duration) -> Outages {
    let mut clients: BTreeMap<u32, Vec<&Operation>> = BTreeMap::new();
    for op in history.operations.iter().filter(|op| op.call.action.writes()) {
        clients.entry(op.call.client).or_default().push(op);
    }
    let end = Duration::from_nanos(history.ended_ns);
    Outages { clients: clients.into_iter().map(|(client, ops)| of_client(client, &ops, injected, end)).collect() }
}

fn of_client(client: u32, operations: &[&Operation], injected: Duration, end: Duration) -> ClientOutage {
    let gaps = gaps(operations, end);
    let after = gaps.iter().filter(|gap| gap.until > injected || !gap.closed);
    let outage = after.clone().max_by_key(|gap| (gap.length(), gap.closed)).copied();
    let ended = outage.filter(|gap| gap.length() >= NOTICEABLE).or_else(|| after.copied().next());
    let count = |wanted: fn(&Outcome) -> bool| operations.iter().filter(|op| wanted(&op.outcome)).count() as u64;
    ClientOutage {
        client,
        group: operations.first().map(|op| op.call.group.clone()).unwrap_or_default(),
        outage,
        recovery: ended.filter(|gap| gap.closed).map(|gap| gap.until.saturating_sub(injected)),
        failed: count(|outcome| matches!(outcome, Outcome::Fail { .. })),
        unknown: count(|outcome| matches!(outcome, Outcome::Unknown { .. })),
        gaps: gaps.into_iter().filter(|gap| gap.length() >= NOTICEABLE).collect(),
    }
}

/// All gaps between acknowledgements, and the open one at the end of a client that was last told no, or nothing.
fn gaps(operations: &[&Operation], end: Duration) -> Vec<Gap> {
    let Some(first) = operations.iter().map(|op| op.call.due_ns).min() else { return Vec::new() };
    let mut served: Vec<u64> = operations.iter().filter(|op| op.outcome.is_ok()).filter_map(|op| op.completed_ns).collect();
    served.sort_unstable();
    let mut from = Duration::from_nanos(first);
    let mut gaps = Vec::with_capacity(served.len() + 1);
    for at in served.into_iter().map(Duration::from_nanos) {
        gaps.push(Gap { from, until: at, closed: true });
        from = at;
    }
    if operations.iter().max_by_key(|op| op.call.sequence).is_some_and(|last| !last.outcome.is_ok()) {
        gaps.push(Gap { from, until: end, closed: false });
    }
    gaps
}

/// Who acknowledged a group's writes, from when on until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderSpan {
    /// The group.
    pub group: String,
    /// Its timeline.
    pub timeline: u32,
    /// The server's address.
    pub server: String,
    /// Its member, where only one is known to have had that address.
    #[serde(default)]
    pub member: Option<String>,
    /// The first acknowledgement, counted from the start of the workload.
    #[serde(rename = "from_ms", with = "millis")]
    pub from: Duration,
    /// The last one.
    #[serde(rename = "until_ms", with = "millis")]
    pub until: Duration,
}

/// Members by their addresses: a new container of a member has new ones.
#[derive(Debug, Default)]
pub struct Addresses(BTreeMap<String, BTreeSet<String>>);

impl Addresses {
    /// One more.
    pub fn learn(&mut self, address: String, member: &str) {
        self.0.entry(address).or_default().insert(member.to_owned());
    }

    fn member(&self, address: &str) -> Option<String> {
        let members = self.0.get(address)?;
        members.first().filter(|_| members.len() == 1).cloned()
    }
}

/// The leaders of each group, as the acknowledgements name them: by group, then by time.
pub fn leaders(history: &History, addresses: &Addresses) -> Vec<LeaderSpan> {
    let mut told: BTreeMap<&str, Vec<(u64, u32, &str)>> = BTreeMap::new();
    for op in &history.operations {
        if let (Outcome::Ok { timeline: Some(timeline), server, .. }, Some(at)) = (&op.outcome, op.completed_ns) {
            let server = server.as_deref().unwrap_or_default();
            told.entry(&op.call.group).or_default().push((at, *timeline, server));
        }
    }
    let mut spans: Vec<LeaderSpan> = Vec::new();
    for (group, mut told) in told {
        told.sort_unstable();
        for (at, timeline, server) in told {
            let at = Duration::from_nanos(at);
            match spans.last_mut() {
                Some(last) if last.group == group && last.timeline == timeline && last.server == server => last.until = at,
                _ => {
                    let (group, server) = (group.to_owned(), server.to_owned());
                    let member = addresses.member(&server);
                    spans.push(LeaderSpan { group, timeline, server, member, from: at, until: at });
                }
            }
        }
    }
    spans
}

/// A quantity over repeated runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// How many runs.
    pub n: u64,
    /// The median.
    #[serde(rename = "p50_ms", with = "millis")]
    pub p50: Duration,
    /// The 95th percentile: with less than twenty runs, the longest.
    #[serde(rename = "p95_ms", with = "millis")]
    pub p95: Duration,
    /// The longest.
    #[serde(rename = "max_ms", with = "millis")]
    pub max: Duration,
}

impl Statistics {
    /// Over these runs; `None` over none.
    pub fn of(values: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut sorted: Vec<Duration> = values.into_iter().collect();
        sorted.sort_unstable();
        let of = |percent| nearest_rank(&sorted, percent);
        Some(Self { n: sorted.len() as u64, p50: of(50)?, p95: of(95)?, max: of(100)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::history::{Action, Invocation, id};

    /// A client's writes: when they were due and ended, in milliseconds, and how.
    fn history(client: u32, writes: &[(u64, u64, char)]) -> History {
        let operations = (0..).zip(writes).map(|(sequence, (due, end, outcome))| {
            let call = Invocation {
                id: id(client, sequence),
                client,
                sequence,
                group: "coordinator".into(),
                action: Action::Insert,
                due_ns: due * 1_000_000,
                invoked_ns: due * 1_000_000,
            };
            let reason = String::new();
            let outcome = match outcome {
                'o' => Outcome::Ok { timeline: Some(1), server: Some("a".into()), system: None, items: None },
                'f' => Outcome::Fail { reason },
                _ => Outcome::Unknown { reason },
            };
            Operation { call, completed_ns: Some(end * 1_000_000), outcome }
        });
        let operations: Vec<_> = operations.collect();
        let ended_ns = operations.iter().filter_map(|op| op.completed_ns).max().unwrap_or(0);
        History { operations, ended_ns, cut_off: false }
    }

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn an_outage_is_the_longest_pause_that_ends_after_the_injection() {
        let slow_start = [(0, 5, 'o'), (50, 3000, 'o'), (100, 3010, 'o')];
        let fault = [(3100, 3600, 'u'), (3150, 4100, 'f'), (3200, 4300, 'o'), (3250, 4310, 'o')];
        let writes = [&slow_start[..], &fault[..]].concat();
        let seen = outages(&history(1, &writes), ms(3050));
        let client = &seen.clients[0];
        assert_eq!(client.outage, Some(Gap { from: ms(3010), until: ms(4300), closed: true }));
        assert_eq!(client.recovery, Some(ms(1250)));
        assert_eq!((client.failed, client.unknown), (1, 1));
        assert_eq!(client.gaps.len(), 2, "the slow start is drawn, too");
        assert_eq!((seen.longest(), seen.recovery()), (Some(ms(1290)), Some(ms(1250))));
    }

    #[test]
    fn who_is_never_served_again_has_an_outage_without_end() {
        let seen = outages(&history(1, &[(0, 5, 'o'), (50, 1000, 'f'), (100, 2000, 'f')]), ms(20));
        assert_eq!(seen.clients[0].outage, Some(Gap { from: ms(5), until: ms(2000), closed: false }));
        assert!(!seen.recovered());
        let never = outages(&history(1, &[(7, 1000, 'f')]), ms(20));
        assert_eq!(never.clients[0].outage, Some(Gap { from: ms(7), until: ms(1000), closed: false }));
        let stopped = outages(&history(1, &[(0, 5, 'o')]), ms(20));
        assert_eq!(stopped.clients[0].outage, None, "the end of the workload is no outage");
    }

    #[test]
    fn who_did_not_notice_the_fault_was_served_by_the_next_acknowledgement() {
        let seen = outages(&history(1, &[(0, 5, 'o'), (50, 55, 'o'), (100, 105, 'o'), (150, 200, 'o')]), ms(60));
        assert_eq!((seen.longest(), seen.recovery()), (Some(ms(95)), Some(ms(45))));
    }

    #[test]
    fn the_headline_is_the_longest_over_all_clients() {
        let mut both = history(1, &[(0, 5, 'o'), (50, 105, 'o')]);
        both.operations.extend(history(2, &[(0, 5, 'o'), (50, 505, 'o')]).operations);
        assert_eq!(outages(&both, ms(10)).longest(), Some(ms(500)));
        assert_eq!(outages(&History::default(), ms(10)).longest(), None);
        assert!(!outages(&History::default(), ms(10)).recovered(), "nobody was there to see it");
    }

    #[test]
    fn leaders_are_named_by_acknowledgements() {
        let mut seen = history(1, &[(0, 5, 'o'), (50, 55, 'o'), (100, 105, 'f'), (150, 155, 'o')]);
        seen.operations[3].outcome = Outcome::Ok { timeline: Some(2), server: Some("b".into()), system: None, items: None };
        let mut addresses = Addresses::default();
        addresses.learn("a".into(), "coordinator-1");
        addresses.learn("b".into(), "coordinator-2");
        let spans = leaders(&seen, &addresses);
        let times: Vec<_> = spans.iter().map(|s| (s.server.as_str(), s.timeline, s.from, s.until)).collect();
        assert_eq!(times, [("a", 1, ms(5), ms(55)), ("b", 2, ms(155), ms(155))]);
        let members = |spans: &[LeaderSpan]| spans.iter().map(|s| s.member.clone().unwrap_or_default()).collect::<Vec<_>>();
        assert_eq!(members(&spans), ["coordinator-1", "coordinator-2"]);
        addresses.learn("b".into(), "coordinator-3");
        assert_eq!(members(&leaders(&seen, &addresses)), ["coordinator-1", ""], "two had that address");
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        assert_eq!(Statistics::of([]), None);
        let one = Statistics { n: 1, p50: ms(7), p95: ms(7), max: ms(7) };
        assert_eq!(Statistics::of([ms(7)]), Some(one));
        let five = Statistics { n: 5, p50: ms(3), p95: ms(5), max: ms(5) };
        assert_eq!(Statistics::of([5, 1, 4, 2, 3].map(ms)), Some(five));
        let hundred = Statistics { n: 100, p50: ms(50), p95: ms(95), max: ms(100) };
        assert_eq!(Statistics::of((1..=100).map(ms)), Some(hundred));
        assert_eq!(Statistics::of((1..=20).map(ms)).map(|s| s.p95), Some(ms(19)));
    }
}
