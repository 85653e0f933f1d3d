//! `psql`: a shell on a leader or a member, as postgres over the local socket.

use super::exec::attach;
use super::session::Session;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::topology::GroupId;

/// Arguments of `psql`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// That member instead of the coordinator leader.
    #[arg(long, value_name = "MEMBER", conflicts_with = "shard")]
    pub member: Option<String>,
    /// The leader of that shard group.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub shard: Option<u32>,
    /// Arguments for psql itself.
    #[arg(last = true)]
    pub args: Vec<String>,
}

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let session = Session::open(context).await?;
    let member = match &args.member {
        Some(member) => member.clone(),
        None => session.leader(args.shard.map_or(GroupId::COORDINATOR, GroupId)).await?,
    };
    let container = session.fleet.member(&session.topology, &member).await?;
    let mut argv = vec!["psql", "--dbname", &session.topology.database];
    argv.extend(args.args.iter().map(String::as_str));
    attach(&container, "postgres", &argv).await
}
