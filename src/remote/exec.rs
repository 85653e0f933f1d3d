//! Commands in containers: run to the end, or as a stream to talk to.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// A command that closed its output ends within this, or leaves somebody behind.
const ENDED: Duration = Duration::from_secs(5);
/// Between two questions whether it has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What a finished command left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Exit code.
    pub status: i64,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub stderr: Vec<u8>,
}

impl ExecOutput {
    /// stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Runs a command in a container, feeds it, and collects what it writes. Secrets go through stdin, never through `argv`.
pub async fn run(docker: &Docker, container: &str, user: &str, argv: &[&str], stdin: Bytes) -> Result<ExecOutput, Error> {
    let (id, mut output, mut input) = start(docker, container, user, argv).await?;
    let feed = async {
        // A command that ends without reading all its input is judged by its status.
        if !stdin.is_empty() {
            let _ = input.write_all(&stdin).await;
        }
        let _ = input.shutdown().await;
    };
    let collect = async {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(part) = output.next().await {
            match part? {
                LogOutput::StdErr { message } => stderr.extend_from_slice(&message),
                LogOutput::StdOut { message } | LogOutput::Console { message } => stdout.extend_from_slice(&message),
                LogOutput::StdIn { .. } => {}
            }
        }
        Ok::<_, Error>((stdout, stderr))
    };
    let ((), collected) = tokio::join!(feed, collect);
    let (stdout, stderr) = collected?;
    Ok(ExecOutput { status: status(docker, &id).await?, stdout, stderr })
}

/// The exit code of a command whose output has ended. The daemon hears of its end from elsewhere and may know it a moment later; until
/// then it says that the command runs, and no code.
pub async fn status(docker: &Docker, id: &str) -> Result<i64, Error> {
    let asked = Instant::now();
    loop {
        if let Some(code) = docker.inspect_exec(id).await?.exit_code {
            return Ok(code);
        }
        if asked.elapsed() > ENDED {
            return Err(Error::IOError { err: io::Error::other("the command has closed its output and does not end") });
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Starts a command whose stdin and stdout are a stream, such as `socat - TCP:etcd-1:2379`.
pub async fn stream(docker: &Docker, container: &str, user: &str, argv: &[&str]) -> Result<ExecStream, Error> {
    let (_, output, input) = start(docker, container, user, argv).await?;
    Ok(ExecStream { output, input, pending: Bytes::new(), complaint: BytesMut::new() })
}

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>;
type Input = Pin<Box<dyn AsyncWrite + Send>>;

async fn start(docker: &Docker, container: &str, user: &str, argv: &[&str]) -> Result<(String, Output, Input), Error> {
    let config = ExecConfig {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        user: (!user.is_empty()).then(|| user.to_owned()),
        cmd: Some(argv.iter().map(|arg| (*arg).to_owned()).collect()),
        ..ExecConfig::default()
    };
    let id = docker.create_exec(container, config).await?.id;
    match docker.start_exec(&id, None::<StartExecOptions>).await? {
        StartExecResults::Attached { output, input } => Ok((id, output, input)),
        StartExecResults::Detached => Err(Error::IOError { err: io::Error::other("the command was detached") }),
    }
}

/// A command's stdin and stdout. What it writes to stderr becomes the error of a read at its end.
pub struct ExecStream {
    output: Output,
    input: Input,
    pending: Bytes,
    complaint: BytesMut,
}

impl std::fmt::Debug for ExecStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecStream").finish_non_exhaustive()
    }
}

impl AsyncRead for ExecStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.pending.is_empty() {
                let count = self.pending.len().min(buffer.remaining());
                buffer.put_slice(&self.pending[..count]);
                self.pending.advance(count);
                return Poll::Ready(Ok(()));
            }
            match std::task::ready!(self.output.as_mut().poll_next(cx)) {
                Some(Ok(LogOutput::StdOut { message } | LogOutput::Console { message })) => self.pending = message,
                Some(Ok(LogOutput::StdErr { message })) => self.complaint.extend_from_slice(&message),
                Some(Ok(LogOutput::StdIn { .. })) => {}
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None if self.complaint.is_empty() => return Poll::Ready(Ok(())),
                None => {
                    let text = String::from_utf8_lossy(&self.complaint).trim().to_owned();
                    self.complaint.clear();
                    return Poll::Ready(Err(io::Error::other(text)));
                }
            }
        }
    }
}

impl AsyncWrite for ExecStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.input.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_shutdown(cx)
    }
}
