//! A client's session. Plain data.

use std::fmt;

use serde::Serialize;

/// Citus' global process id: the node's id times ten billion, plus the process id there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Gpid(pub u64);

impl fmt::Display for Gpid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

/// A session that a client opened, on whatever node; what it does on other nodes counts as its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Session {
    /// Which.
    pub gpid: Gpid,
    /// The node that it is connected to, by the name of its leader.
    pub node: String,
    /// Database role.
    pub user: String,
    /// application_name.
    pub application: String,
    /// `active`, `idle in transaction`, …
    pub state: String,
    /// What it waits for, as PostgreSQL says; empty when it does not.
    pub wait: String,
    /// Age of its transaction in milliseconds; `null` outside of one.
    pub transaction_ms: Option<u64>,
    /// Age of its statement in milliseconds.
    pub statement_ms: Option<u64>,
    /// Its latest statement.
    pub query: String,
}

impl Session {
    /// Whether there is a statement that could be ended: a cancel does nothing to a session that waits for its client, though
    /// PostgreSQL says that it was sent.
    pub fn runs_statement(&self) -> bool {
        !self.state.starts_with("idle")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_its_client_runs_no_statement() {
        let session = |state: &str| Session {
            gpid: Gpid(1),
            node: "coordinator-1".into(),
            user: "app".into(),
            application: String::new(),
            state: state.into(),
            wait: String::new(),
            transaction_ms: None,
            statement_ms: None,
            query: String::new(),
        };
        for state in ["idle", "idle in transaction", "idle in transaction (aborted)"] {
            assert!(!session(state).runs_statement(), "{state}");
        }
        for state in ["active", "fastpath function call", "disabled", ""] {
            assert!(session(state).runs_statement(), "{state}");
        }
    }
}
