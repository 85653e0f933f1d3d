//! What each lease guard says of its own watch: its metrics, asked for in its own container.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use super::lines::Lines;
use super::model::{GuardFacts, Probe};
use super::{Scope, within};
use crate::error::one_line;
use crate::quantity::whole_millis;
use crate::remote::exec;
use crate::templates::GUARD_METRICS;
use crate::topology::ids::MemberName;

/// The guard's image has no HTTP client, and bash can connect. By HTTP 1.0 the end of the answer is the end of the connection.
const ASK: &str = r#"exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3 && cat <&3"#;

pub(super) async fn collect(lines: &Lines<'_>, scope: Scope) -> BTreeMap<MemberName, Probe<GuardFacts>> {
    if !scope.guards {
        return BTreeMap::new();
    }
    let looks = lines.topology.guards().into_iter().map(|guard| async move {
        let probe = within(guard.name.as_str(), lines.patience.probe, look(lines, guard.name.as_str())).await;
        (guard.name, probe)
    });
    join_all(looks).await.into_iter().collect()
}

async fn look(lines: &Lines<'_>, name: &str) -> Result<GuardFacts, String> {
    let container = lines.container(name).await?;
    let argv = ["bash", "-c", ASK, "ask", &GUARD_METRICS.to_string()];
    let output =
        exec::run(&container.docker, &container.id, "", &argv, Bytes::new()).await.map_err(|error| one_line(&error))?;
    if output.status != 0 {
        return Err(format!("its metrics cannot be read: {}", String::from_utf8_lossy(&output.stderr)));
    }
    read(&output.text())
}

/// Each value is a line of its own: `pgclusterctl_guard_<name> <value>`.
fn read(text: &str) -> Result<GuardFacts, String> {
    let value = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix("pgclusterctl_guard_")?.strip_prefix(name)?.strip_prefix(' '))
    };
    let connected = value("docker_events_connected").ok_or("it answers no metrics of a guard")?;
    let age = value("last_sample_age_seconds").and_then(|age| Duration::try_from_secs_f64(age.parse().ok()?).ok());
    Ok(GuardFacts { last_look_ms: age.map(whole_millis), hears_docker: connected == "1" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_tell_how_fresh_the_watch_is() {
        let text = "HTTP/1.0 200 OK\r\n\r\n# HELP pgclusterctl_guard_last_sample_age_seconds Age of the last good look.\n\
                    pgclusterctl_guard_last_sample_age_seconds 0.125\npgclusterctl_guard_docker_events_connected 1\n";
        assert_eq!(read(text), Ok(GuardFacts { last_look_ms: Some(125), hears_docker: true }));
        let new = "pgclusterctl_guard_docker_events_connected 0\n";
        assert_eq!(read(new), Ok(GuardFacts { last_look_ms: None, hears_docker: false }));
        assert!(read("HTTP/1.0 404 Not Found\r\n\r\nsee /metrics and /health\n").is_err());
    }
}
