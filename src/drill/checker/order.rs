//! In which order it came to be: one leader at a time, and each client's own order.

use std::collections::BTreeMap;

use super::Case;
use crate::drill::final_read::ServerRead;
use crate::drill::history::Outcome;
use crate::drill::verdict::{Finding, Rule};

/// An acknowledgement of a timeline whose operation was sent after a newer timeline had acknowledged: two leaders took writes. Rows
/// that were moved to another group are written on its timelines, which say nothing about those of the group that they came from.
pub(super) fn leaders(case: &Case<'_>) -> Vec<Finding> {
    let mut systems: BTreeMap<Option<u64>, Vec<Acknowledged>> = BTreeMap::new();
    for op in &case.operations {
        if let (Outcome::Ok { timeline: Some(timeline), system, .. }, Some(completed)) = (&op.outcome, op.completed_ns) {
            systems.entry(*system).or_default().push((completed, op.call.invoked_ns, *timeline, op.call.id));
        }
    }
    systems.into_values().flat_map(|acknowledged| went_back(case.group, acknowledged)).collect()
}

/// When an operation was acknowledged, when it was sent, on which timeline, and which it is.
type Acknowledged = (u64, u64, u32, u64);

fn went_back(group: &str, mut acknowledged: Vec<Acknowledged>) -> Vec<Finding> {
    acknowledged.sort_unstable();
    // The newest timeline that had acknowledged by each acknowledgement.
    let mut newest = Vec::with_capacity(acknowledged.len());
    for (completed, _, timeline, _) in &acknowledged {
        let before = newest.last().map_or(0, |(_, timeline)| *timeline);
        newest.push((*completed, before.max(*timeline)));
    }
    let mut late: BTreeMap<(u32, u32), Vec<u64>> = BTreeMap::new();
    for (_, invoked, timeline, id) in &acknowledged {
        let before = newest.partition_point(|(completed, _)| completed < invoked);
        if let Some((_, newer)) = before.checked_sub(1).map(|last| newest[last]).filter(|(_, newer)| newer > timeline) {
            late.entry((*timeline, newer)).or_default().push(*id);
        }
    }
    let finding = |((timeline, newer), ops)| {
        let detail = format!("acknowledged on timeline {timeline} when timeline {newer} had acknowledged before");
        Finding::about(Rule::TwoLeaders, group, detail, ops)
    };
    late.into_iter().map(finding).collect()
}

/// What a client did after an acknowledgement stands behind what was acknowledged. An operation of unknown outcome may be
/// executed at any later time, so nothing has to stand behind it.
pub(super) fn clients(case: &Case<'_>, leader: &ServerRead) -> Option<Finding> {
    let mut positions: BTreeMap<u64, i64> = BTreeMap::new();
    let items = leader.lists.values().flat_map(|items| items.iter().zip(0..).map(|(op, index)| (*op, index)));
    let rows = leader.rows.iter().map(|row| (row.op, row.position));
    // Of a row that is there twice, the first one counts; that it is there twice is another finding.
    for (op, position) in rows.chain(items) {
        positions.entry(op).and_modify(|known| *known = position.min(*known)).or_insert(position);
    }
    let mut sorted = case.operations.clone();
    sorted.sort_by_key(|op| (op.call.client, op.call.sequence));
    let mut reordered = Vec::new();
    for operations in sorted.chunk_by(|a, b| a.call.client == b.call.client) {
        let mut floor = i64::MIN;
        for op in operations {
            let Some(position) = positions.get(&op.call.id) else { continue };
            if *position < floor {
                reordered.push(op.call.id);
            } else if op.outcome.is_ok() {
                floor = *position;
            }
        }
    }
    let detail = format!("before what the same client had acknowledged earlier, on {}", leader.server);
    (!reordered.is_empty()).then(|| Finding::about(Rule::Reordered, case.group, detail, reordered))
}
