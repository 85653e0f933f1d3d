//! Runs a long-winded program of this machine: its last line beside a spinner, all of its output in a file that is kept.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;

use super::error::{ImageError, file};
use crate::output::Step;

/// Lines of a failed program's output that its error shows.
const TAIL: usize = 20;

/// How to get the `docker` command.
const DOCKER_HINT: &str = "Debian and Ubuntu: apt-get install docker.io, and docker-cli where that is a package of its own";

/// The `docker` command. It ends with us: what the engine does for it, the engine then gives up by itself.
pub fn docker() -> Command {
    let mut command = Command::new("docker");
    command.kill_on_drop(true);
    // BuildKit draws on a terminal; its plain output has one line per event, as the older builder's has.
    command.env("BUILDKIT_PROGRESS", "plain").env("DOCKER_CLI_HINTS", "false");
    command
}

/// Runs a program to its end. All of its output goes to the log. Ctrl-C reaches it as it reaches us.
pub async fn run(step: &Step, doing: &str, log_name: &str, mut command: Command) -> Result<(), ImageError> {
    let path = log_path(log_name)?;
    let mut log = File::create(&path).await.map_err(file(&path, "written"))?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let hint = if program == "docker" { DOCKER_HINT } else { "install it, and see that PATH leads to it" };
    let mut child = command.spawn().map_err(|source| ImageError::Program { program: program.clone(), source, hint })?;

    let (lines, mut seen) = mpsc::channel(64);
    if let Some(out) = child.stdout.take() {
        tokio::spawn(forward(out, lines.clone()));
    }
    if let Some(err) = child.stderr.take() {
        tokio::spawn(forward(err, lines.clone()));
    }
    drop(lines);
    let mut tail = VecDeque::with_capacity(TAIL);
    while let Some(line) = seen.recv().await {
        log.write_all(format!("{line}\n").as_bytes()).await.map_err(file(&path, "written"))?;
        let line = line.trim_end().to_owned();
        if !line.is_empty() {
            step.at(line.trim());
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(format!("    {line}"));
        }
    }
    log.flush().await.map_err(file(&path, "written"))?;
    let status = child.wait().await.map_err(|source| ImageError::Program { program, source, hint })?;
    if status.success() {
        return Ok(());
    }
    let tail = Vec::from(tail).join("\n");
    Err(ImageError::Failed { doing: doing.to_owned(), tail, log: path })
}

/// Sends a stream's lines; a line that is no UTF-8 is sent as well as it can be.
async fn forward(stream: impl AsyncRead + Unpin, lines: mpsc::Sender<String>) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while matches!(stream.read_until(b'\n', &mut line).await, Ok(n) if n > 0) {
        // A progress bar of the program overwrites its line: what stands there last is what counts.
        let text = String::from_utf8_lossy(&line);
        let text = without_colors(text.trim_end_matches(['\n', '\r']).rsplit('\r').next().unwrap_or_default());
        if lines.send(text).await.is_err() {
            return;
        }
        line.clear();
    }
}

/// The older builder paints what a build says on stderr, terminal or not: `ESC [ … letter`.
fn without_colors(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
        rest = rest.get(1..).unwrap_or_default();
    }
    plain.push_str(rest);
    plain
}

/// Where a log is kept: `$XDG_STATE_HOME/pgclusterctl`, by default `~/.local/state/pgclusterctl`.
fn log_path(name: &str) -> Result<PathBuf, ImageError> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(std::env::temp_dir);
    let folder = state.join("pgclusterctl");
    std::fs::create_dir_all(&folder).map_err(file(&folder, "created"))?;
    Ok(folder.join(format!("{name}.log")))
}

/// Where a program is, if PATH leads to it.
pub fn find(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join(program)).find(|path| Path::is_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Ui;

    #[tokio::test]
    async fn a_failure_shows_the_end_of_what_was_said() {
        let step = Step::start(&Ui::new(false, true, false, false), "saying");
        let mut command = Command::new("sh");
        command.args(["-c", "seq 1 30; echo at last >&2; exit 3"]);
        let error = run(&step, "saying", "test-tool", command).await.expect_err("exit 3");
        let ImageError::Failed { tail, log, .. } = error else { panic!("{error:?}") };
        assert_eq!(tail.lines().count(), TAIL);
        assert!(tail.contains("    at last"), "{tail}");
        assert_eq!(std::fs::read_to_string(&log).expect("a log").lines().count(), 31);
        let _ = std::fs::remove_file(log);
    }

    #[test]
    fn colors_are_taken_off() {
        assert_eq!(without_colors("\u{1b}[0m\u{1b}[91m   Compiling x\u{1b}[0m"), "   Compiling x");
        assert_eq!(without_colors("plain \u{1b}["), "plain ");
    }

    #[test]
    fn programs_are_found_in_path() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-anywhere"), None);
    }
}
