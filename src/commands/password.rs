//! `password`: reads a password out of the cluster.
//!
//! Swarm gives no secret back, but the containers that use it have it as a file.

use bytes::Bytes;
use serde::Serialize;

use super::session::Session;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::output::{Report, Ui};
use crate::remote::exec;

/// Arguments of `password`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose.
    #[arg(value_enum, default_value_t = Owner::App)]
    pub owner: Owner,
}

/// Whose password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Owner {
    /// The application's role.
    App,
    /// The statistics page of the proxies.
    Stats,
    /// PostgreSQL's superuser.
    Superuser,
    /// Streaming replication.
    Replication,
    /// pg_rewind.
    Rewind,
    /// Patroni's REST interface.
    Restapi,
    /// PgBouncer's own role.
    Pgbouncer,
}

impl Owner {
    /// The secret's file, and the kind of service that has it.
    fn place(self) -> (&'static str, Holder) {
        match self {
            Self::App => ("app_password", Holder::Member),
            Self::Stats => ("stats_password", Holder::Haproxy),
            Self::Superuser => ("superuser_password", Holder::Member),
            Self::Replication => ("replication_password", Holder::Member),
            Self::Rewind => ("rewind_password", Holder::Member),
            Self::Restapi => ("restapi_password", Holder::Member),
            Self::Pgbouncer => ("pgbouncer_password", Holder::Member),
        }
    }
}

enum Holder {
    Member,
    Haproxy,
}

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let session = Session::open(context).await?;
    let password = read(&session, args.owner).await?;
    context.ui.result(&PasswordReport { schema_version: 1, password })?;
    Ok(Exit::Ok)
}

/// Reads a password from a container that has it.
pub async fn read(session: &Session, owner: Owner) -> Result<String, CommandError> {
    let (file, holder) = owner.place();
    let candidates: Vec<String> = match holder {
        Holder::Member => session.topology.groups[0].members.iter().map(|m| m.name.to_string()).collect(),
        Holder::Haproxy => session.topology.proxies.iter().map(|p| format!("haproxy-{}", p.ordinal)).collect(),
    };
    let path = format!("/run/secrets/{file}");
    let mut reasons = Vec::new();
    for name in &candidates {
        let container = match session.fleet.member(&session.topology, name).await {
            Ok(container) => container,
            Err(error) => {
                reasons.push(error.to_string());
                continue;
            }
        };
        match exec::run(&container.docker, &container.id, "", &["cat", &path], Bytes::new()).await {
            Ok(output) if output.status == 0 => return Ok(output.text().trim().to_owned()),
            Ok(output) => reasons.push(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => reasons.push(format!("{name}: {error}")),
        }
    }
    let error = CommandError::new(Exit::Unreachable, format!("no container has {path}: {}", reasons.join("; ")));
    Err(error.hint("passwords can be read while the cluster runs: `pgclusterctl up`"))
}

/// A password; the only place where this program shows one.
#[derive(Serialize)]
struct PasswordReport {
    schema_version: u32,
    password: String,
}

impl Report for PasswordReport {
    fn text(&self, _ui: &Ui) -> String {
        format!("{}\n", self.password)
    }
}
