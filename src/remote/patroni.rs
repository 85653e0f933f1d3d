//! Patroni's REST interface, from inside the member's container: the login it wants stays there.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::container::Container;
use super::exec::{self, ExecStream};

/// Why Patroni did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PatroniError {
    /// The command in the container failed.
    #[error("{member}: its REST interface cannot be asked")]
    Exec {
        /// The member.
        member: String,
        /// Why.
        #[source]
        source: bollard::errors::Error,
    },
    /// The REST interface did not answer.
    #[error("{member}: Patroni does not answer: {words}")]
    Silent {
        /// The member.
        member: String,
        /// What was seen instead.
        words: String,
    },
    /// Patroni said no.
    #[error("{member}: {words} (HTTP {status})")]
    Rejected {
        /// The member.
        member: String,
        /// HTTP status.
        status: u16,
        /// Its words.
        words: String,
    },
}

/// Asks the leader to hand over to a standby. Returns once Patroni says that it is done.
pub async fn switchover(member: &Container, leader: &str, candidate: &str) -> Result<(), PatroniError> {
    prepare_switchover(member).await?.switchover(leader, candidate).await
}

/// A request for a switchover whose process is started already: what is left to do takes a round trip. Dropped, it sends an
/// empty body, which Patroni refuses.
pub struct Prepared {
    member: String,
    stream: ExecStream,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("member", &self.member).finish_non_exhaustive()
    }
}

/// Starts what will ask this member for a switchover.
pub async fn prepare_switchover(member: &Container) -> Result<Prepared, PatroniError> {
    let stream = exec::stream(&member.docker, &member.id, "", &["patroni-api", "POST", "/switchover"])
        .await
        .map_err(|source| PatroniError::Exec { member: member.name.clone(), source })?;
    Ok(Prepared { member: member.name.clone(), stream })
}

impl Prepared {
    /// Asks now; returns once Patroni says that it is done.
    pub async fn switchover(mut self, leader: &str, candidate: &str) -> Result<(), PatroniError> {
        let body = json!({ "leader": leader, "candidate": candidate }).to_string();
        let mut answer = Vec::new();
        let asked = async {
            self.stream.write_all(body.as_bytes()).await?;
            self.stream.shutdown().await?;
            self.stream.read_to_end(&mut answer).await
        };
        let complaint = asked.await.err().map(|error| error.to_string()).unwrap_or_default();
        read(&self.member, &String::from_utf8_lossy(&answer), &complaint).map(drop)
    }
}

/// Makes a member the leader although the leader is lost or not to be trusted.
pub async fn failover(member: &Container, candidate: &str) -> Result<(), PatroniError> {
    request(member, "POST", "/failover", &json!({ "candidate": candidate })).await.map(drop)
}

/// Restarts PostgreSQL of this member, if settings wait for it. When none does any more (a leader that was demoted has
/// restarted by that), there is nothing to do.
pub async fn restart(member: &Container) -> Result<(), PatroniError> {
    /// Patroni's words (api.py) for a restart whose conditions, here `restart_pending`, do not hold.
    const NOT_PENDING: &str = "restart conditions are not satisfied";
    match request(member, "POST", "/restart", &json!({ "restart_pending": true })).await {
        Err(PatroniError::Rejected { words, .. }) if words.contains(NOT_PENDING) => Ok(()),
        answer => answer.map(drop),
    }
}

/// Announces a change of a shard group's leader that never comes, to the coordinators' leader. It opens a transaction for it, and
/// takes it back after a second (`CitusHandler.handle_event` and `run`, patroni/postgresql/mpp/citus.py of Patroni 4.0).
pub async fn announce(coordinator: &Container, group: u32, leader: &str) -> Result<(), PatroniError> {
    let event = json!({ "type": "before_promote", "group": group, "leader": leader, "timeout": 1, "cooldown": 1 });
    request(coordinator, "POST", "/mpp", &event).await.map(drop)
}

/// One request; the answer's text when its status is 2xx. `patroni-api` is part of the node image: it reads the login from
/// the container's secret, the body from stdin, and prints the status on the first line.
async fn request(member: &Container, method: &str, path: &str, body: &Value) -> Result<String, PatroniError> {
    let name = || member.name.clone();
    let argv = ["patroni-api", method, path];
    let output = exec::run(&member.docker, &member.id, "", &argv, Bytes::from(body.to_string()))
        .await
        .map_err(|source| PatroniError::Exec { member: name(), source })?;
    read(&member.name, &output.text(), &String::from_utf8_lossy(&output.stderr))
}

/// What `patroni-api` printed: the status on the first line, then the answer's text.
fn read(member: &str, text: &str, complaint: &str) -> Result<String, PatroniError> {
    let member = member.to_owned();
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let words = rest.trim().to_owned();
    match first.trim().parse::<u16>() {
        Ok(200..=299) => Ok(words),
        Ok(status) if status > 0 => Err(PatroniError::Rejected { member, status, words }),
        _ => Err(PatroniError::Silent { member, words: complaint.trim().to_owned() }),
    }
}
