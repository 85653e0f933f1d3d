//! PostgreSQL settings that follow from a role's limits, its group's size and Citus. Pure.
//!
//! Called by the templates, which put the result into Patroni's dynamic configuration, so that all members of a group agree.
//! A limit holds for one service: members that share a host each have their own, and nothing here adds them up.
//!
//! PostgreSQL reads `MB` as 1024² bytes, and so does this module.

use std::collections::BTreeMap;

use super::ids::GroupId;
use super::model::{Citus, Resources, Role, Topology};

const MIB: u64 = 1 << 20;

/// `shared_buffers` where no limit says more: PostgreSQL's default, fit for a laptop that runs a dozen members.
const SHARED_BUFFERS_DEFAULT_MB: u64 = 128;

/// `effective_cache_size` where no limit says more: what a dozen members on a laptop may hope for.
const EFFECTIVE_CACHE_DEFAULT_MB: u64 = 512;

/// `work_mem` at least: PostgreSQL's default.
const WORK_MEM_MIN_MB: u64 = 4;

/// `maintenance_work_mem` where no limit says more (PostgreSQL's default), and at most: autovacuum gains nothing from more than
/// 1 GB before PostgreSQL 17 and little after, and an index build may raise it for its session.
const MAINTENANCE_DEFAULT_MB: u64 = 64;
const MAINTENANCE_MAX_MB: u64 = 2048;

/// Parallel workers where no limit on cores says otherwise; PostgreSQL's default of 8 is too much for a dozen members on a laptop.
const PARALLEL_DEFAULT: u64 = 4;

/// Connections beside the poolers': Patroni, monitoring, superusers, Citus' maintenance daemon, shard moves, people.
const CONNECTIONS_ASIDE: u64 = 50;

/// Connections that a worker grants beyond one coordinator's share: repartitioning joins, shard moves and the other workers.
const CONNECTIONS_BETWEEN_WORKERS: u64 = 100;

/// PgBouncer keeps a pool per database and user; an application and an operator, or a reader, make two.
const POOLS_PER_PROXY: u64 = 2;

/// How many moves of a rebalance may run at once (`shards rebalance --parallel`), in all and on one node. Citus' default is 1 for
/// both. A rebalance runs one move at a time unless it is asked for more, whatever is allowed here; so many fit into
/// [`LOGICAL_WORKERS_CITUS`].
const CITUS_TASK_EXECUTORS: u64 = 4;

/// Background workers that Citus itself starts: the maintenance daemon of the database and the monitor of the task queue.
const CITUS_OWN_WORKERS: u64 = 2;

/// Logical replication workers: PostgreSQL's default, and with Citus twice as many, since a shard move is a subscription per
/// owner of its tables, each with a worker that applies and one that copies.
const LOGICAL_WORKERS: u64 = 4;
const LOGICAL_WORKERS_CITUS: u64 = 8;

/// WAL senders and slots beside one per member: base backups of joining members, backups, shard moves (Patroni's default is 10).
const SENDERS_ASIDE: u64 = 10;

/// For so many members at a time there is room: a change of these settings restarts a whole group, and one more standby shall not.
const MEMBERS_AT_A_TIME: u64 = 4;

/// Readers that find room among those aside: a change of these settings restarts a whole group, and one more reader shall not.
const READERS_ASIDE: usize = 4;

/// All settings of a group: derived ones, with those of `[postgres.parameters]` over them.
pub fn postgres_parameters(topology: &Topology, group: GroupId) -> BTreeMap<String, String> {
    let role = if group.is_coordinator() { Role::Coordinator } else { Role::Worker };
    let none = Resources { cpus: 0.0, memory: 0, storage: 0 };
    let limits = topology.resources.get(&role).unwrap_or(&none);
    let connections = max_connections(topology, group);
    let mut set = BTreeMap::new();
    memory(limits, connections, &mut set);
    workers(limits, topology.citus, &mut set);
    replication(topology, group, limits, &mut set);
    put(&mut set, "max_connections", connections);
    if let Some(citus) = topology.citus {
        put(&mut set, "citus.shard_count", citus.shard_count);
        put(&mut set, "citus.max_background_task_executors", CITUS_TASK_EXECUTORS);
        put(&mut set, "citus.max_background_task_executors_per_node", CITUS_TASK_EXECUTORS);
        // What one node opens to another, all its sessions together; a worker grants this much and more.
        put(&mut set, "citus.max_shared_pool_size", max_connections(topology, GroupId::COORDINATOR));
        // Two-phase commit on every write that touches two shards (Citus' own advice: twice the connections).
        put(&mut set, "max_prepared_transactions", 2 * connections);
    } else {
        // PostgreSQL's manual: nobody uses them, so a forgotten one shall not hold back vacuum.
        put(&mut set, "max_prepared_transactions", 0);
    }
    // The data lie on flash nowadays; 4.0 is the price of a turning disk.
    put(&mut set, "random_page_cost", "1.1");
    put(&mut set, "log_lock_waits", "on");
    set.extend(topology.parameters.iter().map(|(k, v)| (k.clone(), v.clone())));
    set
}

/// Connections of a group's servers. Every pool of every proxy must find room at once on the coordinator leader, since both
/// proxies may have clients while the VIP moves; workers grant what the coordinator opens, and more.
fn max_connections(topology: &Topology, group: GroupId) -> u64 {
    let pools = POOLS_PER_PROXY * topology.proxies.len() as u64 * u64::from(topology.pooler.default_pool_size);
    // PostgreSQL's default of 100 is the least that people expect.
    let coordinator = (pools + CONNECTIONS_ASIDE).max(100);
    if group.is_coordinator() { coordinator } else { coordinator + CONNECTIONS_BETWEEN_WORKERS }
}

fn memory(limits: &Resources, connections: u64, set: &mut BTreeMap<String, String>) {
    let limit = limits.memory / MIB;
    let (shared, cache, work, maintenance) = if limit == 0 {
        (SHARED_BUFFERS_DEFAULT_MB, EFFECTIVE_CACHE_DEFAULT_MB, WORK_MEM_MIN_MB, MAINTENANCE_DEFAULT_MB)
    } else {
        // A quarter for shared_buffers (PostgreSQL manual, 19.4.1), three quarters as the planner's idea of all caches
        // (PostgreSQL wiki, "Tuning Your PostgreSQL Server"; the page cache counts towards a container's limit).
        let shared = limit / 4;
        // A query sorts or hashes a few times at once: room for three per connection if all were busy.
        let work = ((limit - shared) / (3 * connections)).max(WORK_MEM_MIN_MB);
        let maintenance = (limit / 16).clamp(16, MAINTENANCE_MAX_MB);
        (shared, limit * 3 / 4, work, maintenance)
    };
    for (name, megabytes) in
        [("shared_buffers", shared), ("effective_cache_size", cache), ("work_mem", work), ("maintenance_work_mem", maintenance)]
    {
        put(set, name, format!("{megabytes}MB"));
    }
}

fn workers(limits: &Resources, citus: Option<Citus>, set: &mut BTreeMap<String, String>) {
    // The lint keeps cores within 0 and 1024, so the cast loses nothing but the fraction, which was rounded up.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let parallel = if limits.cpus > 0.0 { (limits.cpus.ceil() as u64).clamp(2, 64) } else { PARALLEL_DEFAULT };
    let (logical, own) = match citus {
        Some(_) => (LOGICAL_WORKERS_CITUS, CITUS_OWN_WORKERS + CITUS_TASK_EXECUTORS),
        None => (LOGICAL_WORKERS, 0),
    };
    // One more is the launcher of logical replication.
    put(set, "max_worker_processes", parallel + logical + own + 1);
    put(set, "max_parallel_workers", parallel);
    // Half the cores for one query, four at most, as beyond that a gather hardly gains (PostgreSQL's default is 2).
    put(set, "max_parallel_workers_per_gather", (parallel / 2).clamp(1, 4));
    put(set, "max_parallel_maintenance_workers", (parallel / 2).clamp(1, 4));
    put(set, "max_logical_replication_workers", logical);
}

fn replication(topology: &Topology, group: GroupId, limits: &Resources, set: &mut BTreeMap<String, String>) {
    let members = topology.group(group).map_or(0, |g| g.members.len() + g.readers.len().saturating_sub(READERS_ASIDE)) as u64;
    // Citus moves shards by logical replication.
    put(set, "wal_level", if topology.citus.is_some() { "logical" } else { "replica" });
    let senders = members.next_multiple_of(MEMBERS_AT_A_TIME) + SENDERS_ASIDE;
    put(set, "max_wal_senders", senders);
    put(set, "max_replication_slots", senders);
    put(set, "wal_compression", "lz4");
    // Patroni's default: a standby that was away for a moment need not be cloned, even without a slot.
    put(set, "wal_keep_size", "128MB");
    let storage = limits.storage / MIB;
    if storage > 0 {
        // Checkpoints further apart on a large volume; a twentieth of it, between PostgreSQL's default and 16 GB.
        put(set, "max_wal_size", format!("{}MB", (storage / 20).clamp(1024, 16 * 1024)));
        // A lost standby's slot may not fill the volume: beyond a tenth of it the standby is cloned anew instead.
        put(set, "max_slot_wal_keep_size", format!("{}MB", (storage / 10).max(1024)));
    }
}

fn put(set: &mut BTreeMap<String, String>, name: &str, value: impl ToString) {
    set.insert(name.to_owned(), value.to_string());
}
