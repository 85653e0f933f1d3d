//! What the guard counts, for Prometheus: `GET /metrics`. `GET /health` is 200 while its view of etcd is fresh, else 503.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::error::GuardError;
use crate::topology::timing::GUARD_BLIND as BLIND;

/// All counters; cloned handles share them.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Mutex<Counts>>);

/// The counters themselves.
#[derive(Debug, Default)]
pub struct Counts {
    /// Good samples.
    pub samples: u64,
    /// Questions to etcd without a usable answer.
    pub failed_samples: u64,
    /// How often the watch was broken.
    pub holes: u64,
    /// When the last good sample was taken.
    pub last_sample: Option<Instant>,
    /// Containers of members that have died on this host.
    pub deaths: u64,
    /// Revoked leases by group and reason.
    pub revocations: BTreeMap<(String, &'static str), u64>,
    /// Revocations that were called off at the last moment, by reason.
    pub called_off: BTreeMap<&'static str, u64>,
    /// How often Patronis were woken while leadership changed hands.
    pub wakes: u64,
    /// How often etcd was told to be led from another host.
    pub moves: u64,
    /// How often it had to stay beside the coordinators' leader, for want of a member that is well.
    pub stays: u64,
    /// Whether Docker's events are being received.
    pub events_connected: bool,
    /// By group: time since the lease was renewed, and the limit.
    pub leases: Vec<(String, Duration, Duration)>,
}

impl Metrics {
    /// The counters, to change or to read.
    pub fn counts(&self) -> MutexGuard<'_, Counts> {
        // A counter that was left in the middle of an addition is still a counter.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In the text format of Prometheus.
    pub fn text(&self) -> String {
        let counts = self.counts();
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, values: Vec<(String, f64)>| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP pgclusterctl_guard_{name} {help}\n# TYPE pgclusterctl_guard_{name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(text, "pgclusterctl_guard_{name}{labels} {value}");
            }
        };
        let one = |value: u64| vec![(String::new(), as_f64(value))];
        family("samples_total", "counter", "Good looks at the leases.", one(counts.samples));
        family("failed_samples_total", "counter", "Looks without a usable answer.", one(counts.failed_samples));
        family("holes_total", "counter", "Times the watch was broken and began anew.", one(counts.holes));
        let age = counts.last_sample.map(|at| (String::new(), at.elapsed().as_secs_f64()));
        family("last_sample_age_seconds", "gauge", "Age of the last good look.", age.into_iter().collect());
        family("container_deaths_total", "counter", "Containers of members that died on this host.", one(counts.deaths));
        let revoked = counts.revocations.iter();
        let revoked = revoked.map(|((group, why), n)| (format!("{{group=\"{group}\",reason=\"{why}\"}}"), as_f64(*n)));
        family("revocations_total", "counter", "Leases that were revoked.", revoked.collect());
        let off = counts.called_off.iter().map(|(why, n)| (format!("{{reason=\"{why}\"}}"), as_f64(*n)));
        family("called_off_total", "counter", "Revocations called off at the last moment.", off.collect());
        family("etcd_leader_moves_total", "counter", "Times etcd was told to be led from another host.", one(counts.moves));
        family("etcd_leader_stays_total", "counter", "Times etcd's leader had to stay where it was.", one(counts.stays));
        family("wakes_total", "counter", "Rounds of Patroni begun early while leadership changed.", one(counts.wakes));
        family("docker_events_connected", "gauge", "1 while Docker's events come in.", one(counts.events_connected.into()));
        let of = |value: fn(&(String, Duration, Duration)) -> Duration| {
            counts.leases.iter().map(|l| (format!("{{group=\"{}\"}}", l.0), value(l).as_secs_f64())).collect::<Vec<_>>()
        };
        family("lease_unrenewed_seconds", "gauge", "Longest time the leader's lease may be without renewal.", of(|l| l.1));
        family("lease_limit_seconds", "gauge", "Time without renewal after which the lease is revoked.", of(|l| l.2));
        text
    }

    fn is_healthy(&self) -> bool {
        self.counts().last_sample.is_some_and(|at| at.elapsed() < BLIND)
    }
}

/// Serves the metrics until the program ends.
pub async fn serve(metrics: Metrics, address: SocketAddr) -> Result<(), GuardError> {
    let failed = |source| GuardError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of files, most likely: others are being closed.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let metrics = metrics.clone();
            tokio::spawn(async move {
                let answer = service_fn(move |request| std::future::ready(Ok::<_, Infallible>(respond(&metrics, &request))));
                let server = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(BLIND)
                    .serve_connection(TokioIo::new(stream), answer);
                // A client that goes away in the middle is its own affair.
                let _ = server.await;
            });
        }
    });
    Ok(())
}

fn respond(metrics: &Metrics, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, text) = match request.uri().path() {
        "/metrics" => (StatusCode::OK, metrics.text()),
        "/health" if metrics.is_healthy() => (StatusCode::OK, "ok\n".to_owned()),
        "/health" => (StatusCode::SERVICE_UNAVAILABLE, "no fresh view of etcd\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "see /metrics and /health\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}

/// Counters stay far below 2^53.
#[expect(clippy::cast_precision_loss)]
fn as_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_names_help_and_labels() {
        let metrics = Metrics::default();
        metrics.counts().samples = 3;
        *metrics.counts().revocations.entry(("0".into(), "unrenewed")).or_default() += 1;
        metrics.counts().leases = vec![("0".into(), Duration::from_millis(1500), Duration::from_millis(7300))];
        let text = metrics.text();
        for line in [
            "# TYPE pgclusterctl_guard_samples_total counter",
            "pgclusterctl_guard_samples_total 3",
            "pgclusterctl_guard_revocations_total{group=\"0\",reason=\"unrenewed\"} 1",
            "pgclusterctl_guard_lease_unrenewed_seconds{group=\"0\"} 1.5",
            "pgclusterctl_guard_lease_limit_seconds{group=\"0\"} 7.3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_guard_that_never_saw_etcd_is_not_healthy() {
        assert!(!Metrics::default().is_healthy());
    }
}
