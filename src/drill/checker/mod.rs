//! Holds what clients were told against what the servers hold. Pure: a history and a final read in, a verdict out.
//!
//! The run of a drill calls [`check`] after the faults are healed. What was not read never passes. One rule per function:
//! [`presence`] asks what is there, [`order`] in which order it came to be, [`lists`] what readers saw on the way.

mod lists;
mod order;
mod presence;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::final_read::{FinalRead, Role, ServerRead};
use super::history::{Action, History, Operation, Outcome};
use super::verdict::{Counts, Finding, Promise, Rule, SCHEMA_VERSION, Verdict};

/// Judges a drill. A group without a promise promises that nothing is lost.
pub fn check(history: &History, read: &FinalRead, promises: &BTreeMap<String, Promise>) -> Verdict {
    let mut verdict = Verdict { schema_version: SCHEMA_VERSION, servers: servers(read), ..Verdict::default() };
    let losing: BTreeSet<&str> =
        promises.iter().filter(|(_, promise)| promise.tolerates_loss()).map(|(g, _)| g.as_str()).collect();
    for group in groups(history, read) {
        let promise = promises.get(group).copied().unwrap_or_default();
        let others_lose = losing.iter().any(|other| *other != group);
        let case = Case { others_lose, ..Case::new(group, promise, history, read) };
        let (counts, findings) = case.judge(read);
        verdict.counts += counts;
        verdict.groups.insert(group.to_owned(), counts);
        verdict.findings.extend(findings);
    }
    if let Some(bank) = &read.bank {
        let (half, findings) = presence::bank(bank, history, !losing.is_empty());
        verdict.counts.half_transfers = half;
        verdict.findings.extend(findings);
    }
    verdict.findings.sort_by(|a, b| (&a.group, a.rule).cmp(&(&b.group, b.rule)));
    verdict
}

/// Names by group, leaders first.
fn servers(read: &FinalRead) -> BTreeMap<String, Vec<String>> {
    let mut servers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for role in [Role::Leader, Role::Standby] {
        for server in read.servers.iter().filter(|server| server.role == role) {
            servers.entry(server.group.clone()).or_default().push(server.server.clone());
        }
    }
    servers
}

fn groups<'a>(history: &'a History, read: &'a FinalRead) -> BTreeSet<&'a str> {
    let used = history.operations.iter().map(|op| op.call.group.as_str());
    used.chain(read.servers.iter().map(|s| s.group.as_str())).collect()
}

/// One group with all that concerns it.
struct Case<'a> {
    group: &'a str,
    promise: Promise,
    /// Whether another group may lose what it acknowledged.
    others_lose: bool,
    /// Its operations, in the order in which they were recorded.
    operations: Vec<&'a Operation>,
    leaders: Vec<&'a ServerRead>,
    standbys: Vec<&'a ServerRead>,
}

impl<'a> Case<'a> {
    fn new(group: &'a str, promise: Promise, history: &'a History, read: &'a FinalRead) -> Self {
        let of = |role| read.servers.iter().filter(|s| s.group == group && s.role == role).collect();
        let operations = history.operations.iter().filter(|op| op.call.group == group).collect();
        Self { group, promise, others_lose: false, operations, leaders: of(Role::Leader), standbys: of(Role::Standby) }
    }

    fn judge(&self, read: &FinalRead) -> (Counts, Vec<Finding>) {
        let mut counts = self.count();
        let mut findings = order::leaders(self);
        let transfers = self.operations.iter().any(|op| matches!(op.call.action, Action::Transfer { .. }));
        let others = self.operations.iter().any(|op| !matches!(op.call.action, Action::Transfer { .. }));
        let mut places = presence::Places::default();
        match self.leaders.as_slice() {
            [leader] => {
                places.add_leader(leader);
                findings.extend(order::clients(self, leader));
                findings.extend(lists::prefixes(self, leader));
                findings.extend(presence::balances(self.group, leader));
                findings.extend(self.standbys.iter().flat_map(|standby| presence::same(self.group, leader, standby)));
            }
            [] if others => findings.push(self.not_read("no leader was read")),
            [] => {}
            many => findings.push(self.not_read(&format!("{} leaders were read", many.len()))),
        }
        match &read.bank {
            Some(bank) => places.add_bank(bank),
            None if transfers => findings.push(self.not_read("the bank was not read")),
            None => {}
        }
        findings.extend(places.judge(self, &mut counts));
        (counts, findings)
    }

    fn not_read(&self, detail: &str) -> Finding {
        Finding::whole(Rule::NotRead, self.group, detail)
    }

    fn count(&self) -> Counts {
        let mut counts = Counts { stale_reads: lists::stale(self), ..Counts::default() };
        for op in &self.operations {
            let ok = op.outcome.is_ok();
            if !op.call.action.writes() {
                counts.reads += u64::from(ok);
                continue;
            }
            counts.attempted += 1;
            match op.outcome {
                Outcome::Ok { .. } => counts.ok += 1,
                Outcome::Fail { .. } => counts.failed += 1,
                Outcome::Unknown { .. } => counts.unknown += 1,
            }
        }
        counts
    }
}
