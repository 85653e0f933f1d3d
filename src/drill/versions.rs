//! What a drill ran against: the version of every program that takes part, and the machines. A measurement without them cannot be
//! compared with another. What nobody tells is `unknown`, and stops no drill.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::cast::connect;
use crate::observe::model::HostFacts;
use crate::observe::{Scope, observe};
use crate::quantity;
use crate::remote::{exec, sql};
use crate::steps::World;
use crate::topology::GroupId;

/// A program says its version at once.
const ASK: Duration = Duration::from_secs(5);
/// Programs beside the clients, with the flag that makes them tell.
const PROXIES: [(&str, &str); 3] = [("haproxy", "-v"), ("pgbouncer", "--version"), ("keepalived", "--version")];

/// Programs with their versions, and `hosts` with what they are.
pub async fn versions(world: World<'_>) -> BTreeMap<String, String> {
    let topology = world.topology;
    let scope = Scope { hosts: true, etcd: true, patroni: true, citus: true, ..Scope::default() };
    let observed = observe(topology, world.fleet, scope).await;
    let groups = observed.patroni.known().cloned().unwrap_or_default();
    let leader = groups.get(&GroupId::COORDINATOR).map(|state| state.leader.clone()).unwrap_or_default();
    let patroni = groups.values().flat_map(|group| group.members.values()).map(|member| member.version.clone());
    let etcd = observed.etcd.values().filter_map(|probe| Some(probe.known()?.version.clone()));
    let hosts = || observed.hosts.values().filter_map(|probe| probe.known());
    let mut versions = BTreeMap::from([
        ("pgclusterctl".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("postgresql".to_owned(), postgres(world, &leader).await.unwrap_or_else(|| topology.postgres.to_string())),
        ("patroni".to_owned(), each(patroni)),
        ("etcd".to_owned(), each(etcd)),
        ("docker".to_owned(), each(hosts().map(|host| host.docker_version.clone()))),
        ("hosts".to_owned(), each(hosts().map(machine))),
        ("node image".to_owned(), topology.images.node.clone()),
        ("guard".to_owned(), if topology.guard.enabled { "on" } else { "off" }.to_owned()),
    ]);
    if topology.citus.is_some() {
        versions.insert("citus".to_owned(), each(observed.citus.known().map(|citus| citus.version.clone()).into_iter()));
    }
    let services = topology.services();
    for (program, flag) in PROXIES {
        let prefix = format!("{program}-");
        if let Some(service) = services.keys().find(|name| name.starts_with(&prefix)) {
            let version = said(world, service, &[program, flag]).await;
            versions.insert(program.to_owned(), version.unwrap_or_else(|| each(std::iter::empty())));
        }
    }
    versions
}

async fn postgres(world: World<'_>, leader: &str) -> Option<String> {
    let (container, client) = connect(world, leader).await.ok()?;
    Some(sql::rows(&container, &client, "show server_version", ASK).await.ok()?.first()?.get(0))
}

async fn said(world: World<'_>, service: &str, argv: &[&str]) -> Option<String> {
    let container = world.fleet.member(world.topology, service).await.ok()?;
    let asked = exec::run(&container.docker, &container.id, "", argv, bytes::Bytes::new());
    let said = tokio::time::timeout(ASK, asked).await.ok()?.ok()?;
    // Some say it on stderr.
    number(&String::from_utf8_lossy(&[said.stdout, said.stderr].concat()))
}

/// The first word that is a version: `HAProxy version 3.0.11-1 2025/06/01`, `PgBouncer 1.24.1`, `Keepalived v2.3.3 (…)`.
fn number(text: &str) -> Option<String> {
    let words = text.split_whitespace().map(|word| word.strip_prefix('v').unwrap_or(word));
    words.into_iter().find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.')).map(str::to_owned)
}

fn machine(host: &HostFacts) -> String {
    format!("{} cores, {}, Linux {}", host.cpus, quantity::bytes(host.memory_bytes), host.kernel)
}

/// Values that differ, each once.
fn each(values: impl Iterator<Item = String>) -> String {
    let different: BTreeSet<String> = values.filter(|value| !value.is_empty()).collect();
    if different.is_empty() { "unknown".to_owned() } else { different.into_iter().collect::<Vec<_>>().join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_programs_say() {
        let found = |text: &str| number(text).expect("a version");
        assert_eq!(
            found("HAProxy version 3.0.11-1+deb13u1 2025/06/01 - https://haproxy.org/\nStatus: long-term"),
            "3.0.11-1+deb13u1"
        );
        assert_eq!(found("PgBouncer 1.24.1\nlibevent 2.1.12-stable"), "1.24.1");
        assert_eq!(found("Keepalived v2.3.3 (03/30,2025)"), "2.3.3");
        assert_eq!(number("sh: not found"), None);
    }

    #[test]
    fn what_differs_is_told_and_what_nobody_tells_is_unknown() {
        let told = |values: &[&str]| each(values.iter().map(|value| (*value).to_owned()));
        assert_eq!(told(&["4.0.7", "4.0.7", ""]), "4.0.7");
        assert_eq!(told(&["4.0.7", "4.0.6"]), "4.0.6; 4.0.7");
        assert_eq!(told(&[]), "unknown");
    }
}
