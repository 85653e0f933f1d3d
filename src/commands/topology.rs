//! `topology check | show | schema | tolerance | budget`: the file explained; touches no host.

use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::output::budget::BudgetReport;
use crate::output::{Report, Ui, table};
use crate::topology::finding::{self, Finding, FindingView};
use crate::topology::tolerance::{self, ToleranceReport};
use crate::topology::{self, Topology, TopologyError, schema};

/// What to explain.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub enum Command {
    /// Report every mistake of the file.
    Check,
    /// Show the resolved topology: who runs where.
    Show,
    /// Print the JSON Schema of topology.toml, for editors.
    Schema,
    /// Show which combinations of lost hosts the cluster survives, and what each costs.
    Tolerance,
    /// Show what each kind of failure costs, and what is promised; with -v where the time goes.
    Budget,
}

/// Hosts lost together that `tolerance` looks at: three at once leave no majority of three or five.
const MAX_LOST: usize = 2;

/// Runs the command.
pub async fn run(context: &Context, command: Command) -> Result<Exit, CommandError> {
    match command {
        Command::Check => check(context),
        Command::Show => context.ui.result(&ShowReport::new(context.topology()?)).map(|()| Exit::Ok),
        Command::Schema => {
            context.ui.print(&format!("{:#}\n", schema::json_schema()));
            Ok(Exit::Ok)
        }
        Command::Budget => {
            let verbose = context.verbose > 0;
            context.ui.result(&BudgetReport::new(&context.topology()?, verbose)).map(|()| Exit::Ok)
        }
        Command::Tolerance => context.ui.result(&tolerance::report(&context.topology()?, MAX_LOST)).map(|()| Exit::Ok),
    }
}

fn check(context: &Context) -> Result<Exit, CommandError> {
    let path = &context.topology_path;
    let (valid, findings, text) = match topology::resolve::load_with_warnings(path) {
        Ok(loaded) => (true, loaded.warnings, loaded.text),
        Err(TopologyError::Invalid { findings, text, .. }) => (false, findings, text),
        Err(unreadable) => return Err(unreadable.into()),
    };
    let report = CheckReport {
        schema_version: 1,
        path: path.display().to_string(),
        valid,
        findings: finding::views(&findings, &text),
        source: Source { findings, text },
    };
    context.ui.result(&report)?;
    Ok(if valid { Exit::Ok } else { Exit::Topology })
}

/// The findings of a file.
#[derive(Debug, Serialize)]
struct CheckReport {
    schema_version: u32,
    path: String,
    valid: bool,
    findings: Vec<FindingView>,
    #[serde(skip)]
    source: Source,
}

#[derive(Debug)]
struct Source {
    findings: Vec<Finding>,
    text: String,
}

impl Report for CheckReport {
    fn text(&self, ui: &Ui) -> String {
        if self.source.findings.is_empty() {
            return format!("{} is valid\n", self.path);
        }
        let Source { findings, text } = &self.source;
        finding::render(findings, text, self.path.as_ref(), ui.color())
    }
}

/// The resolved topology.
#[derive(Debug, Serialize)]
struct ShowReport {
    schema_version: u32,
    #[serde(flatten)]
    topology: Topology,
}

impl ShowReport {
    fn new(topology: Topology) -> Self {
        Self { schema_version: 1, topology }
    }
}

impl Report for ShowReport {
    fn text(&self, ui: &Ui) -> String {
        let topology = &self.topology;
        let network = &topology.network;
        let vip =
            network.vip.as_ref().map_or_else(|| table::MISSING.to_owned(), |v| format!("{} on {}", v.address, v.interface));
        let mut text = format!(
            "{}  PostgreSQL {}  database {}  VIP {vip}\n",
            ui.paint(crate::output::ui::Tone::Head, topology.name.as_str()),
            topology.postgres,
            topology.database,
        );
        text.push_str(&format!(
            "overlay  coordinator {}  worker {}  admin {}  MTU {}{}\n\n",
            network.coordinator,
            network.worker,
            network.admin,
            network.mtu,
            if network.encrypted { "  encrypted" } else { "" },
        ));
        let mut hosts = table::table(&["host", "address", "zone", "etcd", "members", "proxy"]);
        for host in &topology.hosts {
            let or_missing = |names: Vec<String>| if names.is_empty() { table::MISSING.to_owned() } else { names.join(" ") };
            let etcd = topology.etcd.iter().filter(|m| m.host == host.name).map(|m| m.name.to_string()).collect();
            let members = topology.members().filter(|m| m.host == host.name).map(|m| m.name.to_string()).collect();
            let proxies =
                topology.proxies.iter().filter(|p| p.host == host.name).map(|p| format!("haproxy-{}", p.ordinal)).collect();
            let zone = if host.zone.is_empty() { table::MISSING } else { &host.zone };
            hosts.add_row([
                host.name.as_str(),
                &host.address.to_string(),
                zone,
                &or_missing(etcd),
                &or_missing(members),
                &or_missing(proxies),
            ]);
        }
        text.push_str(&table::render(&hosts));
        text.push('\n');
        let mut groups = table::table(&["group", "replication", "leader's home", "standbys", "readers"]);
        for group in &topology.groups {
            let place = |m: &topology::model::Member| format!("{} ({})", m.name, m.host);
            let places = |members: &[topology::model::Member]| match members {
                [] => table::MISSING.to_owned(),
                some => some.iter().map(place).collect::<Vec<_>>().join(", "),
            };
            groups.add_row([
                group.id.to_string(),
                group.replication.as_str().into(),
                place(&group.members[0]),
                places(&group.members[1..]),
                places(&group.readers),
            ]);
        }
        text.push_str(&table::render(&groups));
        text
    }
}

impl Report for ToleranceReport {
    fn text(&self, _ui: &Ui) -> String {
        let mut losses = table::table(&tolerance::COLUMNS);
        for row in self.rows() {
            losses.add_row(row);
        }
        format!("{}\n{}\n", table::render(&losses), self.summary())
    }
}
