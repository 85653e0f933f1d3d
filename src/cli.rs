//! The command line: clap's root, the global flags and the list of commands. Parsing only.

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};

use crate::commands;

/// Highly available, sharded PostgreSQL on plain Docker hosts, from one topology.toml.
#[derive(Debug, Parser)]
#[command(name = "pgclusterctl", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Start with `pgclusterctl new`, or `pgclusterctl lab up` for three hosts on this machine.\n\n\
    Exit codes: 0 ok, 1 internal, 2 usage, 3 topology invalid, 4 unreachable or login refused, 5 unhealthy or pending,\n\
    6 refused or locked, 7 partly applied, 130 interrupted.")]
pub struct Cli {
    /// Flags that every command understands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command understands.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// The cluster's topology file.
    #[arg(short, long, global = true, value_name = "FILE", env = "PGCLUSTERCTL_TOPOLOGY", default_value = "topology.toml")]
    pub topology: PathBuf,
    /// How results are printed on stdout.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Answer every question with yes; what loses data still wants the cluster's name.
    #[arg(short, long, global = true)]
    pub yes: bool,
    /// More detail; twice for still more.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// No progress and no notes, only results and errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// No colours, also without a terminal or with NO_COLOR set.
    #[arg(long, global = true)]
    pub no_color: bool,
}

/// How results are printed on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs; stable keys, `schema_version` in each document.
    Json,
    /// Of drills: test results as CI systems read them.
    Junit,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented topology.toml to start from.
    New(commands::new::Args),
    /// Check and explain the topology file; touches no host.
    #[command(subcommand)]
    Topology(commands::topology::Command),
    /// Write everything that would be deployed into a folder.
    Render(commands::render::Args),
    /// Show what `up` would do, wave by wave, with diffs.
    Plan(commands::plan::Args),
    /// Prepare the hosts: checks, Swarm, labels, networks, secrets.
    Init(commands::init::Args),
    /// Build the cluster's images and carry them to the hosts.
    #[command(subcommand)]
    Image(commands::image::Command),
    /// Bring the cluster to what the topology says.
    Up(commands::up::Args),
    /// Remove the cluster's services; data only with --volumes.
    Down(commands::down::Args),
    /// Show groups, members, hosts, etcd, proxies and Citus.
    Status(commands::status::Args),
    /// Run named checks, each with evidence and remedy.
    Health(commands::health::Args),
    /// Make a standby the leader although the leader is lost or not to be trusted (unplanned).
    Failover(commands::failover::Args),
    /// Hand leadership to a standby while all is well (planned).
    Switchover(commands::switchover::Args),
    /// Change the hosts of a cluster that runs.
    #[command(subcommand)]
    Host(commands::host::Command),
    /// Show where the rows are, and move them.
    #[command(subcommand)]
    Shards(commands::shards::Command),
    /// Add shard groups and take them out, with the topology file, the data and all the rest.
    #[command(subcommand)]
    Scale(commands::scale::Command),
    /// The application's tables, as the topology declares them.
    #[command(subcommand)]
    Schema(commands::schema::Command),
    /// Show what clients do, on all nodes of a sharded cluster.
    Activity(commands::traffic::ActivityArgs),
    /// Show who waits for whose lock, across nodes.
    Locks(commands::traffic::LocksArgs),
    /// Show which tenants ask for most, and on which node.
    Tenants(commands::traffic::TenantsArgs),
    /// Show prepared transactions, and end what lost ones left behind.
    #[command(subcommand)]
    Tx(commands::traffic::TxCommand),
    /// Tables with vectors, and what searching them costs.
    #[command(subcommand)]
    Vector(commands::vector::Command),
    /// Open psql on a leader or a member, as postgres, without a password.
    Psql(commands::psql::Args),
    /// Print a password of the cluster.
    Password(commands::password::Args),
    /// Show a member's log.
    Logs(commands::logs::Args),
    /// Run a command in a member's container.
    Exec(commands::exec::Args),
    /// Open a port of a member on this machine's loopback.
    Forward(commands::forward::Args),
    /// Real Docker hosts on one machine, to try and to test.
    #[command(subcommand)]
    Lab(commands::lab::Command),
    /// Break the cluster on purpose and prove what it promised.
    #[command(subcommand)]
    Drill(commands::drill::Command),
    /// Watch over leader leases: runs as a service of the cluster, deployed by `up`.
    Guard(commands::guard::Args),
    /// Print a shell completion script.
    Completions(commands::completions::Args),
    /// Print the manual page, or write all of them into a folder.
    Man(commands::man::Args),
}
