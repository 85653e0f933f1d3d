//! `down`: removes the services, and with consent the data.

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Arguments of `down`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also delete the data volumes, secrets and networks of the cluster. There is no way back.
    #[arg(long)]
    pub volumes: bool,
    /// The name of the cluster, typed instead of the question that --volumes asks.
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
}

/// Runs the command.
pub async fn run(_context: &Context, _args: &Args) -> Result<Exit, CommandError> {
    Err(CommandError::new(Exit::Internal, "not built yet"))
}
