//! What the cluster's own programs said during a run: the guards' decisions, Patroni's changes of role.
//!
//! Times are the hosts' clocks, turned into the workload's by this machine's: as exact as the clocks agree, which `health` checks.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;
use futures_util::future::join_all;

use super::report::Event;
use crate::error::one_line;
use crate::steps::World;

/// A log that does not end is cut.
const PATIENCE: Duration = Duration::from_secs(15);
/// Words of Patroni that tell of a change (patroni/ha.py). All else is its regular report.
const PATRONI: [&str; 10] = [
    "promoted self to leader",
    "because i am not the healthiest node",
    "demoted self",
    "demoting self",
    "Demoting self",
    "acquired session lock as a leader",
    "cleared rewind state",
    "running pg_rewind",
    "Software Watchdog",
    "PAUSE",
];
/// Words of a guard that tell of nothing.
const ROUTINE: [&str; 2] = ["event=start", "event=container_died"];

/// The instant at which a workload's clock began.
#[derive(Debug, Clone, Copy)]
pub struct Epoch(Duration);

impl Epoch {
    /// Now is `elapsed` after it.
    pub fn from_elapsed(elapsed: Duration) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(now.saturating_sub(elapsed))
    }

    /// A time stamp of Docker's on the workload's clock; `None` when it is before its beginning.
    fn place(self, stamp: &str) -> Option<u64> {
        let stamp: jiff::Timestamp = stamp.parse().ok()?;
        let since = Duration::from_millis(u64::try_from(stamp.as_millisecond()).ok()?).checked_sub(self.0)?;
        u64::try_from(since.as_millis()).ok()
    }
}

/// What was said.
#[derive(Debug, Default)]
pub struct Journal {
    /// Everything worth telling.
    pub events: Vec<Event>,
    /// Services whose log could not be read to its end, and why.
    pub unread: BTreeMap<String, String>,
}

/// Everything worth telling since the epoch, of all members and guards.
pub async fn collect(world: World<'_>, epoch: Epoch) -> Journal {
    let names: Vec<String> = world.topology.services().into_keys().collect();
    let told = names.iter().filter(|n| ["coordinator-", "worker-", "guard-"].iter().any(|p| n.starts_with(p)));
    let mut journal = Journal::default();
    for (name, (text, ended)) in join_all(told.map(|name| async move { (name, log(world, name, epoch).await) })).await {
        let mut events: Vec<Event> = text.lines().filter_map(|line| event(name, line, epoch)).collect();
        // What is said in every round is told once.
        events.dedup_by(|again, before| again.text == before.text);
        journal.events.extend(events);
        journal.unread.extend(ended.err().map(|why| (name.clone(), why)));
    }
    journal
}

/// A service's log since the epoch, of all its containers that are still there: one that died has said what matters most. With the
/// reason why there may be more.
async fn log(world: World<'_>, name: &str, epoch: Epoch) -> (String, Result<(), String>) {
    let mut text = String::new();
    let read = async {
        let containers = world.fleet.every(world.topology, name).await.map_err(|error| one_line(&error))?;
        if containers.is_empty() {
            return Err("it has no container".to_owned());
        }
        let since = i32::try_from(epoch.0.as_secs()).unwrap_or_default();
        for container in containers {
            let options = LogsOptionsBuilder::default().stdout(true).stderr(true).timestamps(true).since(since).build();
            let mut log = container.docker.logs(&container.id, Some(options));
            while let Some(part) = log.next().await {
                let part = part.map_err(|error| error.to_string())?;
                if let LogOutput::StdOut { message } | LogOutput::StdErr { message } | LogOutput::Console { message } = part {
                    text.push_str(&String::from_utf8_lossy(&message));
                }
            }
        }
        Ok(())
    };
    let ended = match tokio::time::timeout(PATIENCE, read).await {
        Ok(ended) => ended,
        Err(_) => Err(format!("it did not end within {} s", PATIENCE.as_secs())),
    };
    // What was read until then is told.
    (text, ended)
}

fn event(name: &str, line: &str, epoch: Epoch) -> Option<Event> {
    let (stamp, words) = line.split_once(' ')?;
    let at_ms = epoch.place(stamp)?;
    let (source, text, worth) = if name.starts_with("guard-") {
        // Its own time stamp is the first word.
        let text = words.split_once(' ')?.1;
        (format!("guard {name}"), text, !ROUTINE.iter().any(|routine| text.starts_with(routine)))
    } else {
        let text = words.split_once("INFO: ").map_or(words, |(_, words)| words);
        (format!("patroni {name}"), text, PATRONI.iter().any(|known| text.contains(known)))
    };
    worth.then(|| Event { at_ms, source, text: text.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_told_with_its_time() {
        let epoch = Epoch(Duration::from_secs(1_000));
        let line =
            "1970-01-01T00:16:41.500000000Z 2026-11-20 14:20:11,043 INFO: promoted self to leader by acquiring session lock";
        let told = event("coordinator-3", line, epoch).expect("worth telling");
        assert_eq!((told.at_ms, told.source.as_str()), (1_500, "patroni coordinator-3"));
        assert_eq!(told.text, "promoted self to leader by acquiring session lock");
        let line = "1970-01-01T00:16:41.500Z 2026-11-20T14:12:36.890Z event=revoked reason=unrenewed group=1";
        assert_eq!(event("guard-2", line, epoch).expect("worth telling").text, "event=revoked reason=unrenewed group=1");
        let routine = "1970-01-01T00:16:41.500Z 2026-11-20 14:20:06,454 INFO: no action. I am (coordinator-3), a secondary";
        assert_eq!(event("coordinator-3", routine, epoch), None);
    }
}
