//! Processes: killed, stopped in order, or standing still.

use std::time::Duration;

use super::{inject, run};
use crate::consent::Consent;
use crate::drill::DrillError;
use crate::remote::container::Container;
use crate::remote::exec;
use crate::remote::fleet::Link;

/// Kills all processes of a container, or stops it in order.
pub async fn kill(container: &Container, signal: &str, _consent: &Consent) -> Result<(), DrillError> {
    let options = bollard::query_parameters::KillContainerOptionsBuilder::default().signal(signal).build();
    let killed = container.docker.kill_container(&container.id, Some(options)).await;
    killed.map_err(|source| DrillError::Docker { target: container.name.clone(), doing: "kill it", source })
}

/// Sends SIGKILL to the first process that a shell expression names by its id, from within the container.
pub async fn kill_process(container: &Container, pid: &str, _consent: &Consent) -> Result<(), DrillError> {
    let script = format!("pid=$({pid}) && test -n \"$pid\" && kill -KILL $pid");
    let argv = ["sh", "-c", script.as_str()];
    let done = exec::run(&container.docker, &container.id, "", &argv, bytes::Bytes::new()).await;
    let done = done.map_err(|source| DrillError::Docker { target: container.name.clone(), doing: "run kill in it", source })?;
    if done.status == 0 {
        return Ok(());
    }
    let reason = format!("the process was not found: {}", String::from_utf8_lossy(&done.stderr).trim());
    Err(DrillError::Fault { target: container.name.clone(), reason })
}

/// Sends SIGKILL to the first process of a container, from the host: the kernel keeps signals from within the container away
/// from it. Docker learns of it by the end of the container alone, as of any crash.
pub async fn kill_first(link: &Link, container: &Container, _consent: &Consent) -> Result<(), DrillError> {
    let id = &container.id;
    run(link, &format!("pid=$(docker inspect --format '{{{{.State.Pid}}}}' {id}) && test \"$pid\" -gt 1 && kill -KILL $pid"))
        .await
}

/// The postmaster: its id is on the first line of its lock file.
pub const POSTMASTER: &str = "head -n 1 /var/lib/postgresql/*/data/postmaster.pid";
/// The server process of a client, whose address and port its title has: any that dies takes PostgreSQL into recovery.
pub const BACKEND: &str = r"pgrep -af '^postgres: .*\([0-9]+\) ' | grep -v walsender | head -n 1 | cut -d ' ' -f 1";

/// What names of armed healings of [`freeze`] begin with.
pub const FROZEN: &str = "freeze-";

/// All processes of a container stand still for so long.
pub async fn freeze(link: &Link, container: &Container, time: Duration, consent: &Consent) -> Result<(), DrillError> {
    let id = &container.id;
    inject(
        link,
        &format!("{FROZEN}{}", container.name),
        &format!("docker pause {id}"),
        // Without an answer of the daemon nobody knows; a container that is gone, or goes on, needs nothing.
        &format!(
            "paused=$(docker ps --quiet --filter id={id} --filter status=paused) || exit 1\n\
             test -z \"$paused\" || docker unpause {id}"
        ),
        time,
        consent,
    )
    .await
}

/// Kills the Docker daemon with all that it has started, as a crash of it and its shims would; then starts it. In a lab the
/// daemon is started by the host's own first process.
pub async fn kill_dockerd(link: &Link, _consent: &Consent) -> Result<(), DrillError> {
    run(link, "kill -KILL $(cat /var/run/docker.pid)").await
}
