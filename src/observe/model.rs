//! What was seen of a cluster: plain data, no judgement. Collectors of this module fill it, everything above reads it.
//!
//! What could not be seen is a value too: [`Probe::Failed`] says where and why.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::Serialize;

use crate::topology::ids::{GroupId, HostName, MemberName};

/// A value that was looked for at one place.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe<T> {
    /// It was seen.
    Known(T),
    /// It could not be seen.
    Failed(ProbeError),
}

/// Why something could not be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{target}: {reason}")]
pub struct ProbeError {
    /// What was asked, e.g. `host2`, `etcd-1`, `coordinator-1 (SQL)`.
    pub target: String,
    /// What it answered instead, in one line.
    pub reason: String,
}

impl<T> Probe<T> {
    /// The value, where it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Failed(_) => None,
        }
    }

    /// The failure, where it is not.
    pub fn failed(&self) -> Option<&ProbeError> {
        match self {
            Self::Known(_) => None,
            Self::Failed(error) => Some(error),
        }
    }

    /// A failure from any error, flattened to one line.
    pub fn fail(target: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        let target = target.into();
        let reason = reason.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        // Errors of clients name their host themselves; it is said once.
        let reason = reason.strip_prefix(&format!("{target}: ")).map(str::to_owned).unwrap_or(reason);
        Self::Failed(ProbeError { target, reason })
    }
}

impl<T, E: std::fmt::Display> From<(&str, Result<T, E>)> for Probe<T> {
    fn from((target, result): (&str, Result<T, E>)) -> Self {
        match result {
            Ok(value) => Self::Known(value),
            Err(error) => Self::fail(target, error),
        }
    }
}

/// A cluster as it was seen at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Observed {
    /// Each host of the topology.
    pub hosts: BTreeMap<HostName, Probe<HostFacts>>,
    /// The Swarm as its managers see it.
    pub swarm: Probe<SwarmFacts>,
    /// Each etcd member's own answer.
    pub etcd: BTreeMap<MemberName, Probe<EtcdFacts>>,
    /// Who belongs to the store, as its quorum has it.
    pub membership: Probe<Vec<EtcdPeer>>,
    /// Patroni's keys of each group, from etcd with a quorum read.
    pub patroni: Probe<BTreeMap<GroupId, GroupState>>,
    /// What the leader of each group said in SQL; groups whose leader was not asked are not in it.
    pub leaders: BTreeMap<GroupId, Probe<LeaderFacts>>,
    /// pg_dist_node and shard counts from the coordinator leader; empty and known in clusters without Citus.
    pub citus: Probe<CitusFacts>,
    /// Each HAProxy by name.
    pub proxies: BTreeMap<MemberName, Probe<ProxyFacts>>,
    /// Each lease guard by name; empty where they are switched off.
    pub guards: BTreeMap<MemberName, Probe<GuardFacts>>,
}

impl Observed {
    /// Free bytes on the disk of each host that told.
    pub fn free_disks(&self) -> BTreeMap<HostName, u64> {
        let told = self.hosts.iter().filter_map(|(host, probe)| Some((host, probe.known()?)));
        // A disk without a size is one that could not be read.
        told.filter(|(_, facts)| facts.disk_total_bytes > 0)
            .map(|(host, facts)| (host.clone(), facts.disk_free_bytes))
            .collect()
    }

    /// Whether the host of that proxy is known to carry the VIP.
    pub fn holds_vip(&self, ordinal: u32) -> bool {
        let name = format!("haproxy-{ordinal}");
        let facts = self.proxies.iter().find(|(n, _)| n.as_str() == name).and_then(|(_, probe)| probe.known());
        facts.is_some_and(|f| f.holds_vip)
    }
}

/// A host, from its shell and its Docker daemon.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostFacts {
    /// Docker Engine version, e.g. `26.1.5`.
    pub docker_version: String,
    /// Kernel release.
    pub kernel: String,
    /// Cores.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Size of the file system of Docker's data in bytes.
    pub disk_total_bytes: u64,
    /// Free bytes there.
    pub disk_free_bytes: u64,
    /// The host's clock minus the operator's clock at the middle of the round trip, in milliseconds.
    pub clock_skew_ms: i64,
    /// IPv4 addresses by interface.
    pub addresses: BTreeMap<String, Vec<Ipv4Addr>>,
    /// TCP ports with a listener.
    pub listening: Vec<u16>,
    /// The daemon's own view of its Swarm membership.
    pub swarm: SwarmMembership,
    /// Running containers of this cluster: service name inside the stack -> container id.
    pub containers: BTreeMap<String, String>,
}

/// A daemon's Swarm membership.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SwarmMembership {
    /// `inactive`, `pending`, `active`, `error`, `locked`; `unknown` while the Swarm has no leader to ask.
    pub state: String,
    /// Id of the node, empty when inactive.
    pub node_id: String,
    /// Id of the Swarm, empty when inactive or not a manager.
    pub cluster_id: String,
    /// Whether the node is a manager with a working control plane.
    pub control_available: bool,
    /// What the daemon says is wrong, empty when nothing is.
    pub error: String,
}

/// The Swarm, from one of its managers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SwarmFacts {
    /// The host that answered.
    pub seen_from: HostName,
    /// Id of the Swarm.
    pub cluster_id: String,
    /// Nodes by id.
    pub nodes: BTreeMap<String, NodeFacts>,
    /// Services of this cluster by their name inside the stack.
    pub services: BTreeMap<String, ServiceFacts>,
    /// Overlay networks of this cluster: name -> subnet.
    pub networks: BTreeMap<String, NetworkFacts>,
    /// Secrets of this cluster by name.
    pub secrets: Vec<String>,
    /// Configs of this cluster by name -> content (text).
    pub configs: BTreeMap<String, String>,
}

/// A Swarm node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeFacts {
    /// Hostname as the daemon reports it.
    pub hostname: String,
    /// `ready`, `down`, `unknown`, `disconnected`.
    pub state: String,
    /// `active`, `pause`, `drain`.
    pub availability: String,
    /// Whether it is a manager, and if so whether it leads.
    pub manager: Option<ManagerFacts>,
    /// Address that Swarm uses.
    pub address: String,
    /// Node labels.
    pub labels: BTreeMap<String, String>,
}

/// A manager's part in Swarm's own Raft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ManagerFacts {
    /// Whether it is the Raft leader.
    pub leader: bool,
    /// `reachable`, `unreachable`, `unknown`.
    pub reachability: String,
}

/// An overlay network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkFacts {
    /// CIDR.
    pub subnet: String,
    /// Driver options.
    pub options: BTreeMap<String, String>,
}

/// A service and its newest task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceFacts {
    /// Swarm's id.
    pub id: String,
    /// Label `pgclusterctl.hash`; empty when someone removed it.
    pub hash: String,
    /// Label `pgclusterctl.fragment`.
    pub fragment: String,
    /// Image of the current spec, without digest.
    pub image: String,
    /// Desired replicas.
    pub replicas: u64,
    /// Names of the configs that the current spec mounts.
    pub configs: Vec<String>,
    /// Label `pgclusterctl.hash` of the newest task that should run: the definition it was made from, which is the service's
    /// former one until an update has reached it. Empty when there is no task.
    pub task_hash: String,
    /// State of the newest task that should run, e.g. `running`, `pending`, `rejected`; `none` when there is none.
    pub task_state: String,
    /// That task's node id.
    pub task_node: String,
    /// That task's error, empty when there is none.
    pub task_error: String,
    /// Container id of that task, empty while there is none.
    pub container: String,
    /// State of a rolling update, e.g. `updating`, `completed`, `paused`; empty when there was none.
    pub update_state: String,
}

/// An etcd member's answer to its status call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EtcdFacts {
    /// Member id.
    pub member_id: u64,
    /// Id of the leader it knows; 0 when none.
    pub leader_id: u64,
    /// Raft term.
    pub raft_term: u64,
    /// Raft index.
    pub raft_index: u64,
    /// Size of the database in bytes.
    pub db_size_bytes: u64,
    /// Version.
    pub version: String,
    /// Alarms raised, e.g. `NOSPACE`.
    pub alarms: Vec<String>,
}

/// A member in etcd's own list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EtcdPeer {
    /// Member id; a member that was removed and added again has another one.
    pub id: u64,
    /// Its name; empty until it has started for the first time.
    pub name: String,
    /// Where the others reach it.
    pub url: String,
}

/// What a host's volume of an etcd member holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EtcdDisk {
    /// No log: there is no volume, or nothing worth keeping in it.
    Empty,
    /// No log, and the word to join a store that lives.
    Seeded,
    /// The log of a member.
    Log,
}

/// A Patroni group as etcd holds it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GroupState {
    /// Whether the group was initialised (has a system identifier).
    pub initialized: bool,
    /// Holder of the leader key; empty while there is none.
    pub leader: String,
    /// Lease of the leader key, 0 while there is none.
    pub leader_lease: i64,
    /// WAL position of the leader in bytes, from the status key; 0 while unknown.
    pub leader_lsn: u64,
    /// Synchronous standbys (or the quorum's voters).
    pub sync_standbys: Vec<String>,
    /// The leader that the sync key names.
    pub sync_leader: String,
    /// Dynamic configuration, null while there is none.
    pub config: serde_json::Value,
    /// Members that have a key.
    pub members: BTreeMap<String, MemberState>,
    /// A scheduled or running failover request, empty when there is none.
    pub failover_request: String,
    /// Whether automatic failover is paused.
    pub paused: bool,
    /// Past timelines: (timeline, reason, time, new leader).
    pub history_len: u64,
}

/// A member's own key: what Patroni wrote there in its last round, or longer ago when the container was restarted since. Whether a
/// standby is really there, its leader knows: [`LeaderFacts::standbys`].
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MemberState {
    /// `primary`, `replica`, `sync_standby`… as Patroni writes it.
    pub role: String,
    /// `running`, `streaming`, `in archive recovery`, `starting`, `stopped`…
    pub state: String,
    /// Timeline; 0 while unknown.
    pub timeline: u64,
    /// WAL position in bytes (received or replayed); 0 while unknown.
    pub lsn: u64,
    /// Whether settings wait for a restart.
    pub pending_restart: bool,
    /// Whether one of them is a size of shared memory that becomes smaller: a standby may never have less of it than its
    /// leader, so the leader has to restart first (PostgreSQL manual, "Hot Standby", administrator's overview).
    pub restart_shrinks: bool,
    /// Patroni's version.
    pub version: String,
    /// Tags such as `nofailover`, `nosync`.
    pub tags: BTreeMap<String, serde_json::Value>,
}

impl MemberState {
    /// Whether its role means a leader; `master` is what Patroni wrote before version 4.
    pub fn is_primary(&self) -> bool {
        matches!(self.role.as_str(), "primary" | "master")
    }
}

/// What a leader says in SQL.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LeaderFacts {
    /// The member asked.
    pub member: MemberName,
    /// Whether it is in recovery (a leader must not be).
    pub in_recovery: bool,
    /// Rows of pg_stat_replication by application_name.
    pub standbys: BTreeMap<String, StandbyFacts>,
    /// Slots: name -> WAL kept in bytes.
    pub slots: BTreeMap<String, SlotFacts>,
    /// Client backends in use.
    pub connections_used: u32,
    /// max_connections.
    pub connections_max: u32,
    /// Age of the oldest transaction of a client backend, in milliseconds.
    pub oldest_transaction_ms: u64,
    /// Prepared transactions: (gid, age in milliseconds).
    pub prepared: Vec<(String, u64)>,
    /// Bytes of all databases; 0 while unknown, as a server with many files takes long to tell.
    pub database_bytes: u64,
    /// synchronous_standby_names as PostgreSQL has it.
    pub synchronous_standby_names: String,
    /// The timeline it writes to; 0 in recovery.
    pub timeline: u64,
}

/// A row of pg_stat_replication.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StandbyFacts {
    /// `streaming`, `catchup`, …
    pub state: String,
    /// `async`, `sync`, `quorum`, `potential`.
    pub sync_state: String,
    /// Bytes of WAL not yet replayed there.
    pub lag_bytes: u64,
    /// replay_lag in milliseconds; 0 when idle.
    pub lag_ms: u64,
}

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotFacts {
    /// Whether someone reads from it.
    pub active: bool,
    /// WAL kept for it in bytes.
    pub retained_bytes: u64,
}

/// Citus metadata on the coordinator leader.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CitusFacts {
    /// Version, empty without Citus.
    pub version: String,
    /// Rows of pg_dist_node.
    pub nodes: Vec<CitusNode>,
    /// The same table as the leader of each shard group has it: a copy, which that group's own queries go by.
    pub copies: BTreeMap<GroupId, Probe<Vec<CitusNode>>>,
    /// Distributed and reference tables.
    pub tables: u64,
}

/// A row of pg_dist_node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CitusNode {
    /// nodeid: stays the same when the name changes.
    pub id: i32,
    /// Group.
    pub group: GroupId,
    /// Host name, a member's name.
    pub name: String,
    /// Port.
    pub port: i32,
    /// `primary`, `secondary`.
    pub role: String,
    /// isactive.
    pub active: bool,
    /// hasmetadata.
    pub has_metadata: bool,
    /// metadatasynced.
    pub metadata_synced: bool,
    /// shouldhaveshards.
    pub should_have_shards: bool,
    /// Shard placements on it.
    pub shards: u64,
}

/// What a host keeps of a shard group, by the names of its members.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Traces {
    /// Members with a container, running or not.
    pub containers: Vec<String>,
    /// Members with a data volume.
    pub volumes: Vec<String>,
}

/// A lease guard's word on its own watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GuardFacts {
    /// Age of its last good look at etcd, in milliseconds; `None` when it had none yet.
    pub last_look_ms: Option<u64>,
    /// Whether Docker's events come in.
    pub hears_docker: bool,
}

/// A HAProxy with its keepalived.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProxyFacts {
    /// Whether the host carries the VIP.
    pub holds_vip: bool,
    /// Servers by backend: backend -> server -> `UP`, `DOWN`, `MAINT`, …
    pub backends: BTreeMap<String, BTreeMap<String, String>>,
    /// Clients' sessions now, of writes and of reads.
    pub sessions: u64,
}
