//! How long a look waits for each answer. Somebody waits for `status`; a change would rather wait than be refused because a
//! loaded host was slow.

use std::time::Duration;

use super::again::Again;

/// Deadlines of one look. Each holds for one answer with everything that leads to it; all are asked at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// A daemon's version and containers.
    pub daemon: Duration,
    /// `docker info`. A manager asks the Swarm's leader for it: when that was lost it hangs, like everything about the Swarm,
    /// for some 12 s (measured) until another one is elected. Versions and containers do not.
    pub info: Duration,
    /// The Swarm as a manager sees it.
    pub swarm: Duration,
    /// What a manager turned away at once: the Swarm has no leader, which lasts a second or two after its leader was demoted.
    pub election: Again,
    /// etcd, when none of its members has an answer.
    pub etcd: Again,
    /// Whatever takes a command on a host or in a container.
    pub probe: Duration,
    /// SQL on a leader: relay, login, queries.
    pub sql: Duration,
}

impl Patience {
    /// Together with connecting to a dead host within the three seconds that `status` is promised in.
    pub const SHORT: Self = Self {
        daemon: Duration::from_millis(1_600),
        info: Duration::from_millis(1_200),
        swarm: Duration::from_millis(1_700),
        election: Again::NEVER,
        // A planned change of etcd's leader, which guards make, takes some milliseconds, and turns reads away at once.
        etcd: Again { tries: 2, pause: Duration::from_millis(300), unless: Duration::from_millis(500) },
        probe: Duration::from_millis(2_500),
        sql: Duration::from_millis(2_800),
    };
    /// For planning a change, and for waiting until it took effect.
    pub const LONG: Self = Self {
        daemon: Duration::from_secs(5),
        info: Duration::from_secs(5),
        swarm: Duration::from_secs(6),
        election: Again { tries: 4, pause: Duration::from_secs(1), unless: Duration::from_millis(500) },
        // After the loss of a host, and while who asks has just changed its members, it elects a leader for a second or two, and reads wait
        // for that until their deadline; longer on hosts that are short of processor time (seen: both others of three, 3 s and more).
        etcd: Again { tries: 4, pause: Duration::from_secs(1), unless: Duration::MAX },
        probe: Duration::from_secs(6),
        sql: Duration::from_secs(6),
    };
}
