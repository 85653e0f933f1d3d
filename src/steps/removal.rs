//! Taking a shard group out, step by step as [`crate::plan::removal`] decides. Each step may be done again.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use super::rebalance::ShardError;
use super::{StepError, World, objects, poolers, teardown};
use crate::consent::Consent;
use crate::observe::shards::Catalog;
use crate::observe::{Scope, observe};
use crate::plan::Condition;
use crate::remote::etcd::EtcdError;
use crate::remote::sql::SqlError;
use crate::remote::{patroni, sql};
use crate::topology::{GroupId, HostName};

/// For a change of pg_dist_node, which waits for locks of transactions that run.
const CHANGE: Duration = Duration::from_secs(60);
/// Citus changes pg_dist_node only while every node has the newest metadata; after a change of a leader it sends it within
/// `citus.metadata_sync_interval`, 60 s by default.
const SYNCED: Duration = Duration::from_secs(90);
/// Pause before it is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Citus asks the node for nothing any more. Done while the node still answers, so that no change of a reference table or of a
/// definition fails in between.
pub async fn deactivate(catalog: &Catalog, node: &str, port: i32, _consent: &Consent) -> Result<(), ShardError> {
    let query = "select citus_disable_node(nodename, nodeport, true) from pg_dist_node
        where nodename = $1::text and nodeport = $2 and isactive";
    let doing = || ShardError::while_doing(format!("deactivating {node} in pg_dist_node"));
    let started = Instant::now();
    loop {
        match catalog.rows(query, &[&node, &port], CHANGE).await {
            Ok(_) => return Ok(()),
            Err(error) if may_pass(&error) && started.elapsed() < SYNCED => tokio::time::sleep(AGAIN).await,
            Err(error) => return Err(doing()(error)),
        }
    }
}

/// Removes every row of the group from pg_dist_node, the primary's last. Patroni may remove a standby's at the same time.
pub async fn unregister(catalog: &Catalog, group: GroupId, _consent: &Consent) -> Result<(), ShardError> {
    let next = "select nodename, nodeport from pg_dist_node where groupid = $1 order by noderole = 'primary', nodeid limit 1";
    let remove = "select citus_remove_node($1::text, $2)";
    let number = i32::try_from(group.0).unwrap_or(i32::MAX);
    end_what_patroni_left_open(catalog).await?;
    let started = Instant::now();
    loop {
        let rows = catalog.rows(next, &[&number], CHANGE).await;
        let rows = rows.map_err(ShardError::while_doing(format!("asking for the nodes of {group}")))?;
        let Some(row) = rows.first() else { return Ok(()) };
        let (node, port): (String, i32) = (row.get(0), row.get(1));
        match catalog.rows(remove, &[&node, &port], CHANGE).await {
            Ok(_) => {}
            Err(error) if may_pass(&error) && started.elapsed() < SYNCED => tokio::time::sleep(AGAIN).await,
            Err(error) => return Err(ShardError::while_doing(format!("removing {node} from pg_dist_node"))(error)),
        }
    }
}

/// A leader that is stopped in order announces that to the coordinators' Patroni, which opens a transaction that holds the group's
/// writes back until there is another leader. When there is none any more nobody ends it (`CitusHandler.run` of Patroni 4.0 waits
/// without a limit while it has no other task), and it holds every write to a reference table. Seen on the lab; [`still`] sees to
/// it that it is not opened, this to what was opened before.
async fn end_what_patroni_left_open(catalog: &Catalog) -> Result<(), ShardError> {
    let query = "select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'Patroni citus' and state = 'idle in transaction' and xact_start < now() - interval '1 second'";
    let ended = catalog.rows(query, &[], CHANGE).await;
    ended.map(drop).map_err(ShardError::while_doing("ending what Patroni has left open"))
}

/// Whether the same in a moment may be answered otherwise: metadata is on its way, or somebody else has just removed the row.
fn may_pass(error: &SqlError) -> bool {
    let text = error.to_string();
    ["out of sync", "concurrent metadata", "does not exist"].iter().any(|words| text.contains(words))
}

/// Removes the services of these members, and waits until their containers are gone: nobody writes the group's keys then.
pub async fn services(world: World<'_>, group: GroupId, members: &[String], _consent: &Consent) -> Result<(), StepError> {
    still(world, group).await?;
    try_join_all(members.iter().map(|member| objects::remove_service(world, member))).await?;
    teardown::containers_gone(world, |service| GroupId::of_member(service) == Some(group)).await
}

/// Removes the service of one member that leads nobody, and waits until its container is gone. It stops in order: Patroni of a synchronous
/// standby first has its leader choose another, so that commits do not wait for it in vain (`while_not_sync_standby` of Patroni 4.0).
pub async fn service(world: World<'_>, member: &str, _consent: &Consent) -> Result<(), StepError> {
    objects::remove_service(world, member).await?;
    teardown::containers_gone(world, |service| service == member).await
}

/// Pauses the group's Patroni: stopped then, it announces nothing, and PostgreSQL ends with its container.
async fn still(world: World<'_>, group: GroupId) -> Result<(), StepError> {
    let key = format!("{}config", world.topology.dcs_prefix(group));
    let refused = |error: EtcdError| StepError::Refused { target: key.clone(), reason: error.to_string() };
    let etcd = world.fleet.etcd(world.topology).await?;
    let Some(entry) = etcd.get(&key).await.map_err(refused)? else { return Ok(()) };
    let Ok(serde_json::Value::Object(mut config)) = serde_json::from_slice(&entry.value) else { return Ok(()) };
    if config.insert("pause".to_owned(), true.into()) != Some(true.into()) {
        let config = serde_json::Value::Object(config).to_string();
        etcd.put(&key, config, entry.revision).await.map_err(refused)?;
    }
    // Its members read it in their next round.
    tokio::time::sleep(world.topology.failover.loop_wait * 2 + AGAIN).await;
    Ok(())
}

/// Deletes the group's keys. Before that, Patroni of the coordinators' leader is made to read pg_dist_node anew: it believes what it
/// registered once, and would never register a later group of the same number. Sessions that poolers keep would take its
/// connections for those to the later group, too.
pub async fn keys(world: World<'_>, group: GroupId, _consent: &Consent) -> Result<(), StepError> {
    forget(world, group).await?;
    poolers::renew(world).await?;
    let prefix = world.topology.dcs_prefix(group);
    let refused = |reason: String| StepError::Refused { target: prefix.clone(), reason };
    let etcd = world.fleet.etcd(world.topology).await?;
    etcd.delete_range(&prefix).await.map_err(|error| refused(error.to_string())).map(drop)
}

/// Patroni reads pg_dist_node again after a statement on its connection for it has failed: so that connection is ended, and a
/// statement provoked which changes nothing. Whatever else makes it fail first is as good.
async fn forget(world: World<'_>, group: GroupId) -> Result<(), StepError> {
    const PATRONI: &str = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'Patroni citus'";
    let coordinators = GroupId::COORDINATOR;
    let observed =
        observe(world.topology, world.fleet, Scope::of_conditions(&[Condition::Leader { group: coordinators }])).await;
    let refused = |target: &str, reason: String| StepError::Refused { target: target.to_owned(), reason };
    let groups = observed.patroni.known().ok_or_else(|| refused("etcd", "does not answer".into()))?;
    let leader = groups.get(&coordinators).map(|state| state.leader.clone()).unwrap_or_default();
    let other = groups.iter().find(|(id, state)| !id.is_coordinator() && **id != group && !state.leader.is_empty());
    let Some((id, state)) = other else { return Ok(()) };
    let container = world.fleet.member(world.topology, &leader).await?;
    let said = |error: &dyn std::fmt::Display| refused(&leader, error.to_string());
    let client = sql::connect(&container).await.map_err(|e| said(&e))?;
    sql::rows(&container, &client, PATRONI, CHANGE).await.map_err(|e| said(&e))?;
    patroni::announce(&container, id.0, &state.leader).await.map_err(|e| said(&e))
}

/// Deletes these members' data volumes.
pub async fn volumes(world: World<'_>, volumes: &[(HostName, String)], _consent: &Consent) -> Result<(), StepError> {
    for (host, member) in volumes {
        teardown::volume(world.fleet.link(host)?, &format!("{}-{member}", world.topology.name)).await?;
    }
    Ok(())
}
