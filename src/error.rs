//! Kinds of failure, exit codes, hints, and the only place that prints an error.
//!
//! Modules define their own `thiserror` enums; each implements [`Failure`], which says what kind it is and what to do next.
//! At the command boundary they all become a [`CommandError`].

use std::fmt;

/// The exit codes of the program, documented in the README and stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything that was asked for is so.
    Ok = 0,
    /// A bug or an unforeseen failure of this program.
    Internal = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// The topology is invalid; nothing was touched.
    Topology = 3,
    /// A host cannot be reached or refuses the login.
    Unreachable = 4,
    /// The cluster is unhealthy, something is pending under `--check`, or a drill failed.
    Unhealthy = 5,
    /// Refused: unsafe, without consent, or locked by another operator.
    Refused = 6,
    /// Some of it is done, some is not; run it again. Of a drill: not all runs could be carried out, and the others passed.
    Partial = 7,
    /// Interrupted by the operator.
    Interrupted = 130,
}

/// What every module's error can say besides its message.
pub trait Failure: std::error::Error + Send + Sync + 'static {
    /// Exit code of a command that ends with this error.
    fn exit(&self) -> Exit;

    /// What to do next, most useful first; each a full sentence or a command line.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }
}

/// An error at the boundary of a command: a message, its chain of causes, hints and an exit code.
#[derive(Debug)]
pub struct CommandError {
    exit: Exit,
    hints: Vec<String>,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl CommandError {
    /// An error that exists only at the command's own level, such as a missing confirmation.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, hints: Vec::new(), source: message.into().into() }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same where something was done already: exit 7, and this instead of the advice to run the same command again.
    #[must_use]
    pub fn half_way(mut self, hint: impl Into<String>) -> Self {
        if self.exit != Exit::Interrupted {
            self.exit = Exit::Partial;
        }
        self.hints.retain(|hint| !hint.contains("the same command again"));
        self.hints.push(hint.into());
        self
    }

    /// The same of work that was interrupted because another operator took the cluster's lock: nobody here asked it to stop.
    #[must_use]
    pub fn taken_over(self) -> Self {
        Self { exit: Exit::Partial, hints: self.hints, source: Box::new(TakenOver(self.source)) }
    }

    /// The exit code of the process.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// What to do next.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }
}

#[derive(Debug, thiserror::Error)]
#[error("another operator took the cluster's lock")]
struct TakenOver(#[source] Box<dyn std::error::Error + Send + Sync>);

impl<E: Failure> From<E> for CommandError {
    fn from(error: E) -> Self {
        Self { exit: error.exit(), hints: error.hints(), source: Box::new(error) }
    }
}

impl fmt::Display for CommandError {
    /// The message and, indented below it, each cause that adds something, then the hints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.source.to_string();
        write!(f, "{shown}")?;
        let mut cause = self.source.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Many libraries repeat their source inside their own message; say it once.
            if !shown.contains(&text) {
                write!(f, "\n  because: {text}")?;
                shown = text;
            }
            cause = error.source();
        }
        for hint in &self.hints {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// An error with its causes in one line, for a table's cell or a list.
pub fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // Many libraries repeat their source inside their own message; say it once.
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Prints an error to stderr; `color` makes the leading word red.
pub fn report(error: &CommandError, color: bool) {
    let word = if color { "\u{1b}[1;31merror\u{1b}[0m" } else { "error" };
    eprintln!("{word}: {error}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("host1: cannot log in")]
    struct Login(#[source] std::io::Error);

    impl Failure for Login {
        fn exit(&self) -> Exit {
            Exit::Unreachable
        }

        fn hints(&self) -> Vec<String> {
            vec!["check [ssh] user".into()]
        }
    }

    #[test]
    fn an_error_says_what_why_and_what_next() {
        let error = CommandError::from(Login(std::io::Error::other("permission denied")));
        assert_eq!(error.exit(), Exit::Unreachable);
        assert_eq!(error.to_string(), "host1: cannot log in\n  because: permission denied\n  hint: check [ssh] user");
    }

    #[test]
    fn half_way_another_way_may_lead_on() {
        let error = CommandError::new(Exit::Refused, "no").hint("look").hint("run the same command again");
        let error = error.half_way("run `up`");
        assert_eq!((error.exit(), error.hints()), (Exit::Partial, &["look".to_owned(), "run `up`".to_owned()][..]));
        assert_eq!(CommandError::new(Exit::Interrupted, "no").half_way("x").exit(), Exit::Interrupted);
    }

    #[test]
    fn who_lost_the_lock_is_told_so_and_what_was_left() {
        let error = CommandError::new(Exit::Interrupted, "interrupted: 1 of 2").hint("again").taken_over();
        assert_eq!(error.exit(), Exit::Partial);
        let told = "another operator took the cluster's lock\n  because: interrupted: 1 of 2\n  hint: again";
        assert_eq!(error.to_string(), told);
    }

    #[test]
    fn one_line_tells_the_causes_too() {
        assert_eq!(one_line(&Login(std::io::Error::other("permission\ndenied"))), "host1: cannot log in: permission denied");
    }
}
