//! What people and programs see: results on stdout, everything else on stderr.

pub mod budget;
pub mod drill;
pub mod health;
pub mod junit;
pub mod plan;
pub mod progress;
pub mod run;
pub mod scale;
pub mod screen;
pub mod shards;
pub mod status;
pub mod table;
pub mod tenants;
pub mod traffic;
pub mod ui;
pub mod vector;

/// A line of a service's log on stderr, with the time in UTC.
pub fn log_line(text: &str) {
    let now = jiff::Timestamp::now();
    eprintln!("{now:.3} {text}");
}

pub use progress::Step;
pub use ui::{Report, Ui};
