//! From a host's address to an authenticated libssh2 session. Blocking: runs on the session's own thread only.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::net::sockopt;
use ssh2::{ErrorCode, MethodType, Session};

use super::error::UnknownHostKey;
use super::{SshError, SshOptions, SshTarget};
use crate::remote::hostkey::{self, HostKey, KnownHosts, Verdict};

/// AES-GCM first: libssh2's ChaCha20 runs in plain C, and OpenSSH renews the keys of a ChaCha20 session after 1 GiB, in the
/// middle of an image transfer.
const CIPHERS: &str =
    "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr";

/// Codes of libssh2.h that tell a refused key from an unusable one.
const AUTHENTICATION_FAILED: i32 = -18;
const PUBLICKEY_UNVERIFIED: i32 = -19;
const TIMEOUT: i32 = -9;
const SOCKET_TIMEOUT: i32 = -30;

/// Connects, verifies the host key, logs in. The session comes back in blocking mode; the stream is a second handle on its
/// socket, for poll(2) and shutdown.
pub(super) fn login(target: &SshTarget, options: &SshOptions) -> Result<(Session, TcpStream), SshError> {
    let login = Login { target, deadline: Instant::now() + options.connect_timeout, given: options.connect_timeout };
    let stream = login.connect(options)?;
    let socket = stream.try_clone().map_err(|source| login.local("duplicate the socket", source))?;
    let session = login.handshake(stream)?;
    login.authenticate(&session)?;
    Ok((session, socket))
}

struct Login<'a> {
    target: &'a SshTarget,
    deadline: Instant,
    given: Duration,
}

impl Login<'_> {
    fn connect(&self, options: &SshOptions) -> Result<TcpStream, SshError> {
        let SshTarget { host, address, port, .. } = self.target;
        let stream = TcpStream::connect_timeout(&SocketAddr::new(*address, *port), self.left().min(options.reach_timeout))
            .map_err(|source| SshError::Connect { host: host.clone(), address: *address, port: *port, source })?;
        let configured = || -> rustix::io::Result<()> {
            sockopt::set_tcp_nodelay(&stream, true)?;
            // A vanished host sends nothing, not even a reset: an idle connection notices by keepalives, a busy one by data
            // that is never acknowledged.
            sockopt::set_socket_keepalive(&stream, true)?;
            let vanish_after = options.vanish_after;
            // In whole seconds, as the kernel counts them.
            let probe = Duration::from_secs((vanish_after.as_secs() / 5).max(1));
            sockopt::set_tcp_keepidle(&stream, probe)?;
            sockopt::set_tcp_keepintvl(&stream, probe)?;
            sockopt::set_tcp_keepcnt(&stream, 3)?;
            sockopt::set_tcp_user_timeout(&stream, u32::try_from(vanish_after.as_millis()).unwrap_or(u32::MAX))
        };
        configured().map_err(|errno| self.local("set socket options", errno.into()))?;
        Ok(stream)
    }

    fn handshake(&self, stream: TcpStream) -> Result<Session, SshError> {
        let target = self.target;
        let name = hostkey::entry_name(&target.address.to_string(), target.port);
        let trusted = Trusted::of(target, &name)?;

        let mut session = Session::new().map_err(|error| self.handshake_error(&error))?;
        session.set_tcp_stream(stream);
        session.set_timeout(self.left_ms());
        let set =
            |method, preference: &str| session.method_pref(method, preference).map_err(|error| self.handshake_error(&error));
        set(MethodType::HostKey, &trusted.algorithms(&name))?;
        set(MethodType::CryptCs, CIPHERS)?;
        set(MethodType::CryptSc, CIPHERS)?;
        session.handshake().map_err(|error| self.handshake_error(&error))?;

        let shown = session.host_key().and_then(|(blob, _)| HostKey::from_blob(blob));
        let Some(shown) = shown else {
            return Err(SshError::Handshake {
                host: target.host.clone(),
                reason: "the server showed no usable host key".into(),
            });
        };
        trusted.verify(target, name, shown)?;
        Ok(session)
    }

    fn authenticate(&self, session: &Session) -> Result<(), SshError> {
        let Some(path) = &self.target.identity else {
            return match self.by_agent(session, None) {
                Ok(()) => Ok(()),
                Err(ByAgent::Unusable(reason)) => Err(SshError::Agent { host: self.target.host.clone(), reason }),
                Err(ByAgent::Refused(count)) => Err(self.refused(session, &format!("{count} keys of the SSH agent"))),
            };
        };
        let identity = |reason: String| SshError::Identity { host: self.target.host.clone(), path: path.clone(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| identity(error.to_string()))?;
        match Passphrase::of(&text) {
            Passphrase::None => {}
            Passphrase::Needed(public) => {
                let public = public.or_else(|| beside(path));
                return match self.by_agent(session, Some(public.as_deref())) {
                    Ok(()) => Ok(()),
                    Err(ByAgent::Refused(_)) => Err(self.refused(session, &format!("{} by the SSH agent", path.display()))),
                    Err(ByAgent::Unusable(agent)) => {
                        Err(SshError::EncryptedIdentity { host: self.target.host.clone(), path: path.clone(), agent })
                    }
                };
            }
        }
        session.set_timeout(self.left_ms());
        session.userauth_pubkey_file(&self.target.user, None, path, None).map_err(|error| match error.code() {
            ErrorCode::Session(AUTHENTICATION_FAILED | PUBLICKEY_UNVERIFIED) => {
                self.refused(session, &path.display().to_string())
            }
            ErrorCode::Session(TIMEOUT | SOCKET_TIMEOUT) => self.timeout(),
            _ => identity(error.message().to_owned()),
        })
    }

    /// Logs in by the agent, with any of its keys or with the one whose public part is given.
    fn by_agent(&self, session: &Session, only: Option<Option<&[u8]>>) -> Result<(), ByAgent> {
        let unusable = |error: ssh2::Error| ByAgent::Unusable(error.message().to_owned());
        if std::env::var_os("SSH_AUTH_SOCK").is_none() {
            return Err(ByAgent::Unusable("SSH_AUTH_SOCK is not set".into()));
        }
        let mut agent = session.agent().map_err(unusable)?;
        agent.connect().map_err(unusable)?;
        agent.list_identities().map_err(unusable)?;
        let mut keys = agent.identities().map_err(unusable)?;
        if keys.is_empty() {
            return Err(ByAgent::Unusable("it holds no keys".into()));
        }
        if let Some(only) = only {
            keys.retain(|key| Some(key.blob()) == only);
        }
        if keys.is_empty() {
            return Err(ByAgent::Unusable("it holds other keys".into()));
        }
        for key in &keys {
            session.set_timeout(self.left_ms());
            if agent.userauth(&self.target.user, key).is_ok() {
                return Ok(());
            }
        }
        Err(ByAgent::Refused(keys.len()))
    }

    fn refused(&self, session: &Session, tried: &str) -> SshError {
        let accepted = session.auth_methods(&self.target.user).unwrap_or("nothing");
        let tried = format!("tried {tried}; sshd accepts {accepted}");
        SshError::LoginRefused { host: self.target.host.clone(), user: self.target.user.clone(), tried }
    }

    fn handshake_error(&self, error: &ssh2::Error) -> SshError {
        match error.code() {
            ErrorCode::Session(TIMEOUT | SOCKET_TIMEOUT) => self.timeout(),
            _ => SshError::Handshake { host: self.target.host.clone(), reason: error.message().to_owned() },
        }
    }

    fn timeout(&self) -> SshError {
        SshError::Timeout { host: self.target.host.clone(), after: self.given }
    }

    fn local(&self, what: &'static str, source: std::io::Error) -> SshError {
        SshError::Local { host: self.target.host.clone(), what, source }
    }

    /// Time until the deadline, never zero: that would mean "for ever" to libssh2 and an error to connect(2).
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }

    fn left_ms(&self) -> u32 {
        u32::try_from(self.left().as_millis()).unwrap_or(u32::MAX).max(1)
    }
}

enum ByAgent {
    /// No agent, or not with the key that is wanted.
    Unusable(String),
    /// sshd refused that many keys.
    Refused(usize),
}

/// Which host key is expected.
enum Trusted {
    Pinned(HostKey),
    File(KnownHosts),
}

impl Trusted {
    fn of(target: &SshTarget, _name: &str) -> Result<Self, SshError> {
        let host = || target.host.clone();
        match &target.host_key {
            Some(text) => {
                HostKey::parse(text).map(Self::Pinned).ok_or_else(|| SshError::PinnedKey { host: host(), text: text.clone() })
            }
            None => KnownHosts::load(&target.known_hosts).map(Self::File).map_err(|source| SshError::KnownHosts {
                host: host(),
                path: target.known_hosts.clone(),
                source,
            }),
        }
    }

    fn algorithms(&self, name: &str) -> String {
        match self {
            Self::Pinned(key) => hostkey::preferred_algorithms(&[key.kind()]),
            Self::File(known) => hostkey::preferred_algorithms(&known.kinds(name)),
        }
    }

    fn verify(&self, target: &SshTarget, name: String, shown: HostKey) -> Result<(), SshError> {
        let host = target.host.clone();
        let known_hosts = target.known_hosts.clone();
        match self {
            Self::Pinned(key) if *key == shown => Ok(()),
            Self::Pinned(_) => Err(SshError::ChangedHostKey {
                host,
                name,
                expected: "the topology's host_key".into(),
                known_hosts: None,
                shown: Box::new(shown),
            }),
            Self::File(known) => match known.check(&name, &shown) {
                Verdict::Trusted => Ok(()),
                Verdict::Unknown => {
                    Err(SshError::UnknownHostKey(Box::new(UnknownHostKey { host, name, key: shown, known_hosts })))
                }
                Verdict::Revoked(line) => Err(SshError::RevokedHostKey { host, known_hosts, line }),
                Verdict::Changed(line) => Err(SshError::ChangedHostKey {
                    host,
                    name,
                    expected: format!("{}:{line}", known_hosts.display()),
                    known_hosts: Some(known_hosts),
                    shown: Box::new(shown),
                }),
            },
        }
    }
}

/// Whether a private key file can be used without asking.
#[derive(Debug, PartialEq, Eq)]
enum Passphrase {
    None,
    /// It is encrypted; OpenSSH's own format leaves the public part readable.
    Needed(Option<Vec<u8>>),
}

impl Passphrase {
    fn of(text: &str) -> Self {
        if text.contains("Proc-Type: 4,ENCRYPTED") || text.contains("BEGIN ENCRYPTED PRIVATE KEY") {
            return Self::Needed(None);
        }
        let body: String = text.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
        match STANDARD.decode(body).ok().as_deref().and_then(openssh_header) {
            Some((cipher, public)) if cipher != b"none" => Self::Needed(Some(public.to_vec())),
            _ => Self::None,
        }
    }
}

/// Cipher name and public key of OpenSSH's private key format (PROTOCOL.key in its sources).
fn openssh_header(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        rest.split_at_checked(u32::from_be_bytes(*length) as usize)
    }
    let rest = bytes.strip_prefix(b"openssh-key-v1\0")?;
    let (cipher, rest) = string(rest)?;
    let (_kdf, rest) = string(rest)?;
    let (_kdf_options, rest) = string(rest)?;
    let (_count, rest) = rest.split_first_chunk::<4>()?;
    let (public, _private) = string(rest)?;
    Some((cipher, public))
}

/// The public key that lies beside a private one as `<path>.pub`, in wire format.
fn beside(path: &Path) -> Option<Vec<u8>> {
    let text = std::fs::read_to_string(format!("{}.pub", path.display())).ok()?;
    STANDARD.decode(text.split_whitespace().nth(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_noticed_before_libssh2_gives_a_vague_error() {
        assert_eq!(Passphrase::of("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"), Passphrase::Needed(None));
        assert_eq!(Passphrase::of("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIF\n"), Passphrase::Needed(None));
        assert_eq!(Passphrase::of("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n"), Passphrase::None);
        for (cipher, expected) in [("none", Passphrase::None), ("aes256-ctr", Passphrase::Needed(Some(b"public".to_vec())))] {
            let mut bytes = b"openssh-key-v1\0".to_vec();
            for part in [cipher.as_bytes(), b"bcrypt", b"options"] {
                bytes.extend((part.len() as u32).to_be_bytes());
                bytes.extend(part);
            }
            bytes.extend(1u32.to_be_bytes());
            bytes.extend((6u32).to_be_bytes());
            bytes.extend(b"public");
            let text =
                format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n", STANDARD.encode(bytes));
            assert_eq!(Passphrase::of(&text), expected);
        }
    }
}
