//! A run as the operator sees it: one line per wave, one per member that the wave still waits for.
//!
//! With a terminal the lines live; without one, a line is printed when a wave starts and ends, and what it waits for every
//! [`REMIND`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::progress::style;
use super::ui::{Tone, Ui};
use crate::engine::event::{Event, Unmet};
use crate::engine::journal::Journal;

/// How often a run without a terminal says what it waits for.
const REMIND: Duration = Duration::from_secs(10);
/// How often the spinners turn.
const TICK: Duration = Duration::from_millis(100);

/// Reads events until the sender is dropped, shows them, and writes them to the journal.
pub fn follow(ui: &Ui, mut journal: Journal, mut events: mpsc::UnboundedReceiver<Event>) -> JoinHandle<()> {
    let mut view = View { ui: ui.clone(), head: None, lines: BTreeMap::new(), reminded: Instant::now() };
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            journal.write(&event);
            view.show(event);
        }
        view.clear();
    })
}

struct View {
    ui: Ui,
    head: Option<(ProgressBar, String)>,
    lines: BTreeMap<String, ProgressBar>,
    reminded: Instant,
}

impl View {
    fn show(&mut self, event: Event) {
        match event {
            Event::WaveStarted { index, of, title, subjects } => self.start(&format!("[{index}/{of}] {title}"), &subjects),
            Event::ActionStarted { action } => self.say(&action),
            Event::ActionDone { .. } => {}
            Event::Waiting { unmet } => self.waiting(&unmet),
            Event::WaveDone { took, .. } => self.done(took),
            Event::Note { text } => self.ui.note(text),
        }
    }

    fn start(&mut self, title: &str, subjects: &[String]) {
        self.clear();
        self.reminded = Instant::now();
        let head = self.ui.progress().add(ProgressBar::new_spinner());
        head.set_style(style("{spinner:.cyan} {prefix:.bold} {elapsed:.dim} {wide_msg:.dim}"));
        head.set_prefix(title.to_owned());
        head.enable_steady_tick(TICK);
        for subject in subjects {
            let line = self.ui.progress().add(ProgressBar::new_spinner());
            line.set_style(style("    {prefix:<16} {wide_msg:.dim}"));
            line.set_prefix(subject.clone());
            self.lines.insert(subject.clone(), line);
        }
        if !self.ui.draws_progress() {
            self.ui.note(title);
        }
        self.head = Some((head, title.to_owned()));
    }

    fn say(&self, text: &str) {
        if let Some((head, _)) = &self.head {
            head.set_message(text.to_owned());
        }
    }

    fn waiting(&mut self, unmet: &[Unmet]) {
        self.say("");
        for (subject, line) in &self.lines {
            match unmet.iter().find(|u| u.subject == *subject) {
                Some(unmet) => line.set_message(unmet.why.clone()),
                None => line.set_message("✓"),
            }
        }
        if !self.ui.draws_progress() && !unmet.is_empty() && self.reminded.elapsed() >= REMIND {
            self.reminded = Instant::now();
            let reasons: Vec<_> = unmet.iter().map(|u| u.why.as_str()).collect();
            self.ui.note(format!("  waiting: {}", reasons.join("; ")));
        }
    }

    fn done(&mut self, took: Duration) {
        let Some((_, title)) = &self.head else { return };
        let mark = self.ui.paint_stderr(Tone::Good, "✓");
        let text = format!("{mark} {title} ({:.1} s)", took.as_secs_f64());
        self.clear();
        self.ui.note(text);
    }

    fn clear(&mut self) {
        for line in std::mem::take(&mut self.lines).into_values() {
            line.finish_and_clear();
        }
        if let Some((head, _)) = self.head.take() {
            head.finish_and_clear();
        }
    }
}
