//! What most commands begin with: the topology, its artifacts, connections to the hosts.

use crate::context::{Context, Interrupt};
use crate::engine::Lock;
use crate::error::{CommandError, Exit};
use crate::failover;
use crate::observe::{Observed, Scope, observe};
use crate::plan::diff::differences;
use crate::plan::{self, Plan, PlanReport, Refused};
use crate::remote::fleet::Fleet;
use crate::remote::ssh::SshError;
use crate::steps::World;
use crate::templates::{self, Artifacts};
use crate::topology::{GroupId, Topology};

/// A topology with its artifacts and connections.
#[derive(Debug)]
pub struct Session {
    /// The wanted cluster.
    pub topology: Topology,
    /// What it renders to.
    pub artifacts: Artifacts,
    /// Connections to its hosts; a host that does not answer is a value in it.
    pub fleet: Fleet,
    interrupt: Interrupt,
}

impl Session {
    /// Reads the topology, renders it and connects. Unknown host keys are shown and asked for; changed ones are refused.
    pub async fn open(context: &Context) -> Result<Self, CommandError> {
        Self::of(context, context.topology()?).await
    }

    /// A session for a topology that need not be in the file yet.
    pub async fn of(context: &Context, topology: Topology) -> Result<Self, CommandError> {
        let artifacts = templates::render(&topology)?;
        let mut fleet = Fleet::connect(&topology).await;
        if learn_host_keys(context, &topology, &fleet)? {
            fleet = Fleet::connect(&topology).await;
        }
        Ok(Self { topology, artifacts, fleet, interrupt: context.interrupt.clone() })
    }

    /// Like [`Session::open`], and all hosts must answer.
    pub async fn open_whole(context: &Context) -> Result<Self, CommandError> {
        let session = Self::open(context).await?;
        session.fleet.require_all()?;
        Ok(session)
    }

    /// The same connections for another topology of the same hosts.
    pub fn meaning(self, topology: Topology) -> Result<Self, CommandError> {
        Ok(Self { artifacts: templates::render(&topology)?, topology, ..self })
    }

    /// What steps work with.
    pub fn world(&self) -> World<'_> {
        World { topology: &self.topology, artifacts: &self.artifacts, fleet: &self.fleet, interrupt: &self.interrupt }
    }

    /// Looks at the cluster.
    pub async fn observe(&self, scope: Scope) -> Observed {
        observe(&self.topology, &self.fleet, scope).await
    }

    /// Takes the cluster's lock; it is renewed through whatever manager answers.
    pub async fn lock(&self, context: &Context, command: &str) -> Result<Lock, CommandError> {
        let manager = self.fleet.manager().await?;
        let told = |text: &str| context.ui.note(text);
        let lock = Lock::take(&manager.docker, &self.topology.name, command, &context.interrupt, told).await?;
        Ok(self.kept(lock))
    }

    /// Takes the cluster's lock from whoever holds it.
    pub async fn seize_lock(&self, context: &Context, command: &str) -> Result<Lock, CommandError> {
        let manager = self.fleet.manager().await?;
        let told = |text: &str| context.ui.note(text);
        let lock = Lock::seize(&manager.docker, &self.topology.name, command, &context.interrupt, told).await?;
        Ok(self.kept(lock))
    }

    /// The host that it was taken through may be lost.
    fn kept(&self, lock: Lock) -> Lock {
        lock.through(self.fleet.links().map(|link| link.docker.clone()));
        lock
    }

    /// Does something under the cluster's lock, and gives it back whatever comes of it; nothing of it is done where somebody else has the
    /// lock. Ctrl-C waits until the work ends by itself.
    pub async fn locked<T>(
        &self,
        context: &Context,
        command: &str,
        work: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        let _guard = context.interrupt.guard();
        let lock = self.lock(context, command).await?;
        let done = Box::pin(work).await;
        lock.release().await;
        done
    }

    /// Waits for work that takes as long as it takes; Ctrl-C gives it up. PostgreSQL looks for its client every two seconds, and Citus
    /// takes back what it has not finished then.
    pub async fn unless_interrupted<T, E: Into<CommandError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CommandError> {
        tokio::select! {
            done = work => done.map_err(Into::into),
            () = self.interrupt.asked() => {
                let error = CommandError::new(Exit::Interrupted, "interrupted: Citus takes back what it has not finished");
                Err(error.hint("the same command begins again"))
            }
        }
    }

    /// The name of a group's leader.
    pub async fn leader(&self, group: GroupId) -> Result<String, CommandError> {
        if self.topology.group(group).is_none() {
            let error = CommandError::new(Exit::Usage, format!("the topology has no {group}"));
            return Err(error.hint("`pgclusterctl topology show` lists the groups"));
        }
        let leader = failover::state(self.world(), group).await?.leader;
        if leader.is_empty() {
            let error = CommandError::new(Exit::Unhealthy, format!("{group} has no leader now"));
            return Err(error.hint("`pgclusterctl status` shows why; name a member with --member"));
        }
        Ok(leader)
    }

    /// What `up` has to do now.
    pub async fn plan(&self) -> Result<(Plan, PlanReport), CommandError> {
        let observed = self.observe(Scope::plan()).await;
        self.plan_for(&observed)
    }

    /// What `up` would have to do if that were what is seen.
    pub fn plan_for(&self, observed: &Observed) -> Result<(Plan, PlanReport), CommandError> {
        let plan = plan::plan(&self.topology, &self.artifacts, observed).map_err(Refused)?;
        let report = PlanReport {
            schema_version: 1,
            cluster: self.topology.name.to_string(),
            pending: !plan.is_empty(),
            plan: plan.clone(),
            differences: differences(&plan, &self.artifacts, observed),
        };
        Ok((plan, report))
    }
}

/// Asks for every host key that nobody vouches for; `true` when one was added to known_hosts.
fn learn_host_keys(context: &Context, topology: &Topology, fleet: &Fleet) -> Result<bool, CommandError> {
    let mut learnt = false;
    for (host, error) in fleet.failures() {
        match error {
            SshError::UnknownHostKey(unknown) => {
                let host = topology.host(host);
                context.ui.note(format!("{} ({}) shows a host key that is not in known_hosts:", host.name, host.address));
                context.ui.note(format!("  {}", unknown.key.fingerprint()));
                let file = host.ssh.known_hosts.display();
                context.ui.confirm(&format!("Is this {}? Add its key to {file}?", host.name))?;
                unknown
                    .accept()
                    .map_err(|e| CommandError::new(Exit::Refused, format!("{file}: the key cannot be added: {e}")))?;
                learnt = true;
            }
            SshError::ChangedHostKey { .. } => {
                return Err(CommandError::new(Exit::Unreachable, error.to_string())
                    .hint("if the host was reinstalled, remove its old key with `ssh-keygen -R` and run this again"));
            }
            _ => {}
        }
    }
    Ok(learnt)
}
