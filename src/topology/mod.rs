//! From `topology.toml` to a resolved [`Topology`]: read, checked, completed. Pure: text in, values or findings out.
//!
//! `file` mirrors the format, `schema` reports every structural mistake, `sections` reads each part and what it means, `resolve`
//! ties them together, `placement` chooses hosts, `finding` is what is wrong and how it is shown. From the result follow
//! PostgreSQL's settings (`resources`), image names (`images`) what losses cost (`tolerance`) and for how long
//! (`budget`, from the constants of `timing`), which `promise` limits; `tables` are those of the application; `new` writes a
//! first file, `edit` changes one.

pub mod budget;
pub mod edit;
pub mod file;
pub mod finding;
pub mod ids;
pub mod images;
pub mod limits;
pub mod model;
pub mod new;
pub mod placement;
pub mod promise;
pub mod resolve;
pub mod resources;
pub mod schema;
mod sections;
pub mod span;
pub mod tables;
pub mod timing;
pub mod tolerance;
pub mod units;

pub use finding::{Finding, Severity};
pub use ids::{ClusterName, GroupId, HostName, MemberName};
pub use model::Topology;
pub use promise::{Event, LossLimit, Promise};
pub use resolve::{Loaded, TopologyError, load, load_with_warnings, parse};
pub use sections::owner_of;
pub use tables::TableName;

/// A topology of `examples/` by name, e.g. `three-hosts`: what tests of all modules start from.
///
/// # Panics
/// When there is no such example or it is invalid.
#[doc(hidden)]
pub fn example(name: &str) -> Topology {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(format!("{name}.toml"));
    load(&path).unwrap_or_else(|error| panic!("{error}"))
}
