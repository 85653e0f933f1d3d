//! What is there: nothing lost, nothing from nowhere, nothing twice, nothing that failed; standbys and the bank.

use std::collections::{BTreeMap, BTreeSet};

use super::Case;
use crate::drill::final_read::{BankRead, ServerRead};
use crate::drill::history::{Action, History, Operation, Outcome};
use crate::drill::verdict::{Counts, Finding, Rule};
use crate::drill::workload::tables::OPENING_BALANCE;

/// The group that findings about the whole bank bear: it has shards in all of them.
const BANK: &str = "bank";

/// Where an operation's trace is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Log,
    List(i32),
    Bank,
}

impl Place {
    fn of(action: &Action) -> Option<Self> {
        match action {
            Action::Insert => Some(Self::Log),
            Action::Append { key } => Some(Self::List(*key)),
            Action::Transfer { .. } => Some(Self::Bank),
            Action::Read { .. } => None,
        }
    }
}

/// How often each operation was found in each place, of what was read.
#[derive(Default)]
pub(super) struct Places {
    leader: Option<String>,
    bank: bool,
    found: BTreeMap<(Place, u64), usize>,
}

impl Places {
    pub(super) fn add_leader(&mut self, leader: &ServerRead) {
        self.leader = Some(leader.server.clone());
        let rows = leader.rows.iter().map(|row| (Place::Log, row.op));
        let items = leader.lists.iter().flat_map(|(key, items)| items.iter().map(|op| (Place::List(*key), *op)));
        rows.chain(items).for_each(|place| *self.found.entry(place).or_default() += 1);
    }

    /// A transfer counts as there when one side of it is; whether both are is asked of the bank as a whole.
    pub(super) fn add_bank(&mut self, bank: &BankRead) {
        self.bank = true;
        let transfers: BTreeSet<u64> = bank.entries.iter().map(|entry| entry.op).collect();
        self.found.extend(transfers.into_iter().map(|op| ((Place::Bank, op), 1)));
    }

    pub(super) fn judge(&self, case: &Case<'_>, counts: &mut Counts) -> Vec<Finding> {
        let mut attempted = BTreeSet::new();
        let (mut lost, mut failed) = (Vec::new(), Vec::new());
        for op in &case.operations {
            let Some(place) = Place::of(&op.call.action) else { continue };
            let seen = if place == Place::Bank { self.bank } else { self.leader.is_some() };
            if !seen {
                continue;
            }
            let id = op.call.id;
            attempted.insert((place, id));
            let there = self.found.contains_key(&(place, id));
            match op.outcome {
                // Where another group may lose, both sides may have been its own.
                Outcome::Ok { .. } if !there && place == Place::Bank && case.others_lose => counts.lost += 1,
                Outcome::Ok { .. } if !there => lost.push(id),
                Outcome::Fail { .. } if there => failed.push(id),
                Outcome::Unknown { .. } if there => counts.unknown_found += 1,
                _ => {}
            }
        }
        let promised = case.promise.allows(lost.len() as u64);
        counts.lost += lost.len() as u64;
        // Of the bank, what nobody attempted is asked once, not in every group.
        let local = || self.found.iter().filter(|((place, _), _)| *place != Place::Bank);
        let phantom = local().filter(|(place, _)| !attempted.contains(place)).map(|((_, id), _)| *id).collect();
        let twice = local().filter(|(_, count)| **count > 1).map(|((_, id), _)| *id).collect();
        let leader = self.leader.as_deref().unwrap_or("the coordinators");
        let lost = if promised { Vec::new() } else { lost };
        [
            (Rule::Lost, format!("acknowledged, and not on {leader}"), lost),
            (Rule::FailedButPresent, format!("surely failed, and yet on {leader}"), failed),
            (Rule::Phantom, format!("on {leader}, and never attempted there"), phantom),
            (Rule::Duplicate, format!("more than once on {leader}"), twice),
        ]
        .into_iter()
        .filter(|(_, _, ops)| !ops.is_empty())
        .map(|(rule, detail, ops)| Finding::about(rule, case.group, detail, ops))
        .collect()
    }
}

/// Whether a standby holds what its leader holds, row by row.
pub(super) fn same(group: &str, leader: &ServerRead, standby: &ServerRead) -> Vec<Finding> {
    let mut difference: BTreeSet<u64> = unlike(&leader.rows, &standby.rows).into_iter().map(|row| row.op).collect();
    difference.extend(unlike(&leader.entries, &standby.entries).into_iter().map(|entry| entry.op));
    let keys: BTreeSet<i32> = leader.lists.keys().chain(standby.lists.keys()).copied().collect();
    for key in keys {
        let items = |server: &ServerRead| server.lists.get(&key).cloned().unwrap_or_default();
        let (ours, theirs) = (items(leader), items(standby));
        let common = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
        difference.extend(ours[common..].iter().chain(&theirs[common..]));
    }
    let detail = format!("{} does not hold what its leader {} holds", standby.server, leader.server);
    let ids: BTreeSet<i32> = leader.accounts.keys().chain(standby.accounts.keys()).copied().collect();
    let balances = ids.into_iter().filter(|id| leader.accounts.get(id) != standby.accounts.get(id));
    let balances: Vec<String> = balances.map(|id| id.to_string()).collect();
    let mut findings = Vec::new();
    if !balances.is_empty() {
        let detail = format!("{detail}: balances of accounts {}", balances.join(", "));
        findings.push(Finding::whole(Rule::StandbyDiffers, group, &detail));
    }
    if !difference.is_empty() {
        findings.push(Finding::about(Rule::StandbyDiffers, group, detail, difference.into_iter().collect()));
    }
    findings
}

/// Whether every account of a leader has what the sides of transfers that are there made of it. Both stand in one group and are written
/// in one transaction, so this holds whatever was lost.
pub(super) fn balances(group: &str, leader: &ServerRead) -> Option<Finding> {
    let mut expected: BTreeMap<i32, i64> = leader.accounts.keys().map(|account| (*account, OPENING_BALANCE)).collect();
    for entry in &leader.entries {
        *expected.entry(entry.account).or_default() += entry.amount;
    }
    let wrong = expected.iter().filter(|(account, balance)| leader.accounts.get(account) != Some(balance));
    let wrong: Vec<String> = wrong.map(|(account, _)| account.to_string()).collect();
    let detail = format!("not what their transfers made of them on {}: accounts {}", leader.server, wrong.join(", "));
    (!wrong.is_empty()).then(|| Finding::whole(Rule::BankTotal, group, &detail))
}

/// What is in one of them more often than in the other.
fn unlike<T: Copy + Ord>(ours: &[T], theirs: &[T]) -> Vec<T> {
    let mut counts: BTreeMap<T, i64> = BTreeMap::new();
    ours.iter().for_each(|row| *counts.entry(*row).or_default() += 1);
    theirs.iter().for_each(|row| *counts.entry(*row).or_default() -= 1);
    counts.into_iter().filter(|(_, count)| *count != 0).map(|(row, _)| row).collect()
}

/// The bank as a whole: both sides of each transfer, once; nothing from nowhere; the total. Also told is of how many
/// transfers one side is missing, which is a finding unless a group may lose operations.
///
/// An account and its side of a transfer stand in one group and one transaction: whatever is lost, the balances have to add
/// up to what the sides that are there made of them.
pub(super) fn bank(bank: &BankRead, history: &History, losing: bool) -> (u64, Vec<Finding>) {
    let transfers: BTreeMap<u64, &Operation> = history.operations.iter().map(|op| (op.call.id, op)).collect();
    let mut sides: BTreeMap<u64, Vec<(i32, i64)>> = BTreeMap::new();
    bank.entries.iter().for_each(|entry| sides.entry(entry.op).or_default().push((entry.account, entry.amount)));
    let (mut half, mut wrong, mut twice, mut phantom) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (id, mut found) in sides {
        let Some(Action::Transfer { from, to, amount }) = transfers.get(&id).map(|op| &op.call.action) else {
            phantom.push(id);
            continue;
        };
        let wanted = [(*from, -amount), (*to, *amount)];
        let count = found.len();
        found.sort_unstable();
        found.dedup();
        if found.len() < count {
            twice.push(id);
        } else if !found.iter().all(|side| wanted.contains(side)) {
            wrong.push(id);
        } else if count < wanted.len() {
            half.push(id);
        }
    }
    let missing = half.len() as u64;
    if losing {
        half.clear();
    }
    let mut findings: Vec<Finding> = [
        (Rule::HalfTransfer, "one side of a transfer is missing", half),
        (Rule::HalfTransfer, "not as the transfer was ordered", wrong),
        (Rule::Duplicate, "a side of a transfer more than once", twice),
        (Rule::Phantom, "transfers that nobody attempted", phantom),
    ]
    .into_iter()
    .filter(|(_, _, ops)| !ops.is_empty())
    .map(|(rule, detail, ops)| Finding::about(rule, BANK, detail, ops))
    .collect();
    let moved: i64 = bank.entries.iter().map(|entry| entry.amount).sum();
    let expected = if losing { bank.opened_with + moved } else { bank.opened_with };
    if bank.total != expected {
        let detail = format!("the balances add up to {}, not {expected}", bank.total);
        findings.push(Finding::whole(Rule::BankTotal, BANK, detail));
    }
    (missing, findings)
}
