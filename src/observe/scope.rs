//! How much to look at: a look at everything costs a dozen commands in containers, waiting needs far less.

use crate::plan::Condition;

/// Which parts of a cluster are looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scope {
    /// Hosts: shell and daemon.
    pub hosts: bool,
    /// Swarm objects and tasks.
    pub swarm: bool,
    /// Contents of Swarm configs, for diffs.
    pub configs: bool,
    /// Each etcd member's own state.
    pub etcd: bool,
    /// etcd's list of its members.
    pub membership: bool,
    /// Patroni's keys.
    pub patroni: bool,
    /// SQL on each group's leader.
    pub leaders: bool,
    /// pg_dist_node of the coordinators.
    pub citus: bool,
    /// With it, what the shard groups' leaders have of pg_dist_node.
    pub citus_copies: bool,
    /// HAProxy's view.
    pub proxies: bool,
    /// What guards say of their watch.
    pub guards: bool,
}

impl Scope {
    /// Everything, for `status` and `health`.
    pub fn all() -> Self {
        Self {
            hosts: true,
            swarm: true,
            configs: false,
            etcd: true,
            membership: false,
            patroni: true,
            leaders: true,
            citus: true,
            citus_copies: true,
            proxies: true,
            guards: true,
        }
    }

    /// What the planner of `up` reads. Proxies tell who holds the VIP.
    pub fn plan() -> Self {
        Self { hosts: true, swarm: true, configs: true, membership: true, patroni: true, proxies: true, ..Self::default() }
    }

    /// What `init` reads.
    pub fn init() -> Self {
        Self { hosts: true, swarm: true, ..Self::default() }
    }

    /// What these conditions are judged by.
    pub fn of_conditions(conditions: &[Condition]) -> Self {
        let mut scope = Self::default();
        for condition in conditions {
            match condition {
                Condition::EtcdMember { .. } => scope.etcd = true,
                Condition::Leader { .. }
                | Condition::Initialized { .. }
                | Condition::Member { .. }
                | Condition::Synchronous { .. }
                | Condition::Candidate { .. }
                | Condition::Dynamic { .. } => scope.patroni = true,
                Condition::Registered { .. } => {
                    scope.patroni = true;
                    scope.citus = true;
                }
                Condition::Running { .. } | Condition::Deployed { .. } => scope.swarm = true,
                Condition::Routes { .. } => scope.proxies = true,
                Condition::Vip => scope.hosts = true,
            }
        }
        scope
    }
}
