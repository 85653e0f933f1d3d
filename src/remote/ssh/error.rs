//! What can go wrong between here and a host's shell.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Exit, Failure};
use crate::remote::hostkey::HostKey;
use crate::topology::ids::HostName;

/// A failed connection, login, command or forwarded socket. Every variant names its host.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// No TCP connection.
    #[error("{host}: cannot connect to {address}:{port}")]
    Connect {
        /// Host as the topology calls it.
        host: HostName,
        /// Its address.
        address: IpAddr,
        /// Its port.
        port: u16,
        /// What the kernel said.
        source: io::Error,
    },
    /// The TCP connection stands, but the login took too long.
    #[error("{host}: no login within {} ms", after.as_millis())]
    Timeout {
        /// Host as the topology calls it.
        host: HostName,
        /// Time given.
        after: Duration,
    },
    /// Both sides speak SSH but find no common ground, or the peer does not speak SSH.
    #[error("{host}: the SSH handshake failed: {reason}")]
    Handshake {
        /// Host as the topology calls it.
        host: HostName,
        /// What libssh2 said.
        reason: String,
    },
    /// The host is not in known_hosts. The command layer may show this, ask, and call [`UnknownHostKey::accept`].
    #[error("{}: unknown host key ({}) {}", .0.host, .0.key.kind(), .0.key.fingerprint())]
    UnknownHostKey(Box<UnknownHostKey>),
    /// The host shows another key than the one on file or pinned in the topology: refused.
    #[error("{host}: the host key has changed: {expected} says otherwise than {} {}", shown.kind(), shown.fingerprint())]
    ChangedHostKey {
        /// Host as the topology calls it.
        host: HostName,
        /// Name of its entry in known_hosts.
        name: String,
        /// Where the expected key is written, e.g. `/root/.ssh/known_hosts:12` or `the topology's host_key`.
        expected: String,
        /// The file to correct; `None` when the key is pinned in the topology.
        known_hosts: Option<PathBuf>,
        /// The key that was shown.
        shown: Box<HostKey>,
    },
    /// known_hosts marks the key as revoked: refused.
    #[error("{host}: the host key is revoked by {}:{line}", known_hosts.display())]
    RevokedHostKey {
        /// Host as the topology calls it.
        host: HostName,
        /// The file that says so.
        known_hosts: PathBuf,
        /// The line there, counted from 1.
        line: usize,
    },
    /// known_hosts exists but cannot be read.
    #[error("{host}: cannot read {}", path.display())]
    KnownHosts {
        /// Host as the topology calls it.
        host: HostName,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The key pinned in the topology is not a public key.
    #[error("{host}: the topology's host_key is not a public key: {text:?}")]
    PinnedKey {
        /// Host as the topology calls it.
        host: HostName,
        /// What stands there.
        text: String,
    },
    /// The private key cannot be used.
    #[error("{host}: cannot use the private key {}: {reason}", path.display())]
    Identity {
        /// Host as the topology calls it.
        host: HostName,
        /// The key file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The private key has a passphrase, and the agent does not hold it.
    #[error("{host}: the private key {} has a passphrase and the SSH agent does not hold it ({agent})", path.display())]
    EncryptedIdentity {
        /// Host as the topology calls it.
        host: HostName,
        /// The key file.
        path: PathBuf,
        /// What the agent said.
        agent: String,
    },
    /// No identity is configured and the agent is of no help.
    #[error("{host}: the SSH agent cannot log in: {reason}")]
    Agent {
        /// Host as the topology calls it.
        host: HostName,
        /// Why not.
        reason: String,
    },
    /// sshd refused the login.
    #[error("{host}: login as {user} refused ({tried})")]
    LoginRefused {
        /// Host as the topology calls it.
        host: HostName,
        /// Login name.
        user: String,
        /// Which keys were tried, and what sshd would have accepted.
        tried: String,
    },
    /// sshd refused one command or forwarded socket; the session goes on.
    #[error("{host}: {what} refused: {reason}")]
    Channel {
        /// Host as the topology calls it.
        host: HostName,
        /// What was asked for, e.g. `socket /var/run/docker.sock`.
        what: String,
        /// What sshd said.
        reason: String,
    },
    /// The connection broke, or the host stopped answering.
    #[error("{host}: connection lost: {reason}")]
    Lost {
        /// Host as the topology calls it.
        host: HostName,
        /// What was noticed first.
        reason: String,
    },
    /// A command ran and failed; only from the functions that demand success.
    #[error("{host}: `{command}` failed with status {status}: {stderr}")]
    Command {
        /// Host as the topology calls it.
        host: HostName,
        /// The command line.
        command: String,
        /// Its exit status; -1 when a signal ended it.
        status: i32,
        /// What it wrote to stderr, trimmed.
        stderr: String,
    },
    /// A failure on the operator's own machine.
    #[error("{host}: {what}")]
    Local {
        /// Host that was to be reached.
        host: HostName,
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A host whose key nobody has vouched for yet.
#[derive(Debug, Clone)]
pub struct UnknownHostKey {
    /// Host as the topology calls it.
    pub host: HostName,
    /// Name of its entry in known_hosts: address, or `[address]:port`.
    pub name: String,
    /// The key it shows: type and fingerprint are for the operator's eyes.
    pub key: HostKey,
    /// The file in which it would become known.
    pub known_hosts: PathBuf,
}

impl UnknownHostKey {
    /// Adds the key to known_hosts. Only the operator's consent may lead here.
    pub fn accept(&self) -> io::Result<()> {
        crate::remote::hostkey::append(&self.known_hosts, &self.name, &self.key)
    }

    /// The line that [`Self::accept`] adds.
    pub fn line(&self) -> String {
        self.key.line(&self.name)
    }
}

impl SshError {
    /// The host it happened on.
    pub fn host(&self) -> &HostName {
        match self {
            Self::UnknownHostKey(unknown) => &unknown.host,
            Self::Connect { host, .. }
            | Self::Timeout { host, .. }
            | Self::Handshake { host, .. }
            | Self::ChangedHostKey { host, .. }
            | Self::RevokedHostKey { host, .. }
            | Self::KnownHosts { host, .. }
            | Self::PinnedKey { host, .. }
            | Self::Identity { host, .. }
            | Self::EncryptedIdentity { host, .. }
            | Self::Agent { host, .. }
            | Self::LoginRefused { host, .. }
            | Self::Channel { host, .. }
            | Self::Lost { host, .. }
            | Self::Command { host, .. }
            | Self::Local { host, .. } => host,
        }
    }
}

impl Failure for SshError {
    fn exit(&self) -> Exit {
        match self {
            Self::Command { .. } | Self::Local { .. } => Exit::Internal,
            Self::PinnedKey { .. } => Exit::Topology,
            _ => Exit::Unreachable,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Connect { source, port, address, .. } => match source.kind() {
                io::ErrorKind::ConnectionRefused => format!("is sshd running there on port {port}? see ssh.port"),
                _ => format!("check that {address} is right and that the host is up: ping {address}"),
            },
            Self::Timeout { host, .. } => format!("{host} accepts connections but its sshd does not answer; is it overloaded?"),
            Self::UnknownHostKey(unknown) => {
                let file = unknown.known_hosts.display();
                return vec![
                    format!(
                        "compare the fingerprint with `ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub` on {} itself",
                        unknown.host
                    ),
                    format!(
                        "then add this line to {file}, or pin the key as host_key in the topology:\n    {}",
                        unknown.line()
                    ),
                ];
            }
            Self::ChangedHostKey { known_hosts: Some(file), name, .. } => format!(
                "someone may be listening in. If the host was reinstalled: ssh-keygen -f {} -R '{name}'",
                file.display()
            ),
            Self::ChangedHostKey { known_hosts: None, .. } => {
                "someone may be listening in. If the host was reinstalled, correct its host_key in the topology".into()
            }
            Self::PinnedKey { .. } => "write it like a line of /etc/ssh/ssh_host_ed25519_key.pub: ssh-ed25519 AAAA…".into(),
            Self::EncryptedIdentity { path, .. } => format!("load it into the agent: ssh-add {}", path.display()),
            Self::Identity { .. } => "see [ssh] identity in the topology; leave it out to use the SSH agent".into(),
            Self::Agent { .. } => {
                "start an agent and load a key (eval $(ssh-agent); ssh-add), or name a key file as [ssh] identity".into()
            }
            Self::LoginRefused { user, host, .. } => {
                format!("add the public key to ~{user}/.ssh/authorized_keys on {host}, or correct [ssh] user and identity")
            }
            Self::Channel { what, reason, .. } if what.contains("docker.sock") && reason.contains("connect") => {
                "is Docker running there, and may the SSH user use it? (usermod -aG docker USER)".into()
            }
            Self::Channel { reason, .. } if reason.contains("prohibited") => {
                "allow it in the host's sshd_config: AllowStreamLocalForwarding yes, and no `restrict` on the key".into()
            }
            Self::Lost { host, .. } => format!("the same command can be run again once {host} answers"),
            _ => return Vec::new(),
        };
        vec![hint]
    }
}
