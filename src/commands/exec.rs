//! `exec`: a command in a container of the cluster.

use super::session::Session;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::remote::container::Container;
use crate::remote::terminal;

/// Arguments of `exec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Member, etcd member or proxy service.
    pub member: String,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let session = Session::open(context).await?;
    let container = session.fleet.member(&session.topology, &args.member).await?;
    let argv: Vec<_> = args.command.iter().map(String::as_str).collect();
    attach(&container, "", &argv).await
}

/// Runs a program in a container with this program's own stdin and stdout, and ends with its exit code.
pub async fn attach(container: &Container, user: &str, argv: &[&str]) -> Result<Exit, CommandError> {
    let failed = |e| CommandError::new(Exit::Unreachable, format!("{}: the command cannot be run: {e}", container.name));
    let status = terminal::run(container, user, argv).await.map_err(failed)?;
    if status == 0 {
        return Ok(Exit::Ok);
    }
    Err(CommandError::new(Exit::Internal, format!("{}: `{}` ended with exit code {status}", container.name, argv.join(" "))))
}
