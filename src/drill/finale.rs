//! What is there when all is over: every group's leader, and every standby, readers too, once it has replayed what its leader has.

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
/// How long what was left prepared may stay: Patroni has Citus recover it every two seconds (`images/node/patroni-for-swarm`).
pub const RECOVERED: Duration = Duration::from_secs(10);
/// How long a standby may take to replay what its leader has.
const REPLAY: Duration = Duration::from_secs(30);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Where each shard of the drill's tables was when its clients began: they call their data by these groups, wherever it is moved.
pub type Homes = BTreeMap<i64, GroupId>;

/// Asks for it.
pub async fn homes(world: World<'_>, coordinator: &str) -> Result<Homes, DrillError> {
    let (container, client) = connect(world, coordinator).await?;
    let placed = placements(&container, &client).await?;
    Ok(placed.into_iter().map(|shard| (shard.id, shard.group)).collect())
}

/// What is there, and what was left to be resolved before.
#[derive(Debug)]
pub struct Finale {
    /// For the checker.
    pub read: FinalRead,
    /// Leaders on which transactions were prepared when all clients had ended, and how many: a leader that was lost left them.
    pub prepared: BTreeMap<String, u64>,
    /// What of it was still there after [`RECOVERED`], without anybody's asking.
    pub stuck: BTreeMap<String, u64>,
}

/// Resolves what two-phase commits left, and reads. With `homes` what each group had is put together again from where it is now.
pub async fn read(world: World<'_>, observed: &Observed, accounts: usize, homes: Option<&Homes>) -> Result<Finale, DrillError> {
    let states = observed.patroni.known().cloned().unwrap_or_default();
    let leader_of = |group: GroupId| states.get(&group).map(|s| s.leader.clone()).unwrap_or_default();
    let (container, coordinator) = connect(world, &leader_of(GroupId::COORDINATOR)).await?;
    let citus = world.topology.citus.is_some();
    let leaders: Vec<String> = world.topology.groups.iter().map(|group| leader_of(group.id)).collect();
    let (prepared, stuck) = recovered(world, &leaders).await?;
    if citus {
        settle(&container, &coordinator).await?;
    }
    let placed = if citus { placements(&container, &coordinator).await? } else { Vec::new() };
    let mut parts = Parts::new();
    for group in &world.topology.groups {
        let tables = if !citus {
            Tables::whole()
        } else if group.id.is_coordinator() {
            Tables::own()
        } else {
            tables_of(group.id, &placed, homes)
        };
        let leader = leader_of(group.id);
        let (place, client) = connect(world, &leader).await?;
        let end: String = one(&place, &client, "select pg_current_wal_lsn()::text").await?;
        parts.add(server(&place, &client, &tables).await?, Replica::Leader, &leader);
        let standbys = group.everyone().filter(|m| m.name.as_str() != leader);
        for (number, member) in standbys.enumerate() {
            let (place, client) = connect(world, member.name.as_str()).await?;
            replayed(&place, &client, &end).await?;
            parts.add(server(&place, &client, &tables).await?, Replica::Standby(number), member.name.as_str());
        }
    }
    let shards = world.topology.groups.iter().filter(|group| !citus || !group.id.is_coordinator());
    let fewest = shards.map(|group| group.members.len() - 1).min().unwrap_or_default();
    // The coordinators' own log is moved nowhere.
    let servers = parts.gathered(|group| if homes.is_none() || group.is_coordinator() { usize::MAX } else { fewest });
    let total = one::<i64>(&container, &coordinator, tables::READ_BANK_TOTAL).await?;
    let entries = entries(&container, &coordinator, tables::ENTRY).await?;
    let opened_with = tables::OPENING_BALANCE * i64::try_from(accounts).unwrap_or_default();
    let bank = BankRead { total, opened_with, entries };
    Ok(Finale { read: FinalRead { servers, bank: Some(bank) }, prepared, stuck })
}

/// What was left prepared at first, and in the end.
async fn recovered(world: World<'_>, leaders: &[String]) -> Result<(BTreeMap<String, u64>, BTreeMap<String, u64>), DrillError> {
    let started = Instant::now();
    let mut first = None;
    loop {
        let mut left = BTreeMap::new();
        for leader in leaders {
            let count = left_over(world, leader).await?;
            left.extend((count > 0).then(|| (leader.clone(), count)));
        }
        let over = left.is_empty() || started.elapsed() > RECOVERED;
        let first = first.get_or_insert_with(|| left.clone());
        if over {
            return Ok((std::mem::take(first), left));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What was still left over is resolved by Citus itself, from the records of the coordinator, so that the final read is final.
async fn settle(container: &Container, coordinator: &Client) -> Result<(), SqlError> {
    sql::rows(container, coordinator, "select recover_prepared_transactions()", QUERY).await.map(drop)
}

/// What a table of the drill has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Log,
    List,
    Account,
    Entry,
}

impl Kind {
    const ALL: [(Self, &str); 4] =
        [(Self::Log, tables::LOG), (Self::List, tables::LIST), (Self::Account, tables::ACCOUNT), (Self::Entry, tables::ENTRY)];

    fn of(table: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, name)| *name == table).map(|(kind, _)| kind)
    }
}

/// A shard of one of the drill's tables.
struct Placed {
    id: i64,
    /// Where it is now.
    group: GroupId,
    /// Its table's name there.
    table: String,
    kind: Kind,
}

async fn placements(container: &Container, coordinator: &Client) -> Result<Vec<Placed>, SqlError> {
    let tables: Vec<String> = Kind::ALL.iter().map(|(_, name)| format!("'{name}'::regclass")).collect();
    let sql = format!(
        "select shardid, groupid::int4, shard_name(logicalrelid, shardid), relnamespace::regnamespace || '.' || relname \
         from pg_dist_shard join pg_dist_placement using (shardid) join pg_class on pg_class.oid = logicalrelid \
         where logicalrelid in ({})",
        tables.join(", ")
    );
    let placed = |row: &tokio_postgres::Row| {
        Some(Placed {
            id: row.get(0),
            group: GroupId(u32::try_from(row.get::<_, i32>(1)).unwrap_or_default()),
            table: row.get(2),
            kind: Kind::of(row.get(3))?,
        })
    };
    Ok(sql::rows(container, coordinator, &sql, QUERY).await?.iter().filter_map(placed).collect())
}

/// The tables in which a group has its part of what was written, each with the group that it belongs to.
struct Tables {
    all: Vec<(Kind, GroupId, String)>,
    /// Rows that were copied bear the number of the transaction that copied them.
    copied: bool,
    group: GroupId,
}

impl Tables {
    fn whole() -> Self {
        let group = GroupId::COORDINATOR;
        Self { all: Kind::ALL.map(|(kind, name)| (kind, group, name.to_owned())).to_vec(), copied: false, group }
    }

    /// Of the coordinators with Citus, whose only rows are those of their own log.
    fn own() -> Self {
        let group = GroupId::COORDINATOR;
        Self { all: vec![(Kind::Log, group, tables::OWN.to_owned())], copied: false, group }
    }
}

fn tables_of(group: GroupId, placed: &[Placed], homes: Option<&Homes>) -> Tables {
    let home = |shard: &Placed| homes.and_then(|homes| homes.get(&shard.id)).copied().unwrap_or(group);
    let there = placed.iter().filter(|shard| shard.group == group);
    let all = there.map(|shard| (shard.kind, home(shard), shard.table.clone())).collect();
    Tables { all, copied: homes.is_some(), group }
}

/// What a server holds of what belongs to one group.
#[derive(Debug, Default)]
struct Part {
    rows: Vec<LogRow>,
    lists: BTreeMap<i32, Vec<u64>>,
    accounts: BTreeMap<i32, i64>,
    entries: Vec<Entry>,
}

/// What a server holds, by the group that it belongs to.
type Held = BTreeMap<GroupId, Part>;

async fn server(container: &Container, client: &Client, tables: &Tables) -> Result<Held, SqlError> {
    // Also a group without any shard was read.
    let mut held = Held::from([(tables.group, Part::default())]);
    for (kind, home, table) in &tables.all {
        let part = held.entry(*home).or_default();
        match kind {
            Kind::Log => {
                let found = sql::rows(container, client, &tables::read_log(table), QUERY).await?;
                let position = |row: &tokio_postgres::Row| if tables.copied { 0 } else { row.get(1) };
                part.rows.extend(found.iter().map(|row| LogRow { op: id(row.get(0)), position: position(row) }));
            }
            Kind::List => {
                for row in sql::rows(container, client, &tables::read_lists(table), QUERY).await? {
                    part.lists.insert(row.get(0), row.get::<_, Vec<i64>>(1).into_iter().map(id).collect());
                }
                // Keys that nobody wrote to have empty lists, which say nothing.
                part.lists.retain(|_, items| !items.is_empty());
            }
            Kind::Account => {
                let found = sql::rows(container, client, &tables::read_accounts(table), QUERY).await?;
                part.accounts.extend(found.iter().map(|row| (row.get::<_, i32>(0), row.get::<_, i64>(1))));
            }
            Kind::Entry => part.entries.extend(entries(container, client, table).await?),
        }
    }
    Ok(held)
}

/// Sides of transfers in a table or a shard.
async fn entries(container: &Container, client: &Client, table: &str) -> Result<Vec<Entry>, SqlError> {
    let found = sql::rows(container, client, &tables::read_entries(table), QUERY).await?;
    Ok(found.iter().map(|row| Entry { op: id(row.get(0)), account: row.get(1), amount: row.get(2) }).collect())
}

/// Which replica of a group's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Replica {
    Leader,
    Standby(usize),
}

/// What was read, by the group that it belongs to and the replica that it is of.
struct Parts(BTreeMap<(GroupId, Replica), ServerRead>);

impl Parts {
    fn new() -> Self {
        Self(BTreeMap::new())
    }

    fn add(&mut self, held: Held, replica: Replica, server: &str) {
        let role = if replica == Replica::Leader { Role::Leader } else { Role::Standby };
        for (home, part) in held {
            let empty = || ServerRead {
                group: home.to_string(),
                server: String::new(),
                role,
                rows: Vec::new(),
                lists: BTreeMap::new(),
                accounts: BTreeMap::new(),
                entries: Vec::new(),
            };
            let read = self.0.entry((home, replica)).or_insert_with(empty);
            let comma = if read.server.is_empty() { "" } else { ", " };
            read.server += &format!("{comma}{server}");
            read.rows.extend(part.rows);
            read.lists.extend(part.lists);
            read.accounts.extend(part.accounts);
            read.entries.extend(part.entries);
        }
    }

    /// Leaders, and so many standbys of each group: what is spread over groups is whole where each of them has one.
    fn gathered(self, standbys: impl Fn(GroupId) -> usize) -> Vec<ServerRead> {
        let wanted = |group: GroupId, replica: Replica| match replica {
            Replica::Leader => true,
            Replica::Standby(number) => number < standbys(group),
        };
        self.0.into_iter().filter(|((group, replica), _)| wanted(*group, *replica)).map(|(_, read)| read).collect()
    }
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
pub async fn left_over(world: World<'_>, leader: &str) -> Result<u64, DrillError> {
    let (container, client) = connect(world, leader).await?;
    let count: i64 = one(&container, &client, "select count(*) from pg_prepared_xacts").await?;
    Ok(count.unsigned_abs())
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

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: GroupId = GroupId(1);
    const TWO: GroupId = GroupId(2);

    fn placed(id: i64, group: GroupId, kind: Kind) -> Placed {
        Placed { id, group, table: format!("t_{id}"), kind }
    }

    fn rows(ops: &[u64]) -> Vec<LogRow> {
        ops.iter().map(|op| LogRow { op: *op, position: 0 }).collect()
    }

    #[test]
    fn a_shard_belongs_to_the_group_that_it_began_in() {
        let now = [placed(7, TWO, Kind::Log), placed(8, TWO, Kind::Entry), placed(9, ONE, Kind::List)];
        let homes = Homes::from([(7, ONE), (8, TWO), (9, ONE)]);
        let there = tables_of(TWO, &now, Some(&homes));
        assert_eq!(there.all, [(Kind::Log, ONE, "t_7".to_owned()), (Kind::Entry, TWO, "t_8".to_owned())]);
        assert!(there.copied);
        let unmoved = tables_of(TWO, &now, None);
        assert!(unmoved.all.iter().all(|(_, home, _)| *home == TWO) && !unmoved.copied);
    }

    #[test]
    fn what_a_group_had_is_put_together_from_where_it_is() {
        let held = |home: GroupId, ops: &[u64], list: &[u64]| {
            let lists = list.iter().map(|op| (i32::try_from(*op).expect("small"), vec![*op])).collect();
            let entries = ops.iter().map(|op| Entry { op: *op, account: 1, amount: 5 }).collect();
            Held::from([(home, Part { rows: rows(ops), lists, accounts: BTreeMap::new(), entries })])
        };
        let mut parts = Parts::new();
        parts.add(held(ONE, &[1], &[5]), Replica::Leader, "worker-1-1");
        parts.add(held(ONE, &[2, 2], &[6]), Replica::Leader, "worker-2-1");
        parts.add(held(ONE, &[1], &[5]), Replica::Standby(0), "worker-1-2");
        parts.add(held(ONE, &[2], &[6]), Replica::Standby(0), "worker-2-2");
        // The other group has no third member that could have the rest.
        parts.add(held(ONE, &[1], &[5]), Replica::Standby(1), "worker-1-3");
        let read = parts.gathered(|_| 1);
        let [leader, standby] = read.as_slice() else { panic!("{read:#?}") };
        assert_eq!((leader.role, leader.server.as_str()), (Role::Leader, "worker-1-1, worker-2-1"));
        assert_eq!(leader.rows, rows(&[1, 2, 2]), "a row that is there twice stays twice");
        assert_eq!(leader.entries.iter().map(|entry| entry.op).collect::<Vec<_>>(), [1, 2, 2]);
        assert_eq!(leader.lists, BTreeMap::from([(5, vec![5]), (6, vec![6])]));
        assert_eq!((standby.role, standby.server.as_str()), (Role::Standby, "worker-1-2, worker-2-2"));
        assert_eq!(standby.rows, rows(&[1, 2]));
    }
}
