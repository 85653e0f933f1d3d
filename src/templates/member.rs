//! View of `patroni.yml.tera`: what is a member's own. What a whole group shares is in [`super::dynamic`].

use serde::Serialize;

use super::{RenderError, engine};
use crate::topology::Topology;
use crate::topology::model::Member;

#[derive(Serialize)]
struct View<'a> {
    cluster: &'a str,
    name: &'a str,
    etcd: Vec<&'a str>,
    citus: bool,
    group: u32,
    database: &'a str,
    postgres: u32,
    networks: Vec<String>,
    reader: bool,
    clone_from: bool,
}

/// Renders Patroni's local configuration of one member.
pub(super) fn render(topology: &Topology, member: &Member) -> Result<String, RenderError> {
    let group = topology.group(member.group);
    let reader = group.is_some_and(|group| group.is_reader(member.name.as_str()));
    let home = group.and_then(|group| group.members.first());
    let view = View {
        cluster: topology.name.as_str(),
        name: member.name.as_str(),
        etcd: topology.etcd.iter().map(|m| m.name.as_str()).collect(),
        citus: topology.citus.is_some(),
        group: member.group.0,
        database: &topology.database,
        postgres: topology.postgres,
        networks: networks(topology, member),
        reader,
        // From another zone a copy would take the long way twice.
        clone_from: reader && home.is_some_and(|home| topology.host(&home.host).zone == topology.host(&member.host).zone),
    };
    engine::render("patroni.yml.tera", &view)
}

/// Subnets from which connections may come: those the member itself is on.
fn networks(topology: &Topology, member: &Member) -> Vec<String> {
    let network = &topology.network;
    let coordinator = member.group.is_coordinator().then_some(network.coordinator);
    coordinator.into_iter().chain([network.worker]).map(|net| net.to_string()).collect()
}
