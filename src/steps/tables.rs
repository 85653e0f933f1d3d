//! Spreading a table over the shard groups: Citus does it, here it is asked to.

use std::time::Duration;

use tokio_postgres::types::ToSql;

use super::rebalance::ShardError;
use crate::consent::Consent;
use crate::observe::shards::Catalog;
use crate::shards::Task;
use crate::topology::TableName;
use crate::topology::tables::Spread;

/// Copies take as long as they take.
const COPY: Duration = Duration::from_secs(24 * 3600);

const AT_ONCE: &str =
    "select create_distributed_table($1::text::regclass, $2::text, colocate_with => $3::text, shard_count => $4::int4)";

const CONCURRENTLY: &str = "select create_distributed_table_concurrently($1::text::regclass, $2::text, \
    colocate_with => $3::text, shard_count => $4::int4)";

/// Spreads a table, and returns when all its rows are where they belong. A filled table is distributed while clients write; Citus
/// does that in several transactions, and leaves the table whole on the coordinators when one of them fails.
pub async fn spread(catalog: &Catalog, task: &Task, _consent: &Consent) -> Result<(), ShardError> {
    catalog.synced().await.map_err(ShardError::while_doing("waiting for Citus' metadata"))?;
    let name = task.table.qualified();
    let run = async |query: &str, values: &[&(dyn ToSql + Sync)]| catalog.rows(query, values, COPY).await.map(drop);
    let done = match &task.spread {
        Spread::Reference => run("select create_reference_table($1::text::regclass)", &[&name]).await,
        Spread::Distributed { column, colocate_with, shard_count } => {
            let with = colocate_with.as_ref().map_or_else(|| "default".to_owned(), TableName::qualified);
            // Citus takes the number of the table that it lies with, and refuses to be told another time.
            let count = shard_count.filter(|_| colocate_with.is_none()).and_then(|count| i32::try_from(count).ok());
            let query = if task.filled { CONCURRENTLY } else { AT_ONCE };
            run(query, &[&name, column, &with, &count]).await
        }
    };
    done.map_err(ShardError::while_doing(task.statement.clone()))?;
    // Rows from before were copied, and stay on the coordinators, hidden and yet held against new constraints: Citus' manual has
    // them removed. Where Citus refuses that, because a local table refers to them, they hurt nobody.
    let _ = run("select truncate_local_data_after_distributing_table($1::text::regclass)", &[&name]).await;
    Ok(())
}
