//! View of `pgbouncer.ini.tera`.

use serde::Serialize;

use super::network::PATIENCE;
use super::{RenderError, engine};
use crate::topology::Topology;
use crate::topology::model::Proxy;
use crate::topology::timing::{POOLER_CONNECT_TIMEOUT, POOLER_LOGIN_RETRY};

/// Seconds that clients may wait beyond Patroni's `ttl`: etcd notices an expired lease within 0.5 s, Patroni within
/// `loop_wait`, promotion takes a few seconds, and HAProxy and PgBouncer one each to notice.
const AFTER_TTL: u64 = 10;

#[derive(Serialize)]
struct View<'a> {
    cluster: &'a str,
    name: String,
    database: &'a str,
    citus: bool,
    max_client_conn: u32,
    default_pool_size: u32,
    login_retry: String,
    connect_timeout: String,
    query_wait_timeout: u64,
    keepalive_idle: u64,
    keepalive_interval: u64,
    keepalive_count: u32,
    user_timeout_ms: u128,
}

/// Renders the configuration of one proxy's PgBouncer.
pub(super) fn render(topology: &Topology, proxy: &Proxy) -> Result<String, RenderError> {
    let view = View {
        cluster: topology.name.as_str(),
        name: format!("pgbouncer-{}", proxy.ordinal),
        database: &topology.database,
        citus: topology.citus.is_some(),
        max_client_conn: topology.pooler.max_client_conn,
        default_pool_size: topology.pooler.default_pool_size,
        login_retry: POOLER_LOGIN_RETRY.as_secs_f64().to_string(),
        connect_timeout: POOLER_CONNECT_TIMEOUT.as_secs_f64().to_string(),
        query_wait_timeout: topology.failover.ttl.as_secs() + AFTER_TTL,
        keepalive_idle: PATIENCE.idle.as_secs(),
        keepalive_interval: PATIENCE.interval.as_secs(),
        keepalive_count: PATIENCE.count,
        user_timeout_ms: PATIENCE.user_timeout.as_millis(),
    };
    engine::render("pgbouncer.ini.tera", &view)
}
