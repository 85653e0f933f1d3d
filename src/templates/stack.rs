//! The Compose text of a stack, or of some of its services: what `docker stack deploy` gets and `render -o` writes.

use std::collections::BTreeSet;

use serde::Serialize;

use super::artifacts::{Artifacts, Kind, Service};
use super::network::Net;
use super::{engine, services};
use crate::topology::Topology;

#[derive(Serialize)]
struct View<'a> {
    cluster: &'a str,
    what: String,
    notes: Vec<&'static str>,
    services: Vec<ServiceView<'a>>,
    networks: Vec<NetworkView>,
    volumes: BTreeSet<&'a str>,
    configs: BTreeSet<&'a str>,
    secrets: BTreeSet<&'a str>,
}

#[derive(Serialize)]
struct ServiceView<'a> {
    name: &'a str,
    fragment: &'a str,
    hash: &'a str,
    /// The fragment as a label's text; empty when it is not wanted.
    label: String,
}

#[derive(Serialize)]
struct NetworkView {
    key: &'static str,
    name: String,
}

/// The Compose text of `services`, which may be any of those in `artifacts`; a deployment in waves names some of a layer.
///
/// `fragments_in_labels` adds each service's own text as the label `pgclusterctl.fragment`: wanted where it is deployed, so
/// that a later plan can show what changes; not where people read it.
pub fn stack_file(topology: &Topology, artifacts: &Artifacts, services: &[&Service], fragments_in_labels: bool) -> String {
    let networks: BTreeSet<Net> = services.iter().flat_map(|s| services::networks(s.kind)).copied().collect();
    let notes: BTreeSet<&[&str]> = services.iter().map(|s| notes(s.kind)).collect();
    let layers: BTreeSet<_> = services.iter().map(|s| s.layer).collect();
    let names = |select: fn(&Service) -> &Vec<String>| services.iter().flat_map(|s| select(s)).map(String::as_str).collect();
    let configs: BTreeSet<&str> = names(|s| &s.configs);
    debug_assert!(configs.iter().all(|name| artifacts.configs.contains_key(*name)), "services of other artifacts");
    let view = View {
        cluster: topology.name.as_str(),
        what: layers.iter().map(|layer| layer.file_stem()).collect::<Vec<_>>().join(", "),
        notes: notes.into_iter().flat_map(|lines| std::iter::once("").chain(lines.iter().copied())).collect(),
        services: services
            .iter()
            .map(|service| ServiceView {
                name: service.name.as_str(),
                fragment: &service.fragment,
                hash: &service.hash,
                label: if fragments_in_labels { engine::escape_dollars(&service.fragment) } else { String::new() },
            })
            .collect(),
        networks: networks.into_iter().map(|net| NetworkView { key: net.key(), name: net.name(topology) }).collect(),
        volumes: names(|s| &s.volumes),
        configs,
        secrets: names(|s| &s.secrets),
    };
    engine::render("stack.yml.tera", &view).expect("the view has every value that the embedded template names")
}

/// What a reader of the stack file should know about a kind of service, line by line.
fn notes(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Etcd => &[
            "etcd: Patroni writes all the time. History is compacted every 10 minutes instead of never, or the quota of 2 GiB",
            "would be reached one day and stop everything; a snapshot every 10,000 entries keeps memory small. With pre-vote a",
            "member that returns does not disturb the others' leader. Corruption is looked for before a member takes part.",
        ],
        Kind::Member(_) => &[
            "Members: passwords exist on tmpfs only. /dev/shm is for parallel queries, for which Docker's 64 MB do not suffice.",
            "A clean stop writes a checkpoint and gives the leader's key back, so it may take its time.",
        ],
        Kind::Haproxy => &[
            "HAProxy: what clients reach. 5432 writes, 5433 reads, 8404 statistics. PgBouncer of the same host reaches it by a socket",
            "in a volume that both mount, and keepalived another one that ends sessions.",
        ],
        Kind::Pgbouncer => &["PgBouncer: on SIGINT it lets running transactions end, then it stops."],
        Kind::Guard => &[
            "guard: revokes the lease of a leader that is gone. Docker's socket tells it which containers have died on its host.",
        ],
        Kind::Keepalived => &["keepalived: holds the virtual address, in the host's own network."],
    }
}
