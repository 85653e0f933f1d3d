//! `lab up | status | down | kill | start`: real Docker hosts on one machine.

use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;

use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::lab::{self, LabName};

/// What to do with the lab.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Start the hosts, and write keys, known_hosts and a matching topology.toml.
    Up(UpArgs),
    /// Show the hosts.
    Status(NameArg),
    /// Remove the hosts with everything on them; keys and topology stay.
    Down(NameArg),
    /// Cut a host's power.
    Kill {
        /// Host, e.g. host1.
        host: String,
        /// Which lab.
        #[command(flatten)]
        lab: NameArg,
    },
    /// Switch killed hosts on again.
    Start {
        /// Hosts, e.g. host1; all that are off when none is named.
        hosts: Vec<String>,
        /// Which lab.
        #[command(flatten)]
        lab: NameArg,
    },
}

/// Which lab.
#[derive(Debug, clap::Args)]
pub struct NameArg {
    /// Name of the lab; several can run at once.
    #[arg(long, default_value = "lab")]
    pub name: LabName,
}

/// Arguments of `lab up`.
#[derive(Debug, clap::Args)]
pub struct UpArgs {
    /// Which lab.
    #[command(flatten)]
    pub lab: NameArg,
    /// Number of hosts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=i64::from(lab::MAX_HOSTS)))]
    pub hosts: u8,
    /// Number of further hosts that the topology does not name, for `host replace` and the like.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..i64::from(lab::MAX_HOSTS)))]
    pub spare: u8,
    /// Number of shard groups in the topology that is written; 0 makes one without Citus [default: as many as there are, or 3].
    #[arg(long)]
    pub shards: Option<u32>,
    /// Folder for keys, known_hosts and topology.toml [default: the lab's name].
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
    /// Addresses of the hosts: host1 gets .11, the proxies' virtual address is .100 [default: 172.30.77.0/24].
    #[arg(long, value_name = "CIDR")]
    pub subnet: Option<Ipv4Net>,
}

/// Runs the command.
pub async fn run(context: &Context, command: &Command) -> Result<Exit, CommandError> {
    let ui = &context.ui;
    match command {
        Command::Up(args) => {
            let request = lab::Request {
                name: args.lab.name.clone(),
                folder: args.dir.clone(),
                subnet: args.subnet,
                hosts: args.hosts,
                spares: args.spare,
                shards: args.shards,
            };
            let report = lab::up(ui, &request).await?;
            ui.result(&report)?;
            ui.note(format!("\nNext: pgclusterctl --topology {} init", short(&report.topology).display()));
            Ok(Exit::Ok)
        }
        Command::Status(args) => {
            let report = lab::status(&args.name).await?;
            ui.result(&report)?;
            Ok(if report.is_healthy() { Exit::Ok } else { Exit::Unhealthy })
        }
        Command::Down(args) => {
            let name = &args.name;
            let Some(existing) = lab::what_goes(name).await? else {
                ui.note(format!("there is no lab {name}; nothing to remove"));
                return Ok(Exit::Ok);
            };
            let hosts = lab::counted(existing.hosts.len());
            let consent = ui.confirm(&format!("Remove lab {name}, {hosts} with all clusters and data on them?"))?;
            lab::down(ui, name, consent).await?;
            Ok(Exit::Ok)
        }
        Command::Kill { host, lab } => {
            if lab::kill(&lab.name, host).await? {
                ui.note(format!("{host} is off; switch it on with: pgclusterctl lab start{} {host}", lab.name.flag()));
            } else {
                ui.note(format!("{host} was off already"));
            }
            Ok(Exit::Ok)
        }
        Command::Start { hosts, lab } => {
            let started = lab::start(ui, &lab.name, hosts).await?;
            ui.note(if started.is_empty() {
                "no host was off".to_owned()
            } else {
                format!("on again: {}", started.join(", "))
            });
            Ok(Exit::Ok)
        }
    }
}

/// A path as one would type it here.
fn short(path: &Path) -> &Path {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path)
}
