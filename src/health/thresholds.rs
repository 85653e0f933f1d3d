//! From which value on a check warns or fails, and why there.
//!
//! Constants, not settings: a threshold that an operator may loosen is one that is loosened when it matters.

use std::time::Duration;

/// Free share of Docker's file system below which `disk` warns, in percent. PostgreSQL stops at a full disk (manual,
/// "Disk Full Failure"); a sixth is about what a rebuilt standby or a day of kept WAL takes.
pub const DISK_FREE_WARN_PERCENT: u64 = 15;
/// Below which it fails: the usual reserve of ext4 for root is 5 %, beyond it non-root processes cannot write.
pub const DISK_FREE_FAIL_PERCENT: u64 = 5;

/// Distance of a host's clock from the middle of all hosts' clocks at which `clock` warns. The measurement itself is off by
/// up to half a round trip of SSH, some 100 ms on a loaded host.
pub const CLOCK_SKEW_WARN: Duration = Duration::from_millis(500);
/// At which it fails: logs can no longer be put in order, and etcd warns of clock differences above 1 s itself
/// (etcd's rafthttp prober: "the clock difference against peer is too high").
pub const CLOCK_SKEW_FAIL: Duration = Duration::from_secs(2);

/// etcd's default quota (manual, `--quota-backend-bytes`): 2 GiB; at the quota it refuses every write, and no leader is
/// elected any more.
pub const ETCD_QUOTA_BYTES: u64 = 2 << 30;
/// Share of the quota at which `etcd-space` warns, in percent. A cluster's keys take a few MiB; half of it is a leak.
pub const ETCD_SPACE_WARN_PERCENT: u64 = 50;
/// At which it fails.
pub const ETCD_SPACE_FAIL_PERCENT: u64 = 80;

/// Bytes behind the leader at which `lag` fails: PostgreSQL's default `max_wal_size`; so far behind, a standby depends on the
/// WAL that its slot keeps. It warns at the topology's `maximum_lag_on_failover`, beyond which Patroni passes an asynchronous
/// standby over.
pub const LAG_FAIL_BYTES: u64 = 1 << 30;
/// Replay delay at which `lag` warns: readers of a standby notice.
pub const LAG_WARN_TIME: Duration = Duration::from_secs(10);

/// WAL kept for one slot at which `slots` warns: PostgreSQL's default `max_wal_size`, what a server expects to need anyway.
pub const SLOT_WARN_BYTES: u64 = 1 << 30;
/// At which it fails: a standby that far behind is rebuilt faster than it catches up, and the disk is filling.
pub const SLOT_FAIL_BYTES: u64 = 8 << 30;

/// Used share of max_connections at which `connections` warns, in percent.
pub const CONNECTIONS_WARN_PERCENT: u64 = 80;
/// At which it fails: of 100 connections 3 are reserved for superusers (default of `superuser_reserved_connections`).
pub const CONNECTIONS_FAIL_PERCENT: u64 = 95;

/// Age of the oldest open transaction at which `transactions` warns: it holds back vacuum and, on Citus, shard moves.
pub const TRANSACTION_WARN: Duration = Duration::from_secs(5 * 60);
/// At which it fails: bloat and, for an idle one, locks held for an hour.
pub const TRANSACTION_FAIL: Duration = Duration::from_secs(60 * 60);

/// Age of a prepared transaction at which `prepared` warns: what a lost transaction left is recovered every two seconds, and where a node
/// does not answer, once it does.
pub const PREPARED_WARN: Duration = Duration::from_secs(2 * 60);
/// At which it fails: nobody recovers it; it holds locks and keeps vacuum back until someone decides.
pub const PREPARED_FAIL: Duration = Duration::from_secs(10 * 60);
