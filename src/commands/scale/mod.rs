//! `scale`: more or less of a cluster, by an edit of the topology file and what follows from it.

mod add;
mod member_out;
mod read;
mod take_out;

use crate::context::Context;
use crate::engine::Lock;
use crate::error::{CommandError, Exit};
use crate::observe::{Leaders, Probe, ProbeError, Scope, traces};
use crate::plan::Refused;
use crate::plan::planner::Refusal;
use crate::plan::removal::{Burden, Remains};
use crate::steps::topology_file;
use crate::topology::{GroupId, TopologyError};

use super::session::Session;
use super::up;

/// What to do after a run that did not end.
const AGAIN: &str = "run the same command again: it goes on from what is there";

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Add a shard group: to the topology file, to the cluster, and with shards if wanted.
    AddShard(add::Args),
    /// Add readers to a group: standbys without a vote, that never lead and that no commit waits for.
    Read(read::Args),
    /// Take a shard group, a member, a reader or a host out, with all that is left of it.
    In(take_out::Args),
}

/// Runs the command.
pub async fn run(context: &Context, command: &Command) -> Result<Exit, CommandError> {
    match command {
        Command::AddShard(args) => add::run(context, args).await,
        Command::Read(args) => read::run(context, args).await,
        Command::In(args) => take_out::run(context, args).await,
    }
}

/// The text of the topology file.
fn text(context: &Context) -> Result<String, CommandError> {
    let path = &context.topology_path;
    let read = std::fs::read_to_string(path);
    Ok(read.map_err(|source| TopologyError::Read { path: path.clone(), source })?)
}

/// What is looked at besides what a plan of `up` needs.
fn scope() -> Scope {
    Scope { citus: true, leaders: Leaders::All, ..Scope::plan() }
}

/// What of a group is where, judged by the session's topology; refused when anything of it cannot be seen.
async fn remains(
    session: &Session,
    observed: &crate::observe::Observed,
    group: GroupId,
    burden: Burden,
) -> Result<Remains, CommandError> {
    let traces = traces::collect(&session.topology, &session.fleet, group).await;
    let remains = Remains::read(group, &session.topology, observed, &traces, burden);
    Ok(remains.map_err(unseen)?)
}

/// On what could not be seen nothing is done.
fn unseen(errors: Vec<ProbeError>) -> Refused {
    let instead = "`pgclusterctl status` shows what answers; nothing is done on a guess";
    let refusal = |error: ProbeError| Refusal::new(error.target.clone(), error.reason.clone(), instead);
    Refused(errors.into_iter().map(refusal).collect())
}

/// Between two steps: whether to go on.
fn stopped(context: &Context, lock: &Lock) -> Result<(), CommandError> {
    let error = if lock.is_lost() {
        CommandError::new(Exit::Partial, "another operator took the cluster's lock")
    } else if context.interrupt.is_asked() {
        CommandError::new(Exit::Interrupted, "interrupted between two steps")
    } else {
        return Ok(());
    };
    Err(error.hint(AGAIN))
}

/// Groups of the session's topology that were never brought up; none when that cannot be seen, which others say.
fn not_up(session: &Session, observed: &crate::observe::Observed) -> Vec<GroupId> {
    let Probe::Known(groups) = &observed.patroni else { return Vec::new() };
    let is_up = |group: &GroupId| groups.get(group).is_some_and(|state| state.initialized);
    session.topology.groups.iter().map(|group| group.id).filter(|group| !is_up(group)).collect()
}

/// Writes an edited topology file and brings the cluster to what it says, under the lock. `has`: what the file has then, should
/// bringing it up end half way.
async fn write_and_bring(
    context: &Context,
    session: &Session,
    verb: &str,
    (old, new): (&str, &str),
    has: &str,
    up: &up::Args,
) -> Result<(), CommandError> {
    let path = &context.topology_path;
    let _guard = context.interrupt.guard();
    let lock = session.lock(context, verb).await?;
    let outcome = async {
        topology_file::replace(path, old, new)?;
        let half_way = || format!("{} has {has}: `pgclusterctl up` goes on from there", path.display());
        up::bring(context, session, &lock, up).await.map_err(|error| error.half_way(half_way()))
    };
    let outcome = outcome.await;
    lock.release().await;
    outcome
}
