//! Spreading a table over the shard groups: Citus does it, here it is asked to.

use std::time::Duration;

use tokio_postgres::types::ToSql;

use super::rebalance::ShardError;
use crate::consent::Consent;
use crate::observe::shards::Catalog;
use crate::remote::sql::SqlError;
use crate::shards::Task;
use crate::topology::TableName;
use crate::topology::tables::Spread;

/// Copies take as long as they take.
const COPY: Duration = Duration::from_secs(24 * 3600);

/// Spreads a table, and returns when all its rows are where they belong. A filled table is distributed while clients write; Citus
/// does that in several transactions, and leaves the table whole on the coordinators when one of them fails.
pub async fn spread(catalog: &Catalog, task: &Task, _consent: &Consent) -> Result<(), ShardError> {
    let name = task.table.qualified();
    let done = match &task.spread {
        Spread::Reference => refer(catalog, &name, task.filled).await,
        Spread::Distributed { column, colocate_with, shard_count } => {
            let function = if task.filled { "create_distributed_table_concurrently" } else { "create_distributed_table" };
            let query =
                format!("select {function}($1::text::regclass, $2::text, colocate_with => $3::text, shard_count => $4::int4)");
            let with = colocate_with.as_ref().map_or_else(|| "default".to_owned(), TableName::qualified);
            // Citus takes the number of the table that it lies with, and refuses to be told another time.
            let count = shard_count.filter(|_| colocate_with.is_none()).and_then(|count| i32::try_from(count).ok());
            let values: [&(dyn ToSql + Sync); 4] = [&name, column, &with, &count];
            catalog.rows(&query, &values, COPY).await.map(drop)
        }
    };
    done.map_err(ShardError::while_doing(task.statement.clone()))
}

/// The rows from before stay on the coordinators beside the copies that count, hidden, and would still be held against new
/// constraints: Citus' manual has them removed. Where it refuses that, because a local table refers to them, they hurt nobody.
async fn refer(catalog: &Catalog, name: &String, filled: bool) -> Result<(), SqlError> {
    catalog.rows("select create_reference_table($1::text::regclass)", &[name], COPY).await?;
    if filled {
        let _ = catalog.rows("select truncate_local_data_after_distributing_table($1::text::regclass)", &[name], COPY).await;
    }
    Ok(())
}
