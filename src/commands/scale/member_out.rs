//! `scale in --member`: one member less, or one reader. What is to be done follows from what is there ([`crate::plan::member`]): a
//! command that was killed is run again.

use std::time::Instant;

use super::super::session::Session;
use super::super::up;
use super::super::work::Work;
use super::{AGAIN, scope, stopped, text, unseen};
use crate::consent::Consent;
use crate::context::Context;
use crate::engine::{Lock, runner};
use crate::error::{CommandError, Exit};
use crate::images;
use crate::observe::{Observed, Probe, Scope, traces};
use crate::output::Step as Progress;
use crate::output::scale::{MemberPlan, MemberReport};
use crate::plan::diff::unified;
use crate::plan::member::{Remains, Step};
use crate::plan::{Condition, Plan, Refused};
use crate::steps::{World, removal, topology_file};
use crate::templates::{self, Artifacts};
use crate::topology::{GroupId, MemberName, Topology, edit};

/// What of `scale in` is about one member.
#[derive(Debug, Clone, Copy)]
pub struct Out<'a> {
    /// Its name.
    pub member: &'a str,
    /// Keep its data volume.
    pub keep_volumes: bool,
    /// How the rest of the cluster is brought to what the topology says then.
    pub up: &'a up::Args,
}

/// Runs the command.
pub async fn run(context: &Context, out: Out<'_>) -> Result<Exit, CommandError> {
    let started = Instant::now();
    let (path, old) = (&context.topology_path, text(context)?);
    let hint = "`pgclusterctl topology show` names the members and the readers";
    let Some((group, member)) = GroupId::of_member(out.member).zip(MemberName::new(out.member).ok()) else {
        let error = CommandError::new(Exit::Usage, format!("{} is no member of a group, and no reader", out.member));
        return Err(error.hint(hint));
    };
    // What the file says is judged before any host is asked.
    let edit = match edit::remove_member(&old, path, out.member) {
        Ok(edit) => Some(edit),
        // Taken out of the file before: what is left of it is looked for.
        Err(edit::EditError::UnknownMember { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let session = Session::open_whole(context).await?;
    let observed = session.observe(scope()).await;
    let remains = look(&session, &observed, &member, group).await?;
    let steps = remains.steps(out.keep_volumes);
    if steps.is_empty() {
        let error = CommandError::new(Exit::Usage, format!("there is no {member}, in the topology or anywhere else"));
        return Err(error.hint(hint));
    }
    let with = remains.with(&session.topology);
    let artifacts = templates::render(&with)?;
    let refusals = remains.refusals(&with, &artifacts, &observed);
    if !refusals.is_empty() {
        return Err(Refused(refusals).into());
    }
    let (session, new) = match edit {
        Some(edit) => (session.meaning(edit.after)?, Some(edit.text)),
        None => (session, None),
    };
    let (_, then) = session.plan_for(&remains.without(&observed))?;
    images::require(&session.topology, &session.fleet).await?;
    let plan = MemberPlan {
        schema_version: 1,
        cluster: session.topology.name.to_string(),
        member: member.clone(),
        file: new.as_ref().and_then(|new| unified(&path.display().to_string(), &old, new)),
        kept: if out.keep_volumes { remains.volumes.clone() } else { Vec::new() },
        steps,
        then,
    };
    context.ui.aside(&plan);
    let consent = context.ui.confirm(&format!("Take {member} out of {}?", plan.cluster))?;

    let _guard = context.interrupt.guard();
    let lock = session.lock(context, "scale in").await?;
    let file = (old.as_str(), new.as_deref().unwrap_or(&old));
    let leaving = Leaving { context, out, session: &session, with: (&with, &artifacts), remains, file, lock: &lock, consent };
    let outcome = leaving.carry_out(&plan.steps).await;
    lock.release().await;
    outcome?;
    context.ui.result(&MemberReport::new(plan, started.elapsed()))?;
    Ok(Exit::Ok)
}

async fn look(session: &Session, observed: &Observed, member: &MemberName, group: GroupId) -> Result<Remains, CommandError> {
    let traces = traces::collect(&session.topology, &session.fleet, group).await;
    Ok(Remains::read(member, group, &session.topology, observed, &traces).map_err(unseen)?)
}

struct Leaving<'a> {
    context: &'a Context,
    out: Out<'a>,
    /// Of the cluster without it.
    session: &'a Session,
    /// The cluster with it.
    with: (&'a Topology, &'a Artifacts),
    /// What was there before anything was done.
    remains: Remains,
    /// The file's text, and what it will be.
    file: (&'a str, &'a str),
    lock: &'a Lock,
    consent: Consent,
}

impl Leaving<'_> {
    /// Each step in order, then what `up` has to do.
    async fn carry_out(&self, steps: &[Step]) -> Result<(), CommandError> {
        for step in steps {
            stopped(self.context, self.lock)?;
            self.step(step).await.map_err(|error| error.half_way(AGAIN))?;
        }
        let left = format!("nothing of {} is left; `pgclusterctl up` goes on from there", self.remains.member);
        up::bring(self.context, self.session, self.lock, self.out.up).await.map_err(|error| error.half_way(left))
    }

    async fn step(&self, step: &Step) -> Result<(), CommandError> {
        let (world, member) = (self.session.world(), self.remains.member.as_str());
        match step {
            Step::HandOver { .. } => {
                let (topology, artifacts) = self.with;
                self.run(&self.remains.hand_over(topology), World { topology, artifacts, ..world }).await
            }
            Step::Edit => {
                let write = async { Ok(topology_file::replace(&self.context.topology_path, self.file.0, self.file.1)?) };
                self.shown(step, write).await
            }
            Step::Service => {
                let remove = async {
                    self.leads_no_more().await?;
                    Ok(removal::service(world, member, &self.consent).await?)
                };
                self.shown(step, remove).await
            }
            Step::Volumes { hosts } => {
                self.run(&self.remains.whole_without(&self.session.topology), world).await?;
                let volumes: Vec<_> = hosts.iter().map(|host| (host.clone(), member.to_owned())).collect();
                self.shown(step, async { Ok(removal::volumes(world, &volumes, &self.consent).await?) }).await
            }
        }
    }

    async fn shown(&self, step: &Step, work: impl Future<Output = Result<(), CommandError>>) -> Result<(), CommandError> {
        let progress = Progress::start(&self.context.ui, step.to_string());
        work.await?;
        progress.done("");
        Ok(())
    }

    async fn run(&self, plan: &Plan, world: World<'_>) -> Result<(), CommandError> {
        let work =
            Work { cluster: &self.session.topology.name, name: "scale-in", wave: self.out.up.timeout, lock: Some(self.lock) };
        work.run(self.context, async |events, limits| Ok(runner::run(plan, world, events, limits).await?)).await
    }

    /// Since all was looked at the operator has thought about it, and a failover may have made it the leader.
    async fn leads_no_more(&self) -> Result<(), CommandError> {
        let (member, group) = (&self.remains.member, self.remains.group);
        let observed = self.session.observe(Scope::of_conditions(&[Condition::Leader { group }])).await;
        match &observed.patroni {
            Probe::Failed(error) => Err(unseen(vec![error.clone()]).into()),
            Probe::Known(groups) if groups.get(&group).is_some_and(|state| state.leader == member.as_str()) => {
                Err(CommandError::new(Exit::Partial, format!("{member} leads {group} now")))
            }
            Probe::Known(_) => Ok(()),
        }
    }
}
