//! Taking one member out, or one reader: what of it is still somewhere, and from that what is left to be done. Pure.
//!
//! As with a shard group ([`super::removal`]) nothing is remembered between two runs: each step removes what makes it necessary.
//! A reader goes at any time. A member that may lead is a copy that others may need: it goes from a group that is whole without it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::action::{Condition, Plan};
use super::condition::missing;
use super::planner::{self, Refusal, group_conditions};
use crate::observe::model::{Observed, Probe, ProbeError, Traces};
use crate::templates::Artifacts;
use crate::topology::model::Member;
use crate::topology::{GroupId, HostName, MemberName, Topology};

/// What of a member is still somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remains {
    /// Its name.
    pub member: MemberName,
    /// Its group.
    pub group: GroupId,
    /// The topology has it.
    pub listed: bool,
    /// It leads its group.
    pub leads: bool,
    /// Its Swarm service is there.
    pub service: bool,
    /// Hosts with a container of it, running or not.
    pub containers: Vec<HostName>,
    /// Hosts with a data volume of it.
    pub volumes: Vec<HostName>,
}

/// A step of taking a member out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Make another member the leader.
    HandOver {
        /// Of this group.
        group: GroupId,
    },
    /// Take it out of the topology file.
    Edit,
    /// Remove its Swarm service, and wait until its container is gone.
    Service,
    /// Delete its data volumes.
    Volumes {
        /// Where they are.
        hosts: Vec<HostName>,
    },
}

impl Remains {
    /// From what was seen; all that could not be seen when anything could not: on a guess nothing is destroyed.
    pub fn read(
        member: &MemberName,
        group: GroupId,
        topology: &Topology,
        observed: &Observed,
        traces: &BTreeMap<HostName, Probe<Traces>>,
    ) -> Result<Self, Vec<ProbeError>> {
        let mut unseen: Vec<ProbeError> = traces.values().filter_map(|probe| probe.failed().cloned()).collect();
        unseen.extend(observed.swarm.failed().cloned());
        unseen.extend(observed.patroni.failed().cloned());
        let (Some(swarm), Some(patroni)) = (observed.swarm.known(), observed.patroni.known()) else { return Err(unseen) };
        if !unseen.is_empty() {
            return Err(unseen);
        }
        let name = member.as_str();
        let hosts_with = |of: fn(&Traces) -> &Vec<String>| {
            let known = traces.iter().filter_map(|(host, probe)| Some((host, probe.known()?)));
            known.filter(|(_, traces)| of(traces).iter().any(|one| one == name)).map(|(host, _)| host.clone()).collect()
        };
        Ok(Self {
            member: member.clone(),
            group,
            listed: topology.member(name).is_some(),
            leads: patroni.get(&group).is_some_and(|state| state.leader == name),
            service: swarm.services.contains_key(name),
            containers: hosts_with(|traces| &traces.containers),
            volumes: hosts_with(|traces| &traces.volumes),
        })
    }

    /// What is left to be done, in order. It leads nobody when it stops. The file comes before that: `up` would bring back what it lists.
    pub fn steps(&self, keep_volumes: bool) -> Vec<Step> {
        let runs = self.service || !self.containers.is_empty();
        let hand_over = (self.leads && runs).then_some(Step::HandOver { group: self.group });
        let edit = self.listed.then_some(Step::Edit);
        let service = runs.then_some(Step::Service);
        let volumes = (!keep_volumes && !self.volumes.is_empty()).then(|| Step::Volumes { hosts: self.volumes.clone() });
        [hand_over, edit, service, volumes].into_iter().flatten().collect()
    }

    /// Why it must not go now. `with` is the cluster with it.
    pub fn refusals(&self, with: &Topology, artifacts: &Artifacts, observed: &Observed) -> Vec<Refusal> {
        let (name, group) = (&self.member, self.group);
        if GroupId::is_reader(name.as_str()) {
            return Vec::new();
        }
        let Some(own) = with.group(group) else {
            let why = format!("{group} is not in the topology");
            let instead = format!("`pgclusterctl scale in {}` removes what is left of the whole group", group.flag());
            return vec![Refusal::new(name.to_string(), why, instead)];
        };
        let mut needed = group_conditions(with, own);
        // That it is ill itself is a good reason to take it out. Which standby commits wait for changes within seconds, and is waited for.
        needed.retain(|condition| match condition {
            Condition::Member { member, .. } => member != name,
            Condition::Synchronous { .. } => false,
            _ => true,
        });
        let reasons = missing(&needed, with, artifacts, observed);
        if reasons.is_empty() {
            return Vec::new();
        }
        let why = format!("is not whole without {name}: {}", reasons.join("; "));
        let instead = "wait until it is; `pgclusterctl health` says what is wrong and what to do";
        vec![Refusal::new(group.to_string(), why, instead)]
    }

    /// The cluster with the member in it: it is reached where its container is, also when the file does not have it any more.
    pub fn with(&self, topology: &Topology) -> Topology {
        let mut with = topology.clone();
        let group = with.groups.iter_mut().find(|group| group.id == self.group);
        if let (Some(group), Some(host)) = (group, self.containers.first())
            && !GroupId::is_reader(self.member.as_str())
            && group.everyone().all(|member| member.name != self.member)
        {
            group.members.push(Member { name: self.member.clone(), host: host.clone(), group: self.group });
        }
        with
    }

    /// Another member leads, where this one does.
    pub fn hand_over(&self, with: &Topology) -> Plan {
        let mut plan = Plan::default();
        if let Some(group) = with.group(self.group) {
            planner::hand_over(&mut plan, with, group, &self.member);
        }
        plan
    }

    /// What holds before its data goes: the others follow their leader, and commits wait for one of them.
    pub fn whole_without(&self, without: &Topology) -> Plan {
        let mut plan = Plan::default();
        if let Some(group) = without.group(self.group).filter(|_| !GroupId::is_reader(self.member.as_str())) {
            plan.push(format!("{} is whole without {}", self.group, self.member), Vec::new(), group_conditions(without, group));
        }
        plan
    }

    /// What will be seen once it is gone, and another one leads: what `up` has to do then can be shown before.
    pub fn without(&self, observed: &Observed) -> Observed {
        let (mut after, name) = (observed.clone(), self.member.as_str());
        if let Probe::Known(swarm) = &mut after.swarm {
            swarm.services.remove(name);
        }
        if let Probe::Known(groups) = &mut after.patroni
            && let Some(state) = groups.get_mut(&self.group)
        {
            state.members.remove(name);
            if state.leader == name {
                let mut others = state.members.keys().filter(|other| !GroupId::is_reader(other));
                state.leader = others.next().cloned().unwrap_or_default();
            }
        }
        after
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HandOver { group } => write!(f, "switch {group} over to another member"),
            Self::Edit => write!(f, "take it out of the topology file"),
            Self::Service => write!(f, "stop and remove it; its sessions end"),
            Self::Volumes { hosts } => {
                let hosts: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
                write!(f, "delete its data volume on {}", hosts.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::health::fixture;
    use crate::templates;

    fn host(name: &str) -> HostName {
        HostName::new(name).expect("a name")
    }

    fn nothing(member: &str) -> Remains {
        Remains {
            member: fixture::member(member),
            group: GroupId::of_member(member).expect("a member"),
            listed: false,
            leads: false,
            service: false,
            containers: Vec::new(),
            volumes: Vec::new(),
        }
    }

    /// What is there of a member of the fixture, with its container and its volume on host3.
    fn read(member: &str, topology: &Topology, observed: &Observed) -> Result<Remains, Vec<ProbeError>> {
        let there = Traces { containers: vec![member.to_owned()], volumes: vec!["worker-9-1".into(), member.to_owned()] };
        let traces = BTreeMap::from([(host("host2"), Probe::Known(Traces::default())), (host("host3"), Probe::Known(there))]);
        let group = GroupId::of_member(member).expect("a member");
        Remains::read(&fixture::member(member), group, topology, observed, &traces)
    }

    fn words(steps: &[Step]) -> Vec<String> {
        steps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_leader_hands_over_first_and_its_data_goes_last() {
        let (topology, mut observed) = fixture::healthy();
        fixture::group(&mut observed, 0).leader = "coordinator-3".into();
        let remains = read("coordinator-3", &topology, &observed).expect("all is known");
        let expected = [
            "switch coordinator over to another member",
            "take it out of the topology file",
            "stop and remove it; its sessions end",
            "delete its data volume on host3",
        ];
        assert_eq!(words(&remains.steps(false)), expected);
        assert_eq!(words(&remains.steps(true)), expected[..3]);
        let done: Vec<String> = remains.hand_over(&topology).actions().map(ToString::to_string).collect();
        assert_eq!(done, ["switch coordinator over, away from coordinator-3"]);
        let after = remains.without(&observed);
        let state = &after.patroni.known().expect("known")[&GroupId(0)];
        assert!(state.leader == "coordinator-1" && !state.members.contains_key("coordinator-3"), "{state:?}");
        assert!(!after.swarm.known().expect("known").services.contains_key("coordinator-3"));
    }

    #[test]
    fn each_trace_has_its_step_and_what_is_unseen_is_no_permission() {
        let (topology, observed) = fixture::healthy();
        let none = nothing("worker-1-2");
        assert!(none.steps(false).is_empty());
        assert_eq!(Remains { listed: true, ..none.clone() }.steps(false), [Step::Edit]);
        assert_eq!(Remains { service: true, ..none.clone() }.steps(false), [Step::Service]);
        assert_eq!(Remains { containers: vec![host("host2")], ..none.clone() }.steps(false), [Step::Service]);
        // Its key outlives it by some seconds: nobody is there to hand over.
        assert!(Remains { leads: true, ..none }.steps(false).is_empty());
        let remains = read("worker-1-2", &topology, &observed).expect("all is known");
        assert!(remains.listed && remains.service && !remains.leads);
        assert_eq!(remains.volumes, [host("host3")]);
        let unseen = BTreeMap::from([(host("host3"), Probe::fail("host3", "no answer"))]);
        let name = fixture::member("worker-1-2");
        assert!(Remains::read(&name, GroupId(1), &topology, &observed, &unseen).is_err());
        assert_eq!(read("worker-1-2", &topology, &fixture::blind(&topology)).expect_err("blind").len(), 2);
    }

    #[test]
    fn a_group_that_is_not_whole_without_it_keeps_it() {
        let (topology, healthy) = fixture::healthy();
        let artifacts = templates::render(&topology).expect("renders");
        let refusals = |member: &str, change: &dyn Fn(&mut Observed)| -> Vec<String> {
            let mut observed = healthy.clone();
            change(&mut observed);
            let remains = read(member, &topology, &observed).expect("all is known");
            remains.refusals(&topology, &artifacts, &observed).iter().map(ToString::to_string).collect()
        };
        assert!(refusals("coordinator-3", &|_| {}).is_empty());
        let own = |o: &mut Observed| drop(fixture::leader(o, 0).standbys.remove("coordinator-3"));
        assert!(refusals("coordinator-3", &own).is_empty(), "that it is ill is no reason to keep it");
        let nobody = |o: &mut Observed| fixture::group(o, 0).sync_standbys.clear();
        assert!(refusals("coordinator-3", &nobody).is_empty(), "Patroni chooses the next within seconds");
        let other = |o: &mut Observed| drop(fixture::leader(o, 0).standbys.remove("coordinator-2"));
        let expected = "coordinator: is not whole without coordinator-3: coordinator-1 has no connection from coordinator-2";
        assert_eq!(refusals("coordinator-3", &other), [expected]);
        assert!(refusals("worker-1-2", &other).is_empty(), "other groups are not asked");
        assert_eq!(refusals("coordinator-3", &|o| fixture::group(o, 0).leader.clear()).len(), 1);
        assert_eq!(refusals("coordinator-3", &|o| fixture::silence_leader(o, 0)).len(), 1, "the unseen is no permission");
        assert_eq!(refusals("worker-1-2", &|o| o.citus = Probe::fail("coordinator", "no answer")).len(), 1);
        assert_eq!(refusals("worker-9-1", &|_| {}), ["worker-9-1: shard-9 is not in the topology"]);
        assert!(refusals("worker-9-reader-1", &|_| {}).is_empty());
    }

    #[test]
    fn one_that_the_file_has_lost_is_reached_where_it_runs() {
        let (topology, observed) = fixture::healthy();
        let mut file = topology.clone();
        file.groups[0].members.pop();
        let remains = read("coordinator-3", &file, &observed).expect("all is known");
        assert!(!remains.listed);
        assert_eq!(remains.with(&file), topology);
        assert_eq!(remains.with(&topology), topology);
        assert_eq!(nothing("coordinator-3").with(&file), file);
    }

    #[test]
    fn its_data_stays_as_long_as_commits_wait_for_it() {
        let (topology, mut observed) = fixture::healthy();
        let mut without = topology.clone();
        without.groups[0].members.pop();
        let artifacts = templates::render(&without).expect("renders");
        let remains = read("coordinator-3", &topology, &observed).expect("all is known");
        let plan = remains.whole_without(&without);
        let lacks = |observed: &Observed| missing(&plan.waves[0].until, &without, &artifacts, observed);
        fixture::group(&mut observed, 0).sync_standbys = vec!["coordinator-3".into()];
        assert_eq!(lacks(&observed), ["coordinator still counts on coordinator-3"]);
        fixture::group(&mut observed, 0).sync_standbys = vec!["coordinator-2".into()];
        assert!(lacks(&observed).is_empty());
        let reader = nothing("coordinator-reader-1").whole_without(&without);
        assert!(reader.waves.is_empty(), "nobody waits for a reader");
    }

    proptest! {
        /// Killed after any step, any number of times, it comes to its end; it never stops as the leader, nor while the file has it.
        #[test]
        fn killed_and_run_again_it_comes_to_its_end(cuts in prop::collection::vec(0usize..5, 0..5), leads: bool, keep: bool) {
            let here = vec![host("host3")];
            let mut remains = Remains {
                listed: true, leads, service: true, containers: here.clone(), volumes: here, ..nothing("coordinator-3")
            };
            for cut in cuts.into_iter().chain([usize::MAX]) {
                for step in remains.steps(keep).iter().take(cut) {
                    match step {
                        Step::HandOver { .. } => remains.leads = false,
                        Step::Edit => remains.listed = false,
                        Step::Service => {
                            prop_assert!(!remains.leads && !remains.listed);
                            remains.service = false;
                            remains.containers.clear();
                        }
                        Step::Volumes { .. } => {
                            prop_assert!(!remains.service && !remains.listed);
                            remains.volumes.clear();
                        }
                    }
                }
            }
            prop_assert!(remains.steps(keep).is_empty());
            prop_assert_eq!(remains.volumes.is_empty(), !keep);
        }
    }
}
