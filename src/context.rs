//! What every command gets: the paths and flags of this run, the user interface, and whether the operator wants to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use crate::cli::{Format, Global};
use crate::error::CommandError;
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
    /// Set when the operator pressed Ctrl-C.
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

/// Ctrl-C as a value: long work looks at it between two steps, and guards the stretch in which it wants to stop by itself.
#[derive(Debug, Clone)]
pub struct Interrupt {
    asked: Arc<watch::Sender<bool>>,
    guarded: Arc<AtomicUsize>,
}

impl Default for Interrupt {
    fn default() -> Self {
        Self { asked: Arc::new(watch::Sender::new(false)), guarded: Arc::default() }
    }
}

impl Interrupt {
    /// Asks running work to stop at its next safe point.
    pub fn ask(&self) {
        self.asked.send_replace(true);
    }

    /// Whether stopping was asked for.
    pub fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// Waits until stopping is asked for.
    pub async fn asked(&self) {
        let mut receiver = self.asked.subscribe();
        // The sender lives as long as self; an error cannot happen while we are borrowed.
        let _ = receiver.wait_for(|asked| *asked).await;
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
