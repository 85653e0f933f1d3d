//! `image build | push | list`: the cluster's images and where they are.

use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::images::{self, Built, Outcome, Recipe, Sources};
use crate::output::table::{self, MISSING};
use crate::output::{Report, Ui};

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
pub async fn run(context: &Context, command: &Command) -> Result<Exit, CommandError> {
    match command {
        Command::Build(args) => build(context, args).await,
        Command::Push | Command::List => Err(CommandError::new(Exit::Internal, "not built yet")),
    }
}

async fn build(context: &Context, args: &BuildArgs) -> Result<Exit, CommandError> {
    let ui = &context.ui;
    let needed = images::needed(&context.topology()?);
    for own in needed.iter().filter(|image| image.recipe.is_none()) {
        ui.note(format!("{} is named by the topology; it is not built here", own.name));
    }
    let recipes: Vec<Recipe> = needed.into_iter().filter_map(|image| image.recipe).collect();
    let sources = Sources { base: args.base_image.clone(), citus: args.citus_image.clone() };
    let docker = images::local::connect().await?;
    let built = images::build(ui, &docker, &recipes, &sources, args.rebuild).await?;
    ui.result(&BuildReport { schema_version: 1, images: built })?;
    Ok(Exit::Ok)
}

/// Result of `image build`.
#[derive(Debug, Serialize)]
struct BuildReport {
    schema_version: u32,
    images: Vec<Built>,
}

impl Report for BuildReport {
    fn text(&self, _ui: &Ui) -> String {
        let mut rows = table::table(&["image", "outcome", "size", "time"]);
        table::align_right(&mut rows, 2);
        table::align_right(&mut rows, 3);
        for image in &self.images {
            let (outcome, time) = match image.outcome {
                Outcome::Present => ("present", MISSING.to_owned()),
                Outcome::Built => ("built", table::millis(image.elapsed_ms)),
            };
            rows.add_row([image.image.clone(), outcome.to_owned(), table::bytes(image.size_bytes), time]);
        }
        table::render(&rows)
    }
}
