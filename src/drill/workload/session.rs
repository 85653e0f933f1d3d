//! One connection of a client, and what the server warns of on it.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::error::Severity;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, SimpleQueryMessage};

use super::classify::Trouble;
use super::{Target, Timeouts};

/// When to ask whether a silent peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// A connection. Dropping it closes the socket at once: a server that does not answer is not waited for.
pub(super) struct Session {
    client: Client,
    connection: AbortHandle,
    warnings: Arc<Mutex<Vec<String>>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Session {
    /// Connects and logs in, with its patience.
    pub(super) async fn open(target: &Target, timeouts: &Timeouts) -> Result<Self, Trouble> {
        let limit = timeouts.connect;
        let mut config = Config::new();
        config.host(&target.host).port(target.port).user(&target.user).password(&target.password).dbname(&target.dbname);
        config.application_name("pgclusterctl-drill").connect_timeout(timeouts.reach).tcp_user_timeout(timeouts.operation);
        config.keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE).keepalives_retries(2);
        let connecting = tokio::time::timeout(limit, config.connect(NoTls)).await;
        let (client, mut connection) = connecting.map_err(|_| Trouble::Silent(limit))??;
        let warnings: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = warnings.clone();
        // A warning comes before the answer that it belongs to, and is kept before that answer is handed on.
        let driver = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notice(notice) = message
                    && notice.parsed_severity().map_or(notice.severity() == "WARNING", |s| s == Severity::Warning)
                {
                    let text = format!("{} (SQLSTATE {})", notice.message(), notice.code().code());
                    heard.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                }
            }
        });
        Ok(Self { client, connection: driver.abort_handle(), warnings })
    }

    /// Whether it is known to be over; one that is not may be over all the same.
    pub(super) fn is_over(&self) -> bool {
        self.client.is_closed()
    }

    /// Sends statements as one message of the simple protocol, which needs nothing prepared on a server that a pooler may
    /// change between transactions.
    pub(super) async fn send(&self, sql: &str, deadline: Instant) -> Result<Vec<SimpleQueryMessage>, Trouble> {
        let sent = Instant::now();
        match timeout_at(deadline, self.client.simple_query(sql)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Trouble::Silent(sent.elapsed())),
        }
    }

    /// What was warned of since the last call.
    pub(super) fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
