//! Rendering: from a resolved topology to every file that is deployed.
//!
//! Called by `render`, `plan` and `up`. Pure: the same topology gives the same bytes and hashes, on any machine, at any time.
//! One module per template holds its typed view; [`engine`] embeds the templates; [`services`] puts the services together.

pub mod artifacts;

mod dynamic;
mod engine;
mod haproxy;
mod keepalived;
mod member;
mod network;
mod pgbouncer;
mod services;
mod stack;

use std::collections::BTreeMap;

use crate::error::{Exit, Failure};
use crate::topology::Topology;

pub use artifacts::Artifacts;
pub use services::GUARD_METRICS;
pub use stack::stack_file;

/// Why a topology could not be rendered. The templates are part of the program, so this is always its own fault.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A template asks for something its view does not have.
    #[error("cannot render {template}")]
    Template {
        /// Name under `templates/`.
        template: &'static str,
        /// What tera says.
        #[source]
        source: tera::Error,
    },
}

impl Failure for RenderError {
    fn exit(&self) -> Exit {
        Exit::Internal
    }

    fn hints(&self) -> Vec<String> {
        vec!["this is a bug of pgclusterctl: please report it together with your topology.toml".into()]
    }
}

/// Renders everything that `topology` asks for.
pub fn render(topology: &Topology) -> Result<Artifacts, RenderError> {
    let mut configs = BTreeMap::new();
    let services = services::all(topology, &mut configs)?;
    let dynamic = topology.groups.iter().map(|group| (group.id, dynamic::configuration(topology, group))).collect();
    Ok(Artifacts { configs, services, dynamic })
}

#[cfg(test)]
mod tests;
