//! `--coordinator | --shard N`: which group a command is about.

use crate::topology::GroupId;

/// Exactly one group.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
pub struct GroupArgs {
    /// The coordinators' group.
    #[arg(long)]
    pub coordinator: bool,
    /// That shard group.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub shard: Option<u32>,
}

impl GroupArgs {
    /// The group that was named.
    pub fn id(&self) -> GroupId {
        self.shard.map_or(GroupId::COORDINATOR, GroupId)
    }
}
