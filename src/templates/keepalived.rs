//! View of `keepalived.conf.tera`.

use std::time::Duration;

use serde::Serialize;

use super::{RenderError, engine};
use crate::topology::Topology;
use crate::topology::model::{Proxy, Vip};
use crate::topology::timing::{HAPROXY_CHECK, VRRP_ADVERT, VRRP_PRIORITY, vrrp_down_timer};

/// What a failing local path costs. Any number works that keeps the result above 0, which VRRP reserves.
const WEIGHT: u32 = 100;

/// What it costs to see no leader: less than a failing local path, and with it still above 0.
const LEADER_WEIGHT: u32 = 40;
/// Seconds until that counts: longer than a failover of a lost host.
const LEADER_PATIENCE: u32 = 12;

/// What it costs to hear no other host: more than to see no leader, since who is deaf does not hear clients either. All
/// three together leave something above 0.
const SILENCE_WEIGHT: u32 = 50;

#[derive(Serialize)]
struct View<'a> {
    cluster: &'a str,
    name: String,
    startup_delay: u32,
    priority: u32,
    weight: u32,
    leader_weight: u32,
    leader_patience: u32,
    silence_weight: u32,
    /// Hosts that may be heard.
    others: Vec<String>,
    interface: &'a str,
    router_id: u8,
    check_interval: String,
    advert_int: String,
    down_timer_adverts: u32,
    detection: String,
    address: String,
    peers: Vec<String>,
    vip: String,
}

/// Renders the configuration of one proxy's keepalived.
pub(super) fn render(topology: &Topology, proxy: &Proxy, vip: &Vip) -> Result<String, RenderError> {
    let down_timer_adverts = vrrp_down_timer(topology.proxies.len(), proxy.ordinal);
    let view = View {
        cluster: topology.name.as_str(),
        name: format!("keepalived-{}", proxy.ordinal),
        startup_delay: proxy.ordinal.saturating_sub(1) * 2,
        priority: VRRP_PRIORITY,
        weight: WEIGHT,
        leader_weight: LEADER_WEIGHT,
        leader_patience: LEADER_PATIENCE,
        silence_weight: SILENCE_WEIGHT,
        others: topology.hosts.iter().filter(|h| h.name != proxy.host).map(|h| h.address.to_string()).collect(),
        interface: &vip.interface,
        router_id: vip.router_id,
        check_interval: seconds(HAPROXY_CHECK),
        advert_int: seconds(VRRP_ADVERT),
        down_timer_adverts,
        detection: format!("{} s", seconds(VRRP_ADVERT * down_timer_adverts)),
        address: topology.host(&proxy.host).address.to_string(),
        peers: topology
            .proxies
            .iter()
            .filter(|p| p.ordinal != proxy.ordinal)
            .map(|p| topology.host(&p.host).address.to_string())
            .collect(),
        vip: vip.address.to_string(),
    };
    engine::render("keepalived.conf.tera", &view)
}

/// Seconds with one decimal.
fn seconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}
