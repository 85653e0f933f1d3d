//! One SSH session per host: commands, and streams to Unix domain sockets, over a single TCP connection.
//!
//! ```no_run
//! # async fn example(host: &pgclusterctl::topology::model::Host) -> Result<(), pgclusterctl::remote::ssh::SshError> {
//! use pgclusterctl::remote::ssh::{Ssh, SshOptions, SshTarget};
//!
//! let ssh = Ssh::connect(&SshTarget::from(host), &SshOptions::default()).await?;
//! let output = ssh.run("uname -r", "").await?;             // status, stdout, stderr
//! let socket = ssh.dial_unix("/var/run/docker.sock").await?; // AsyncRead + AsyncWrite
//! # Ok(()) }
//! ```
//!
//! A clone is another handle on the same session; the session ends with its last handle and its last stream. Each session has
//! one thread ([`pump`]) that alone touches libssh2; nothing here blocks the tokio runtime. Deadlines of commands are the
//! caller's business (`tokio::time::timeout`: dropping a future closes its channel); connecting has its own, and a host that
//! vanishes ends every stream with an error after [`SshOptions::vanish_after`].

mod error;
mod line;
mod login;
mod opening;
mod pump;
mod stream;

use std::net::{IpAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use rustix::event::{EventfdFlags, eventfd};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

pub use error::{SshError, UnknownHostKey};
pub use stream::SshStream;

use crate::topology::ids::HostName;
use crate::topology::model::Host;
use line::Exited;
use opening::{Opening, Purpose};
use pump::{Command, Pump};

/// sshd allows ten session channels per connection unless told otherwise (`MaxSessions`); two are left for its slowness in
/// closing them and for the channel that keeps an idle session alive. Forwarded sockets do not count.
const COMMANDS_AT_ONCE: usize = 8;

/// How much later than the thread's own deadline the async side gives up on it: an SSH agent may hang without limit.
const GRACE: Duration = Duration::from_secs(1);

/// A host and how to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshTarget {
    /// Host as the topology calls it.
    pub host: HostName,
    /// Address of its sshd.
    pub address: IpAddr,
    /// Port of its sshd.
    pub port: u16,
    /// Login name.
    pub user: String,
    /// Private key file; `None` asks the SSH agent.
    pub identity: Option<PathBuf>,
    /// File against which the host key is verified.
    pub known_hosts: PathBuf,
    /// Pinned host key (`ssh-ed25519 AAAA…`); beats known_hosts.
    pub host_key: Option<String>,
}

impl From<&Host> for SshTarget {
    fn from(host: &Host) -> Self {
        Self {
            host: host.name.clone(),
            address: host.address.into(),
            port: host.ssh.port,
            user: host.ssh.user.clone(),
            identity: host.ssh.identity.clone(),
            known_hosts: host.ssh.known_hosts.clone(),
            host_key: host.ssh.host_key.clone(),
        }
    }
}

/// Patience with a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SshOptions {
    /// For the TCP connection alone: the kernel of a host that lives answers at once, however busy its sshd is.
    pub reach_timeout: Duration,
    /// From the first packet to the finished login.
    pub connect_timeout: Duration,
    /// How long a connected host may leave data unacknowledged, or keepalives unanswered, before it counts as gone.
    pub vanish_after: Duration,
}

impl Default for SshOptions {
    fn default() -> Self {
        Self {
            reach_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            vanish_after: Duration::from_secs(5),
        }
    }
}

/// A handle on a host's session.
#[derive(Debug, Clone)]
pub struct Ssh {
    host: HostName,
    shared: Arc<Shared>,
    commands: Arc<Semaphore>,
}

#[derive(Debug)]
struct Shared {
    /// In a mutex only because a sender cannot be shared otherwise; held for one push.
    sender: Mutex<Sender<Command>>,
    bell: OwnedFd,
    lost: Arc<OnceLock<String>>,
}

impl Shared {
    fn send(&self, command: Command) -> bool {
        let sent = self.sender.lock().is_ok_and(|sender| sender.send(command).is_ok());
        // A bell that is full rings anyway.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        sent
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.send(Command::Release);
    }
}

/// What a finished command left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit status; -1 when a signal ended it.
    pub status: i32,
    /// Name of that signal without `SIG`, e.g. `KILL`.
    pub signal: Option<String>,
    /// Everything it wrote to stdout.
    pub stdout: Vec<u8>,
    /// The first 256 KiB that it wrote to stderr.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Whether the status is 0.
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// stdout as trimmed text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// stderr as trimmed text.
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }
}

/// A running remote command.
#[derive(Debug)]
pub struct Process {
    host: HostName,
    /// Its stdin and stdout. Dropping it closes the channel, whereupon the command gets a hang-up or a broken pipe.
    pub stream: SshStream,
    exit: oneshot::Receiver<Exited>,
    lost: Arc<OnceLock<String>>,
    _permit: OwnedSemaphorePermit,
}

impl Process {
    /// Waits for the end: read stdout to its end first. `stdout` of the result is empty.
    pub async fn wait(self) -> Result<Output, SshError> {
        let Exited { status, signal, stderr } = self.exit.await.map_err(|_| lost_error(&self.host, &self.lost))?;
        Ok(Output { status, signal, stdout: Vec::new(), stderr })
    }
}

impl Ssh {
    /// Connects, verifies the host key and logs in.
    pub async fn connect(target: &SshTarget, options: &SshOptions) -> Result<Self, SshError> {
        let local = |what| {
            let host = target.host.clone();
            move |source: std::io::Error| SshError::Local { host, what, source }
        };
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map_err(|errno| local("create an eventfd")(errno.into()))?;
        let thread_bell = bell.try_clone().map_err(local("duplicate an eventfd"))?;
        let (sender, receiver) = channel();
        let lost = Arc::new(OnceLock::new());
        let (reply, answer) = oneshot::channel();

        let thread =
            Thread { target: target.clone(), options: *options, bell: thread_bell, commands: receiver, lost: lost.clone() };
        std::thread::Builder::new()
            .name(format!("ssh {}", target.host))
            .spawn(move || thread.run(reply))
            .map_err(local("start a thread"))?;

        let timeout = || SshError::Timeout { host: target.host.clone(), after: options.connect_timeout };
        match tokio::time::timeout(options.connect_timeout + GRACE, answer).await {
            Ok(Ok(result)) => result?,
            Ok(Err(_)) => return Err(lost_error(&target.host, &lost)),
            Err(_) => return Err(timeout()),
        }
        Ok(Self {
            host: target.host.clone(),
            shared: Arc::new(Shared { sender: Mutex::new(sender), bell, lost }),
            commands: Arc::new(Semaphore::new(COMMANDS_AT_ONCE)),
        })
    }

    /// The host.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// Why the session is over; `None` while it stands.
    pub fn lost(&self) -> Option<SshError> {
        self.shared.lost.get().map(|_| lost_error(&self.host, &self.shared.lost))
    }

    /// Runs a command line in the user's shell, feeds it, and collects what it writes. A failing command is no error here; see
    /// [`Self::run_ok`]. The command line is visible in the host's process list: secrets go through stdin.
    pub async fn run(&self, command: &str, stdin: impl Into<Bytes>) -> Result<Output, SshError> {
        let stdin: Bytes = stdin.into();
        self.run_with(command, &stdin[..]).await
    }

    /// [`Self::run`] that turns a status other than 0 into [`SshError::Command`].
    pub async fn run_ok(&self, command: &str, stdin: impl Into<Bytes>) -> Result<Output, SshError> {
        let output = self.run(command, stdin).await?;
        if output.success() {
            return Ok(output);
        }
        Err(SshError::Command {
            host: self.host.clone(),
            command: command.to_owned(),
            status: output.status,
            stderr: output.error_text(),
        })
    }

    /// [`Self::run`] with stdin from a reader, for input that does not fit into memory such as an image. Reading it stops when
    /// the command ends; an error of the reader ends the command's input early and is reported.
    pub async fn run_with(&self, command: &str, mut stdin: impl AsyncRead + Unpin) -> Result<Output, SshError> {
        let Process { mut stream, mut exit, lost, _permit, .. } = self.spawn(command).await?;
        let (mut from, mut to) = tokio::io::split(&mut stream);
        let mut buffer = vec![0; 64 * 1024];
        let feed = async {
            loop {
                let count = stdin.read(&mut buffer).await?;
                // A command that ends without reading all its input is judged by its status.
                if count == 0 || to.write_all(&buffer[..count]).await.is_err() {
                    let _ = to.shutdown().await;
                    return Ok::<(), std::io::Error>(());
                }
            }
        };
        let fed_or_ended = async {
            tokio::select! {
                exited = &mut exit => Ok(Some(exited)),
                fed = feed => fed.map(|()| None),
            }
        };
        let mut stdout = Vec::new();
        let ended = tokio::try_join!(fed_or_ended, from.read_to_end(&mut stdout));
        let exited = match ended {
            Ok((Some(exited), _)) => exited,
            Ok((None, _)) => exit.await,
            Err(_) if lost.get().is_some() => return Err(lost_error(&self.host, &lost)),
            Err(source) => return Err(SshError::Local { host: self.host.clone(), what: "feed a remote command", source }),
        };
        let Exited { status, signal, stderr } = exited.map_err(|_| lost_error(&self.host, &lost))?;
        Ok(Output { status, signal, stdout, stderr })
    }

    /// Starts a command and hands out its stdin and stdout. Eight commands run at once per host, further ones wait.
    pub async fn spawn(&self, command: &str) -> Result<Process, SshError> {
        let permit = self.commands.clone().acquire_owned().await.map_err(|_| lost_error(&self.host, &self.shared.lost))?;
        let (sender, exit) = oneshot::channel();
        let stream = self.open(Purpose::Exec(command.to_owned(), sender), || format!("command `{command}`")).await?;
        Ok(Process { host: self.host.clone(), stream, exit, lost: self.shared.lost.clone(), _permit: permit })
    }

    /// Connects to a Unix domain socket on the host.
    pub async fn dial_unix(&self, path: &str) -> Result<SshStream, SshError> {
        self.open(Purpose::Socket(path.to_owned()), || format!("socket {path}")).await
    }

    async fn open(&self, purpose: Purpose, what: impl FnOnce() -> String) -> Result<SshStream, SshError> {
        let local = |source| SshError::Local { host: self.host.clone(), what: "create a socket pair", source };
        let (here, there) = std::os::unix::net::UnixStream::pair().map_err(local)?;
        here.set_nonblocking(true).map_err(local)?;
        there.set_nonblocking(true).map_err(local)?;
        let inner = UnixStream::from_std(here).map_err(local)?;
        let clean = Arc::new(AtomicBool::new(false));
        let (reply, answer) = oneshot::channel();
        let sent = self.shared.send(Command::Open(Opening::new(purpose, there, clean.clone(), reply)));
        if !sent {
            return Err(lost_error(&self.host, &self.shared.lost));
        }
        match answer.await {
            Ok(Ok(())) => Ok(SshStream { host: self.host.clone(), inner, clean, lost: self.shared.lost.clone() }),
            Ok(Err(reason)) => Err(SshError::Channel { host: self.host.clone(), what: what(), reason }),
            Err(_) => Err(lost_error(&self.host, &self.shared.lost)),
        }
    }
}

fn lost_error(host: &HostName, lost: &OnceLock<String>) -> SshError {
    let reason = lost.get().map_or("the session has ended", String::as_str).to_owned();
    SshError::Lost { host: host.clone(), reason }
}

/// What the session's thread starts with.
struct Thread {
    target: SshTarget,
    options: SshOptions,
    bell: OwnedFd,
    commands: Receiver<Command>,
    lost: Arc<OnceLock<String>>,
}

impl Thread {
    fn run(self, reply: oneshot::Sender<Result<(), SshError>>) {
        let login: Result<(ssh2::Session, TcpStream), SshError> = login::login(&self.target, &self.options);
        match login {
            Err(error) => drop(reply.send(Err(error))),
            // A login that nobody waits for any more ends here.
            Ok((session, socket)) => {
                if reply.send(Ok(())).is_ok() {
                    Pump::new(session, socket, self.bell, self.commands, self.lost).run();
                }
            }
        }
    }
}
