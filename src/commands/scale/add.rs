//! `scale add-shard`: one more shard group.

use std::time::Instant;

use super::super::session::Session;
use super::super::shards::fill::fill;
use super::super::shards::{catalog, rebalance};
use super::super::up;
use super::{not_up, remains, scope, text, write_and_bring};
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::images;
use crate::observe::{Observed, Probe};
use crate::output::scale::AddReport;
use crate::plan::Refused;
use crate::plan::diff::unified;
use crate::plan::planner::Refusal;
use crate::plan::removal::Burden;
use crate::steps::rebalance::ShardError;
use crate::topology::{GroupId, edit};

/// Arguments of `scale add-shard`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its hosts, the leader's home first. Default: one more in the ring, or the hosts with the fewest members.
    #[arg(long, value_name = "HOST,…", value_delimiter = ',')]
    pub hosts: Vec<String>,
    /// Move shards to it without another question.
    #[arg(long, conflicts_with = "no_rebalance")]
    pub rebalance: bool,
    /// Move no shards to it, and do not ask.
    #[arg(long, conflicts_with_all = ["strategy", "transfer", "parallel"])]
    pub no_rebalance: bool,
    /// How shards are moved to it.
    #[command(flatten)]
    pub filling: rebalance::Filling,
    /// How it is brought up.
    #[command(flatten)]
    pub up: up::Args,
}

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let started = Instant::now();
    let (path, old) = (&context.topology_path, text(context)?);
    let edit::Edit { before, text: new, after } = edit::add_group(&old, path, &args.hosts)?;
    let Some(group) = after.groups.last().cloned() else {
        return Err(CommandError::new(Exit::Internal, "the edited topology has no group"));
    };
    let session = Session::of(context, before).await?;
    session.fleet.require_all()?;
    let observed = session.observe(scope()).await;
    let refused = |what: String, why: String, instead: String| Err(Refused(vec![Refusal::new(what, why, instead)]).into());
    if let Some((group, why, instead)) = begun(&session, &observed, !args.no_rebalance).await? {
        return refused(group.to_string(), why, instead);
    }
    let left = remains(&session, &observed, group.id, Burden::default()).await?;
    if !left.is_empty() {
        let why = format!("an earlier group of this number has left {}", left.told());
        let instead = format!("`pgclusterctl scale in --shard {}` removes what is left of it", group.id.0);
        return refused(group.id.to_string(), why, instead);
    }
    if args.filling.strategy.is_some() {
        rebalance::fits(&catalog(&session).await?, &args.filling).await?;
    }
    let session = session.meaning(after)?;
    let (_, mut report) = session.plan().await?;
    images::require(&session.topology, &session.fleet).await?;
    report.differences.splice(0..0, unified(&path.display().to_string(), &old, &new));
    context.ui.aside(&report);
    let moves = if args.rebalance { ", and move shards to it" } else { "" };
    let consent = context.ui.confirm(&format!("Write {}, bring {} up{moves}?", path.display(), group.id))?;

    let has = group.id.to_string();
    write_and_bring(context, &session, "scale add-shard", (&old, &new), &has, &args.up).await?;
    let mut report = AddReport::new(&session.topology, &group, started.elapsed());
    let (exit, job) = if args.no_rebalance {
        context.ui.note(format!("{} has no shards yet: `pgclusterctl shards rebalance` gives it some", group.id));
        (Exit::Ok, None)
    } else {
        fill(context, session, &args.filling, args.rebalance.then_some(&consent)).await?
    };
    report.rebalance = job;
    context.ui.result(&report)?;
    Ok(exit)
}

/// A group that an earlier run has begun to add, what it lacks, and what to do: run again after an interruption this would add yet another
/// one. That a group has no shards counts where they are wanted.
async fn begun(
    session: &Session,
    observed: &Observed,
    filled: bool,
) -> Result<Option<(GroupId, String, String)>, CommandError> {
    let bring = || "bring it up first: `pgclusterctl up`".to_owned();
    if let Some(unborn) = not_up(session, observed).first() {
        return Ok(Some((*unborn, "is in the topology file, and not there yet".into(), bring())));
    }
    if let (Probe::Known(groups), Some(last)) = (&observed.patroni, session.topology.groups.last()) {
        let members = groups.get(&last.id).map(|state| &state.members);
        let is_missing = |name: &&str| !members.is_some_and(|members| members.contains_key(*name));
        let missing: Vec<&str> = last.members.iter().map(|member| member.name.as_str()).filter(is_missing).collect();
        if !missing.is_empty() {
            return Ok(Some((last.id, format!("is there without {}", missing.join(", ")), bring())));
        }
    }
    if !filled {
        return Ok(None);
    }
    let idle = catalog(session).await?.idle_groups().await.map_err(ShardError::while_doing("looking at the shard groups"))?;
    let fill = "give it some first: `pgclusterctl shards rebalance`; or add this one without: --no-rebalance";
    Ok(idle.first().map(|group| (*group, "has no shards yet".into(), fill.into())))
}
