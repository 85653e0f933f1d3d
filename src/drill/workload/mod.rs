//! Clients of a cluster as applications are: through the virtual address, with a password, on a schedule that waits for nobody.
//!
//! The loop is open: the next operation of a client is due at its time whatever became of the last one; what is overdue is
//! sent as soon as the client is free and bears the time at which it was due. A client has one connection and one operation
//! in flight. Everything is recorded before it is sent ([`super::recorder`]); what an error means for an operation is said
//! in [`classify`]. An operation of unknown outcome is never sent again.
//!
//! A run of a drill calls [`Workload::prepare`], [`Workload::start`], and [`Workload::finish`]; in between it looks at
//! [`Workload::progress`], and asks [`Workload::clock`] for the time of what it does itself.

pub mod classify;
mod client;
mod script;
mod session;
pub mod tables;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_postgres::SimpleQueryMessage;

use self::session::Session;
use super::history::{History, HistoryError, Outcome, Record, SCHEMA_VERSION};
use super::recorder::Recorder;
use crate::error::{Exit, Failure};

/// Name of the record within [`WorkloadOptions::folder`].
pub const HISTORY_FILE: &str = "history.jsonl";

/// Where and as whom to connect. The password crosses the network in SCRAM's form only; the rest is not encrypted, which is
/// right for what these tables hold.
#[derive(Clone)]
pub struct Target {
    /// The virtual address, or any name or address that takes writes.
    pub host: String,
    /// The port for writes.
    pub port: u16,
    /// An ordinary role that may create tables.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The application's database.
    pub dbname: String,
}

impl fmt::Debug for Target {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}/{}", self.user, self.host, self.port, self.dbname)
    }
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// One row in the register log per transaction, `BEGIN … COMMIT`. Knows timeline and server of its group.
    Register,
    /// The same as one statement that commits by itself: another way through Citus and another way to fail, without
    /// timeline.
    Autocommit,
    /// One row in the coordinators' own register log per transaction, which no other group has a part in. Only with Citus.
    Own,
    /// Appends to a list that may be shared with other clients, and reads it every third time.
    List,
    /// Transfers between two of [`WorkloadOptions::accounts`].
    Bank,
}

/// A client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSpec {
    /// Value of the distribution column of what it writes: the caller chooses it so that its shard is the group's. Without
    /// Citus, and for [`Task::Own`], any number. Clients of [`Task::List`] with one key share one list; [`Task::Bank`] does not use it.
    pub key: i32,
    /// The group that this key leads to, as the final read and the promises name it; for [`Task::Bank`] the coordinators'.
    pub group: String,
    /// What it does.
    pub task: Task,
}

/// Limits of patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until TCP has a connection: the kernel of a host that lives answers within a round trip, and one that has just taken an address
    /// over may have missed the first packet, which Linux sends again after a second only.
    pub reach: Duration,
    /// Until the server has let the client in.
    pub connect: Duration,
    /// From then until the commit is acknowledged. Also TCP's user timeout.
    pub operation: Duration,
}

impl Timeouts {
    /// The same patience with all of it.
    pub const fn each(patience: Duration) -> Self {
        Self { reach: patience, connect: patience, operation: patience }
    }
}

impl Default for Timeouts {
    /// Half a second, then a second each: well below any outage that is measured, well above what a busy machine takes.
    fn default() -> Self {
        Self { reach: Duration::from_millis(500), connect: Duration::from_secs(1), operation: Duration::from_secs(1) }
    }
}

/// Operations that a client may be behind and still be on schedule: one is in flight, and a busy machine takes its time.
const LATE: u32 = 3;
/// Pause between two looks whether clients are.
const LOOK: Duration = Duration::from_millis(50);

/// What ends a workload that nobody finishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Operations of all clients together.
    pub operations: u64,
    /// Since the start.
    pub run_time: Duration,
}

/// A workload before it starts.
#[derive(Debug, Clone)]
pub struct WorkloadOptions {
    /// Where to.
    pub target: Target,
    /// Who.
    pub clients: Vec<ClientSpec>,
    /// From one operation of a client to its next.
    pub period: Duration,
    /// An existing folder; [`HISTORY_FILE`] is created in it.
    pub folder: PathBuf,
    /// The choices of every client follow from it: who pays whom how much.
    pub seed: u64,
    /// The bank's accounts, chosen by the caller so that they are in several groups; at least two where a client is
    /// [`Task::Bank`].
    pub accounts: Vec<i32>,
    /// Patience.
    pub timeouts: Timeouts,
    /// Bounds.
    pub limits: Limits,
}

impl WorkloadOptions {
    /// When a client's operation is due, since the start. Clients take turns within a period, so that together they see more than one of
    /// them would.
    fn due(&self, client: u32, sequence: u32) -> Duration {
        let offset = self.period.mul_f64(f64::from(client) / self.clients.len() as f64);
        offset + self.period.saturating_mul(sequence)
    }

    /// Whether nobody owes more than [`LATE`].
    fn on_schedule(&self, progress: &[ClientProgress], now: Duration) -> bool {
        let next = |client: &ClientProgress| {
            let completed = client.ok + client.failed + client.unknown;
            self.due(client.client, u32::try_from(completed).unwrap_or(u32::MAX))
        };
        progress.iter().all(|client| now <= next(client) + self.period.saturating_mul(LATE))
    }
}

/// Why a workload did not run.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The options make no sense.
    #[error("the workload cannot start: {reason}")]
    Options {
        /// Why.
        reason: &'static str,
    },
    /// Nobody let us in.
    #[error("{target}: no connection: {reason}")]
    Connect {
        /// Where.
        target: String,
        /// Why.
        reason: String,
    },
    /// The tables could not be made.
    #[error("{target}: cannot prepare the drill's tables: {reason}, in: {statement}")]
    Prepare {
        /// Where.
        target: String,
        /// Which statement.
        statement: String,
        /// Why.
        reason: String,
    },
    /// There is a schema of that name, and no drill has made it.
    #[error("{database} has a schema {} that no drill has made", tables::SCHEMA)]
    Foreign {
        /// The application's database.
        database: String,
    },
    /// What cannot be recorded is not sent.
    #[error("{}: the record cannot be written", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The record is no history.
    #[error(transparent)]
    History(#[from] HistoryError),
}

impl Failure for WorkloadError {
    fn exit(&self) -> Exit {
        match self {
            Self::Options { .. } | Self::Record { .. } | Self::History(_) => Exit::Internal,
            Self::Connect { .. } | Self::Prepare { .. } => Exit::Unreachable,
            Self::Foreign { .. } => Exit::Refused,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Options { .. } => Vec::new(),
            Self::Foreign { .. } => {
                vec![
                    "drills have a schema of that name for themselves: give yours another (`ALTER SCHEMA … RENAME TO …`)"
                        .into(),
                ]
            }
            Self::Record { .. } => vec!["give an empty folder with room for the record of the drill".into()],
            Self::Connect { .. } | Self::Prepare { .. } => {
                vec!["`pgclusterctl health` shows whether the cluster takes writes".into()]
            }
            Self::History(error) => error.hints(),
        }
    }
}

/// The clock of a workload: all times in its history are counted from its start. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Time since the start.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The same in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX)
    }

    fn at(&self, since: Duration) -> tokio::time::Instant {
        (self.start + since).into()
    }
}

/// How a client gets on, for whoever waits for it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientProgress {
    /// Its index in [`WorkloadOptions::clients`].
    pub client: u32,
    /// Acknowledged operations.
    pub ok: u64,
    /// Those that surely failed.
    pub failed: u64,
    /// Those of unknown outcome.
    pub unknown: u64,
    /// The last acknowledged write, since the start.
    pub last_write: Option<Duration>,
}

/// The counters behind a [`ClientProgress`].
#[derive(Debug, Default)]
struct Tally {
    ok: AtomicU64,
    failed: AtomicU64,
    unknown: AtomicU64,
    /// Nanoseconds since the start; 0 for never.
    last_write: AtomicU64,
}

impl Tally {
    fn count(&self, outcome: &Outcome, write: bool, at_ns: u64) {
        let counter = match outcome {
            Outcome::Ok { .. } => &self.ok,
            Outcome::Fail { .. } => &self.failed,
            Outcome::Unknown { .. } => &self.unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if write && outcome.is_ok() {
            self.last_write.store(at_ns, Ordering::Relaxed);
        }
    }

    fn read(&self, client: u32) -> ClientProgress {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let last = Some(get(&self.last_write)).filter(|at| *at > 0).map(Duration::from_nanos);
        ClientProgress { client, ok: get(&self.ok), failed: get(&self.failed), unknown: get(&self.unknown), last_write: last }
    }
}

/// What all clients of a workload share.
struct Shared {
    options: WorkloadOptions,
    clock: Clock,
    recorder: Recorder,
    tallies: Vec<Tally>,
    /// Operations of all clients that were begun.
    begun: AtomicU64,
}

impl Shared {
    fn progress(&self) -> Vec<ClientProgress> {
        (0..).zip(&self.tallies).map(|(client, tally)| tally.read(client)).collect()
    }
}

/// Whether the clients of a workload keep up. Cheap to copy.
#[derive(Clone)]
pub struct Pace {
    shared: Arc<Shared>,
}

impl Pace {
    /// Waits until clients have caught up with what they owe, and are where they would be had nothing been in their way; no longer than
    /// that limit.
    pub async fn caught_up(&self, limit: Duration) {
        let started = Instant::now();
        let behind = || !self.shared.options.on_schedule(&self.shared.progress(), self.shared.clock.now());
        while behind() && started.elapsed() < limit {
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace").finish_non_exhaustive()
    }
}

/// A workload that runs. Dropping it ends the clients at once; the record stays.
pub struct Workload {
    shared: Arc<Shared>,
    clients: JoinSet<std::io::Result<()>>,
    stop: watch::Sender<bool>,
}

impl Workload {
    /// Makes the tables anew, empty, and with Citus distributed. Whatever a former drill left of them is dropped; a schema of
    /// their name that is somebody else's is refused.
    pub async fn prepare(options: &WorkloadOptions, citus: bool) -> Result<(), WorkloadError> {
        /// Distributing a table makes its shards on every group.
        const PATIENT: Timeouts = Timeouts::each(Duration::from_secs(60));
        check(options)?;
        let target = || format!("{:?}", options.target);
        let session = Session::open(&options.target, &PATIENT)
            .await
            .map_err(|trouble| WorkloadError::Connect { target: target(), reason: trouble.to_string() })?;
        let send = async |statement: String| {
            let answer = session.send(&statement, tokio::time::Instant::now() + PATIENT.operation).await;
            answer.map_err(|trouble| WorkloadError::Prepare { target: target(), statement, reason: trouble.to_string() })
        };
        let found = send(tables::READ_MARK.to_owned()).await?;
        let foreign = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(row) if !tables::is_ours(row.get(0).unwrap_or_default()));
        if found.iter().any(foreign) {
            return Err(WorkloadError::Foreign { database: options.target.dbname.clone() });
        }
        for statement in tables::create(&options.clients, &options.accounts, citus) {
            send(statement).await?;
        }
        Ok(())
    }

    /// Starts the clients; must be called within a runtime. Creates the record, and refuses where there is one already.
    pub fn start(options: WorkloadOptions) -> Result<Self, WorkloadError> {
        check(&options)?;
        let path = options.folder.join(HISTORY_FILE);
        let recorded = |source| WorkloadError::Record { path: path.clone(), source };
        let recorder = Recorder::create(&path).map_err(recorded)?;
        let clock = Clock { start: Instant::now() };
        let started =
            Record::Started { schema_version: SCHEMA_VERSION, started_at: jiff::Timestamp::now(), seed: options.seed };
        recorder.write(&started).map_err(recorded)?;
        let tallies = options.clients.iter().map(|_| Tally::default()).collect();
        let shared = Arc::new(Shared { options, clock, recorder, tallies, begun: AtomicU64::new(0) });
        let (stop, stopped) = watch::channel(false);
        let mut clients = JoinSet::new();
        for client in (0..).take(shared.options.clients.len()) {
            clients.spawn(client::run(shared.clone(), client, stopped.clone()));
        }
        Ok(Self { shared, clients, stop })
    }

    /// The clock that the history is written by.
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// How each client gets on.
    pub fn progress(&self) -> Vec<ClientProgress> {
        self.shared.progress()
    }

    /// Whether every client wrote something after this instant.
    pub fn all_wrote_since(&self, since: Duration) -> bool {
        self.progress().iter().all(|client| client.last_write.is_some_and(|at| at > since))
    }

    /// For who waits until its clients are on schedule.
    pub fn pace(&self) -> Pace {
        Pace { shared: self.shared.clone() }
    }

    /// Lets operations that are in flight end (their timeouts bound that), and reads the history back from its file: what the
    /// checker judges is what is on disk.
    pub async fn finish(mut self) -> Result<History, WorkloadError> {
        self.stop.send_replace(true);
        let path = self.shared.options.folder.join(HISTORY_FILE);
        let recorded = |source| WorkloadError::Record { path: path.clone(), source };
        while let Some(ended) = self.clients.join_next().await {
            ended.map_err(std::io::Error::other).and_then(|result| result).map_err(recorded)?;
        }
        self.shared.recorder.write(&Record::Ended { at_ns: self.shared.clock.now_ns() }).map_err(recorded)?;
        Ok(History::read(&path)?)
    }
}

fn check(options: &WorkloadOptions) -> Result<(), WorkloadError> {
    let banks = options.clients.iter().any(|client| client.task == Task::Bank);
    let reason = if options.clients.is_empty() {
        "it has no clients"
    } else if options.period.is_zero() {
        "its period is zero"
    } else if banks && options.accounts.len() < 2 {
        "a bank needs two accounts"
    } else {
        return Ok(());
    };
    Err(WorkloadError::Options { reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::history::Action;
    use crate::drill::outage::outages;

    fn options(folder: &std::path::Path, port: u16, task: Task) -> WorkloadOptions {
        const PATIENCE: Duration = Duration::from_millis(100);
        let (user, password, dbname) = ("app".into(), "secret".into(), "app".into());
        WorkloadOptions {
            target: Target { host: "127.0.0.1".into(), port, user, password, dbname },
            clients: vec![ClientSpec { key: 1, group: "coordinator".into(), task }; 2],
            period: Duration::from_millis(5),
            folder: folder.to_owned(),
            seed: 1,
            accounts: vec![1, 2],
            timeouts: Timeouts::each(PATIENCE),
            limits: Limits { operations: 12, run_time: Duration::from_secs(10) },
        }
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let good = options(folder.path(), 1, Task::Bank);
        let refused = |options: WorkloadOptions| check(&options).expect_err("refused").to_string();
        assert!(refused(WorkloadOptions { accounts: vec![1], ..good.clone() }).contains("two accounts"));
        assert!(refused(WorkloadOptions { clients: vec![], ..good.clone() }).contains("no clients"));
        assert!(refused(WorkloadOptions { period: Duration::ZERO, ..good.clone() }).contains("zero"));
        assert!(!format!("{good:?}").contains("secret"));
    }

    #[test]
    fn who_owes_operations_is_not_on_schedule() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = options(folder.path(), 1, Task::Register);
        let progress = |done: [u64; 2]| {
            let of =
                |(client, done): (u32, u64)| ClientProgress { client, ok: 1, failed: done - 1, unknown: 0, last_write: None };
            (0..).zip(done).map(of).collect::<Vec<_>>()
        };
        let at = Duration::from_millis;
        // The eleventh operation of the first client is due after 50 ms, that of the second 2.5 ms later.
        assert!(options.on_schedule(&progress([10, 10]), at(65)));
        assert!(!options.on_schedule(&progress([10, 10]), at(66)));
        assert!(!options.on_schedule(&progress([13, 10]), at(68)), "the second one is behind");
        assert!(options.on_schedule(&progress([11, 11]), at(70)));
    }

    /// Nobody listens: every operation fails for sure, on its schedule, and the limit ends the workload.
    #[tokio::test]
    async fn a_workload_ends_by_itself_and_records_what_it_tried() {
        let folder = tempfile::tempdir().expect("a folder");
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("its address").port();
        let mut workload = Workload::start(options(folder.path(), closed, Task::Register)).expect("it starts");
        let again = Workload::start(options(folder.path(), closed, Task::Register));
        assert!(again.is_err(), "a record is not overwritten");
        while let Some(ended) = workload.clients.join_next().await {
            ended.expect("no panic").expect("it is recorded");
        }
        assert_eq!(workload.progress().iter().map(|c| c.failed).sum::<u64>(), 12);
        assert!(!workload.all_wrote_since(Duration::ZERO));
        let history = workload.finish().await.expect("a history");
        assert!(!history.cut_off);
        assert_eq!(history.operations.len(), 12);
        for op in &history.operations {
            assert!(matches!(op.outcome, Outcome::Fail { .. }), "{op:?}");
            assert_eq!(op.call.action, Action::Insert);
            assert!(op.call.due_ns <= op.call.invoked_ns && Some(op.call.invoked_ns) <= op.completed_ns, "{op:?}");
        }
        assert!(!outages(&history, Duration::ZERO).recovered());
    }

    /// Somebody listens and says nothing: a connection that is not made in time fails for sure, and what became due in the
    /// meantime keeps its time.
    #[tokio::test]
    async fn who_is_held_up_keeps_its_schedule() {
        let folder = tempfile::tempdir().expect("a folder");
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = silent.local_addr().expect("its address").port();
        let mut options = options(folder.path(), port, Task::Autocommit);
        options.clients.truncate(1);
        options.limits.operations = 3;
        let mut workload = Workload::start(options).expect("it starts");
        while workload.clients.join_next().await.is_some() {}
        let history = workload.finish().await.expect("a history");
        let due: Vec<_> = history.operations.iter().map(|op| op.call.due_ns / 1_000_000).collect();
        assert_eq!(due, [0, 5, 10]);
        assert!(history.operations.iter().all(|op| matches!(op.outcome, Outcome::Fail { .. })));
        assert!(history.operations[2].call.invoked_ns >= 200_000_000, "two attempts of 100 ms came first");
    }
}
