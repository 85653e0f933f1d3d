//! What an error means for the operation that it ended: surely not executed, or nobody knows. Pure.
//!
//! The rule is to say *failed* only where PostgreSQL, Citus and PgBouncer leave no other reading. A wrong *unknown* costs a
//! little strictness: the checker then accepts the operation's presence and its absence. A wrong *failed* or *acknowledged*
//! would accuse a cluster of what it did not do.
//!
//! **Before the commit was sent** ([`Stage::Open`]) everything is a failure, also silence and a lost connection: PostgreSQL
//! never commits an explicit transaction without `COMMIT`, and rolls back when the connection ends; PgBouncer ends the
//! server's connection of a client that leaves within a transaction. Reads are of this kind, too.
//!
//! **Once `COMMIT`, or a statement that commits by itself, was sent** ([`Stage::Deciding`]):
//! - Silence and a lost connection are unknown.
//! - Refusals at login are failures whatever their severity, as PgBouncer hands them on for a statement that it never
//!   sent: 57P03 (starting up, shutting down), 53300 (too many connections), class 28 and 3D000.
//! - `FATAL` and `PANIC` are unknown: a session ends at any point, also after the commit record was written.
//! - Class 08 is unknown: PgBouncer says 08P01 for a server connection that broke, and Citus 08006 for one to a shard group,
//!   where the statement may have been committed.
//! - 40003 says so itself. The rest of class 57 (57014 cancelled, 57P01 and 57P02 shut down and crashed) is unknown: a
//!   cancelled statement through Citus may have been committed on its shard.
//! - Classes 58 and XX are unknown: system and internal errors, among them Citus' "could not commit transaction" of shards.
//! - Every other error (25006 on a standby, constraints, serialization, deadlock, locks, a full disk) is raised before the
//!   commit record: a failure.
//!
//! **A success with a warning** is unknown, too: "canceling wait for synchronous replication" (01000) means committed here
//! and maybe nowhere else, and Citus acknowledges a transaction whose shard group did not answer its commit with the
//! warning "failed to commit transaction on …". A commit has nothing else to warn of.

use std::fmt;
use std::time::Duration;

use tokio_postgres::error::Severity;

use crate::drill::history::Outcome;

/// How far an operation was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing that could commit it was sent.
    Open,
    /// What commits it was sent, or may have been.
    Deciding,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The server, or the pooler in its name, answered with an error.
    Said {
        /// Whether it ended the session: `FATAL` or `PANIC`.
        fatal: bool,
        /// SQLSTATE, five characters.
        code: String,
        /// In its words.
        message: String,
    },
    /// The connection was not made, or broke.
    Broken(String),
    /// No answer within this time.
    Silent(Duration),
    /// The answer was not what the operation has to get.
    Odd(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Said { code, message, .. } => write!(f, "{message} (SQLSTATE {code})"),
            Self::Broken(reason) | Self::Odd(reason) => f.write_str(reason),
            Self::Silent(after) => write!(f, "no answer within {} ms", after.as_millis()),
        }
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(said) => Self::Said {
                // PgBouncer does not send the field that is never translated; what it sends is never translated either.
                fatal: match said.parsed_severity() {
                    Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
                    None => said.severity() != "ERROR",
                },
                code: said.code().code().to_owned(),
                message: said.message().to_owned(),
            },
            None => Self::Broken(crate::error::one_line(&error)),
        }
    }
}

/// What became of an operation that ended in trouble.
pub fn classify(stage: Stage, trouble: &Trouble) -> Outcome {
    let reason = trouble.to_string();
    let decided = match (stage, trouble) {
        (Stage::Open, _) => true,
        (Stage::Deciding, Trouble::Said { fatal, code, .. }) => never_executed(code) || (!*fatal && rolled_back(code)),
        (Stage::Deciding, _) => false,
    };
    if decided { Outcome::Fail { reason } } else { Outcome::Unknown { reason } }
}

/// What became of an operation that was acknowledged with these warnings.
pub fn warned(warnings: &[String]) -> Option<Outcome> {
    (!warnings.is_empty()).then(|| Outcome::Unknown { reason: format!("acknowledged with a warning: {}", warnings.join("; ")) })
}

/// Refused at the door.
fn never_executed(code: &str) -> bool {
    matches!(code, "57P03" | "53300" | "3D000") || code.starts_with("28")
}

/// Errors that are raised before a commit record is written, wherever that would be.
fn rolled_back(code: &str) -> bool {
    code != "40003" && !["08", "57", "58", "XX"].iter().any(|class| code.starts_with(class))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(fatal: bool, code: &str) -> Trouble {
        Trouble::Said { fatal, code: code.into(), message: "words".into() }
    }

    fn fails(stage: Stage, trouble: &Trouble) -> bool {
        matches!(classify(stage, trouble), Outcome::Fail { .. })
    }

    #[test]
    fn nothing_is_committed_before_the_commit_is_sent() {
        let silent = Trouble::Silent(Duration::from_secs(1));
        for trouble in [said(true, "57P01"), said(false, "25006"), silent, Trouble::Broken("reset".into())] {
            assert!(fails(Stage::Open, &trouble), "{trouble:?}");
        }
    }

    #[test]
    fn once_it_is_sent_only_some_errors_are_certain() {
        let certain = ["25006", "23505", "40001", "40P01", "53100", "53300", "55P03", "57P03", "28P01", "42501", "3D000"];
        for code in certain {
            assert!(fails(Stage::Deciding, &said(false, code)), "{code}");
        }
        for code in ["08006", "08P01", "40003", "57014", "57P01", "57P02", "57P05", "58030", "XX000", "XX002"] {
            assert!(!fails(Stage::Deciding, &said(false, code)), "{code}");
        }
        assert!(!fails(Stage::Deciding, &said(true, "25P03")), "a session that ends says nothing of its commit");
        assert!(fails(Stage::Deciding, &said(true, "57P03")), "but one that never began does");
        assert!(!fails(Stage::Deciding, &Trouble::Silent(Duration::from_secs(1))));
        assert!(!fails(Stage::Deciding, &Trouble::Broken("reset".into())));
    }

    #[test]
    fn a_warning_takes_an_acknowledgement_back() {
        assert_eq!(warned(&[]), None);
        let reason = "acknowledged with a warning: canceling wait".to_owned();
        assert_eq!(warned(&["canceling wait".into()]), Some(Outcome::Unknown { reason }));
    }
}
