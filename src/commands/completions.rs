//! `completions`: for the shell.

use clap::CommandFactory;

use crate::cli::Cli;
use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which shell.
    pub shell: clap_complete::Shell,
}

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pgclusterctl", &mut script);
    context.ui.print(&String::from_utf8_lossy(&script));
    Ok(Exit::Ok)
}
