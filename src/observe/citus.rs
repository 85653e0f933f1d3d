//! pg_dist_node and shard counts, from the coordinators' leader; and pg_dist_node as the other groups' leaders have it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_postgres::Row;

use super::lines::{Lines, Session};
use super::model::{CitusFacts, CitusNode, GroupState, Probe};
use super::shards::{group, number};
use super::{Scope, not_asked, within};
use crate::error::one_line;
use crate::remote::sql;
use crate::topology::ids::GroupId;

/// Each query alone.
const QUERY: Duration = Duration::from_secs(2);

const VERSION: &str = "select extversion from pg_extension where extname = 'citus'";

/// Placements are counted in the catalog: the view citus_shards asks every node for sizes, and lists secondaries too.
const NODES: &str = "select n.groupid::int4, n.nodename, n.nodeport, n.noderole::text, n.isactive, n.hasmetadata,
    n.metadatasynced, n.shouldhaveshards,
    (select count(*) from pg_dist_placement p where p.groupid = n.groupid)::int8, n.nodeid::int4
    from pg_dist_node n order by n.groupid, n.noderole, n.nodename";

const TABLES: &str = "select count(*)::int8 from pg_dist_partition";

pub(super) async fn collect(
    lines: &Lines<'_>,
    scope: Scope,
    patroni: &Probe<BTreeMap<GroupId, GroupState>>,
) -> Probe<CitusFacts> {
    if lines.topology.citus.is_none() {
        return Probe::Known(CitusFacts::default());
    }
    if !scope.citus {
        return not_asked("pg_dist_node");
    }
    let state = patroni.known().and_then(|groups| groups.get(&GroupId::COORDINATOR));
    match state.map(|s| s.leader.as_str()).filter(|leader| !leader.is_empty()) {
        Some(leader) => {
            let look = within("pg_dist_node", lines.patience.sql, look(lines, leader));
            let (mut facts, copies) = tokio::join!(look, copies(lines, scope, patroni));
            if let Probe::Known(facts) = &mut facts {
                facts.copies = copies;
            }
            facts
        }
        None => Probe::fail("pg_dist_node", "no leader of the coordinators is known"),
    }
}

async fn look(lines: &Lines<'_>, leader: &str) -> Result<CitusFacts, String> {
    let Session { container, client } = lines.session(GroupId::COORDINATOR, leader).await?;
    let (version, nodes, tables) = tokio::try_join!(
        sql::rows(container, client, VERSION, QUERY),
        sql::rows(container, client, NODES, QUERY),
        sql::rows(container, client, TABLES, QUERY),
    )
    .map_err(|e| one_line(&e))?;
    Ok(CitusFacts {
        version: version.first().map(|row| row.get(0)).unwrap_or_default(),
        nodes: nodes.iter().map(node).collect(),
        copies: BTreeMap::new(),
        tables: tables.first().map(|row| number(row.get(0))).unwrap_or_default(),
    })
}

/// Each shard group's leader has a copy; its standbys have the leader's.
async fn copies(
    lines: &Lines<'_>,
    scope: Scope,
    patroni: &Probe<BTreeMap<GroupId, GroupState>>,
) -> BTreeMap<GroupId, Probe<Vec<CitusNode>>> {
    if !scope.citus_copies {
        return BTreeMap::new();
    }
    let groups = lines.topology.groups.iter().map(|group| group.id).filter(|id| !id.is_coordinator());
    let looks = groups.map(|group| async move {
        let target = format!("pg_dist_node of {group}");
        let state = patroni.known().and_then(|groups| groups.get(&group));
        let copy = match state.map(|s| s.leader.as_str()).filter(|leader| !leader.is_empty()) {
            Some(leader) => within(&target, lines.patience.sql, copy(lines, group, leader)).await,
            None => Probe::fail(target, "there is no leader to ask"),
        };
        (group, copy)
    });
    join_all(looks).await.into_iter().collect()
}

async fn copy(lines: &Lines<'_>, group: GroupId, leader: &str) -> Result<Vec<CitusNode>, String> {
    let Session { container, client } = lines.session(group, leader).await?;
    let rows = sql::rows(container, client, NODES, QUERY).await.map_err(|e| one_line(&e))?;
    Ok(rows.iter().map(node).collect())
}

fn node(row: &Row) -> CitusNode {
    CitusNode {
        id: row.get(9),
        group: group(row, 0),
        name: row.get(1),
        port: row.get(2),
        role: row.get(3),
        active: row.get(4),
        has_metadata: row.get(5),
        metadata_synced: row.get(6),
        should_have_shards: row.get(7),
        shards: number(row.get(8)),
    }
}
