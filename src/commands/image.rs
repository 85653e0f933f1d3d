//! `image build | push | list`: the cluster's images and where they are.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::images::{self, Built, Outcome, Presence, Received, Recipe, Sources, Whereabouts};
use crate::observe::model::Probe;
use crate::output::table::{self, MISSING, UNKNOWN};
use crate::output::ui::Tone;
use crate::output::{Report, Ui};
use crate::remote::fleet::Fleet;
use crate::topology::HostName;

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
        Command::Push => push(context).await,
        Command::List => list(context).await,
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

async fn push(context: &Context) -> Result<Exit, CommandError> {
    let topology = context.topology()?;
    let fleet = Fleet::connect(&topology).await;
    let hosts = images::push(&context.ui, &topology, &fleet).await?;
    let failed = hosts.values().filter(|host| host.failed().is_some()).count();
    let exit = match failed {
        0 => Exit::Ok,
        _ if failed == hosts.len() => Exit::Unreachable,
        _ => Exit::Partial,
    };
    context.ui.result(&PushReport { schema_version: 1, hosts })?;
    Ok(exit)
}

async fn list(context: &Context) -> Result<Exit, CommandError> {
    let topology = context.topology()?;
    let fleet = Fleet::connect(&topology).await;
    let located = images::locate(&topology, &fleet).await;
    let all_answered = located.hosts.values().all(|host| host.known().is_some());
    context.ui.result(&ListReport { schema_version: 1, located })?;
    Ok(if all_answered { Exit::Ok } else { Exit::Unreachable })
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

/// Result of `image push`.
#[derive(Debug, Serialize)]
struct PushReport {
    schema_version: u32,
    hosts: BTreeMap<HostName, Probe<Received>>,
}

impl Report for PushReport {
    fn text(&self, _ui: &Ui) -> String {
        let mut rows = table::table(&["host", "images", "sent", "time"]);
        for column in 1..4 {
            table::align_right(&mut rows, column);
        }
        for (host, received) in &self.hosts {
            let cells = match received {
                Probe::Failed(_) => [UNKNOWN; 3].map(str::to_owned),
                Probe::Known(received) if received.images.is_empty() => ["all there", MISSING, MISSING].map(str::to_owned),
                Probe::Known(received) => {
                    let sent = if received.sent_bytes == 0 { MISSING.to_owned() } else { table::bytes(received.sent_bytes) };
                    [received.images.len().to_string(), sent, table::millis(received.elapsed_ms)]
                }
            };
            rows.add_row([host.to_string()].into_iter().chain(cells));
        }
        let mut text = table::render(&rows);
        for error in self.hosts.values().filter_map(Probe::failed) {
            text.push_str(&format!("{error}\n"));
        }
        text
    }
}

/// Result of `image list`.
#[derive(Debug, Serialize)]
struct ListReport {
    schema_version: u32,
    #[serde(flatten)]
    located: Whereabouts,
}

impl Report for ListReport {
    fn text(&self, ui: &Ui) -> String {
        let Whereabouts { images, here, hosts } = &self.located;
        let heads: Vec<&str> = ["image", "here"].into_iter().chain(hosts.keys().map(HostName::as_str)).collect();
        let mut rows = table::table(&heads);
        for image in images {
            let places = [here].into_iter().chain(hosts.values());
            rows.add_row([image.clone()].into_iter().chain(places.map(|place| cell(ui, place, image))));
        }
        let mut text = table::render(&rows);
        for error in hosts.values().filter_map(Probe::failed) {
            text.push_str(&format!("{error}\n"));
        }
        text
    }
}

fn cell(ui: &Ui, place: &Probe<BTreeMap<String, Presence>>, image: &str) -> String {
    match place.known().map(|images| images.get(image)) {
        None => ui.paint(Tone::Odd, UNKNOWN),
        Some(Some(Presence::Present { .. })) => ui.paint(Tone::Good, "present"),
        Some(Some(Presence::Other { id })) => ui.paint(Tone::Odd, &format!("other {id}")),
        Some(Some(Presence::Missing) | None) => ui.paint(Tone::Bad, "missing"),
    }
}
