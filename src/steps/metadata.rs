//! Putting pg_dist_node right, on the coordinators' leader. What to do is decided in [`crate::health::repair`].

use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::consent::Consent;
use crate::error::{Exit, Failure};
use crate::health::repair::Repair;
use crate::observe::shards::{Catalog, OpenError};
use crate::remote::sql::{SqlError, says};

/// Names are catalog rows of one node.
const RENAME: Duration = Duration::from_secs(30);
/// Metadata of all tables goes to a node.
const ACTIVATE: Duration = Duration::from_secs(300);
/// Whoever changes pg_dist_node now, Patroni above all, comes first.
const LOCK: &str = "set local lock_timeout = '5s'";

/// Why metadata is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The coordinators' leader does not answer.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Citus said no.
    #[error("not done: {step}")]
    Sql {
        /// What.
        step: String,
        /// Why.
        #[source]
        source: SqlError,
    },
}

impl Failure for RepairError {
    fn exit(&self) -> Exit {
        match self {
            Self::Sql { source: SqlError::Postgres { .. }, .. } => Exit::Refused,
            _ => Exit::Unreachable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Sql { source, .. } if says(source, &SqlState::LOCK_NOT_AVAILABLE) => {
                vec![
                    "someone else changes nodes or holds locks on their shards: see `pgclusterctl locks`, and run this again"
                        .into(),
                ]
            }
            _ => vec!["`pgclusterctl status` shows who leads each group; what was done before stays done".into()],
        }
    }
}

/// Does one thing, wholly or not at all.
pub async fn repair(catalog: &Catalog, step: &Repair, _consent: &Consent) -> Result<(), RepairError> {
    let failed = |source| RepairError::Sql { step: step.to_string(), source };
    catalog.rows("begin", &[], RENAME).await.map_err(failed)?;
    let done = inside(catalog, step).await;
    let end = if done.is_ok() { "commit" } else { "rollback" };
    let ended = catalog.rows(end, &[], RENAME).await;
    done.and(ended.map(drop)).map_err(failed)
}

async fn inside(catalog: &Catalog, step: &Repair) -> Result<(), SqlError> {
    catalog.rows(LOCK, &[], RENAME).await?;
    match step {
        Repair::Rename { names, .. } => {
            for rename in names {
                let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&rename.node, &rename.to, &rename.port];
                catalog.rows("select citus_update_node($1::int4, $2::text, $3::int4)", &values, RENAME).await?;
            }
        }
        Repair::Activate { name, port, .. } => {
            catalog.rows("select citus_activate_node($1::text, $2::int4)", &[name, port], ACTIVATE).await?;
        }
    }
    Ok(())
}
