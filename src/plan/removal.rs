//! Taking a shard group out: what of it is still somewhere, and from that what is left to be done. Pure.
//!
//! Nothing is remembered between two runs. Each step removes what makes it necessary, so a command that was killed is run again,
//! and what was seen then says where to go on, also when the topology does not have the group any more.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::action::Condition;
use super::condition::missing;
use super::planner::{Refusal, group_conditions};
use crate::observe::model::{CitusNode, Observed, Probe, ProbeError, Traces};
use crate::templates::Artifacts;
use crate::topology::{GroupId, HostName, Topology};

/// What of a shard group is still somewhere.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Remains {
    /// The topology has it.
    pub listed: bool,
    /// Citus may give it shards.
    pub takes_shards: bool,
    /// Shards that it has; reference tables, which are everywhere, not counted.
    pub shards: u64,
    /// A job of Citus that is not over, whatever it moves.
    pub job: Option<i64>,
    /// Its rows in pg_dist_node.
    pub nodes: Vec<CitusNode>,
    /// Its Swarm services.
    pub services: Vec<String>,
    /// Its members with a container, running or not.
    pub containers: Vec<String>,
    /// Patroni's keys in etcd.
    pub keys: bool,
    /// Its members' data volumes, each with the host it is on.
    pub volumes: Vec<(HostName, String)>,
}

/// What Citus says of a group's shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Burden {
    /// Citus may give it shards.
    pub takes_shards: bool,
    /// Shards that it has.
    pub shards: u64,
    /// A job that is not over.
    pub job: Option<i64>,
}

/// A step of taking a group out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Move its shards to the others, or wait for the job that does.
    Drain {
        /// Shards that it has now.
        shards: u64,
        /// The job that runs already.
        job: Option<i64>,
    },
    /// Take it out of the topology file.
    Edit,
    /// Tell Citus to ask it for nothing any more: changes of reference tables and of definitions go on without it.
    Deactivate {
        /// Host name in pg_dist_node: its leader.
        node: String,
        /// Port there.
        port: i32,
    },
    /// Remove its Swarm services, and wait until no container is left.
    Services {
        /// Members with a service or a container.
        members: Vec<String>,
    },
    /// Remove its rows from pg_dist_node.
    Unregister {
        /// Host names there.
        nodes: Vec<String>,
    },
    /// Delete Patroni's keys.
    Keys,
    /// Delete its data volumes.
    Volumes {
        /// Each with its host.
        volumes: Vec<(HostName, String)>,
    },
}

impl Remains {
    /// From what was seen; all that could not be seen when anything could not: on a guess nothing is destroyed.
    pub fn read(
        group: GroupId,
        topology: &Topology,
        observed: &Observed,
        traces: &BTreeMap<HostName, Probe<Traces>>,
        burden: Burden,
    ) -> Result<Self, Vec<ProbeError>> {
        let mut unseen: Vec<ProbeError> = traces.values().filter_map(|probe| probe.failed().cloned()).collect();
        unseen.extend(observed.swarm.failed().cloned());
        unseen.extend(observed.patroni.failed().cloned());
        unseen.extend(observed.citus.failed().cloned());
        let (Some(swarm), Some(patroni), Some(citus)) =
            (observed.swarm.known(), observed.patroni.known(), observed.citus.known())
        else {
            return Err(unseen);
        };
        if !unseen.is_empty() {
            return Err(unseen);
        }
        let known = || traces.iter().filter_map(|(host, probe)| Some((host, probe.known()?)));
        let ours = |name: &&String| GroupId::of_member(name) == Some(group);
        Ok(Self {
            listed: topology.group(group).is_some(),
            takes_shards: burden.takes_shards,
            shards: burden.shards,
            job: burden.job,
            nodes: citus.nodes.iter().filter(|node| node.group == group).cloned().collect(),
            services: swarm.services.keys().filter(ours).cloned().collect(),
            containers: known().flat_map(|(_, traces)| traces.containers.clone()).collect(),
            keys: patroni.contains_key(&group),
            volumes: known()
                .flat_map(|(host, traces)| traces.volumes.iter().map(|volume| (host.clone(), volume.clone())))
                .collect(),
        })
    }

    /// Whether nothing of it is anywhere, the topology aside.
    pub fn is_empty(&self) -> bool {
        let Self { nodes, services, containers, keys, volumes, .. } = self;
        nodes.is_empty() && services.is_empty() && containers.is_empty() && !keys && volumes.is_empty()
    }

    /// What is there, for people: `services, data volumes`.
    pub fn told(&self) -> String {
        let parts = [
            (!self.services.is_empty(), "services"),
            (!self.containers.is_empty(), "containers"),
            (!self.nodes.is_empty(), "rows in pg_dist_node"),
            (self.keys, "keys in etcd"),
            (!self.volumes.is_empty(), "data volumes"),
        ];
        parts.into_iter().filter_map(|(there, name)| there.then_some(name)).collect::<Vec<_>>().join(", ")
    }

    /// What is left to be done, in order.
    ///
    /// The file comes before anything is destroyed: `up` would bring back what it lists. Citus forgets the group while it still
    /// answers, or what changes everywhere would fail in between. Services go before the rows of pg_dist_node, since Patroni
    /// registers a group that lives, and the keys last of what tells about it: as long as they are there, something may be left.
    pub fn steps(&self, keep_volumes: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.takes_shards || self.shards > 0 || (self.job.is_some() && !self.nodes.is_empty()) {
            steps.push(Step::Drain { shards: self.shards, job: self.job });
        }
        if self.listed {
            steps.push(Step::Edit);
        }
        let active = self.nodes.iter().find(|node| node.role == "primary" && node.active);
        steps.extend(active.map(|node| Step::Deactivate { node: node.name.clone(), port: node.port }));
        let mut members: Vec<String> = self.services.iter().chain(&self.containers).cloned().collect();
        members.sort();
        members.dedup();
        if !members.is_empty() {
            steps.push(Step::Services { members });
        }
        if !self.nodes.is_empty() {
            steps.push(Step::Unregister { nodes: self.nodes.iter().map(|node| node.name.clone()).collect() });
        }
        if self.keys {
            steps.push(Step::Keys);
        }
        if !keep_volumes && !self.volumes.is_empty() {
            steps.push(Step::Volumes { volumes: self.volumes.clone() });
        }
        steps
    }

    /// Why it must not be done now, all reasons at once. `takers` are the other groups that take shards.
    pub fn refusals(
        &self,
        group: GroupId,
        takers: usize,
        topology: &Topology,
        artifacts: &Artifacts,
        observed: &Observed,
    ) -> Vec<Refusal> {
        // Nothing of it is needed any more: taking the rest away is also the cure when it is broken.
        if !self.steps(true).iter().any(|step| matches!(step, Step::Drain { .. })) {
            return Vec::new();
        }
        let mut found = Vec::new();
        if takers == 0 {
            found.push(Refusal::new(
                group.to_string(),
                "is the last shard group that takes shards: they have nowhere to go",
                "let another one take shards (`pgclusterctl shards drain --shard N --undo`), or add one (`pgclusterctl scale add-shard`)",
            ));
        }
        if let Some(job) = self.job.filter(|_| self.takes_shards) {
            found.push(Refusal::new(
                format!("job {job} of Citus"),
                "is not over yet",
                "`pgclusterctl shards status --follow` waits for it, `pgclusterctl shards cancel` stops it",
            ));
        }
        for other in &topology.groups {
            // Its own standbys are not needed to empty it.
            let needed = if other.id == group {
                vec![Condition::Leader { group }, Condition::Registered { group }]
            } else {
                group_conditions(topology, other)
            };
            let reasons = missing(&needed, topology, artifacts, observed);
            if !reasons.is_empty() {
                let instead = "wait until it is whole again; `pgclusterctl health` says what is wrong and what to do";
                found.push(Refusal::new(other.id.to_string(), reasons.join("; "), instead));
            }
        }
        found
    }
}

/// What will be seen once its services are gone: what `up` has to do then can be shown before.
pub fn without(observed: &Observed, group: GroupId) -> Observed {
    let mut after = observed.clone();
    if let Probe::Known(swarm) = &mut after.swarm {
        swarm.services.retain(|name, _| GroupId::of_member(name) != Some(group));
    }
    after
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drain { job: Some(job), .. } => {
                write!(f, "wait for job {job} of Citus, and move what is left to the other groups")
            }
            Self::Drain { shards: 0, .. } => write!(f, "give it no shards any more; it has none"),
            Self::Drain { shards, .. } => write!(f, "move its {shards} shards to the other groups"),
            Self::Edit => write!(f, "take it out of the topology file"),
            Self::Deactivate { node, .. } => write!(f, "let Citus ask {node} for nothing any more"),
            Self::Services { members } => write!(f, "stop and remove {}", members.join(", ")),
            Self::Unregister { nodes } => write!(f, "remove {} from pg_dist_node", nodes.join(", ")),
            Self::Keys => write!(f, "delete Patroni's keys of it"),
            Self::Volumes { volumes } => {
                let volumes: Vec<String> = volumes.iter().map(|(host, member)| format!("{member} on {host}")).collect();
                write!(f, "delete the data volumes {}", volumes.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::health::fixture;
    use crate::topology::model::Member;

    const GROUP: GroupId = GroupId(3);

    fn members(topology: &Topology) -> Vec<Member> {
        topology.group(GROUP).expect("of the example").members.clone()
    }

    fn whole() -> Remains {
        let (topology, _) = fixture::healthy();
        let node = |(index, member): (usize, Member)| CitusNode {
            id: 30 + i32::try_from(index).expect("few"),
            group: GROUP,
            name: member.name.to_string(),
            port: 5432,
            role: if index == 0 { "primary" } else { "secondary" }.into(),
            active: true,
            has_metadata: true,
            metadata_synced: true,
            should_have_shards: true,
            shards: 10,
        };
        let members = members(&topology);
        let names: Vec<String> = members.iter().map(|member| member.name.to_string()).collect();
        Remains {
            listed: true,
            takes_shards: true,
            shards: 10,
            job: None,
            services: names.clone(),
            containers: names,
            keys: true,
            volumes: members.iter().map(|member| (member.host.clone(), member.name.to_string())).collect(),
            nodes: members.into_iter().enumerate().map(node).collect(),
        }
    }

    /// What a step leaves behind when it is done.
    fn apply(step: &Step, remains: &mut Remains) {
        match step {
            Step::Drain { .. } => (remains.takes_shards, remains.shards, remains.job) = (false, 0, None),
            Step::Edit => remains.listed = false,
            Step::Deactivate { node, .. } => {
                remains.nodes.iter_mut().filter(|n| n.name == *node).for_each(|n| n.active = false);
            }
            Step::Services { .. } => {
                remains.services.clear();
                remains.containers.clear();
            }
            Step::Unregister { .. } => remains.nodes.clear(),
            Step::Keys => remains.keys = false,
            Step::Volumes { .. } => remains.volumes.clear(),
        }
    }

    fn words(steps: &[Step]) -> Vec<String> {
        steps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_whole_group_is_emptied_first_and_its_volumes_go_last() {
        let expected = [
            "move its 10 shards to the other groups",
            "take it out of the topology file",
            "let Citus ask worker-3-1 for nothing any more",
            "stop and remove worker-3-1, worker-3-2",
            "remove worker-3-1, worker-3-2 from pg_dist_node",
            "delete Patroni's keys of it",
            "delete the data volumes worker-3-1 on host3, worker-3-2 on host1",
        ];
        assert_eq!(words(&whole().steps(false)), expected);
        assert_eq!(words(&whole().steps(true)), expected[..6]);
    }

    #[test]
    fn each_trace_alone_has_its_step() {
        let whole = whole();
        let only = |change: &dyn Fn(&mut Remains)| {
            let mut remains = Remains::default();
            change(&mut remains);
            assert!(remains.listed || !remains.is_empty());
            words(&remains.steps(false))
        };
        assert_eq!(only(&|r| r.services = whole.services.clone()), ["stop and remove worker-3-1, worker-3-2"]);
        assert_eq!(only(&|r| r.containers = vec!["worker-3-2".into()]), ["stop and remove worker-3-2"]);
        assert_eq!(only(&|r| r.keys = true), ["delete Patroni's keys of it"]);
        assert_eq!(only(&|r| r.listed = true), ["take it out of the topology file"]);
        assert_eq!(only(&|r| r.volumes = whole.volumes[..1].to_vec()), ["delete the data volumes worker-3-1 on host3"]);
        let standby = only(&|r| r.nodes = whole.nodes[1..].to_vec());
        assert_eq!(standby, ["remove worker-3-2 from pg_dist_node"], "a standby is never asked for anything");
        assert!(Remains::default().steps(false).is_empty());
    }

    #[test]
    fn reasons_against_it_are_told_at_once() {
        let (topology, mut observed) = fixture::healthy();
        let artifacts = crate::templates::render(&topology).expect("the example renders");
        let mut remains = whole();
        let refusals = |remains: &Remains, takers, observed: &Observed| {
            let found = remains.refusals(GROUP, takers, &topology, &artifacts, observed);
            found.iter().map(|refusal| refusal.what.clone()).collect::<Vec<_>>()
        };
        assert!(refusals(&remains, 2, &observed).is_empty());
        remains.job = Some(7);
        fixture::group(&mut observed, 1).members.remove("worker-1-2");
        assert_eq!(refusals(&remains, 0, &observed), ["shard-3", "job 7 of Citus", "shard-1"]);
        // Its own standby is not needed; its leader is.
        fixture::group(&mut observed, 3).members.remove("worker-3-2");
        assert_eq!(refusals(&remains, 1, &observed).len(), 2);
        fixture::group(&mut observed, 3).leader.clear();
        assert_eq!(refusals(&remains, 1, &observed).len(), 3);
        // It was emptied before: the job is ours, and nothing that is broken is in the way of the rest.
        (remains.takes_shards, remains.shards, remains.job) = (false, 0, None);
        assert!(refusals(&remains, 1, &observed).is_empty());
    }

    #[test]
    fn the_job_that_empties_it_is_waited_for_and_no_reason_against_it() {
        let (topology, observed) = fixture::healthy();
        let artifacts = crate::templates::render(&topology).expect("the example renders");
        let emptying = Remains { takes_shards: false, shards: 3, job: Some(7), ..whole() };
        assert_eq!(words(&emptying.steps(false))[0], "wait for job 7 of Citus, and move what is left to the other groups");
        let refusals = emptying.refusals(GROUP, 2, &topology, &artifacts, &observed);
        assert!(refusals.is_empty(), "{refusals:?}");
    }

    #[test]
    fn what_cannot_be_seen_is_no_permission() {
        let (topology, mut observed) = fixture::healthy();
        let host = topology.hosts[0].name.clone();
        let read = |observed: &Observed, traces: Probe<Traces>| {
            let traces = BTreeMap::from([(host.clone(), traces)]);
            Remains::read(GROUP, &topology, observed, &traces, Burden::default())
        };
        let volumes = Traces { containers: Vec::new(), volumes: vec!["worker-3-2".into()] };
        let seen = read(&observed, Probe::Known(volumes)).expect("all is known");
        assert_eq!(seen.volumes, [(host.clone(), "worker-3-2".to_owned())]);
        assert_eq!(seen.services, ["worker-3-1", "worker-3-2"]);
        assert!(seen.listed && seen.keys && seen.nodes.len() == 2);
        assert!(read(&observed, Probe::fail("host1", "no answer")).is_err());
        observed.patroni = Probe::fail("etcd", "no quorum");
        assert_eq!(read(&observed, Probe::Known(Traces::default())).expect_err("etcd").len(), 1);
    }

    #[test]
    fn what_up_does_then_is_known_before() {
        let (topology, observed) = fixture::healthy();
        let swarm = without(&observed, GROUP).swarm;
        let services = &swarm.known().expect("known").services;
        assert!(services.contains_key("worker-1-1") && !services.contains_key("worker-3-1"));
        assert_eq!(services.len() + 2, topology.services().len());
    }

    proptest! {
        /// Killed after any step, any number of times, it comes to its end; and nothing is destroyed before the file is written.
        #[test]
        fn killed_and_run_again_it_comes_to_its_end(cuts in prop::collection::vec(0usize..8, 0..5), keep: bool) {
            let mut remains = whole();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                for step in remains.steps(keep).iter().take(cut) {
                    let destroys = !matches!(step, Step::Drain { .. } | Step::Edit);
                    let unregisters = matches!(step, Step::Unregister { .. });
                    prop_assert!(!destroys || (!remains.listed && remains.shards == 0), "{}", step);
                    prop_assert!(!unregisters || remains.containers.is_empty());
                    apply(step, &mut remains);
                }
            }
            prop_assert!(remains.steps(keep).is_empty());
            prop_assert_eq!(remains.is_empty(), !keep);
        }
    }
}
