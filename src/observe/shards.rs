//! Tables, shards and Citus' background job, from the coordinators' leader.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use crate::remote::container::Container;
use crate::remote::fleet::{Fleet, FleetError};
use crate::remote::sql::{self, SqlError, Words, says};
use crate::shards::{
    Job, JobWords, Move, MoveFacts, Node, Placement, PlannedShard, RunningMove, ShardMap, Strategy, Table, TableKind,
};
use crate::topology::{GroupId, Topology};

/// Sizes and rows are asked of every node, each of which looks at all of its files.
const SLOW: Duration = Duration::from_secs(60);

/// How long to wait for metadata: some tries of Citus' daemon, which tries again every `citus.metadata_sync_retry_interval`, 5 s by
/// default. A node that has nothing by then is lost, or in need of `pgclusterctl health`.
const SYNCED: Duration = Duration::from_secs(20);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// A connection to the application's database on the coordinators' leader, where Citus has its catalog.
#[derive(Debug)]
pub struct Catalog {
    member: Container,
    client: Client,
}

/// Why the catalog could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The leader is not to be found.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// It does not talk.
    #[error(transparent)]
    Sql(#[from] SqlError),
}

/// What to plan a rebalance by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PlanOptions {
    /// Name of a strategy; `None` is Citus' default, `by_disk_size`.
    pub strategy: Option<String>,
    /// How uneven nodes may stay, as a part of the mean; `None` is the strategy's own.
    pub threshold: Option<f32>,
    /// Only empty the nodes that shall have no shards.
    pub drain_only: bool,
    /// As if these nodes should have no shards, by their ids.
    pub without: Vec<i32>,
}

/// What PostgreSQL says of names that cannot be one of a relation here.
const NO_NAME: [SqlState; 3] = [SqlState::INVALID_NAME, SqlState::SYNTAX_ERROR, SqlState::FEATURE_NOT_SUPPORTED];

const NODES: &str = "select groupid::int4, nodeid::int4, nodename, isactive, metadatasynced, shouldhaveshards
    from pg_dist_node where noderole = 'primary'";

const TABLES: &str = "select logicalrelid::regclass::text, partmethod::text, repmodel::text, colocationid::int4,
    coalesce(column_to_column_name(logicalrelid, partkey), '') from pg_dist_partition";

/// A reference table has a size on each node; the largest is taken, as Citus' own view does.
const PLACEMENTS: &str = "select s.shardid::int8, s.logicalrelid::regclass::text, p.groupid::int4, z.bytes,
    s.shardminvalue::int4, s.shardmaxvalue::int4
    from pg_dist_shard s join pg_dist_placement p using (shardid)
    left join (select shard_id::int8 as shardid, max(size)::int8 as bytes from citus_shard_sizes() group by 1) z using (shardid)
    order by 1, 3";

/// One question per node. A shard's relation ends in its id; -1 rows is a table that was never analyzed.
const ROWS: &str = r"select n.groupid::int4, r.result
    from run_command_on_workers($$
        select coalesce(json_object_agg(substring(relname from '_(\d+)$'), reltuples::int8), '{}')
        from pg_class where relkind = 'r' and relname ~ '_\d+$' and reltuples >= 0$$) r
    join pg_dist_node n on (n.nodename, n.nodeport) = (r.nodename, r.nodeport)
    where r.success";

/// Each table's owner, and whether logical replication can tell its rows apart: by a key that it may use, or by the whole row.
const REPLICATED: &str = "select p.logicalrelid::regclass::text, c.relowner, c.relkind <> 'r' or case c.relreplident
        when 'f' then true
        when 'd' then exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)
        when 'i' then exists (select from pg_index i where i.indrelid = c.oid and i.indisreplident)
        else false end
    from pg_dist_partition p join pg_class c on c.oid = p.logicalrelid order by 1";

const UNFINISHED_JOB: &str = "select max(job_id)::int8 from pg_dist_background_job
    where state not in ('finished', 'cancelled', 'failed')";

/// The job of that number, or the newest rebalance.
const JOB: &str = "select j.job_id::int8, s.state::text, s.description, coalesce(s.details, '{}')::text,
    (select coalesce(json_agg(json_build_array(t.status, t.command) order by t.task_id), '[]')::text
        from pg_dist_background_task t where t.job_id = j.job_id),
    (extract(epoch from coalesce(s.finished_at, now()) - s.started_at) * 1000)::int8
    from (select max(job_id) as job_id from pg_dist_background_job
        where case when $1::int8 is null then job_type = 'rebalance' else job_id = $1 end) j,
    lateral citus_job_status(j.job_id, raw => true) s where j.job_id is not null";

/// A move that a session of somebody makes, with all that move along.
const MOVING: &str = "with p as materialized (select * from get_rebalance_progress())
    select max(status), coalesce(sum(source_shard_size), 0)::int8, coalesce(sum(target_shard_size), 0)::int8,
        (max(source_lsn) - min(target_lsn))::int8
    from p where sessionid = (select sessionid from p where shardid = $1 limit 1) having count(*) > 0";

const WAL_LEVEL: &str = "select current_setting('wal_level')";

/// Every move of a drain is one of the same node, so both limits count.
const EXECUTORS: &str = "select least(current_setting('citus.max_background_task_executors')::int4,
    current_setting('citus.max_background_task_executors_per_node')::int4)";

/// What each active node has left of what moves use. What is no kind of backend of PostgreSQL's own is a background worker; those of
/// parallel queries come and go. PostgreSQL 18 has a setting of its own for replication origins.
const ROOMS: &str = "select n.groupid::int4, n.nodename, r.success, r.result
    from run_command_on_all_nodes($$ select json_build_object(
        'standby', pg_is_in_recovery(),
        'disk_bytes', (select available_disk_size from citus_local_disk_space_stats()),
        'slots', current_setting('max_replication_slots')::int8 - (select count(*) from pg_replication_slots),
        'senders', current_setting('max_wal_senders')::int8 - count(*) filter (where backend_type = 'walsender'),
        'origins', coalesce(current_setting('max_active_replication_origins', true), current_setting('max_replication_slots'))::int8
            - (select count(*) from pg_replication_origin_status),
        'appliers', current_setting('max_logical_replication_workers')::int8
            - count(*) filter (where backend_type like 'logical replication % worker'),
        'workers', current_setting('max_worker_processes')::int8 - count(*) filter (where backend_type not in (
            'client backend', 'standalone backend', 'parallel worker', 'autovacuum launcher', 'autovacuum worker', 'archiver',
            'background writer', 'checkpointer', 'logger', 'slotsync worker', 'startup', 'walreceiver', 'walsender',
            'walsummarizer', 'walwriter')))
        from pg_stat_activity $$) r
    join pg_dist_node n using (nodeid)";

/// Groups that take shards and have none, where others have some. Reference tables are everywhere and count for nothing.
const IDLE: &str = "with shards as (
        select p.groupid from pg_dist_placement p join pg_dist_shard s using (shardid)
        join pg_dist_partition t using (logicalrelid) where not (t.partmethod = 'n' and (t.repmodel = 't' or t.colocationid = 0)))
    select n.groupid::int4 from pg_dist_node n
    where n.noderole = 'primary' and n.shouldhaveshards and n.groupid > 0
        and not exists (select from shards where shards.groupid = n.groupid) and exists (select from shards)
    order by 1";

const PLANNED: &str = "select p.shardid::int8, f.groupid::int4, t.groupid::int4
    from get_rebalance_table_shards_plan(rebalance_strategy => $1, threshold => $2, drain_only => $3)
    with ordinality p
    join pg_dist_node f on (f.nodename, f.nodeport) = (p.sourcename, p.sourceport)
    join pg_dist_node t on (t.nodename, t.nodeport) = (p.targetname, p.targetport)
    order by p.ordinality";

const WITHOUT: &str = "select citus_set_node_property(nodename, nodeport, 'shouldhaveshards', false)
    from pg_dist_node where nodeid = any($1)";

impl Catalog {
    /// Connects to the leader of that name.
    pub async fn open(topology: &Topology, fleet: &Fleet, leader: &str) -> Result<Self, OpenError> {
        let member = fleet.member(topology, leader).await?;
        let client = sql::connect_to(&member, &topology.database).await?;
        Ok(Self { member, client })
    }

    /// Rows of a query with parameters, within `limit`.
    pub async fn rows(&self, query: &str, values: &[&(dyn ToSql + Sync)], limit: Duration) -> Result<Vec<Row>, SqlError> {
        sql::rows_with(&self.member, &self.client, query, values, limit).await
    }

    /// Primaries of pg_dist_node, by group.
    pub async fn nodes(&self) -> Result<BTreeMap<GroupId, Node>, SqlError> {
        Ok(self.rows(NODES, &[], SLOW).await?.iter().map(node).collect())
    }

    /// Waits until every node has what the coordinators have of Citus' metadata. After a change of a leader that takes some seconds, in
    /// which Citus refuses what defines a table; whoever asks for that afterwards hears from Citus which node has it not.
    pub async fn synced(&self) -> Result<(), SqlError> {
        let started = Instant::now();
        while started.elapsed() < SYNCED && self.nodes().await?.values().any(|node| node.active && !node.metadata_synced) {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Everything about shards.
    pub async fn map(&self) -> Result<ShardMap, SqlError> {
        let ask = |query: &'static str| self.rows(query, &[], SLOW);
        let (nodes, tables, placements, counted) = tokio::try_join!(ask(NODES), ask(TABLES), ask(PLACEMENTS), ask(ROWS))?;
        let counts: Vec<(GroupId, Counts)> = counted.iter().map(|row| (group(row, 0), counts(row.get(1)))).collect();
        let rows =
            |shard: u64, on: GroupId| counts.iter().filter(|(group, _)| *group == on).find_map(|(_, c)| c.get(&shard).copied());
        Ok(ShardMap {
            nodes: nodes.iter().map(node).collect(),
            tables: tables.iter().map(table).collect(),
            placements: placements
                .iter()
                .map(|row| {
                    let (shard, group) = (number(row.get(0)), group(row, 2));
                    let range = row.get::<_, Option<i32>>(4).zip(row.get(5));
                    Placement {
                        shard,
                        table: row.get(1),
                        group,
                        bytes: row.get::<_, Option<i64>>(3).map(number),
                        range,
                        rows: rows(shard, group),
                    }
                })
                .collect(),
        })
    }

    /// The name by which [`Catalog::map`] has what somebody calls so, with or without its schema; `None` where nothing has that name.
    pub async fn name_of(&self, table: &str) -> Result<Option<String>, SqlError> {
        match self.rows("select to_regclass($1::text)::text", &[&table], SLOW).await {
            Ok(rows) => Ok(rows.first().and_then(|row| row.get(0))),
            // Names that cannot be one are errors still: with a database before the schema, and before PostgreSQL 16 all of them.
            Err(error) if NO_NAME.iter().any(|state| says(&error, state)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The name of a shard's relation on its node, quoted where it has to be.
    pub async fn relation_of(&self, table: &str, shard: u64) -> Result<String, SqlError> {
        let shard = i64::try_from(shard).unwrap_or_default();
        let rows = self.rows("select shard_name($1::text::regclass, $2)", &[&table, &shard], SLOW).await?;
        Ok(rows.first().map(|row| row.get(0)).unwrap_or_default())
    }

    /// What is looked at before shards move, but for the hosts' disks, which no node knows.
    pub async fn move_facts(&self) -> Result<MoveFacts, SqlError> {
        let ask = |query: &'static str| self.rows(query, &[], SLOW);
        let (tables, executors, job, wal, rooms) =
            tokio::try_join!(ask(REPLICATED), ask(EXECUTORS), ask(UNFINISHED_JOB), ask(WAL_LEVEL), ask(ROOMS))?;
        Ok(MoveFacts {
            without_identity: tables.iter().filter(|row| !row.get::<_, bool>(2)).map(|row| row.get(0)).collect(),
            owners: tables.iter().map(|row| (row.get(0), row.get(1))).collect(),
            executors: executors.first().and_then(|row| u32::try_from(row.get::<_, i32>(0)).ok()).unwrap_or_default(),
            running_job: job.first().and_then(|row| row.get(0)),
            wal_level: wal.first().map(|row| row.get(0)).unwrap_or_default(),
            disks: BTreeMap::new(),
            rooms: rooms.iter().map(|row| (group(row, 0), told(row))).collect(),
        })
    }

    /// Citus' plan of a rebalance, shard by shard. What the plan supposes is taken back at once.
    pub async fn planned(&self, options: &PlanOptions) -> Result<Vec<PlannedShard>, SqlError> {
        self.rows("begin", &[], SLOW).await?;
        let planned = self.supposed(options).await;
        self.rows("rollback", &[], SLOW).await?;
        let shard = |row: &Row| PlannedShard { shard: number(row.get(0)), from: group(row, 1), to: group(row, 2) };
        Ok(planned?.iter().map(shard).collect())
    }

    async fn supposed(&self, options: &PlanOptions) -> Result<Vec<Row>, SqlError> {
        let PlanOptions { strategy, threshold, drain_only, without } = options;
        if !without.is_empty() {
            self.rows(WITHOUT, &[without], SLOW).await?;
        }
        self.rows(PLANNED, &[strategy, threshold, drain_only], SLOW).await
    }

    /// Groups that could have shards and have none, although there are some.
    pub async fn idle_groups(&self) -> Result<Vec<GroupId>, SqlError> {
        let rows = self.rows(IDLE, &[], SLOW).await?;
        Ok(rows.iter().map(|row| group(row, 0)).collect())
    }

    /// The strategies that a rebalance may follow.
    pub async fn strategies(&self) -> Result<Vec<Strategy>, SqlError> {
        let query = "select name::text, default_strategy, minimum_threshold from pg_dist_rebalance_strategy order by 1";
        let rows = self.rows(query, &[], SLOW).await?;
        Ok(rows.iter().map(|row| Strategy { name: row.get(0), is_default: row.get(1), minimum: row.get(2) }).collect())
    }

    /// The newest rebalance; `None` when there never was one.
    pub async fn last_job(&self, map: &ShardMap) -> Result<Option<Job>, SqlError> {
        self.job_or_last(None, map).await
    }

    /// The job of that number; `None` when Citus has none, as after the loss of a leader that alone had known it.
    pub async fn job(&self, id: i64, map: &ShardMap) -> Result<Option<Job>, SqlError> {
        self.job_or_last(Some(id), map).await
    }

    async fn job_or_last(&self, id: Option<i64>, map: &ShardMap) -> Result<Option<Job>, SqlError> {
        let rows = self.rows(JOB, &[&id], SLOW).await?;
        Ok(rows.first().and_then(|row| {
            let (Words(description), Words(details), Words(tasks)) = (row.get(2), row.get(3), row.get(4));
            let words = JobWords {
                id: row.get(0),
                state: row.get(1),
                description: &description,
                details: &details,
                tasks: &tasks,
                elapsed_ms: row.get::<_, Option<i64>>(5).map(number),
            };
            Job::read(&words, map)
        }))
    }

    /// How far the move of a shard is that some session makes; `None` when none does.
    pub async fn moving(&self, one: &Move) -> Result<Option<RunningMove>, SqlError> {
        let shard = i64::try_from(one.shard).unwrap_or(i64::MAX);
        let rows = self.rows(MOVING, &[&shard], SLOW).await?;
        Ok(rows.first().map(|row| RunningMove {
            shard: one.shard,
            table: one.tables.first().cloned().unwrap_or_default(),
            from: Some(one.from),
            to: Some(one.to),
            phase: row.get::<_, Option<String>>(0).unwrap_or_default(),
            source_bytes: number(row.get(1)),
            target_bytes: number(row.get(2)),
            lag_bytes: row.get::<_, Option<i64>>(3).map(number),
            retried: 0,
        }))
    }
}

/// Rows by shard, as a node tells them.
type Counts = BTreeMap<u64, u64>;

#[derive(Deserialize)]
#[serde(transparent)]
struct Told(BTreeMap<u64, i64>);

fn counts(text: &str) -> Counts {
    serde_json::from_str::<Told>(text)
        .map(|told| told.0.into_iter().map(|(shard, rows)| (shard, number(rows))).collect())
        .unwrap_or_default()
}

fn node(row: &Row) -> (GroupId, Node) {
    let node =
        Node { id: row.get(1), leader: row.get(2), active: row.get(3), metadata_synced: row.get(4), takes_shards: row.get(5) };
    (group(row, 0), node)
}

fn table(row: &Row) -> (String, Table) {
    let colocation = u32::try_from(row.get::<_, i32>(3)).unwrap_or_default();
    (row.get(0), Table { kind: kind(row.get(1), row.get(2), colocation), column: row.get(4), colocation })
}

/// What partmethod, repmodel and colocation of pg_dist_partition mean together.
pub(super) fn kind(method: &str, replication: &str, colocation: u32) -> TableKind {
    match (method, replication, colocation) {
        ("n", "t", _) => TableKind::Reference,
        ("n", _, 0) => TableKind::Local,
        ("n", ..) => TableKind::SingleShard,
        _ => TableKind::Distributed,
    }
}

/// What a node answered to `run_command_on_all_nodes`, by columns `success` and `result` at 2 and 3; or why there is nothing to read.
pub(super) fn told<T: DeserializeOwned>(row: &Row) -> Result<T, String> {
    let text = row.get::<_, Option<Words>>(3).map(|words| words.0);
    match text.as_deref().filter(|_| row.get(2)).map(serde_json::from_str) {
        Some(read) => read.map_err(|error| error.to_string()),
        None => Err(text.unwrap_or_else(|| "no answer".to_owned())),
    }
}

/// Nodes that did not do it, each with why, by columns `nodename`, `success` and `result`.
pub(super) fn failed(rows: &[Row]) -> Vec<(String, String)> {
    let failed = rows.iter().filter(|row| !row.get::<_, bool>(1));
    failed.map(|row| (row.get(0), row.get::<_, Option<Words>>(2).map(|words| words.0).unwrap_or_default())).collect()
}

/// A column of type int4 that names a group.
pub(super) fn group(row: &Row, column: usize) -> GroupId {
    GroupId(u32::try_from(row.get::<_, i32>(column)).unwrap_or_default())
}

/// Ids and sizes are never negative.
pub(super) fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}
