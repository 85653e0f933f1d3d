//! The resolved topology: every default filled in, every member placed, every address computed.
//!
//! Made only by [`super::resolve`]; everything below reads it. Plain values, no I/O, no `Option` left to guess: where one
//! remains, absence is itself a decision of the operator (no VIP, no Citus) and its doc says what it means.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::Ipv4Net;
use serde::Serialize;

use super::ids::{ClusterName, GroupId, HostName, MemberName};
use super::promise::Promise;
use super::tables::DeclaredTable;
use super::timing;

/// A whole cluster, resolved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Topology {
    /// Patroni scope, stack name and prefix of every Swarm object.
    pub name: ClusterName,
    /// The application database, the one that Citus distributes.
    pub database: String,
    /// PostgreSQL major version, e.g. 17.
    pub postgres: u32,
    /// Hosts in the order of the file.
    pub hosts: Vec<Host>,
    /// Overlay networks, VIP and the interface that carries it.
    pub network: Network,
    /// One etcd member per listed host.
    pub etcd: Vec<EtcdMember>,
    /// Group 0 (coordinators) first, then the shard groups in ascending order.
    pub groups: Vec<Group>,
    /// Proxy hosts, the preferred VIP holder first.
    pub proxies: Vec<Proxy>,
    /// Patroni's timings.
    pub failover: Timings,
    /// The lease guard.
    pub guard: Guard,
    /// How long writes may fail and what may be lost, event by event.
    pub promise: Promise,
    /// Citus settings; `None` means a plain Patroni cluster without shard groups.
    pub citus: Option<Citus>,
    /// Tables of the application that are to be spread over the shard groups, in the order of the file.
    pub tables: Vec<DeclaredTable>,
    /// Which vector extension is created in the application database.
    pub vector: VectorEngine,
    /// Limits, reservations and the PostgreSQL settings derived from them, per role.
    pub resources: BTreeMap<Role, Resources>,
    /// Settings of `[postgres.parameters]`: override whatever is derived, in every group.
    pub parameters: BTreeMap<String, String>,
    /// Pooler settings.
    pub pooler: Pooler,
    /// Image names as the hosts know them.
    pub images: Images,
}

/// One Docker host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Name in the topology.
    pub name: HostName,
    /// Address of SSH, of Swarm's control traffic and of VRRP.
    pub address: Ipv4Addr,
    /// How to log in.
    pub ssh: Ssh,
    /// Extra Swarm node labels.
    pub labels: BTreeMap<String, String>,
    /// Failure domain (rack, availability zone); empty when the topology names none.
    pub zone: String,
}

/// How to reach a host's sshd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ssh {
    /// Login name; needs access to the Docker socket.
    pub user: String,
    /// TCP port.
    pub port: u16,
    /// Private key; `None` means that the SSH agent is asked.
    pub identity: Option<PathBuf>,
    /// OpenSSH known_hosts file against which the host key is verified.
    pub known_hosts: PathBuf,
    /// Host key pinned in the topology (`ssh-ed25519 AAAA…`); beats known_hosts.
    pub host_key: Option<String>,
}

/// Networks of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Network {
    /// Subnet of `<cluster>-coordinator`: etcd, coordinators, proxies.
    pub coordinator: Ipv4Net,
    /// Subnet of `<cluster>-worker`: etcd, coordinators, workers.
    pub worker: Ipv4Net,
    /// Subnet of `<cluster>-admin`: HAProxy, PgBouncer and what observes the cluster.
    pub admin: Ipv4Net,
    /// MTU of the overlay networks in bytes.
    pub mtu: u16,
    /// Whether overlay traffic is encrypted (IPsec, costs throughput).
    pub encrypted: bool,
    /// Address that clients use; `None` means no keepalived, clients name the proxy hosts themselves.
    pub vip: Option<Vip>,
}

/// The virtual address of the proxies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vip {
    /// Address and prefix length as it is added to the interface.
    pub address: Ipv4Net,
    /// Interface of the proxy hosts that carries it, e.g. `eth0`.
    pub interface: String,
    /// VRRP virtual router id, unique in the hosts' layer-2 segment (1 to 255).
    pub router_id: u8,
}

/// An etcd member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EtcdMember {
    /// `etcd-1`, `etcd-2`, …
    pub name: MemberName,
    /// Where it runs.
    pub host: HostName,
}

impl EtcdMember {
    /// Where the other members reach it: by its name, wherever it runs.
    pub fn peer_url(&self) -> String {
        format!("http://{}:2380", self.name)
    }
}

/// A Patroni group: the coordinators or one shard group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// 0 for the coordinators.
    pub id: GroupId,
    /// What a commit waits for.
    pub replication: Replication,
    /// Members that may lead; the first one is where the leader is at home. Only they count as redundancy.
    pub members: Vec<Member>,
    /// Standbys without a vote: never leader, never synchronous, no redundancy.
    pub readers: Vec<Member>,
}

/// A Patroni member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// `coordinator-1`, `worker-2-1`, `coordinator-reader-1`, …
    pub name: MemberName,
    /// Where it runs.
    pub host: HostName,
    /// Its group.
    pub group: GroupId,
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Replication {
    /// Nothing: may lose what had not arrived at a standby.
    Async,
    /// One standby, chosen by Patroni (`synchronous_mode: on`).
    Sync,
    /// Any standby of the group (`synchronous_mode: quorum`).
    Quorum,
}

/// HAProxy, PgBouncer and keepalived of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proxy {
    /// Position, counted from 1; services are `haproxy-<n>`, `pgbouncer-<n>`, `keepalived-<n>`.
    pub ordinal: u32,
    /// Where they run.
    pub host: HostName,
    /// Which standbys and readers it sends reads to.
    pub reads: Reads,
}

/// Which standbys and readers a proxy sends reads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reads {
    /// All alike.
    Any,
    /// Those in its own zone; the others only while none of these can serve.
    Zone,
}

/// Patroni's timings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Timings {
    /// Lifetime of the leader key.
    #[serde(rename = "ttl_ms", serialize_with = "crate::quantity::as_millis")]
    pub ttl: Duration,
    /// Pause between two rounds of Patroni's loop.
    #[serde(rename = "loop_wait_ms", serialize_with = "crate::quantity::as_millis")]
    pub loop_wait: Duration,
    /// How long etcd or PostgreSQL operations are retried before the leader demotes itself.
    #[serde(rename = "retry_timeout_ms", serialize_with = "crate::quantity::as_millis")]
    pub retry_timeout: Duration,
    /// How long a crashed leader may take to restart in place; zero means fail over at once.
    #[serde(rename = "primary_start_timeout_ms", serialize_with = "crate::quantity::as_millis")]
    pub primary_start_timeout: Duration,
    /// Lag in bytes beyond which an asynchronous standby is no candidate.
    #[serde(rename = "maximum_lag_on_failover_bytes")]
    pub maximum_lag_on_failover: u64,
}

/// The lease guard: one per etcd member, it revokes the lease of a leader that has ceased to renew it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Guard {
    /// Whether guards run; without them a lost leader keeps its key for the whole `ttl`.
    pub enabled: bool,
    /// What is waited beyond [`Timings::self_demotion`].
    #[serde(rename = "margin_ms", serialize_with = "crate::quantity::as_millis")]
    pub margin: Duration,
}

/// A guard as a service: its name, and the host whose etcd member it goes with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardMember {
    /// `guard-1` for `etcd-1`, and so on.
    pub name: MemberName,
    /// Where it runs.
    pub host: HostName,
}

impl Timings {
    /// After this long without a renewal a leader has demoted itself by Patroni's rule: `loop_wait + 2 · retry_timeout ≤ ttl`
    /// keeps that within the lifetime of its key (Patroni's manual, `retry_timeout`). `docs/guard.md` says when the rule is not kept.
    pub fn self_demotion(&self) -> Duration {
        timing::self_demotion(self.loop_wait, self.retry_timeout)
    }
}

impl Group {
    /// All that run: members, then readers.
    pub fn everyone(&self) -> impl Iterator<Item = &Member> + Clone {
        self.members.iter().chain(&self.readers)
    }

    /// Whether that is one of its readers.
    pub fn is_reader(&self, name: &str) -> bool {
        self.readers.iter().any(|reader| reader.name.as_str() == name)
    }

    /// Whether every commit waits for one standby that alone may be promoted. Then a guard need not wait for the moments in
    /// which Patroni steps down late.
    pub fn has_sole_standby(&self) -> bool {
        match self.replication {
            Replication::Sync => true,
            Replication::Quorum => self.members.len() == 2,
            Replication::Async => false,
        }
    }
}

impl Guard {
    /// Age of a leader's last renewal at which its lease is revoked.
    pub fn revokes_after(&self, timings: &Timings) -> Duration {
        timings.self_demotion() + self.margin
    }
}

/// Citus settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Citus {
    /// Shards of a newly distributed table.
    pub shard_count: u32,
}

/// Vector extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VectorEngine {
    /// `vector` type of pgvector.
    Pgvector,
    /// `ruvector` type of RuVector.
    Ruvector,
    /// No vector extension.
    None,
}

impl VectorEngine {
    /// As written in the topology.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pgvector => "pgvector",
            Self::Ruvector => "ruvector",
            Self::None => "none",
        }
    }
}

/// Kinds of service that resources are given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// etcd members.
    Etcd,
    /// Coordinators.
    Coordinator,
    /// Members of shard groups.
    Worker,
    /// HAProxy, PgBouncer, keepalived: the limit holds for each.
    Proxy,
    /// Lease guards: they need a few megabytes and are not limited.
    Guard,
}

/// What a service of a role may use.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resources {
    /// Cores; the Swarm limit, and half of it the reservation. Zero means no limit.
    pub cpus: f64,
    /// Memory in bytes; the Swarm limit, and half of it the reservation. Zero means no limit.
    #[serde(rename = "memory_bytes")]
    pub memory: u64,
    /// Expected size of the data in bytes; checked against free disk by `init`. Zero means unknown.
    #[serde(rename = "storage_bytes")]
    pub storage: u64,
}

/// PgBouncer settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pooler {
    /// Client connections that one PgBouncer accepts.
    pub max_client_conn: u32,
    /// Server connections per database and user of one PgBouncer.
    pub default_pool_size: u32,
}

/// Images by the names under which the hosts know them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Images {
    /// PostgreSQL, Patroni and extensions.
    pub node: String,
    /// etcd.
    pub etcd: String,
    /// HAProxy, PgBouncer, keepalived.
    pub proxy: String,
    /// The lease guard.
    pub guard: String,
    /// Whether hosts pull them from a registry; otherwise `image push` carries them over SSH.
    pub from_registry: bool,
}

impl Topology {
    /// The host of that name; resolved topologies name no other.
    pub fn host(&self, name: &HostName) -> &Host {
        self.hosts.iter().find(|h| &h.name == name).expect("resolution checked every host reference")
    }

    /// All Patroni members with the readers, group by group.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.groups.iter().flat_map(Group::everyone)
    }

    /// The group of that number.
    pub fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.iter().find(|g| g.id == id)
    }

    /// The member of that name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members().find(|m| m.name.as_str() == name)
    }

    /// The lease guards, one for each etcd member; none when they are switched off.
    pub fn guards(&self) -> Vec<GuardMember> {
        let name = |n: usize| MemberName::new(&format!("guard-{n}")).expect("a word and a number make a name");
        let members = self.etcd.iter().zip(1..).filter(|_| self.guard.enabled);
        members.map(|(etcd, n)| GuardMember { name: name(n), host: etcd.host.clone() }).collect()
    }

    /// What clients connect to: the VIP, or the first proxy host where there is none.
    pub fn client_address(&self) -> Ipv4Addr {
        match &self.network.vip {
            Some(vip) => vip.address.addr(),
            None => self.host(&self.proxies[0].host).address,
        }
    }

    /// Every service by its name inside the stack, with its host.
    pub fn services(&self) -> BTreeMap<String, HostName> {
        let mut services = BTreeMap::new();
        services.extend(self.etcd.iter().map(|m| (m.name.to_string(), m.host.clone())));
        services.extend(self.members().map(|m| (m.name.to_string(), m.host.clone())));
        services.extend(self.guards().into_iter().map(|g| (g.name.to_string(), g.host)));
        for proxy in &self.proxies {
            let keepalived = self.network.vip.iter().map(|_| "keepalived");
            for kind in ["haproxy", "pgbouncer"].into_iter().chain(keepalived) {
                services.insert(format!("{kind}-{}", proxy.ordinal), proxy.host.clone());
            }
        }
        services
    }

    /// etcd prefix of a group's Patroni keys, with a slash at its end: `/service/<scope>/<group>/`, without the group part
    /// in clusters without Citus (Patroni's own layout).
    pub fn dcs_prefix(&self, group: GroupId) -> String {
        match self.citus {
            Some(_) => format!("/service/{}/{}/", self.name, group.0),
            None => format!("/service/{}/", self.name),
        }
    }
}

impl Network {
    /// Name and subnet of each overlay network of the cluster.
    pub fn overlays(&self, cluster: &ClusterName) -> [(String, Ipv4Net); 3] {
        let name = |suffix| format!("{cluster}-{suffix}");
        [(name("coordinator"), self.coordinator), (name("worker"), self.worker), (name("admin"), self.admin)]
    }
}

impl Replication {
    /// As written in the topology.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Async => "async",
            Self::Sync => "sync",
            Self::Quorum => "quorum",
        }
    }
}
