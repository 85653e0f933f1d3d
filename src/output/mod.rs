//! What people and programs see: results on stdout, everything else on stderr.

pub mod consent;
pub mod table;
pub mod ui;

pub use consent::Consent;
pub use ui::{Report, Ui};
