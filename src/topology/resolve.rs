//! From text to [`Topology`]: decode, read each section, hold the sections against each other.
//!
//! Called by every command that needs a cluster. [`parse`] is pure but for `~` in file names, which is this process's home;
//! [`load`] reads the file. Both report every mistake at once, never only the first.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::DeTable;

use super::file::TopologyFile;
use super::finding::{self, Finding};
use super::model::Topology;
use super::{schema, sections};
use crate::error::{Exit, Failure};

/// Why there is no topology.
#[derive(Debug)]
pub enum TopologyError {
    /// The file cannot be read.
    Read {
        /// The file as named by the operator.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is wrong; all findings, errors and warnings, in the order of the file.
    Invalid {
        /// The file as named by the operator.
        path: PathBuf,
        /// What was read.
        text: String,
        /// What is wrong with it.
        findings: Vec<Finding>,
    },
}

impl TopologyError {
    /// The findings of an invalid file; empty when it could not be read.
    pub fn findings(&self) -> &[Finding] {
        match self {
            Self::Read { .. } => &[],
            Self::Invalid { findings, .. } => findings,
        }
    }
}

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, .. } => write!(f, "cannot read the topology {}", path.display()),
            Self::Invalid { path, text, findings } => {
                write!(
                    f,
                    "the topology {} is invalid\n\n{}",
                    path.display(),
                    finding::render(findings, text, path, false).trim_end()
                )
            }
        }
    }
}

impl std::error::Error for TopologyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Invalid { .. } => None,
        }
    }
}

impl Failure for TopologyError {
    fn exit(&self) -> Exit {
        Exit::Topology
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => vec![
                "name the file with --topology FILE".into(),
                "or write a first one: pgclusterctl new --hosts HOST1,HOST2,HOST3".into(),
            ],
            Self::Read { .. } => Vec::new(),
            Self::Invalid { .. } => vec!["every key is described in docs/topology.md; nothing was touched".into()],
        }
    }
}

/// A topology with the text it was read from and what the operator should know about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The resolved topology.
    pub topology: Topology,
    /// Warnings in the order of the file; never an error.
    pub warnings: Vec<Finding>,
    /// What was read, for [`finding::render`] and [`finding::views`].
    pub text: String,
}

/// Reads and resolves a topology file, and drops the warnings: for callers that show none.
pub fn load(path: &Path) -> Result<Topology, TopologyError> {
    load_with_warnings(path).map(|loaded| loaded.topology)
}

/// Reads and resolves a topology file.
pub fn load_with_warnings(path: &Path) -> Result<Loaded, TopologyError> {
    let text = std::fs::read_to_string(path).map_err(|source| TopologyError::Read { path: path.to_owned(), source })?;
    match parse(&text, path) {
        Ok((topology, warnings)) => Ok(Loaded { topology, warnings, text }),
        Err(findings) => Err(TopologyError::Invalid { path: path.to_owned(), text, findings }),
    }
}

/// Resolves the text of a topology file: the topology with its warnings, or all findings when at least one is an error.
///
/// `path` names the file in messages and is the base of relative file names in it; it is not read.
pub fn parse(text: &str, path: &Path) -> Result<(Topology, Vec<Finding>), Vec<Finding>> {
    let mut findings = Vec::new();
    let (mut tree, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(errors.iter().map(syntax).collect());
    }
    schema::check(tree.get_mut(), &mut findings);
    let file = match TopologyFile::deserialize(toml::de::Deserializer::from(tree)) {
        Ok(file) => file,
        Err(error) => {
            // The schema's check has said what is missing. What it let through must decode; should it not, say so.
            if findings.is_empty() {
                findings.push(Finding::error("decode", error.span(), error.message().to_owned()));
            }
            finding::sort(&mut findings);
            return Err(findings);
        }
    };
    let mut meaning = Vec::new();
    let topology = sections::resolve(&file, path, &mut meaning);
    // What stands in for a missing or wrong value is no second mistake.
    meaning.retain(|m| m.span.is_none() || !findings.iter().any(|f| f.span == m.span));
    findings.append(&mut meaning);
    finding::sort(&mut findings);
    if findings.iter().any(Finding::is_error) { Err(findings) } else { Ok((topology, findings)) }
}

fn syntax(error: &toml::de::Error) -> Finding {
    let message = error.message();
    let help = if message.starts_with("string values must be quoted") {
        "write texts in quotes: key = \"value\""
    } else if message.starts_with("duplicate key") {
        "write each key and each section once; several hosts or shard groups are [[host]] and [[shard]]"
    } else {
        ""
    };
    Finding::error("syntax", error.span(), format!("not TOML: {message}")).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_a_ring() {
        let text = include_str!("../../examples/three-hosts.toml");
        let (topology, warnings) = parse(text, Path::new("topology.toml")).expect("the example is valid");
        assert_eq!(warnings, []);
        let placed: Vec<String> =
            topology.groups.iter().skip(1).flat_map(|g| &g.members).map(|m| format!("{}@{}", m.name, m.host)).collect();
        assert_eq!(
            placed,
            [
                "worker-1-1@host1",
                "worker-1-2@host2",
                "worker-2-1@host2",
                "worker-2-2@host3",
                "worker-3-1@host3",
                "worker-3-2@host1"
            ]
        );
    }
}
