//! What each group's leader says in SQL: its standbys, slots, connections, old transactions.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_postgres::Row;

use super::lines::{Lines, Session};
use super::model::{GroupState, LeaderFacts, Probe, SlotFacts, StandbyFacts};
use super::{Scope, not_asked, within};
use crate::error::one_line;
use crate::remote::sql;
use crate::topology::ids::{GroupId, MemberName};

/// Each query alone.
const QUERY: Duration = Duration::from_secs(2);
/// The size is worth less patience.
const QUERY_SIZE: Duration = Duration::from_millis(500);

const OVERVIEW: &str = "select pg_is_in_recovery(),
    (select count(*) from pg_stat_activity where backend_type = 'client backend')::int4,
    current_setting('max_connections')::int4,
    coalesce((select extract(epoch from max(clock_timestamp() - xact_start)) * 1000 from pg_stat_activity
              where backend_type = 'client backend' and pid <> pg_backend_pid()), 0)::int8,
    current_setting('synchronous_standby_names'),
    case when pg_is_in_recovery() then 0
         else ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int8 end";

/// Asks the file system for every file: last, and not waited for when there are many.
const SIZE: &str = "select coalesce(sum(pg_database_size(oid)), 0)::int8 from pg_database";

const STANDBYS: &str = "select application_name, coalesce(state, ''), coalesce(sync_state, ''),
    coalesce(pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end,
                             replay_lsn), 0)::int8,
    coalesce(extract(epoch from replay_lag) * 1000, 0)::int8
    from pg_stat_replication";

const SLOTS: &str = "select slot_name::text, active,
    coalesce(pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end,
                             restart_lsn), 0)::int8
    from pg_replication_slots";

const PREPARED: &str = "select gid, (extract(epoch from clock_timestamp() - prepared) * 1000)::int8 from pg_prepared_xacts";

pub(super) async fn collect(
    lines: &Lines<'_>,
    scope: Scope,
    patroni: &Probe<BTreeMap<GroupId, GroupState>>,
) -> BTreeMap<GroupId, Probe<LeaderFacts>> {
    let asked = lines.topology.groups.iter().filter(|group| scope.leaders.include(group.id));
    let looks = asked.map(|group| async move {
        let target = format!("{} (SQL)", group.id);
        let state = patroni.known().and_then(|groups| groups.get(&group.id));
        let leader = state.map(|s| s.leader.as_str()).unwrap_or_default();
        let known = group.members.iter().find(|m| m.name.as_str() == leader);
        let probe = match known {
            Some(member) => within(&target, lines.patience.sql, look(lines, group.id, &member.name)).await,
            None if patroni.known().is_none() => not_asked(&target),
            None => Probe::fail(target, "there is no leader to ask"),
        };
        (group.id, probe)
    });
    join_all(looks).await.into_iter().collect()
}

async fn look(lines: &Lines<'_>, group: GroupId, member: &MemberName) -> Result<LeaderFacts, String> {
    let Session { container, client } = lines.session(group, member.as_str()).await?;
    let size = async { Ok(sql::rows(container, client, SIZE, QUERY_SIZE).await.ok()) };
    // One connection, sent at once: the server answers them in order.
    let (overview, standbys, slots, prepared, size) = tokio::try_join!(
        sql::rows(container, client, OVERVIEW, QUERY),
        sql::rows(container, client, STANDBYS, QUERY),
        sql::rows(container, client, SLOTS, QUERY),
        sql::rows(container, client, PREPARED, QUERY),
        size,
    )
    .map_err(|e| one_line(&e))?;
    let size = size.as_ref().and_then(|rows| rows.first()).map_or(0, |row| row.get(0));
    let overview = overview.first().ok_or("it gave no answer")?;
    Ok(LeaderFacts {
        member: member.clone(),
        in_recovery: overview.get(0),
        standbys: standbys.iter().map(|row| (row.get(0), standby(row))).collect(),
        slots: slots.iter().map(|row| (row.get(0), slot(row))).collect(),
        connections_used: unsigned(overview.get::<_, i32>(1).into()).try_into().unwrap_or(u32::MAX),
        connections_max: unsigned(overview.get::<_, i32>(2).into()).try_into().unwrap_or(u32::MAX),
        oldest_transaction_ms: unsigned(overview.get(3)),
        prepared: prepared.iter().map(|row| (row.get(0), unsigned(row.get(1)))).collect(),
        database_bytes: unsigned(size),
        synchronous_standby_names: overview.get(4),
        timeline: unsigned(overview.get(5)),
    })
}

fn standby(row: &Row) -> StandbyFacts {
    StandbyFacts { state: row.get(1), sync_state: row.get(2), lag_bytes: unsigned(row.get(3)), lag_ms: unsigned(row.get(4)) }
}

fn slot(row: &Row) -> SlotFacts {
    SlotFacts { active: row.get(1), retained_bytes: unsigned(row.get(2)) }
}

/// A standby may be ahead of the position that was read a moment before: that is no lag.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
