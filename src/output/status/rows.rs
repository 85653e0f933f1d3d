//! The rows of `status`, one type per section. Null in JSON means "does not apply", or "unknown" where `reason` says why.

use serde::Serialize;

use crate::health::{
    Look, citus as citus_checks, etcd as etcd_checks, host as host_checks, proxy as proxy_checks, swarm as swarm_checks,
};
use crate::observe::model::{CitusFacts, GroupState, HostFacts, LeaderFacts, NodeFacts};
use crate::topology::model::{Group, Member, Replication};
use crate::topology::{GroupId, HostName};

/// State of what could not be seen.
const UNKNOWN: &str = "unknown";

/// A Patroni group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupRow {
    /// `coordinator`, `shard-1`, …
    pub group: String,
    /// `async`, `sync`, `quorum`.
    pub replication: &'static str,
    /// Holder of the leader key; empty when there is none or it is unknown.
    pub leader: String,
    /// Whether automatic failover is paused.
    pub paused: Option<bool>,
    /// Client connections on the leader.
    pub connections_used: Option<u32>,
    /// Its max_connections.
    pub connections_max: Option<u32>,
    /// Age of its oldest open transaction.
    pub oldest_transaction_ms: Option<u64>,
    /// The most WAL that it keeps for one slot.
    pub wal_kept_bytes: Option<u64>,
    /// Size of all its databases.
    pub database_bytes: Option<u64>,
    /// Prepared transactions on it.
    pub prepared_transactions: Option<usize>,
    /// Why something is unknown; empty when nothing is.
    pub reason: String,
}

/// A Patroni member.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemberRow {
    /// `coordinator`, `shard-1`, …
    pub group: String,
    /// Its name.
    pub member: String,
    /// Where it belongs.
    pub host: String,
    /// `leader`, `sync`, `quorum`, `replica`, `reader`, `unknown`.
    pub role: &'static str,
    /// As Patroni says: `running`, `streaming`, `starting`, …; `absent` when it has no key, `unknown` when none could be read.
    pub state: String,
    /// Why something is unknown or absent; empty when nothing is.
    pub reason: String,
    /// Timeline.
    pub timeline: Option<u64>,
    /// Bytes behind the leader; null for the leader.
    pub lag_bytes: Option<u64>,
    /// Time behind the leader; null for the leader.
    pub lag_ms: Option<u64>,
    /// Whether settings wait for a restart.
    pub pending_restart: Option<bool>,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostRow {
    /// Its name.
    pub host: String,
    /// Its address.
    pub address: String,
    /// `leader`, `manager`, `worker`, `none` (in no Swarm, or not in this cluster's), `unknown`.
    pub swarm: &'static str,
    /// `ready`, `down`, `drain`, `unreachable`, …
    pub state: String,
    /// Why it is unreachable; empty when it is not.
    pub reason: String,
    /// Docker Engine version.
    pub docker: Option<String>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Cores.
    pub cpus: Option<u32>,
    /// Memory.
    pub memory_bytes: Option<u64>,
    /// Free bytes of Docker's file system.
    pub disk_free_bytes: Option<u64>,
    /// Its size.
    pub disk_total_bytes: Option<u64>,
    /// Its clock minus the middle of all hosts' clocks.
    pub clock_skew_ms: Option<i64>,
}

/// An etcd member.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EtcdRow {
    /// Its name.
    pub member: String,
    /// Where it belongs.
    pub host: String,
    /// `leader`, `follower`, `leaderless`, `unknown`.
    pub role: &'static str,
    /// Why it is unknown; empty when it is not.
    pub reason: String,
    /// Raft term.
    pub raft_term: Option<u64>,
    /// Raft index.
    pub raft_index: Option<u64>,
    /// Size of the database.
    pub db_size_bytes: Option<u64>,
    /// Version.
    pub version: Option<String>,
    /// Alarms raised.
    pub alarms: Vec<String>,
}

/// A HAProxy with the virtual address.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProxyRow {
    /// Service name of its HAProxy.
    pub proxy: String,
    /// Where it belongs.
    pub host: String,
    /// Whether the host holds the virtual address.
    pub holds_vip: Option<bool>,
    /// Servers by backend.
    pub backends: Vec<BackendRow>,
    /// Client sessions now.
    pub sessions: Option<u64>,
    /// Why something is unknown; empty when nothing is.
    pub reason: String,
}

/// A backend of a HAProxy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackendRow {
    /// Its name.
    pub backend: String,
    /// Servers that are up.
    pub up: usize,
    /// All servers.
    pub total: usize,
}

/// A Citus group: what pg_dist_node says beside what Patroni says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CitusRow {
    /// `coordinator`, `shard-1`, …
    pub group: String,
    /// Primary of the group in pg_dist_node; empty when it has none or it is unknown.
    pub node: String,
    /// Patroni's leader; empty when it has none or it is unknown.
    pub leader: String,
    /// Whether both are the same and the node is active.
    pub matches: Option<bool>,
    /// Whether the group's own copy of pg_dist_node names the same leaders as the original, which the coordinators have.
    pub copy_matches: Option<bool>,
    /// Whether the node's metadata is synchronised.
    pub metadata_synced: Option<bool>,
    /// Shard placements on it.
    pub shards: Option<u64>,
    /// Why something is unknown; empty when nothing is.
    pub reason: String,
}

/// Rows of the groups.
pub fn groups(look: &Look<'_>) -> Vec<GroupRow> {
    let row = |group: &Group| {
        let state = look.group(group);
        let facts = look.leader(group);
        let reason = [state.as_ref().err(), facts.as_ref().err()].into_iter().flatten().next();
        let reason = reason.map(ToString::to_string).unwrap_or_default();
        let (state, facts) = (state.ok(), facts.ok());
        GroupRow {
            group: group.id.to_string(),
            replication: group.replication.as_str(),
            leader: leader_name(state),
            paused: state.map(|s| s.paused),
            connections_used: facts.map(|f| f.connections_used),
            connections_max: facts.map(|f| f.connections_max),
            oldest_transaction_ms: facts.map(|f| f.oldest_transaction_ms),
            wal_kept_bytes: facts.map(|f| f.slots.values().map(|s| s.retained_bytes).max().unwrap_or(0)),
            database_bytes: facts.map(|f| f.database_bytes).filter(|bytes| *bytes != 0),
            prepared_transactions: facts.map(|f| f.prepared.len()),
            reason,
        }
    };
    look.topology.groups.iter().map(row).collect()
}

/// Rows of the Patroni members.
pub fn members(look: &Look<'_>) -> Vec<MemberRow> {
    let groups = look.topology.groups.iter();
    groups.flat_map(|group| group.everyone().map(move |member| member_row(look, group, member))).collect()
}

fn member_row(look: &Look<'_>, group: &Group, member: &Member) -> MemberRow {
    let name = member.name.as_str();
    let lost = look.host(&member.host).err().map(|_| format!("no answer from {}", member.host));
    let mut row = MemberRow {
        group: group.id.to_string(),
        member: name.to_owned(),
        host: member.host.to_string(),
        role: UNKNOWN,
        state: UNKNOWN.into(),
        reason: String::new(),
        timeline: None,
        lag_bytes: None,
        lag_ms: None,
        pending_restart: None,
    };
    let state = match look.group(group) {
        Ok(state) => state,
        // Why, is told once, among the problems.
        Err(_) if look.observed.patroni.known().is_none() => {
            return MemberRow { reason: lost.unwrap_or_else(|| "etcd cannot be read".into()), ..row };
        }
        Err(error) => return MemberRow { reason: lost.unwrap_or(error.reason), ..row },
    };
    let Some(own) = state.members.get(name) else {
        return MemberRow { state: "absent".into(), reason: lost.unwrap_or_else(|| why_absent(look, name)), ..row };
    };
    row.state = own.state.clone();
    if let ("streaming", Ok(facts)) = (own.state.as_str(), look.leader(group)) {
        // Its key is from Patroni's last round, or from before a restart; the leader knows of connections there are now.
        row.state = facts.standbys.get(name).map_or_else(|| "not streaming".into(), |standby| standby.state.clone());
    }
    row.reason = lost.unwrap_or_default();
    row.timeline = Some(own.timeline).filter(|t| *t != 0);
    row.pending_restart = Some(own.pending_restart);
    row.role = role(look, group, state, name);
    if row.role != "leader" {
        let sql = look.leader(group).ok().and_then(|f: &LeaderFacts| f.standbys.get(name));
        // Without SQL the keys' positions, up to loop_wait old, still give the bytes.
        let keys = (own.lsn != 0 && state.leader_lsn != 0).then(|| state.leader_lsn.saturating_sub(own.lsn));
        row.lag_bytes = sql.map(|s| s.lag_bytes).or(keys);
        row.lag_ms = sql.map(|s| s.lag_ms);
    }
    row
}

fn role(look: &Look<'_>, group: &Group, state: &GroupState, name: &str) -> &'static str {
    if state.leader == name {
        return "leader";
    }
    if state.members.get(name).is_some_and(|m| m.is_primary()) {
        // Holds no key, yet runs as primary: not yet demoted, or not yet crowned.
        return "primary";
    }
    let sql = look.leader(group).ok().and_then(|f| f.standbys.get(name)).map(|s| s.sync_state.as_str());
    match sql {
        Some("sync") => "sync",
        Some("quorum") => "quorum",
        _ if group.is_reader(name) => "reader",
        Some(_) => "replica",
        None if state.sync_standbys.iter().any(|s| s == name) && group.replication == Replication::Quorum => "quorum",
        None if state.sync_standbys.iter().any(|s| s == name) => "sync",
        None => "replica",
    }
}

/// Why a member has no key although its host answers: its task does not run, or Patroni has not come that far.
fn why_absent(look: &Look<'_>, name: &str) -> String {
    match look.observed.swarm.known().map(|s| s.services.get(name)) {
        Some(None) => "not deployed".into(),
        // Its error is told by the service's check.
        Some(Some(task)) if task.task_state != "running" => format!("its task is {}", task.task_state),
        _ => "no key in etcd".into(),
    }
}

/// Rows of the hosts.
pub fn hosts(look: &Look<'_>) -> Vec<HostRow> {
    let swarm = look.observed.swarm.known();
    let nodes = swarm.map(swarm_checks::by_label).unwrap_or_default();
    let middle = host_checks::middle_clock_ms(look);
    let row = |host: &crate::topology::model::Host| {
        let facts = look.host(&host.name);
        let node = nodes.get(host.name.as_str()).copied();
        let (state, reason) = match &facts {
            // What the daemon says of the Swarm only repeats what a manager has said.
            Ok(facts) if facts.swarm.state == UNKNOWN => (host_state(facts, node), String::new()),
            Ok(facts) => (host_state(facts, node), facts.swarm.error.clone()),
            Err(error) => ("unreachable".to_owned(), error.reason.clone()),
        };
        let facts = facts.ok();
        HostRow {
            host: host.name.to_string(),
            address: host.address.to_string(),
            swarm: swarm_part(facts, node),
            state,
            reason,
            docker: facts.map(|f| f.docker_version.clone()),
            kernel: facts.map(|f| f.kernel.clone()),
            cpus: facts.map(|f| f.cpus),
            memory_bytes: facts.map(|f| f.memory_bytes),
            disk_free_bytes: facts.map(|f| f.disk_free_bytes),
            disk_total_bytes: facts.map(|f| f.disk_total_bytes),
            clock_skew_ms: facts.map(|f| f.clock_skew_ms - middle),
        }
    };
    look.topology.hosts.iter().map(row).collect()
}

fn host_state(facts: &HostFacts, node: Option<&NodeFacts>) -> String {
    match node {
        Some(node) if node.state == "ready" && node.availability != "active" => node.availability.clone(),
        Some(node) => node.state.clone(),
        None if facts.swarm.state == UNKNOWN => "answers".into(),
        None => format!("swarm {}", facts.swarm.state),
    }
}

fn swarm_part(facts: Option<&HostFacts>, node: Option<&NodeFacts>) -> &'static str {
    match (node, facts) {
        (Some(node), _) => match &node.manager {
            Some(manager) if manager.leader => "leader",
            Some(_) => "manager",
            None => "worker",
        },
        (None, Some(facts)) if facts.swarm.state != UNKNOWN => "none",
        (None, _) => UNKNOWN,
    }
}

/// Rows of the etcd members.
pub fn etcd(look: &Look<'_>) -> Vec<EtcdRow> {
    let row = |member: &crate::topology::model::EtcdMember| {
        let facts = etcd_checks::facts(look, member);
        let failure = look.observed.etcd.get(&member.name).and_then(|p| p.failed());
        EtcdRow {
            member: member.name.to_string(),
            host: member.host.to_string(),
            role: match facts {
                Some(f) if f.leader_id == 0 => "leaderless",
                Some(f) if f.leader_id == f.member_id => "leader",
                Some(_) => "follower",
                None => UNKNOWN,
            },
            reason: why(look, &member.host, failure.map(|e| e.reason.clone())),
            raft_term: facts.map(|f| f.raft_term),
            raft_index: facts.map(|f| f.raft_index),
            db_size_bytes: facts.map(|f| f.db_size_bytes),
            version: facts.map(|f| f.version.clone()),
            alarms: facts.map(|f| f.alarms.clone()).unwrap_or_default(),
        }
    };
    look.topology.etcd.iter().map(row).collect()
}

/// Rows of the proxies.
pub fn proxies(look: &Look<'_>) -> Vec<ProxyRow> {
    let holders = proxy_checks::vip_holders(look);
    let row = |proxy: &crate::topology::model::Proxy| {
        let facts = proxy_checks::facts(look, proxy);
        let reason = why(look, &proxy.host, facts.as_ref().err().cloned());
        let facts = facts.ok();
        let backends = facts.iter().flat_map(|f| &f.backends).map(|(name, servers)| {
            let (up, total) = proxy_checks::servers_up(servers);
            BackendRow { backend: name.clone(), up, total }
        });
        let vip = look.topology.network.vip.is_some() && look.host(&proxy.host).is_ok();
        ProxyRow {
            proxy: proxy_checks::service(proxy),
            host: proxy.host.to_string(),
            holds_vip: vip.then(|| holders.contains(&&proxy.host)),
            backends: backends.collect(),
            sessions: facts.map(|f| f.sessions),
            reason,
        }
    };
    look.topology.proxies.iter().map(row).collect()
}

/// Rows of pg_dist_node against Patroni.
pub fn citus(look: &Look<'_>) -> Vec<CitusRow> {
    if look.topology.citus.is_none() {
        return Vec::new();
    }
    let facts = look.observed.citus.known();
    let failure = look.observed.citus.failed().map(|e| e.reason.clone());
    let reason = match coordinator_leader(look) {
        Some(leader) => why(look, &leader.host, failure),
        None => failure.unwrap_or_default(),
    };
    let row = |group: &Group| {
        let node = facts.and_then(|f| f.nodes.iter().find(|n| n.group == group.id && n.role == "primary"));
        let leader = leader_name(look.group(group).ok());
        CitusRow {
            group: group.id.to_string(),
            node: node.map(|n| n.name.clone()).unwrap_or_default(),
            matches: facts.filter(|_| !leader.is_empty()).map(|_| node.is_some_and(|n| n.name == leader && n.active)),
            copy_matches: facts.and_then(|facts| copy_matches(facts, group.id)),
            metadata_synced: node.map(|n| n.has_metadata && n.metadata_synced),
            shards: node.map(|n| n.shards),
            leader,
            reason: reason.clone(),
        }
    };
    let groups = look.topology.groups.iter();
    groups.filter(|g| g.id != GroupId::COORDINATOR || look.topology.citus.is_some()).map(row).collect()
}

fn copy_matches(facts: &CitusFacts, group: GroupId) -> Option<bool> {
    if group.is_coordinator() {
        return Some(true);
    }
    let copy = facts.copies.get(&group)?.known()?;
    Some(citus_checks::difference(&facts.nodes, copy).is_none())
}

fn coordinator_leader<'a>(look: &Look<'a>) -> Option<&'a Member> {
    let group = look.topology.group(GroupId::COORDINATOR)?;
    let leader = leader_name(look.group(group).ok());
    group.members.iter().find(|m| m.name.as_str() == leader)
}

fn leader_name(state: Option<&GroupState>) -> String {
    state.map(|s| s.leader.clone()).unwrap_or_default()
}

/// A failure in few words: what stands on a host that does not answer is explained by that.
fn why(look: &Look<'_>, host: &HostName, failure: Option<String>) -> String {
    match failure {
        Some(_) if look.host(host).is_err() => format!("no answer from {host}"),
        Some(reason) => reason,
        None => String::new(),
    }
}
