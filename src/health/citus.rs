//! Checks of Citus' metadata against Patroni: does pg_dist_node name today's leaders, and does every node have the metadata.
//!
//! Silent in clusters without Citus, except that they pass.

use std::collections::BTreeSet;

use super::look::list;
use super::{Finding, Look};
use crate::observe::model::{CitusFacts, CitusNode, Probe};
use crate::topology::GroupId;
use crate::topology::model::Group;

/// Subject of what concerns Citus as a whole.
const CITUS: &str = "citus";

/// pg_dist_node names the leader of every group as its primary, and nobody else; and it names no other group.
pub fn nodes(look: &Look<'_>) -> Vec<Finding> {
    let mut findings = of_groups(look);
    let nodes = look.observed.citus.known().map(|facts| facts.nodes.as_slice()).unwrap_or_default();
    let strangers: BTreeSet<GroupId> =
        nodes.iter().map(|node| node.group).filter(|group| look.topology.group(*group).is_none()).collect();
    let stranger = |group: GroupId| {
        let remedy = format!("put it back into the topology, or `pgclusterctl scale in --shard {}`", group.0);
        Finding::fail(group, "in pg_dist_node, and not in the topology", remedy)
    };
    findings.extend(strangers.into_iter().map(stranger));
    findings
}

fn of_groups(look: &Look<'_>) -> Vec<Finding> {
    each(look, |group, facts| {
        let primaries: Vec<&CitusNode> = facts.nodes.iter().filter(|n| n.group == group.id && n.role == "primary").collect();
        let leader = match look.group(group) {
            Ok(state) if !state.leader.is_empty() => &state.leader,
            _ => {
                return Finding::warn(group.id, "unknown: no leader to compare with", "see leader")
                    .following(Some(format!("leader {}", group.id)));
            }
        };
        let remedy = "wait for Patroni's next round; then `SELECT citus_update_node(…)` on the coordinator";
        match primaries.as_slice() {
            [] => Finding::fail(group.id, format!("not in pg_dist_node, {leader} leads"), remedy),
            [node] if node.name != *leader => {
                Finding::fail(group.id, format!("pg_dist_node says {}, {leader} leads", node.name), remedy)
            }
            [node] if !node.active => {
                Finding::fail(group.id, format!("{} is not active", node.name), "SELECT citus_activate_node(…)")
            }
            [node] => Finding::pass(group.id, format!("{} with {} shards", node.name, node.shards)),
            many => Finding::fail(group.id, format!("several primaries: {}", list(many.iter().map(|n| &n.name))), remedy),
        }
    })
}

/// Every primary node has synchronised metadata. After a failover it is outdated for up to `citus.metadata_sync_interval`
/// (60 s by default); the coordinator's own is right meanwhile.
pub fn metadata(look: &Look<'_>) -> Vec<Finding> {
    each(look, |group, facts| {
        let Some(node) = facts.nodes.iter().find(|n| n.group == group.id && n.role == "primary") else {
            return Finding::warn(group.id, "unknown: not in pg_dist_node", "see citus-nodes")
                .following(Some(format!("citus-nodes {}", group.id)));
        };
        let remedy = "SELECT start_metadata_sync_to_all_nodes() on the coordinator";
        match (node.has_metadata, node.metadata_synced) {
            (true, true) => Finding::pass(group.id, "synchronised"),
            (true, false) => {
                Finding::warn(group.id, format!("{} has outdated metadata", node.name), format!("wait a minute; then {remedy}"))
            }
            (false, _) => Finding::fail(group.id, format!("{} has no metadata", node.name), remedy),
        }
    })
}

fn each(look: &Look<'_>, judge: impl Fn(&Group, &CitusFacts) -> Finding) -> Vec<Finding> {
    if look.topology.citus.is_none() {
        return vec![Finding::pass(CITUS, "the topology has no shard groups")];
    }
    match &look.observed.citus {
        Probe::Known(facts) => look.topology.groups.iter().map(|g| judge(g, facts)).collect(),
        Probe::Failed(error) => {
            let coordinators = GroupId::COORDINATOR;
            let asked = look.topology.group(coordinators).map(|g| look.leader(g).is_ok()).unwrap_or(false);
            let root = (!asked).then(|| format!("sql {coordinators}"));
            vec![Finding::fail(CITUS, format!("unknown: {}", error.reason), "see sql of the coordinator").following(root)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::fixture::{self, verdict_of, with};
    use super::*;
    use crate::observe::model::{Observed, Probe};

    #[test]
    fn metadata_must_name_todays_leader_once_and_actively() {
        let fails = |change: fn(&mut Observed)| {
            let findings = with(change, nodes);
            assert_eq!(verdict_of(&findings, "shard-1"), Verdict::Fail, "{findings:?}");
        };
        fails(|o| fixture::node(o, 1).name = "worker-1-2".into());
        fails(|o| fixture::node(o, 1).active = false);
        fails(|o| fixture::citus(o).nodes.retain(|n| n.group.0 != 1));
        fails(|o| {
            let mut twin = fixture::node(o, 1).clone();
            twin.name = "worker-1-2".into();
            fixture::citus(o).nodes.push(twin);
        });
        let leaderless = with(|o| fixture::group(o, 1).leader.clear(), nodes);
        assert_eq!(verdict_of(&leaderless, "shard-1"), Verdict::Warn);
    }

    #[test]
    fn a_group_that_the_topology_lacks_is_told() {
        let findings = with(|o| fixture::node(o, 3).group = GroupId(7), nodes);
        assert_eq!(verdict_of(&findings, "shard-7"), Verdict::Fail, "{findings:?}");
    }

    #[test]
    fn outdated_metadata_warns_and_none_fails() {
        assert_eq!(verdict_of(&with(|o| fixture::node(o, 1).metadata_synced = false, metadata), "shard-1"), Verdict::Warn);
        assert_eq!(verdict_of(&with(|o| fixture::node(o, 1).has_metadata = false, metadata), "shard-1"), Verdict::Fail);
    }

    #[test]
    fn unknown_metadata_fails_and_no_citus_passes() {
        assert_eq!(with(|o| o.citus = Probe::fail("coordinator-1", "timeout"), nodes)[0].verdict, Verdict::Fail);
        let (mut topology, observed) = fixture::healthy();
        topology.citus = None;
        let look = Look { topology: &topology, observed: &observed };
        assert_eq!(nodes(&look)[0].verdict, Verdict::Pass);
    }
}
