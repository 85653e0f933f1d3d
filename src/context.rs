//! What every command gets: the paths and flags of this run, the user interface, and whether the operator wants to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use crate::cli::{Format, Global};
use crate::error::{CommandError, Exit};
use crate::output::ui::Ui;
use crate::topology::Topology;

/// One run of the program.
#[derive(Debug, Clone)]
pub struct Context {
    /// The topology file, as given.
    pub topology_path: PathBuf,
    /// Prints, asks, shows progress.
    pub ui: Ui,
    /// How results are printed, for the one command that knows more than table and JSON.
    pub format: Format,
    /// Level of detail that was asked for.
    pub verbose: u8,
    /// Set when the operator pressed Ctrl-C, or another one took the cluster's lock.
    pub interrupt: Interrupt,
}

impl Context {
    /// From the global flags.
    pub fn new(global: &Global) -> Self {
        let color = !global.no_color && std::env::var_os("NO_COLOR").is_none();
        Self {
            topology_path: global.topology.clone(),
            ui: Ui::new(global.format == Format::Json, global.quiet, global.yes, color),
            format: global.format,
            verbose: global.verbose,
            interrupt: Interrupt::default(),
        }
    }

    /// Reads and resolves the topology; warnings go to stderr.
    pub fn topology(&self) -> Result<Topology, CommandError> {
        Ok(crate::topology::load(&self.topology_path)?)
    }
}

/// Why work is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The operator pressed Ctrl-C.
    Asked,
    /// Another operator has the cluster's lock now.
    LockLost,
}

/// The wish to stop as a value: long work looks at it between two steps, and guards the stretch in which it wants to stop by itself.
#[derive(Debug, Clone)]
pub struct Interrupt {
    asked: Arc<watch::Sender<Option<Stop>>>,
    guarded: Arc<AtomicUsize>,
}

impl Default for Interrupt {
    fn default() -> Self {
        Self { asked: Arc::new(watch::Sender::new(None)), guarded: Arc::default() }
    }
}

impl Interrupt {
    /// Asks running work to stop at its next safe point.
    pub fn ask(&self) {
        self.asked.send_replace(Some(Stop::Asked));
    }

    /// The same, because another operator has the cluster's lock now.
    pub fn lock_lost(&self) {
        self.asked.send_replace(Some(Stop::LockLost));
    }

    /// Whether stopping was asked for.
    pub fn is_asked(&self) -> bool {
        self.asked.borrow().is_some()
    }

    /// The error of work that stopped as it was asked to: who did not press Ctrl-C is told what it was.
    pub fn explain(&self, error: CommandError) -> CommandError {
        let cause = *self.asked.borrow();
        if cause == Some(Stop::LockLost) && error.exit() == Exit::Interrupted { error.taken_over() } else { error }
    }

    /// Waits until stopping is asked for.
    pub async fn asked(&self) {
        let mut receiver = self.asked.subscribe();
        // The sender lives as long as self; an error cannot happen while we are borrowed.
        let _ = receiver.wait_for(Option::is_some).await;
    }

    /// While the guard lives, Ctrl-C does not end the program at once but waits for the work to stop by itself.
    #[must_use]
    pub fn guard(&self) -> InterruptGuard {
        self.guarded.fetch_add(1, Ordering::SeqCst);
        InterruptGuard(self.guarded.clone())
    }

    /// Whether some work wants to stop by itself.
    pub fn is_guarded(&self) -> bool {
        self.guarded.load(Ordering::SeqCst) > 0
    }
}

/// See [`Interrupt::guard`].
#[derive(Debug)]
pub struct InterruptGuard(Arc<AtomicUsize>);

impl Drop for InterruptGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_that_another_operator_stopped_is_said_to_be() {
        let stopped = || CommandError::new(Exit::Interrupted, "interrupted");
        let interrupt = Interrupt::default();
        assert!(!interrupt.is_asked());
        interrupt.ask();
        assert!(interrupt.is_asked());
        assert_eq!(interrupt.explain(stopped()).exit(), Exit::Interrupted);
        interrupt.lock_lost();
        assert_eq!(interrupt.explain(stopped()).exit(), Exit::Partial);
        assert_eq!(interrupt.explain(CommandError::new(Exit::Unhealthy, "ill")).exit(), Exit::Unhealthy);
    }
}
