//! Drills: breaking a cluster on purpose and proving what it promised.
//!
//! - [`history`]: what clients did, as types and as a file that survives the program's death; [`recorder`] writes it.
//! - [`workload`]: clients of the cluster that never wait for it: the only part of this list that does I/O, with the recorder.
//! - [`outage`]: what clients missed, and the arithmetic over repeated runs.

pub mod history;
pub mod millis;
pub mod outage;
pub mod recorder;
pub mod workload;
