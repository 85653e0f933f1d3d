//! The tables that drills write into, and the queries of the final read. Pure text.
//!
//! All tables are distributed by an integer, so with Citus they are colocated: one key leads to one group in all of them.

use super::{ClientSpec, Task};

/// With which every account is opened.
pub const OPENING_BALANCE: i64 = 1000;

/// The tables' names.
const TABLES: [&str; 4] = ["drill_log", "drill_list", "drill_account", "drill_entry"];

/// Statements that make the tables anew, each to be run by itself.
pub fn create(clients: &[ClientSpec], accounts: &[i32], citus: bool) -> Vec<String> {
    let mut statements = drop();
    // No unique key: what is written twice has to show. The time does not tell the order, as hosts' clocks differ; it is for
    // people.
    statements.push(
        "create table drill_log (client int not null, sequence bigint not null, op bigint not null, \
         at timestamptz not null default clock_timestamp())"
            .into(),
    );
    statements.push("create table drill_list (key int primary key, items bigint[] not null default '{}')".into());
    statements.push("create table drill_account (id int primary key, balance bigint not null)".into());
    statements.push("create table drill_entry (account int not null, op bigint not null, amount bigint not null)".into());
    if citus {
        // Without keys of their own they would keep every shard that lies with them from being moved, also when a drill is over.
        statements.extend(["drill_log", "drill_entry"].map(|table| format!("alter table {table} replica identity full")));
        let distribute = |(table, column)| format!("select create_distributed_table('{table}', '{column}')");
        let columns = ["client", "key", "id", "account"];
        statements.extend(TABLES.into_iter().zip(columns).map(distribute));
    }
    let mut keys: Vec<i32> = clients.iter().filter(|c| c.task == Task::List).map(|c| c.key).collect();
    keys.sort_unstable();
    keys.dedup();
    // One round trip for all rows of a table.
    let insert = |into: &str, rows: Vec<String>| format!("insert into {into} values {}", rows.join(", "));
    if !keys.is_empty() {
        statements.push(insert("drill_list (key)", keys.iter().map(|key| format!("({key})")).collect()));
    }
    if !accounts.is_empty() {
        let opened = accounts.iter().map(|id| format!("({id}, {OPENING_BALANCE})"));
        statements.push(insert("drill_account (id, balance)", opened.collect()));
    }
    statements
}

/// Statements that remove the tables.
pub fn drop() -> Vec<String> {
    TABLES.iter().map(|table| format!("drop table if exists {table}")).collect()
}

/// The register log: `op`, `position`. `table` is `drill_log`, or the name of a shard when a member is asked for what it
/// itself holds.
///
/// The position is the transaction that wrote the row. Its number grows across failovers, as a standby goes on behind the last
/// one that it has replayed, and it is that of the group which holds the row. A sequence would not do: Citus asks the
/// coordinators' for its values, a commit on a shard does not wait until those are replicated, and after a failover of the
/// coordinators they are given out again.
pub fn read_log(table: &str) -> String {
    format!("select op, xmin::text::bigint as position from {table} order by position, op")
}

/// The lists: `key`, `items` as `bigint[]`. `table` is `drill_list` or a shard's name.
pub fn read_lists(table: &str) -> String {
    format!("select key, items from {table} order by key")
}

/// The sum of all balances: `total`, a bigint.
pub const READ_BANK_TOTAL: &str = "select coalesce(sum(balance), 0)::bigint as total from drill_account";

/// Sides of transfers: `op`, `account`, `amount`. `table` is `drill_entry` or a shard's name.
pub fn read_entries(table: &str) -> String {
    format!("select op, account, amount from {table} order by op, account")
}

/// Balances: `id`, `balance`. `table` is `drill_account` or a shard's name.
pub fn read_accounts(table: &str) -> String {
    format!("select id, balance from {table} order by id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_filled_at_once() {
        let list = |key| ClientSpec { key, group: String::new(), task: Task::List };
        let filled = |clients: &[ClientSpec], accounts: &[i32]| -> Vec<String> {
            create(clients, accounts, true).into_iter().filter(|statement| statement.starts_with("insert")).collect()
        };
        let expected = [
            "insert into drill_list (key) values (3), (7)",
            "insert into drill_account (id, balance) values (1, 1000), (2, 1000)",
        ];
        assert_eq!(filled(&[list(7), list(3), list(7)], &[1, 2]), expected);
        assert!(filled(&[], &[]).is_empty());
    }
}
