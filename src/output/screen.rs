//! A report that is shown again and again in the same place. Without a terminal each round is simply printed.

use std::io::IsTerminal;

use super::ui::{Report, Tone, Ui};
use crate::error::CommandError;

/// Puts the cursor into the upper left corner.
const HOME: &str = "\u{1b}[H";
/// Wipes the rest of a line, so that nothing of the round before shines through.
const WIPE_LINE: &str = "\u{1b}[K";
/// Cuts lines at the right margin instead of going on below, where they would push the head out.
const CUT: &str = "\u{1b}[?7l";
/// Undoes [`CUT`].
const WRAP: &str = "\u{1b}[?7h";
/// Wipes everything below.
const WIPE_BELOW: &str = "\u{1b}[J";

/// Draws rounds of a report.
#[derive(Debug)]
pub struct Screen {
    terminal: bool,
    rounds: u64,
}

impl Default for Screen {
    fn default() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), rounds: 0 }
    }
}

impl Screen {
    /// Shows a round. `title` says when it was seen and how to leave; it stands above the report on a terminal only.
    pub fn show<R: Report>(&mut self, ui: &Ui, title: &str, report: &R) -> Result<(), CommandError> {
        self.rounds += 1;
        if ui.json() || !self.terminal {
            if self.rounds > 1 && !ui.json() {
                ui.print("\n");
            }
            return ui.result(report);
        }
        let start = if self.rounds == 1 { "\u{1b}[2J" } else { "" };
        let text = format!("{}\n\n{}", ui.paint(Tone::Faint, title), report.text(ui));
        ui.print(&format!("{start}{HOME}{CUT}{}{WRAP}{WIPE_BELOW}", frame(&text, rows())));
        Ok(())
    }
}

/// As many lines as fit; a longer report would scroll and leave its head behind.
fn frame(text: &str, rows: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let end = |line: &str| format!("{line}{WIPE_LINE}\r\n");
    if lines.len() < rows {
        return lines.into_iter().map(end).collect();
    }
    let shown = rows.saturating_sub(2);
    let more = format!("… {} more lines", lines.len() - shown);
    lines.into_iter().take(shown).chain([more.as_str()]).map(end).collect()
}

/// Height of the terminal in lines; without one that tells, all of the report is shown.
fn rows() -> usize {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_row > 0 => size.ws_row.into(),
        _ => usize::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_longer_than_the_terminal_is_cut_and_says_so() {
        let text = "1\n2\n3\n4\n5\n6\n";
        assert_eq!(frame(text, 7).matches("\r\n").count(), 6);
        let cut = frame(text, 5);
        assert_eq!(cut.matches("\r\n").count(), 4, "one line stays free for the cursor");
        assert!(cut.contains("… 3 more lines"), "{cut:?}");
    }
}
