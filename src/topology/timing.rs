//! Settings of the deployed programs that decide how long a failure lasts, rhythms that are built into them, and what follows from
//! both.
//!
//! One source for two readers: `templates` writes the settings into what is deployed, [`super::budget`] adds them up.

use std::time::Duration;

use super::model::{Guard, Timings};

/// etcd's heartbeat. A fifth of the election timeout, the least that etcd accepts; its manual ("Tuning") advises as much as the
/// round trip between members, which is far less in one network.
pub const ETCD_HEARTBEAT: Duration = Duration::from_millis(100);
/// Silence after which an etcd member stands for election; it waits between one and two of them (Raft). Half of etcd's
/// default: when a host is lost with etcd's leader on it, twice this and more is part of the outage.
pub const ETCD_ELECTION: Duration = Duration::from_millis(500);
/// How long a leader hears nothing from a standby until it ends its replication (`wal_sender_timeout`). Commits wait for so long for a
/// synchronous standby whose host has vanished. The default of 60 s is longer than a failover; a standby answers once a second, and at once
/// when it is asked after half of this.
pub const WAL_SENDER_TIMEOUT: Duration = Duration::from_secs(4);
/// How long data to and among databases may stay unconfirmed until its connection is given up (`tcp_user_timeout`). All of them are near each
/// other. A leader or pooler that vanishes leaves sessions that hold locks, and one that waits for a lock meanwhile has its answer sent
/// when the synchronous standby is given up, and only then does its time begin: twice this and Patroni's round have to be over when the
/// next leader begins, which takes 7 s at least.
pub const DATABASE_USER_TIMEOUT: Duration = Duration::from_secs(3);
/// How often etcd looks for expired leases (etcd, `lease/lessor.go`).
pub const ETCD_LEASE_SCAN: Duration = Duration::from_millis(500);

/// How often a guard asks etcd when each lease was renewed.
pub const GUARD_LOOK: Duration = Duration::from_millis(200);
/// Without a good look for so long a guard is blind: it says so itself, and `health` does.
pub const GUARD_BLIND: Duration = Duration::from_secs(3);

/// What Swarm waits before it starts a container anew. The default of 5 s would be a good part of a failover.
pub const RESTART_DELAY: Duration = Duration::from_secs(1);

/// HAProxy's checks of a server.
#[derive(Debug, Clone, Copy)]
pub struct ServerCheck {
    /// Pause between two checks of a server that is up.
    pub up: Duration,
    /// Pause while it is about to change its state.
    pub changing: Duration,
    /// Pause while it is down.
    pub down: Duration,
    /// Failed checks until it is down.
    pub fall: u32,
    /// Good checks until it is up.
    pub rise: u32,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// Of poolers, leaders and standbys alike. Faster ones gain little beside PgBouncer's pause and cost every Patroni an answer.
pub const SERVER_CHECK: ServerCheck = ServerCheck {
    up: Duration::from_millis(500),
    changing: Duration::from_millis(250),
    down: Duration::from_millis(500),
    fall: 2,
    rise: 1,
    timeout: Duration::from_secs(1),
};

/// Lag in bytes beyond which a standby or reader gets no reads: far more than the jitter of a healthy one, far less than what a
/// broken one collects within minutes.
pub const READ_LAG: u64 = 64 << 20;

/// PgBouncer's pause after a login at the server that failed (`server_login_retry`; the default of 15 s outlasts a failover).
pub const POOLER_LOGIN_RETRY: Duration = Duration::from_millis(200);
/// How HAProxy leads the pooler's connections to the leader.
#[derive(Debug, Clone, Copy)]
pub struct LeaderRoute {
    /// How long a connection waits while there is no leader. Ends after the wait itself (`images/proxy/leader.lua`, 2 s), which HAProxy
    /// would break off with an alert otherwise.
    pub patience: Duration,
    /// How long TCP may take. The kernel of a living host answers within a round trip, however busy its PostgreSQL is.
    pub connect: Duration,
    /// How long all of it may take, with the TLS handshake at the end.
    pub handshake: Duration,
    /// How often all of it begins anew; the pooler's patience ends sooner.
    pub retries: u32,
    /// How long Patroni may take to say whether it leads. Two answers that are later end all sessions of a leader, so a host that is
    /// busy has more time than other servers have ([`SERVER_CHECK`]); and less than half of what it takes until another one leads, for
    /// which sessions of one that stands still have to be over (7 s at least).
    pub check: Duration,
}

/// Connecting takes one round trip between hosts that are near, or some within a region.
pub const LEADER_ROUTE: LeaderRoute = LeaderRoute {
    patience: Duration::from_millis(2_500),
    connect: Duration::from_millis(200),
    handshake: Duration::from_millis(3_500),
    retries: 12,
    check: Duration::from_secs(2),
};

/// How long PgBouncer waits for a connection to the server (`server_connect_timeout`): longer than HAProxy, which waits for a leader
/// meanwhile. A connection that HAProxy loses is answered by nobody, and all clients of the pool wait for it.
pub const POOLER_CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// How often PgBouncer looks after its pools while nothing else happens (pgbouncer, `janitor.c`: three times per second).
pub const POOLER_ROUND: Duration = Duration::from_millis(333);

/// How often keepalived checks whether HAProxy of its host is there, and whether the way through it leads to a pooler.
pub const HAPROXY_CHECK: Duration = Duration::from_millis(300);

/// Interval of VRRP advertisements. A backup takes over within three of them, at the latest 0.6 s after the holder was lost: that is when
/// TCP tries a second time for clients that were in the middle of something (after 0.2 s and 0.4 s, RFC 6298; the third time is
/// 0.8 s later). With 0.3 s most of them met nobody then.
pub const VRRP_ADVERT: Duration = Duration::from_millis(200);
/// Missed advertisements until a backup takes over; VRRP's own number.
pub const VRRP_DOWN_TIMER: u32 = 3;
/// Every proxy's priority: equal, so that a proxy which returns is no better than the one that holds the address. High, since a backup
/// waits the less for an address that was given up ([`vrrp_skew`]), in which time nobody has it: a client that connects in
/// there is answered by nobody, and TCP tries again after a whole second. Below 255, which is for an address that a host owns.
pub const VRRP_PRIORITY: u32 = 250;

/// Advertisements that proxy `ordinal` of `proxies` misses before it takes the address. With equal priorities several backups
/// would time out at the same moment, so each waits one advertisement longer than the one before it. Of two proxies only one is a
/// backup: nobody has to wait.
pub fn vrrp_down_timer(proxies: usize, ordinal: u32) -> u32 {
    if proxies > 2 { VRRP_DOWN_TIMER + ordinal.saturating_sub(1) } else { VRRP_DOWN_TIMER }
}

/// What a backup waits beyond its missed advertisements, less with a higher priority (RFC 9568, 6.1: `Skew_Time`).
pub fn vrrp_skew() -> Duration {
    VRRP_ADVERT * (256 - VRRP_PRIORITY) / 256
}

/// From the last renewal that reached etcd to the moment at which its sender has demoted itself by Patroni's rule, if no later one got
/// through: a pause of `loop_wait`, a read and a renewal of `retry_timeout` each. The answer to a renewal may be as late as one of the three
/// tries that share `retry_timeout` lasts; when that is longer than the pause, the next round begins only then.
pub fn self_demotion(loop_wait: Duration, retry_timeout: Duration) -> Duration {
    loop_wait.max(retry_timeout / 3) + 2 * retry_timeout
}

/// How much longer than [`self_demotion`] Patroni may take in rare moments (`docs/guard.md`, "When Patroni is late"): a round that is cut
/// short by nothing but its own time limits takes another `retry_timeout`, and begins as late as the answer to the renewal before it.
pub fn late_demotion(retry_timeout: Duration) -> Duration {
    retry_timeout + retry_timeout / 3
}

/// Whether a guard revokes a lost leader's lease before etcd lets it expire.
pub fn guard_is_first(guard: &Guard, timings: &Timings) -> bool {
    guard.enabled && guard.revokes_after(timings) + GUARD_LOOK < timings.ttl
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_counts_where_it_is_longer_than_the_pause() {
        let after = |wait, retry| self_demotion(Duration::from_secs(wait), Duration::from_secs(retry)).as_secs();
        assert_eq!((after(1, 3), after(10, 10), after(1, 9)), (7, 30, 21));
    }
}
