//! Where the rows are: tables, shards and their placements as Citus knows them, how evenly they lie, and what a move of them
//! needs. Values in, values out; [`crate::observe::shards`] reads them, [`crate::steps::rebalance`] acts on them.

mod balance;
mod disk;
#[cfg(test)]
pub mod fixture;
mod job;
mod model;
mod moves;
mod obstacle;
mod pace;
mod split;
mod strategy;
mod tables;

pub use balance::{Load, imbalance_percent, loads, shared};
pub use job::{FinishedMove, Job, JobState, JobWords, NO_WORKER, RunningMove, way_out};
pub use model::{Node, Placement, ShardMap, Table, TableKind};
pub use moves::{Estimate, Move, PlannedShard, TransferMode, estimate, moves};
pub use obstacle::{MoveFacts, Obstacle, Room, Wanted, obstacles};
pub use pace::{Pace, Speed};
pub use split::split_points;
pub use strategy::{Strategy, unfit};
pub use tables::{CitusTable, TableFacts, TableRow, TableState, TablesSeen, Task, compare};
