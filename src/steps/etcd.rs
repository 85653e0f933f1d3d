//! etcd's members: one whose disk is lost gives its place to a new one of the same name.
//!
//! The order is what keeps the quorum's promises: a member is removed, added under a new id, and only then started, with an empty
//! disk that was told to join. Whether that is right is decided by `plan::replace`.

use std::time::{Duration, Instant};

use super::{StepError, World};
use crate::error::one_line;
use crate::observe::model::{EtcdDisk, EtcdPeer};
use crate::remote::etcd::{Etcd, EtcdError};
use crate::templates::artifacts::{LABEL_CLUSTER, Service};
use crate::topology::ids::{HostName, MemberName};
use crate::topology::model::EtcdMember;

/// How long etcd has to become calm. It exchanges members only when all others have been connected for five seconds
/// (`strict-reconfig-check`), and who replaces a host may be earlier than the election that the loss of it began.
const CALM: Duration = Duration::from_secs(20);
/// Pause between two tries.
const LOOK: Duration = Duration::from_secs(1);
/// Data folder of a member in its container.
const HOME: &str = "/var/lib/etcd";

/// Takes a member out of the store. One that is gone already was taken out by an earlier run.
pub async fn remove(world: World<'_>, id: u64) -> Result<(), StepError> {
    let change = async |etcd: Etcd| match etcd.members().await?.iter().any(|peer| peer.id == id) {
        true => etcd.remove_member(id).await,
        false => Ok(()),
    };
    when_calm(world, change).await
}

/// Adds a member that is not in the store.
pub async fn add(world: World<'_>, member: &MemberName) -> Result<(), StepError> {
    let url = spec(world, member)?.peer_url();
    let change = async |etcd: Etcd| match etcd.members().await?.iter().any(|peer| peer.url == url) {
        true => Ok(()),
        false => etcd.add_member(&url).await,
    };
    when_calm(world, change).await
}

/// Asks something of etcd that may be asked again, until it has an answer or had time enough for one.
async fn when_calm<T>(world: World<'_>, ask: impl AsyncFn(Etcd) -> Result<T, EtcdError>) -> Result<T, StepError> {
    let started = Instant::now();
    loop {
        let answer = match world.fleet.etcd(world.topology).await {
            Ok(etcd) => ask(etcd).await.map_err(refused),
            Err(unreached) => Err(unreached.into()),
        };
        match answer {
            Err(_) if started.elapsed() < CALM => tokio::time::sleep(LOOK).await,
            last => return last,
        }
    }
}

/// Writes into the member's volume on that host whom to join. The image's entrypoint reads it as long as there is no log.
pub async fn seed(world: World<'_>, member: &MemberName, host: &HostName) -> Result<(), StepError> {
    let members = when_calm(world, async |etcd: Etcd| etcd.members().await).await?;
    let own = spec(world, member)?;
    let cluster = initial_cluster(own, &members);
    let service = service(world, member)?;
    let label = format!("{LABEL_CLUSTER}={}", world.topology.name);
    let write = format!("test ! -d {HOME}/data/member/wal && rm -rf {HOME}/data && cat > {HOME}/join");
    let command = service.volumes.iter().map(|volume| {
        format!(
            "docker volume create --label {label} {volume} >/dev/null && \
             docker run --rm -i --network none --entrypoint sh --volume {volume}:{HOME} {} -c '{write}'",
            service.image
        )
    });
    let command = command.collect::<String>();
    world.fleet.link(host)?.ssh.run_ok(&command, cluster).await?;
    Ok(())
}

/// What that host's volume of the member holds.
pub async fn disk(world: World<'_>, member: &MemberName, host: &HostName) -> Result<EtcdDisk, StepError> {
    let service = service(world, member)?;
    let look = format!("if test -d {HOME}/data/member/wal; then echo log; elif test -s {HOME}/join; then echo seeded; fi");
    let command = service.volumes.iter().map(|volume| {
        format!(
            "! docker volume inspect {volume} >/dev/null 2>&1 || \
             docker run --rm --pull never --network none --entrypoint sh --volume {volume}:{HOME} {} -c '{look}'",
            service.image
        )
    });
    let command = command.collect::<String>();
    let output = world.fleet.link(host)?.ssh.run_ok(&command, "").await?;
    Ok(match output.text().trim() {
        "log" => EtcdDisk::Log,
        "seeded" => EtcdDisk::Seeded,
        _ => EtcdDisk::Empty,
    })
}

/// All members as etcd's flag `--initial-cluster` wants them, which must name exactly those of the store's list. One that has not
/// started has no name yet.
fn initial_cluster(own: &EtcdMember, members: &[EtcdPeer]) -> String {
    let name = |peer: &EtcdPeer| if peer.url == own.peer_url() { own.name.to_string() } else { peer.name.clone() };
    members.iter().map(|peer| format!("{}={}", name(peer), peer.url)).collect::<Vec<_>>().join(",")
}

fn spec<'w>(world: World<'w>, member: &MemberName) -> Result<&'w EtcdMember, StepError> {
    let found = world.topology.etcd.iter().find(|m| m.name == *member);
    found.ok_or_else(|| StepError::NotRendered(member.to_string()))
}

fn service<'w>(world: World<'w>, member: &MemberName) -> Result<&'w Service, StepError> {
    world.artifacts.service(member.as_str()).ok_or_else(|| StepError::NotRendered(member.to_string()))
}

fn refused(error: EtcdError) -> StepError {
    StepError::Refused { target: "etcd".into(), reason: one_line(&error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_without_a_name_gets_its_own() {
        let topology = crate::topology::example("three-hosts");
        let peer = |id, name: &str, url: &str| EtcdPeer { id, name: name.into(), url: format!("http://{url}:2380") };
        let members = [peer(2, "etcd-2", "etcd-2"), peer(3, "etcd-3", "etcd-3"), peer(9, "", "etcd-1")];
        let expected = "etcd-2=http://etcd-2:2380,etcd-3=http://etcd-3:2380,etcd-1=http://etcd-1:2380";
        assert_eq!(initial_cluster(&topology.etcd[0], &members), expected);
    }
}
