//! `shards list` and `shards where`.

use super::Shards;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::observe::shards::Catalog;
use crate::output::shards::{By, ListReport, WhereReport};
use crate::shards::{ShardMap, Table, TableKind};
use crate::steps::rebalance::{ShardError, key_value, shard_of};

/// Arguments of `shards list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// What the lines are.
    #[arg(long, value_enum, default_value_t)]
    pub by: By,
    /// List the largest shards, too.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub top: usize,
}

/// Arguments of `shards where`.
#[derive(Debug, clap::Args)]
pub struct WhereArgs {
    /// A distributed or reference table, with its schema where that is not `public`.
    pub table: String,
    /// A value of its distribution column.
    #[arg(allow_hyphen_values = true)]
    pub value: String,
}

/// Runs `shards list`.
pub async fn list(context: &Context, args: &ListArgs) -> Result<Exit, CommandError> {
    let shards = Shards::open(context).await?;
    context.ui.result(&ListReport::new(&shards.session.topology, &shards.map, args.by, args.top))?;
    Ok(Exit::Ok)
}

/// Runs `shards where`.
pub async fn locate(context: &Context, args: &WhereArgs) -> Result<Exit, CommandError> {
    let Shards { session, catalog, map } = Shards::open(context).await?;
    let (name, table) = known_table(&catalog, &map, &args.table).await?;
    let shard = match table.kind {
        TableKind::Distributed => shard_of(&catalog, &key_value(&catalog, name, &table.column, &args.value).await?).await?,
        // Whatever the value is, all rows are in the one shard.
        _ => map.placements.iter().find(|p| p.table == name).map_or(0, |p| p.shard),
    };
    let relation =
        catalog.relation_of(name, shard).await.map_err(ShardError::while_doing(format!("asking for shard {shard}")))?;
    let report = WhereReport::new(&session.topology, &map, name, &args.value, (shard, relation));
    let report = report.ok_or_else(|| unknown_table(&map, name))?;
    context.ui.result(&report)?;
    Ok(Exit::Ok)
}

/// A table that Citus knows, and its name there: people write a schema that PostgreSQL leaves out, and the other way round.
pub async fn known_table<'a>(catalog: &Catalog, map: &'a ShardMap, table: &str) -> Result<(&'a str, &'a Table), ShardError> {
    let name = catalog.name_of(table).await.map_err(ShardError::while_doing(format!("looking for {table}")))?;
    let found = name.and_then(|name| map.tables.get_key_value(&name));
    found.map(|(name, table)| (name.as_str(), table)).ok_or_else(|| unknown_table(map, table))
}

fn unknown_table(map: &ShardMap, table: &str) -> ShardError {
    let known: Vec<&str> = map.tables.keys().map(String::as_str).collect();
    let hint = if known.is_empty() {
        "no table is distributed yet: `SELECT create_distributed_table('…', '…')`".to_owned()
    } else {
        format!("Citus knows {}", known.join(", "))
    };
    ShardError::Unknown { what: format!("{table} is no table that Citus knows"), hint }
}
