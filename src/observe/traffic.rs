//! Sessions, waits and prepared transactions of all nodes, asked through the coordinators' leader.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use tokio_postgres::Row;

use super::shards::{Catalog, failed, group, number, told};
use crate::remote::sql::{SqlError, Words};
use crate::topology::GroupId;
use crate::traffic::{Fate, Gpid, Origins, Prepared, Session, Wait, fate, standing};

/// Every node is asked, and each answers at once.
const ASK: Duration = Duration::from_secs(15);

/// What clients do; what Citus does on their behalf on other nodes is theirs, and its own daemons are nobody's.
const SESSIONS: &str = "select a.global_pid::int8, n.nodename, coalesce(a.usename::text, ''), coalesce(a.application_name, ''),
    coalesce(a.state, ''), concat_ws(': ', a.wait_event_type, a.wait_event),
    (extract(epoch from clock_timestamp() - a.xact_start) * 1000)::int8,
    (extract(epoch from clock_timestamp() - a.query_start) * 1000)::int8, coalesce(a.query, '')
    from citus_stat_activity a join pg_dist_node n using (nodeid)
    where not a.is_worker_query and a.global_pid > 0 and a.global_pid <> citus_backend_gpid()
    and a.datname = current_database() and a.backend_type = 'client backend'
    and a.application_name not like 'citus%' and a.application_name not like 'Patroni%'
    order by a.xact_start nulls last, a.global_pid";

const WAITS: &str = "select distinct waiting_gpid::int8, blocking_gpid::int8 from citus_lock_waits order by 1, 2";

/// The initiator's identifier is its group.
const ACTIVE: &str = "select initiator_node_identifier::int4, transaction_number::int8
    from get_global_active_transactions() where transaction_number > 0";

const PREPARED: &str = "select n.groupid::int4, n.nodename, r.success, r.result
    from run_command_on_all_nodes($$ select json_build_object(
        'prepared', (select coalesce(json_agg(json_build_object('gid', gid, 'owner', owner,
            'age_ms', (extract(epoch from clock_timestamp() - prepared) * 1000)::int8) order by prepared), '[]')
            from pg_prepared_xacts where database = current_database()),
        'committed', (select coalesce(json_agg(gid), '[]') from pg_dist_transaction)) $$) r
    join pg_dist_node n using (nodeid) order by 1";

const RECOVER: &str = "select n.nodename, r.success, r.result
    from run_command_on_all_nodes('select recover_prepared_transactions()') r join pg_dist_node n using (nodeid)";

/// Every node ends the session if it is its own. Citus has functions that find the node by the global process id, and these fail at
/// sessions of a coordinator that led only after it had been a standby: they bear an id from then, which no node has any more.
const END: &str = "select coalesce(bool_or(r.result = 't'), false) from run_command_on_all_nodes(format(
    'select %I(process_id) from get_all_active_transactions() where global_pid = %s and not worker_query', $1::text, $2::int8)) r";

/// Prepared transactions, and the nodes that did not tell theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transactions {
    /// In flight and left over.
    pub prepared: Vec<Prepared>,
    /// Nodes that did not answer, each with why.
    pub silent: Vec<(String, String)>,
}

/// What a node tells.
#[derive(Debug, Deserialize)]
struct Told {
    prepared: Vec<Held>,
    committed: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Held {
    gid: String,
    owner: String,
    age_ms: i64,
}

impl Catalog {
    /// Clients' sessions, the oldest transaction first.
    pub async fn sessions(&self) -> Result<Vec<Session>, SqlError> {
        Ok(self.rows(SESSIONS, &[], ASK).await?.iter().map(session).collect())
    }

    /// Who waits for whom, on all nodes.
    pub async fn waits(&self) -> Result<Vec<Wait>, SqlError> {
        let rows = self.rows(WAITS, &[], ASK).await?;
        Ok(rows.iter().map(|row| Wait { waiting: gpid(row, 0), blocking: gpid(row, 1) }).collect())
    }

    /// Prepared transactions of all nodes, each with what becomes of it. What seems to be left over is looked at twice.
    pub async fn transactions(&self) -> Result<Transactions, SqlError> {
        let first = self.transactions_once().await?;
        if !first.prepared.iter().any(|one| matches!(one.fate, Fate::Commit | Fate::Rollback)) {
            return Ok(first);
        }
        let Transactions { prepared, silent } = self.transactions_once().await?;
        Ok(Transactions { prepared: standing(&first.prepared, prepared), silent })
    }

    async fn transactions_once(&self) -> Result<Transactions, SqlError> {
        // A transaction may begin or end between two questions: it is in flight if it was so before or after.
        let before = self.active().await?;
        let rows = self.rows(PREPARED, &[], ASK).await?;
        let mut origins = Origins { active: self.active().await?, ..Origins::default() };
        origins.active.extend(before);
        let (mut held, mut silent) = (Vec::new(), Vec::new());
        for row in &rows {
            let (group, node): (GroupId, String) = (group(row, 0), row.get(1));
            match told::<Told>(row) {
                Ok(told) => {
                    origins.answered.insert(group);
                    origins.committed.extend(told.committed);
                    held.extend(told.prepared.into_iter().map(|row| (group, node.clone(), row)));
                }
                Err(why) => silent.push((node, why)),
            }
        }
        let prepared = held.into_iter().map(|(group, node, row)| Prepared {
            group: group.to_string(),
            node,
            fate: fate(&row.gid, &origins),
            gid: row.gid,
            owner: row.owner,
            age_ms: number(row.age_ms),
        });
        Ok(Transactions { prepared: prepared.collect(), silent })
    }

    async fn active(&self) -> Result<BTreeSet<(GroupId, u64)>, SqlError> {
        let rows = self.rows(ACTIVE, &[], ASK).await?;
        Ok(rows.iter().map(|row| (group(row, 0), number(row.get(1)))).collect())
    }

    /// Has every node end what its lost transactions left behind, by Citus' own rule; nodes that failed, each with why.
    pub async fn recover(&self) -> Result<Vec<(String, String)>, SqlError> {
        let rows = self.rows(RECOVER, &[], ASK).await?;
        Ok(failed(&rows))
    }

    /// Ends a session's statement, or with `terminate` the session; false when it is not there any more.
    pub async fn end_session(&self, session: Gpid, terminate: bool) -> Result<bool, SqlError> {
        let function = if terminate { "pg_terminate_backend" } else { "pg_cancel_backend" };
        let id = i64::try_from(session.0).unwrap_or(i64::MAX);
        let rows = self.rows(END, &[&function, &id], ASK).await?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }
}

fn session(row: &Row) -> Session {
    let millis = |column: usize| row.get::<_, Option<i64>>(column).and_then(|value| u64::try_from(value).ok());
    Session {
        gpid: gpid(row, 0),
        node: row.get(1),
        user: row.get(2),
        application: row.get(3),
        state: row.get(4),
        wait: row.get(5),
        transaction_ms: millis(6),
        statement_ms: millis(7),
        query: row.get::<_, Words>(8).0,
    }
}

fn gpid(row: &Row, column: usize) -> Gpid {
    Gpid(number(row.get(column)))
}
