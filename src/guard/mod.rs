//! The lease guard: a service on each etcd host that ends the lease of a leader which is proved to be gone.
//!
//! Patroni takes no `ttl` below 20 s, though by its own rule an isolated leader has stepped down `loop_wait + 2 · retry_timeout`
//! after it last renewed its lease (7 s with our defaults). The guard waits for that time, by its own clock, and a margin, and
//! revokes the lease; what follows is Patroni's ordinary election. The argument why no two leaders acknowledge, and its limits, are
//! in `docs/guard.md`; [`watch`] and [`deed`] are the parts of it that decide, pure and tested in a simulation of what can go wrong.
//!
//! Deployed by `up`; `pgclusterctl guard` is what runs in the container.

pub mod clock;
pub mod containers;
pub mod deed;
pub mod error;
pub mod heartbeats;
pub mod metrics;
#[cfg(test)]
mod model;
pub mod placement;
pub mod service;
pub mod store;
pub mod watch;

pub use error::GuardError;
pub use service::{Options, run};
