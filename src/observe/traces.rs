//! What hosts keep of a shard group: containers and volumes, also when no service and no topology knows the group any more.

use std::collections::{BTreeMap, HashMap};

use bollard::query_parameters::{ListContainersOptionsBuilder, ListVolumesOptionsBuilder};
use futures_util::future::join_all;

use super::model::{Probe, Traces};
use super::patience::Patience;
use super::within;
use crate::error::one_line;
use crate::remote::container::{SERVICE_LABEL, STACK_LABEL};
use crate::remote::fleet::{Fleet, Link};
use crate::templates::artifacts::LABEL_CLUSTER;
use crate::topology::{ClusterName, GroupId, HostName, Topology};

/// Asks all hosts at the same time.
pub async fn collect(topology: &Topology, fleet: &Fleet, group: GroupId) -> BTreeMap<HostName, Probe<Traces>> {
    let looks = topology.hosts.iter().map(|host| async move {
        let look = async {
            let link = fleet.link(&host.name).map_err(|e| one_line(&e))?;
            on_host(link, &topology.name, group).await.map_err(|e| one_line(&e))
        };
        (host.name.clone(), within(host.name.as_str(), Patience::LONG.daemon, look).await)
    });
    join_all(looks).await.into_iter().collect()
}

async fn on_host(link: &Link, cluster: &ClusterName, group: GroupId) -> Result<Traces, bollard::errors::Error> {
    let label = |name: &str| HashMap::from([("label".to_owned(), vec![format!("{name}={cluster}")])]);
    let containers = ListContainersOptionsBuilder::default().all(true).filters(&label(STACK_LABEL)).build();
    let volumes = ListVolumesOptionsBuilder::default().filters(&label(LABEL_CLUSTER)).build();
    let (containers, volumes) =
        tokio::try_join!(link.docker.list_containers(Some(containers)), link.docker.list_volumes(Some(volumes)))?;
    let ours = |name: &str, prefix: String| {
        let member = name.strip_prefix(&prefix)?;
        (GroupId::of_member(member) == Some(group)).then(|| member.to_owned())
    };
    let mut traces = Traces {
        containers: containers
            .iter()
            .filter_map(|container| ours(container.labels.as_ref()?.get(SERVICE_LABEL)?, format!("{cluster}_")))
            .collect(),
        volumes: volumes.volumes.iter().flatten().filter_map(|volume| ours(&volume.name, format!("{cluster}-"))).collect(),
    };
    traces.containers.sort();
    traces.containers.dedup();
    traces.volumes.sort();
    Ok(traces)
}
