//! What puts pg_dist_node right again where neither Patroni nor Citus does.
//!
//! Patroni compares its keys with what it remembers of pg_dist_node, and reads that table again only after an error or a change of
//! the coordinators' leader; Citus' daemon sends metadata only to nodes that are marked as outdated. So what was changed behind
//! their backs stays wrong. `health --repair` calls [`repairs`] twice, some seconds apart, and does what was right both times.
//! Pure: nothing is changed here.

use std::fmt;

use serde::Serialize;

use super::Look;
use super::citus::{DEMOTED, difference};
use super::look::is_up;
use crate::observe::model::{CitusFacts, CitusNode, GroupState, Probe};
use crate::topology::GroupId;
use crate::topology::model::Group;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    /// Give nodes of a group the names that Patroni has, by `citus_update_node`, in one transaction and in this order: a name
    /// may be there once only.
    Rename {
        /// The group.
        group: GroupId,
        /// Each step.
        names: Vec<Rename>,
    },
    /// Make a node active and send it all metadata, by `citus_activate_node`; `start_metadata_sync_to_node` is the same.
    Activate {
        /// The group.
        group: GroupId,
        /// Its leader.
        name: String,
        /// Its port.
        port: i32,
    },
}

/// A node's new name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rename {
    /// nodeid.
    pub node: i32,
    /// What it is called.
    pub from: String,
    /// What it is to be called.
    pub to: String,
    /// Its port stays.
    pub port: i32,
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rename { group, names } => {
                let steps: Vec<_> =
                    names.iter().map(|n| format!("citus_update_node({}, '{}', {})", n.node, n.to, n.port)).collect();
                let from: Vec<_> = names.iter().map(|n| format!("{} to {}", n.from, n.to)).collect();
                write!(f, "{group}: rename {}: {}", from.join(", "), steps.join("; "))
            }
            Self::Activate { group, name, port } => {
                write!(f, "{group}: send {name} all metadata: citus_activate_node('{name}', {port})")
            }
        }
    }
}

/// What to do, and what to tell the operator instead of doing it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Repairs {
    /// In this order: names first, since metadata goes to a node by its name.
    pub steps: Vec<Repair>,
    /// Not to be done by guess.
    pub advice: Vec<String>,
}

impl Repairs {
    /// What was right both times.
    #[must_use]
    pub fn lasting(self, later: Self) -> Self {
        let steps = later.steps.into_iter().filter(|step| self.steps.contains(step)).collect();
        let advice = later.advice.into_iter().filter(|advice| self.advice.contains(advice)).collect();
        Self { steps, advice }
    }
}

/// What there is to do; in words why nothing may be done now.
pub fn repairs(look: &Look<'_>) -> Result<Repairs, String> {
    let facts = match &look.observed.citus {
        _ if look.topology.citus.is_none() => return Ok(Repairs::default()),
        Probe::Known(facts) => facts,
        Probe::Failed(error) => return Err(format!("pg_dist_node could not be read: {error}")),
    };
    let mut repairs = Repairs::default();
    for group in &look.topology.groups {
        let state = look.group(group).map_err(|error| error.to_string())?;
        at_rest(group, state)?;
        names(group, &state.leader, facts, &mut repairs);
    }
    for group in &look.topology.groups {
        let leader = &look.group(group).map_err(|error| error.to_string())?.leader;
        repairs.steps.extend(activation(group, leader, facts, &repairs.steps));
    }
    for node in facts.nodes.iter().filter(|node| look.topology.group(node.group).is_none()) {
        repairs.advice.push(strange(node));
    }
    Ok(repairs)
}

/// Whether Patroni is done with this group: while a leader changes, pg_dist_node is its business alone.
fn at_rest(group: &Group, state: &GroupState) -> Result<(), String> {
    let leads = state.members.get(&state.leader).is_some_and(|m| m.is_primary() && is_up(&m.state));
    if !leads {
        return Err(format!("{} has no leader that runs", group.id));
    }
    if state.failover_request.is_empty() { Ok(()) } else { Err(format!("a change of leader of {} is waiting", group.id)) }
}

fn names(group: &Group, leader: &str, facts: &CitusFacts, repairs: &mut Repairs) {
    let rows: Vec<&CitusNode> = facts.nodes.iter().filter(|node| node.group == group.id).collect();
    let taken = |name: &str| facts.nodes.iter().any(|node| node.name == name);
    let primary = match rows.iter().filter(|node| node.role == "primary").collect::<Vec<_>>().as_slice() {
        [primary] => **primary,
        [] => {
            let why = format!("{} is not in pg_dist_node", group.id);
            let how = "`pgclusterctl switchover --coordinator`: the new leader's Patroni reads pg_dist_node anew, and adds it";
            return repairs.advice.push(format!("{why}: {how}"));
        }
        _ => {
            return repairs
                .advice
                .push(format!("{} has several primaries in pg_dist_node: remove what is not {leader}", group.id));
        }
    };
    let rename =
        |node: &CitusNode, from: &str, to: &str| Rename { node: node.id, from: from.into(), to: to.into(), port: node.port };
    // What a standby's row may be called: a member that no row names.
    let base = primary.name.trim_end_matches(DEMOTED);
    let free = |base: &str| {
        let own = group.everyone().map(|m| m.name.as_str()).filter(|name| *name != leader && !taken(name));
        own.clone().find(|name| *name == base).or_else(|| own.clone().next()).map(str::to_owned)
    };
    let mut steps = Vec::new();
    if primary.name != leader {
        match facts.nodes.iter().find(|node| node.name == leader) {
            None => steps.push(rename(primary, &primary.name, leader)),
            Some(standby) if standby.group == group.id => {
                // As Patroni does it: the leader's name is taken by its former row, so both change by way of a third name.
                let known = group.members.iter().any(|member| member.name.as_str() == base);
                let usable = known && base != leader && (primary.name == base || !taken(base));
                let former = if usable { Some(base.to_owned()) } else { free(base) };
                let Some(former) = former else {
                    return repairs.advice.push(format!("{}: no name is left for the row of {leader} as a standby", group.id));
                };
                if primary.name == former {
                    steps.push(rename(primary, &primary.name, &format!("{former}{DEMOTED}")));
                }
                steps.push(rename(standby, leader, &former));
                let now = if primary.name == former { format!("{former}{DEMOTED}") } else { primary.name.clone() };
                steps.push(rename(primary, &now, leader));
            }
            Some(other) => {
                return repairs.advice.push(format!("{leader} leads {}, and pg_dist_node has it in {}", group.id, other.group));
            }
        }
    }
    if steps.is_empty() {
        for standby in rows.iter().filter(|node| node.role != "primary" && node.name.ends_with(DEMOTED)) {
            match free(standby.name.trim_end_matches(DEMOTED)) {
                Some(name) => steps.push(rename(standby, &standby.name, &name)),
                None => repairs.advice.push(remove(standby)),
            }
        }
    }
    if !steps.is_empty() {
        repairs.steps.push(Repair::Rename { group: group.id, names: steps });
    }
}

/// A node that is not active, or has not the metadata that it should have. Renaming marks every copy as outdated, and Citus'
/// daemon then sends them.
fn activation(group: &Group, leader: &str, facts: &CitusFacts, renames: &[Repair]) -> Option<Repair> {
    let node = facts.nodes.iter().find(|node| node.group == group.id && node.role == "primary")?;
    let stale = || facts.copies.get(&group.id).and_then(Probe::known).is_some_and(|c| difference(&facts.nodes, c).is_some());
    let outdated = !node.has_metadata || !node.metadata_synced || (!group.id.is_coordinator() && stale());
    let wanted = !node.active || (outdated && !renames.iter().any(|step| matches!(step, Repair::Rename { .. })));
    let named = node.name == leader || renames.iter().any(|s| matches!(s, Repair::Rename { group: g, .. } if *g == group.id));
    (wanted && named).then(|| Repair::Activate { group: group.id, name: leader.to_owned(), port: node.port })
}

fn strange(node: &CitusNode) -> String {
    if node.shards == 0 {
        return remove(node);
    }
    let CitusNode { group, name, shards, .. } = node;
    let drain = format!("`pgclusterctl shards drain --shard {}`", group.0);
    format!(
        "{group} ({name}) is not in the topology and holds {shards} shards: bring them away first, {drain}, or add the group"
    )
}

fn remove(node: &CitusNode) -> String {
    let CitusNode { group, name, port, .. } = node;
    let how = format!("`pgclusterctl psql -- -c \"select citus_remove_node('{name}', {port})\"`");
    format!("{group} ({name}) is nobody of the topology: if it is gone for good, remove it: {how}")
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::observe::model::Observed;

    fn after(change: impl Fn(&mut Observed)) -> Result<Repairs, String> {
        let (topology, mut observed) = fixture::healthy();
        change(&mut observed);
        repairs(&Look { topology: &topology, observed: &observed })
    }

    fn steps(change: impl Fn(&mut Observed)) -> Vec<String> {
        let found = after(change).expect("Patroni is at rest");
        assert_eq!(found.advice, Vec::<String>::new());
        found.steps.iter().map(Repair::to_string).collect()
    }

    fn lead(observed: &mut Observed, group: u32, name: &str) {
        fixture::group(observed, group).leader = name.into();
        let state = fixture::state(observed, group, name);
        (state.role, state.state) = ("primary".into(), "running".into());
    }

    #[test]
    fn nothing_is_done_where_all_is_well_or_there_is_no_citus() {
        assert_eq!(after(|_| ()), Ok(Repairs::default()));
        let (mut topology, observed) = fixture::healthy();
        topology.citus = None;
        assert_eq!(repairs(&Look { topology: &topology, observed: &observed }), Ok(Repairs::default()));
    }

    #[test]
    fn a_leader_whose_name_a_standby_has_changes_places_with_it() {
        let swapped = steps(|o| lead(o, 1, "worker-1-2"));
        let sql = "citus_update_node(11, 'worker-1-1-demoted', 5432); citus_update_node(12, 'worker-1-1', 5432); \
                   citus_update_node(11, 'worker-1-2', 5432)";
        assert_eq!(swapped.len(), 1, "{swapped:?}");
        assert!(swapped[0].ends_with(sql), "{swapped:?}");
        let halfway = steps(|o| {
            lead(o, 1, "worker-1-2");
            fixture::node(o, 1).name = "worker-1-1-demoted".into();
        });
        assert!(halfway[0].ends_with(sql.split_once("; ").expect("two").1), "{halfway:?}");
    }

    #[test]
    fn a_name_that_no_row_has_is_simply_written() {
        let back = steps(|o| fixture::node(o, 1).name = "worker-1-1-demoted".into());
        assert_eq!(back, ["shard-1: rename worker-1-1-demoted to worker-1-1: citus_update_node(11, 'worker-1-1', 5432)"]);
        let standby = steps(|o| {
            let row = fixture::citus(o).nodes.iter_mut().find(|n| n.id == 12).expect("a standby");
            row.name = "worker-1-2-demoted".into();
        });
        assert_eq!(standby, ["shard-1: rename worker-1-2-demoted to worker-1-2: citus_update_node(12, 'worker-1-2', 5432)"]);
    }

    #[test]
    fn metadata_is_sent_where_it_is_outdated_by_its_own_word_or_in_fact() {
        let sent = ["shard-2: send worker-2-1 all metadata: citus_activate_node('worker-2-1', 5432)"];
        assert_eq!(steps(|o| fixture::node(o, 2).metadata_synced = false), sent);
        assert_eq!(steps(|o| fixture::node(o, 2).has_metadata = false), sent);
        let inactive = |o: &mut Observed| {
            fixture::node(o, 2).active = false;
            (1..=3).for_each(|at| fixture::copied(o, at, 2).active = false);
        };
        assert_eq!(steps(inactive), sent);
        assert_eq!(steps(|o| fixture::copied(o, 2, 1).name = "worker-1-2".into()), sent);
        let renamed = steps(|o| {
            fixture::node(o, 1).name = "elsewhere".into();
            fixture::node(o, 2).metadata_synced = false;
        });
        assert_eq!(renamed.len(), 1, "Citus itself sends metadata after a change of names: {renamed:?}");
    }

    #[test]
    fn what_would_be_a_guess_is_told_and_not_done() {
        let told = |change: fn(&mut Observed)| {
            let found = after(change).expect("Patroni is at rest");
            assert_eq!(found.steps, Vec::new());
            found.advice.join("\n")
        };
        let strange = told(|o| {
            let mut row = fixture::node(o, 3).clone();
            (row.group, row.name, row.id) = (GroupId(7), "worker-7-1".into(), 71);
            fixture::citus(o).nodes.push(row);
            for group in 1..=3 {
                let rows = fixture::citus(o).nodes.clone();
                fixture::citus(o).copies.insert(GroupId(group), Probe::Known(rows));
            }
        });
        assert!(strange.contains("shards drain --shard 7"), "{strange}");
        let gone = told(|o| {
            fixture::citus(o).nodes.retain(|n| n.group.0 != 1);
            let rows = fixture::citus(o).nodes.clone();
            fixture::citus(o).copies.values_mut().for_each(|copy| *copy = Probe::Known(rows.clone()));
        });
        assert!(gone.contains("switchover --coordinator"), "{gone}");
    }

    #[test]
    fn a_name_that_another_group_has_is_told_and_nothing_is_sent_there() {
        let found = after(|o| {
            fixture::node(o, 1).name = "worker-2-1".into();
            fixture::node(o, 1).active = false;
            fixture::node(o, 2).name = "worker-1-1".into();
            fixture::node(o, 3).name = "worker-3-1-demoted".into();
        });
        let found = found.expect("Patroni is at rest");
        let steps: Vec<_> = found.steps.iter().map(Repair::to_string).collect();
        assert_eq!(steps, ["shard-3: rename worker-3-1-demoted to worker-3-1: citus_update_node(31, 'worker-3-1', 5432)"]);
        assert_eq!(found.advice[0], "worker-1-1 leads shard-1, and pg_dist_node has it in shard-2");
    }

    #[test]
    fn patroni_is_left_alone_while_it_changes_a_leader() {
        let wrong = |o: &mut Observed| fixture::node(o, 1).name = "worker-1-1-demoted".into();
        let refused = |change: fn(&mut Observed)| {
            after(|o| {
                wrong(o);
                change(o);
            })
            .expect_err("refused")
        };
        assert!(refused(|o| fixture::group(o, 1).leader.clear()).contains("no leader"));
        assert!(refused(|o| fixture::group(o, 2).failover_request = "{}".into()).contains("waiting"));
        assert!(refused(|o| fixture::state(o, 1, "worker-1-1").state = "starting".into()).contains("no leader"));
    }

    #[test]
    fn only_what_lasts_is_done() {
        let (now, later) = (after(|o| fixture::node(o, 2).metadata_synced = false), after(|_| ()));
        let (now, later) = (now.expect("some"), later.expect("none"));
        assert_eq!(now.clone().lasting(now.clone()), now);
        assert_eq!(now.lasting(later), Repairs::default());
        let told = Repairs { steps: Vec::new(), advice: vec!["add the group".into()] };
        assert_eq!(told.clone().lasting(told.clone()), told);
        assert_eq!(Repairs::default().lasting(told), Repairs::default());
    }
}
