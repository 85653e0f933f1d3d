//! What happens while a plan runs, as data. One sender, many readers: terminal progress, plain lines, the journal.

use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;

/// Something happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A wave starts.
    WaveStarted {
        /// Counted from 1.
        index: usize,
        /// Number of waves.
        of: usize,
        /// What it is about.
        title: String,
        /// Members and objects whose conditions it waits for, in order.
        subjects: Vec<String>,
    },
    /// An action starts.
    ActionStarted {
        /// What is done.
        action: String,
    },
    /// An action is done.
    ActionDone {
        /// What was done.
        action: String,
        /// How long it took, in milliseconds.
        #[serde(rename = "took_ms", serialize_with = "crate::quantity::as_millis")]
        took: Duration,
    },
    /// Conditions were looked at.
    Waiting {
        /// Those that do not hold yet.
        unmet: Vec<Unmet>,
    },
    /// A wave is done and its conditions hold.
    WaveDone {
        /// Counted from 1.
        index: usize,
        /// How long it took, in milliseconds.
        #[serde(rename = "took_ms", serialize_with = "crate::quantity::as_millis")]
        took: Duration,
    },
    /// Something the operator should know.
    Note {
        /// A sentence.
        text: String,
    },
}

/// A condition that does not hold yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unmet {
    /// The member or object.
    pub subject: String,
    /// Why, in a few words.
    pub why: String,
}

/// Where working code sends its events. Cheap to clone; events without a reader are dropped.
#[derive(Debug, Clone)]
pub struct Events(mpsc::UnboundedSender<Event>);

impl Events {
    /// A sender and the receiver that a view reads.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Tells what happened.
    pub fn send(&self, event: Event) {
        // A view that ended early is no reason to stop working.
        let _ = self.0.send(event);
    }
}
