//! Deciding what to do: pure functions from the topology and what was seen to a plan, and from a plan to its diffs.

pub mod action;
pub mod candidate;
pub mod condition;
pub mod diff;
pub mod dynamic;
pub mod init;
pub mod member;
pub mod planner;
pub mod preflight;
pub mod removal;
pub mod remove;
pub mod replace;
pub mod report;

pub use action::{Action, Change, Condition, Plan, Wave};
pub use planner::{Refusal, Refused, plan};
pub use report::PlanReport;
