//! Bounds and forms of values, in one place for the schema that editors read and the check that explains what is wrong.

use std::time::Duration;

/// Form of a cluster's or host's name, as a regular expression; [`super::ids::check_name`] is the same in code.
pub const NAME_PATTERN: &str = "^[a-z]([a-z0-9-]{0,22}[a-z0-9])?$";

/// Form of a database's name that needs no quotes in SQL.
pub const DATABASE_PATTERN: &str = "^[a-z_][a-z0-9_]{0,62}$";

/// Form of a column's name as SQL reads it: small letters as they stand, all else in quotes.
pub const COLUMN_PATTERN: &str = "^([a-z_][a-z0-9_$]{0,62}|\"([^\"]|\"\")+\")$";

/// Form of a table's name as SQL reads it, with or without its schema; [`super::tables::TableName::parse`] is the same in code.
pub const TABLE_PATTERN: &str = "^(([a-z_][a-z0-9_$]{0,62}|\"([^\"]|\"\")+\")\\.)?([a-z_][a-z0-9_$]{0,62}|\"([^\"]|\"\")+\")$";

/// Form of a duration.
pub const DURATION_PATTERN: &str = "^[0-9]+(ms|s|m|h)$";

/// Form of a size in bytes.
pub const SIZE_PATTERN: &str = "^[0-9]+(B|[kK]B|[MGT]B|[KMGT]iB)?$";

/// Form of an IPv4 network, or an address with a prefix length.
pub const NETWORK_PATTERN: &str = "^[0-9]{1,3}(\\.[0-9]{1,3}){3}/[0-9]{1,2}$";

/// Form of an IPv4 address.
pub const ADDRESS_PATTERN: &str = "^[0-9]{1,3}(\\.[0-9]{1,3}){3}$";

/// MTU of the overlay networks in bytes. Below 1280 some paths fragment every packet; above 8950 not even jumbo frames carry a
/// VXLAN packet.
pub const MTU: (u16, u16) = (1280, 8950);

/// VRRP virtual router ids (RFC 9568).
pub const ROUTER_ID: (u8, u8) = (1, 255);

/// Shard groups: more than any Citus cluster known to have been run; keeps a typing mistake from placing a million members.
pub const GROUPS_MAX: u32 = 256;

/// Numbers of shard groups: a group that is taken out leaves its number free, so there may be larger ones than there are groups.
pub const GROUP_NUMBER: (u32, u32) = (1, 9999);

/// Members of a group, beyond which replication slots and synchronous waits stop making sense.
pub const MEMBERS: (u32, u32) = (1, 9);

/// Numbers of a group's readers.
pub const READER_NUMBER: (u32, u32) = (1, 99);

/// Shards of a table, as far as Citus accepts them.
pub const CITUS_SHARDS: (u32, u32) = (1, 64_000);

/// Client connections of one PgBouncer: fewer are surely a mistake, more want more than its one thread.
pub const CLIENT_CONNECTIONS: (u32, u32) = (10, 100_000);

/// Server connections of one pool.
pub const POOL_SIZE: (u32, u32) = (1, 1000);

/// Cores of the largest machines; a larger number is a mistake.
pub const CPUS_MAX: f64 = 1024.0;

/// Patroni's minimums (patroni/config.py, `_validate_and_adjust_timeouts`).
pub const TTL_MIN: Duration = Duration::from_secs(20);
/// See [`TTL_MIN`].
pub const LOOP_WAIT_MIN: Duration = Duration::from_secs(1);
/// See [`TTL_MIN`].
pub const RETRY_TIMEOUT_MIN: Duration = Duration::from_secs(3);

/// What a lease guard waits beyond Patroni's own bound. A guard sees a renewal some 100 ms late, so less would take leadership
/// from leaders that are well; more than some seconds is surely a wrong unit.
pub const GUARD_MARGIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
