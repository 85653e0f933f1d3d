//! A command in a container for a person: with a terminal of its own where there is one, as a pipe where there is not.

use std::io::IsTerminal;

use bollard::Docker;
use bollard::errors::Error;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bollard::query_parameters::ResizeExecOptionsBuilder;
use futures_util::StreamExt;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use super::container::Container;
use bollard::container::LogOutput;

/// Runs a command with this process's stdin, stdout and stderr; its exit code is the result.
pub async fn run(container: &Container, user: &str, argv: &[&str]) -> Result<i64, Error> {
    let docker = &container.docker;
    let tty = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let config = ExecConfig {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(tty),
        user: (!user.is_empty()).then(|| user.to_owned()),
        env: tty.then(|| vec![format!("TERM={}", std::env::var("TERM").unwrap_or_else(|_| "xterm".into()))]),
        cmd: Some(argv.iter().map(|arg| (*arg).to_owned()).collect()),
        ..ExecConfig::default()
    };
    let id = docker.create_exec(&container.id, config).await?.id;
    let options = StartExecOptions { tty, ..StartExecOptions::default() };
    let StartExecResults::Attached { mut output, mut input } = docker.start_exec(&id, Some(options)).await? else {
        return Err(Error::IOError { err: std::io::Error::other("the command was detached") });
    };
    let _raw = tty.then(RawMode::enter).flatten();
    let follow = tty.then(|| tokio::spawn(follow_size(docker.clone(), id.clone())));
    let feed = tokio::spawn(async move {
        let mut stdin = tokio::io::stdin();
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = stdin.read(&mut buffer).await {
            if input.write_all(&buffer[..count]).await.is_err() || input.flush().await.is_err() {
                return;
            }
        }
        let _ = input.shutdown().await;
    });
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    let mut unread = false;
    while let Some(part) = output.next().await {
        // A reader of ours that went away (`| head`) ends the show, not with an error.
        let written = match part? {
            LogOutput::StdErr { message } => stderr.write_all(&message).await,
            LogOutput::StdOut { message } | LogOutput::Console { message } => stdout.write_all(&message).await,
            LogOutput::StdIn { .. } => Ok(()),
        };
        if written.is_err() || stdout.flush().await.is_err() {
            unread = true;
            break;
        }
    }
    let _ = stderr.flush().await;
    feed.abort();
    if let Some(follow) = follow {
        follow.abort();
    }
    if unread { Ok(0) } else { super::exec::status(docker, &id).await }
}

/// Tells the container's terminal the size of ours, now and whenever it changes.
async fn follow_size(docker: Docker, id: String) {
    let Ok(mut changed) = signal(SignalKind::window_change()) else { return };
    loop {
        if let Ok(size) = tcgetwinsize(std::io::stdout()) {
            let options = ResizeExecOptionsBuilder::default().h(size.ws_row.into()).w(size.ws_col.into()).build();
            // A program in a terminal of the wrong size is a nuisance, no failure.
            let _ = docker.resize_exec(&id, options).await;
        }
        changed.recv().await;
    }
}

/// Keys reach the program in the container unread; undone when dropped.
struct RawMode(Termios);

impl RawMode {
    fn enter() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
