//! Declared tables as PostgreSQL has them, and all tables as Citus has them, from the coordinators' leader.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::try_join_all;
use serde::Deserialize;
use tokio_postgres::Row;

use super::shards::{Catalog, kind};
use crate::remote::sql::SqlError;
use crate::shards::{CitusTable, TableFacts, TableKind, TablesSeen};
use crate::topology::TableName;
use crate::topology::tables::DeclaredTable;

/// Catalogs answer at once, unless somebody holds a table's lock.
const ASK: Duration = Duration::from_secs(15);

/// What a foreign key's constraint of a partition repeats is its parent's. Of a key that carries other columns along (INCLUDE) only
/// its own count.
const DECLARED: &str = "select w.schema, w.name, json_build_object(
    'unfit', case when c.relispartition then 'a partition of another table' when c.relkind in ('r', 'p') then ''
        when c.relkind = 'v' then 'a view' when c.relkind = 'm' then 'a materialized view'
        when c.relkind = 'f' then 'a foreign table' else 'no table' end,
    'has_identity', not exists (
        select from (select c.oid union all select t.relid from pg_partition_tree(c.oid) t where t.isleaf) l(oid)
        join pg_class p on p.oid = l.oid
        where p.relkind = 'r' and not case p.relreplident
            when 'f' then true
            when 'd' then exists (select from pg_index i where i.indrelid = p.oid and i.indisprimary)
            when 'i' then exists (select from pg_index i where i.indrelid = p.oid and i.indisreplident)
            else false end),
    'columns', (select coalesce(json_object_agg(a.attname, a.atttypid::regtype::text), '{}') from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
    'uniques', (select coalesce(json_object_agg(x.relname,
            (select coalesce(json_agg(a.attname), '[]') from pg_attribute a
             where a.attrelid = c.oid and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1]))), '{}')
        from pg_index i join pg_class x on x.oid = i.indexrelid
        where i.indrelid = c.oid and (i.indisunique or i.indisexclusion)),
    'refers_to', (select coalesce(json_agg(array[n.nspname, o.relname]), '[]')
        from pg_constraint k join pg_class o on o.oid = k.confrelid join pg_namespace n on n.oid = o.relnamespace
        where k.contype = 'f' and k.conrelid = c.oid and k.confrelid <> c.oid and k.conparentid = 0),
    'referred_by', (select coalesce(json_agg(array[n.nspname, o.relname]), '[]')
        from pg_constraint k join pg_class o on o.oid = k.conrelid join pg_namespace n on n.oid = o.relnamespace
        where k.contype = 'f' and k.confrelid = c.oid and k.conrelid <> c.oid and k.conparentid = 0))::text
    from unnest($1::text[], $2::text[]) w(schema, name)
    join pg_namespace s on s.nspname = w.schema
    join pg_class c on c.relnamespace = s.oid and c.relname = w.name";

/// The number of shards is the one that tables of a colocation are made with.
const CITUS: &str = "select n.nspname::text, c.relname::text, p.partmethod::text, p.repmodel::text, p.colocationid::int4,
    coalesce(column_to_column_name(p.logicalrelid, p.partkey), ''),
    coalesce(g.shardcount, (select count(*) from pg_dist_shard s where s.logicalrelid = p.logicalrelid))::int4
    from pg_dist_partition p
    join pg_class c on c.oid = p.logicalrelid
    join pg_namespace n on n.oid = c.relnamespace
    left join pg_dist_colocation g on g.colocationid = p.colocationid
    where not c.relispartition";

const WAL_LEVEL: &str = "select current_setting('wal_level')";

/// What the query says of a table.
#[derive(Debug, Default, Deserialize)]
struct Told {
    unfit: String,
    has_identity: bool,
    columns: BTreeMap<String, String>,
    uniques: BTreeMap<String, BTreeSet<String>>,
    refers_to: Vec<(String, String)>,
    referred_by: Vec<(String, String)>,
}

impl Catalog {
    /// Everything that declared tables are compared with.
    pub async fn tables(&self, declared: &[DeclaredTable]) -> Result<TablesSeen, SqlError> {
        let (schemas, names): (Vec<&str>, Vec<&str>) =
            declared.iter().map(|one| (one.table.schema(), one.table.name())).unzip();
        let found = self.rows(DECLARED, &[&schemas, &names], ASK).await?;
        let citus = self.rows(CITUS, &[], ASK).await?;
        let wal_level = self.rows(WAL_LEVEL, &[], ASK).await?;
        let citus: BTreeMap<TableName, CitusTable> = citus.iter().map(citus_table).collect();
        let mut tables: BTreeMap<TableName, TableFacts> = found.iter().map(facts).collect();
        // Only what Citus has not spread yet: nobody counts the rows of a cluster for this.
        let whole = tables
            .iter_mut()
            .filter(|(table, facts)| facts.unfit.is_empty() && citus.get(table).is_none_or(|has| has.kind == TableKind::Local));
        try_join_all(whole.map(|(table, facts)| async move {
            facts.filled = self.has_rows(table).await?;
            Ok::<(), SqlError>(())
        }))
        .await?;
        let wal_level = wal_level.first().map(|row| row.get(0)).unwrap_or_default();
        Ok(TablesSeen { tables, citus, wal_level })
    }

    /// A name cannot be a parameter; [`TableName::in_statement`] quotes whatever it may be.
    async fn has_rows(&self, table: &TableName) -> Result<bool, SqlError> {
        let query = format!("select exists (select from {})", table.in_statement());
        Ok(self.rows(&query, &[], ASK).await?.first().is_some_and(|row| row.get(0)))
    }
}

fn facts(row: &Row) -> (TableName, TableFacts) {
    let unread = |error| Told { unfit: format!("not to be read: {error}"), ..Told::default() };
    let told: Told = serde_json::from_str(row.get(2)).unwrap_or_else(unread);
    let names = |list: Vec<(String, String)>| list.into_iter().map(|(schema, name)| TableName::of(schema, name)).collect();
    let facts = TableFacts {
        unfit: told.unfit,
        filled: false,
        has_identity: told.has_identity,
        columns: told.columns,
        uniques: told.uniques,
        refers_to: names(told.refers_to),
        referred_by: names(told.referred_by),
    };
    (TableName::of(row.get::<_, String>(0), row.get::<_, String>(1)), facts)
}

fn citus_table(row: &Row) -> (TableName, CitusTable) {
    let unsigned = |column: usize| u32::try_from(row.get::<_, i32>(column)).unwrap_or_default();
    let colocation = unsigned(4);
    let table =
        CitusTable { kind: kind(row.get(2), row.get(3), colocation), column: row.get(5), colocation, shard_count: unsigned(6) };
    (TableName::of(row.get::<_, String>(0), row.get::<_, String>(1)), table)
}
