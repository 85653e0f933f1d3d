//! What the cluster's own programs said during a run: the guards' decisions, Patroni's changes of role.
//!
//! Times are the hosts' clocks, turned into the workload's by this machine's: as exact as the clocks agree, which `health` checks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;
use futures_util::future::join_all;

use super::report::Event;
use crate::steps::World;

/// A log that does not end is cut.
const PATIENCE: Duration = Duration::from_secs(5);
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

/// Everything worth telling since the epoch, of all members and guards that can be asked.
pub async fn collect(world: World<'_>, epoch: Epoch) -> Vec<Event> {
    let names: Vec<String> = world.topology.services().into_keys().collect();
    let told = names.iter().filter(|n| ["coordinator-", "worker-", "guard-"].iter().any(|p| n.starts_with(p)));
    join_all(told.map(|name| of(world, name, epoch))).await.into_iter().flatten().collect()
}

async fn of(world: World<'_>, name: &str, epoch: Epoch) -> Vec<Event> {
    let Ok(container) = world.fleet.latest(world.topology, name).await else { return Vec::new() };
    let since = i32::try_from(epoch.0.as_secs()).unwrap_or_default();
    let options = LogsOptionsBuilder::default().stdout(true).stderr(true).timestamps(true).since(since).build();
    let mut log = container.docker.logs(&container.id, Some(options));
    let mut text = String::new();
    let read = async {
        while let Some(Ok(part)) = log.next().await {
            if let LogOutput::StdOut { message } | LogOutput::StdErr { message } | LogOutput::Console { message } = part {
                text.push_str(&String::from_utf8_lossy(&message));
            }
        }
    };
    // What was read until then is told.
    let _ = tokio::time::timeout(PATIENCE, read).await;
    let mut events: Vec<Event> = text.lines().filter_map(|line| event(name, line, epoch)).collect();
    // What is said in every round is told once.
    events.dedup_by(|again, before| again.text == before.text);
    events
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
