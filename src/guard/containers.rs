//! The containers of this host, as its Docker daemon tells of them: the proof that a member's processes are gone.
//!
//! A `die` event only says when to ask. The proof is the answer to a question that is asked after the lease was seen: members
//! are pinned to their host, so when none of a member's containers runs here, whoever took the lease is gone, whichever of them
//! it was. A daemon that is down or does not answer proves nothing.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{ContainerSummaryStateEnum, EventMessage};
use bollard::query_parameters::{EventsOptionsBuilder, ListContainersOptionsBuilder};
use bollard::{ClientVersion, Docker};
use futures_util::{Stream, StreamExt};

use super::error::GuardError;
use crate::remote::container::{SERVICE_LABEL, STACK_LABEL};

/// The daemon answers at once or is in trouble.
const TIMEOUT: Duration = Duration::from_secs(2);
/// What the images of this program are tested with; older daemons refuse a newer version.
const API: ClientVersion = ClientVersion { major_version: 1, minor_version: 41 };

/// A container of a member has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Died {
    /// The member.
    pub member: String,
    /// When, in nanoseconds since 1970 by this host's clock.
    pub at: i64,
}

/// This host's Docker daemon.
#[derive(Clone)]
pub struct Containers {
    docker: Docker,
    cluster: String,
}

impl std::fmt::Debug for Containers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Containers").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl Containers {
    /// Connects when it is first asked.
    pub fn connect(socket: &str, cluster: &str) -> Result<Self, GuardError> {
        let docker = Docker::connect_with_unix(socket, TIMEOUT.as_secs(), &API)
            .map_err(|source| GuardError::Docker { path: socket.to_owned(), source })?;
        Ok(Self { docker, cluster: cluster.to_owned() })
    }

    /// Whether the daemon answers.
    pub async fn answers(&self) -> bool {
        self.docker.ping().await.is_ok()
    }

    /// The deaths of this cluster's containers on this host, until the connection is lost.
    pub fn deaths(&self) -> impl Stream<Item = Result<Died, bollard::errors::Error>> + use<> {
        let filters = HashMap::from([
            ("type", vec!["container".to_owned()]),
            ("event", vec!["die".to_owned()]),
            ("label", vec![format!("{STACK_LABEL}={}", self.cluster)]),
        ]);
        let prefix = format!("{}_", self.cluster);
        self.docker
            .events(Some(EventsOptionsBuilder::default().filters(&filters).build()))
            .filter_map(move |event| std::future::ready(event.map(|e| died(e, &prefix)).transpose()))
    }

    /// Whether a container of the member has processes on this host: it runs, is paused, or is about to run again.
    pub async fn lives(&self, member: &str) -> Result<bool, bollard::errors::Error> {
        let filters = HashMap::from([("label", vec![format!("{SERVICE_LABEL}={}_{member}", self.cluster)])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found = self.docker.list_containers(Some(options)).await?;
        Ok(found.into_iter().any(|container| !is_over(container.state)))
    }
}

/// `created` has no process yet: a replacement that was not started when the question was answered cannot be the holder of
/// a lease that was seen before. A state that is not known is not over.
fn is_over(state: Option<ContainerSummaryStateEnum>) -> bool {
    matches!(
        state,
        Some(ContainerSummaryStateEnum::CREATED | ContainerSummaryStateEnum::EXITED | ContainerSummaryStateEnum::DEAD)
    )
}

fn died(event: EventMessage, prefix: &str) -> Option<Died> {
    let attributes = event.actor?.attributes?;
    let member = attributes.get(SERVICE_LABEL)?.strip_prefix(prefix)?.to_owned();
    Some(Died { member, at: event.time_nano? })
}

#[cfg(test)]
mod tests {
    use bollard::models::EventActor;

    use super::*;

    #[test]
    fn only_what_has_no_process_is_over() {
        use ContainerSummaryStateEnum::{CREATED, DEAD, EXITED, PAUSED, REMOVING, RESTARTING, RUNNING};
        assert!([CREATED, EXITED, DEAD].into_iter().all(|state| is_over(Some(state))));
        assert!([RUNNING, PAUSED, RESTARTING, REMOVING].into_iter().all(|state| !is_over(Some(state))));
        assert!(!is_over(None), "what is not known is not over");
    }

    #[test]
    fn a_death_is_that_of_a_member_of_this_cluster() {
        let event = |service: Option<&str>, at: Option<i64>| EventMessage {
            actor: Some(EventActor {
                attributes: Some(service.map(|name| (SERVICE_LABEL.to_owned(), name.to_owned())).into_iter().collect()),
                ..EventActor::default()
            }),
            time_nano: at,
            ..EventMessage::default()
        };
        let of = |event| died(event, "pgcluster_");
        assert_eq!(of(event(Some("pgcluster_worker-1-1"), Some(7))), Some(Died { member: "worker-1-1".into(), at: 7 }));
        assert_eq!(of(event(Some("pgcluster2_worker-1-1"), Some(7))), None, "another cluster's");
        assert_eq!(of(event(None, Some(7))), None, "no service's");
        assert_eq!(of(event(Some("pgcluster_worker-1-1"), None)), None, "without a time it proves nothing");
    }
}
