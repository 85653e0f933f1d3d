//! A plan as a report: waves and diffs for people, the same as JSON for programs.

use serde::Serialize;

use super::action::Plan;
use super::diff::Difference;

/// What `plan` prints and `up` asks consent for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanReport {
    /// Version of this document's shape.
    pub schema_version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// Whether anything is to be done.
    pub pending: bool,
    /// The waves.
    #[serde(flatten)]
    pub plan: Plan,
    /// What changes inside what exists.
    pub differences: Vec<Difference>,
}

impl PlanReport {
    /// Lines of a plan: waves with their actions, one line per kind of action and change, then diffs.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        if !self.pending {
            lines.push(Line::Plain(format!("Nothing to do: {} is what the topology says.", self.cluster)));
            return lines;
        }
        let waves = self.plan.waves.iter().filter(|w| !w.actions.is_empty());
        for (index, wave) in waves.enumerate() {
            lines.push(Line::Head(format!("Wave {}: {}", index + 1, wave.title)));
            lines.extend(wave.actions.iter().map(|action| Line::Plain(format!("  {action}"))));
        }
        for difference in &self.differences {
            lines.push(Line::Head(format!("Changes in {}", difference.what)));
            lines.extend(difference.diff.lines().map(|line| match line.as_bytes().first() {
                Some(b'+') => Line::Added(format!("  {line}")),
                Some(b'-') => Line::Removed(format!("  {line}")),
                _ => Line::Plain(format!("  {line}")),
            }));
        }
        lines
    }
}

/// A line of a plan with its meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A heading.
    Head(String),
    /// Text.
    Plain(String),
    /// A line that a diff adds.
    Added(String),
    /// A line that a diff removes.
    Removed(String),
}
