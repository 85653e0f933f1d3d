//! A step in progress: a spinner where a terminal is, a line at its start and one at its end elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::table::millis;
use super::ui::Ui;
use crate::quantity::whole_millis;

/// Refresh of spinners.
const TICK: Duration = Duration::from_millis(120);

/// One step. Dropped before [`Step::done`] it vanishes without a word: the error that follows says what happened.
#[derive(Debug)]
pub struct Step {
    ui: Ui,
    bar: ProgressBar,
    title: String,
    started: Instant,
}

impl Step {
    /// Begins a step whose title reads like `building pgclusterctl/node`.
    pub fn start(ui: &Ui, title: impl Into<String>) -> Self {
        let title = title.into();
        let bar = ui.progress().add(ProgressBar::new_spinner());
        if ui.draws_progress() {
            bar.set_style(style("{spinner} {prefix} {wide_msg:.dim} {elapsed}"));
            bar.set_prefix(title.clone());
            bar.enable_steady_tick(TICK);
        } else {
            ui.note(format!("{title} …"));
        }
        Self { ui: ui.clone(), bar, title, started: Instant::now() }
    }

    /// Shows what it is at, on one line; only where progress is drawn.
    pub fn at(&self, detail: &str) {
        self.bar.set_message(detail.to_owned());
    }

    /// Ends the step and leaves one line behind: title, outcome and time.
    pub fn done(self, outcome: &str) {
        self.bar.finish_and_clear();
        let elapsed = millis(whole_millis(self.started.elapsed()));
        let outcome = if outcome.is_empty() { String::new() } else { format!(": {outcome}") };
        self.ui.note(format!("{}{outcome} ({elapsed})", self.title));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A bar's style from a template of this program's own; a template that indicatif refuses falls back to its default.
pub fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
