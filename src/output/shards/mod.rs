//! `shards` as data and as tables.

mod job;
mod list;
mod plan;
mod progress;
mod tables;

pub use job::JobReport;
pub use list::{By, ListReport, WhereReport};
pub use plan::PlanReport;
pub use progress::{Following, doing, rate};
pub use tables::TablesReport;

/// Version of the JSON documents: raised when a key changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;
