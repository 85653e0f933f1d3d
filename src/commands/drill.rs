//! `drill`: break the cluster on purpose, prove what it promised.

use std::path::{Path, PathBuf};

use super::password::{self, Owner};
use super::session::Session;
use crate::cli::Format;
use crate::context::Context;
use crate::drill::director::{AT_FIRST, BEFORE, Director};
use crate::drill::report::{DrillReport, NotCarriedOut, Outcome, Run, SCHEMA_VERSION, Skipped};
use crate::drill::scenario::{self, Scenario};
use crate::drill::workload::Target;
use crate::drill::{DrillError, fault, fitness, traces, versions};
use crate::engine::Lock;
use crate::engine::journal::state_dir;
use crate::error::{CommandError, Exit, Failure, one_line};
use crate::output::drill::{Healed, ScenarioList, html};
use crate::output::{Step, junit};

/// Subcommands of `drill`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the scenarios with what each promises in this topology.
    List,
    /// Run scenarios against the cluster, with clients that write, and prove that nothing was lost. Breaks things.
    Run(RunArgs),
    /// Show the report of an earlier drill, or of several as one: a promise is judged over the runs of all of them.
    Report(ReportArgs),
    /// Remove whatever an interrupted drill left, and switch a lab's dark hosts on.
    Heal,
}

/// Arguments of `drill run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Scenarios by name, in this order.
    #[arg(required_unless_present_any = ["all", "set"], value_name = "NAME")]
    pub names: Vec<String>,
    /// All scenarios; those that this cluster cannot play are left out, and named.
    #[arg(long, conflicts_with_all = ["names", "set"])]
    pub all: bool,
    /// A set of scenarios.
    #[arg(long, value_name = "SET", conflicts_with = "names")]
    pub set: Option<Set>,
    /// How often each is run. A promised outage is judged by the 95th percentile: of 20 runs one may take longer, of fewer none.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeat: u32,
    /// Clients that write to each group that is hit; a few more write to every other.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub clients: u16,
    /// What the clients' choices follow from. Default: the time.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Where every client's record and the report go. Default: a new folder below the state folder of this program.
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// Write the report as one HTML file, too.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// A set of scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Set {
    /// Short and telling: fit for every night.
    Ci,
}

/// Arguments of `drill report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// `report.json` of a drill; several are judged as one.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write it as one HTML file, too.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Runs the command.
pub async fn run(context: &Context, command: &Command) -> Result<Exit, CommandError> {
    match command {
        Command::List => {
            context.ui.result(&ScenarioList::new(&context.topology()?))?;
            Ok(Exit::Ok)
        }
        Command::Run(args) => drill(context, args).await,
        Command::Report(args) => {
            let reports = args.files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
            let joined = DrillReport::joined(reports).map_err(|reason| CommandError::new(Exit::Usage, reason))?;
            let report = joined.ok_or_else(|| CommandError::new(Exit::Usage, "no report was named"))?;
            show(context, &report, args.html.as_ref())
        }
        Command::Heal => {
            let mut session = Session::open(context).await?;
            let lit = fault::power::restore(&context.ui, &session.topology, &mut session.fleet).await?;
            let mut report = Healed::of_power(lit);
            let healings = fault::heal_all(session.world()).await;
            report.add(healings.into_iter().map(|(host, fault::Healing { healed, left })| (host.to_string(), healed, left)));
            match tables_dropped(context, &session).await {
                Ok(dropped) => report.schema_dropped = dropped,
                Err(error) => report.left.push(("tables".to_owned(), vec![one_line(&error)])),
            }
            context.ui.result(&report)?;
            Ok(if report.left.is_empty() { Exit::Ok } else { Exit::Partial })
        }
    }
}

/// Drops what a drill has left in the application's database, unless a drill is at work there.
async fn tables_dropped(context: &Context, session: &Session) -> Result<bool, DrillError> {
    let manager = session.fleet.manager().await?;
    let note = |text: &str| context.ui.note(text);
    let lock = Lock::take(&manager.docker, &session.topology.name, "drill heal", &context.interrupt, note).await?;
    let dropped = traces::remove(session.world()).await;
    lock.release().await;
    dropped
}

fn chosen(args: &RunArgs) -> Result<Vec<&'static Scenario>, CommandError> {
    if args.all {
        return Ok(scenario::ALL.iter().collect());
    }
    if args.set == Some(Set::Ci) {
        return Ok(scenario::ALL.iter().filter(|s| s.ci).collect());
    }
    let find = |name: &String| {
        let error = CommandError::new(Exit::Usage, format!("there is no scenario {name:?}"));
        scenario::find(name).ok_or_else(|| error.hint("`pgclusterctl drill list` shows them"))
    };
    args.names.iter().map(find).collect()
}

/// What is left out of a set, since this cluster cannot play it. Who is named has to be played.
struct Sieve {
    named: bool,
    skipped: Vec<Skipped>,
}

impl Sieve {
    fn lets_through(&mut self, scenario: &Scenario, fit: Result<(), DrillError>) -> Result<bool, CommandError> {
        match fit {
            Ok(()) => Ok(true),
            Err(error) if error.is_unfit() && !self.named => {
                self.skipped.push(Skipped { scenario: scenario.name.to_owned(), reason: error.to_string() });
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Records of two drills in one folder would be one record.
fn require_empty(folder: &Path) -> Result<(), CommandError> {
    let taken = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if !taken {
        return Ok(());
    }
    let error =
        CommandError::new(Exit::Usage, format!("{} is not empty, and every drill has a folder of its own", folder.display()));
    Err(error.hint("name another folder, or leave `--folder` out"))
}

async fn drill(context: &Context, args: &RunArgs) -> Result<Exit, CommandError> {
    args.folder.as_deref().map_or(Ok(()), require_empty)?;
    let topology = context.topology()?;
    let mut sieve = Sieve { named: !args.names.is_empty(), skipped: Vec::new() };
    let mut fitting = Vec::new();
    for scenario in chosen(args)? {
        if sieve.lets_through(scenario, fitness::of_topology(scenario, &topology))? {
            fitting.push(scenario);
        }
    }
    context.ui.require_answerer(&format!("this breaks {} on purpose", topology.name))?;
    let session = Session::open_whole(context).await?;
    let mut scenarios = Vec::new();
    for scenario in fitting {
        if sieve.lets_through(scenario, fitness::of_hosts(scenario, &topology, &session.fleet).await)? {
            scenarios.push(scenario);
        }
    }
    for skipped in &sieve.skipped {
        context.ui.note(format!("skipped: {}", skipped.reason));
    }
    let names: Vec<_> = scenarios.iter().map(|s| s.name).collect();
    let question = format!(
        "This breaks {} on purpose: {}. Clients will be turned away meanwhile. Go on?",
        topology.name,
        names.join(", ")
    );
    let consent = context.ui.confirm(&question)?;
    let started_at = jiff::Timestamp::now();
    let seed = args.seed.unwrap_or_else(|| u64::try_from(started_at.as_millisecond()).unwrap_or_default());
    let folder = args.folder.clone().unwrap_or_else(|| state_folder(topology.name.as_str(), started_at));
    let unwritable = |e: std::io::Error| CommandError::new(Exit::Usage, format!("{}: {e}", folder.display()));
    std::fs::create_dir_all(&folder).map_err(unwritable)?;
    let password = password::read(&session, Owner::App).await?;

    let versions = versions::versions(session.world()).await;

    let _guard = context.interrupt.guard();
    let Session { topology, artifacts, fleet, .. } = session;
    let mut director = Director {
        topology: &topology,
        topology_file: &context.topology_path,
        artifacts: &artifacts,
        fleet,
        target: Target {
            host: topology.client_address().to_string(),
            port: 5432,
            user: "app".into(),
            password,
            dbname: topology.database.clone(),
        },
        clients: args.clients.into(),
        seed,
        folder: folder.clone(),
        ui: &context.ui,
        interrupt: &context.interrupt,
        consent: &consent,
        dark: Vec::new(),
        lock: None,
    };
    director.lock().await?;
    let name = if let [name] = names[..] { name.to_owned() } else { format!("{} scenarios", names.len()) };
    let report = |outcomes: &[Outcome]| {
        DrillReport::new(name.clone(), seed, started_at, versions.clone(), outcomes.to_vec()).skipping(sieve.skipped.clone())
    };
    // What was proved so far stays, whatever comes.
    let keep = |outcomes: &[Outcome]| write(&folder, &report(outcomes));
    let performed = perform(&mut director, &scenarios, args.repeat, keep).await;
    director.clear().await;
    director.unlock().await;
    let (outcomes, ended) = performed?;
    context.ui.note(format!("records and report: {}", folder.display()));
    if let Some(error) = ended {
        if !outcomes.is_empty() {
            show(context, &report(&outcomes), args.html.as_ref())?;
        }
        return Err(error.into());
    }
    show(context, &report(&outcomes), args.html.as_ref())
}

/// Runs every scenario as often as it is wanted. After one that could not be carried out the others follow, when the cluster is fit
/// for them or becomes so in time. With an error that ended all of it.
async fn perform(
    director: &mut Director<'_>,
    scenarios: &[&Scenario],
    repeat: u32,
    keep: impl Fn(&[Outcome]) -> Result<(), CommandError>,
) -> Result<(Vec<Outcome>, Option<DrillError>), CommandError> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut unfit = None;
    for (number, scenario) in (1..=repeat).flat_map(|number| scenarios.iter().map(move |scenario| (number, *scenario))) {
        let ended = |reason: String| Err(NotCarriedOut { scenario: scenario.name.to_owned(), number, reason });
        if unfit.is_none()
            && let Err(error) = director.ready(if outcomes.is_empty() { AT_FIRST } else { BEFORE }).await
        {
            // Before anything was begun it is a refusal, and no result.
            if outcomes.is_empty() || error.exit() == Exit::Interrupted {
                return Ok((outcomes, Some(error)));
            }
            unfit = Some(one_line(&error));
        }
        if let Some(reason) = &unfit {
            outcomes.push(ended(format!("not begun: {reason}")));
            keep(&outcomes)?;
            continue;
        }
        let step = Step::start(director.ui, format!("{} ({number} of {repeat})", scenario.name));
        match director.run(scenario, number).await {
            Ok(run) => {
                step.done(&outcome(&run));
                outcomes.push(Ok(run));
            }
            Err(error) if error.is_final() => return Ok((outcomes, Some(error))),
            Err(error) => {
                step.done(&format!("NOT CARRIED OUT: {}", one_line(&error)));
                error.hints().iter().for_each(|hint| director.ui.note(format!("  hint: {hint}")));
                outcomes.push(ended(one_line(&error)));
            }
        }
        keep(&outcomes)?;
    }
    Ok((outcomes, None))
}

/// A run in one line.
fn outcome(run: &Run) -> String {
    let result = if run.passed { "passed".to_owned() } else { format!("FAILED: {}", run.reasons.join("; ")) };
    let outage = match run.outage {
        _ if !run.remarks.is_empty() => run.remarks.join("; "),
        Some(outage) => format!("outage {:.2} s", outage.as_secs_f64()),
        None => "no outage".to_owned(),
    };
    format!("{result}, {outage}")
}

fn write(folder: &std::path::Path, report: &DrillReport) -> Result<(), CommandError> {
    let path = folder.join("report.json");
    let text = serde_json::to_vec_pretty(report).map_err(|e| CommandError::new(Exit::Internal, e.to_string()))?;
    std::fs::write(&path, text).map_err(|e| CommandError::new(Exit::Usage, format!("{}: {e}", path.display())))
}

fn read(file: &std::path::Path) -> Result<DrillReport, CommandError> {
    let refused =
        |reason: String| CommandError::new(Exit::Usage, format!("{} is no report of a drill: {reason}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|e| refused(e.to_string()))?;
    parsed(&text).map_err(refused)
}

/// A report of another version may have other keys, so that is what is looked at first.
fn parsed(text: &str) -> Result<DrillReport, String> {
    let document: serde_json::Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    match document["schema_version"].as_u64() {
        Some(version) if version == u64::from(SCHEMA_VERSION) => serde_json::from_value(document).map_err(|e| e.to_string()),
        Some(version) => Err(format!("it is of version {version}, and this program reads version {SCHEMA_VERSION}")),
        None => Err("it has no schema_version".into()),
    }
}

fn show(context: &Context, report: &DrillReport, page: Option<&PathBuf>) -> Result<Exit, CommandError> {
    if let Some(path) = page {
        let text = html::html(report).map_err(|e| CommandError::new(Exit::Internal, e.to_string()))?;
        std::fs::write(path, text).map_err(|e| CommandError::new(Exit::Usage, format!("{}: {e}", path.display())))?;
    }
    if context.format == Format::Junit {
        let text = junit::junit(report).map_err(|e| CommandError::new(Exit::Internal, e.to_string()))?;
        context.ui.print(&text);
    } else {
        context.ui.result(report)?;
    }
    Ok(match (report.passed, report.kept()) {
        (true, _) => Exit::Ok,
        // A drill without runs proved nothing.
        (false, true) if !report.not_carried_out.is_empty() => Exit::Partial,
        (false, _) => Exit::Unhealthy,
    })
}

/// `~/.local/state/pgclusterctl/drills/<cluster>-<time>`.
fn state_folder(cluster: &str, started_at: jiff::Timestamp) -> PathBuf {
    state_dir()
        .unwrap_or_else(std::env::temp_dir)
        .join("drills")
        .join(format!("{cluster}-{}", started_at.strftime("%Y%m%dT%H%M%SZ")))
}
