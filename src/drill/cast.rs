//! Who writes during a drill: clients whose rows lead to every group, most of them to those that are hit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Client;

use super::DrillError;
use super::workload::{ClientSpec, Limits, Target, Task, Timeouts, Workload, WorkloadOptions, tables};
use crate::observe::shards::Catalog;
use crate::remote::sql;
use crate::steps::World;
use crate::topology::GroupId;

/// Keys that are tried until every group has its clients.
const KEYS: std::ops::RangeInclusive<i32> = 1..=96;
/// From one operation of a client to its next. Outages are seen to this precision; more would be a load test.
const PERIOD: Duration = Duration::from_millis(100);
/// Clients of each other group.
const OTHERS: usize = 2;
/// The bank's accounts.
const ACCOUNTS: i32 = 12;
/// A catalog answers at once.
const QUERY: Duration = Duration::from_secs(5);

/// What a drill's workload is made from.
#[derive(Debug, Clone)]
pub struct Casting {
    /// Where the clients connect.
    pub target: Target,
    /// The groups that get `clients` each.
    pub hit: BTreeSet<GroupId>,
    /// How many, at least 1.
    pub clients: usize,
    /// The choices of all clients.
    pub seed: u64,
    /// Where the record goes.
    pub folder: PathBuf,
    /// Patience of the clients.
    pub timeouts: Timeouts,
    /// When the workload ends by itself.
    pub run_time: Duration,
}

/// Makes the tables anew and chooses clients that fit where Citus has put them.
pub async fn prepare(world: World<'_>, casting: Casting, leader: &str) -> Result<WorkloadOptions, DrillError> {
    let citus = world.topology.citus.is_some();
    let mut options = WorkloadOptions {
        target: casting.target,
        // Every key gets its list, so that any of them can be chosen.
        clients: KEYS.map(|key| ClientSpec { key, group: String::new(), task: Task::List }).collect(),
        period: PERIOD,
        folder: casting.folder,
        seed: casting.seed,
        accounts: (1..=ACCOUNTS).collect(),
        timeouts: casting.timeouts,
        limits: Limits { run_time: casting.run_time, operations: 0 },
    };
    synced(world, leader).await?;
    Workload::prepare(&options, citus).await?;
    let keys = if citus { placed(world, leader).await? } else { BTreeMap::from([(GroupId::COORDINATOR, KEYS.collect())]) };
    options.clients = clients(&keys, citus, &casting.hit, casting.clients);
    options.limits.operations = operations(options.clients.len(), casting.run_time);
    Ok(options)
}

/// As many as all clients can begin in a run: none of them ends before it does, however long that is.
fn operations(clients: usize, run_time: Duration) -> u64 {
    let of_each = run_time.as_millis().div_ceil(PERIOD.as_millis()) + 1;
    u64::try_from(of_each).unwrap_or(u64::MAX).saturating_mul(clients as u64)
}

/// Clients of every group: of those that are hit as many as were asked for, of the others a few; one list that two share, and
/// two that move money between all groups. With Citus those of the coordinators write to the coordinators' own log.
fn clients(keys: &BTreeMap<GroupId, Vec<i32>>, citus: bool, hit: &BTreeSet<GroupId>, count: usize) -> Vec<ClientSpec> {
    let share = |group: GroupId| if hit.contains(&group) { count } else { OTHERS };
    let mut clients = Vec::new();
    if citus {
        let own = |key| ClientSpec { key, group: GroupId::COORDINATOR.to_string(), task: Task::Own };
        clients.extend(KEYS.take(share(GroupId::COORDINATOR)).map(own));
    }
    for (group, keys) in keys {
        let share = share(*group);
        let name = group.to_string();
        for (index, key) in keys.iter().take(share).enumerate() {
            let task = if index % 4 == 3 { Task::Autocommit } else { Task::Register };
            clients.push(ClientSpec { key: *key, group: name.clone(), task });
        }
        if let Some(key) = keys.last() {
            clients.extend((0..2).map(|_| ClientSpec { key: *key, group: name.clone(), task: Task::List }));
        }
    }
    let bank = ClientSpec { key: 0, group: GroupId::COORDINATOR.to_string(), task: Task::Bank };
    clients.extend([bank.clone(), bank]);
    clients
}

/// Keys by the group that holds their rows.
async fn placed(world: World<'_>, leader: &str) -> Result<BTreeMap<GroupId, Vec<i32>>, DrillError> {
    let sql = format!(
        "select k::int4, p.groupid::int4 from generate_series({}, {}) k \
         join pg_dist_placement p on p.shardid = get_shard_id_for_distribution_column('{}'::regclass, k::int4)",
        KEYS.start(),
        KEYS.end(),
        tables::LOG
    );
    let (container, client) = connect(world, leader).await?;
    let mut keys: BTreeMap<GroupId, Vec<i32>> = BTreeMap::new();
    for row in sql::rows(&container, &client, &sql, QUERY).await? {
        let group = GroupId(u32::try_from(row.get::<_, i32>(1)).unwrap_or_default());
        keys.entry(group).or_default().push(row.get(0));
    }
    Ok(keys)
}

/// Waits until the drill's tables may be made or dropped, with Citus: not right after a change of leader.
pub async fn synced(world: World<'_>, leader: &str) -> Result<(), DrillError> {
    if world.topology.citus.is_some() {
        Catalog::open(world.topology, world.fleet, leader).await?.synced().await?;
    }
    Ok(())
}

/// The application's database of a member, as postgres.
pub async fn connect(world: World<'_>, member: &str) -> Result<(crate::remote::container::Container, Client), DrillError> {
    let container = world.fleet.member(world.topology, member).await?;
    let client = sql::connect_to(&container, &world.topology.database).await?;
    Ok((container, client))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_has_clients_and_those_that_are_hit_have_most() {
        let keys = BTreeMap::from([(GroupId(1), vec![1, 4, 7, 9, 12, 15, 18, 20, 21]), (GroupId(2), vec![2, 3, 5])]);
        let count = |clients: &[ClientSpec], group: GroupId, tasks: &[Task]| {
            clients.iter().filter(|client| client.group == group.to_string() && tasks.contains(&client.task)).count()
        };
        let log = [Task::Register, Task::Autocommit];
        let hit = |groups: &[u32]| groups.iter().copied().map(GroupId).collect::<BTreeSet<_>>();
        let coordinators_hit = clients(&keys, true, &hit(&[0]), 8);
        assert_eq!(count(&coordinators_hit, GroupId::COORDINATOR, &[Task::Own]), 8);
        assert_eq!((count(&coordinators_hit, GroupId(1), &log), count(&coordinators_hit, GroupId(2), &log)), (2, 2));
        let shard_hit = clients(&keys, true, &hit(&[1]), 8);
        assert_eq!(count(&shard_hit, GroupId::COORDINATOR, &[Task::Own]), 2);
        assert_eq!((count(&shard_hit, GroupId(1), &log), count(&shard_hit, GroupId(2), &log)), (8, 2));
        for group in [1, 2].map(GroupId) {
            assert_eq!(count(&shard_hit, group, &[Task::List]), 2);
        }
        let plain = BTreeMap::from([(GroupId::COORDINATOR, KEYS.collect::<Vec<_>>())]);
        let both_hit = clients(&keys, true, &hit(&[0, 1]), 8);
        assert_eq!(count(&both_hit, GroupId::COORDINATOR, &[Task::Own]), 8);
        assert_eq!((count(&both_hit, GroupId(1), &log), count(&both_hit, GroupId(2), &log)), (8, 2));
        let plain = clients(&plain, false, &hit(&[0]), 8);
        assert_eq!((count(&plain, GroupId::COORDINATOR, &log), count(&plain, GroupId::COORDINATOR, &[Task::Own])), (8, 0));
    }

    #[test]
    fn clients_write_for_as_long_as_a_run_may_last() {
        assert_eq!(operations(1, Duration::from_secs(1)), 11);
        assert_eq!(operations(70, Duration::from_secs(1_500)), 70 * 15_001);
    }
}
