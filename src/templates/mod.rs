//! Rendering: from a resolved topology to every file that is deployed. Pure.

pub mod artifacts;

pub use artifacts::Artifacts;
