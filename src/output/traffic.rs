//! `activity`, `locks` and `tx` as data and as tables.

use std::collections::BTreeMap;

use serde::Serialize;

use super::table::{self, MISSING, toned};
use super::ui::{Report, Tone, Ui};
use crate::traffic::{Cycle, Fate, Gpid, Prepared, Session, Wait, cycles};

/// Version of the JSON documents: raised when a key changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;
/// As much of a statement as fits beside the rest on a terminal; JSON has all of it.
const STATEMENT: usize = 60;

/// What clients do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ActivityReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The oldest transaction first.
    pub sessions: Vec<Session>,
    /// How many were left out because they do nothing.
    pub idle: usize,
}

impl ActivityReport {
    /// Of these sessions; without `all` those that do nothing are only counted.
    pub fn new(sessions: Vec<Session>, all: bool) -> Self {
        let (shown, idle): (Vec<_>, Vec<_>) = sessions.into_iter().partition(|s| all || s.state != "idle");
        Self { schema_version: SCHEMA_VERSION, sessions: shown, idle: idle.len() }
    }
}

impl Report for ActivityReport {
    fn text(&self, ui: &Ui) -> String {
        let idle = format!("{} idle sessions are not shown (--all)\n", self.idle);
        if self.sessions.is_empty() {
            return format!("No session is at work. {idle}");
        }
        let mut table = table::table(&["gpid", "node", "user", "state", "transaction", "statement", "waits for", "query"]);
        for column in [0, 4, 5] {
            table::align_right(&mut table, column);
        }
        for session in &self.sessions {
            table.add_row([
                session.gpid.to_string(),
                session.node.clone(),
                session.user.clone(),
                session.state.clone(),
                age(session.transaction_ms),
                age(session.statement_ms),
                or_missing(&session.wait),
                statement(&session.query),
            ]);
        }
        let text = table::render_for(table, ui);
        if self.idle == 0 { text } else { text + "\n" + &idle }
    }
}

/// Who waits for whom.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LocksReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Each pair.
    pub waits: Vec<Wait>,
    /// Circles: nobody in one goes on by itself.
    pub cycles: Vec<Cycle>,
    /// Everybody who is named above, as far as known.
    pub sessions: Vec<Session>,
}

impl LocksReport {
    /// Of these waits.
    pub fn new(waits: Vec<Wait>, sessions: Vec<Session>) -> Self {
        let named = |session: &Session| waits.iter().any(|w| w.waiting == session.gpid || w.blocking == session.gpid);
        let sessions: Vec<Session> = sessions.into_iter().filter(named).collect();
        Self { schema_version: SCHEMA_VERSION, cycles: cycles(&waits, &sessions), waits, sessions }
    }
}

impl Report for LocksReport {
    fn text(&self, ui: &Ui) -> String {
        if self.waits.is_empty() {
            return "Nobody waits for a lock.\n".into();
        }
        let sessions: BTreeMap<Gpid, &Session> = self.sessions.iter().map(|session| (session.gpid, session)).collect();
        let mut table = table::table(&["waits", "node", "since", "for", "node", "transaction", "state", "its query"]);
        for column in [0, 2, 3, 5] {
            table::align_right(&mut table, column);
        }
        for wait in &self.waits {
            let (waiting, blocking) = (sessions.get(&wait.waiting), sessions.get(&wait.blocking));
            let round = self.cycles.iter().any(|c| c.sessions.contains(&wait.waiting) && c.sessions.contains(&wait.blocking));
            let mark = |gpid: Gpid| if round { toned(gpid, Tone::Bad) } else { gpid.to_string().into() };
            table.add_row([
                mark(wait.waiting),
                node(waiting).into(),
                age(waiting.and_then(|s| s.statement_ms)).into(),
                mark(wait.blocking),
                node(blocking).into(),
                age(blocking.and_then(|s| s.transaction_ms)).into(),
                blocking.map_or_else(|| MISSING.to_owned(), |s| s.state.clone()).into(),
                blocking.map_or_else(|| MISSING.to_owned(), |s| statement(&s.query)).into(),
            ]);
        }
        let mut text = table::render_for(table, ui);
        for cycle in &self.cycles {
            let sessions = cycle.sessions.iter().map(Gpid::to_string).collect::<Vec<_>>().join(", ");
            text += &format!("\n{}: {sessions} wait for each other\n", ui.paint(Tone::Bad, "deadlock"));
            if let Some(victim) = cycle.victim {
                text += &format!("  {victim} has the youngest transaction: `pgclusterctl locks cancel {victim}`\n");
            }
        }
        text
    }
}

/// Prepared transactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TransactionsReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// By group.
    pub prepared: Vec<Prepared>,
    /// Nodes that did not tell theirs.
    pub silent: Vec<Silent>,
}

/// A node that did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Silent {
    /// The node.
    pub node: String,
    /// Why.
    pub reason: String,
}

impl TransactionsReport {
    /// Of these.
    pub fn new(prepared: Vec<Prepared>, silent: Vec<(String, String)>) -> Self {
        let silent = silent.into_iter().map(|(node, reason)| Silent { node, reason }).collect();
        Self { schema_version: SCHEMA_VERSION, prepared, silent }
    }

    /// Whether something is left that nobody works on, or may be.
    pub fn has_leftovers(&self) -> bool {
        !self.silent.is_empty() || self.prepared.iter().any(|p| p.fate != Fate::InFlight)
    }
}

impl Report for TransactionsReport {
    fn text(&self, ui: &Ui) -> String {
        let mut text = String::new();
        if self.prepared.is_empty() {
            text += "No transaction is prepared.\n";
        } else {
            let mut table = table::table(&["group", "node", "age", "owner", "gid", "fate"]);
            table::align_right(&mut table, 2);
            for one in &self.prepared {
                table.add_row([
                    one.group.clone().into(),
                    one.node.clone().into(),
                    table::millis(one.age_ms).into(),
                    one.owner.clone().into(),
                    one.gid.clone().into(),
                    toned(one.fate.words(), tone(one.fate)),
                ]);
            }
            text += &table::render_for(table, ui);
        }
        for silent in &self.silent {
            text += &format!("{}  {} did not tell: {}\n", ui.paint(Tone::Bad, "unknown"), silent.node, silent.reason);
        }
        text
    }
}

fn tone(fate: Fate) -> Tone {
    match fate {
        Fate::InFlight => Tone::Faint,
        Fate::Commit | Fate::Rollback => Tone::Odd,
        Fate::Unknown | Fate::Foreign => Tone::Bad,
    }
}

fn age(millis: Option<u64>) -> String {
    millis.map_or_else(|| MISSING.to_owned(), table::millis)
}

fn node(session: Option<&&Session>) -> String {
    session.map_or_else(|| MISSING.to_owned(), |s| s.node.clone())
}

fn or_missing(text: &str) -> String {
    if text.is_empty() { MISSING.to_owned() } else { text.to_owned() }
}

/// A statement on one line, cut.
fn statement(query: &str) -> String {
    let line = query.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(STATEMENT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
