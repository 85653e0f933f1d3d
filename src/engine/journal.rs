//! The operator's own record of what this program did: one JSON line per event, in the state folder of the user.
//!
//! It helps to explain the past; nothing is ever resumed from it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::event::Event;
use crate::topology::ClusterName;

/// An open journal; a journal that cannot be written is no reason not to work, so it may be absent.
#[derive(Debug)]
pub struct Journal {
    file: Option<File>,
    command: String,
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    command: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

impl Journal {
    /// Appends to `$XDG_STATE_HOME/pgclusterctl/<cluster>.jsonl` (`~/.local/state` by default).
    pub fn open(cluster: &ClusterName, command: &str) -> Self {
        let file = state_dir().and_then(|dir| {
            std::fs::create_dir_all(&dir).ok()?;
            OpenOptions::new().create(true).append(true).open(dir.join(format!("{cluster}.jsonl"))).ok()
        });
        Self { file, command: command.to_owned() }
    }

    /// Writes one event. Waiting is told many times a second and explains nothing later: it is left out.
    pub fn write(&mut self, event: &Event) {
        let Some(file) = self.file.as_mut().filter(|_| !matches!(event, Event::Waiting { .. })) else { return };
        let line = Line { at: jiff::Timestamp::now().to_string(), command: &self.command, event };
        if let Ok(mut text) = serde_json::to_string(&line) {
            text.push('\n');
            if file.write_all(text.as_bytes()).is_err() {
                self.file = None;
            }
        }
    }
}

/// Where this program keeps what outlives a run: `$XDG_STATE_HOME/pgclusterctl`.
pub fn state_dir() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let base = base.or_else(|| Some(std::env::home_dir()?.join(".local/state")))?;
    Some(base.join("pgclusterctl"))
}
