//! Highly available, sharded PostgreSQL on plain Docker hosts, from one `topology.toml`.
//!
//! The crate map and the layer rule are in `docs/architecture.md`; `tests/architecture.rs` holds the rule.

pub mod cli;
pub mod commands;
pub mod consent;
pub mod context;
pub mod drill;
pub mod engine;
pub mod error;
pub mod failover;
pub mod guard;
pub mod health;
pub mod images;
pub mod lab;
pub mod observe;
pub mod output;
pub mod plan;
pub mod quantity;
pub mod random;
pub mod remote;
pub mod shards;
pub mod steps;
pub mod templates;
pub mod topology;
pub mod traffic;
pub mod vector;
