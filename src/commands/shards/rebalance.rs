//! `shards rebalance`, `drain` and `status`: Citus' background job, started and followed.

use std::time::{Duration, Instant};

use super::{Shards, carried, catalog, ready};
use crate::consent::Consent;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::health::repair::Repair;
use crate::observe::shards::{Catalog, PlanOptions};
use crate::output::shards::{Following, JobReport, PlanReport};
use crate::shards::{Job, JobState, Node, TransferMode, Wanted, moves, obstacles, unfit};
use crate::steps::rebalance::{self, ShardError, Start};
use crate::topology::{GroupId, HostName};

/// Pause between two looks at what moves.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// The coordinators' leader may change while a rebalance runs: how long it is waited for.
const LEADERLESS: Duration = Duration::from_secs(60);

/// Arguments of `shards rebalance`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A strategy of pg_dist_rebalance_strategy. Default: Citus' own default, by_disk_size.
    #[arg(long, value_name = "NAME")]
    pub strategy: Option<String>,
    /// How far from the mean a group may stay, 0 to 1. Default: the strategy's.
    #[arg(long, value_name = "PART", value_parser = part)]
    pub threshold: Option<f32>,
    /// Only empty the groups that shall have no shards.
    #[arg(long)]
    pub drain_only: bool,
    /// How it is run.
    #[command(flatten)]
    pub how: How,
}

/// How shards are moved, by whatever command.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Moving {
    /// How rows get to their new place.
    #[arg(long, value_enum, value_name = "MODE", default_value_t)]
    pub transfer: TransferMode,
    /// Moves at once; more take more of the nodes away from clients.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub parallel: u32,
}

impl Default for Moving {
    /// While clients write, one move after another.
    fn default() -> Self {
        Self { transfer: TransferMode::default(), parallel: 1 }
    }
}

/// How a group that is new gets its shards.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Filling {
    /// A strategy of pg_dist_rebalance_strategy. Default: Citus' own default, by_disk_size.
    #[arg(long, value_name = "NAME")]
    pub strategy: Option<String>,
    /// How they are moved.
    #[command(flatten)]
    pub moving: Moving,
}

impl Filling {
    fn options(&self) -> PlanOptions {
        PlanOptions { strategy: self.strategy.clone(), ..PlanOptions::default() }
    }
}

/// How a command that moves shards is run.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct How {
    /// How they are moved.
    #[command(flatten)]
    pub moving: Moving,
    /// Show what would be moved, and change nothing.
    #[arg(long)]
    pub plan: bool,
    /// Do not wait for the end.
    #[arg(long)]
    pub detach: bool,
}

/// Arguments of `shards status`.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Follow it until it is over.
    #[arg(short, long)]
    pub follow: bool,
}

/// Arguments of `shards drain`.
#[derive(Debug, clap::Args)]
pub struct DrainArgs {
    /// What is emptied.
    #[command(flatten)]
    pub what: Drained,
    /// Let the groups take shards again; a rebalance gives them some.
    #[arg(long, conflicts_with_all = ["plan", "detach", "parallel"])]
    pub undo: bool,
    /// How it is run.
    #[command(flatten)]
    pub how: How,
}

/// What is emptied.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Drained {
    /// That shard group.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub shard: Option<u32>,
    /// The shard groups whose leader is on that host now.
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
}

fn part(text: &str) -> Result<f32, String> {
    let part = text.parse::<f32>().ok().filter(|part| (0.0..=1.0).contains(part));
    part.ok_or_else(|| "a part of the mean, 0 to 1, as in 0.1".into())
}

/// Runs `shards rebalance`.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let shards = Shards::open(context).await?;
    let options = PlanOptions {
        strategy: args.strategy.clone(),
        threshold: args.threshold,
        drain_only: args.drain_only,
        without: Vec::new(),
    };
    fit(&shards.catalog, &options).await?;
    let report = checked(context, &shards, &options, args.how.moving).await?;
    if args.how.plan || report.moves.is_empty() {
        context.ui.result(&report)?;
        return Ok(Exit::Ok);
    }
    context.ui.aside(&report);
    let consent = context.ui.confirm("Move these shards?")?;
    let Some(id) = start(context, &shards, &report.repairs, options, args.how.moving, &consent).await? else {
        context.ui.note("nothing to move");
        return Ok(Exit::Ok);
    };
    begun(context, &shards, id, &args.how).await
}

/// Runs `shards drain`.
pub async fn drain(context: &Context, args: &DrainArgs) -> Result<Exit, CommandError> {
    let shards = Shards::open(context).await?;
    let groups = drained(&shards, &args.what)?;
    let names = groups.iter().map(GroupId::to_string).collect::<Vec<_>>().join(", ");
    if args.undo {
        let consent = context.ui.confirm(&format!("let {names} take shards again?"))?;
        let work = async { Ok(mark(&shards, &groups, true, &consent).await?) };
        shards.session.locked(context, "shards drain --undo", work).await?;
        context.ui.note(format!("{names} takes shards again: `pgclusterctl shards rebalance` gives it some"));
        return Ok(Exit::Ok);
    }
    if shards.map.nodes.iter().filter(|(group, node)| node.takes_shards && !groups.contains(group)).count() == 0 {
        let error = CommandError::new(Exit::Refused, format!("no other shard group could take the shards of {names}"));
        return Err(error.hint("take another group in first; `pgclusterctl shards list` shows who takes shards"));
    }
    let without = groups.iter().filter_map(|group| shards.map.nodes.get(group)).map(|node| node.id).collect();
    let options = PlanOptions { drain_only: true, without, ..PlanOptions::default() };
    let report = checked(context, &shards, &options, args.how.moving).await?;
    if args.how.plan {
        context.ui.result(&report)?;
        return Ok(Exit::Ok);
    }
    context.ui.aside(&report);
    let consent = context.ui.confirm(&format!("Drain {names}? It gets no new shards until `shards drain --undo`."))?;
    let work = async {
        ready::mend(context, &shards, &report.repairs, &consent).await?;
        Ok(empty(&shards, &groups, start_of(options, args.how.moving), !report.moves.is_empty(), &consent).await?)
    };
    let Some(id) = shards.session.locked(context, "shards drain", work).await? else {
        context.ui.note(format!("{names} has no shards, and gets none"));
        return Ok(Exit::Ok);
    };
    begun(context, &shards, id, &args.how).await
}

/// Marks groups, and starts the job that empties them where they have shards. When Citus refuses, they are as they were before.
async fn empty(
    shards: &Shards,
    groups: &[GroupId],
    start: Start,
    have_shards: bool,
    consent: &Consent,
) -> Result<Option<i64>, ShardError> {
    let work = async {
        mark(shards, groups, false, consent).await?;
        if have_shards { rebalance::start(&shards.catalog, &start, consent).await } else { Ok(None) }
    };
    let started = work.await;
    if started.is_err() {
        let took = |group: &&GroupId| shards.map.nodes.get(group).is_some_and(|node| node.takes_shards);
        let took: Vec<GroupId> = groups.iter().filter(took).copied().collect();
        // What is told is why it failed: a leader that is gone cannot be asked for this either.
        let _ = mark(shards, &took, true, consent).await;
    }
    started
}

/// Runs `shards status`.
pub async fn status(context: &Context, args: &StatusArgs) -> Result<Exit, CommandError> {
    let shards = Shards::open(context).await?;
    let job = last_job(&shards).await?;
    match job {
        Some(job) if args.follow && !job.state.is_over() => follow(context, &shards, job.id).await,
        job => {
            let exit = job.as_ref().map_or(Exit::Ok, |job| exit_of(job.state));
            context.ui.result(&JobReport::new(job))?;
            Ok(exit)
        }
    }
}

/// The plan, checked for what is in its way.
async fn checked(
    context: &Context,
    shards: &Shards,
    options: &PlanOptions,
    moving: Moving,
) -> Result<PlanReport, CommandError> {
    let topology = &shards.session.topology;
    let wanted = |moves| Wanted { moves, mode: moving.transfer, parallel: moving.parallel, job: true };
    let facts = ready::facts(shards).await?;
    let found = obstacles(topology, &shards.map, &facts, wanted(&[]));
    if !facts.allow_a_plan() && !found.is_empty() {
        return Err(ShardError::Obstacles(found).into());
    }
    let (map, repairs) = ready::mendable(context, shards, &facts).await?;
    let planned = shards.catalog.planned(options).await.map_err(ShardError::while_doing("asking Citus for a plan"))?;
    let moves = moves(&map, &planned);
    let found = obstacles(topology, &map, &facts, wanted(&moves));
    if found.is_empty() || moves.is_empty() {
        Ok(PlanReport::new(moves, moving.parallel).after(repairs))
    } else {
        Err(ShardError::Obstacles(found).into())
    }
}

/// What becomes of a job that is started: it is followed, unless nobody wants that.
async fn begun(context: &Context, shards: &Shards, id: i64, how: &How) -> Result<Exit, CommandError> {
    if how.detach {
        context.ui.note(format!("job {id} is started; `pgclusterctl shards status --follow` follows it"));
        return Ok(Exit::Ok);
    }
    follow(context, shards, id).await
}

fn start_of(options: PlanOptions, moving: Moving) -> Start {
    Start { options, mode: moving.transfer, parallel: moving.parallel }
}

/// Puts right what comes before the job, and starts it, under the cluster's lock; its number, or `None` when there is nothing to move.
async fn start(
    context: &Context,
    shards: &Shards,
    repairs: &[Repair],
    options: PlanOptions,
    moving: Moving,
    consent: &Consent,
) -> Result<Option<i64>, CommandError> {
    let work = async {
        ready::mend(context, shards, repairs, consent).await?;
        Ok(rebalance::start(&shards.catalog, &start_of(options, moving), consent).await?)
    };
    shards.session.locked(context, "shards rebalance", work).await
}

/// An error where the cluster has no such strategy: said before a group is brought up that nothing could fill.
pub async fn fits(catalog: &Catalog, filling: &Filling) -> Result<(), ShardError> {
    fit(catalog, &filling.options()).await
}

/// What a rebalance would move now, checked for what is in its way.
pub async fn planned(context: &Context, shards: &Shards, filling: &Filling) -> Result<PlanReport, CommandError> {
    checked(context, shards, &filling.options(), filling.moving).await
}

/// A rebalance as [`planned`], after what is put right before it, followed to its end; `None` when there was nothing to move, or following was interrupted.
pub async fn rebalanced(
    context: &Context,
    shards: &Shards,
    filling: &Filling,
    repairs: &[Repair],
    consent: &Consent,
) -> Result<Option<Job>, CommandError> {
    match start(context, shards, repairs, filling.options(), filling.moving, consent).await? {
        Some(id) => followed(context, shards, id).await,
        None => Ok(None),
    }
}

/// What emptying a group would move, checked for what is in its way.
pub async fn planned_drain(
    context: &Context,
    shards: &Shards,
    group: GroupId,
    moving: Moving,
) -> Result<PlanReport, CommandError> {
    let without = shards.map.nodes.get(&group).map(|node| node.id).into_iter().collect();
    checked(context, shards, &PlanOptions { drain_only: true, without, ..PlanOptions::default() }, moving).await
}

/// Empties a group, by the job that runs already if there is one. The caller holds the cluster's lock.
pub async fn emptied(
    context: &Context,
    shards: &Shards,
    group: GroupId,
    job: Option<i64>,
    moving: Moving,
    consent: &Consent,
) -> Result<(), CommandError> {
    mark(shards, &[group], false, consent).await?;
    if let Some(id) = job {
        over(followed(context, shards, id).await?)?;
    }
    // The coordinators' leader may be another one by now, and again after the moves.
    let now = catalog(&shards.session).await?;
    let options = PlanOptions { drain_only: true, ..PlanOptions::default() };
    if let Some(id) = rebalance::start(&now, &start_of(options, moving), consent).await? {
        over(followed(context, shards, id).await?)?;
    }
    let now = catalog(&shards.session).await?;
    let map = now.map().await.map_err(ShardError::while_doing("looking at the shards"))?;
    match map.movable().filter(|placement| placement.group == group).count() {
        0 => Ok(()),
        left => Err(CommandError::new(Exit::Partial, format!("{group} still has {left} shards after its drain"))),
    }
}

/// An error unless the job moved all that it should.
fn over(job: Option<Job>) -> Result<(), CommandError> {
    match job {
        Some(job) if job.state == JobState::Finished => Ok(()),
        Some(job) => {
            let reasons: String = job.errors.iter().map(|error| format!("\n  {error}")).collect();
            let text = format!("job {} is {}, {} of {} moves are done{reasons}", job.id, job.state.word(), job.done, job.moves);
            let ways = job.errors.iter().filter_map(|error| crate::shards::way_out(error));
            Err(ways.fold(CommandError::new(Exit::Partial, text), |error, way| error.hint(way)))
        }
        None => Err(CommandError::new(Exit::Interrupted, "interrupted; the shards go on moving without this program")),
    }
}

/// Follows a job to its end, and shows it.
async fn follow(context: &Context, shards: &Shards, id: i64) -> Result<Exit, CommandError> {
    let Some(job) = followed(context, shards, id).await? else {
        context.ui.note("the rebalance goes on: `pgclusterctl shards status --follow`, or `shards cancel` to stop it");
        return Ok(Exit::Interrupted);
    };
    let exit = exit_of(job.state);
    context.ui.result(&JobReport::new(Some(job)))?;
    Ok(exit)
}

/// Follows a job to its end; `None` when that was interrupted. It goes on without this program, and over a change of the coordinators'
/// leader; an error where the one that leads then does not know it. Another job says nothing about this one.
async fn followed(context: &Context, shards: &Shards, id: i64) -> Result<Option<Job>, CommandError> {
    carried(&shards.session, watched(context, shards, id)).await
}

async fn watched(context: &Context, shards: &Shards, id: i64) -> Result<Option<Job>, CommandError> {
    let _guard = context.interrupt.guard();
    let mut following = Following::start(&context.ui, format!("rebalance, job {id}"));
    let mut seen = Instant::now();
    let mut newer = None;
    loop {
        if context.interrupt.is_asked() {
            return Ok(None);
        }
        match newer.as_ref().unwrap_or(&shards.catalog).job(id, &shards.map).await {
            Ok(Some(job)) => {
                seen = Instant::now();
                following.show(&job);
                if job.state.is_over() {
                    following.done(&job);
                    return Ok(Some(job));
                }
            }
            Ok(None) if seen.elapsed() > LEADERLESS => return Err(ShardError::Lost { job: id }.into()),
            // Asked may have been a leader that is none any more.
            Ok(None) => newer = catalog(&shards.session).await.ok(),
            Err(source) if seen.elapsed() > LEADERLESS => {
                return Err(ShardError::while_doing("following the rebalance")(source).into());
            }
            Err(_) => newer = catalog(&shards.session).await.ok(),
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn exit_of(state: JobState) -> Exit {
    match state {
        JobState::Failed | JobState::Failing => Exit::Unhealthy,
        JobState::Cancelled | JobState::Cancelling => Exit::Partial,
        JobState::Finished | JobState::Running | JobState::Scheduled => Exit::Ok,
    }
}

pub(super) async fn last_job(shards: &Shards) -> Result<Option<Job>, ShardError> {
    shards.catalog.last_job(&shards.map).await.map_err(ShardError::while_doing("asking Citus for its rebalance"))
}

async fn mark(shards: &Shards, groups: &[GroupId], takes: bool, consent: &Consent) -> Result<(), ShardError> {
    for node in groups.iter().filter_map(|group| shards.map.nodes.get(group)) {
        rebalance::take_shards(&shards.catalog, node, takes, consent).await?;
    }
    Ok(())
}

/// The groups that an operator means.
fn drained(shards: &Shards, what: &Drained) -> Result<Vec<GroupId>, CommandError> {
    let topology = &shards.session.topology;
    if let Some(number) = what.shard {
        let group = GroupId(number);
        if shards.map.nodes.contains_key(&group) {
            return Ok(vec![group]);
        }
        let error = CommandError::new(Exit::Usage, format!("there is no {group}"));
        return Err(error.hint("`pgclusterctl shards list` shows the shard groups"));
    }
    let host = what.host.clone().unwrap_or_default();
    let on_host = |node: &Node| topology.member(&node.leader).is_some_and(|m| m.host.as_str() == host);
    let groups = shards.map.nodes.iter().filter(|(group, node)| !group.is_coordinator() && on_host(node));
    let groups: Vec<GroupId> = groups.map(|(group, _)| *group).collect();
    if !groups.is_empty() {
        return Ok(groups);
    }
    let names = topology.hosts.iter().map(|h| &h.name).map(HostName::as_str).collect::<Vec<_>>();
    let what = if names.contains(&host.as_str()) { "no shard group has its leader on" } else { "the topology has no host" };
    Err(CommandError::new(Exit::Usage, format!("{what} {host}")).hint(format!("hosts are {}", names.join(", "))))
}

/// An error where the cluster has no such strategy, or the strategy no such threshold.
async fn fit(catalog: &Catalog, options: &PlanOptions) -> Result<(), ShardError> {
    let PlanOptions { strategy, threshold, .. } = options;
    if strategy.is_none() && threshold.is_none() {
        return Ok(());
    }
    let known = catalog.strategies().await.map_err(ShardError::while_doing("asking for strategies"))?;
    unfit(&known, strategy.as_deref(), *threshold).map_or(Ok(()), |(what, hint)| Err(ShardError::Unknown { what, hint }))
}
