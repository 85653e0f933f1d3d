//! `host remove`: leaders go elsewhere, `up` moves the members, the node leaves the Swarm, and the file loses the host.
//!
//! The file is written last: until then it names the host, and an interrupted command is run again from the start.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::commands::session::Session;
use crate::commands::up;
use crate::commands::work::Work;
use crate::consent::Consent;
use crate::context::Context;
use crate::engine::runner;
use crate::error::{CommandError, Exit};
use crate::images;
use crate::observe::{Leaders, Scope};
use crate::output::{Report, Ui, table};
use crate::plan::diff::{differences, unified};
use crate::plan::remove::{Removal, votes};
use crate::plan::{self, Plan, PlanReport, Refused};
use crate::quantity::whole_millis;
use crate::steps::{poolers, swarm, teardown, topology_file};
use crate::topology::edit::host;
use crate::topology::{self, HostName, TopologyError};

/// Arguments of `host remove`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The host that goes.
    #[arg(value_parser = super::name)]
    pub host: HostName,
    /// Keep its data volumes.
    #[arg(long)]
    pub keep_volumes: bool,
    /// Only show what would be done.
    #[arg(long)]
    pub plan: bool,
    /// How long to wait for a wave to become healthy; members copy their data meanwhile.
    #[arg(long, value_name = "DURATION", default_value = "180s", value_parser = crate::topology::units::parse_duration)]
    pub timeout: Duration,
}

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let started = Instant::now();
    let path = &context.topology_path;
    let loaded = topology::load_with_warnings(path)?;
    let edited = host::remove(&loaded.text, &args.host)?;
    let votes = votes(&loaded.topology, &args.host);
    if !votes.is_empty() {
        return Err(Refused(votes).into());
    }
    let (after, _) = topology::parse(&edited, path).map_err(|findings| {
        let error = TopologyError::Invalid { path: path.clone(), text: edited.clone(), findings };
        CommandError::new(Exit::Refused, format!("without {}, {error}", args.host)).hint("nothing was changed")
    })?;
    let services = host::left(&loaded.topology, &after, &args.host).map_err(|what| {
        CommandError::new(Exit::Refused, format!("without {}, {what}", args.host))
            .hint("write the groups out as [[shard]] with `hosts`, and the other lists of hosts too, so that nothing follows from positions")
            .hint("or put another host in its place: power it off, then `pgclusterctl host replace`")
    })?;
    let with = Session::of(context, loaded.topology).await?;
    with.fleet.require_all()?;
    let without = Session::of(context, after).await?;
    without.fleet.require_all()?;
    // Copies go with the host: the others have to be there now, not only in what Patroni wrote last.
    let observed = with.observe(Scope { leaders: Leaders::All, ..Scope::plan() }).await;
    let removal = Removal {
        before: &with.topology,
        artifacts: &with.artifacts,
        observed: &observed,
        host: &args.host,
        services: &services,
    };
    let refusals = removal.refusals();
    if !refusals.is_empty() {
        return Err(Refused(refusals).into());
    }
    let prepare = removal.plan();
    let expected = removal.expected();
    let deploy = plan::plan(&without.topology, &without.artifacts, &expected).map_err(Refused)?;
    let file = unified(&path.display().to_string(), &loaded.text, &edited);
    let proposal = PlanReport {
        schema_version: 1,
        cluster: with.topology.name.to_string(),
        pending: true,
        differences: file.into_iter().chain(differences(&deploy, &without.artifacts, &expected)).collect(),
        plan: Plan { waves: prepare.waves.iter().chain(&deploy.waves).cloned().collect() },
    };
    if args.plan {
        context.ui.result(&proposal)?;
        return Ok(Exit::Ok);
    }
    images::require(&without.topology, &without.fleet).await?;
    context.ui.aside(&proposal);
    let data = if args.keep_volumes { "Its data volumes stay" } else { "Its data volumes are deleted" };
    let consent = context.ui.confirm(&format!("Take {} out of {}? {data}.", args.host, with.topology.name))?;

    let _guard = context.interrupt.guard();
    let lock = without.lock(context, "host remove").await?;
    let work = Work { cluster: &with.topology.name, name: "host-remove", wave: args.timeout, lock: Some(&lock) };
    let moved = work.run(context, async |events, limits| {
        runner::run(&prepare, with.world(), events, limits).await?;
        up::converge(&without, events, limits).await?;
        // A run that was interrupted has moved members, and had no time to tell poolers.
        if without.topology.citus.is_some() {
            poolers::renew(without.world()).await?;
        }
        // `up` has nothing to plan for a service that an interrupted run has just deployed.
        let mut arrived = Plan::default();
        arrived.push(format!("nothing runs on {}", args.host), Vec::new(), removal.arrived(&without.artifacts));
        Ok(runner::run(&arrived, without.world(), events, limits).await?)
    });
    let left = match moved.await {
        Ok(()) => leave(&with, &without, args, &consent).await,
        Err(error) => Err(error),
    };
    let left = left.and_then(|volumes| Ok(topology_file::replace(path, &loaded.text, &edited).map(|()| volumes)?));
    lock.release().await;
    let volumes = left?;
    context.ui.result(&RemoveReport {
        schema_version: 1,
        cluster: with.topology.name.to_string(),
        host: args.host.clone(),
        services,
        volumes,
        took_ms: whole_millis(started.elapsed()),
    })?;
    Ok(Exit::Ok)
}

/// Nothing of the cluster needs the host any more. Returns how many volumes were deleted.
async fn leave(with: &Session, without: &Session, args: &Args, consent: &Consent) -> Result<usize, CommandError> {
    let link = with.fleet.link(&args.host)?;
    swarm::leave(without.world(), link).await?;
    Ok(teardown::host(with.world(), link, !args.keep_volumes, consent).await?)
}

/// The end of `host remove`.
#[derive(Debug, Serialize)]
struct RemoveReport {
    schema_version: u32,
    cluster: String,
    host: HostName,
    /// What it carried, each with its new host; null where it has none.
    services: BTreeMap<String, Option<HostName>>,
    /// Data volumes that were deleted there.
    volumes: usize,
    took_ms: u64,
}

impl Report for RemoveReport {
    fn text(&self, _ui: &Ui) -> String {
        let Self { cluster, host, volumes, .. } = self;
        let moved = |(service, to): (&String, &Option<HostName>)| match to {
            Some(to) => format!("  {service} is on {to}\n"),
            None => format!("  {service} is gone\n"),
        };
        let services: String = self.services.iter().map(moved).collect();
        let took = table::millis(self.took_ms);
        format!("{host} is no part of {cluster} any more; {volumes} data volumes deleted ({took})\n{services}")
    }
}
