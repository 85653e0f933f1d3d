//! `logs`: what a member printed.

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Member, etcd member or proxy service, e.g. worker-1-1, etcd-2, haproxy-1.
    pub member: String,
    /// Go on until interrupted.
    #[arg(short, long)]
    pub follow: bool,
    /// Number of lines from the end.
    #[arg(short = 'n', long, default_value_t = 200)]
    pub tail: u32,
}

/// Runs the command.
pub async fn run(_context: &Context, _args: &Args) -> Result<Exit, CommandError> {
    Err(CommandError::new(Exit::Internal, "not built yet"))
}
