//! What the servers hold after a drill, as data. Whoever runs the drill fills it: the leader of each group, and each standby
//! once it has replayed everything; [`super::workload::tables`] has the queries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Who a server was when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// What it holds is the truth that the history is held against.
    Leader,
    /// Has to hold the same.
    Standby,
}

/// A row of the register log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogRow {
    /// The operation's id.
    pub op: u64,
    /// The transaction that wrote it: grows in the order of execution.
    pub position: i64,
}

/// One side of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The operation's id.
    pub op: u64,
    /// The account.
    pub account: i32,
    /// What it gained, below zero for who paid.
    pub amount: i64,
}

/// What one server holds of its group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerRead {
    /// Its group, as in the history.
    pub group: String,
    /// Its name.
    pub server: String,
    /// Who it was.
    pub role: Role,
    /// All rows of the register log, in any order, also those that appear twice.
    pub rows: Vec<LogRow>,
    /// All lists by key, each in its order.
    pub lists: BTreeMap<i32, Vec<u64>>,
    /// Balances of the bank's accounts.
    pub accounts: BTreeMap<i32, i64>,
    /// Sides of transfers, in any order, also those that appear twice.
    pub entries: Vec<Entry>,
}

/// The bank, read through the coordinators' leader after prepared transactions were resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankRead {
    /// Sum of all balances.
    pub total: i64,
    /// Sum with which it was opened.
    pub opened_with: i64,
    /// Both sides of every transfer, in any order.
    pub entries: Vec<Entry>,
}

/// Everything that was read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinalRead {
    /// Of each group the leader and its standbys.
    pub servers: Vec<ServerRead>,
    /// `None` where no client made transfers.
    pub bank: Option<BankRead>,
}
