//! Running a plan: wave by wave, with events, a lock and a journal.

pub mod event;
pub mod journal;
pub mod lock;
pub mod runner;

pub use event::{Event, Events};
pub use lock::Lock;
