//! Checks of Citus' metadata against Patroni: does pg_dist_node name today's leaders, on every node, and nothing else.
//!
//! Silent in clusters without Citus, except that they pass. What [`super::repair`] makes of it is decided there.

use std::collections::{BTreeMap, BTreeSet};

use super::look::list;
use super::{Finding, Look};
use crate::observe::model::{CitusFacts, CitusNode, Probe};
use crate::topology::GroupId;
use crate::topology::model::Group;

/// Subject of what concerns Citus as a whole.
const CITUS: &str = "citus";
/// Patroni holds clients of a group back by giving its row a name that cannot be reached (patroni/postgresql/mpp/citus.py).
pub const DEMOTED: &str = "-demoted";

/// What puts right what Citus and Patroni do not put right by themselves.
const REPAIR: &str = "pgclusterctl health --repair";

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
        let primaries: Vec<&CitusNode> = primaries(&facts.nodes).filter(|n| n.group == group.id).collect();
        let leader = match look.group(group) {
            Ok(state) if !state.leader.is_empty() => &state.leader,
            _ => {
                return Finding::warn(group.id, "unknown: no leader to compare with", "see leader")
                    .following(Some(format!("leader {}", group.id)));
            }
        };
        let remedy = format!("wait for Patroni's next round; then {REPAIR}");
        match primaries.as_slice() {
            [] => Finding::fail(group.id, format!("not in pg_dist_node, {leader} leads"), remedy),
            [node] if node.name != *leader => {
                Finding::fail(group.id, format!("pg_dist_node says {}, {leader} leads", node.name), remedy)
            }
            [node] if !node.active => Finding::fail(group.id, format!("{} is not active", node.name), REPAIR),
            [node] => Finding::pass(group.id, format!("{} with {} shards", node.name, node.shards)),
            many => Finding::fail(group.id, format!("several primaries: {}", list(many.iter().map(|n| &n.name))), remedy),
        }
    })
}

/// Every primary node has synchronised metadata, and in fact the same leaders. After a change of leader Citus' daemon brings
/// it there, trying again every `citus.metadata_sync_retry_interval` (5 s by default); the coordinator's own is right meanwhile.
pub fn metadata(look: &Look<'_>) -> Vec<Finding> {
    each(look, |group, facts| {
        let Some(node) = primaries(&facts.nodes).find(|n| n.group == group.id) else {
            return Finding::warn(group.id, "unknown: not in pg_dist_node", "see citus-nodes")
                .following(Some(format!("citus-nodes {}", group.id)));
        };
        match (node.has_metadata, node.metadata_synced) {
            (true, true) => copy(look, group, facts),
            (true, false) => {
                Finding::warn(group.id, format!("{} has outdated metadata", node.name), format!("wait a minute; then {REPAIR}"))
            }
            (false, _) => Finding::fail(group.id, format!("{} has no metadata", node.name), REPAIR),
        }
    })
}

/// The coordinators have the original.
fn copy(look: &Look<'_>, group: &Group, facts: &CitusFacts) -> Finding {
    match facts.copies.get(&group.id) {
        _ if group.id.is_coordinator() => Finding::pass(group.id, "synchronised"),
        Some(Probe::Known(copy)) => match difference(&facts.nodes, copy) {
            None => Finding::pass(group.id, "synchronised"),
            Some(difference) => Finding::fail(group.id, format!("its copy of pg_dist_node says {difference}"), REPAIR),
        },
        unseen => {
            let reason = unseen.and_then(Probe::failed).map_or("its leader was not asked", |error| error.reason.as_str());
            let root = look.leader(group).is_err().then(|| format!("sql {}", group.id));
            Finding::warn(group.id, format!("unknown: {reason}"), "see sql of the group").following(root)
        }
    }
}

/// The first leader that a copy of pg_dist_node has otherwise, in words.
pub fn difference(original: &[CitusNode], copy: &[CitusNode]) -> Option<String> {
    let leaders = |nodes: &[CitusNode]| -> BTreeMap<GroupId, (String, bool)> {
        primaries(nodes).map(|n| (n.group, (n.name.clone(), n.active))).collect()
    };
    let (original, copy) = (leaders(original), leaders(copy));
    let groups: BTreeSet<&GroupId> = original.keys().chain(copy.keys()).collect();
    let group = groups.into_iter().find(|group| original.get(group) != copy.get(group))?;
    let words = |leader: Option<&(String, bool)>| match leader {
        None => "nobody".to_owned(),
        Some((name, true)) => name.clone(),
        Some((name, false)) => format!("{name} (not active)"),
    };
    Some(format!("{} for {group}, the coordinators' {}", words(copy.get(group)), words(original.get(group))))
}

/// Names that Patroni gave nodes for the time of a change of leader are gone, and so are groups that the topology does not have.
pub fn strays(look: &Look<'_>) -> Vec<Finding> {
    let facts = match &look.observed.citus {
        Probe::Known(facts) if look.topology.citus.is_some() => facts,
        // The same as for all checks of Citus.
        _ => return each(look, |group, _| Finding::pass(group.id, "")).into_iter().take(1).collect(),
    };
    let mut findings = Vec::new();
    for node in &facts.nodes {
        if look.topology.group(node.group).is_none() {
            let evidence = format!("{} with {} shards is in pg_dist_node, not in the topology", node.name, node.shards);
            findings.push(Finding::fail(node.group, evidence, REPAIR));
        } else if node.name.ends_with(DEMOTED) {
            let evidence = format!("{} is the name of a change of leader that did not end", node.name);
            findings.push(Finding::fail(node.group, evidence, format!("wait for Patroni's next round; then {REPAIR}")));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::pass(CITUS, format!("{} nodes, each of a group of the topology", facts.nodes.len())));
    }
    findings
}

fn primaries(nodes: &[CitusNode]) -> impl Iterator<Item = &CitusNode> {
    nodes.iter().filter(|node| node.role == "primary")
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
    fn a_copy_that_says_otherwise_fails_though_it_is_said_to_be_synchronised() {
        let stale = with(|o| fixture::copied(o, 2, 1).name = "worker-1-2".into(), metadata);
        assert_eq!(verdict_of(&stale, "shard-2"), Verdict::Fail);
        assert!(stale[2].evidence.contains("worker-1-2 for shard-1"), "{stale:?}");
        assert_eq!(verdict_of(&stale, "shard-1"), Verdict::Pass);
        let unseen = |o: &mut Observed| {
            fixture::citus(o).copies.insert(GroupId(2), Probe::fail("worker-2-1", "timeout"));
        };
        assert_eq!(verdict_of(&with(unseen, metadata), "shard-2"), Verdict::Warn);
    }

    #[test]
    fn names_and_groups_that_should_be_gone_fail() {
        assert_eq!(with(|_| (), strays)[0].verdict, Verdict::Pass);
        let demoted = with(|o| fixture::node(o, 1).name = "worker-1-1-demoted".into(), strays);
        assert_eq!(verdict_of(&demoted, "shard-1"), Verdict::Fail);
        let strange = with(|o| fixture::node(o, 3).group = GroupId(7), strays);
        assert_eq!(verdict_of(&strange, "shard-7"), Verdict::Fail);
    }

    #[test]
    fn unknown_metadata_fails_and_no_citus_passes() {
        assert_eq!(with(|o| o.citus = Probe::fail("coordinator-1", "timeout"), nodes)[0].verdict, Verdict::Fail);
        let (mut topology, observed) = fixture::healthy();
        topology.citus = None;
        let look = Look { topology: &topology, observed: &observed };
        for check in [nodes, metadata, strays] {
            let findings = check(&look);
            assert_eq!((findings.len(), findings[0].verdict), (1, Verdict::Pass));
        }
    }
}
