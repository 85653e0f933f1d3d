//! `scale in`: one shard group less, or what others do for a member, a reader and a host. What is to be done follows from what is there
//! ([`crate::plan::removal`]): a command that was killed is run again.

use std::time::Instant;

use super::super::host;
use super::super::session::Session;
use super::super::shards::{Shards, catalog, ready, rebalance};
use super::super::up;
use super::{AGAIN, member_out, remains, scope, stopped, text};
use crate::consent::Consent;
use crate::context::Context;
use crate::engine::Lock;
use crate::error::{CommandError, Exit};
use crate::images;
use crate::output::Step as Progress;
use crate::output::scale::{RemovalPlan, RemovalReport};
use crate::plan::Refused;
use crate::plan::diff::unified;
use crate::plan::removal::{Burden, Remains, Step, without};
use crate::shards::{ShardMap, shared};
use crate::steps::{rebalance::ShardError, removal, topology_file};
use crate::topology::edit;
use crate::topology::{GroupId, HostName};

/// Arguments of `scale in`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What goes.
    #[command(flatten)]
    pub which: Which,
    /// Keep the data volumes on their hosts. A later shard group of the same number is refused until they are deleted.
    #[arg(long)]
    pub keep_volumes: bool,
    /// How the shards of a group are moved.
    #[command(flatten)]
    pub moving: rebalance::Moving,
    /// How the rest of the cluster is brought to what the topology says then.
    #[command(flatten)]
    pub up: up::Args,
}

/// Exactly one of them.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// That shard group: its shards go to the others.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub shard: Option<u32>,
    /// That reader, or the last member of its group; when it leads, another one does first.
    #[arg(long, value_name = "MEMBER", conflicts_with_all = ["transfer", "parallel"])]
    pub member: Option<String>,
    /// That host, as `host remove` does it: its leaders and members go elsewhere.
    #[arg(long, value_name = "HOST", value_parser = host::name, conflicts_with_all = ["transfer", "parallel"])]
    pub host: Option<HostName>,
}

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let Args { which, keep_volumes, up, .. } = args;
    match which {
        Which { member: Some(member), .. } => {
            member_out::run(context, member_out::Out { member, keep_volumes: *keep_volumes, up }).await
        }
        Which { host: Some(host), .. } => host::take_out(context, host, *keep_volumes, up.timeout).await,
        // clap wants one of the three.
        Which { shard, .. } => group_out(context, args, GroupId(shard.unwrap_or_default())).await,
    }
}

async fn group_out(context: &Context, args: &Args, group: GroupId) -> Result<Exit, CommandError> {
    let started = Instant::now();
    let (path, old) = (&context.topology_path, text(context)?);
    // What the file says is judged before any host is asked.
    let edit = match edit::remove_group(&old, path, group) {
        Ok(edit) => Some(edit),
        Err(edit::EditError::UnknownGroup { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let shards = Shards::over(super::super::shards::sharded(context).await?).await?;
    shards.session.fleet.require_all()?;
    let observed = shards.session.observe(scope()).await;
    let remains = look(&shards, &observed, group).await?;
    if edit.is_none() && remains.is_empty() {
        let error = CommandError::new(Exit::Usage, format!("there is no {group}, in the topology or anywhere else"));
        return Err(error.hint("when it was just taken out, `pgclusterctl up` does what is left to do"));
    }
    let steps = remains.steps(args.keep_volumes);
    let (topology, artifacts) = (&shards.session.topology, &shards.session.artifacts);
    let takers = takers(&shards.map, group);
    let refusals = remains.refusals(group, takers, topology, artifacts, &observed);
    if !refusals.is_empty() {
        return Err(Refused(refusals).into());
    }
    let (moves, repairs) = match steps.first() {
        Some(Step::Drain { job: None, .. }) => {
            let drain = rebalance::planned_drain(context, &shards, group, args.moving).await?;
            (drain.moves, drain.repairs)
        }
        _ => (Vec::new(), Vec::new()),
    };
    let Shards { session, catalog, map } = shards;
    let (session, new) = match edit {
        Some(edit) => (session.meaning(edit.after)?, Some(edit.text)),
        None => (session, None),
    };
    let (_, then) = session.plan_for(&without(&observed, group))?;
    images::require(&session.topology, &session.fleet).await?;
    let shards = Shards { session, catalog, map };
    let plan = RemovalPlan {
        schema_version: 1,
        cluster: shards.session.topology.name.to_string(),
        group,
        file: new.as_ref().and_then(|new| unified(&path.display().to_string(), &old, new)),
        kept: if args.keep_volumes { remains.volumes.clone() } else { Vec::new() },
        steps,
        moves,
        parallel: args.moving.parallel,
        then,
    };
    if plan.steps.is_empty() && !plan.then.pending {
        context.ui.note(format!("nothing is left to do about {group}"));
    }
    context.ui.aside(&plan);
    ready::tell(context, &repairs);
    let consent = context.ui.confirm(&format!("Take {group} out of {}?", plan.cluster))?;

    let _guard = context.interrupt.guard();
    let lock = shards.session.lock(context, "scale in").await?;
    let work = Work { context, args, group, shards: &shards, old: &old, new: new.as_deref(), lock: &lock, consent: &consent };
    let outcome = async {
        ready::mend(context, &shards, &repairs, &consent).await?;
        work.carry_out(&plan.steps).await
    };
    let outcome = outcome.await;
    lock.release().await;
    outcome?;
    context.ui.result(&RemovalReport::new(plan, remains.shards, started.elapsed()))?;
    Ok(Exit::Ok)
}

struct Work<'a> {
    context: &'a Context,
    args: &'a Args,
    group: GroupId,
    shards: &'a Shards,
    old: &'a str,
    new: Option<&'a str>,
    lock: &'a Lock,
    consent: &'a Consent,
}

impl Work<'_> {
    /// Each step in order, then what `up` has to do, then a look whether anything is left.
    async fn carry_out(&self, steps: &[Step]) -> Result<(), CommandError> {
        let mut steps = steps.to_vec();
        if let Some(drain @ Step::Drain { .. }) = steps.first() {
            self.carry(drain).await?;
            // That may have taken hours. What is destroyed follows from what is there now: another leader, or a host that is gone.
            let listed = steps.contains(&Step::Edit).then_some(Step::Edit);
            let left = self.left().await.map_err(|error| error.half_way(AGAIN))?;
            steps = listed.into_iter().chain(left).collect();
        }
        for step in &steps {
            self.carry(step).await?;
        }
        let session = &self.shards.session;
        up::bring(self.context, session, self.lock, &self.args.up).await.map_err(|error| {
            error.half_way(format!("nothing of {} is left; `pgclusterctl up` goes on from there", self.group))
        })?;
        let left = self.left().await?;
        if left.is_empty() {
            return Ok(());
        }
        let left = left.iter().map(|step| format!("\n  {step}")).collect::<String>();
        Err(CommandError::new(Exit::Partial, format!("something of {} is back, or was not removed:{left}", self.group)))
    }

    async fn carry(&self, step: &Step) -> Result<(), CommandError> {
        stopped(self.context, self.lock)?;
        let progress = Progress::start(&self.context.ui, step.to_string());
        self.step(step).await.map_err(|error| error.half_way(AGAIN))?;
        progress.done("");
        Ok(())
    }

    /// What is left to be done, the file aside; refused when anything of it cannot be seen.
    async fn left(&self) -> Result<Vec<Step>, CommandError> {
        let session = &self.shards.session;
        let observed = session.observe(scope()).await;
        let catalog = catalog(session).await?;
        let map = catalog.map().await.map_err(ShardError::while_doing("looking at the shards"))?;
        let left = remains(session, &observed, self.group, burden(&map, self.group, None)).await?;
        Ok(left.steps(self.args.keep_volumes))
    }

    async fn step(&self, step: &Step) -> Result<(), CommandError> {
        let (group, consent) = (self.group, self.consent);
        let session: &Session = &self.shards.session;
        let world = session.world();
        match step {
            Step::Drain { job, .. } => {
                rebalance::emptied(self.context, self.shards, group, *job, self.args.moving, consent).await?
            }
            Step::Edit => topology_file::replace(&self.context.topology_path, self.old, self.new.unwrap_or(self.old))?,
            // The coordinators' leader may be another one since the shards have moved.
            Step::Deactivate { node, port } => removal::deactivate(&catalog(session).await?, node, *port, consent).await?,
            Step::Services { members } => removal::services(world, group, members, consent).await?,
            Step::Unregister { .. } => removal::unregister(&catalog(session).await?, group, consent).await?,
            Step::Keys => removal::keys(world, group, consent).await?,
            Step::Volumes { volumes } => removal::volumes(world, volumes, consent).await?,
        }
        Ok(())
    }
}

async fn look(shards: &Shards, observed: &crate::observe::Observed, group: GroupId) -> Result<Remains, CommandError> {
    let facts = ready::facts(shards).await?;
    remains(&shards.session, observed, group, burden(&shards.map, group, facts.running_job)).await
}

fn burden(map: &ShardMap, group: GroupId, job: Option<i64>) -> Burden {
    Burden {
        takes_shards: map.nodes.get(&group).is_some_and(|node| node.takes_shards),
        shards: map.movable().filter(|placement| placement.group == group).count() as u64,
        job,
    }
}

/// How many other groups take shards.
fn takers(map: &ShardMap, group: GroupId) -> usize {
    shared(map).len() - usize::from(map.nodes.get(&group).is_some_and(|node| node.takes_shards))
}
