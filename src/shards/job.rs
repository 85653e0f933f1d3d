//! Citus' background job of a rebalance: its state, what moves at this moment, and what a failed move says.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::topology::GroupId;

use super::model::ShardMap;

/// State of a job, in Citus' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for its first task.
    Scheduled,
    /// Moves shards.
    Running,
    /// Is being stopped.
    Cancelling,
    /// Was stopped.
    Cancelled,
    /// Waits before it tries a move again.
    Failing,
    /// Given up.
    Failed,
    /// All is moved.
    Finished,
}

impl JobState {
    /// From Citus' word for it.
    pub fn parse(word: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
    }

    /// Whether nothing more will happen.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Cancelled | Self::Failed | Self::Finished)
    }

    /// Whether moves begin without anybody's doing.
    fn is_at_work(self) -> bool {
        matches!(self, Self::Scheduled | Self::Running)
    }

    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
            Self::Failing => "failing",
            Self::Failed => "failed",
            Self::Finished => "finished",
        }
    }
}

/// A job at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Job {
    /// Citus' number.
    pub id: i64,
    /// Where it stands.
    pub state: JobState,
    /// What it is about, in Citus' words.
    pub description: String,
    /// Moves that are done.
    pub done: u64,
    /// Moves in all.
    pub moves: u64,
    /// Bytes of those that are done; `None` while the size of one is not known.
    pub moved_bytes: Option<u64>,
    /// Bytes of those that have yet to begin; `None` while the size of one is not known.
    pub waiting_bytes: Option<u64>,
    /// From its first move to its end, or until now; `None` before the first.
    pub elapsed_ms: Option<u64>,
    /// Those that happen now.
    pub running: Vec<RunningMove>,
    /// What failed moves say, one line each.
    pub errors: Vec<String>,
    /// What to do about them, where their words are known.
    pub hints: Vec<&'static str>,
    /// A move could run, none does, and none broke. For a moment that is so between two of them; for longer when Citus finds no free
    /// worker process: it says so in its server's log alone.
    pub idle: bool,
    /// Those that are done, for who follows it.
    #[serde(skip)]
    pub finished: Vec<FinishedMove>,
}

/// A move that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedMove {
    /// The shard by which Citus names the move.
    pub shard: u64,
    /// Its table; empty where it is gone.
    pub table: String,
    /// All that moved along; `None` where that is not known.
    pub bytes: Option<u64>,
}

/// A move that happens now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunningMove {
    /// The shard by which Citus names the move.
    pub shard: u64,
    /// Its table; empty where it is gone.
    pub table: String,
    /// From here,
    pub from: Option<GroupId>,
    /// to here.
    pub to: Option<GroupId>,
    /// Citus' word: `Setting Up`, `Copying Data`, `Catching Up`, `Creating Constraints`, …
    pub phase: String,
    /// Bytes at the source, all tables that move along.
    pub source_bytes: u64,
    /// Bytes at the target so far.
    pub target_bytes: u64,
    /// WAL that the target has not replayed yet; `None` outside of catching up.
    pub lag_bytes: Option<u64>,
    /// How often it was tried again.
    pub retried: u64,
}

impl RunningMove {
    /// Whether rows are copied now: in all other phases bytes come from elsewhere, as of an index that is built, or not at all.
    pub fn is_copying(&self) -> bool {
        self.phase == "Copying Data"
    }

    /// Bytes that are still to come.
    pub fn left_bytes(&self) -> u64 {
        self.source_bytes.saturating_sub(self.target_bytes)
    }
}

/// A job in Citus' words.
#[derive(Debug, Clone, Copy, Default)]
pub struct JobWords<'a> {
    /// Its number.
    pub id: i64,
    /// Its state.
    pub state: &'a str,
    /// What it is about.
    pub description: &'a str,
    /// Details of `citus_job_status(…, raw => true)`.
    pub details: &'a str,
    /// Pairs of state and command of all its tasks in pg_dist_background_task, as JSON: the details have only some.
    pub tasks: &'a str,
    /// Milliseconds since its first task began.
    pub elapsed_ms: Option<u64>,
}

/// Column `details` of `citus_job_status(…, raw => true)`.
#[derive(Debug, Default, Deserialize)]
pub struct Details {
    #[serde(default)]
    tasks: Vec<Task>,
    #[serde(default)]
    task_state_counts: Counts,
}

#[derive(Debug, Default, Deserialize)]
struct Counts {
    #[serde(default)]
    done: u64,
    #[serde(flatten)]
    others: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
struct Task {
    state: String,
    command: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    retried: u64,
    phase: Option<String>,
    #[serde(default)]
    size: Sizes,
    #[serde(default, rename = "LSN")]
    lsn: Positions,
}

/// Nothing is known of a node that does not answer.
#[derive(Debug, Default, Deserialize)]
struct Sizes {
    source: Option<u64>,
    target: Option<u64>,
}

/// A target may be ahead of what the source was seen at before.
#[derive(Debug, Default, Deserialize)]
struct Positions {
    lag: Option<i64>,
}

impl Job {
    /// From what Citus says about it; `None` where a word is not known.
    pub fn read(words: &JobWords<'_>, map: &ShardMap) -> Option<Self> {
        let details: Details = serde_json::from_str(words.details).ok()?;
        let tasks: Vec<(String, String)> = serde_json::from_str(words.tasks).ok()?;
        let sizes = map.bundle_bytes();
        let shards = |states: &[&str]| -> Vec<u64> {
            let those = tasks.iter().filter(|(state, _)| states.contains(&state.as_str()));
            those.filter_map(|(_, command)| arguments(command)).map(|(shard, _, _)| shard).collect()
        };
        let size = |shard: u64| sizes.get(&shard).copied().flatten();
        let finished = shards(&["done"]).into_iter();
        let finished: Vec<_> =
            finished.map(|shard| FinishedMove { shard, table: table(shard, map), bytes: size(shard) }).collect();
        let running = details.tasks.iter().filter(|task| task.state == "running").filter_map(|task| running(task, map));
        let running: Vec<RunningMove> = running.collect();
        // One that has only begun is a while on its way into the details.
        let waiting = shards(&["blocked", "runnable", "running"]).into_iter();
        let waiting = waiting.filter(|shard| running.iter().all(|one| one.shard != *shard));
        let failed = details.tasks.iter().filter(|task| !task.message.is_empty());
        let errors: Vec<String> =
            failed.map(|task| format!("{}: {}", subject(task, map), first_error(&task.message))).collect();
        let hints: BTreeSet<&str> = errors.iter().filter_map(|error| way_out(error)).collect();
        let state = JobState::parse(words.state)?;
        let any = |wanted: &str| tasks.iter().any(|(state, _)| state == wanted);
        Some(Self {
            id: words.id,
            state,
            idle: state.is_at_work() && errors.is_empty() && any("runnable") && !any("running"),
            description: words.description.to_owned(),
            done: details.task_state_counts.done,
            moves: details.task_state_counts.done + details.task_state_counts.others.values().sum::<u64>(),
            moved_bytes: finished.iter().map(|one| one.bytes).sum(),
            waiting_bytes: waiting.map(size).sum(),
            elapsed_ms: words.elapsed_ms,
            running,
            finished,
            errors,
            hints: hints.into_iter().collect(),
        })
    }
}

fn running(task: &Task, map: &ShardMap) -> Option<RunningMove> {
    let (shard, from, to) = arguments(&task.command)?;
    let group = |id: i32| map.nodes.iter().find(|(_, node)| node.id == id).map(|(group, _)| *group);
    Some(RunningMove {
        shard,
        table: table(shard, map),
        from: group(from),
        to: group(to),
        phase: task.phase.clone().unwrap_or_default(),
        source_bytes: task.size.source.unwrap_or_default(),
        target_bytes: task.size.target.unwrap_or_default(),
        lag_bytes: task.lsn.lag.map(|lag| u64::try_from(lag).unwrap_or_default()),
        retried: task.retried,
    })
}

/// `SELECT pg_catalog.citus_move_shard_placement(102535,4,3,'auto')`: shard, source node, target node.
fn arguments(command: &str) -> Option<(u64, i32, i32)> {
    let (_, rest) = command.split_once("citus_move_shard_placement(")?;
    let mut numbers = rest.split(',').map(str::trim);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn table(shard: u64, map: &ShardMap) -> String {
    map.placements.iter().find(|p| p.shard == shard).map(|p| p.table.clone()).unwrap_or_default()
}

fn subject(task: &Task, map: &ShardMap) -> String {
    match arguments(&task.command) {
        Some((shard, _, _)) => format!("shard {shard} of {}", table(shard, map)),
        None => task.command.clone(),
    }
}

/// A task's message grows with each attempt; the first ERROR line is the cause.
fn first_error(message: &str) -> &str {
    let lines = || message.lines().map(str::trim).filter(|line| !line.is_empty());
    lines().find(|line| line.contains("ERROR")).or_else(|| lines().next()).unwrap_or(message)
}

/// Why a job does nothing, when it is [`Job::idle`] for long, and what to do about it.
pub const NO_WORKER: &str = "no move runs: the coordinators' leader has no free background worker; raise max_worker_processes under \
                             [postgres.parameters] and run `pgclusterctl up`";

/// Words of errors of moves, and what to do about them.
const KNOWN: [(&str, &str); 6] = [
    (
        "REPLICA IDENTITY",
        "give the table a primary key, or `ALTER TABLE … REPLICA IDENTITY FULL`; or move with --transfer block-writes",
    ),
    ("No space left", "make room on the target's host, or drain to another group"),
    ("worker slots", "raise max_worker_processes under [postgres.parameters] and run `pgclusterctl up`"),
    ("background worker", "raise max_worker_processes under [postgres.parameters] and run `pgclusterctl up`"),
    (
        "replication slot",
        "start it again with fewer moves at once; `pgclusterctl psql --shard N -- -c \"select slot_name, active from \
         pg_replication_slots\"` shows who has them, and pg_drop_replication_slot('…') there drops one that nobody needs any more",
    ),
    ("onnection", "`pgclusterctl status` shows which node does not answer; then start the rebalance again"),
];

/// What to do about an error of a move, where its words are known.
pub fn way_out(error: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(words, _)| error.contains(words)).map(|(_, way)| *way)
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    const RUNNING: &str = r#"{"tasks": [{"LSN": {"lag": null, "source": "0/62328E0", "target": null},
        "size": {"source": 4489216, "target": 8192}, "hosts": {"source": "worker-3-1:5432", "target": "worker-1-1:5432"},
        "phase": "Setting Up", "state": "running", "message": "", "retried": 0, "task_id": 1,
        "command": "SELECT pg_catalog.citus_move_shard_placement(103,4,2,'auto')"}],
        "task_state_counts": {"done": 2, "blocked": 9, "running": 1}}"#;

    /// A task may be none of a move; what was given up is neither done nor waited for.
    const TASKS: &str = r#"[["done", "SELECT pg_catalog.replicate_reference_tables('auto')"],
        ["done", "SELECT pg_catalog.citus_move_shard_placement(101,2,3,'auto')"],
        ["running", "SELECT pg_catalog.citus_move_shard_placement(103,4,2,'auto')"],
        ["blocked", "SELECT pg_catalog.citus_move_shard_placement(102,3,2,'auto')"],
        ["error", "SELECT pg_catalog.citus_move_shard_placement(202,3,2,'auto')"]]"#;

    fn read(state: &str, details: &str, tasks: &str) -> Option<Job> {
        Job::read(&JobWords { id: 1, state, details, tasks, ..JobWords::default() }, &fixture::map())
    }

    #[test]
    fn bytes_are_those_of_all_that_moves_along() {
        let job = read("running", RUNNING, TASKS).expect("it is read");
        assert_eq!((job.moved_bytes, job.waiting_bytes), (Some(300), Some(300)));
        let begun = read("running", "{}", TASKS).expect("it is read");
        assert_eq!((begun.moved_bytes, begun.waiting_bytes), (Some(300), Some(600)), "103 runs, and is not told of yet");
        assert_eq!(job.finished, [FinishedMove { shard: 101, table: "orders".into(), bytes: Some(300) }]);
    }

    #[test]
    fn bytes_of_a_shard_that_is_gone_are_unknown() {
        let gone = r#"[["done", "SELECT pg_catalog.citus_move_shard_placement(999,2,3,'auto')"]]"#;
        let job = read("finished", "{}", gone).expect("it is read");
        assert_eq!((job.moved_bytes, job.waiting_bytes), (None, Some(0)));
    }

    #[test]
    fn a_running_job_says_what_moves_where() {
        let job = read("running", RUNNING, TASKS).expect("it is read");
        assert_eq!((job.done, job.moves, job.state), (2, 12, JobState::Running));
        let moving = &job.running[0];
        assert_eq!((moving.shard, moving.table.as_str()), (103, "orders"));
        assert_eq!((moving.from, moving.to), (Some(GroupId(3)), Some(GroupId(1))));
        assert_eq!((moving.source_bytes, moving.target_bytes, moving.lag_bytes), (4_489_216, 8192, None));
        assert!(job.errors.is_empty());
    }

    #[test]
    fn what_a_lost_node_does_not_tell_is_left_out() {
        let details = r#"{"tasks": [{"LSN": {"lag": -8, "source": null, "target": null},
            "size": {"source": null, "target": null}, "phase": null, "state": "running",
            "command": "SELECT pg_catalog.citus_move_shard_placement(103,4,2,'auto')"}], "task_state_counts": {"running": 1}}"#;
        let job = read("running", details, "[]").expect("it is read");
        assert_eq!((job.running[0].source_bytes, job.running[0].lag_bytes), (0, Some(0)));
    }

    #[test]
    fn a_failed_move_is_named_with_its_cause_and_the_way_out() {
        let details = r#"{"tasks": [{"state": "error", "retried": 3, "task_id": 1,
            "message": "ERROR: could not extend file: No space left on device\nCONTEXT: while executing command on worker-1-1:5432",
            "command": "SELECT pg_catalog.citus_move_shard_placement(103,4,2,'auto')"}], "task_state_counts": {"error": 1}}"#;
        let job = read("failed", details, "[]").expect("it is read");
        assert_eq!(job.errors, ["shard 103 of orders: ERROR: could not extend file: No space left on device"]);
        assert!(matches!(job.hints[..], [way] if way.contains("make room")), "{:?}", job.hints);
        assert!(job.state.is_over());
    }

    #[test]
    fn a_job_of_which_nothing_runs_is_idle() {
        let of = |state: &str, tasks: &[&str]| {
            let tasks: Vec<_> = tasks.iter().map(|state| [*state, "SELECT 1"]).collect();
            read(state, "{}", &serde_json::json!(tasks).to_string()).expect("it is read").idle
        };
        assert!(of("running", &["done", "runnable", "blocked"]) && of("scheduled", &["runnable"]));
        assert!(!of("running", &["running", "runnable"]), "one runs");
        assert!(!of("running", &["done", "done"]) && !of("cancelling", &["runnable"]), "none is to run");
        let broken = r#"{"tasks": [{"state": "runnable", "message": "ERROR: no", "command": "SELECT 1"}]}"#;
        assert!(
            !read("running", broken, r#"[["runnable", "SELECT 1"]]"#).expect("it is read").idle,
            "it waits to be tried again"
        );
    }

    #[test]
    fn words_that_nobody_knows_are_no_job() {
        assert_eq!(read("dancing", "{}", "[]"), None);
        assert_eq!(read("running", "nonsense", "[]"), None);
        assert_eq!(read("running", "{}", "nonsense"), None);
        assert_eq!(way_out("ERROR: deadlock detected"), None);
    }

    #[test]
    fn no_way_out_leads_to_what_the_topology_refuses() {
        for (_, way) in KNOWN {
            let words = way.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'));
            let owned: Vec<_> = words.filter(|word| crate::topology::owner_of(word).is_some()).collect();
            assert!(owned.is_empty(), "{owned:?}: {way}");
        }
        let slots = way_out("ERROR: all replication slots are in use");
        assert!(slots.is_some_and(|way| way.contains("pg_drop_replication_slot")), "{slots:?}");
    }

    #[test]
    fn every_state_has_its_word() {
        for state in [JobState::Scheduled, JobState::Cancelling, JobState::Failing, JobState::Finished] {
            assert_eq!(JobState::parse(state.word()), Some(state));
        }
    }
}
