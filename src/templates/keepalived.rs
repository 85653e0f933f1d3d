//! View of `keepalived.conf.tera`.

use serde::Serialize;

use super::{RenderError, engine};
use crate::topology::Topology;
use crate::topology::model::{Proxy, Vip};

/// Every proxy's priority: equal, so that a proxy which returns is no better than the one that holds the address.
const PRIORITY: u32 = 150;
/// What a failing local path costs. Any number works that keeps the result above 0, which VRRP reserves.
const WEIGHT: u32 = 100;
/// Interval of advertisements in milliseconds: version 3 with 0.3 s gave an outage of about 1.1 s (measured).
const ADVERT_INTERVAL_MS: u32 = 300;
/// Missed advertisements until a backup takes over; VRRP's own number.
const DOWN_TIMER: u32 = 3;

#[derive(Serialize)]
struct View<'a> {
    cluster: &'a str,
    name: String,
    startup_delay: u32,
    priority: u32,
    weight: u32,
    interface: &'a str,
    router_id: u8,
    advert_int: String,
    down_timer_adverts: u32,
    detection: String,
    address: String,
    peers: Vec<String>,
    vip: String,
}

/// Renders the configuration of one proxy's keepalived.
pub(super) fn render(topology: &Topology, proxy: &Proxy, vip: &Vip) -> Result<String, RenderError> {
    let down_timer_adverts = down_timer(topology, proxy);
    let view = View {
        cluster: topology.name.as_str(),
        name: format!("keepalived-{}", proxy.ordinal),
        startup_delay: proxy.ordinal.saturating_sub(1) * 2,
        priority: PRIORITY,
        weight: WEIGHT,
        interface: &vip.interface,
        router_id: vip.router_id,
        advert_int: seconds(ADVERT_INTERVAL_MS),
        down_timer_adverts,
        detection: format!("{} s", seconds(down_timer_adverts * ADVERT_INTERVAL_MS)),
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

/// With equal priorities several backups would time out at the same moment, so each waits one advertisement longer than the
/// one before it. Of two proxies only one is a backup: nobody has to wait.
fn down_timer(topology: &Topology, proxy: &Proxy) -> u32 {
    if topology.proxies.len() > 2 { DOWN_TIMER + proxy.ordinal.saturating_sub(1) } else { DOWN_TIMER }
}

/// Milliseconds as seconds with one decimal.
fn seconds(ms: u32) -> String {
    format!("{}.{}", ms / 1000, ms % 1000 / 100)
}
