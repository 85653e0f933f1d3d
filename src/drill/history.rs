//! What clients did to the cluster and what they were told, as data and as JSON lines.
//!
//! The workload records it, the checker and the outage arithmetic read it. Times are nanoseconds on one monotonic clock,
//! counted from the start of the workload. Reading a file is the only I/O in here.
//!
//! A file begins with [`Record::Started`]. [`Record::Invoked`] is in it before an operation is sent, [`Record::Completed`]
//! after its outcome is known. So whenever a program dies, what may have reached the cluster is in its file: an operation
//! without an outcome is [`Outcome::Unknown`], and a last line that is not whole was never acted upon.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Exit, Failure};

/// Version of the file's format.
pub const SCHEMA_VERSION: u32 = 1;

/// The reason of an operation that was recorded as sent and never as answered.
const NO_OUTCOME: &str = "no outcome was recorded";
/// Bits of an id that hold the sequence; above them is the client. 2^40 operations of a client, and still a positive bigint.
const SEQUENCE_BITS: u32 = 40;

/// An operation's unique id within a history: also what is written into the database.
pub fn id(client: u32, sequence: u64) -> u64 {
    (u64::from(client) << SEQUENCE_BITS) | sequence
}

/// An id for people: `2#14` is the fifteenth operation of client 2.
pub fn name(id: u64) -> String {
    format!("{}#{}", id >> SEQUENCE_BITS, id & ((1 << SEQUENCE_BITS) - 1))
}

/// What an operation does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Adds a row with its id to the register log.
    Insert,
    /// Appends its id to a list.
    Append {
        /// The list's key.
        key: i32,
    },
    /// Reads a list.
    Read {
        /// The list's key.
        key: i32,
    },
    /// Moves money between two accounts, maybe of different shard groups.
    Transfer {
        /// The account that pays.
        from: i32,
        /// The account that is paid.
        to: i32,
        /// How much, above zero.
        amount: i64,
    },
}

impl Action {
    /// Whether it changes anything.
    pub fn writes(&self) -> bool {
        !matches!(self, Self::Read { .. })
    }
}

/// An operation as it is about to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invocation {
    /// See [`id`].
    pub id: u64,
    /// Index of the client.
    pub client: u32,
    /// Counted from 0 for each client; a client has one operation in flight.
    pub sequence: u64,
    /// Whose data it concerns, by the group's name. Transfers count for the coordinators, which decide their commit.
    pub group: String,
    /// What it does.
    pub action: Action,
    /// When its schedule wanted it sent. Latency is counted from here: a client that was held up by one operation does not
    /// hide what the next ones would have waited (no coordinated omission).
    pub due_ns: u64,
    /// When it was sent; never before `due_ns`. What happened before what is decided by this.
    pub invoked_ns: u64,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// Acknowledged, without any warning.
    Ok {
        /// The timeline of the server that executed it, where it was asked.
        #[serde(default)]
        timeline: Option<u32>,
        /// That server's address, where it was asked.
        #[serde(default)]
        server: Option<String>,
        /// That server's system identifier: timelines of different ones have nothing to do with each other.
        #[serde(default)]
        system: Option<u64>,
        /// What [`Action::Read`] saw, in the list's order.
        #[serde(default)]
        items: Option<Vec<u64>>,
    },
    /// Surely not executed, and never will be.
    Fail {
        /// Why.
        reason: String,
    },
    /// Executed or not, now or later.
    Unknown {
        /// Why nobody can tell.
        reason: String,
    },
}

impl Outcome {
    /// Whether it was acknowledged.
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Ok { .. })
    }
}

/// The end of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// Of which.
    pub id: u64,
    /// When the client knew.
    pub completed_ns: u64,
    /// What it knew.
    pub outcome: Outcome,
}

/// An operation with its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// As it was sent.
    pub call: Invocation,
    /// When the client knew; `None` when that was never recorded.
    pub completed_ns: Option<u64>,
    /// What it knew.
    pub outcome: Outcome,
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The first line.
    Started {
        /// [`SCHEMA_VERSION`].
        schema_version: u32,
        /// The wall clock at 0 ns.
        started_at: jiff::Timestamp,
        /// What the choices of the clients follow from.
        seed: u64,
    },
    /// Before an operation is sent.
    Invoked(Invocation),
    /// After its outcome is known.
    Completed(Completion),
    /// The last line of a workload that ended in order.
    Ended {
        /// When.
        at_ns: u64,
    },
}

/// Everything that the clients of one workload did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// In the order in which they were recorded.
    pub operations: Vec<Operation>,
    /// The end of the workload; of a file that was cut off, the last instant in it.
    pub ended_ns: u64,
    /// Whether the file was cut off: the program died while it recorded.
    pub cut_off: bool,
}

/// Why a file is no history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It cannot be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line that is whole is no record.
    #[error("line {line} is no record of a history")]
    Record {
        /// Counted from 1.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Records contradict each other.
    #[error("line {line}: {reason}")]
    Order {
        /// Counted from 1.
        line: usize,
        /// How.
        reason: String,
    },
}

impl Failure for HistoryError {
    fn exit(&self) -> Exit {
        Exit::Internal
    }

    fn hints(&self) -> Vec<String> {
        vec!["without its record nothing can be said about this drill: run it again, into an empty folder".into()]
    }
}

impl History {
    /// Reads a file that a workload recorded.
    pub fn read(path: &Path) -> Result<Self, HistoryError> {
        let text = std::fs::read(path).map_err(|source| HistoryError::Read { path: path.to_owned(), source })?;
        // A line that was cut within a character is still only a line that was cut.
        Self::parse(&String::from_utf8_lossy(&text))
    }

    /// Reads the text of such a file.
    pub fn parse(text: &str) -> Result<Self, HistoryError> {
        let mut history = Self { cut_off: true, ..Self::default() };
        let mut places = BTreeMap::new();
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let number = index + 1;
            // A record is written with its newline in one call, so what has none is the last and not whole.
            let Some(line) = line.strip_suffix('\n') else { break };
            let record = serde_json::from_str(line).map_err(|source| HistoryError::Record { line: number, source })?;
            history.add(record, &mut places).map_err(|reason| HistoryError::Order { line: number, reason })?;
        }
        Ok(history)
    }

    fn add(&mut self, record: Record, places: &mut BTreeMap<u64, usize>) -> Result<(), String> {
        match record {
            Record::Started { schema_version: SCHEMA_VERSION, .. } => {}
            Record::Started { schema_version, .. } => {
                return Err(format!("schema version {schema_version} is not {SCHEMA_VERSION}"));
            }
            Record::Invoked(call) => {
                self.ended_ns = self.ended_ns.max(call.invoked_ns);
                if places.insert(call.id, self.operations.len()).is_some() {
                    return Err(format!("operation {} is sent a second time", name(call.id)));
                }
                let outcome = Outcome::Unknown { reason: NO_OUTCOME.into() };
                self.operations.push(Operation { call, completed_ns: None, outcome });
            }
            Record::Completed(end) => {
                self.ended_ns = self.ended_ns.max(end.completed_ns);
                let place = places.get(&end.id).ok_or_else(|| format!("operation {} was never sent", name(end.id)))?;
                let operation = &mut self.operations[*place];
                if operation.completed_ns.is_some() {
                    return Err(format!("operation {} ends a second time", name(end.id)));
                }
                operation.completed_ns = Some(end.completed_ns);
                operation.outcome = end.outcome;
            }
            Record::Ended { at_ns } => {
                self.ended_ns = self.ended_ns.max(at_ns);
                self.cut_off = false;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(records: &[Record]) -> String {
        records.iter().map(|r| serde_json::to_string(r).expect("a record is JSON") + "\n").collect()
    }

    fn invoked(sequence: u64) -> Record {
        Record::Invoked(Invocation {
            id: id(1, sequence),
            client: 1,
            sequence,
            group: "coordinator".into(),
            action: Action::Transfer { from: 1, to: 2, amount: 3 },
            due_ns: sequence * 10,
            invoked_ns: sequence * 10 + 1,
        })
    }

    fn completed(sequence: u64) -> Record {
        let outcome = Outcome::Ok { timeline: Some(7), server: Some("10.0.0.1".into()), system: Some(u64::MAX), items: None };
        Record::Completed(Completion { id: id(1, sequence), completed_ns: sequence * 10 + 5, outcome })
    }

    #[test]
    fn records_survive_the_file() {
        let started =
            Record::Started { schema_version: SCHEMA_VERSION, started_at: jiff::Timestamp::UNIX_EPOCH, seed: u64::MAX };
        let records = [started, invoked(0), completed(0), Record::Ended { at_ns: 99 }];
        for record in &records {
            let text = serde_json::to_string(record).expect("a record is JSON");
            assert_eq!(&serde_json::from_str::<Record>(&text).expect("it is read back"), record, "{text}");
        }
        let history = History::parse(&lines(&records)).expect("a history");
        assert!(!history.cut_off);
        assert_eq!(history.ended_ns, 99);
        assert!(history.operations[0].outcome.is_ok());
    }

    #[test]
    fn a_file_may_end_anywhere() {
        let text = lines(&[invoked(0), completed(0), invoked(1), completed(1)]);
        let whole = text.match_indices('\n').map(|(at, _)| at + 1).collect::<Vec<_>>();
        for length in 0..text.len() {
            let history = History::parse(&text[..length]).unwrap_or_else(|e| panic!("cut at {length}: {e}"));
            let records = whole.iter().filter(|end| **end <= length).count();
            assert!(history.cut_off);
            assert_eq!(history.operations.len(), records.div_ceil(2), "cut at {length}");
            if records % 2 == 1 {
                let last = history.operations.last().expect("one was sent");
                assert_eq!(last.outcome, Outcome::Unknown { reason: NO_OUTCOME.into() });
                assert_eq!(last.completed_ns, None);
            }
        }
    }

    #[test]
    fn what_is_whole_has_to_be_right() {
        let broken = |text: String| History::parse(&text).expect_err("no history").to_string();
        assert_eq!(broken(lines(&[invoked(0)]) + "{\"record\":\"inv\n"), "line 2 is no record of a history");
        assert_eq!(broken(lines(&[completed(3)])), "line 1: operation 1#3 was never sent");
        assert_eq!(broken(lines(&[invoked(3), invoked(3)])), "line 2: operation 1#3 is sent a second time");
        assert_eq!(broken(lines(&[invoked(3), completed(3), completed(3)])), "line 3: operation 1#3 ends a second time");
        let other = Record::Started { schema_version: 9, started_at: jiff::Timestamp::UNIX_EPOCH, seed: 0 };
        assert_eq!(broken(lines(&[other])), "line 1: schema version 9 is not 1");
    }
}
