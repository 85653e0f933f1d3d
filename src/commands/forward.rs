//! `forward`: a port of a member on the loopback of this machine.

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Arguments of `forward`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Member, etcd member or proxy service.
    pub member: String,
    /// Port of the member.
    pub port: u16,
    /// Port on 127.0.0.1. Default: a free one.
    #[arg(long)]
    pub local: Option<u16>,
}

/// Runs the command.
pub async fn run(_context: &Context, _args: &Args) -> Result<Exit, CommandError> {
    Err(CommandError::new(Exit::Internal, "not built yet"))
}
