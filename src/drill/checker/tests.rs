use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::drill::final_read::{BankRead, Entry, LogRow};
use crate::drill::history::{Invocation, id};

const GROUP: &str = "worker-1";
const KEY: i32 = 7;

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Ok,
    Fail,
    /// Unknown to the client, and executed at once.
    Done,
    /// Unknown to the client, and executed after everything else.
    DoneLate,
    /// Unknown to the client, and not executed.
    NotDone,
}

#[derive(Debug, Clone)]
struct Step {
    client: u32,
    action: Action,
    fate: Fate,
    /// Whether a new leader takes over before it.
    failover: bool,
}

/// A cluster that is right: one leader at a time, and all that it acknowledges on its standby.
#[derive(Default)]
struct World {
    history: History,
    rows: Vec<LogRow>,
    list: Vec<u64>,
    entries: Vec<Entry>,
}

impl World {
    fn of(steps: &[Step]) -> Self {
        let mut world = Self::default();
        let (mut now, mut timeline) = (0, 1);
        let mut sequences = [0; 4];
        let mut late = Vec::new();
        for step in steps {
            timeline += u32::from(step.failover);
            let sequence = sequences[step.client as usize];
            sequences[step.client as usize] += 1;
            let call = Invocation {
                id: id(step.client, sequence),
                client: step.client,
                sequence,
                group: GROUP.into(),
                action: step.action.clone(),
                due_ns: now,
                invoked_ns: now,
            };
            let reason = || "for a reason".to_owned();
            let outcome = match step.fate {
                Fate::Ok => {
                    let items = (!call.action.writes()).then(|| world.list.clone());
                    Outcome::Ok { timeline: Some(timeline), server: None, system: Some(1), items }
                }
                Fate::Fail => Outcome::Fail { reason: reason() },
                _ => Outcome::Unknown { reason: reason() },
            };
            match step.fate {
                Fate::Ok | Fate::Done => world.execute(&call),
                Fate::DoneLate => late.push(call.clone()),
                Fate::Fail | Fate::NotDone => {}
            }
            world.history.operations.push(Operation { call, completed_ns: Some(now + 5), outcome });
            now += 10;
        }
        late.iter().for_each(|call| world.execute(call));
        world.history.ended_ns = now;
        world
    }

    fn execute(&mut self, call: &Invocation) {
        match call.action {
            Action::Insert => self.rows.push(LogRow { op: call.id, position: self.rows.len() as i64 * 32 }),
            Action::Append { .. } => self.list.push(call.id),
            Action::Read { .. } => {}
            Action::Transfer { from, to, amount } => {
                self.entries.push(Entry { op: call.id, account: from, amount: -amount });
                self.entries.push(Entry { op: call.id, account: to, amount });
            }
        }
    }

    fn server(&self, server: &str, role: Role) -> ServerRead {
        let lists = BTreeMap::from([(KEY, self.list.clone())]);
        let mut accounts = BTreeMap::from([(1, 1000), (2, 1000)]);
        self.entries.iter().for_each(|entry| *accounts.entry(entry.account).or_default() += entry.amount);
        let (rows, entries) = (self.rows.clone(), self.entries.clone());
        ServerRead { group: GROUP.into(), server: server.into(), role, rows, lists, accounts, entries }
    }

    fn read(&self) -> FinalRead {
        let total = 2000 + self.entries.iter().map(|entry| entry.amount).sum::<i64>();
        FinalRead {
            servers: vec![self.server("a", Role::Leader), self.server("b", Role::Standby)],
            bank: Some(BankRead { total, opened_with: 2000, entries: self.entries.clone() }),
        }
    }

    fn verdict(&self, promise: Promise) -> Verdict {
        check(&self.history, &self.read(), &BTreeMap::from([(GROUP.to_owned(), promise)]))
    }
}

fn rules(verdict: &Verdict) -> Vec<Rule> {
    verdict.findings.iter().map(|finding| finding.rule).collect()
}

fn strict(history: &History, read: &FinalRead) -> Vec<Rule> {
    rules(&check(history, read, &BTreeMap::new()))
}

/// Two clients insert, one appends and reads, one transfers; a failover in the middle.
fn fixed() -> World {
    let actions = [
        Action::Insert,
        Action::Insert,
        Action::Append { key: KEY },
        Action::Transfer { from: 1, to: 2, amount: 30 },
        Action::Insert,
        Action::Insert,
        Action::Read { key: KEY },
        Action::Transfer { from: 2, to: 1, amount: 10 },
    ];
    let steps = (0..80).map(|n: usize| {
        let fate = match n % 16 {
            13 => Fate::Fail,
            8 => Fate::Done,
            _ => Fate::Ok,
        };
        Step { client: n as u32 % 4, action: actions[n % 8].clone(), fate, failover: n == 40 }
    });
    World::of(&steps.collect::<Vec<_>>())
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![
        6 => Just(Fate::Ok),
        1 => Just(Fate::Fail),
        1 => Just(Fate::Done),
        1 => Just(Fate::DoneLate),
        1 => Just(Fate::NotDone),
    ];
    let step = (0_u32..4, any::<bool>(), fate, prop::bool::weighted(0.05), 1_i64..100);
    let step = step.prop_map(|(client, second, fate, failover, amount)| {
        let action = match client {
            0 | 1 => Action::Insert,
            2 if second => Action::Read { key: KEY },
            2 => Action::Append { key: KEY },
            _ => Action::Transfer { from: 1, to: 2, amount },
        };
        Step { client, action, fate, failover }
    });
    prop::collection::vec(step, 0..120)
}

proptest! {
    #[test]
    fn what_is_right_is_green(steps in steps()) {
        let verdict = World::of(&steps).verdict(Promise::default());
        prop_assert!(verdict.passed(), "{:?}", verdict.findings);
        prop_assert_eq!(verdict.counts.lost, 0);
        let counts = verdict.counts;
        prop_assert_eq!(counts.attempted, counts.ok + counts.failed + counts.unknown);
    }

    #[test]
    fn any_loss_is_found(steps in steps(), index: Index) {
        let mut world = World::of(&steps);
        let acknowledged: BTreeSet<u64> =
            world.history.operations.iter().filter(|op| op.outcome.is_ok()).map(|op| op.call.id).collect();
        let there: Vec<usize> = (0..world.rows.len()).filter(|n| acknowledged.contains(&world.rows[*n].op)).collect();
        prop_assume!(!there.is_empty());
        let gone = world.rows.remove(*index.get(&there));
        let verdict = world.verdict(Promise::default());
        prop_assert_eq!(rules(&verdict), [Rule::Lost]);
        prop_assert_eq!(&verdict.findings[0].ops, &[gone.op]);
        let counted = world.verdict(Promise::Counted);
        prop_assert!(counted.passed());
        prop_assert_eq!(counted.counts.lost, 1);
    }

    #[test]
    fn any_second_copy_is_found(steps in steps(), index: Index) {
        let mut world = World::of(&steps);
        prop_assume!(!world.rows.is_empty());
        let copy = LogRow { position: 1_000_000, ..*index.get(&world.rows) };
        world.rows.push(copy);
        prop_assert_eq!(rules(&world.verdict(Promise::default())), [Rule::Duplicate]);
    }
}

#[test]
fn the_fixed_world_is_green_and_counted() {
    let verdict = fixed().verdict(Promise::default());
    assert_eq!(verdict.findings, []);
    let expected = Counts { attempted: 70, ok: 60, failed: 5, unknown: 5, unknown_found: 5, reads: 10, ..Counts::default() };
    assert_eq!(verdict.counts, expected);
    assert_eq!(verdict.groups[GROUP], expected);
}

#[test]
fn a_loss_within_the_promise_is_counted() {
    let mut world = fixed();
    world.rows.truncate(world.rows.len() - 2);
    assert_eq!(rules(&world.verdict(Promise::AtMost { operations: 2 })), []);
    assert_eq!(rules(&world.verdict(Promise::AtMost { operations: 1 })), [Rule::Lost]);
    assert_eq!(world.verdict(Promise::Counted).counts.lost, 2);
}

#[test]
fn what_nobody_attempted_is_found() {
    let mut world = fixed();
    world.rows.push(LogRow { op: id(9, 9), position: 1_000_000 });
    world.list.push(id(0, 0));
    let verdict = world.verdict(Promise::default());
    assert_eq!(rules(&verdict), [Rule::Phantom]);
    assert_eq!(verdict.findings[0].ops, [id(9, 9), id(0, 0)], "also what was attempted elsewhere");
}

#[test]
fn what_surely_failed_may_not_be_there() {
    let mut world = fixed();
    let failed = world.history.operations.iter().find(|op| matches!(op.outcome, Outcome::Fail { .. })).expect("one failed");
    world.rows.push(LogRow { op: failed.call.id, position: 1_000_000 });
    assert!(strict(&world.history, &world.read()).contains(&Rule::FailedButPresent));
}

#[test]
fn a_clients_order_is_kept() {
    let mut world = fixed();
    // Rows 0 and 2 are the first two of one client.
    (world.rows[0].position, world.rows[2].position) = (world.rows[2].position, world.rows[0].position);
    assert_eq!(strict(&world.history, &world.read()), [Rule::Reordered]);
    let mut world = fixed();
    world.list.swap(0, 1);
    let found = strict(&world.history, &world.read());
    assert!(found.contains(&Rule::Reordered) && found.contains(&Rule::NotPrefix), "{found:?}");
}

#[test]
fn two_leaders_are_found_by_their_acknowledgements() {
    let mut world = fixed();
    let set = |op: &mut Operation, to| {
        if let Outcome::Ok { timeline, .. } = &mut op.outcome {
            *timeline = Some(to);
        }
    };
    set(&mut world.history.operations[60], 1);
    let verdict = world.verdict(Promise::default());
    assert_eq!(rules(&verdict), [Rule::TwoLeaders]);
    assert_eq!(verdict.findings[0].ops, [world.history.operations[60].call.id]);

    // An operation that was under way when the new leader acknowledged its first proves nothing.
    let first = world.history.operations[40].completed_ns.expect("it ended");
    world.history.operations[60].call.invoked_ns = first;
    assert!(world.verdict(Promise::default()).passed());
}

#[test]
fn rows_that_move_to_another_group_meet_its_timelines() {
    let mut world = fixed();
    for op in &mut world.history.operations[60..] {
        if let Outcome::Ok { timeline, system, .. } = &mut op.outcome {
            (*timeline, *system) = (Some(1), Some(2));
        }
    }
    assert!(world.verdict(Promise::default()).passed(), "they began anew there");
    if let Outcome::Ok { timeline, .. } = &mut world.history.operations[60].outcome {
        *timeline = Some(2);
    }
    assert_eq!(rules(&world.verdict(Promise::default())), [Rule::TwoLeaders], "and went back");
}

#[test]
fn a_standby_holds_what_its_leader_holds() {
    let world = fixed();
    let mut read = world.read();
    read.servers[1].rows.pop();
    assert_eq!(strict(&world.history, &read), [Rule::StandbyDiffers]);
    let mut read = world.read();
    read.servers[1].rows[3].position += 1;
    assert_eq!(strict(&world.history, &read), [Rule::StandbyDiffers]);
    let mut read = world.read();
    read.servers[1].lists.clear();
    assert_eq!(strict(&world.history, &read), [Rule::StandbyDiffers]);
}

#[test]
fn a_standby_of_the_bank_has_its_transfers_and_balances() {
    let world = fixed();
    let broken = |change: fn(&mut ServerRead)| {
        let mut read = world.read();
        change(&mut read.servers[1]);
        check(&world.history, &read, &BTreeMap::new()).findings
    };
    let [missing] = &broken(|standby| standby.entries.truncate(standby.entries.len() - 1))[..] else { panic!("one finding") };
    assert_eq!((missing.rule, &missing.ops[..]), (Rule::StandbyDiffers, &[world.entries[world.entries.len() - 1].op][..]));
    assert_eq!(broken(|standby| standby.entries.push(standby.entries[0])).len(), 1, "also what is there twice");
    let [balance] = &broken(|standby| *standby.accounts.entry(2).or_default() -= 1)[..] else { panic!("one finding") };
    assert_eq!(balance.rule, Rule::StandbyDiffers);
    assert!(balance.detail.ends_with("holds: balances of accounts 2"), "{}", balance.detail);
    assert_eq!(broken(|standby| standby.accounts.clear()).len(), 1);
}

#[test]
fn what_a_reader_saw_has_to_stay() {
    let mut world = fixed();
    let unacknowledged = id(3, 1000);
    let read = world.history.operations.iter_mut().rev().find(|op| !op.call.action.writes()).expect("a read");
    if let Outcome::Ok { items: Some(items), .. } = &mut read.outcome {
        items.push(unacknowledged);
    }
    assert_eq!(rules(&world.verdict(Promise::default())), [Rule::NotPrefix]);
    assert!(world.verdict(Promise::Counted).passed(), "where a group may lose, a reader may have seen it before");
}

#[test]
fn a_read_of_the_past_is_counted_and_no_finding() {
    let mut world = fixed();
    let read = world.history.operations.iter_mut().rev().find(|op| !op.call.action.writes()).expect("a read");
    if let Outcome::Ok { items: Some(items), .. } = &mut read.outcome {
        items.pop();
    }
    let verdict = world.verdict(Promise::default());
    assert_eq!((verdict.passed(), verdict.counts.stale_reads), (true, 1));
}

/// A sum that is right may hide one balance that is too high and one that is too low.
#[test]
fn every_account_has_what_its_transfers_made_of_it() {
    let world = fixed();
    let broken = |breaks: &dyn Fn(&mut ServerRead)| {
        let mut read = world.read();
        read.servers.iter_mut().for_each(breaks);
        strict(&world.history, &read)
    };
    assert_eq!(broken(&|_| ()), []);
    let shifted = |server: &mut ServerRead| {
        *server.accounts.entry(1).or_default() += 1;
        *server.accounts.entry(2).or_default() -= 1;
    };
    assert_eq!(broken(&shifted), [Rule::BankTotal]);
    assert_eq!(broken(&|server| server.accounts.retain(|account, _| *account != 1)), [Rule::BankTotal], "an account is gone");
}

#[test]
fn money_is_neither_made_nor_lost() {
    let world = fixed();
    let broken = |change: fn(&mut BankRead)| {
        let mut read = world.read();
        change(read.bank.as_mut().expect("a bank"));
        strict(&world.history, &read)
    };
    assert_eq!(broken(|bank| bank.total += 1), [Rule::BankTotal]);
    assert_eq!(broken(|bank| bank.entries.truncate(bank.entries.len() - 1)), [Rule::HalfTransfer]);
    assert_eq!(broken(|bank| bank.entries.truncate(bank.entries.len() - 2)), [Rule::Lost]);
    assert_eq!(broken(|bank| bank.entries.push(bank.entries[0])), [Rule::Duplicate]);
    assert_eq!(broken(|bank| bank.entries[0].amount *= 2), [Rule::HalfTransfer]);
    assert_eq!(broken(|bank| bank.entries.push(Entry { op: id(9, 9), account: 1, amount: 0 })), [Rule::Phantom]);
}

#[test]
fn a_group_that_may_lose_takes_its_side_of_transfers_along() {
    let mut world = fixed();
    let gone = world.entries.remove(0);
    let mut read = world.read();
    assert_eq!(strict(&world.history, &read), [Rule::HalfTransfer, Rule::BankTotal]);
    let losing = BTreeMap::from([("worker-2".to_owned(), Promise::Counted)]);
    let verdict = check(&world.history, &read, &losing);
    assert_eq!((rules(&verdict), verdict.counts.half_transfers), (vec![], 1));
    read.bank.as_mut().expect("a bank").total += gone.amount;
    assert_eq!(rules(&check(&world.history, &read, &losing)), [Rule::BankTotal], "the balance went, and its entry did not");

    let last = world.entries.pop().expect("a transfer").op;
    world.entries.retain(|entry| entry.op != last);
    let verdict = check(&world.history, &world.read(), &losing);
    assert_eq!((rules(&verdict), verdict.counts.lost), (vec![], 1), "both sides may be gone");
}

#[test]
fn what_was_not_read_does_not_pass() {
    let world = fixed();
    let mut read = world.read();
    read.servers.retain(|server| server.role == Role::Standby);
    assert_eq!(strict(&world.history, &read), [Rule::NotRead]);
    let mut read = world.read();
    read.bank = None;
    assert_eq!(strict(&world.history, &read), [Rule::NotRead]);
    let mut read = world.read();
    read.servers.push(world.server("c", Role::Leader));
    assert_eq!(strict(&world.history, &read), [Rule::NotRead]);
    assert_eq!(strict(&History::default(), &FinalRead::default()), []);
}
