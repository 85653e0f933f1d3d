//! `vector`: tables with vectors, and what searches of them cost.

use super::password::{self, Owner};
use super::session::Session;
use crate::context::Context;
use crate::drill::workload::Target;
use crate::error::{CommandError, Exit};
use crate::observe::Scope;
use crate::output::Step;
use crate::quantity::bytes;
use crate::topology::{GroupId, Topology};
use crate::vector::VectorError;
use crate::vector::bench::{self, BenchOptions};
use crate::vector::report::{BenchReport, SCHEMA_VERSION, TableReport, compare};
use crate::vector::schema::{Distance, Engine, Identifier, TableSpec};
use crate::vector::table::Maker;

/// Subcommands of `vector`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a table with vectors, distributed, with an HNSW index on every shard.
    Init(InitArgs),
    /// Measure searches on tables of its own: recall, latency and rate, over all shards and on one node.
    Bench(BenchArgs),
}

/// Arguments of the index.
#[derive(Debug, clap::Args)]
pub struct IndexArgs {
    /// What searches order by.
    #[arg(long, value_enum, default_value_t)]
    pub distance: Distance,
    /// Edges of a node in the index' graph.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..=100))]
    pub m: u32,
    /// Candidates while the index is built, at least twice as many as edges.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(4..=1000))]
    pub ef_construction: u32,
    /// Shards of the table; each search of all rows goes through as many graphs. Default: `citus.shard_count`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub shards: Option<u32>,
}

/// Arguments of `vector init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Its name.
    #[arg(long, value_name = "NAME")]
    pub table: Identifier,
    /// Numbers in a vector; an index takes no more than 2000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub dims: u32,
    /// Rows with the same value lie on the same shard.
    #[arg(long, value_name = "NAME", default_value = "tenant")]
    pub distribution_column: Identifier,
    /// The index.
    #[command(flatten)]
    pub index: IndexArgs,
}

/// Arguments of `vector bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Rows of each table.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..=100_000_000))]
    pub rows: u64,
    /// Numbers in a vector.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub dims: u32,
    /// Values of the distribution column.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    pub tenants: u64,
    /// Searches at each setting.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(10..=100_000))]
    pub queries: u64,
    /// Connections, each with one search after another.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub clients: u16,
    /// Candidates while the index is searched, one or more settings.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "40,100,200", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub ef: Vec<u32>,
    /// What all vectors follow from.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Leave the tables.
    #[arg(long)]
    pub keep: bool,
    /// The index.
    #[command(flatten)]
    pub index: IndexArgs,
}

/// Runs the command.
pub async fn run(context: &Context, command: &Command) -> Result<Exit, CommandError> {
    match command {
        Command::Init(args) => init(context, args).await,
        Command::Bench(args) => measure(context, args).await,
    }
}

fn spec(
    topology: &Topology,
    name: Identifier,
    dims: u32,
    distribution: Identifier,
    index: &IndexArgs,
) -> Result<TableSpec, CommandError> {
    let engine = Engine::of(topology.vector).ok_or(VectorError::NoEngine)?;
    let IndexArgs { distance, m, ef_construction, shards } = *index;
    let usage = |text: String| Err(CommandError::new(Exit::Usage, text));
    if ef_construction < 2 * m {
        return usage(format!("--ef-construction {ef_construction} is less than twice --m {m}"));
    }
    if shards.is_some() && topology.citus.is_none() {
        return usage(format!("{} has no shard groups, so --shards means nothing", topology.name));
    }
    if ["id", "embedding", "payload"].contains(&distribution.to_string().as_str()) {
        return usage(format!("{distribution} is a column of its own, not the one to distribute by"));
    }
    Ok(TableSpec { name, engine, dims, distance, m, ef_construction, distribution, shards })
}

async fn init(context: &Context, args: &InitArgs) -> Result<Exit, CommandError> {
    let topology = context.topology()?;
    let spec = spec(&topology, args.table.clone(), args.dims, args.distribution_column.clone(), &args.index)?;
    let session = Session::open(context).await?;
    let leader = session.leader(GroupId::COORDINATOR).await?;
    let maker = Maker::open(&session.topology, &session.fleet, &leader).await?;
    let found = maker.look(&spec).await?;
    let statements = spec
        .missing(found.as_ref(), session.topology.citus.is_some())
        .map_err(|differences| VectorError::Different { table: spec.name.to_string(), differences })?;
    if !statements.is_empty() {
        for statement in &statements {
            context.ui.note(format!("  {statement}"));
        }
        let consent = context.ui.confirm(&format!("Run this as app on {leader}?"))?;
        let step = Step::start(&context.ui, format!("making {}", spec.name));
        maker.make(&statements, &consent).await?;
        step.done("");
    }
    context.ui.result(&TableReport { schema_version: SCHEMA_VERSION, table: spec.name.to_string(), statements })?;
    Ok(Exit::Ok)
}

async fn measure(context: &Context, args: &BenchArgs) -> Result<Exit, CommandError> {
    let topology = context.topology()?;
    let name = |text: &str| text.parse::<Identifier>().map_err(|why| CommandError::new(Exit::Internal, why));
    let options = BenchOptions {
        table: spec(&topology, name("vectors")?, args.dims, name("tenant")?, &args.index)?,
        rows: args.rows,
        tenants: args.tenants,
        queries: args.queries,
        clients: args.clients,
        efs: args.ef.clone(),
        seed: args.seed,
        keep: args.keep,
    };
    let session = Session::open(context).await?;
    let topology = &session.topology;
    let citus = topology.citus.is_some();
    // Of a vector four bytes for each number; the same again, and edges, in the index.
    let size = 2 * args.rows * (4 * u64::from(args.dims) + 100) * if citus { 2 } else { 1 };
    let question = format!(
        "This loads {} vectors, about {} on disk, and keeps {} busy with {} clients. Go on?",
        args.rows,
        bytes(size),
        topology.name,
        args.clients
    );
    let consent = context.ui.confirm(&question)?;
    let started_at = jiff::Timestamp::now();
    let target = Target {
        host: topology.client_address().to_string(),
        port: 5432,
        user: "app".into(),
        password: password::read(&session, Owner::App).await?,
        dbname: topology.database.clone(),
    };
    let hosts = session.observe(Scope { hosts: true, ..Scope::default() }).await.hosts;
    let known = hosts.iter().filter_map(|(name, probe)| Some((name.to_string(), probe.known()?.cpus)));
    let client = std::thread::available_parallelism().map_or(0, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
    let cores = known.chain([("client".to_owned(), client)]).collect();

    let _guard = context.interrupt.guard();
    // A change of leader meanwhile would be measured, too.
    let lock = session.lock(context, "vector bench").await?;
    let measured = bench::run(&options, &target, citus, &context.ui, &context.interrupt, &consent).await;
    lock.release().await;
    let mut measured = measured?;
    measured.versions.insert("pgclusterctl".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let table = &options.table;
    context.ui.result(&BenchReport {
        schema_version: SCHEMA_VERSION,
        cluster: topology.name.to_string(),
        started_at,
        engine: topology.vector.as_str().to_owned(),
        distance: table.distance,
        seed: options.seed,
        rows: options.rows,
        dims: table.dims,
        tenants: options.tenants,
        m: table.m,
        ef_construction: table.ef_construction,
        queries: options.queries,
        clients: options.clients,
        versions: measured.versions,
        cores,
        maintenance_work_mem: measured.maintenance_work_mem,
        tables: measured.tables,
        comparison: compare(&measured.searches),
        searches: measured.searches,
    })?;
    Ok(Exit::Ok)
}
