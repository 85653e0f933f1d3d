//! The guard's clock: it never jumps, and goes on while the machine sleeps, so that a sleep is a time without a look.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Counts from its start. Copies show the same time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Duration,
}

impl Clock {
    /// Shows zero now.
    pub fn start() -> Self {
        Self { start: since_boot() }
    }

    /// How long ago it was started.
    pub fn now(self) -> Duration {
        since_boot().saturating_sub(self.start)
    }
}

/// `CLOCK_BOOTTIME`. The standard library's `Instant` is `CLOCK_MONOTONIC`, which stands still while the machine sleeps.
fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let whole = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or_default());
    whole + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_from_its_start() {
        let clock = Clock::start();
        let copy = clock;
        std::thread::sleep(Duration::from_millis(20));
        let now = clock.now();
        assert!(now >= Duration::from_millis(20) && copy.now() >= now, "{now:?}");
    }
}
