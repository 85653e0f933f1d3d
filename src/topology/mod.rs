//! From `topology.toml` to a resolved [`Topology`]: read, checked, completed. Pure: text in, values or findings out.
//!
//! `file` mirrors the format, `schema` reports every structural mistake, `resolve` fills in defaults and places members,
//! `lint` holds findings and the rules between values, `tolerance` says which losses the result survives.

pub mod file;
pub mod finding;
pub mod ids;
pub mod images;
pub mod model;
pub mod placement;
pub mod resolve;
pub mod resources;
pub mod schema;
mod sections;
pub mod span;
pub mod units;

pub use finding::{Finding, Severity};
pub use ids::{ClusterName, GroupId, HostName, MemberName};
pub use model::Topology;
pub use resolve::{TopologyError, load, parse};
