//! A table for vectors on the coordinators' leader: what is there, and what was wanted of it.

use std::time::Duration;

use tokio_postgres::Client;

use super::VectorError;
use super::schema::{Engine, Found, FoundIndex, TableSpec};
use crate::consent::Consent;
use crate::remote::container::Container;
use crate::remote::fleet::Fleet;
use crate::remote::sql;
use crate::topology::Topology;

/// A catalog answers at once.
const CATALOG: Duration = Duration::from_secs(10);
/// An index of a table that is there may take as long as it takes.
const MAKE: Duration = Duration::from_secs(24 * 3600);

const EXTENSION: &str = "select from pg_extension where extname = $1";

/// As the application's role sees it: its search path says which schema is meant.
const COLUMNS: &str = "select attname::text, format_type(atttypid, atttypmod) from pg_attribute
    where attrelid = to_regclass($1) and attnum > 0 and not attisdropped";

const KEY: &str = "select a.attname::text from pg_index i, unnest(i.indkey::int2[]) with ordinality k(attnum, position)
    join pg_attribute a on a.attnum = k.attnum
    where i.indrelid = to_regclass($1) and i.indisprimary and a.attrelid = i.indrelid order by k.position";

const DISTRIBUTION: &str = "select coalesce(column_to_column_name(logicalrelid, partkey), ''),
    (select count(*) from pg_dist_shard s where s.logicalrelid = p.logicalrelid)::int4
    from pg_dist_partition p where logicalrelid = to_regclass($1)";

const INDEXES: &str = "select o.opcname::text, coalesce(c.reloptions, '{}') from pg_index i
    join pg_class c on c.oid = i.indexrelid join pg_am m on m.oid = c.relam join pg_opclass o on o.oid = i.indclass[0]
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = to_regclass($1) and m.amname = 'hnsw' and a.attname = 'embedding' and i.indisvalid";

/// A connection to the application's database, in its role.
pub struct Maker {
    member: Container,
    client: Client,
    citus: bool,
}

impl Maker {
    /// Connects to the leader of that name.
    pub async fn open(topology: &Topology, fleet: &Fleet, leader: &str) -> Result<Self, VectorError> {
        let member = fleet.member(topology, leader).await?;
        let doing = VectorError::while_doing("connecting to the leader");
        let client = sql::connect_to(&member, &topology.database).await.map_err(doing)?;
        let maker = Self { member, client, citus: topology.citus.is_some() };
        // Tables are the application's, not the operator's.
        maker.run("set role app", CATALOG, "becoming the application's role").await?;
        Ok(maker)
    }

    /// What is there under that name; refused where the extension is missing.
    pub async fn look(&self, spec: &TableSpec) -> Result<Option<Found>, VectorError> {
        let ask = async |query: &str, value: &str| {
            let rows = sql::rows_with(&self.member, &self.client, query, &[&value], CATALOG).await;
            rows.map_err(VectorError::while_doing("looking at the table"))
        };
        if ask(EXTENSION, spec.engine.name()).await?.is_empty() {
            return Err(VectorError::NoExtension(Engine::name(spec.engine)));
        }
        let name = format!("\"{}\"", spec.name);
        let columns = ask(COLUMNS, &name).await?;
        if columns.is_empty() {
            return Ok(None);
        }
        let (key, indexes) = (ask(KEY, &name).await?, ask(INDEXES, &name).await?);
        let distribution = if self.citus { ask(DISTRIBUTION, &name).await? } else { Vec::new() };
        let distribution = distribution.first();
        Ok(Some(Found {
            columns: columns.iter().map(|row| (row.get(0), row.get(1))).collect(),
            primary_key: key.iter().map(|row| row.get(0)).collect(),
            distribution: distribution.map(|row| row.get(0)),
            shards: distribution.and_then(|row| u32::try_from(row.get::<_, i32>(1)).ok()),
            indexes: indexes.iter().map(|row| FoundIndex::read(row.get(0), &row.get::<_, Vec<String>>(1))).collect(),
        }))
    }

    /// Runs these statements, all or none.
    pub async fn make(&self, statements: &[String], _consent: &Consent) -> Result<(), VectorError> {
        let doing = "making the table";
        self.run("begin", CATALOG, doing).await?;
        for statement in statements {
            // The connection ends with this program, and with it what was begun.
            self.run(statement, MAKE, doing).await?;
        }
        self.run("commit", MAKE, doing).await
    }

    async fn run(&self, statement: &str, limit: Duration, doing: &'static str) -> Result<(), VectorError> {
        let done = sql::rows(&self.member, &self.client, statement, limit).await;
        done.map(drop).map_err(VectorError::while_doing(doing))
    }
}
