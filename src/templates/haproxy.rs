//! View of `haproxy.cfg.tera`.

use serde::Serialize;

use super::network::{NEAR, PATIENCE, Patience};
use super::{RenderError, engine, services};
use crate::topology::model::{Member, Proxy, Reads};
use crate::topology::timing::{LEADER_ROUTE, LeaderRoute, READ_LAG, SERVER_CHECK, ServerCheck};
use crate::topology::units::show_duration;
use crate::topology::{GroupId, HostName, Topology};

#[derive(Serialize)]
struct View<'a> {
    cluster: &'a str,
    name: String,
    maxconn: u32,
    client: PatienceView,
    server: PatienceView,
    check: CheckView,
    leader: LeaderView,
    postgres_uid: u32,
    read_lag: u64,
    read_lag_text: String,
    poolers: Vec<Server>,
    coordinators: Vec<&'a str>,
    /// Coordinators and their readers.
    readable: Vec<Server>,
    /// Whether those of this proxy's zone come first.
    near: bool,
}

/// In HAProxy's notation.
#[derive(Serialize)]
struct PatienceView {
    idle: String,
    interval: String,
    count: u32,
    user_timeout: String,
}

impl From<Patience> for PatienceView {
    fn from(patience: Patience) -> Self {
        let seconds = |duration: std::time::Duration| format!("{}s", duration.as_secs());
        Self {
            idle: seconds(patience.idle),
            interval: seconds(patience.interval),
            count: patience.count,
            user_timeout: seconds(patience.user_timeout),
        }
    }
}

/// In HAProxy's notation.
#[derive(Serialize)]
struct CheckView {
    up: String,
    changing: String,
    down: String,
    fall: u32,
    rise: u32,
    timeout: String,
}

impl From<ServerCheck> for CheckView {
    fn from(check: ServerCheck) -> Self {
        Self {
            up: show_duration(check.up),
            changing: show_duration(check.changing),
            down: show_duration(check.down),
            fall: check.fall,
            rise: check.rise,
            timeout: show_duration(check.timeout),
        }
    }
}

/// In HAProxy's notation.
#[derive(Serialize)]
struct LeaderView {
    patience: String,
    connect: String,
    handshake: String,
    retries: u32,
    check: String,
}

impl From<LeaderRoute> for LeaderView {
    fn from(route: LeaderRoute) -> Self {
        Self {
            patience: show_duration(route.patience),
            connect: show_duration(route.connect),
            handshake: show_duration(route.handshake),
            retries: route.retries,
            check: show_duration(route.check),
        }
    }
}

#[derive(Serialize)]
struct Server {
    name: String,
    backup: bool,
}

/// Renders the configuration of one proxy's HAProxy.
pub(super) fn render(topology: &Topology, proxy: &Proxy) -> Result<String, RenderError> {
    let zone = |host: &HostName| topology.host(host).zone.as_str();
    let coordinators = topology.group(GroupId::COORDINATOR);
    let near = proxy.reads == Reads::Zone && !zone(&proxy.host).is_empty();
    let readable =
        |member: &Member| Server { name: member.name.to_string(), backup: near && zone(&member.host) != zone(&proxy.host) };
    let view = View {
        cluster: topology.name.as_str(),
        name: format!("haproxy-{}", proxy.ordinal),
        maxconn: max_connections(topology),
        client: PATIENCE.into(),
        server: NEAR.into(),
        check: SERVER_CHECK.into(),
        leader: LEADER_ROUTE.into(),
        postgres_uid: services::POSTGRES_UID,
        read_lag: READ_LAG,
        read_lag_text: format!("{} MiB", READ_LAG >> 20),
        poolers: poolers(topology, proxy),
        coordinators: coordinators.map(|group| group.members.iter().map(|m| m.name.as_str()).collect()).unwrap_or_default(),
        readable: coordinators.map(|group| group.everyone().map(readable).collect()).unwrap_or_default(),
        near,
    };
    engine::render("haproxy.cfg.tera", &view)
}

/// Clients of the pooler, server connections of the pooler (as many at worst, twice, as TLS begins in a connection of its own), as
/// many readers, and room for checks and pages.
pub(super) fn max_connections(topology: &Topology) -> u32 {
    topology.pooler.max_client_conn.saturating_mul(4).saturating_add(100)
}

/// This host's pooler first, the others as backups in the order of the topology.
fn poolers(topology: &Topology, proxy: &Proxy) -> Vec<Server> {
    let others = topology.proxies.iter().filter(|p| p.ordinal != proxy.ordinal);
    std::iter::once(proxy)
        .chain(others)
        .map(|p| Server { name: format!("pgbouncer-{}", p.ordinal), backup: p.ordinal != proxy.ordinal })
        .collect()
}
