//! Moving shards: Citus does it, in its own background job or in a function call; here it is asked to.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::consent::Consent;
use crate::error::{Exit, Failure};
use crate::observe::shards::{Catalog, OpenError, PlanOptions};
use crate::remote::sql::SqlError;
use crate::shards::{Node, Obstacle, TransferMode};

/// For what only changes catalogs.
const CATALOG: Duration = Duration::from_secs(30);
/// For one shard that is moved or split while we wait: copies take as long as they take.
const COPY: Duration = Duration::from_secs(24 * 3600);
/// Name of the strategy that carries a threshold from the command line to Citus, inside one transaction.
const STRATEGY: &str = "pgclusterctl";

/// Why shards are where they were.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// The coordinators' leader does not answer.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Citus said no.
    #[error("{doing} failed")]
    Sql {
        /// What was asked for.
        doing: String,
        /// Why.
        #[source]
        source: SqlError,
    },
    /// Something is in the way; nothing was changed.
    #[error("shards cannot be moved now:{}", list(.0))]
    Obstacles(Vec<Obstacle>),
    /// A name or number that does not exist.
    #[error("{what}")]
    Unknown {
        /// What is not there.
        what: String,
        /// What is.
        hint: String,
    },
    /// A job that was started, and that Citus does not know any more.
    #[error("Citus does not know job {job} any more: how far it came is not known")]
    Lost {
        /// Its number.
        job: i64,
    },
    /// The value has not the type of the column.
    #[error("{value:?} is no value of {table}.{column}, whose type is {kind}")]
    Value {
        /// What was given.
        value: String,
        /// The table.
        table: String,
        /// Its distribution column.
        column: String,
        /// The column's type.
        kind: String,
    },
}

fn list(obstacles: &[Obstacle]) -> String {
    obstacles.iter().map(|o| format!("\n  {}\n    {}", o.what, o.way_out)).collect()
}

impl ShardError {
    /// What was being done when Citus said no, for `map_err`.
    pub fn while_doing(doing: impl Into<String>) -> impl FnOnce(SqlError) -> Self {
        |source| Self::Sql { doing: doing.into(), source }
    }
}

impl Failure for ShardError {
    fn exit(&self) -> Exit {
        match self {
            Self::Open(_) => Exit::Unreachable,
            Self::Sql { source: SqlError::Postgres { .. }, .. } | Self::Obstacles(_) => Exit::Refused,
            Self::Sql { .. } => Exit::Unreachable,
            Self::Lost { .. } => Exit::Partial,
            Self::Unknown { .. } | Self::Value { .. } => Exit::Usage,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Unknown { hint, .. } => vec![hint.clone()],
            Self::Sql { source, .. } => crate::shards::way_out(&source.to_string()).map(str::to_owned).into_iter().collect(),
            Self::Open(_) => vec!["`pgclusterctl status` shows who leads the coordinators".into()],
            Self::Lost { .. } => vec![
                "a coordinators' leader that was lost may have known it alone; `pgclusterctl shards list` shows where shards are, and \
                 the same command again moves what is left"
                    .into(),
            ],
            Self::Value { .. } | Self::Obstacles(_) => Vec::new(),
        }
    }
}

/// Puts the moves of a job into so many lanes: each waits for the one that stands so many before it. Citus' own limits of moves at
/// once are for all jobs; and where more may run than they allow, its monitor counts moves that it did not start against their nodes
/// (`AssignRunnableTasks` of 13.2). The monitor sees the job after the commit.
const LANES: &str = "with lane as (
        select task_id, lag(task_id, $2) over (order by task_id) as before from pg_dist_background_task where job_id = $1),
    waits as (
        insert into pg_dist_background_task_depend (job_id, task_id, depends_on)
        select $1, task_id, before from lane where before is not null on conflict do nothing)
    update pg_dist_background_task t set status = 'blocked' from lane where t.task_id = lane.task_id and lane.before is not null";

/// How a rebalance is to be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// What to move.
    pub options: PlanOptions,
    /// How.
    pub mode: TransferMode,
    /// So many moves at once, one or more.
    pub parallel: u32,
}

/// Starts Citus' background job; its number, or `None` when there is nothing to move.
pub async fn start(catalog: &Catalog, start: &Start, _consent: &Consent) -> Result<Option<i64>, ShardError> {
    let started = async {
        run(catalog, "begin").await?;
        let base = start.options.strategy.as_deref();
        let id = match start.options.threshold {
            None => job(catalog, start, base).await?,
            Some(threshold) => job_within(catalog, start, base, threshold).await?,
        };
        run(catalog, "commit").await?;
        Ok(id)
    };
    let started = started.await;
    if started.is_err() {
        // The connection ends with this program; until then it shall hold no lock.
        let _ = run(catalog, "rollback").await;
    }
    started.map_err(ShardError::while_doing("starting the rebalance"))
}

/// citus_rebalance_start takes no threshold: a strategy has it. Moves are planned at the start, so it may go again at once.
async fn job_within(catalog: &Catalog, start: &Start, base: Option<&str>, threshold: f32) -> Result<Option<i64>, SqlError> {
    let make = "insert into pg_catalog.pg_dist_rebalance_strategy
        (name, default_strategy, shard_cost_function, node_capacity_function, shard_allowed_on_node_function,
         default_threshold, minimum_threshold, improvement_threshold)
        select $1::text, false, shard_cost_function, node_capacity_function, shard_allowed_on_node_function,
         $2, 0, improvement_threshold
        from pg_catalog.pg_dist_rebalance_strategy where case when $3::text is null then default_strategy else name = $3 end";
    catalog.rows(make, &[&STRATEGY, &threshold, &base], CATALOG).await?;
    let id = job(catalog, start, Some(STRATEGY)).await?;
    let unmake = "delete from pg_catalog.pg_dist_rebalance_strategy where name = $1::text";
    catalog.rows(unmake, &[&STRATEGY], CATALOG).await?;
    Ok(id)
}

async fn job(catalog: &Catalog, start: &Start, strategy: Option<&str>) -> Result<Option<i64>, SqlError> {
    let mode = start.mode.to_string();
    let query = "select citus_rebalance_start(rebalance_strategy => $1, drain_only => $2,
        shard_transfer_mode => $3::text::citus.shard_transfer_mode,
        parallel_transfer_reference_tables => $4, parallel_transfer_colocated_shards => $4)::int8";
    let rows = catalog.rows(query, &[&strategy, &start.options.drain_only, &mode, &(start.parallel > 1)], CATALOG).await?;
    let id: Option<i64> = rows.first().and_then(|row| row.get(0));
    if let Some(id) = id {
        let lanes = i32::try_from(start.parallel.max(1)).unwrap_or(i32::MAX);
        catalog.rows(LANES, &[&id, &lanes], CATALOG).await?;
    }
    Ok(id)
}

async fn run(catalog: &Catalog, statement: &str) -> Result<(), SqlError> {
    catalog.rows(statement, &[], CATALOG).await.map(drop)
}

/// Asks Citus to stop a job, which does not wait until it has. The moves that happen now are undone by Citus; a job that is over stays
/// as it is.
pub async fn cancel(catalog: &Catalog, job: i64, _consent: &Consent) -> Result<(), ShardError> {
    let done = catalog.rows("select citus_job_cancel($1)", &[&job], CATALOG).await;
    done.map(drop).map_err(ShardError::while_doing(format!("stopping job {job}")))
}

/// Writes a little WAL on every node that tells others of its changes, and so ends a wait for nothing. Before Citus lets clients write to
/// a shard again it waits until the last change is confirmed by a keepalive, and looks once a second. PostgreSQL's sender sends one
/// only for what is not confirmed otherwise: where the confirmation of the last change was faster than the sender, none comes before
/// there is new WAL or half of `wal_sender_timeout` is over (seen: 3.2 s, on a machine that was short of processor time).
pub async fn nudge(catalog: &Catalog) -> Result<(), SqlError> {
    let query = "select count(*) from run_command_on_all_nodes($$
        select pg_logical_emit_message(false, 'pgclusterctl', '', true)
        from pg_replication_slots where slot_type = 'logical' and active limit 1 $$)";
    run(catalog, query).await
}

/// Whether a group shall have shards. What it has stays until a rebalance.
pub async fn take_shards(catalog: &Catalog, node: &Node, takes: bool, _consent: &Consent) -> Result<(), ShardError> {
    let query =
        "select citus_set_node_property(nodename, nodeport, 'shouldhaveshards', $2) from pg_dist_node where nodeid = $1";
    let done = catalog.rows(query, &[&node.id, &takes], CATALOG).await;
    done.map(drop).map_err(ShardError::while_doing(format!("telling Citus about {}", node.leader)))
}

/// Moves a shard, and those that lie with it. Returns when it is done.
pub async fn move_shard(
    catalog: &Catalog,
    shard: u64,
    from: &Node,
    to: &Node,
    mode: TransferMode,
    _consent: &Consent,
) -> Result<(), ShardError> {
    let query = "select citus_move_shard_placement($1, $2, $3, $4::text::citus.shard_transfer_mode)";
    let (id, mode) = (signed(shard), mode.to_string());
    let done = catalog.rows(query, &[&id, &from.id, &to.id, &mode], COPY).await;
    done.map(drop).map_err(ShardError::while_doing(format!("moving shard {shard} from {} to {}", from.leader, to.leader)))
}

/// Splits a shard at these hash values, and those that lie with it; all parts stay on its node.
pub async fn split(
    catalog: &Catalog,
    shard: u64,
    points: &[i32],
    on: &Node,
    mode: TransferMode,
    _consent: &Consent,
) -> Result<(), ShardError> {
    let query = "select citus_split_shard_by_split_points($1, $2, $3, $4::text::citus.shard_transfer_mode)";
    let points: Vec<String> = points.iter().map(ToString::to_string).collect();
    let (id, nodes, mode) = (signed(shard), vec![on.id; points.len() + 1], mode.to_string());
    let values: [&(dyn ToSql + Sync); 4] = [&id, &points, &nodes, &mode];
    catalog.rows(query, &values, COPY).await.map(drop).map_err(ShardError::while_doing(format!("splitting shard {shard}")))
}

/// Gives a value a shard of its own, in all tables that lie together; the new shard's id.
pub async fn isolate(catalog: &Catalog, value: &KeyValue, mode: TransferMode, _consent: &Consent) -> Result<u64, ShardError> {
    let query = format!(
        "select isolate_tenant_to_new_shard($1::text::regclass, $2::text::{}, 'CASCADE', \
         shard_transfer_mode => $3::text::citus.shard_transfer_mode)",
        value.kind
    );
    let mode = mode.to_string();
    let rows = catalog.rows(&query, &[&value.table, &value.value, &mode], COPY).await;
    let rows = rows.map_err(ShardError::while_doing(format!("isolating {} of {}", value.value, value.table)))?;
    Ok(first_id(&rows))
}

/// A value of a table's distribution column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The table, as `regclass` prints it.
    pub table: String,
    /// The distribution column.
    pub column: String,
    /// Its type without a modifier, as `format_type` prints it: safe to stand in a query.
    pub kind: String,
    /// The value as text.
    pub value: String,
}

/// Looks up the type of a table's distribution column. A `regtype` of `char(n)` prints as `character`, which in a cast means
/// `character(1)` and cuts the value without a word; with the modifier -1 it is `bpchar`, which has no length.
pub async fn key_value(catalog: &Catalog, table: &str, column: &str, value: &str) -> Result<KeyValue, ShardError> {
    let query = "select format_type(atttypid, -1) from pg_attribute where attrelid = $1::text::regclass and attname = $2::text";
    let rows = catalog.rows(query, &[&table, &column], CATALOG).await;
    let rows = rows.map_err(ShardError::while_doing(format!("asking for the type of {table}.{column}")))?;
    let kind = rows.first().map(|row| row.get(0)).unwrap_or_default();
    Ok(KeyValue { table: table.to_owned(), column: column.to_owned(), kind, value: value.to_owned() })
}

/// The shard that holds a value.
pub async fn shard_of(catalog: &Catalog, key: &KeyValue) -> Result<u64, ShardError> {
    let query = format!("select get_shard_id_for_distribution_column($1::text::regclass, $2::text::{})::int8", key.kind);
    match catalog.rows(&query, &[&key.table, &key.value], CATALOG).await {
        Ok(rows) => Ok(first_id(&rows)),
        Err(SqlError::Postgres { source, .. }) if source.code().is_some_and(|code| code.code().starts_with("22")) => {
            let KeyValue { table, column, kind, value } = key.clone();
            Err(ShardError::Value { value, table, column, kind })
        }
        Err(error) => Err(ShardError::while_doing(format!("looking for {} in {}", key.value, key.table))(error)),
    }
}

/// The shard id that a function of Citus returned.
fn first_id(rows: &[Row]) -> u64 {
    rows.first().and_then(|row| u64::try_from(row.get::<_, i64>(0)).ok()).unwrap_or_default()
}

/// Shard ids come from a sequence of bigint.
fn signed(shard: u64) -> i64 {
    i64::try_from(shard).unwrap_or(i64::MAX)
}
