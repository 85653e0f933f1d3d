//! Taking a reader out: what of it is still somewhere, and from that what is left to be done. Pure.
//!
//! As with a shard group ([`super::removal`]) nothing is remembered between two runs: each step removes what makes it necessary.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::observe::model::{Observed, Probe, ProbeError, Traces};
use crate::topology::{HostName, Topology};

/// What of a reader is still somewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Remains {
    /// The topology has it.
    pub listed: bool,
    /// Its Swarm service is there.
    pub service: bool,
    /// It has a container, running or not.
    pub container: bool,
    /// Hosts with a data volume of it.
    pub volumes: Vec<HostName>,
}

/// A step of taking a reader out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
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
        reader: &str,
        topology: &Topology,
        observed: &Observed,
        traces: &BTreeMap<HostName, Probe<Traces>>,
    ) -> Result<Self, Vec<ProbeError>> {
        let mut unseen: Vec<ProbeError> = traces.values().filter_map(|probe| probe.failed().cloned()).collect();
        unseen.extend(observed.swarm.failed().cloned());
        let Some(swarm) = observed.swarm.known().filter(|_| unseen.is_empty()) else { return Err(unseen) };
        let is_it = |name: &String| name == reader;
        let known = || traces.iter().filter_map(|(host, probe)| Some((host, probe.known()?)));
        Ok(Self {
            listed: topology.member(reader).is_some(),
            service: swarm.services.contains_key(reader),
            container: known().any(|(_, traces)| traces.containers.iter().any(is_it)),
            volumes: known().filter(|(_, traces)| traces.volumes.iter().any(is_it)).map(|(host, _)| host.clone()).collect(),
        })
    }

    /// What is left to be done, in order. The file comes first: `up` would bring back what it lists.
    pub fn steps(&self, keep_volumes: bool) -> Vec<Step> {
        let edit = self.listed.then_some(Step::Edit);
        let service = (self.service || self.container).then_some(Step::Service);
        let volumes = (!keep_volumes && !self.volumes.is_empty()).then(|| Step::Volumes { hosts: self.volumes.clone() });
        [edit, service, volumes].into_iter().flatten().collect()
    }
}

/// What will be seen once its service is gone: what `up` has to do then can be shown before.
pub fn without(observed: &Observed, reader: &str) -> Observed {
    let mut after = observed.clone();
    if let Probe::Known(swarm) = &mut after.swarm {
        swarm.services.remove(reader);
    }
    after
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
    use super::*;
    use crate::health::fixture;

    const READER: &str = "worker-1-reader-1";

    fn host(name: &str) -> HostName {
        HostName::new(name).expect("a name")
    }

    #[test]
    fn each_trace_has_its_step_and_what_is_unseen_is_no_permission() {
        let (topology, observed) = fixture::healthy();
        let read = |probe| Remains::read(READER, &topology, &observed, &BTreeMap::from([(host("host3"), probe)]));
        let whole = Traces { containers: vec![READER.into()], volumes: vec!["worker-1-1".into(), READER.into()] };
        let remains = read(Probe::Known(whole)).expect("all is known");
        let steps = [Step::Service, Step::Volumes { hosts: vec![host("host3")] }];
        assert_eq!(remains.steps(false), steps);
        assert_eq!(remains.steps(true), steps[..1]);
        assert_eq!(Remains { listed: true, ..Remains::default() }.steps(false), [Step::Edit]);
        assert!(read(Probe::Known(Traces::default())).expect("all is known").steps(false).is_empty());
        assert!(read(Probe::fail("host3", "no answer")).is_err());
    }
}
