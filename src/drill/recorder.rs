//! Writes a history while it happens. Used by the workload's clients; what the lines mean is in [`super::history`].

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::history::{Completion, Invocation, Record};

/// An open record of a workload, shared by its clients.
///
/// Each line goes to the kernel in one `write(2)` before the call returns: it survives the death of this program, not that
/// of its machine. The clients' machine is not what a drill breaks, and syncing a file fifty times a second would disturb
/// what is measured.
#[derive(Debug)]
pub struct Recorder {
    file: Mutex<File>,
}

impl Recorder {
    /// Creates the file; one that exists is the proof of another drill and is not touched.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().create_new(true).append(true).open(path)?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// Before an operation is sent.
    pub fn invoked(&self, call: &Invocation) -> std::io::Result<()> {
        self.write(&Record::Invoked(call.clone()))
    }

    /// After its outcome is known.
    pub fn completed(&self, end: Completion) -> std::io::Result<()> {
        self.write(&Record::Completed(end))
    }

    /// Any record.
    pub fn write(&self, record: &Record) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        // Appends of a few hundred bytes to the page cache: too short to leave the async threads for.
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::history::History;

    #[test]
    fn a_record_is_in_the_file_at_once_and_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("history.jsonl");
        let recorder = Recorder::create(&path).expect("a new file");
        recorder.write(&Record::Ended { at_ns: 5 }).expect("it is written");
        assert_eq!(History::read(&path).expect("a history").ended_ns, 5);
        assert!(Recorder::create(&path).is_err());
    }
}
