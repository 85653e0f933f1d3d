//! One operator at a time: a Swarm config as the cluster-wide lock.
//!
//! Creating a config whose name is taken fails, so creating `<cluster>-lock` is the atomic step. Its holder renews a
//! counter in the config's labels (the only part that Swarm lets change) every [`RENEW`]. Whoever finds the lock taken
//! watches that counter on its own monotonic clock: if it moves the holder lives and the newcomer is refused; if it stands
//! still for [`STALE`] the holder is gone, and the lock is taken over by an update that Swarm accepts only for the version
//! that was watched, so that of two who take over one wins. No clock of another machine is believed.
//!
//! In an emergency the lock is taken from a holder that lives ([`Lock::seize`]): it finds that out by its next renewal, and stops before
//! its next step.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::errors::Error as DockerError;
use bollard::models::{Config, ConfigSpec};
use bollard::query_parameters::UpdateConfigOptionsBuilder;
use tokio::task::JoinHandle;

use crate::context::Interrupt;
use crate::error::{Exit, Failure};
use crate::templates::artifacts::LABEL_CLUSTER;
use crate::topology::ClusterName;

/// How often the holder renews.
const RENEW: Duration = Duration::from_secs(2);
/// How long the counter must stand still before the lock is taken over: three renewals and one for a slow connection.
const STALE: Duration = Duration::from_secs(8);
/// How often a newcomer looks.
const LOOK: Duration = Duration::from_millis(500);

const OWNER: &str = "pgclusterctl.lock.owner";
const COMMAND: &str = "pgclusterctl.lock.command";
const SINCE: &str = "pgclusterctl.lock.since";
const PROCESS: &str = "pgclusterctl.lock.process";
const BEAT: &str = "pgclusterctl.lock.beat";

/// Why the lock is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else works on the cluster.
    #[error("{owner} is running `{command}` on this cluster since {since}")]
    Held {
        /// user@machine.
        owner: String,
        /// Their command.
        command: String,
        /// When they started, as their machine's clock had it.
        since: String,
    },
    /// Swarm did not answer.
    #[error("the cluster's lock cannot be taken")]
    Docker(#[source] DockerError),
}

impl Failure for LockError {
    fn exit(&self) -> Exit {
        match self {
            Self::Held { .. } => Exit::Refused,
            Self::Docker(_) => Exit::Unreachable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Held { .. } => vec![
                "wait until it ends; if it was killed, its lock is taken over after a few seconds without a sign of life"
                    .into(),
                "`pgclusterctl failover --break-lock` does not wait, and stops it: for a leader that must change now".into(),
            ],
            Self::Docker(_) => vec!["`pgclusterctl status` shows whether the Swarm has its quorum".into()],
        }
    }
}

/// The lock, held and renewed until it is released or this process ends.
#[derive(Debug)]
pub struct Lock {
    ways: Ways,
    name: String,
    /// Whose it is: of this process.
    process: String,
    lost: Arc<AtomicBool>,
    renewal: JoinHandle<()>,
}

/// Managers that the lock can be renewed through, the one that answered last first.
#[derive(Debug, Clone)]
struct Ways(Arc<Mutex<Vec<Docker>>>);

impl Ways {
    fn all(&self) -> Vec<Docker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, ways: Vec<Docker>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ways;
    }

    /// The lock as the first manager tells of it that answers, and that manager.
    async fn inspect(&self, name: &str) -> Option<(Docker, Option<Config>)> {
        let ways = self.all();
        for (at, docker) in ways.iter().enumerate() {
            let Ok(Ok(found)) = tokio::time::timeout(RENEW, inspect(docker, name)).await else { continue };
            if at > 0 {
                let mut first = ways.clone();
                first.swap(0, at);
                self.set(first);
            }
            return Some((docker.clone(), found));
        }
        None
    }
}

/// Who holds or wants the lock.
#[derive(Debug, Clone)]
struct Claim {
    owner: String,
    command: String,
    since: String,
    process: String,
}

impl Lock {
    /// Takes the lock for `command`, from a dead holder too; `told` is called once when that means waiting. Whoever takes it from us
    /// interrupts our work.
    pub async fn take(
        docker: &Docker,
        cluster: &ClusterName,
        command: &str,
        interrupt: &Interrupt,
        told: impl FnOnce(&str),
    ) -> Result<Self, LockError> {
        Ok(Self::ours(docker, cluster, command, interrupt, Some(told)).await?.0)
    }

    /// Takes the lock whoever holds it; `told` is called with who that was, once its command had the time to find out and stop.
    pub async fn seize(
        docker: &Docker,
        cluster: &ClusterName,
        command: &str,
        interrupt: &Interrupt,
        told: impl FnOnce(&str),
    ) -> Result<Self, LockError> {
        let (lock, taken) = Self::ours(docker, cluster, command, interrupt, None::<fn(&str)>).await?;
        if let Some(taken) = taken.filter(|config| !same_process_is_dead(config)) {
            tokio::time::sleep(RENEW + LOOK).await;
            let Claim { owner, command, since, .. } = Claim::of(&taken);
            told(&format!("the lock was taken from {owner} (`{command}`, since {since})"));
        }
        Ok(lock)
    }

    /// The lock, made ours and renewed from now on, and what it was when it was another's before; `told` as for [`acquire`].
    async fn ours(
        docker: &Docker,
        cluster: &ClusterName,
        command: &str,
        interrupt: &Interrupt,
        told: Option<impl FnOnce(&str)>,
    ) -> Result<(Self, Option<Config>), LockError> {
        let (name, claim) = (format!("{cluster}-lock"), Claim::ours(command));
        let taken = acquire(docker, &name, cluster, &claim, told).await?;
        let lost = Arc::new(AtomicBool::new(false));
        let ways = Ways(Arc::new(Mutex::new(vec![docker.clone()])));
        let process = claim.process.clone();
        let ours = renew(ways.clone(), name.clone(), cluster.clone(), claim);
        let (seen, interrupt) = (lost.clone(), interrupt.clone());
        let renewal = tokio::spawn(async move {
            ours.await;
            seen.store(true, Ordering::SeqCst);
            interrupt.lock_lost();
        });
        Ok((Self { ways, name, process, lost, renewal }, taken))
    }

    /// Renews it through any of these managers from now on: for whoever switches hosts off, or outlives one that was lost.
    pub fn through(&self, managers: impl IntoIterator<Item = Docker>) {
        self.ways.set(managers.into_iter().collect());
    }

    /// Whether somebody took the lock over, because this process slept or was cut off for long.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// Gives the lock back.
    pub async fn release(self) {
        self.renewal.abort();
        if !self.is_lost() {
            // If this fails, the next operator takes the lock over after the stale time.
            if let Some((docker, Some(found))) = self.ways.inspect(&self.name).await
                // Since the last renewal somebody may have taken it.
                && Claim::of(&found).process == self.process
            {
                let _ = docker.delete_config(&self.name).await;
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

impl Claim {
    fn ours(command: &str) -> Self {
        let user = std::env::var("USER").unwrap_or_else(|_| "someone".into());
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            owner: format!("{user}@{machine}"),
            command: command.to_owned(),
            since: jiff::Timestamp::now().round(jiff::Unit::Second).map_or_else(|_| String::new(), |t| t.to_string()),
            process: process_identity(std::process::id()),
        }
    }

    fn of(config: &Config) -> Self {
        let label = |key: &str| labels(config).and_then(|l| l.get(key)).cloned().unwrap_or_else(|| "someone".into());
        Self { owner: label(OWNER), command: label(COMMAND), since: label(SINCE), process: label(PROCESS) }
    }
}

/// Makes the lock ours; returns what it was when it was another's before. With `told`, which is called once when that means waiting, one
/// whose holder lives is left alone; without, it is taken all the same.
async fn acquire(
    docker: &Docker,
    name: &str,
    cluster: &ClusterName,
    claim: &Claim,
    told: Option<impl FnOnce(&str)>,
) -> Result<Option<Config>, LockError> {
    let patient = told.is_some();
    let mut told = told;
    loop {
        match docker.create_config(spec(name, cluster, claim, 0)).await {
            Ok(_) => return Ok(None),
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(LockError::Docker(error)),
        }
        // Released between the two calls: try to create it again.
        let Some(mut found) = inspect(docker, name).await? else { continue };
        if patient && !same_process_is_dead(&found) {
            if let Some(told) = told.take() {
                let holder = Claim::of(&found);
                told(&format!("the lock is held by {} (`{}`); looking whether it is alive", holder.owner, holder.command));
            }
            let Some(still) = watch(docker, name, found).await? else { continue };
            found = still;
        }
        if take_over(docker, name, cluster, claim, &found).await? {
            return Ok(Some(found));
        }
    }
}

fn labels(config: &Config) -> Option<&HashMap<String, String>> {
    config.spec.as_ref()?.labels.as_ref()
}

fn beat(config: &Config) -> Option<&String> {
    labels(config)?.get(BEAT)
}

fn version(config: &Config) -> i64 {
    let index = config.version.as_ref().and_then(|v| v.index).unwrap_or_default();
    i64::try_from(index).unwrap_or(i64::MAX)
}

fn spec(name: &str, cluster: &ClusterName, claim: &Claim, beat: u64) -> ConfigSpec {
    let labels = HashMap::from([
        (LABEL_CLUSTER.to_owned(), cluster.to_string()),
        (OWNER.to_owned(), claim.owner.clone()),
        (COMMAND.to_owned(), claim.command.clone()),
        (SINCE.to_owned(), claim.since.clone()),
        (PROCESS.to_owned(), claim.process.clone()),
        (BEAT.to_owned(), beat.to_string()),
    ]);
    // Swarm wants some data in a config; "lock" in base64.
    ConfigSpec { name: Some(name.to_owned()), labels: Some(labels), data: Some("bG9jaw==".into()), templating: None }
}

async fn inspect(docker: &Docker, name: &str) -> Result<Option<Config>, LockError> {
    match docker.inspect_config(name).await {
        Ok(config) => Ok(Some(config)),
        Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(LockError::Docker(error)),
    }
}

/// Watches a held lock: the last state of one that stood still, `None` of one that was released, an error of a live one.
async fn watch(docker: &Docker, name: &str, found: Config) -> Result<Option<Config>, LockError> {
    let since = Instant::now();
    let mut last = found;
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(now) = inspect(docker, name).await? else { return Ok(None) };
        if beat(&now) != beat(&last) || Claim::of(&now).process != Claim::of(&last).process {
            let Claim { owner, command, since, .. } = Claim::of(&now);
            return Err(LockError::Held { owner, command, since });
        }
        last = now;
        if since.elapsed() >= STALE {
            return Ok(Some(last));
        }
    }
}

/// Whether the update won; it does not when somebody else was faster.
async fn take_over(
    docker: &Docker,
    name: &str,
    cluster: &ClusterName,
    claim: &Claim,
    seen: &Config,
) -> Result<bool, LockError> {
    let options = UpdateConfigOptionsBuilder::default().version(version(seen)).build();
    match docker.update_config(name, spec(name, cluster, claim, 0), options).await {
        Ok(()) => Ok(true),
        Err(DockerError::DockerResponseServerError { message, .. }) if message.contains("out of sequence") => Ok(false),
        Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
        Err(error) => Err(LockError::Docker(error)),
    }
}

/// Ends when the lock is another's.
async fn renew(ways: Ways, name: String, cluster: ClusterName, claim: Claim) {
    for count in 1.. {
        tokio::time::sleep(RENEW).await;
        // A manager that is away for a moment costs a renewal, not the lock.
        let Some((docker, found)) = ways.inspect(&name).await else { continue };
        let ours = found.filter(|found| Claim::of(found).process == claim.process);
        let Some(ours) = ours else { return };
        let options = UpdateConfigOptionsBuilder::default().version(version(&ours)).build();
        let _ = docker.update_config(&name, spec(&name, &cluster, &claim, count), options).await;
    }
}

fn is_conflict(error: &DockerError) -> bool {
    matches!(error, DockerError::DockerResponseServerError { status_code: 409, .. })
}

/// Whether the holder ran on this very machine, since its last boot, and its process is gone: then nobody has to wait.
fn same_process_is_dead(found: &Config) -> bool {
    let Some(identity) = labels(found).and_then(|l| l.get(PROCESS)) else { return false };
    let mut parts = identity.split(':');
    let (Some(boot), Some(pid)) = (parts.next(), parts.next().and_then(|pid| pid.parse().ok())) else { return false };
    !boot.is_empty() && boot == boot_id() && *identity != process_identity(pid)
}

/// `<boot id>:<pid namespace>:…` cannot be forged by a reused pid: the start time of the process is part of it.
fn process_identity(pid: u32) -> String {
    let started = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    // Field 22 (start time in clock ticks since boot) counted after the command name, which may contain blanks (proc(5)).
    let started = started.as_deref().and_then(|s| s.rsplit_once(')')).and_then(|(_, rest)| rest.split_whitespace().nth(19));
    format!("{}:{pid}:{}", boot_id(), started.unwrap_or("gone"))
}

/// The kernel's boot id together with the PID namespace: inside another container the same pid means another process.
fn boot_id() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
    // The link reads `pid:[4026531836]`; a colon separates the parts of the identity.
    format!("{}-{}", boot.trim(), namespace.replace(':', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(process: &str) -> Config {
        let labels = HashMap::from([(PROCESS.to_owned(), process.to_owned())]);
        Config { spec: Some(ConfigSpec { labels: Some(labels), ..ConfigSpec::default() }), ..Config::default() }
    }

    #[test]
    fn only_a_dead_process_of_this_machine_is_known_to_be_dead() {
        assert!(!same_process_is_dead(&held_by(&process_identity(std::process::id()))), "we are alive");
        let reused = format!("{}:{}:1", boot_id(), std::process::id());
        assert!(same_process_is_dead(&held_by(&reused)), "another process has its pid now");
        assert!(!same_process_is_dead(&held_by("another-boot:1:1")), "of another machine nothing is known");
        assert!(!same_process_is_dead(&held_by("")));
    }
}
