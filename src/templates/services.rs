//! The services of a cluster: what each is, where it runs, what it mounts, and its part of a stack file.
//!
//! Two steps: [`drafts`] decides, [`finish`] renders and hashes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::artifacts::{ConfigFile, Kind, LABEL_HOST, Layer, Service, short_hash};
use super::network::Net;
use super::{RenderError, engine, haproxy, keepalived, member, pgbouncer};
use crate::topology::Topology;
use crate::topology::ids::{HostName, MemberName};
use crate::topology::model::{EtcdMember, Member, Proxy, Resources, Role, Vip};
use crate::topology::timing::{ETCD_ELECTION, ETCD_HEARTBEAT, RESTART_DELAY};
use crate::topology::units::show_duration;

/// uid and gid of `postgres` in our images; secrets that its scripts read must belong to it.
pub(super) const POSTGRES_UID: u32 = 999;
/// Entrypoints that read their secrets as root before they give root up.
const ROOT_UID: u32 = 0;
/// Shared memory of parallel queries when no memory limit is set. A ceiling, nothing is set aside; Docker's 64 MB would
/// make parallel queries fail with "could not resize shared memory segment".
const SHARED_MEMORY: u64 = 1 << 30;
/// Its floor where a memory limit is set; otherwise a quarter of the limit.
const SHARED_MEMORY_MIN: u64 = 128 << 20;
/// Port of the guards' metrics on the coordinators' network.
pub const GUARD_METRICS: u16 = 8009;
/// Open files beyond one for each connection: listeners, checks, libraries, logs. The limit is set because hosts differ
/// (1024 on some), and no higher than needed because some may not raise theirs.
const SPARE_FILES: u32 = 512;

/// A service before its part of the stack file is rendered.
struct Draft<'t> {
    name: MemberName,
    kind: Kind,
    layer: Layer,
    host: &'t HostName,
    image: &'t str,
    role: Role,
    /// The file it mounts; etcd has flags instead.
    file: Option<MountedFile>,
    /// Secrets without the cluster's prefix, and who may read them.
    secrets: &'static [&'static str],
    uid: u32,
    /// Local volume that it keeps data in or shares with its neighbour, without the cluster's prefix; empty for none.
    volume: String,
    /// How long it may take to stop before it is killed, in Compose's notation.
    grace: &'static str,
    part: Part<'t>,
}

/// A configuration file: its name in the output folder, its place in the container, its content.
struct MountedFile {
    name: &'static str,
    target: &'static str,
    text: String,
}

/// What a kind's partial asks for as `part`, beyond what all have.
#[derive(Serialize)]
#[serde(untagged)]
enum Part<'t> {
    Etcd { initial_cluster: String, heartbeat_ms: u128, election_ms: u128 },
    Member { database: &'t str, vector: &'static str, shared_memory: u64 },
    Haproxy { ports: [u16; 3], open_files: u32 },
    Pgbouncer { open_files: u32 },
    Keepalived {},
    Guard { etcd: &'t str, margin_ms: u128, port: u16 },
}

/// What every partial asks for as `service`.
#[derive(Serialize)]
struct ServiceView<'a> {
    cluster: &'a str,
    name: &'a str,
    image: &'a str,
    host: &'a str,
    host_label: &'static str,
    networks: Vec<&'static str>,
    overlay: bool,
    config: &'a str,
    config_target: &'a str,
    volume: &'a str,
    secrets: Vec<SecretView<'a>>,
    uid: u32,
    grace: &'static str,
    restart_delay: String,
    limits: Vec<Setting>,
    reservations: Vec<Setting>,
}

#[derive(Serialize)]
struct SecretView<'a> {
    name: &'a str,
    file: String,
}

#[derive(Serialize)]
struct Setting {
    key: &'static str,
    value: String,
}

#[derive(Serialize)]
struct View<'a> {
    service: ServiceView<'a>,
    part: &'a Part<'a>,
}

/// All services in the order of their stack files; the files they mount are added to `configs`.
pub(super) fn all(topology: &Topology, configs: &mut BTreeMap<String, ConfigFile>) -> Result<Vec<Service>, RenderError> {
    let mut services = Vec::new();
    for draft in drafts(topology)? {
        let (service, config) = finish(topology, draft)?;
        configs.extend(config.map(|file| (file.name.clone(), file)));
        services.push(service);
    }
    Ok(services)
}

fn drafts(topology: &Topology) -> Result<Vec<Draft<'_>>, RenderError> {
    let mut drafts: Vec<Draft<'_>> = topology.etcd.iter().map(|member| etcd(topology, member)).collect();
    for member in topology.members() {
        drafts.push(patroni(topology, member)?);
    }
    for proxy in &topology.proxies {
        drafts.push(haproxy(topology, proxy)?);
        drafts.push(pgbouncer(topology, proxy)?);
        if let Some(vip) = &topology.network.vip {
            drafts.push(keepalived(topology, proxy, vip)?);
        }
    }
    drafts.extend(topology.guards().into_iter().zip(&topology.etcd).map(|(member, etcd)| guard(topology, member.name, etcd)));
    Ok(drafts)
}

fn guard<'t>(topology: &'t Topology, name: MemberName, etcd: &'t EtcdMember) -> Draft<'t> {
    Draft {
        name,
        kind: Kind::Guard,
        layer: Layer::Guard,
        host: &etcd.host,
        image: &topology.images.guard,
        role: Role::Guard,
        file: None,
        secrets: &[],
        uid: ROOT_UID,
        volume: String::new(),
        grace: "5s",
        part: Part::Guard { etcd: etcd.name.as_str(), margin_ms: topology.guard.margin.as_millis(), port: GUARD_METRICS },
    }
}

fn etcd<'t>(topology: &'t Topology, member: &'t EtcdMember) -> Draft<'t> {
    let peers: Vec<String> = topology.etcd.iter().map(|m| format!("{}={}", m.name, m.peer_url())).collect();
    Draft {
        name: member.name.clone(),
        kind: Kind::Etcd,
        layer: Layer::Etcd,
        host: &member.host,
        image: &topology.images.etcd,
        role: Role::Etcd,
        file: None,
        secrets: &[],
        uid: ROOT_UID,
        volume: member.name.to_string(),
        grace: "15s",
        part: Part::Etcd {
            initial_cluster: peers.join(","),
            heartbeat_ms: ETCD_HEARTBEAT.as_millis(),
            election_ms: ETCD_ELECTION.as_millis(),
        },
    }
}

fn patroni<'t>(topology: &'t Topology, member: &'t Member) -> Result<Draft<'t>, RenderError> {
    let coordinator = member.group.is_coordinator();
    let role = if coordinator { Role::Coordinator } else { Role::Worker };
    let text = member::render(topology, member)?;
    Ok(Draft {
        name: member.name.clone(),
        kind: Kind::Member(member.group),
        layer: Layer::Group(member.group),
        host: &member.host,
        image: &topology.images.node,
        role,
        file: Some(MountedFile { name: "patroni.yml", target: "/etc/patroni/patroni.yml", text }),
        secrets: &[
            "superuser-password",
            "replication-password",
            "rewind-password",
            "restapi-password",
            "app-password",
            "pgbouncer-password",
        ],
        uid: POSTGRES_UID,
        volume: member.name.to_string(),
        // A clean stop writes a checkpoint; killed in the middle of it, the next start is a crash recovery.
        grace: "2m",
        part: Part::Member {
            database: &topology.database,
            vector: topology.vector.as_str(),
            shared_memory: shared_memory(topology.resources.get(&role)),
        },
    })
}

fn haproxy<'t>(topology: &'t Topology, proxy: &'t Proxy) -> Result<Draft<'t>, RenderError> {
    let text = haproxy::render(topology, proxy)?;
    Ok(Draft {
        kind: Kind::Haproxy,
        file: Some(MountedFile { name: "haproxy.cfg", target: "/etc/haproxy/haproxy.cfg", text }),
        secrets: &["stats-password"],
        volume: leader_socket(proxy),
        part: Part::Haproxy {
            ports: [5432, 5433, 8404],
            open_files: haproxy::max_connections(topology).saturating_mul(2).saturating_add(SPARE_FILES),
        },
        ..at_proxy(topology, proxy, "haproxy")
    })
}

fn pgbouncer<'t>(topology: &'t Topology, proxy: &'t Proxy) -> Result<Draft<'t>, RenderError> {
    let text = pgbouncer::render(topology, proxy)?;
    Ok(Draft {
        kind: Kind::Pgbouncer,
        file: Some(MountedFile { name: "pgbouncer.ini", target: "/etc/pgbouncer/pgbouncer.ini", text }),
        secrets: &["pgbouncer-password"],
        volume: leader_socket(proxy),
        // On SIGINT it lets running transactions end before it goes.
        grace: "15s",
        part: Part::Pgbouncer { open_files: topology.pooler.max_client_conn.saturating_mul(2).saturating_add(SPARE_FILES) },
        ..at_proxy(topology, proxy, "pgbouncer")
    })
}

fn keepalived<'t>(topology: &'t Topology, proxy: &'t Proxy, vip: &Vip) -> Result<Draft<'t>, RenderError> {
    let text = keepalived::render(topology, proxy, vip)?;
    Ok(Draft {
        kind: Kind::Keepalived,
        file: Some(MountedFile { name: "keepalived.conf", target: "/etc/keepalived/keepalived.conf", text }),
        volume: leader_socket(proxy),
        ..at_proxy(topology, proxy, "keepalived")
    })
}

/// Volume with the sockets of a HAProxy: its leader route for PgBouncer, its administration for keepalived.
fn leader_socket(proxy: &Proxy) -> String {
    format!("leader-{}", proxy.ordinal)
}

/// What the three services of a proxy host have in common.
fn at_proxy<'t>(topology: &'t Topology, proxy: &'t Proxy, program: &str) -> Draft<'t> {
    let name = format!("{program}-{}", proxy.ordinal);
    Draft {
        name: MemberName::new(&name).expect("a program's name and a number make a name"),
        kind: Kind::Haproxy,
        layer: Layer::Proxy,
        host: &proxy.host,
        image: &topology.images.proxy,
        role: Role::Proxy,
        file: None,
        secrets: &[],
        uid: ROOT_UID,
        volume: String::new(),
        grace: "10s",
        part: Part::Keepalived {},
    }
}

/// Renders and hashes a draft.
fn finish(topology: &Topology, draft: Draft<'_>) -> Result<(Service, Option<ConfigFile>), RenderError> {
    let cluster = topology.name.as_str();
    let config = draft.file.as_ref().map(|file| ConfigFile {
        name: format!("{cluster}-{}-{}", draft.name, short_hash(&file.text)),
        path: format!("{}/{}/{}", draft.host, draft.name, file.name),
        text: file.text.clone(),
    });
    let secrets: Vec<String> = draft.secrets.iter().map(|secret| format!("{cluster}-{secret}")).collect();
    let resources = topology.resources.get(&draft.role);
    let networks = networks(draft.kind);
    let service = ServiceView {
        cluster,
        name: draft.name.as_str(),
        image: draft.image,
        host: draft.host.as_str(),
        host_label: LABEL_HOST,
        networks: networks.iter().map(|net| net.key()).collect(),
        overlay: !networks.contains(&Net::Host),
        config: config.as_ref().map_or("", |file| file.name.as_str()),
        config_target: draft.file.as_ref().map_or("", |file| file.target),
        volume: &draft.volume,
        secrets: secrets
            .iter()
            .zip(draft.secrets)
            .map(|(name, secret)| SecretView { name, file: secret.replace('-', "_") })
            .collect(),
        uid: draft.uid,
        grace: draft.grace,
        restart_delay: show_duration(RESTART_DELAY),
        limits: resource_settings(resources, 1),
        reservations: resource_settings(resources, 2),
    };
    let fragment = engine::render(template(draft.kind), &View { service, part: &draft.part })?;
    let service = Service {
        hash: short_hash(&fragment),
        fragment,
        name: draft.name,
        kind: draft.kind,
        layer: draft.layer,
        host: draft.host.clone(),
        image: draft.image.to_owned(),
        configs: config.iter().map(|file| file.name.clone()).collect(),
        secrets,
        volumes: Some(draft.volume).filter(|v| !v.is_empty()).map(|v| format!("{cluster}-{v}")).into_iter().collect(),
    };
    Ok((service, config))
}

/// The partial that renders a kind of service.
fn template(kind: Kind) -> &'static str {
    match kind {
        Kind::Etcd => "stack/etcd.yml.tera",
        Kind::Member(_) => "stack/member.yml.tera",
        Kind::Haproxy => "stack/haproxy.yml.tera",
        Kind::Pgbouncer => "stack/pgbouncer.yml.tera",
        Kind::Keepalived => "stack/keepalived.yml.tera",
        Kind::Guard => "stack/guard.yml.tera",
    }
}

/// Networks of a kind of service.
pub(super) fn networks(kind: Kind) -> &'static [Net] {
    match kind {
        Kind::Etcd => &[Net::Coordinator, Net::Worker],
        Kind::Guard => &[Net::Coordinator],
        Kind::Member(group) if group.is_coordinator() => &[Net::Coordinator, Net::Worker],
        Kind::Member(_) => &[Net::Worker],
        Kind::Haproxy => &[Net::Coordinator, Net::Admin],
        Kind::Pgbouncer => &[Net::Admin],
        Kind::Keepalived => &[Net::Host],
    }
}

/// The resources divided by `divisor`, as Compose writes them; what is zero is not limited and left out.
fn resource_settings(resources: Option<&Resources>, divisor: u32) -> Vec<Setting> {
    let Some(resources) = resources else { return Vec::new() };
    let mut settings = Vec::new();
    if resources.cpus > 0.0 {
        let text = format!("{:.3}", resources.cpus / f64::from(divisor));
        settings.push(Setting { key: "cpus", value: text.trim_end_matches('0').trim_end_matches('.').to_owned() });
    }
    if resources.memory > 0 {
        settings.push(Setting { key: "memory", value: (resources.memory / u64::from(divisor)).to_string() });
    }
    settings
}

/// Size of /dev/shm in bytes.
fn shared_memory(resources: Option<&Resources>) -> u64 {
    match resources.map_or(0, |r| r.memory) {
        0 => SHARED_MEMORY,
        limit => (limit / 4).max(SHARED_MEMORY_MIN),
    }
}
