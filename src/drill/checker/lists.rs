//! What readers of lists saw on the way.

use std::collections::{BTreeMap, BTreeSet};

use super::Case;
use crate::drill::final_read::ServerRead;
use crate::drill::history::{Action, Outcome};
use crate::drill::verdict::{Finding, Rule};

/// Reads that were answered: id, key, when they were sent, and what they saw.
fn reads<'a>(case: &'a Case<'_>) -> impl Iterator<Item = (u64, i32, u64, &'a [u64])> {
    case.operations.iter().filter_map(|op| match (&op.call.action, &op.outcome) {
        (Action::Read { key }, Outcome::Ok { items: Some(items), .. }) => {
            Some((op.call.id, *key, op.call.invoked_ns, items.as_slice()))
        }
        _ => None,
    })
}

/// Every read is how the final list begins. Where a group may lose operations, those that are gone are not asked for: they
/// are counted where they were acknowledged.
pub(super) fn prefixes(case: &Case<'_>, leader: &ServerRead) -> Option<Finding> {
    let nothing = Vec::new();
    let mut wrong = Vec::new();
    for (id, key, _, items) in reads(case) {
        let last = leader.lists.get(&key).unwrap_or(&nothing);
        let right = if case.promise.tolerates_loss() {
            let kept: BTreeSet<u64> = last.iter().copied().collect();
            let seen: Vec<u64> = items.iter().copied().filter(|op| kept.contains(op)).collect();
            last.starts_with(&seen)
        } else {
            last.starts_with(items)
        };
        if !right {
            wrong.push(id);
        }
    }
    let detail = format!("saw what is not how the list begins on {}", leader.server);
    (!wrong.is_empty()).then(|| Finding::about(Rule::NotPrefix, case.group, detail, wrong))
}

/// How many reads missed an append that was acknowledged before they were sent.
pub(super) fn stale(case: &Case<'_>) -> u64 {
    let mut acknowledged: BTreeMap<i32, Vec<(u64, u64)>> = BTreeMap::new();
    for op in case.operations.iter().filter(|op| op.outcome.is_ok()) {
        if let (Action::Append { key }, Some(completed)) = (&op.call.action, op.completed_ns) {
            acknowledged.entry(*key).or_default().push((completed, op.call.id));
        }
    }
    let missed = |key: i32, invoked: u64, items: &[u64]| {
        let seen: BTreeSet<u64> = items.iter().copied().collect();
        acknowledged.get(&key).is_some_and(|appends| appends.iter().any(|(at, id)| *at < invoked && !seen.contains(id)))
    };
    reads(case).filter(|(_, key, invoked, items)| missed(*key, *invoked, items)).count() as u64
}
