//! The container images of a cluster: built from what is embedded in this program, and carried to the hosts.
//!
//! Called by `commands::image`, by `up` before it changes anything, and by the lab for its hosts' image. Names come from
//! [`crate::topology::images`]: a tag is the hash of what it was built from.

mod build;
mod carry;
mod context;
mod error;
mod hosts;
pub mod local;
mod recipe;
mod registry;
mod sources;
mod spool;
mod survey;
mod tool;

use bollard::Docker;

pub use build::{Built, Outcome, build};
pub use carry::Received;
pub use error::ImageError;
pub use hosts::{Whereabouts, locate, push, require};
pub use recipe::{Needed, Recipe, needed};
pub use sources::Sources;
pub use survey::{Presence, Presences};

use crate::output::Ui;

/// Name of the image of a lab's hosts, built if it is not there.
pub async fn lab_host(ui: &Ui, docker: &Docker) -> Result<String, ImageError> {
    let recipe = recipe::lab_host();
    let sources = Sources { base: std::env::var("BASE_IMAGE").ok(), citus: None };
    build(ui, docker, std::slice::from_ref(&recipe), &sources, false).await?;
    Ok(recipe.tag)
}
