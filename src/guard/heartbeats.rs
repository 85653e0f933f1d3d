//! When heartbeats were first heard of. A look shows that one was written since the look before; etcd tells of it within
//! milliseconds, which counts when the next look is late because etcd has lost its leader.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A leader's heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// Revision at which it was written.
    pub revision: i64,
    /// A moment at which it was written already, by the guard's clock.
    pub heard: Duration,
}

/// The last heartbeat of each group that etcd told of. Copies share it.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<Mutex<BTreeMap<String, Heartbeat>>>);

impl Heard {
    /// Takes in what etcd tells.
    pub fn take(&self, group: String, heartbeat: Heartbeat) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = known.entry(group).or_insert(heartbeat);
        if newest.revision < heartbeat.revision {
            *newest = heartbeat;
        }
    }

    /// The heartbeat that a look shows at `answered`.
    pub fn shown(&self, group: &str, revision: i64, answered: Duration) -> Heartbeat {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(group).copied();
        let heard = known.filter(|known| known.revision == revision).map_or(answered, |known| known.heard.min(answered));
        Heartbeat { revision, heard }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(revision: i64, ms: u64) -> Heartbeat {
        Heartbeat { revision, heard: Duration::from_millis(ms) }
    }

    #[test]
    fn what_etcd_told_of_is_dated_by_that_and_all_else_by_the_look() {
        let heard = Heard::default();
        let shown = |revision| heard.shown("0", revision, Duration::from_millis(500));
        assert_eq!(shown(7), at(7, 500), "nothing was heard of");
        heard.take("0".into(), at(7, 300));
        heard.take("1".into(), at(8, 310));
        assert_eq!(shown(7), at(7, 300));
        assert_eq!(shown(6), at(6, 500), "a look that is older than what was heard of since");
        heard.take("0".into(), at(9, 400));
        // Told twice, as after a new connection: the first time is what counts.
        heard.take("0".into(), at(9, 450));
        assert_eq!((shown(7), shown(9)), (at(7, 500), at(9, 400)));
    }
}
