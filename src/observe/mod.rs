//! Looking at a cluster without changing it. Collectors run in parallel, each with its own deadline.

pub mod model;
pub mod patroni;

pub use model::{Observed, Probe, ProbeError};
