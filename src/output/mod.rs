//! What people and programs see: results on stdout, everything else on stderr.

pub mod drill;
pub mod health;
pub mod junit;
pub mod plan;
pub mod progress;
pub mod run;
pub mod screen;
pub mod status;
pub mod table;
pub mod ui;

pub use progress::Step;
pub use ui::{Report, Ui};
