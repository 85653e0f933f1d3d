//! SQL as postgres, through the relay: no password, no open port.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Row};

use super::container::Container;
use super::exec::ExecStream;
use super::relay;

/// A server that does not greet within this time is taken for gone.
const CONNECT: Duration = Duration::from_secs(5);

/// Why SQL failed.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The relay could not be made.
    #[error("{member}: no connection could be opened through Docker")]
    Relay {
        /// The member.
        member: String,
        /// Why.
        #[source]
        source: bollard::errors::Error,
    },
    /// PostgreSQL said no, or the connection broke.
    #[error("{member}: {}", words(source))]
    Postgres {
        /// The member.
        member: String,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// No answer in time.
    #[error("{member}: PostgreSQL did not answer within {} ms", after.as_millis())]
    Timeout {
        /// The member.
        member: String,
        /// The limit.
        after: Duration,
    },
}

/// tokio-postgres says only "db error"; PostgreSQL's words are in its source.
fn words(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |db| format!("{} (SQLSTATE {})", db.message(), db.code().code()))
}

/// Text that somebody else has written. What Citus keeps of a lost connection's last words need not be UTF-8, and a column of type
/// text hands it on as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(pub String);

impl<'a> FromSql<'a> for Words {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(String::from_utf8_lossy(raw).into_owned()))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TEXT
    }
}

/// Whether this is what PostgreSQL said.
pub fn says(error: &SqlError, state: &SqlState) -> bool {
    matches!(error, SqlError::Postgres { source, .. } if source.code() == Some(state))
}

/// Connects to `database` of a member as postgres.
pub async fn connect_to(member: &Container, database: &str) -> Result<Client, SqlError> {
    let mut config = Config::new();
    config.user("postgres").dbname(database).application_name("pgclusterctl");
    through(member, relay::postgres(member), &config).await
}

/// Connects to PgBouncer's administration console, which speaks only the simple query protocol.
pub async fn console(pooler: &Container) -> Result<Client, SqlError> {
    let mut config = Config::new();
    config.user("pgbouncer").dbname("pgbouncer");
    through(pooler, relay::pgbouncer(pooler), &config).await
}

/// Logs in through a relay.
async fn through(
    member: &Container,
    relay: impl Future<Output = Result<ExecStream, bollard::errors::Error>>,
    config: &Config,
) -> Result<Client, SqlError> {
    let name = || member.name.clone();
    let connecting = async {
        let stream = relay.await.map_err(|source| SqlError::Relay { member: name(), source })?;
        let (client, connection) =
            config.connect_raw(stream, NoTls).await.map_err(|source| SqlError::Postgres { member: name(), source })?;
        // Ends when the client is dropped; its errors show in the client's next query.
        tokio::spawn(connection);
        Ok(client)
    };
    tokio::time::timeout(CONNECT, connecting).await.unwrap_or(Err(SqlError::Timeout { member: name(), after: CONNECT }))
}

/// Connects to the maintenance database of a member as postgres.
pub async fn connect(member: &Container) -> Result<Client, SqlError> {
    connect_to(member, "postgres").await
}

/// Rows of a query, within a deadline.
pub async fn rows(member: &Container, client: &Client, sql: &str, limit: Duration) -> Result<Vec<Row>, SqlError> {
    rows_with(member, client, sql, &[], limit).await
}

/// Rows of a query with parameters, within a deadline.
pub async fn rows_with(
    member: &Container,
    client: &Client,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
    limit: Duration,
) -> Result<Vec<Row>, SqlError> {
    let name = || member.name.clone();
    match tokio::time::timeout(limit, client.query(sql, values)).await {
        Ok(result) => result.map_err(|source| SqlError::Postgres { member: name(), source }),
        Err(_) => Err(SqlError::Timeout { member: name(), after: limit }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_need_not_be_utf8() {
        let read = |raw: &[u8]| Words::from_sql(&Type::TEXT, raw).map(|words| words.0).map_err(|e| e.to_string());
        assert_eq!(read("größer".as_bytes()), Ok("größer".to_owned()));
        assert_eq!(read(b"ERROR: \xE0\x80 gone"), Ok("ERROR: \u{FFFD}\u{FFFD} gone".to_owned()));
    }
}
