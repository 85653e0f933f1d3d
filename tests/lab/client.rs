//! A database client as an application has one: through the VIP, with a password, reconnecting after errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Error, NoTls};

/// Well below any outage that is measured.
const CONNECT: Duration = Duration::from_millis(1000);
/// A commit that was not acknowledged by then is unknown, and the connection is given up.
const COMMIT: Duration = Duration::from_millis(2000);
/// The same for who is to be held back, and not turned away.
const PATIENT: Duration = Duration::from_secs(15);
/// Between two writes, and before a new connection.
const PAUSE: Duration = Duration::from_millis(20);

/// Where and as whom to connect.
#[derive(Clone)]
pub struct Target {
    pub host: String,
    pub port: u16,
    pub password: String,
    /// How long a commit may take.
    commit: Duration,
}

impl Target {
    pub fn new(host: String, port: u16, password: String) -> Self {
        Self { host, port, password, commit: COMMIT }
    }

    /// For clients that wait through a planned change.
    pub fn patient(&self) -> Self {
        Self { commit: PATIENT, ..self.clone() }
    }

    pub async fn connect(&self) -> Result<Client, Error> {
        let mut config = Config::new();
        config.host(&self.host).port(self.port).user("app").password(&self.password).dbname("app");
        config.connect_timeout(CONNECT).tcp_user_timeout(self.commit).keepalives_idle(Duration::from_secs(1));
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Runs statements that must succeed.
    pub async fn batch(&self, sql: &str) {
        let client = self.connect().await.expect("the VIP takes connections");
        client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {}", detail(&e)));
    }

    /// One number.
    pub async fn number(&self, sql: &str) -> i64 {
        let client = self.connect().await.expect("the VIP takes connections");
        client.query_one(sql, &[]).await.unwrap_or_else(|e| panic!("{sql}: {}", detail(&e))).get(0)
    }
}

/// tokio-postgres says only "db error"; the reason is in its source.
pub fn detail(error: &Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |db| format!("{} ({})", db.message(), db.code().code()))
}

/// What a writer did.
#[derive(Debug, Default)]
pub struct Written {
    /// Numbers whose commit was acknowledged.
    pub acknowledged: Vec<i64>,
    /// Longest time between two acknowledged commits.
    pub outage: Duration,
    /// Attempts that failed or stayed unknown.
    pub failed: usize,
}

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waited = self.outage.as_millis();
        write!(f, "{} writes, {} failed, the longest waited {waited} ms", self.acknowledged.len(), self.failed)
    }
}

impl Written {
    /// Panics unless every number that was acknowledged is in the table.
    pub async fn is_in(&self, table: &str, target: &Target) {
        let list = self.acknowledged.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        let there = format!("select count(*) from {table} where id = any('{{{list}}}')");
        assert_eq!(target.number(&there).await, self.acknowledged.len() as i64, "an acknowledged write is lost");
    }
}

/// Writes one number after another until it is told to stop.
pub struct Writer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Written>,
}

impl Writer {
    pub fn start(target: Target, table: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(write(target, table, stop.clone()));
        Self { stop, task }
    }

    pub async fn finish(self) -> Written {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.expect("the writer does not panic")
    }
}

async fn write(target: Target, table: &str, stop: Arc<AtomicBool>) -> Written {
    /// The load is bounded whatever happens to the test.
    const LIMIT: i64 = 20_000;
    let mut written = Written::default();
    let mut last = Instant::now();
    let mut client: Option<Client> = None;
    let sql = format!("insert into {table} (id) values ($1::text::bigint)");
    for number in 0..LIMIT {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let connected = match client.take() {
            Some(client) => Some(client),
            None => tokio::time::timeout(target.commit, target.connect()).await.ok().and_then(Result::ok),
        };
        if let Some(connected) = connected {
            let text = number.to_string();
            match tokio::time::timeout(target.commit, connected.execute(&sql, &[&text])).await {
                Ok(Ok(_)) => {
                    written.outage = written.outage.max(last.elapsed());
                    last = Instant::now();
                    written.acknowledged.push(number);
                    client = Some(connected);
                }
                // Never tried again under the same number: it may have been committed.
                _ => written.failed += 1,
            }
        } else {
            written.failed += 1;
        }
        tokio::time::sleep(PAUSE).await;
    }
    written
}
