//! Whether a condition holds in what was seen; pure, so that waiting is a loop of looking and nothing else.

use super::action::Condition;
use super::candidate::{Occasion, choose};
use super::dynamic;
use crate::observe::model::{GroupState, Observed, Probe};
use crate::templates::Artifacts;
use crate::topology::Topology;
use crate::topology::ids::{GroupId, MemberName};

/// Why conditions do not hold (yet); empty when all hold.
pub fn missing(conditions: &[Condition], topology: &Topology, artifacts: &Artifacts, observed: &Observed) -> Vec<String> {
    conditions.iter().filter_map(|condition| unmet(condition, topology, artifacts, observed)).collect()
}

/// Why a condition does not hold (yet), in a few words for the progress line; `None` when it holds.
pub fn unmet(condition: &Condition, topology: &Topology, artifacts: &Artifacts, observed: &Observed) -> Option<String> {
    match condition {
        Condition::EtcdMember { member } => etcd_member(member, observed),
        Condition::Leader { group } => leader(*group, observed).err(),
        Condition::Initialized { group } => initialized(*group, observed),
        Condition::Member { member, group } => member_state(member, *group, observed),
        Condition::Synchronous { group } => synchronous(*group, topology, observed),
        Condition::Candidate { group } => candidate(*group, topology, observed),
        Condition::Dynamic { group } => dynamic_state(*group, artifacts, observed),
        Condition::Registered { group } => registered(*group, observed),
        Condition::Running { service } => running(service, None, observed),
        Condition::Deployed { service, hash } => running(service, Some(hash), observed),
        Condition::Routes { proxy } => routes(proxy, observed),
        Condition::Vip => vip(topology, observed),
    }
}

fn etcd_member(member: &MemberName, observed: &Observed) -> Option<String> {
    match observed.etcd.get(member) {
        Some(Probe::Known(facts)) if facts.leader_id != 0 => None,
        Some(Probe::Known(_)) => Some(format!("{member} knows no leader")),
        Some(Probe::Failed(error)) => Some(format!("{member}: {}", error.reason)),
        None => Some(format!("{member} was not asked")),
    }
}

fn group_state(group: GroupId, observed: &Observed) -> Result<&GroupState, String> {
    match &observed.patroni {
        Probe::Known(groups) => groups.get(&group).ok_or_else(|| format!("{group} has no keys in etcd")),
        Probe::Failed(error) => Err(format!("etcd: {}", error.reason)),
    }
}

fn initialized(group: GroupId, observed: &Observed) -> Option<String> {
    match group_state(group, observed) {
        Ok(state) if state.initialized => None,
        Ok(_) => leader(group, observed).err().or_else(|| Some(format!("{group} is being initialised"))),
        Err(why) => Some(why),
    }
}

/// The leader's name, once it runs as primary.
fn leader(group: GroupId, observed: &Observed) -> Result<&str, String> {
    let state = group_state(group, observed)?;
    if state.leader.is_empty() {
        let doing = state.members.values().map(|m| m.state.as_str()).next().unwrap_or("no member started");
        return Err(format!("{group} has no leader ({doing})"));
    }
    match state.members.get(&state.leader) {
        Some(member) if member.is_primary() && member.state == "running" => Ok(&state.leader),
        Some(member) => Err(format!("{} is {} ({})", state.leader, member.role, member.state)),
        None => Err(format!("{} has no member key", state.leader)),
    }
}

/// A member's key in etcd is what it was in Patroni's last round, or before its container was restarted. So where the group's
/// leader was asked, both have to say that the member is well: a leader loses a standby's connection the moment it stops.
fn member_state(member: &MemberName, group: GroupId, observed: &Observed) -> Option<String> {
    let state = match group_state(group, observed) {
        Ok(state) => state,
        Err(why) => return Some(why),
    };
    let name = member.as_str();
    let told = match observed.leaders.get(&group) {
        Some(Probe::Known(facts)) => Some(facts),
        // Who leads is told by the keys, and where that is nobody, they say more.
        Some(Probe::Failed(error)) => return leader(group, observed).err().or_else(|| Some(error.to_string())),
        None => None,
    };
    if state.leader == name {
        let demoted = || told.filter(|facts| facts.in_recovery).map(|_| format!("{member} leads, but is in recovery"));
        return leader(group, observed).err().or_else(demoted);
    }
    let Some(own) = state.members.get(name) else { return Some(format!("{member} has not joined")) };
    if own.state != "streaming" {
        return Some(format!("{member} is {}", if own.state.is_empty() { "silent" } else { &own.state }));
    }
    let key = || state.members.get(&state.leader).map_or(0, |leader| leader.timeline);
    let timeline = told.map_or_else(key, |facts| facts.timeline);
    if own.timeline != timeline {
        return Some(format!("{member} is on timeline {}, not {timeline}", own.timeline));
    }
    match told?.standbys.get(name).map(|standby| standby.state.as_str()) {
        Some("streaming") => None,
        Some(other) => Some(format!("{member} is in {other}")),
        None => Some(format!("{} has no connection from {member}", state.leader)),
    }
}

/// One that left the topology a moment ago may be the only one with the last commits in Patroni's book, and nobody else is promoted then.
fn synchronous(group: GroupId, topology: &Topology, observed: &Observed) -> Option<String> {
    let members = topology.group(group).map(|group| &group.members[..]).unwrap_or_default();
    let is_member = |name: &String| members.iter().any(|member| member.name.as_str() == name);
    match group_state(group, observed) {
        Ok(GroupState { sync_standbys, .. }) if sync_standbys.iter().any(|name| !is_member(name)) => {
            let strangers: Vec<&str> = sync_standbys.iter().filter(|name| !is_member(name)).map(String::as_str).collect();
            Some(format!("{group} still counts on {}", strangers.join(", ")))
        }
        Ok(state) if state.sync_leader == state.leader && state.sync_standbys.iter().any(|s| *s != state.leader) => None,
        Ok(_) => Some(format!("{group} has no synchronous standby")),
        Err(why) => Some(why),
    }
}

fn candidate(group: GroupId, topology: &Topology, observed: &Observed) -> Option<String> {
    let state = match group_state(group, observed) {
        Ok(state) => state,
        Err(why) => return Some(why),
    };
    let lag = topology.failover.maximum_lag_on_failover;
    choose(topology.group(group)?, state, Occasion::Planned, lag, None).err().map(|none| none.to_string())
}

fn dynamic_state(group: GroupId, artifacts: &Artifacts, observed: &Observed) -> Option<String> {
    let wanted = artifacts.dynamic.get(&group)?;
    match group_state(group, observed) {
        Ok(state) if !dynamic::differs(wanted, &state.config) => None,
        Ok(_) => Some(format!("{group} has other Patroni settings")),
        Err(why) => Some(why),
    }
}

fn registered(group: GroupId, observed: &Observed) -> Option<String> {
    let leader = match leader(group, observed) {
        Ok(leader) => leader,
        Err(why) => return Some(why),
    };
    match &observed.citus {
        Probe::Failed(error) => Some(format!("pg_dist_node: {}", error.reason)),
        Probe::Known(citus) => match citus.nodes.iter().find(|n| n.group == group && n.role == "primary") {
            Some(node) if node.name == leader && node.active => None,
            Some(node) if node.name == leader => Some(format!("{leader} is not active in pg_dist_node")),
            Some(node) => Some(format!("pg_dist_node names {} for {group}, not {leader}", node.name)),
            None => Some(format!("pg_dist_node does not know {group}")),
        },
    }
}

fn running(service: &MemberName, hash: Option<&String>, observed: &Observed) -> Option<String> {
    let swarm = match &observed.swarm {
        Probe::Known(swarm) => swarm,
        Probe::Failed(error) => return Some(format!("Swarm: {}", error.reason)),
    };
    let Some(facts) = swarm.services.get(service.as_str()) else { return Some(format!("{service} is not deployed")) };
    if hash.is_some_and(|hash| *hash != facts.hash) {
        return Some(format!("{service} has its old definition"));
    }
    // The task says it, not Swarm's update state: that one also covers five seconds of watching afterwards.
    if hash.is_some_and(|hash| *hash != facts.task_hash) {
        return Some(format!("{service} is being updated"));
    }
    match facts.task_state.as_str() {
        "running" => None,
        state if facts.task_error.is_empty() => Some(format!("{service} is {state}")),
        state => Some(format!("{service} is {state}: {}", facts.task_error)),
    }
}

fn routes(proxy: &MemberName, observed: &Observed) -> Option<String> {
    match observed.proxies.get(proxy) {
        Some(Probe::Known(facts)) => {
            let down = facts.backends.iter().find(|(_, servers)| !servers.values().any(|s| s.starts_with("UP")))?;
            Some(format!("{proxy}: no server of {} is up", down.0))
        }
        Some(Probe::Failed(error)) => Some(format!("{proxy}: {}", error.reason)),
        None => Some(format!("{proxy} was not asked")),
    }
}

fn vip(topology: &Topology, observed: &Observed) -> Option<String> {
    let vip = topology.network.vip.as_ref()?.address.addr();
    let carries = |host: &&crate::topology::model::Proxy| {
        let facts = observed.hosts.get(&host.host).and_then(Probe::known);
        facts.is_some_and(|f| f.addresses.values().flatten().any(|a| *a == vip))
    };
    match topology.proxies.iter().filter(carries).count() {
        1 => None,
        0 => Some(format!("no proxy host carries {vip}")),
        n => Some(format!("{n} proxy hosts carry {vip}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::planner::group_conditions;
    use super::*;
    use crate::health::fixture;
    use crate::templates;

    /// What shard group 1 of the healthy cluster lacks after a change.
    fn lacking(change: impl Fn(&mut Observed)) -> Vec<String> {
        let (topology, mut observed) = fixture::healthy();
        change(&mut observed);
        let conditions = group_conditions(&topology, topology.group(GroupId(1)).expect("a group"));
        missing(&conditions, &topology, &templates::render(&topology).expect("renders"), &observed)
    }

    #[test]
    fn a_key_of_a_former_life_makes_no_member() {
        // Killed a moment ago, and started again by Swarm in a few seconds: its key still says that it streams.
        let killed = |o: &mut Observed| drop(fixture::leader(o, 1).standbys.remove("worker-1-2"));
        assert_eq!(lacking(killed), ["worker-1-1 has no connection from worker-1-2"]);
        let copied = |o: &mut Observed| fixture::standby(o, 1, "worker-1-2").state = "catchup".into();
        assert_eq!(lacking(copied), ["worker-1-2 is in catchup"]);
        // The keys of both are from before the leader's promotion.
        let promoted = |o: &mut Observed| fixture::leader(o, 1).timeline = 2;
        assert_eq!(lacking(promoted), ["worker-1-2 is on timeline 1, not 2"]);
    }

    #[test]
    fn a_leader_that_says_nothing_vouches_for_nobody() {
        let silent = lacking(|o| fixture::silence_leader(o, 1));
        assert_eq!(silent.len(), 2, "{silent:?}");
        assert!(silent.iter().all(|why| why == "worker-1-1 (SQL): connection timed out after 1 s"), "{silent:?}");
        let demoted = lacking(|o| fixture::leader(o, 1).in_recovery = true);
        assert_eq!(demoted, ["worker-1-1 leads, but is in recovery"]);
    }

    #[test]
    fn keys_have_to_agree_and_are_enough_where_nobody_asked_the_leader() {
        let unasked = |o: &mut Observed| drop(o.leaders.remove(&GroupId(1)));
        assert!(lacking(|_| {}).is_empty() && lacking(unasked).is_empty());
        let starting = |o: &mut Observed| fixture::state(o, 1, "worker-1-2").state = "starting".into();
        assert_eq!(lacking(starting), ["worker-1-2 is starting"]);
        let strayed = |o: &mut Observed| {
            unasked(o);
            fixture::state(o, 1, "worker-1-2").timeline = 4;
        };
        assert_eq!(lacking(strayed), ["worker-1-2 is on timeline 4, not 1"]);
    }
}
