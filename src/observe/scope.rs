//! How much to look at: a look at everything costs a dozen commands in containers, waiting needs far less.

use crate::plan::Condition;
use crate::topology::ids::GroupId;

/// Whose leaders are asked in SQL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Leaders {
    /// Nobody's.
    #[default]
    None,
    /// That of one group.
    Of(GroupId),
    /// Every group's.
    All,
}

impl Leaders {
    /// Whether this group's leader is asked.
    pub fn include(self, group: GroupId) -> bool {
        match self {
            Self::None => false,
            Self::Of(one) => one == group,
            Self::All => true,
        }
    }

    fn and(self, group: GroupId) -> Self {
        match self {
            Self::None => Self::Of(group),
            Self::Of(one) if one == group => self,
            Self::Of(_) | Self::All => Self::All,
        }
    }
}

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
    /// SQL on groups' leaders.
    pub leaders: Leaders,
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
            leaders: Leaders::All,
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
                | Condition::Synchronous { .. }
                | Condition::Candidate { .. }
                | Condition::Dynamic { .. } => scope.patroni = true,
                Condition::Member { group, .. } => {
                    scope.patroni = true;
                    scope.leaders = scope.leaders.and(*group);
                }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::ids::MemberName;

    #[test]
    fn only_leaders_of_groups_whose_members_are_judged_are_asked() {
        let member =
            |group| Condition::Member { member: MemberName::new("worker-1-1").expect("a name"), group: GroupId(group) };
        let leaders = |conditions: &[Condition]| Scope::of_conditions(conditions).leaders;
        assert_eq!(leaders(&[Condition::Leader { group: GroupId(1) }]), Leaders::None);
        assert_eq!(leaders(&[member(1), member(1)]), Leaders::Of(GroupId(1)));
        assert_eq!(leaders(&[member(1), member(2), member(1)]), Leaders::All);
        assert!(Leaders::Of(GroupId(1)).include(GroupId(1)) && !Leaders::Of(GroupId(1)).include(GroupId(2)));
    }
}
