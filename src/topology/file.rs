//! The topology file as written: a mirror of the TOML with spans, before any default is applied.
//!
//! These types are the single source of the file's format: serde reads it, schemars derives the JSON Schema, and
//! [`super::schema`] checks a parsed file against that schema so that all mistakes are reported at once.
//! Nothing here decides anything; [`super::resolve`] does.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::limits;
use super::span::At;

/// `topology.toml`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopologyFile {
    /// Version of this file's format. Always 1.
    pub schema: At<u32>,
    /// What the cluster is called and runs.
    pub cluster: ClusterSection,
    /// How hosts are logged in to, unless a host says otherwise.
    #[serde(default)]
    pub ssh: SshSection,
    /// The Docker hosts.
    #[serde(default)]
    pub host: Vec<At<HostBlock>>,
    /// Overlay networks and the address clients use.
    #[serde(default)]
    pub network: NetworkSection,
    /// The consensus store.
    #[serde(default)]
    pub etcd: EtcdSection,
    /// Group 0: the coordinators, or the only group in a cluster without shards.
    #[serde(default)]
    pub coordinators: CoordinatorsSection,
    /// Shard groups by number; the default places them in a ring over the hosts.
    #[serde(default)]
    pub shards: ShardsSection,
    /// Shard groups one by one, instead of `shards.count`.
    #[serde(default)]
    pub shard: Vec<At<ShardBlock>>,
    /// Readers: standbys without a vote, each of one group.
    #[serde(default)]
    pub reader: Vec<At<ReaderBlock>>,
    /// How the application's tables are spread over the shard groups.
    #[serde(default)]
    pub table: Vec<At<TableBlock>>,
    /// HAProxy, PgBouncer and keepalived.
    #[serde(default)]
    pub proxy: ProxySection,
    /// Patroni's timings: how fast a failure is noticed.
    #[serde(default)]
    pub failover: FailoverSection,
    /// The lease guard: takes a lost leader's key away before its `ttl` is over.
    #[serde(default)]
    pub guard: GuardSection,
    /// Vector search.
    #[serde(default)]
    pub vector: VectorSection,
    /// Limits per role: `etcd`, `coordinator`, `worker`, `proxy`.
    #[serde(default)]
    pub resources: ResourcesSection,
    /// PostgreSQL settings.
    #[serde(default)]
    pub postgres: PostgresSection,
    /// PgBouncer settings.
    #[serde(default)]
    pub pooler: PoolerSection,
    /// Where images come from.
    #[serde(default)]
    pub images: ImagesSection,
}

/// `[cluster]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterSection {
    /// Patroni scope, stack name and prefix of every Swarm object: a-z, 0-9 and inner hyphens, 24 characters at most.
    #[schemars(regex(pattern = limits::NAME_PATTERN))]
    pub name: At<String>,
    /// Application database. Default: `app`.
    #[schemars(regex(pattern = limits::DATABASE_PATTERN))]
    pub database: Option<At<String>>,
    /// PostgreSQL major version. Default: 17.
    pub postgres: Option<At<u32>>,
}

/// `[ssh]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SshSection {
    /// Login name. Default: `root`.
    pub user: Option<At<String>>,
    /// TCP port. Default: 22.
    #[schemars(range(min = 1))]
    pub port: Option<At<u16>>,
    /// Private key file; `~` is the home directory, a relative path is relative to the topology file. Default: the SSH agent.
    pub identity: Option<At<String>>,
    /// known_hosts file. Default: `~/.ssh/known_hosts`.
    pub known_hosts: Option<At<String>>,
}

/// `[[host]]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostBlock {
    /// Name used in this file: a-z, 0-9 and inner hyphens, 24 characters at most.
    #[schemars(regex(pattern = limits::NAME_PATTERN))]
    pub name: At<String>,
    /// IPv4 address of SSH, Swarm and VRRP.
    #[schemars(regex(pattern = limits::ADDRESS_PATTERN))]
    pub address: At<String>,
    /// Failure domain; the members of a group are spread over zones first. Default: none.
    pub zone: Option<At<String>>,
    /// Extra Swarm node labels, e.g. `{ "example.com/rack" = "7" }`. Default: none.
    #[serde(default)]
    pub labels: BTreeMap<String, At<String>>,
    /// Login of this host where it differs from `[ssh]`.
    #[serde(default)]
    pub ssh: HostSshSection,
}

/// `[host.ssh]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostSshSection {
    /// Login name. Default: `ssh.user`.
    pub user: Option<At<String>>,
    /// TCP port. Default: `ssh.port`.
    #[schemars(range(min = 1))]
    pub port: Option<At<u16>>,
    /// Private key file. Default: `ssh.identity`.
    pub identity: Option<At<String>>,
    /// The host's public key (`ssh-ed25519 AAAA…`), pinned: known_hosts is not asked. Default: none.
    pub host_key: Option<At<String>>,
}

/// `[network]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkSection {
    /// CIDR from which the overlay networks are cut, quarter by quarter. Default: `10.0.1.0/24`.
    #[schemars(regex(pattern = limits::NETWORK_PATTERN))]
    pub overlay: Option<At<String>>,
    /// Subnet of `<cluster>-coordinator`. Default: first quarter of `overlay`.
    #[schemars(regex(pattern = limits::NETWORK_PATTERN))]
    pub coordinator: Option<At<String>>,
    /// Subnet of `<cluster>-worker`. Default: second quarter of `overlay`.
    #[schemars(regex(pattern = limits::NETWORK_PATTERN))]
    pub worker: Option<At<String>>,
    /// Subnet of `<cluster>-admin`. Default: third quarter of `overlay`.
    #[schemars(regex(pattern = limits::NETWORK_PATTERN))]
    pub admin: Option<At<String>>,
    /// MTU of the overlay networks in bytes. Default: 1450.
    #[schemars(range(min = limits::MTU.0, max = limits::MTU.1))]
    pub mtu: Option<At<u16>>,
    /// Encrypt overlay traffic (IPsec). Default: false.
    pub encrypted: Option<bool>,
    /// Virtual address of the proxies with its prefix length, e.g. `10.0.0.100/24`. Default: none, no keepalived.
    #[schemars(regex(pattern = limits::NETWORK_PATTERN))]
    pub vip: Option<At<String>>,
    /// Interface of the proxy hosts that carries the VIP. Default: `eth0`.
    pub interface: Option<At<String>>,
    /// VRRP virtual router id, 1 to 255, unique in the hosts' network segment. Default: 51.
    #[schemars(range(min = limits::ROUTER_ID.0, max = limits::ROUTER_ID.1))]
    pub virtual_router_id: Option<At<u8>>,
}

/// `[etcd]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EtcdSection {
    /// Hosts of the etcd members: 1, 3 or 5. Default: the first three hosts, of different zones where there are any; one with fewer than three hosts.
    pub hosts: Option<At<Vec<At<String>>>>,
}

/// `[coordinators]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CoordinatorsSection {
    /// Hosts of the coordinators, the leader's home first. Default: the first three hosts, of different zones where there are any.
    pub hosts: Option<At<Vec<At<String>>>>,
    /// What a commit waits for. Default: `sync`; `async` with a single member.
    pub replication: Option<At<ReplicationName>>,
}

/// `[shards]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShardsSection {
    /// Number of shard groups, placed in a ring; 0 means a plain Patroni cluster without Citus. Default: the number of `[[shard]]` blocks.
    #[schemars(range(max = limits::GROUPS_MAX))]
    pub count: Option<At<u32>>,
    /// Members of each shard group, the leader included, each on a host of its own. Default: 2; 1 on a single host.
    #[schemars(range(min = limits::MEMBERS.0, max = limits::MEMBERS.1))]
    pub replicas: Option<At<u32>>,
    /// What a commit waits for. Default: `quorum`; `async` with a single member.
    pub replication: Option<At<ReplicationName>>,
    /// Hosts over which counted groups are spread. Default: all hosts.
    pub hosts: Option<At<Vec<At<String>>>>,
    /// Shards of a newly distributed table (`citus.shard_count`). Default: 32.
    #[schemars(range(min = limits::CITUS_SHARDS.0, max = limits::CITUS_SHARDS.1))]
    pub citus_shard_count: Option<At<u32>>,
}

/// `[[shard]]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShardBlock {
    /// Hosts of the members, the leader's home first.
    pub hosts: At<Vec<At<String>>>,
    /// Number of the group, larger than that of the block before; its members, data and keys are named by it. Default: one more than the block before, the first is 1.
    #[schemars(range(min = limits::GROUP_NUMBER.0, max = limits::GROUP_NUMBER.1))]
    pub number: Option<At<u32>>,
    /// What a commit waits for. Default: `shards.replication`, else `quorum`; `async` with a single member.
    pub replication: Option<At<ReplicationName>>,
}

/// `[[reader]]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReaderBlock {
    /// Its host, which has no other member of the group.
    #[schemars(regex(pattern = limits::NAME_PATTERN))]
    pub host: At<String>,
    /// Number of the shard group that it belongs to. Default: none, it is a reader of the coordinators.
    #[schemars(range(min = limits::GROUP_NUMBER.0, max = limits::GROUP_NUMBER.1))]
    pub shard: Option<At<u32>>,
    /// Number of the reader within its group, larger than that of the block before; its name and data follow from it. Default: one more than the block before of the same group, the first is 1.
    #[schemars(range(min = limits::READER_NUMBER.0, max = limits::READER_NUMBER.1))]
    pub number: Option<At<u32>>,
}

/// `[[table]]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableBlock {
    /// The table as in SQL: `orders`, `sales.orders`, `"Order Items"` (with its quotes); without a schema it is in `public`.
    #[schemars(regex(pattern = limits::TABLE_PATTERN))]
    pub name: At<String>,
    /// Column by whose hash rows are spread over the shard groups. Default: none, for a reference table.
    #[schemars(regex(pattern = limits::COLUMN_PATTERN))]
    pub distribution_column: Option<At<String>>,
    /// All rows on every node, for small tables that others join or refer to. Default: false.
    pub reference: Option<At<bool>>,
    /// A declared table to lie together with: rows with the same value are on the same node. Default: whatever has the same type of column and number of shards, as Citus does it.
    #[schemars(regex(pattern = limits::TABLE_PATTERN))]
    pub colocate_with: Option<At<String>>,
    /// Shards of the table and of all that lie together with it. Default: `shards.citus_shard_count` of the day it is distributed.
    #[schemars(range(min = limits::CITUS_SHARDS.0, max = limits::CITUS_SHARDS.1))]
    pub shard_count: Option<At<u32>>,
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReplicationName {
    /// Nothing; may lose what had not arrived at a standby.
    Async,
    /// One synchronous standby.
    Sync,
    /// Any one standby of the group.
    Quorum,
}

/// `[proxy]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxySection {
    /// Hosts of HAProxy and PgBouncer, the preferred VIP holder first. Default: the first two hosts.
    pub hosts: Option<At<Vec<At<String>>>>,
    /// Which standbys and readers serve port 5433: all of them, or first those in the proxy's own zone. Default: `any`.
    pub reads: Option<At<ReadsName>>,
}

/// Which standbys and readers a proxy sends reads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReadsName {
    /// All alike.
    Any,
    /// Those in the proxy's zone; the others only while none of these can serve.
    Zone,
}

/// `[failover]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailoverSection {
    /// Lifetime of a leader key, at least 20 s (Patroni's minimum). Default: `20s`.
    #[schemars(regex(pattern = limits::DURATION_PATTERN))]
    pub ttl: Option<At<String>>,
    /// Pause between two rounds of Patroni's loop, at least 1 s. Default: `1s`.
    #[schemars(regex(pattern = limits::DURATION_PATTERN))]
    pub loop_wait: Option<At<String>>,
    /// How long operations are retried before a leader demotes itself, at least 3 s. Default: `3s`.
    #[schemars(regex(pattern = limits::DURATION_PATTERN))]
    pub retry_timeout: Option<At<String>>,
    /// How long a crashed leader may take to restart in place; `0s` means fail over at once. Default: `0s`.
    #[schemars(regex(pattern = limits::DURATION_PATTERN))]
    pub primary_start_timeout: Option<At<String>>,
    /// Lag beyond which an asynchronous standby is no candidate. Default: `1MiB`.
    #[schemars(regex(pattern = limits::SIZE_PATTERN))]
    pub maximum_lag_on_failover: Option<At<String>>,
    /// How long writes may fail, event by event.
    #[serde(default)]
    pub promise: PromiseSection,
}

/// `[failover.promise]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromiseSection {
    /// PostgreSQL of the coordinator leader crashes, its container stays. Default: 4 s, or the budget's 95th percentile where that is more.
    #[schemars(regex(pattern = limits::DURATION_PATTERN))]
    pub postgres_crash: Option<At<String>>,
    /// The coordinator leader's container is killed (SIGKILL). Default: 3 s, or the budget's 95th percentile where that is more.
    #[schemars(regex(pattern = limits::DURATION_PATTERN))]
    pub container_kill: Option<At<String>>,
    /// The container of a shard group's leader is killed (SIGKILL). Default: 4 s, or the budget's 95th percentile where that is more.
    #[schemars(regex(pattern = limits::DURATION_PATTERN))]
    pub shard_leader_kill: Option<At<String>>,
    /// The host with the coordinator leader and the VIP is lost. Default: 9 s, or the budget's 95th percentile where that is more.
    #[schemars(regex(pattern = limits::DURATION_PATTERN))]
    pub host_loss: Option<At<String>>,
    /// The same, and etcd's leader is on that host too. Default: 10 s, or the budget's 95th percentile where that is more.
    #[schemars(regex(pattern = limits::DURATION_PATTERN))]
    pub host_loss_with_etcd_leader: Option<At<String>>,
    /// The network cuts the coordinator leader's host off from all others. Default: 10 s, or the budget's 95th percentile where that is more.
    #[schemars(regex(pattern = limits::DURATION_PATTERN))]
    pub isolation: Option<At<String>>,
    /// Synchronous standbys are lost, with their host at worst, and no leader: commits wait until they are given up. Default: 8 s, or the budget's 95th percentile where that is more.
    #[schemars(regex(pattern = limits::DURATION_PATTERN))]
    pub standby_loss: Option<At<String>>,
    /// The proxy host that holds the VIP, or HAProxy on it, is lost, and nobody whom commits wait for. Default: 1.5 s, or the budget's 95th percentile where that is more.
    #[schemars(regex(pattern = limits::DURATION_PATTERN))]
    pub vip: Option<At<String>>,
    /// Pause of writes when leadership is handed over by order. Default: 2 s, or the budget's 95th percentile where that is more.
    #[schemars(regex(pattern = limits::DURATION_PATTERN))]
    pub switchover_pause: Option<At<String>>,
    /// Acknowledged transactions that may be lost, in any of these events.
    #[serde(default)]
    pub loss: LossSection,
}

/// `[failover.promise.loss]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LossSection {
    /// Transactions of the coordinators. Default: 0; no limit with `async` replication.
    pub coordinators: Option<At<u32>>,
    /// Transactions of each shard group. Default: 0; no limit for groups with `async` replication.
    pub shards: Option<At<u32>>,
}

/// `[guard]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuardSection {
    /// Run a guard on each etcd host; without it the loss of a leader's host costs `failover.ttl`. Default: true.
    pub enabled: Option<At<bool>>,
    /// What a guard waits beyond `loop_wait + 2 · retry_timeout` since a leader's last renewal, 100 ms to 5 s. Default: `300ms`.
    #[schemars(regex(pattern = limits::DURATION_PATTERN))]
    pub margin: Option<At<String>>,
}

/// `[vector]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VectorSection {
    /// Which extension is created in the application database. Default: `pgvector`.
    pub engine: Option<At<VectorEngineName>>,
}

/// Vector extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VectorEngineName {
    /// `vector` type of pgvector.
    Pgvector,
    /// `ruvector` type of RuVector; not together with pgvector in one database.
    Ruvector,
    /// No vector extension.
    None,
}

/// `[resources]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourcesSection {
    /// Each etcd member.
    #[serde(default)]
    pub etcd: ResourceBlock,
    /// Each coordinator.
    #[serde(default)]
    pub coordinator: ResourceBlock,
    /// Each member of a shard group.
    #[serde(default)]
    pub worker: ResourceBlock,
    /// HAProxy, PgBouncer and keepalived, each.
    #[serde(default)]
    pub proxy: ResourceBlock,
}

/// `[resources.ROLE]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceBlock {
    /// Cores, fractions allowed; limit, half of it reserved. Default: no limit.
    #[schemars(range(max = limits::CPUS_MAX))]
    pub cpus: Option<At<f64>>,
    /// Memory, e.g. `16GiB`; limit, half of it reserved; PostgreSQL's memory settings follow from it. Default: no limit.
    #[schemars(regex(pattern = limits::SIZE_PATTERN))]
    pub memory: Option<At<String>>,
    /// Expected size of the data, e.g. `200GiB`; compared with free disk by `init`. Default: unknown.
    #[schemars(regex(pattern = limits::SIZE_PATTERN))]
    pub storage: Option<At<String>>,
}

/// `[postgres]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresSection {
    /// PostgreSQL settings that override derived ones, in every group.
    #[serde(default)]
    pub parameters: BTreeMap<String, At<ParameterValue>>,
}

/// A PostgreSQL setting's value.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ParameterValue {
    /// `on` or `off`.
    Bool(bool),
    /// A whole number in the setting's base unit.
    Integer(i64),
    /// A fraction.
    Float(f64),
    /// Text, also numbers with a unit (`64MB`).
    Text(String),
}

/// `[pooler]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolerSection {
    /// Client connections that one PgBouncer accepts. Default: 1000.
    #[schemars(range(min = limits::CLIENT_CONNECTIONS.0, max = limits::CLIENT_CONNECTIONS.1))]
    pub max_client_conn: Option<At<u32>>,
    /// Server connections per database and user of one PgBouncer. Default: 25.
    #[schemars(range(min = limits::POOL_SIZE.0, max = limits::POOL_SIZE.1))]
    pub default_pool_size: Option<At<u32>>,
}

/// `[images]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImagesSection {
    /// Registry and path prefix, e.g. `registry.example.com/pg`; hosts pull from it. Default: none, images travel over SSH.
    pub registry: Option<At<String>>,
    /// Full name of the node image, with a tag or digest. Default: the one that `image build` makes.
    pub node: Option<At<String>>,
    /// Full name of the etcd image. Default: the one that `image build` makes.
    pub etcd: Option<At<String>>,
    /// Full name of the proxy image. Default: the one that `image build` makes.
    pub proxy: Option<At<String>>,
    /// Full name of the lease guard's image. Default: the one that `image build` makes.
    pub guard: Option<At<String>>,
}
