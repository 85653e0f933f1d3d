//! `scale in --member`: one reader less. What is to be done follows from what is there ([`crate::plan::reader`]): a command that was
//! killed is run again.

use std::time::Instant;

use super::super::session::Session;
use super::super::up;
use super::{stopped, text, unseen};
use crate::consent::Consent;
use crate::context::Context;
use crate::engine::Lock;
use crate::error::{CommandError, Exit};
use crate::images;
use crate::observe::{Observed, Scope, traces};
use crate::output::Step as Progress;
use crate::output::scale::{ReaderPlan, ReaderReport};
use crate::plan::diff::unified;
use crate::plan::reader::{Remains, Step, without};
use crate::steps::{removal, topology_file};
use crate::topology::{GroupId, edit};

/// What of `scale in` is about one reader.
#[derive(Debug, Clone, Copy)]
pub struct Out<'a> {
    /// Its name.
    pub reader: &'a str,
    /// Keep its data volume.
    pub keep_volumes: bool,
    /// How the rest of the cluster is brought to what the topology says then.
    pub up: &'a up::Args,
}

/// Runs the command.
pub async fn run(context: &Context, out: Out<'_>) -> Result<Exit, CommandError> {
    let started = Instant::now();
    let (path, old) = (&context.topology_path, text(context)?);
    let Some(group) = GroupId::of_member(out.reader).filter(|_| GroupId::is_reader(out.reader)) else {
        let error = CommandError::new(Exit::Usage, format!("{} is no reader", out.reader));
        return Err(error
            .hint("`pgclusterctl topology show` names the readers")
            .hint("a member that may lead goes with its host (`--host`) or with its group (`--shard`)"));
    };
    let edit = match edit::remove_reader(&old, path, out.reader) {
        Ok(edit) => Some(edit),
        // Taken out of the file before: what is left of it is looked for.
        Err(edit::EditError::UnknownReader { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let session = Session::open_whole(context).await?;
    let observed = session.observe(Scope::plan()).await;
    let remains = look(&session, &observed, out.reader, group).await?;
    let steps = remains.steps(out.keep_volumes);
    if steps.is_empty() {
        let error = CommandError::new(Exit::Usage, format!("there is no {}, in the topology or anywhere else", out.reader));
        return Err(error.hint("`pgclusterctl topology show` names the readers"));
    }
    let (session, new) = match edit {
        Some(edit) => (session.meaning(edit.after)?, Some(edit.text)),
        None => (session, None),
    };
    let (_, then) = session.plan_for(&without(&observed, out.reader))?;
    images::require(&session.topology, &session.fleet).await?;
    let plan = ReaderPlan {
        schema_version: 1,
        cluster: session.topology.name.to_string(),
        reader: out.reader.to_owned(),
        file: new.as_ref().and_then(|new| unified(&path.display().to_string(), &old, new)),
        kept: if out.keep_volumes { remains.volumes.clone() } else { Vec::new() },
        steps,
        then,
    };
    context.ui.aside(&plan);
    let consent = context.ui.confirm(&format!("Take {} out of {}?", out.reader, plan.cluster))?;

    let _guard = context.interrupt.guard();
    let manager = session.fleet.manager().await?;
    let lock = Lock::take(&manager.docker, &session.topology.name, "scale in", |told| context.ui.note(told)).await?;
    let written = new.as_deref().unwrap_or(&old);
    let outcome = async {
        for step in &plan.steps {
            stopped(context, &lock)?;
            let progress = Progress::start(&context.ui, step.to_string());
            let done = match step {
                Step::Edit => topology_file::replace(path, &old, written).map_err(CommandError::from),
                step => carry_out(&session, out.reader, step, &consent).await,
            };
            done.map_err(|error| error.half_way("run the same command again: it goes on from what is there"))?;
            progress.done("");
        }
        up::bring(context, &session, &lock, out.up)
            .await
            .map_err(|error| error.half_way(format!("nothing of {} is left; `pgclusterctl up` goes on from there", out.reader)))
    };
    let outcome = outcome.await;
    lock.release().await;
    outcome?;
    context.ui.result(&ReaderReport::new(plan, started.elapsed()))?;
    Ok(Exit::Ok)
}

async fn look(session: &Session, observed: &Observed, reader: &str, group: GroupId) -> Result<Remains, CommandError> {
    let traces = traces::collect(&session.topology, &session.fleet, group).await;
    Ok(Remains::read(reader, &session.topology, observed, &traces).map_err(unseen)?)
}

async fn carry_out(session: &Session, reader: &str, step: &Step, consent: &Consent) -> Result<(), CommandError> {
    let world = session.world();
    match step {
        Step::Edit => {}
        Step::Service => removal::service(world, reader, consent).await?,
        Step::Volumes { hosts } => {
            let volumes: Vec<_> = hosts.iter().map(|host| (host.clone(), reader.to_owned())).collect();
            removal::volumes(world, &volumes, consent).await?;
        }
    }
    Ok(())
}
