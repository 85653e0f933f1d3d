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
