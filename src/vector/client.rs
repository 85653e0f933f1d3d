//! One connection as an application has it: through the client address and the pooler, with a password.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::SinkExt;
use futures_util::future::try_join_all;
use tokio::task::AbortHandle;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::VectorError;
use super::data::Vectors;
use crate::context::Interrupt;
use crate::drill::workload::Target;

/// Until the server has let the client in, and until it took note of a cancellation.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is sent of a COPY at once.
const CHUNK: usize = 64 << 10;

/// A connection. Dropping it closes the socket.
pub(super) struct Connection {
    client: Client,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects and logs in.
    pub(super) async fn open(target: &Target) -> Result<Self, VectorError> {
        let mut config = Config::new();
        config.host(&target.host).port(target.port).user(&target.user).password(&target.password).dbname(&target.dbname);
        config.application_name("pgclusterctl-vector-bench").connect_timeout(PATIENCE);
        let failed = |source| VectorError::Connect { target: format!("{target:?}"), source };
        let connecting = tokio::time::timeout(PATIENCE, config.connect(NoTls)).await;
        let (client, connection) = connecting.map_err(|late| failed(late.into()))?.map_err(|error| failed(error.into()))?;
        // Ends with the connection; its errors show in the next statement.
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { client, driver: driver.abort_handle() })
    }

    /// Sends one message of the simple protocol and gives all rows as text.
    pub(super) async fn run(&self, doing: &str, sql: &str, interrupt: &Interrupt) -> Result<Vec<Vec<String>>, VectorError> {
        self.run_all(doing, &[sql.to_owned()], interrupt).await
    }

    /// Sends messages without waiting for answers between them, and gives all rows as text; an interruption cancels what runs on
    /// the server.
    pub(super) async fn run_all(
        &self,
        doing: &str,
        messages: &[String],
        interrupt: &Interrupt,
    ) -> Result<Vec<Vec<String>>, VectorError> {
        let answer = tokio::select! {
            answer = try_join_all(messages.iter().map(|sql| self.client.simple_query(sql))) => answer,
            () = interrupt.asked() => {
                // Whoever cannot be told ends by itself, and what it made is removed after that.
                let _ = tokio::time::timeout(PATIENCE, self.client.cancel_token().cancel_query(NoTls)).await;
                return Err(VectorError::Interrupted);
            }
        };
        let messages = answer.map_err(|source| failed(doing, source))?;
        let rows = messages.iter().flatten().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        Ok(rows.map(|row| (0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned()).collect()).collect())
    }

    /// Copies the rows 1 up to `rows` into a table.
    pub(super) async fn load(
        &self,
        copy: &str,
        vectors: &Vectors,
        rows: u64,
        interrupt: &Interrupt,
    ) -> Result<(), VectorError> {
        let doing = "loading vectors";
        let sink = self.client.copy_in::<_, Bytes>(copy).await.map_err(|source| failed(doing, source))?;
        let mut sink = pin!(sink);
        let mut text = String::with_capacity(2 * CHUNK);
        for id in 1..=rows {
            vectors.copy_line(id, &mut text);
            if text.len() < CHUNK && id < rows {
                continue;
            }
            if interrupt.is_asked() {
                // What is not finished fails on the server when the sink is dropped.
                return Err(VectorError::Interrupted);
            }
            sink.send(Bytes::from(std::mem::take(&mut text))).await.map_err(|source| failed(doing, source))?;
        }
        sink.finish().await.map_err(|source| failed(doing, source))?;
        Ok(())
    }
}

/// tokio-postgres says only "db error"; PostgreSQL's words are in its source.
fn failed(doing: &str, source: tokio_postgres::Error) -> VectorError {
    let said = source.as_db_error().map(|db| format!("{} (SQLSTATE {})", db.message(), db.code().code()));
    VectorError::Client { doing: doing.to_owned(), said, source }
}
