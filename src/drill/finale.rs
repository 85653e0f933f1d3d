//! What is there when all is over: every group's leader, and every standby once it has replayed what its leader has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::DrillError;
use super::cast::connect;
use super::final_read::{BankRead, Entry, FinalRead, LogRow, Role, ServerRead};
use super::workload::tables;
use crate::observe::model::Observed;
use crate::remote::container::Container;
use crate::remote::sql::{self, SqlError};
use crate::steps::World;
use crate::topology::GroupId;

/// A query over everything that a drill wrote.
const QUERY: Duration = Duration::from_secs(30);
/// How long a standby may take to replay what its leader has.
const REPLAY: Duration = Duration::from_secs(30);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Resolves what two-phase commits left, and reads.
pub async fn read(world: World<'_>, observed: &Observed, accounts: usize) -> Result<FinalRead, DrillError> {
    let states = observed.patroni.known().cloned().unwrap_or_default();
    let leader_of = |group: GroupId| states.get(&group).map(|s| s.leader.clone()).unwrap_or_default();
    let (container, coordinator) = connect(world, &leader_of(GroupId::COORDINATOR)).await?;
    let citus = world.topology.citus.is_some();
    if citus {
        settle(&container, &coordinator).await?;
    }
    let mut servers = Vec::new();
    for group in &world.topology.groups {
        // With Citus the coordinators hold no rows.
        if citus && group.id.is_coordinator() {
            continue;
        }
        let shards = if citus { shards(&container, &coordinator, group.id).await? } else { Shards::whole() };
        let leader = leader_of(group.id);
        let (place, client) = connect(world, &leader).await?;
        let end: String = one(&place, &client, "select pg_current_wal_lsn()::text").await?;
        servers.push(server(&place, &client, &group.id.to_string(), Role::Leader, &shards).await?);
        for member in group.members.iter().filter(|m| m.name.as_str() != leader) {
            let (place, client) = connect(world, member.name.as_str()).await?;
            replayed(&place, &client, &end).await?;
            servers.push(server(&place, &client, &group.id.to_string(), Role::Standby, &shards).await?);
        }
    }
    let total = one::<i64>(&container, &coordinator, tables::READ_BANK_TOTAL).await?;
    let entries = sql::rows(&container, &coordinator, tables::READ_BANK_ENTRIES, QUERY).await?;
    let entry = |row: &tokio_postgres::Row| Entry { op: id(row.get(0)), account: row.get(1), amount: row.get(2) };
    let opened_with = tables::OPENING_BALANCE * i64::try_from(accounts).unwrap_or_default();
    let bank = BankRead { total, opened_with, entries: entries.iter().map(entry).collect() };
    Ok(FinalRead { servers, bank: Some(bank) })
}

/// Prepared transactions that a failure left over are resolved by Citus itself, from the records of the coordinator.
async fn settle(container: &Container, coordinator: &Client) -> Result<(), SqlError> {
    sql::rows(container, coordinator, "select recover_prepared_transactions()", QUERY).await.map(drop)
}

/// The tables in which a group has its part of the log and of the lists.
struct Shards {
    logs: Vec<String>,
    lists: Vec<String>,
}

impl Shards {
    fn whole() -> Self {
        Self { logs: vec!["drill_log".into()], lists: vec!["drill_list".into()] }
    }
}

async fn shards(container: &Container, coordinator: &Client, group: GroupId) -> Result<Shards, SqlError> {
    let sql = format!(
        "select s.logicalrelid::regclass::text, shard_name(s.logicalrelid, s.shardid) from pg_dist_shard s \
         join pg_dist_placement p using (shardid) where p.groupid = {} \
         and s.logicalrelid in ('drill_log'::regclass, 'drill_list'::regclass)",
        group.0
    );
    let mut shards = Shards { logs: Vec::new(), lists: Vec::new() };
    for row in sql::rows(container, coordinator, &sql, QUERY).await? {
        let list = if row.get::<_, String>(0).ends_with("drill_log") { &mut shards.logs } else { &mut shards.lists };
        list.push(row.get(1));
    }
    Ok(shards)
}

async fn server(
    container: &Container,
    client: &Client,
    group: &str,
    role: Role,
    shards: &Shards,
) -> Result<ServerRead, SqlError> {
    let mut rows = Vec::new();
    for table in &shards.logs {
        let found = sql::rows(container, client, &tables::read_log(table), QUERY).await?;
        rows.extend(found.iter().map(|row| LogRow { op: id(row.get(0)), position: row.get(1) }));
    }
    let mut lists: BTreeMap<i32, Vec<u64>> = BTreeMap::new();
    for table in &shards.lists {
        for row in sql::rows(container, client, &tables::read_lists(table), QUERY).await? {
            lists.insert(row.get(0), row.get::<_, Vec<i64>>(1).into_iter().map(id).collect());
        }
    }
    // Keys that nobody wrote to have empty lists, which say nothing.
    lists.retain(|_, items| !items.is_empty());
    Ok(ServerRead { group: group.to_owned(), server: container.name.clone(), role, rows, lists })
}

/// Waits until a standby has replayed up to a position of its leader.
async fn replayed(container: &Container, client: &Client, end: &str) -> Result<(), DrillError> {
    let started = Instant::now();
    let sql = format!("select coalesce(pg_last_wal_replay_lsn() >= '{end}'::pg_lsn, false)");
    while !one::<bool>(container, client, &sql).await? {
        if started.elapsed() > REPLAY {
            let reason = format!("has not replayed {end} of its leader within {} s", REPLAY.as_secs());
            return Err(DrillError::Fault { target: container.name.clone(), reason });
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Transactions that are prepared and left over on a group's leader.
pub async fn left_over(world: World<'_>, leader: &str) -> Result<i64, DrillError> {
    let (container, client) = connect(world, leader).await?;
    Ok(one(&container, &client, "select count(*) from pg_prepared_xacts").await?)
}

async fn one<T: for<'a> tokio_postgres::types::FromSql<'a>>(
    container: &Container,
    client: &Client,
    sql: &str,
) -> Result<T, SqlError> {
    let rows = sql::rows(container, client, sql, QUERY).await?;
    Ok(rows.first().expect("an aggregate or an expression has one row").get(0))
}

/// Ids are written as `bigint` and are never negative.
fn id(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}
