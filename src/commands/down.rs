//! `down`: removes the services, and with consent the data.

use serde::Serialize;

use super::session::Session;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::output::{Report, Ui};
use crate::steps::teardown;

/// Arguments of `down`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also delete the data volumes, secrets and networks of the cluster. There is no way back.
    #[arg(long)]
    pub volumes: bool,
    /// The name of the cluster, typed instead of the question that --volumes asks.
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
}

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    // Data lies on every host: a host that cannot be reached would keep its part and bring it back later.
    let session = if args.volumes { Session::open_whole(context).await? } else { Session::open(context).await? };
    let name = session.topology.name.as_str();
    let consent = if args.volumes {
        let warning =
            format!("This deletes ALL DATA of {name} on {} hosts. There is no way back.", session.topology.hosts.len());
        context.ui.confirm_by_name(&warning, name, args.confirm.as_deref())?
    } else {
        context.ui.confirm(&format!("Stop and remove all services of {name}? Its data stays."))?
    };
    let _guard = context.interrupt.guard();
    let lock = session.lock(context, "down").await?;
    let outcome = async {
        let services = teardown::services(session.world(), &consent).await?;
        let configs = teardown::configs(session.world(), &consent).await?;
        let mut report =
            DownReport { schema_version: 1, cluster: name.to_owned(), services, configs, volumes: 0, secrets: 0, networks: 0 };
        if args.volumes {
            report.volumes = teardown::volumes(session.world(), &consent).await?;
            report.secrets = teardown::secrets(session.world(), &consent).await?;
            report.networks = teardown::networks(session.world(), &consent).await?;
        }
        Ok::<_, CommandError>(report)
    }
    .await;
    lock.release().await;
    context.ui.result(&outcome?)?;
    Ok(Exit::Ok)
}

/// What was removed.
#[derive(Debug, Serialize)]
struct DownReport {
    schema_version: u32,
    cluster: String,
    services: usize,
    configs: usize,
    volumes: usize,
    secrets: usize,
    networks: usize,
}

impl Report for DownReport {
    fn text(&self, _ui: &Ui) -> String {
        let Self { cluster, services, configs, volumes, secrets, networks, .. } = self;
        let mut text = format!("{cluster} is down: {services} services and {configs} configs removed");
        if *volumes + secrets + networks > 0 {
            text.push_str(&format!(", {volumes} volumes, {secrets} secrets and {networks} networks deleted"));
        } else {
            text.push_str("; data, secrets and networks are kept");
        }
        text.push_str(".\n");
        text
    }
}
