//! `new`: a commented topology.toml to start from.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};

use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::topology::new;

/// Arguments of `new`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Hosts as name=address, address or name, separated by commas. Default: three with example addresses.
    #[arg(long, value_delimiter = ',')]
    pub hosts: Vec<String>,
    /// Number of shard groups; 0 for a plain Patroni cluster.
    #[arg(long, default_value_t = 3)]
    pub shards: u32,
    /// Name of the cluster.
    #[arg(long, default_value = "pgcluster")]
    pub name: String,
    /// Replace a file that exists.
    #[arg(long)]
    pub force: bool,
}

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let path = &context.topology_path;
    let hosts = new::hosts(&args.hosts, lookup)?;
    let text = new::text(&args.name, &hosts, args.shards);
    let mut options = std::fs::OpenOptions::new();
    // Without --force the system itself refuses: no moment in which a file of somebody else could be overwritten.
    if args.force {
        options.write(true).create(true).truncate(true)
    } else {
        options.write(true).create_new(true)
    };
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let refused = CommandError::new(Exit::Refused, format!("{}: {error}", path.display()));
        if error.kind() == std::io::ErrorKind::AlreadyExists { refused.hint("add --force to replace it") } else { refused }
    })?;
    context.ui.note(format!("{} is written. Read it through, then:", path.display()));
    context.ui.note("  pgclusterctl topology check && pgclusterctl topology show\n  pgclusterctl init");
    Ok(Exit::Ok)
}

/// The first IPv4 address of a host name.
fn lookup(name: &str) -> Option<Ipv4Addr> {
    (name, 0).to_socket_addrs().ok()?.find_map(|address| match address.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
}
