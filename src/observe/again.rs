//! Asking once more: what is turned away at once may be a moment's matter, as an election is.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::Probe;

/// When nobody has an answer, and how it is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Again {
    /// So often in all.
    pub tries: u32,
    /// Before each further time.
    pub pause: Duration,
    /// A look that took longer is the last one: who hangs will not answer in a moment.
    pub unless: Duration,
}

impl Again {
    /// A single time.
    pub const NEVER: Self = Self { tries: 1, pause: Duration::ZERO, unless: Duration::ZERO };

    /// Asks until there is an answer, or no reason to ask again.
    pub async fn until_answered<T, F: Future<Output = Probe<T>>>(self, ask: impl Fn() -> F) -> Probe<T> {
        for _ in 1..self.tries {
            let asked = Instant::now();
            let answer = ask().await;
            if answer.known().is_some() || asked.elapsed() > self.unless {
                return answer;
            }
            sleep(self.pause).await;
        }
        ask().await
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn who_was_turned_away_asks_again_and_who_waited_does_not() {
        let asked = Cell::new(0);
        let look = |tries: u32, answers_at: u32, takes: Duration| {
            asked.set(0);
            let asked = &asked;
            let rule = Again { tries, pause: Duration::ZERO, unless: Duration::from_millis(200) };
            rule.until_answered(move || async move {
                asked.set(asked.get() + 1);
                sleep(takes).await;
                if asked.get() >= answers_at { Probe::Known(()) } else { Probe::fail("etcd", "leader changed") }
            })
        };
        let (quick, slow) = (Duration::ZERO, Duration::from_millis(250));
        assert_eq!((look(2, 1, quick).await.known(), asked.get()), (Some(&()), 1));
        assert_eq!((look(2, 2, quick).await.known(), asked.get()), (Some(&()), 2));
        assert_eq!((look(2, 3, quick).await.known(), asked.get()), (None, 2));
        assert_eq!((look(2, 2, slow).await.known(), asked.get()), (None, 1));
        assert_eq!((look(1, 2, quick).await.known(), asked.get()), (None, 1));
    }
}
