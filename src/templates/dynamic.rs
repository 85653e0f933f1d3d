//! Patroni's dynamic configuration of a group: what all its members share, kept in etcd and changed there without a restart.
//!
//! It is written before the first member starts, so that no member ever runs with Patroni's own defaults.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::network::NEAR;
use crate::topology::Topology;
use crate::topology::ids::GroupId;
use crate::topology::model::{Group, Replication, VectorEngine};
use crate::topology::resources::postgres_parameters;
use crate::topology::timing::WAL_SENDER_TIMEOUT;

/// Where the container keeps the server's certificate: in the data volume beside the data folder, so that it outlives the
/// container and is not part of a base backup.
const TLS: &str = "/var/lib/postgresql/tls";

/// The dynamic configuration of `group`.
pub(super) fn configuration(topology: &Topology, group: &Group) -> Value {
    let timings = &topology.failover;
    json!({
        "ttl": timings.ttl.as_secs(),
        "loop_wait": timings.loop_wait.as_secs(),
        "retry_timeout": timings.retry_timeout.as_secs(),
        "primary_start_timeout": timings.primary_start_timeout.as_secs(),
        // PostgreSQL asks its workers to end, and waits for ever. Citus' maintenance daemon does not hear it while a commit of its own
        // waits for the synchronous standby, which a leader that is cut off has lost: its container would stay as it is, and with
        // it the volume. An orderly stop that takes longer has long been an outage; what follows is an immediate one.
        "primary_stop_timeout": 30,
        "maximum_lag_on_failover": timings.maximum_lag_on_failover,
        // A standby that has not yet followed the last change of leader is no candidate.
        "check_timeline": true,
        "synchronous_mode": synchronous_mode(group.replication),
        "synchronous_node_count": 1,
        // Strict would refuse writes while the only standby of a group is away. Not strict keeps the promise where it
        // counts: as long as a standby is there, nothing is acknowledged that it does not have.
        "synchronous_mode_strict": false,
        // Failsafe mode lets a leader that has lost etcd ask all other members instead of stepping down. With etcd on the
        // same hosts as PostgreSQL that helps only when etcd alone fails on healthy hosts. The price is paid in every
        // partition: the questions take up to 2 x 2 s, in which a leader that is cut off still takes itself for the
        // leader, beyond the loop_wait + 2 x retry_timeout after which its lease may be revoked and another promoted.
        // One leader at a time is worth more.
        "failsafe_mode": false,
        // How long the slot of a missing member is kept: a host that is back within it needs no new copy of the data.
        "member_slots_ttl": "30min",
        "postgresql": {
            "use_pg_rewind": true,
            "use_slots": true,
            "parameters": parameters(topology, group.id),
        },
    })
}

/// Patroni's word for what a commit waits for.
fn synchronous_mode(replication: Replication) -> Value {
    match replication {
        Replication::Async => json!(false),
        Replication::Sync => json!(true),
        Replication::Quorum => json!("quorum"),
    }
}

/// PostgreSQL's settings: transport and security from here, sizes from the resources, the operator's own over both.
fn parameters(topology: &Topology, group: GroupId) -> BTreeMap<String, String> {
    let mut parameters: BTreeMap<String, String> = transport().into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    // Who waits for a lock for longer than deadlock_timeout, for what, and who holds it: asked for when it is over.
    parameters.insert("log_lock_waits".into(), "on".into());
    if topology.citus.is_some() {
        parameters.insert("citus.node_conninfo".into(), node_conninfo());
        // Connections between nodes that cannot be made in this time will not be made at all (default 30 s).
        parameters.insert("citus.node_connection_timeout".into(), "5s".into());
        // A database server does not call home.
        parameters.insert("citus.enable_statistics_collection".into(), "off".into());
        parameters.insert("citus.recover_2pc_interval".into(), recovery(group).into());
        // Which tenants ask for most (`pgclusterctl tenants`; Citus' default is none). Measured: some 20 us of processor time more
        // for a query of one row that costs 240, and 35 when each is of another tenant.
        parameters.insert("citus.stat_tenants_track".into(), "all".into());
        // Hiding shards from pg_class breaks every outer join of pg_class with itself, psql's `\d` among them ("negative
        // bitmapset member not allowed", Citus 13.2 on PostgreSQL 17.12). Clients talk to coordinators, which hold no shards.
        parameters.insert("citus.override_table_visibility".into(), "off".into());
        // Citus splits shards through an output plugin of its own, which newer minor releases (17.12) refuse unless it is named
        // beside their defaults. Patroni leaves the setting out where PostgreSQL does not know it.
        parameters.insert("output_plugin_libraries".into(), "pgoutput, test_decoding, citus".into());
    }
    if topology.vector == VectorEngine::Ruvector {
        // An HNSW index of ruvector-postgres 2.0.6 offers itself for scans without an order, which need no column of it, and finds
        // nothing then: `select count(*)` of a table with one is 0. Such a plan is an index-only scan, always.
        parameters.insert("enable_indexonlyscan".into(), "off".into());
    }
    parameters.extend(postgres_parameters(topology, group));
    parameters
}

/// How often Citus finishes what was prepared and then left: until then its rows are locked (default 60 s). Not by itself on the
/// coordinators: one that was frozen would, in the moment in which it goes on, take back on the shard groups what the new leader has
/// prepared there and is about to commit. Their leader is asked to by its Patroni, while the leader key was surely its own
/// (`images/node/patroni-for-swarm`).
fn recovery(group: GroupId) -> &'static str {
    if group.is_coordinator() { "-1" } else { "2s" }
}

/// TLS, passwords and how soon a vanished peer is noticed.
fn transport() -> [(&'static str, String); 14] {
    [
        ("ssl", "on".into()),
        ("ssl_cert_file", format!("{TLS}/server.crt")),
        ("ssl_key_file", format!("{TLS}/server.key")),
        ("ssl_min_protocol_version", "TLSv1.2".into()),
        ("password_encryption", "scram-sha-256".into()),
        ("tcp_keepalives_idle", NEAR.idle.as_secs().to_string()),
        ("tcp_keepalives_interval", NEAR.interval.as_secs().to_string()),
        ("tcp_keepalives_count", NEAR.count.to_string()),
        ("tcp_user_timeout", format!("{}ms", NEAR.user_timeout.as_millis())),
        // A query whose client is gone is ended instead of running on for nobody. One that waits for a lock would get it, and keep
        // it until its answer has been found to reach nobody.
        ("client_connection_check_interval", "1s".into()),
        // The default of 60 s would hide a broken replication connection for longer than a failover takes.
        ("wal_receiver_timeout", "5s".into()),
        ("wal_sender_timeout", format!("{}s", WAL_SENDER_TIMEOUT.as_secs())),
        // Must stay well below wal_sender_timeout; also keeps the measured lag fresh.
        ("wal_receiver_status_interval", "1s".into()),
        // How soon a standby asks again after losing its leader (default 5 s).
        ("wal_retrieve_retry_interval", "500ms".into()),
    ]
}

/// How Citus connects from node to node. Citus refuses other keywords, passwords are in `pg_dist_authinfo`.
fn node_conninfo() -> String {
    format!(
        "sslmode=require connect_timeout=2 keepalives=1 keepalives_idle={} keepalives_interval={} keepalives_count={} \
         tcp_user_timeout={}",
        NEAR.idle.as_secs(),
        NEAR.interval.as_secs(),
        NEAR.count,
        NEAR.user_timeout.as_millis(),
    )
}
