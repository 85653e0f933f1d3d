//! `logs`: what a member printed.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;

use super::session::Session;
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
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let session = Session::open(context).await?;
    let container = session.fleet.latest(&session.topology, &args.member).await?;
    let options =
        LogsOptionsBuilder::default().stdout(true).stderr(true).follow(args.follow).tail(&args.tail.to_string()).build();
    let mut lines = container.docker.logs(&container.id, Some(options));
    while let Some(part) = lines.next().await {
        let part =
            part.map_err(|e| CommandError::new(Exit::Unreachable, format!("{}: its log broke off: {e}", args.member)))?;
        let (LogOutput::StdOut { message } | LogOutput::StdErr { message } | LogOutput::Console { message }) = part else {
            continue;
        };
        context.ui.print(&String::from_utf8_lossy(&message));
    }
    Ok(Exit::Ok)
}
