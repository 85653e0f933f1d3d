//! Work on a cluster as every command does it: each step is shown and goes into the journal, and Ctrl-C or a lost lock ends it at
//! the next safe point.

use std::time::Duration;

use crate::context::Context;
use crate::engine::journal::Journal;
use crate::engine::runner::Limits;
use crate::engine::{Events, Lock};
use crate::error::CommandError;
use crate::output::run;
use crate::topology::ClusterName;

/// What a command works with, besides the work itself.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// What the journal calls it, e.g. `host-replace`.
    pub name: &'a str,
    /// How long a wave may take to become healthy.
    pub wave: Duration,
    /// The cluster's lock, where there is one.
    pub lock: Option<&'a Lock>,
}

impl Work<'_> {
    /// Does it; returns when all of it was shown, too.
    pub async fn run<T>(
        self,
        context: &Context,
        work: impl AsyncFnOnce(&Events, Limits<'_>) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        let (events, receiver) = Events::channel();
        let view = run::follow(&context.ui, Journal::open(self.cluster, self.name), receiver);
        let limits = Limits { wave: self.wave, interrupt: &context.interrupt, lock: self.lock };
        let outcome = work(&events, limits).await;
        drop(events);
        // The view ends when its sender is gone; it cannot fail in a way that matters here.
        let _ = view.await;
        outcome
    }
}
