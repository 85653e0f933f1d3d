//! `image build | push | list`: the cluster's images and where they are.

use crate::context::Context;
use crate::error::{CommandError, Exit};

/// What to do with images.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Build the images that the topology needs with the local Docker.
    Build(BuildArgs),
    /// Carry them to the hosts that lack them.
    Push,
    /// Show which host has which image.
    List,
}

/// Arguments of `image build`.
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// Image that Citus is copied from.
    #[arg(long, env = "CITUS_IMAGE", value_name = "IMAGE")]
    pub citus_image: Option<String>,
    /// Debian base image.
    #[arg(long, env = "BASE_IMAGE", value_name = "IMAGE")]
    pub base_image: Option<String>,
    /// Build again although the image exists.
    #[arg(long)]
    pub rebuild: bool,
}

/// Runs the command.
pub async fn run(_context: &Context, _command: &Command) -> Result<Exit, CommandError> {
    Err(CommandError::new(Exit::Internal, "not built yet"))
}
