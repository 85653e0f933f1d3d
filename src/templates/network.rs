//! Timings of TCP that all parts share, and the names of the overlay networks. Constants and small functions only.

use std::time::Duration;

use crate::topology::Topology;

/// Idle time after which TCP asks whether the peer is still there.
pub(super) const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
/// Pause between two such questions.
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
/// Unanswered questions until the connection is given up: 10 + 3 × 3 = 19 s, just below the shortest possible `ttl`.
pub(super) const KEEPALIVE_COUNT: u32 = 3;
/// How long sent data may stay unacknowledged (`TCP_USER_TIMEOUT`). Five seconds outlast a moment of packet loss and are
/// still shorter than any failover; without it a connection to a vanished host hangs for a quarter of an hour.
pub(super) const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// The overlay networks by the key under which stack files know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Net {
    /// etcd, coordinators, proxies.
    Coordinator,
    /// etcd, coordinators, workers.
    Worker,
    /// HAProxy, PgBouncer and what observes the cluster.
    Admin,
    /// The host's own network, for VRRP.
    Host,
}

impl Net {
    /// Key inside a stack file.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
            Self::Admin => "admin",
            Self::Host => "host",
        }
    }

    /// Name of the network as Docker knows it.
    pub(super) fn name(self, topology: &Topology) -> String {
        match self {
            Self::Host => "host".into(),
            overlay => format!("{}-{}", topology.name, overlay.key()),
        }
    }
}
