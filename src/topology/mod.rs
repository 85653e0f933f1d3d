//! From `topology.toml` to a resolved [`Topology`]: read, checked, completed. Pure: text in, values or findings out.
//!
//! `file` mirrors the format, `schema` reports every structural mistake, `resolve` fills in defaults and places members,
//! `lint` holds findings and the rules between values, `tolerance` says which losses the result survives.

pub mod file;
pub mod ids;
pub mod model;
pub mod span;

pub use ids::{ClusterName, GroupId, HostName, MemberName};
pub use model::Topology;
