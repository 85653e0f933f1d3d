//! `host replace`: edit the topology, carry images, exchange the Swarm node and the etcd member, then what `up` does.
//!
//! What is done follows from what is seen, never from how far an earlier run came: interrupted, the command is run again.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::commands::session::Session;
use crate::commands::up;
use crate::commands::work::Work;
use crate::context::Context;
use crate::engine::runner;
use crate::error::{CommandError, Exit};
use crate::images;
use crate::observe::model::{EtcdDisk, Observed};
use crate::observe::{Probe, Scope};
use crate::output::{Report, Ui, table};
use crate::plan::diff::{Difference, differences, unified};
use crate::plan::preflight::{self, Outcome};
use crate::plan::replace::Replacement;
use crate::plan::{self, Plan, PlanReport, Refused};
use crate::quantity::whole_millis;
use crate::remote::ssh::{Ssh, SshError, SshOptions, SshTarget};
use crate::steps::{self, topology_file};
use crate::topology::edit::host::{self, NewHost};
use crate::topology::{self, HostName, Topology, TopologyError};

/// Arguments of `host replace`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The host that is lost.
    #[arg(value_parser = super::name)]
    pub old: HostName,
    /// The host that takes its place; the same name for a new machine under the old name.
    #[arg(value_parser = super::name)]
    pub new: HostName,
    /// IPv4 address under which the other hosts reach it; may be left out when the topology has it already.
    #[arg(long, value_name = "IP")]
    pub address: Option<Ipv4Addr>,
    /// Login name there [default: that of the lost host].
    #[arg(long)]
    pub user: Option<String>,
    /// Private key file for it [default: that of the lost host].
    #[arg(long, value_name = "FILE")]
    pub identity: Option<String>,
    /// Only show what would be done.
    #[arg(long)]
    pub plan: bool,
    /// How long to wait for a wave to become healthy; members copy their data meanwhile.
    #[arg(long, value_name = "DURATION", default_value = "180s", value_parser = crate::topology::units::parse_duration)]
    pub timeout: Duration,
}

/// What the topology file says, and shall say.
struct Edit {
    text: String,
    edited: String,
    before: Topology,
    after: Topology,
    /// Services that the new host gets.
    services: Vec<String>,
}

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let started = Instant::now();
    let edit = edit(context, args)?;
    let answers = old_answers(&edit, args).await;
    let session = Session::of(context, edit.after.clone()).await?;
    session.fleet.require_all()?;
    let observed = session.observe(Scope::plan()).await;
    let disk = disk(&session, &observed, &args.new).await?;
    let replacement = Replacement {
        topology: &session.topology,
        observed: &observed,
        old: &args.old,
        old_address: edit.before.hosts.iter().find(|h| h.name == args.old).map(|h| h.address),
        old_answers: answers,
        new: &args.new,
        disk,
    };
    let prepare = replacement.plan().map_err(Refused)?;
    check_new(&session, &observed, &args.new)?;
    let proposal = proposal(context, &session, &edit, &prepare, &replacement)?;
    if args.plan {
        context.ui.result(&proposal)?;
        return Ok(Exit::Ok);
    }
    if proposal.pending {
        context.ui.aside(&proposal);
        context.ui.confirm(&format!("Put {} in the place of {}, with {}?", args.new, args.old, listed(&edit.services)))?;
    }
    let _guard = context.interrupt.guard();
    // Carried before anything is changed: it takes longest, and without images nothing else is of use.
    carry(context, &session).await?;
    topology_file::replace(&context.topology_path, &edit.text, &edit.edited)?;
    let lock = session.lock(context, "host replace").await?;
    let work = Work { cluster: &session.topology.name, name: "host-replace", wave: args.timeout, lock: Some(&lock) };
    let outcome = work.run(context, async |events, limits| {
        runner::run(&prepare, session.world(), events, limits).await?;
        up::converge(&session, events, limits).await
    });
    let outcome = outcome.await;
    lock.release().await;
    outcome?;
    context.ui.result(&ReplaceReport {
        schema_version: 1,
        cluster: session.topology.name.to_string(),
        old: args.old.clone(),
        new: args.new.clone(),
        address: session.topology.host(&args.new).address,
        changed: proposal.pending,
        services: edit.services,
        took_ms: whole_millis(started.elapsed()),
    })?;
    Ok(Exit::Ok)
}

fn edit(context: &Context, args: &Args) -> Result<Edit, CommandError> {
    let path = &context.topology_path;
    let loaded = topology::load_with_warnings(path)?;
    let new =
        NewHost { name: args.new.clone(), address: args.address, user: args.user.clone(), identity: args.identity.clone() };
    let edited = host::replace(&loaded.text, &args.old, &new)?;
    let (after, _) = topology::parse(&edited, path).map_err(|findings| {
        let error = TopologyError::Invalid { path: path.clone(), text: edited.clone(), findings };
        CommandError::new(Exit::Refused, format!("with {} in the place of {}, {error}", args.new, args.old))
            .hint("nothing was changed")
    })?;
    let services = host::moved(&loaded.topology, &after, &args.old, &args.new).map_err(|what| {
        CommandError::new(Exit::Refused, format!("{} cannot just take the place of {}: {what}", args.new, args.old))
            .hint("write the lists of hosts out in the topology, so that they do not follow from anything else")
    })?;
    Ok(Edit { text: loaded.text, edited, before: loaded.topology, after, services })
}

/// Whether the lost host still answers at its address, unless the new one has that address.
async fn old_answers(edit: &Edit, args: &Args) -> bool {
    let Some(old) = edit.before.hosts.iter().find(|h| h.name == args.old) else { return false };
    if edit.after.host(&args.new).address == old.address {
        return false;
    }
    match Ssh::connect(&SshTarget::from(old), &SshOptions::default()).await {
        Err(SshError::Connect { .. } | SshError::Timeout { .. } | SshError::Lost { .. }) => false,
        // Also one that refuses the login is there.
        Ok(_) | Err(_) => true,
    }
}

/// What the new host's volume of its etcd member holds, where it gets one and etcd was deployed.
async fn disk(session: &Session, observed: &Observed, new: &HostName) -> Result<Option<EtcdDisk>, CommandError> {
    let member = session.topology.etcd.iter().find(|m| m.host == *new);
    match member.filter(|_| observed.membership.known().is_some()) {
        Some(member) => Ok(Some(steps::etcd::disk(session.world(), &member.name, new).await?)),
        None => Ok(None),
    }
}

/// The checks of `init`, for the host that is new.
fn check_new(session: &Session, observed: &Observed, new: &HostName) -> Result<(), CommandError> {
    let checks = preflight::checks(&session.topology, observed);
    let failed = checks.iter().filter(|c| c.host == new.as_str() && c.outcome == Outcome::Fail);
    let failed: Vec<_> = failed.map(|c| format!("\n  {}: {} ({})", c.check, c.seen, c.remedy)).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(CommandError::new(Exit::Refused, format!("{new} is not fit to carry what is meant for it:{}", failed.concat()))
        .hint("mend that, and run this again; nothing was changed"))
}

/// All that will be done, as a plan whose second part is what `up` will find to do.
fn proposal(
    context: &Context,
    session: &Session,
    edit: &Edit,
    prepare: &Plan,
    replacement: &Replacement<'_>,
) -> Result<PlanReport, CommandError> {
    let expected = replacement.expected();
    let deploy = plan::plan(&session.topology, &session.artifacts, &expected).map_err(Refused)?;
    let file = unified(&context.topology_path.display().to_string(), &edit.text, &edit.edited);
    // That a service has another host now is said by its action; its own definition would say it once more.
    let moved = |difference: &Difference| edit.services.iter().any(|s| difference.what == format!("service {s}"));
    let others = differences(&deploy, &session.artifacts, &expected).into_iter().filter(|d| !moved(d));
    let differences: Vec<_> = file.into_iter().chain(others).collect();
    let waves = prepare.waves.iter().chain(&deploy.waves).cloned().collect();
    let plan = Plan { waves };
    Ok(PlanReport {
        schema_version: 1,
        cluster: session.topology.name.to_string(),
        pending: !plan.is_empty() || !differences.is_empty(),
        plan,
        differences,
    })
}

async fn carry(context: &Context, session: &Session) -> Result<(), CommandError> {
    // Hosts pull them from their registry by themselves.
    if session.topology.images.from_registry || images::require(&session.topology, &session.fleet).await.is_ok() {
        return Ok(());
    }
    let hosts = images::push(&context.ui, &session.topology, &session.fleet).await?;
    let failed: Vec<_> = hosts.values().filter_map(Probe::failed).map(ToString::to_string).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(CommandError::new(Exit::Partial, format!("images could not be carried: {}", failed.join("; ")))
        .hint("nothing else was changed; run this again"))
}

fn listed(services: &[String]) -> String {
    if services.is_empty() { "nothing to carry".to_owned() } else { services.join(", ") }
}

/// The end of `host replace`.
#[derive(Debug, Serialize)]
struct ReplaceReport {
    schema_version: u32,
    cluster: String,
    old: HostName,
    new: HostName,
    address: Ipv4Addr,
    /// Whether anything had to be done.
    changed: bool,
    /// What the new host carries.
    services: Vec<String>,
    took_ms: u64,
}

impl Report for ReplaceReport {
    fn text(&self, _ui: &Ui) -> String {
        let Self { cluster, old, new, address, .. } = self;
        let took = table::millis(self.took_ms);
        let already = if self.changed { "" } else { " already" };
        let services = listed(&self.services);
        let mut text =
            format!("{new} ({address}) has the place of {old}{already}: {services}\n{cluster} is healthy ({took})\n");
        if old != new {
            text.push_str(&format!(
                "\nBefore {old} is ever switched on again, wipe its disks: what it has is not needed any more.\n"
            ));
        }
        text
    }
}
