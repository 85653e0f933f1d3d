//! Drills: breaking a cluster on purpose and proving what it promised.
//!
//! - [`history`]: what clients did, as types and as a file that survives the program's death; [`recorder`] writes it.
//! - [`workload`]: clients of the cluster that never wait for it: the only part of this list that does I/O, with the recorder.
//! - [`final_read`]: what the servers hold once the faults are healed.
//! - [`checker`]: history and final read against each other, giving a [`verdict`].
//! - [`outage`]: what clients missed, and the arithmetic over repeated runs.
//! - [`report`]: all of it as one document, with the [`budget`] that outages are held beside. Its views are in `output`.
//!
//! - [`scenario`]: what can be rehearsed, as data; [`fitness`]: on which cluster; [`target`]: who is hit; [`fault`]: how;
//!   [`director`]: one run of it, whose beginning is in `arrange`, whose acts are in `acts`, and whose findings are in `notes`.
//! - [`cast`]: who writes meanwhile; `soundness`: what `health` says at the end; [`finale`]: the final read; [`journal`]: what guards and Patroni said;
//!   [`versions`]: what it all ran against; [`traces`]: what is left in the database.
//!
//! The order of a run: [`workload::Workload::prepare`], [`workload::Workload::start`], fault, healing,
//! [`workload::Workload::finish`], final read, [`checker::check`], [`outage::outages`], [`report::Run::judged`].

mod acts;
mod arrange;
pub mod budget;
pub mod cast;
pub mod checker;
pub mod director;
pub mod error;
pub mod fault;
pub mod final_read;
pub mod finale;
pub mod fitness;
pub mod history;
pub mod journal;
pub mod millis;
mod notes;
mod operator;
pub mod outage;
pub mod recorder;
pub mod report;
pub mod scenario;
mod soundness;
pub mod target;
pub mod traces;
pub mod verdict;
pub mod versions;
pub mod workload;

pub use error::DrillError;
