//! The one place that writes to the terminal: results to stdout, notes, questions and progress to stderr.

use std::io::{BufRead, IsTerminal, Write};

use indicatif::MultiProgress;
use serde::Serialize;

use crate::consent::Consent;
use crate::error::{CommandError, Exit};

/// A command's result: a table for people and JSON for programs are two views of one struct.
pub trait Report: Serialize {
    /// The text for people, ending in a newline.
    fn text(&self, ui: &Ui) -> String;
}

/// How this run talks to its operator. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ui {
    json: bool,
    quiet: bool,
    yes: bool,
    color_stdout: bool,
    color_stderr: bool,
    interactive: bool,
    progress: MultiProgress,
}

impl Ui {
    /// `color` false forces plain text; otherwise colours show where a terminal is.
    pub fn new(json: bool, quiet: bool, yes: bool, color: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let progress = MultiProgress::new();
        if quiet || !terminal {
            progress.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        Self {
            json,
            quiet,
            yes,
            color_stdout: color && std::io::stdout().is_terminal(),
            color_stderr: color && terminal,
            interactive: std::io::stdin().is_terminal() && terminal,
            progress,
        }
    }

    /// Whether results are printed as JSON.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Whether stdout shows colours.
    pub fn color(&self) -> bool {
        self.color_stdout
    }

    /// Whether stderr shows colours.
    pub fn color_stderr(&self) -> bool {
        self.color_stderr
    }

    /// Bars and spinners are added here; hidden without a terminal.
    pub fn progress(&self) -> &MultiProgress {
        &self.progress
    }

    /// Whether progress is drawn; otherwise steps are told line by line with [`Ui::note`].
    pub fn draws_progress(&self) -> bool {
        !self.progress.is_hidden()
    }

    /// Prints a result to stdout.
    pub fn result<R: Report>(&self, report: &R) -> Result<(), CommandError> {
        let text = if self.json {
            let mut text = serde_json::to_string_pretty(report)
                .map_err(|e| CommandError::new(Exit::Internal, format!("the result cannot be written as JSON: {e}")))?;
            text.push('\n');
            text
        } else {
            report.text(self)
        };
        self.print(&text);
        Ok(())
    }

    /// Shows a report that is not the result, such as the plan that consent is asked for, on stderr.
    pub fn aside<R: Report>(&self, report: &R) {
        let text = report.text(self);
        self.note(text.trim_end());
    }

    /// Prints text to stdout; a reader that went away (`| head`) is no error.
    pub fn print(&self, text: &str) {
        self.progress.suspend(|| {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        });
    }

    /// Tells the operator something that is not the result; silent with `--quiet`.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            self.progress.suspend(|| eprintln!("{}", text.as_ref()));
        }
    }

    /// A warning: shown also with `--quiet`.
    pub fn warn(&self, text: impl AsRef<str>) {
        let word = self.paint_stderr(Tone::Odd, "warning");
        self.progress.suspend(|| eprintln!("{word}: {}", text.as_ref()));
    }

    /// Colours a word for stdout by what it means.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        paint(self.color_stdout, tone, text)
    }

    /// Colours a word for stderr by what it means.
    pub fn paint_stderr(&self, tone: Tone, text: &str) -> String {
        paint(self.color_stderr, tone, text)
    }

    /// Refuses where nobody could answer that question, before all that has to be looked at to ask it.
    pub fn require_answerer(&self, question: &str) -> Result<(), CommandError> {
        if self.yes || self.interactive { Ok(()) } else { Err(nobody(question, YES)) }
    }

    /// Whether somebody is there to see and answer, and has not said yes to everything before: for what nobody has asked for.
    pub fn can_offer(&self) -> bool {
        self.interactive && !self.yes && !self.quiet
    }

    /// Asks a yes/no question whose default is no. `--yes` answers it; without a terminal and without `--yes` it is refused.
    pub fn confirm(&self, question: &str) -> Result<Consent, CommandError> {
        if self.yes {
            return Ok(Consent::given());
        }
        let answer = self.ask(&format!("{question} [y/N] "), YES)?;
        if matches!(answer.as_str(), "y" | "Y" | "yes") { Ok(Consent::given()) } else { Err(declined()) }
    }

    /// Asks to type a name before something is lost for good. `given` is the name from the command line, if any.
    pub fn confirm_by_name(&self, warning: &str, name: &str, given: Option<&str>) -> Result<Consent, CommandError> {
        let typed = match given {
            Some(given) => given.to_owned(),
            None => self.ask(
                &format!("{warning}\nType {name} to go on: "),
                &format!("give the cluster's name on the command line: --confirm {name}"),
            )?,
        };
        if typed == name {
            return Ok(Consent::given());
        }
        Err(CommandError::new(Exit::Refused, format!("'{typed}' is not '{name}'; nothing was changed")))
    }

    fn ask(&self, prompt: &str, otherwise: &str) -> Result<String, CommandError> {
        if !self.interactive {
            return Err(nobody(prompt, otherwise));
        }
        self.progress.suspend(|| {
            eprint!("{prompt}");
            let mut line = String::new();
            std::io::stdin()
                .lock()
                .read_line(&mut line)
                .map_err(|e| CommandError::new(Exit::Refused, format!("the answer cannot be read: {e}")))?;
            Ok(line.trim().to_owned())
        })
    }
}

/// What a coloured word means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Broken.
    Bad,
    /// Worth a look.
    Odd,
    /// A heading.
    Head,
    /// Background information.
    Faint,
}

fn paint(color: bool, tone: Tone, text: &str) -> String {
    if !color {
        return text.to_owned();
    }
    let code = match tone {
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Odd => "33",
        Tone::Head => "1",
        Tone::Faint => "2",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// How a yes is given without a terminal.
const YES: &str = "repeat the command with --yes";

fn nobody(prompt: &str, otherwise: &str) -> CommandError {
    CommandError::new(Exit::Refused, format!("this needs an answer, and there is no terminal: {prompt}")).hint(otherwise)
}

fn declined() -> CommandError {
    CommandError::new(Exit::Refused, "declined; nothing was changed")
}
