//! A real sshd on a loopback port, with keys and configuration in a temporary folder.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pgclusterctl::remote::ssh::SshTarget;
use pgclusterctl::topology::ids::HostName;

/// A running sshd; killed when dropped.
pub struct Server {
    folder: tempfile::TempDir,
    port: u16,
    sshd: Child,
    echoing: Arc<AtomicUsize>,
}

impl Server {
    /// Starts sshd with extra lines of configuration and waits until it answers.
    pub fn start(extra: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for kind in ["ed25519", "ecdsa", "rsa"] {
            keygen(&["-t", kind, "-N", "", "-f", &at(&format!("host_{kind}")).display().to_string()]);
        }
        for (name, kind) in [("id", "ed25519"), ("id_rsa", "rsa")] {
            keygen(&["-t", kind, "-N", "", "-f", &at(name).display().to_string()]);
        }
        let authorized = ["id.pub", "id_rsa.pub"].map(|name| fs::read_to_string(at(name)).expect("a public key")).concat();
        fs::write(at("authorized_keys"), authorized).expect("written");
        // sshd as root insists on this folder.
        let _ = fs::create_dir_all("/run/sshd");

        let here = folder.path().display();
        // bash reads the user's .bashrc when sshd starts it, unless it believes to be a shell in a shell.
        let config = format!(
            "ListenAddress 127.0.0.1\nHostKey {here}/host_ed25519\nHostKey {here}/host_ecdsa\nHostKey {here}/host_rsa\n\
             AuthorizedKeysFile {here}/authorized_keys\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin yes\nSetEnv SHLVL=1\n{extra}\n"
        );
        fs::write(at("sshd_config"), config).expect("written");
        // A port that was free may be another server's a moment later.
        let (sshd, port) = (0..10).find_map(|_| listening(folder.path())).expect("sshd starts");
        let echoing = echo(&at("echo.sock"));
        let server = Self { folder, port, sshd, echoing };
        server.known_hosts("known_hosts", &["ed25519"]);
        server
    }

    /// A target that logs in.
    pub fn target(&self) -> SshTarget {
        SshTarget {
            host: HostName::new("host1").expect("a name"),
            address: Ipv4Addr::LOCALHOST.into(),
            port: self.port,
            user: run("id", &["-un"]),
            identity: Some(self.path("id")),
            known_hosts: self.path("known_hosts"),
            host_key: None,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Path of a Unix domain socket that echoes.
    pub fn echo_socket(&self) -> String {
        self.path("echo.sock").display().to_string()
    }

    /// How many connections the echo socket holds.
    pub fn echo_connections(&self) -> usize {
        self.echoing.load(Ordering::SeqCst)
    }

    /// Processes that serve a connection.
    pub fn sessions(&self) -> usize {
        children(self.sshd.id()).len()
    }

    /// A host key as its .pub file has it.
    pub fn public_key(&self, kind: &str) -> String {
        fs::read_to_string(self.path(&format!("host_{kind}.pub"))).expect("a public key").trim().to_owned()
    }

    /// A host key's fingerprint as ssh-keygen prints it.
    pub fn fingerprint(&self, kind: &str) -> String {
        let line = run("ssh-keygen", &["-lf", &self.path(&format!("host_{kind}.pub")).display().to_string()]);
        line.split(' ').nth(1).expect("a fingerprint").to_owned()
    }

    /// Writes a known_hosts file with these kinds of key.
    pub fn known_hosts(&self, name: &str, kinds: &[&str]) -> PathBuf {
        let lines: String = kinds.iter().map(|kind| format!("[127.0.0.1]:{} {}\n", self.port, self.public_key(kind))).collect();
        fs::write(self.path(name), lines).expect("written");
        self.path(name)
    }

    /// Hashes the names in a known_hosts file.
    pub fn hash(&self, known_hosts: &Path) {
        keygen(&["-H", "-f", &known_hosts.display().to_string()]);
    }

    /// A private key that nobody has authorised.
    pub fn new_identity(&self, name: &str, passphrase: &str) -> PathBuf {
        keygen(&["-t", "ed25519", "-N", passphrase, "-f", &self.path(name).display().to_string()]);
        self.path(name)
    }

    /// An authorised RSA key.
    pub fn rsa_identity(&self) -> PathBuf {
        self.path("id_rsa")
    }

    /// Kills sshd and everything that it started, without a word to the clients.
    pub fn kill(&mut self) {
        let mut all = vec![self.sshd.id()];
        let mut next = 0;
        while next < all.len() {
            all.extend(children(all[next]));
            next += 1;
        }
        for id in all {
            let _ = Command::new("kill").args(["-KILL", &id.to_string()]).stderr(Stdio::null()).status();
        }
        let _ = self.sshd.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn keygen(args: &[&str]) {
    let done = Command::new("ssh-keygen")
        .arg("-q")
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("ssh-keygen is installed");
    assert!(done.success(), "ssh-keygen {args:?}");
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("a program");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn children(id: u32) -> Vec<u32> {
    run("pgrep", &["-P", &id.to_string()]).lines().filter_map(|line| line.parse().ok()).collect()
}

/// A new sshd and its port; none when it ends at once, as it does where somebody else has the port.
fn listening(folder: &Path) -> Option<(Child, u16)> {
    let port = free_port();
    let log = folder.join("sshd.log");
    let mut sshd = Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-p", &port.to_string(), "-f"])
        .arg(folder.join("sshd_config"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).expect("a log"))
        .spawn()
        .expect("sshd is installed");
    let said = || fs::read_to_string(&log).unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !said().contains("Server listening on") {
        if sshd.try_wait().expect("a child").is_some() {
            return None;
        }
        assert!(Instant::now() < deadline, "sshd does not start: {}", said());
        std::thread::sleep(Duration::from_millis(20));
    }
    Some((sshd, port))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// Echoes on a Unix domain socket, and counts who is connected.
fn echo(path: &Path) -> Arc<AtomicUsize> {
    let listener = UnixListener::bind(path).expect("a socket");
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    std::thread::spawn(move || {
        for mut peer in listener.incoming().flatten() {
            let count = counter.clone();
            count.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(read @ 1..) = peer.read(&mut buffer) {
                    if peer.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
                count.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    count
}
