//! A plan is data: waves of actions, each wave with the conditions that must hold before the next one starts.
//!
//! What `plan` prints is what `up` runs. Actions name their object and, where there is one, its content hash; the content
//! itself is in the artifacts. Resuming after a crash means observing and planning again, never replaying.

use std::fmt;

use serde::Serialize;

use crate::topology::ids::{GroupId, HostName, MemberName};

/// Everything that is to be done, in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Plan {
    /// Waves; one starts when the one before is done and its conditions hold.
    pub waves: Vec<Wave>,
}

/// Actions that may run at the same time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wave {
    /// What the wave is about, for people.
    pub title: String,
    /// What is done.
    pub actions: Vec<Action>,
    /// What must hold before the next wave starts.
    pub until: Vec<Condition>,
}

/// Whether a thing is new or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It does not exist yet.
    Create,
    /// It exists with other content.
    Update,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Make a Swarm whose first manager is this host.
    SwarmInit {
        /// The host.
        host: HostName,
    },
    /// Join this host to the Swarm as a manager.
    SwarmJoin {
        /// The host.
        host: HostName,
    },
    /// Make a worker node a manager.
    SwarmPromote {
        /// The host.
        host: HostName,
    },
    /// Remove the node of a lost host from the Swarm; a manager is taken out of Raft first.
    SwarmForget {
        /// The host that was lost.
        host: HostName,
        /// Its node's id.
        node: String,
    },
    /// Set the node labels that services are pinned by.
    LabelNode {
        /// The host.
        host: HostName,
    },
    /// Create an overlay network.
    CreateNetwork {
        /// Its name.
        name: String,
        /// Its subnet in CIDR notation.
        subnet: String,
    },
    /// Generate a password and keep it as a Swarm secret.
    CreateSecret {
        /// Its name.
        name: String,
    },
    /// Create an immutable Swarm config; the name ends with the content's hash.
    CreateConfig {
        /// Its name.
        name: String,
    },
    /// Take a member whose disk is lost out of etcd.
    EtcdRemove {
        /// The member.
        member: MemberName,
        /// Its id until now.
        id: u64,
    },
    /// Add a member to etcd under a new id; it has not started yet.
    EtcdAdd {
        /// The member.
        member: MemberName,
    },
    /// Tell the empty disk of an added member to join the store that lives, instead of making a new one.
    EtcdSeed {
        /// The member.
        member: MemberName,
        /// The host with the disk.
        host: HostName,
    },
    /// Write a group's dynamic Patroni configuration to etcd.
    WriteDynamic {
        /// The group.
        group: GroupId,
        /// New or changed.
        change: Change,
    },
    /// Deploy a service with its present definition.
    Deploy {
        /// Service name inside the stack.
        service: MemberName,
        /// Where it is pinned.
        host: HostName,
        /// Content hash of its definition.
        hash: String,
        /// New or changed.
        change: Change,
    },
    /// Hand leadership away from a member that is about to be updated or restarted.
    Switchover {
        /// The group.
        group: GroupId,
        /// The leader of now.
        from: MemberName,
    },
    /// Restart PostgreSQL of a member so that settings take effect.
    RestartMember {
        /// The member.
        member: MemberName,
        /// Its group.
        group: GroupId,
    },
    /// Remove a proxy service that the topology no longer has.
    RemoveService {
        /// Service name inside the stack.
        service: String,
    },
    /// Remove a Swarm config that nothing uses any more.
    RemoveConfig {
        /// Its name.
        name: String,
    },
}

/// Something that must be so before the plan goes on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "condition", rename_all = "snake_case")]
pub enum Condition {
    /// The etcd member answers and knows a leader.
    EtcdMember {
        /// The member.
        member: MemberName,
    },
    /// Somebody holds the group's leader key and runs as primary.
    Leader {
        /// The group.
        group: GroupId,
    },
    /// The group has data: a new one from its first leader, or that of an earlier life, whose leader may be any member.
    Initialized {
        /// The group.
        group: GroupId,
    },
    /// The member is the leader, or streams from it on its timeline.
    Member {
        /// The member.
        member: MemberName,
        /// Its group.
        group: GroupId,
    },
    /// The group has the synchronous standby that its replication mode promises.
    Synchronous {
        /// The group.
        group: GroupId,
    },
    /// A member of the group can take over from its leader without losing anything.
    Candidate {
        /// The group.
        group: GroupId,
    },
    /// The group's dynamic configuration in etcd is the wanted one.
    Dynamic {
        /// The group.
        group: GroupId,
    },
    /// pg_dist_node names the group's leader, active.
    Registered {
        /// The group.
        group: GroupId,
    },
    /// The service runs.
    Running {
        /// Service name inside the stack.
        service: MemberName,
    },
    /// The service runs with this very definition.
    Deployed {
        /// Service name inside the stack.
        service: MemberName,
        /// Content hash of the definition.
        hash: String,
    },
    /// The HAProxy has a leader to route to.
    Routes {
        /// Service name of the HAProxy.
        proxy: MemberName,
    },
    /// Exactly one proxy host carries the VIP.
    Vip,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.waves.iter().all(|w| w.actions.is_empty())
    }

    /// All actions in order.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.waves.iter().flat_map(|w| &w.actions)
    }

    /// Appends a wave unless it has no action and waits for nothing.
    pub fn push(&mut self, title: impl Into<String>, actions: Vec<Action>, until: Vec<Condition>) {
        if !actions.is_empty() || !until.is_empty() {
            self.waves.push(Wave { title: title.into(), actions, until });
        }
    }
}

impl Condition {
    /// The member or object that it is about, as progress shows it.
    pub fn subject(&self) -> String {
        match self {
            Self::EtcdMember { member } | Self::Member { member, .. } => member.to_string(),
            Self::Leader { group }
            | Self::Initialized { group }
            | Self::Synchronous { group }
            | Self::Candidate { group }
            | Self::Dynamic { group }
            | Self::Registered { group } => group.to_string(),
            Self::Running { service } | Self::Deployed { service, .. } => service.to_string(),
            Self::Routes { proxy } => proxy.to_string(),
            Self::Vip => "VIP".to_owned(),
        }
    }
}

impl Change {
    fn verb(self, create: &'static str, update: &'static str) -> &'static str {
        match self {
            Self::Create => create,
            Self::Update => update,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SwarmInit { host } => write!(f, "create the Swarm on {host}"),
            Self::SwarmJoin { host } => write!(f, "join {host} as a manager"),
            Self::SwarmPromote { host } => write!(f, "make {host} a manager"),
            Self::SwarmForget { host, .. } => write!(f, "remove the node of {host} from the Swarm"),
            Self::EtcdRemove { member, id } => write!(f, "remove {member} from etcd ({id:x}: its disk is lost)"),
            Self::EtcdAdd { member } => write!(f, "add {member} to etcd under a new id"),
            Self::EtcdSeed { member, host } => write!(f, "prepare an empty disk for {member} on {host}"),
            Self::LabelNode { host } => write!(f, "label node {host}"),
            Self::CreateNetwork { name, subnet } => write!(f, "create network {name} ({subnet})"),
            Self::CreateSecret { name } => write!(f, "create secret {name}"),
            Self::CreateConfig { name } => write!(f, "create config {name}"),
            Self::WriteDynamic { group, change } => {
                write!(f, "{} Patroni settings of {group}", change.verb("write", "change"))
            }
            Self::Deploy { service, host, change, .. } => {
                write!(f, "{} {service} on {host}", change.verb("create", "update"))
            }
            Self::Switchover { group, from } => write!(f, "switch {group} over, away from {from}"),
            Self::RestartMember { member, .. } => write!(f, "restart PostgreSQL of {member}"),
            Self::RemoveService { service } => write!(f, "remove {service}"),
            Self::RemoveConfig { name } => write!(f, "remove config {name}"),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EtcdMember { member } => write!(f, "{member} answers"),
            Self::Leader { group } => write!(f, "{group} has a leader"),
            Self::Initialized { group } => write!(f, "{group} is initialised"),
            Self::Member { member, .. } => write!(f, "{member} is up to date"),
            Self::Synchronous { group } => write!(f, "{group} has its synchronous standby"),
            Self::Candidate { group } => write!(f, "{group} has a standby that can take over"),
            Self::Dynamic { group } => write!(f, "{group} has its Patroni settings"),
            Self::Registered { group } => write!(f, "{group} is registered in Citus"),
            Self::Running { service } => write!(f, "{service} runs"),
            Self::Deployed { service, .. } => write!(f, "{service} runs its new definition"),
            Self::Routes { proxy } => write!(f, "{proxy} routes to a leader"),
            Self::Vip => write!(f, "one proxy host carries the VIP"),
        }
    }
}
