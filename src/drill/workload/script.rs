//! What a client does next, and the SQL of it. Pure: the same seed gives the same choices.

use tokio_postgres::SimpleQueryMessage;

use super::classify::Trouble;
use super::tables::{ACCOUNT, ENTRY, LIST, LOG, OWN};
use super::{ClientSpec, Task};
use crate::drill::history::{Action, Invocation};
use crate::random::SplitMix64;

/// The largest transfer.
const MOST: u64 = 100;

/// The operation that a client does at this place of its sequence.
pub(super) fn choose(spec: &ClientSpec, accounts: &[i32], seed: u64, client: u32, sequence: u64) -> Action {
    let mut dice = dice(seed, client, sequence);
    match spec.task {
        Task::Register | Task::Autocommit | Task::Own => Action::Insert,
        // Not by chance: reads in a row would look like a pause of the writes.
        Task::List if sequence % 3 == 2 => Action::Read { key: spec.key },
        Task::List => Action::Append { key: spec.key },
        Task::Bank => {
            let from = dice.below(accounts.len() as u64) as usize;
            // Any other one: a step of at least one around the circle, and less than all.
            let to = (from + 1 + dice.below(accounts.len() as u64 - 1) as usize) % accounts.len();
            Action::Transfer { from: accounts[from], to: accounts[to], amount: 1 + dice.below(MOST) as i64 }
        }
    }
}

/// By place: what a client does does not depend on how fast the others are.
fn dice(seed: u64, client: u32, sequence: u64) -> SplitMix64 {
    let mut dice = SplitMix64::new(seed);
    for part in [u64::from(client), sequence] {
        dice = SplitMix64::new(dice.draw() ^ part);
    }
    dice
}

/// The statements of an operation and what their answers have to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script {
    /// Sent as one message.
    pub(super) body: String,
    /// Whether `commit` follows in a message of its own, so that what failed before it is known to have failed.
    pub(super) commit: bool,
    /// Rows that each statement of the body has to concern.
    pub(super) rows: Vec<u64>,
}

/// The script of an operation.
pub(super) fn script(spec: &ClientSpec, call: &Invocation) -> Script {
    let (key, id) = (spec.key, call.id);
    let log = if spec.task == Task::Own { OWN } else { LOG };
    let insert = || {
        let sequence = call.sequence;
        format!("insert into {log} (client, sequence, op) values ({key}, {sequence}, {id})")
    };
    match &call.action {
        Action::Insert if spec.task == Task::Autocommit => Script { body: insert(), commit: false, rows: vec![1] },
        Action::Insert => transaction(&[insert()], &whereabouts(&format!(" from {log} where client = {key} limit 1"))),
        Action::Append { key } => {
            let update = format!("update {LIST} set items = items || {id}::bigint where key = {key}");
            transaction(&[update], &whereabouts(&format!(" from {LIST} where key = {key}")))
        }
        Action::Read { key } => {
            let body = format!("select items::text as items from {LIST} where key = {key}");
            Script { body, commit: false, rows: vec![1] }
        }
        Action::Transfer { from, to, amount } => {
            let mut sides = [(*from, -amount), (*to, *amount)];
            // Everyone locks the lower account first, so that nobody waits in a circle.
            sides.sort_unstable();
            let statements = sides.iter().flat_map(|(account, amount)| {
                [
                    format!("update {ACCOUNT} set balance = balance + ({amount}) where id = {account}"),
                    format!("insert into {ENTRY} (account, op, amount) values ({account}, {id}, {amount})"),
                ]
            });
            transaction(&statements.collect::<Vec<_>>(), &whereabouts(""))
        }
    }
}

/// Timeline, address and system identifier of the server that takes the write, in the same transaction: no leader changes within one.
/// Any role may call these functions. A `returning` would do without Citus, which allows only immutable functions there; a query for
/// one key it sends to the key's group as it is, functions and all.
fn whereabouts(of: &str) -> String {
    format!(
        "select pg_walfile_name(pg_current_wal_lsn()) as wal, host(inet_server_addr()) as server, \
         (pg_control_system()).system_identifier as system{of}"
    )
}

fn transaction(statements: &[String], last: &str) -> Script {
    let body = format!("begin; {}; {last}", statements.join("; "));
    // None for `begin`, one for everything else.
    let rows = std::iter::once(0).chain(std::iter::repeat_n(1, statements.len() + 1)).collect();
    Script { body, commit: true, rows }
}

/// What the answer to a body told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) timeline: Option<u32>,
    pub(super) server: Option<String>,
    pub(super) system: Option<u64>,
    pub(super) items: Option<Vec<u64>>,
}

/// Reads the answer to a body; one that concerned other rows than it had to is no success.
pub(super) fn read(script: &Script, messages: &[SimpleQueryMessage]) -> Result<Told, Trouble> {
    let mut rows = Vec::new();
    let mut told = Told::default();
    for message in messages {
        match message {
            SimpleQueryMessage::CommandComplete(count) => rows.push(*count),
            SimpleQueryMessage::Row(row) => {
                let column = |name| row.columns().iter().position(|c| c.name() == name).and_then(|index| row.get(index));
                told.timeline = column("wal").and_then(timeline).or(told.timeline);
                told.server = column("server").map(str::to_owned).or(told.server);
                told.system = column("system").and_then(|text| text.parse().ok()).or(told.system);
                told.items = column("items").and_then(items).or(told.items);
            }
            _ => {}
        }
    }
    if rows == script.rows {
        return Ok(told);
    }
    Err(Trouble::Odd(format!("the statements concerned {rows:?} rows, not {:?}", script.rows)))
}

/// A WAL file is named by its timeline, eight hexadecimal digits, and its place.
fn timeline(wal_file: &str) -> Option<u32> {
    u32::from_str_radix(wal_file.get(..8)?, 16).ok()
}

/// An array as text: `{1,2,3}`.
fn items(text: &str) -> Option<Vec<u64>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    inner.split(',').filter(|item| !item.is_empty()).map(|item| item.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(task: Task) -> ClientSpec {
        ClientSpec { key: 7, group: "g".into(), task }
    }

    fn call(action: Action) -> Invocation {
        Invocation { id: 9, client: 0, sequence: 3, group: "g".into(), action, due_ns: 0, invoked_ns: 0 }
    }

    #[test]
    fn choices_follow_from_the_seed_and_cover_what_there_is() {
        let accounts = [10, 20, 30];
        let choices = |seed, task| -> Vec<Action> { (0..300).map(|n| choose(&spec(task), &accounts, seed, 1, n)).collect() };
        assert_eq!(choices(5, Task::Bank), choices(5, Task::Bank));
        assert_ne!(choices(5, Task::Bank), choices(6, Task::Bank));
        let mut pairs = std::collections::BTreeSet::new();
        for choice in choices(5, Task::Bank) {
            let Action::Transfer { from, to, amount } = choice else { panic!("{choice:?}") };
            assert!(from != to && (1..=MOST as i64).contains(&amount));
            pairs.insert((from, to));
        }
        assert_eq!(pairs.len(), 6, "every pair of accounts in both directions");
        let reads = choices(5, Task::List).iter().filter(|choice| !choice.writes()).count();
        assert_eq!(reads, 100);
    }

    #[test]
    fn scripts_say_what_their_answers_have_to_be() {
        let transfer = script(&spec(Task::Bank), &call(Action::Transfer { from: 20, to: 10, amount: 5 }));
        assert_eq!(
            transfer.body,
            "begin; update pgclusterctl_drill.account set balance = balance + (5) where id = 10; \
             insert into pgclusterctl_drill.entry (account, op, amount) values (10, 9, 5); \
             update pgclusterctl_drill.account set balance = balance + (-5) where id = 20; \
             insert into pgclusterctl_drill.entry (account, op, amount) values (20, 9, -5); \
             select pg_walfile_name(pg_current_wal_lsn()) as wal, host(inet_server_addr()) as server, \
             (pg_control_system()).system_identifier as system"
        );
        assert_eq!((transfer.rows, transfer.commit), (vec![0, 1, 1, 1, 1, 1], true));
        let single = script(&spec(Task::Autocommit), &call(Action::Insert));
        assert_eq!(single.body, "insert into pgclusterctl_drill.log (client, sequence, op) values (7, 3, 9)");
        assert!(!single.commit);
        let own = script(&spec(Task::Own), &call(Action::Insert));
        assert!(
            own.body.contains("insert into pgclusterctl_drill.own ") && own.body.contains("from pgclusterctl_drill.own where")
        );
        assert_eq!((own.commit, own.rows), (true, vec![0, 1, 1]));
        let done = [SimpleQueryMessage::CommandComplete(1)];
        assert_eq!(read(&single, &done), Ok(Told::default()));
        let nothing = [SimpleQueryMessage::CommandComplete(0)];
        assert!(matches!(read(&single, &nothing), Err(Trouble::Odd(_))), "an update without its row is no success");
    }

    #[test]
    fn answers_are_read_as_text() {
        assert_eq!(timeline("0000000A0000000000000003"), Some(10));
        assert_eq!(timeline("short"), None);
        assert_eq!(items("{}"), Some(vec![]));
        assert_eq!(items("{4,5}"), Some(vec![4, 5]));
        assert_eq!(items("{4,x}"), None);
    }
}
