//! The plan as text.

use super::ui::{Report, Tone, Ui};
use crate::plan::PlanReport;
use crate::plan::report::Line;

impl Report for PlanReport {
    fn text(&self, ui: &Ui) -> String {
        let mut text = String::new();
        for line in self.lines() {
            match line {
                Line::Head(head) => text.push_str(&ui.paint(Tone::Head, &head)),
                Line::Plain(plain) => text.push_str(&plain),
                Line::Added(added) => text.push_str(&ui.paint(Tone::Good, &added)),
                Line::Removed(removed) => text.push_str(&ui.paint(Tone::Bad, &removed)),
            }
            text.push('\n');
        }
        text
    }
}
