//! Vector search: tables with an HNSW index on every shard, and what searches of them cost.
//!
//! [`schema`], [`data`], [`explain`] and [`report`] decide, pure; [`table`] makes a table on the coordinators' leader; [`mod@bench`]
//! connects as clients do and measures. `vector init` and `vector bench` call them. Nothing here touches a table of the
//! application's but the one that `vector init` was asked for.

pub mod bench;
mod client;
pub mod data;
pub mod explain;
pub mod report;
pub mod schema;
pub mod table;

use crate::error::{Exit, Failure};
use crate::remote::fleet::FleetError;
use crate::remote::sql::SqlError;

/// Why vectors are not as wanted, or not measured.
#[derive(Debug, thiserror::Error)]
pub enum VectorError {
    /// The topology has none.
    #[error("this cluster has no vector extension: [vector] engine = \"none\"")]
    NoEngine,
    /// The database does not have what the topology says.
    #[error("the database has no extension {0:?}")]
    NoExtension(&'static str),
    /// There is a table of that name.
    #[error("{table} exists and is another table:{}", lines(differences))]
    Different {
        /// Its name.
        table: String,
        /// In what.
        differences: Vec<String>,
    },
    /// The leader is not to be found.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The leader said no.
    #[error("{doing} failed")]
    Sql {
        /// What was asked for.
        doing: &'static str,
        /// Why.
        #[source]
        source: SqlError,
    },
    /// The client address let nobody in.
    #[error("{target}: no connection")]
    Connect {
        /// Where.
        target: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A client's statement failed.
    #[error("{doing} failed{}", said.as_ref().map(|said| format!(": {said}")).unwrap_or_default())]
    Client {
        /// What was asked for.
        doing: String,
        /// What the server said, where it said something.
        said: Option<String>,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// Not all rows are there.
    #[error("{table} has {found} rows of {wanted} that were loaded")]
    Rows {
        /// The table.
        table: String,
        /// So many.
        found: u64,
        /// Of so many.
        wanted: u64,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

fn lines(differences: &[String]) -> String {
    differences.iter().map(|difference| format!("\n  {difference}")).collect()
}

impl VectorError {
    /// What was being done when the leader said no, for `map_err`.
    fn while_doing(doing: &'static str) -> impl FnOnce(SqlError) -> Self {
        move |source| Self::Sql { doing, source }
    }
}

impl Failure for VectorError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoEngine => Exit::Usage,
            Self::NoExtension(_) | Self::Different { .. } => Exit::Refused,
            Self::Sql { source: SqlError::Postgres { .. }, .. } => Exit::Refused,
            Self::Fleet(_) | Self::Sql { .. } | Self::Connect { .. } => Exit::Unreachable,
            Self::Client { .. } | Self::Rows { .. } => Exit::Unhealthy,
            Self::Interrupted => Exit::Interrupted,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoEngine => {
                "write [vector] engine = \"pgvector\" into the topology; the extension is made with a new cluster"
            }
            Self::NoExtension(_) => {
                "it is made with a new cluster; in an old one: `pgclusterctl psql -- -c 'create extension …'`, then run this again"
            }
            Self::Different { .. } => "give another name with --table, or the same figures as the table has",
            Self::Connect { .. } => {
                "searches are measured as clients see them: run this on a machine that reaches the client address and port 5432"
            }
            Self::Sql { .. } | Self::Client { .. } | Self::Rows { .. } => {
                "`pgclusterctl health` shows whether the cluster takes writes"
            }
            Self::Fleet(_) | Self::Interrupted => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}
