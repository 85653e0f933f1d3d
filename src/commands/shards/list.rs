//! `shards list` and `shards where`.

use super::Shards;
use crate::context::Context;
use crate::error::{CommandError, Exit};
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
    let table = known_table(&map, &args.table)?;
    let shard = match table.kind {
        TableKind::Distributed => {
            shard_of(&catalog, &key_value(&catalog, &args.table, &table.column, &args.value).await?).await?
        }
        // Whatever the value is, all rows are in the one shard.
        _ => map.placements.iter().find(|p| p.table == args.table).map_or(0, |p| p.shard),
    };
    let report = WhereReport::new(&session.topology, &map, &args.table, &args.value, shard);
    let report = report.ok_or_else(|| unknown_table(&map, &args.table))?;
    context.ui.result(&report)?;
    Ok(Exit::Ok)
}

/// A table that Citus knows.
pub fn known_table<'a>(map: &'a ShardMap, table: &str) -> Result<&'a Table, ShardError> {
    map.tables.get(table).ok_or_else(|| unknown_table(map, table))
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
