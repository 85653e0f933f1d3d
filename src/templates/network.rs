//! Timings of TCP that all parts share, and the names of the overlay networks. Constants and small functions only.

use std::time::Duration;

use crate::topology::Topology;
use crate::topology::timing::DATABASE_USER_TIMEOUT;

/// How soon TCP finds that a peer has vanished.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Idle time after which TCP asks whether the peer is still there.
    pub idle: Duration,
    /// Pause between two such questions.
    pub interval: Duration,
    /// Unanswered questions until the connection is given up.
    pub count: u32,
    /// How long sent data may stay unacknowledged (`TCP_USER_TIMEOUT`); by default it is a quarter of an hour.
    pub user_timeout: Duration,
}

/// Towards clients, who may be far away. Five seconds outlast a moment of packet loss and are shorter than any failover;
/// 10 + 3 × 3 = 19 s when idle are just below the shortest possible `ttl`.
pub(super) const PATIENCE: Patience = Patience {
    idle: Duration::from_secs(10),
    interval: Duration::from_secs(3),
    count: 3,
    user_timeout: Duration::from_secs(5),
};

/// Among databases, and between HAProxy and servers: nobody else reaches PostgreSQL. An idle connection is asked after 2 s, and given up
/// after 3 s of silence (Linux counts `TCP_USER_TIMEOUT` for keepalives, too).
pub(super) const NEAR: Patience =
    Patience { idle: Duration::from_secs(2), interval: Duration::from_secs(1), count: 2, user_timeout: DATABASE_USER_TIMEOUT };

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
