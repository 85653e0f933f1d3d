//! The tables that drills write into, and the queries of the final read. Pure text.
//!
//! With Citus all but [`OWN`] are distributed by an integer, and colocated: one key leads to one group in all of them.

use super::{ClientSpec, Task};

/// With which every account is opened.
pub const OPENING_BALANCE: i64 = 1000;

/// The schema that they have in the application's database for themselves.
pub const SCHEMA: &str = "pgclusterctl_drill";
/// The register log.
pub const LOG: &str = "pgclusterctl_drill.log";
/// With Citus, the register log of the coordinators themselves, who hold no row of the others: a plain table.
pub const OWN: &str = "pgclusterctl_drill.own";
/// The lists.
pub const LIST: &str = "pgclusterctl_drill.list";
/// The bank's accounts.
pub const ACCOUNT: &str = "pgclusterctl_drill.account";
/// The bank's transfers, side by side.
pub const ENTRY: &str = "pgclusterctl_drill.entry";

/// All tables that are distributed.
const TABLES: [&str; 4] = [LOG, LIST, ACCOUNT, ENTRY];

/// What the schema bears as its comment. One without it is somebody else's, and is left alone.
const MARK: &str = "made by pgclusterctl drill, which drops it";

/// The schema's comment: `mark`, empty where it has none; no row where there is no such schema.
pub const READ_MARK: &str = "select coalesce(obj_description(oid, 'pg_namespace'), '') as mark from pg_namespace \
     where nspname = 'pgclusterctl_drill'";

/// Whether a schema with this comment was made by a drill.
pub fn is_ours(mark: &str) -> bool {
    mark == MARK
}

/// Statements that make the tables anew, each to be run by itself.
pub fn create(clients: &[ClientSpec], accounts: &[i32], citus: bool) -> Vec<String> {
    let mut statements: Vec<String> = drop_tables().collect();
    // Where each schema of an application is a shard of its own, this one must not be: its tables are spread. Of this transaction
    // only, as the connection is shared.
    let spread = if citus { "set local citus.enable_schema_based_sharding to off; " } else { "" };
    statements
        .push(format!("begin; {spread}create schema if not exists {SCHEMA}; comment on schema {SCHEMA} is '{MARK}'; commit"));
    // No unique key: what is written twice has to show. The time does not tell the order, as hosts' clocks differ; it is for
    // people.
    for log in [LOG].into_iter().chain(citus.then_some(OWN)) {
        statements.push(format!(
            "create table {log} (client int not null, sequence bigint not null, op bigint not null, \
             at timestamptz not null default clock_timestamp())"
        ));
    }
    statements.push(format!("create table {LIST} (key int primary key, items bigint[] not null default '{{}}')"));
    statements.push(format!("create table {ACCOUNT} (id int primary key, balance bigint not null)"));
    statements.push(format!("create table {ENTRY} (account int not null, op bigint not null, amount bigint not null)"));
    if citus {
        // Without keys of their own they would keep every shard that lies with them from being moved.
        statements.extend([LOG, ENTRY].map(|table| format!("alter table {table} replica identity full")));
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
        statements.push(insert(&format!("{LIST} (key)"), keys.iter().map(|key| format!("({key})")).collect()));
    }
    if !accounts.is_empty() {
        let opened = accounts.iter().map(|id| format!("({id}, {OPENING_BALANCE})"));
        statements.push(insert(&format!("{ACCOUNT} (id, balance)"), opened.collect()));
    }
    statements
}

/// Statements that remove the tables.
pub fn drop_tables() -> impl Iterator<Item = String> {
    TABLES.iter().chain([&OWN]).map(|table| format!("drop table if exists {table}"))
}

/// The statement that removes their schema, unless somebody else has put something into it. On a group that shards were moved from it
/// fails, too, until Citus has removed what it keeps of them there for a while (`citus.defer_shard_delete_interval`, 15 s).
pub const DROP_SCHEMA: &str = "drop schema if exists pgclusterctl_drill";

/// The register log: `op`, `position`. `table` is [`LOG`], [`OWN`], or the name of a shard when a member is asked for what it
/// itself holds.
///
/// The position is the transaction that wrote the row. Its number grows across failovers, as a standby goes on behind the last
/// one that it has replayed, and it is that of the group which holds the row. A sequence would not do: Citus asks the
/// coordinators' for its values, a commit on a shard does not wait until those are replicated, and after a failover of the
/// coordinators they are given out again.
pub fn read_log(table: &str) -> String {
    format!("select op, xmin::text::bigint as position from {table} order by position, op")
}

/// The lists: `key`, `items` as `bigint[]`. `table` is [`LIST`] or a shard's name.
pub fn read_lists(table: &str) -> String {
    format!("select key, items from {table} order by key")
}

/// The sum of all balances: `total`, a bigint.
pub const READ_BANK_TOTAL: &str = "select coalesce(sum(balance), 0)::bigint as total from pgclusterctl_drill.account";

/// Sides of transfers: `op`, `account`, `amount`. `table` is [`ENTRY`] or a shard's name.
pub fn read_entries(table: &str) -> String {
    format!("select op, account, amount from {table} order by op, account")
}

/// Balances: `id`, `balance`. `table` is [`ACCOUNT`] or a shard's name.
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
            "insert into pgclusterctl_drill.list (key) values (3), (7)",
            "insert into pgclusterctl_drill.account (id, balance) values (1, 1000), (2, 1000)",
        ];
        assert_eq!(filled(&[list(7), list(3), list(7)], &[1, 2]), expected);
        assert!(filled(&[], &[]).is_empty());
    }

    #[test]
    fn the_coordinators_own_log_is_theirs_alone() {
        let about = |citus: bool| -> Vec<String> {
            create(&[], &[], citus).into_iter().filter(|statement| statement.contains(OWN)).collect()
        };
        let with_citus = about(true);
        assert_eq!(with_citus.len(), 2, "dropped and created, not distributed: {with_citus:?}");
        assert_eq!(about(false), [format!("drop table if exists {OWN}")]);
    }

    /// An application may have tables of any name: nothing outside of the drill's own schema is ever touched.
    #[test]
    fn drills_stay_in_their_own_schema() {
        assert!(TABLES.iter().all(|table| table.starts_with(&format!("{SCHEMA}."))));
        for statement in create(&[], &[], true) {
            assert!(statement.contains(SCHEMA), "{statement}");
        }
        let drops: Vec<String> = drop_tables().chain([DROP_SCHEMA.to_owned()]).collect();
        assert!(drops.iter().all(|statement| statement.contains(SCHEMA) && !statement.contains("cascade")), "{drops:?}");
        assert!(is_ours(MARK) && !is_ours("") && !is_ours("ours, too"));
    }
}
