//! Runs the real binary where nothing of this machine shows: an empty environment, a home and a working folder of its own,
//! no terminal, a fixed width. What it prints is redacted to what is the same on every machine and at any time.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use regex::Regex;
use tempfile::TempDir;

/// A clean place with the program in it.
pub struct Place {
    home: TempDir,
    work: TempDir,
}

/// What one run did.
pub struct Run {
    command: String,
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Redacted.
    pub stdout: String,
    /// Redacted.
    pub stderr: String,
}

impl Place {
    /// An empty home and an empty working folder.
    pub fn new() -> Self {
        let folder = || TempDir::new().expect("a temporary folder");
        Self { home: folder(), work: folder() }
    }

    /// Puts a file into the working folder.
    pub fn with(self, name: &str, text: &str) -> Self {
        fs::write(self.work.path().join(name), text).expect("writes a file");
        self
    }

    /// The working folder.
    pub fn work(&self) -> &Path {
        self.work.path()
    }

    /// Content of every file below a folder of the working folder, by path.
    pub fn files(&self, folder: &str) -> BTreeMap<PathBuf, String> {
        let root = self.work.path().join(folder);
        let mut found = BTreeMap::new();
        let mut left = vec![root.clone()];
        while let Some(folder) = left.pop() {
            for entry in fs::read_dir(&folder).expect("reads a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    left.push(path);
                } else {
                    let name = path.strip_prefix(&root).expect("below the folder").to_owned();
                    found.insert(name, fs::read_to_string(&path).expect("a text file"));
                }
            }
        }
        found
    }

    /// Runs `pgclusterctl` with arguments as one would type them; none of them contains a blank.
    #[must_use = "what it did is to be asserted"]
    pub fn run(&self, arguments: &str) -> Run {
        let output = Command::new(env!("CARGO_BIN_EXE_pgclusterctl"))
            .args(arguments.split_whitespace())
            .env_clear()
            .env("HOME", self.home.path())
            // No docker, no ssh: what a test wants from outside it has to name.
            .env("PATH", "")
            .env("COLUMNS", "100")
            .env("NO_COLOR", "1")
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC")
            // Nothing answers here, should a command look for an engine.
            .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
            .current_dir(self.work.path())
            .stdin(Stdio::null())
            .output()
            .expect("the program was built");
        Run {
            command: format!("pgclusterctl {arguments}"),
            code: output.status.code(),
            stdout: self.redact(&output.stdout),
            stderr: self.redact(&output.stderr),
        }
    }

    fn redact(&self, output: &[u8]) -> String {
        let mut text = String::from_utf8(output.to_vec()).expect("prints UTF-8");
        for (folder, name) in [(&self.home, "[HOME]"), (&self.work, "[WORK]")] {
            text = text.replace(&folder.path().display().to_string(), name);
        }
        text = text.replace(&format!("pgclusterctl {}", env!("CARGO_PKG_VERSION")), "pgclusterctl [VERSION]");
        // Placeholders are as wide as what they stand for, so that tables keep their shape.
        for (pattern, placeholder) in [
            (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[TIME]"),
            (r"\b\d+\.\d s\b", "0.0 s"),
            (r"[0-9a-f]{8,64}\b", "[HASH]"),
        ] {
            text = Regex::new(pattern).expect("a pattern").replace_all(&text, placeholder).into_owned();
        }
        text
    }
}

impl Run {
    /// Fails unless the program ended with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "\n{self}");
        self
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or_else(|| "signal".to_owned(), |code| code.to_string());
        writeln!(f, "$ {}\n[exit {code}]", self.command)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                write!(f, "--- {name}\n{text}{}", if text.ends_with('\n') { "" } else { "[no newline]\n" })?;
            }
        }
        Ok(())
    }
}
