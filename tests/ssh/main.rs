//! The SSH client against a real sshd: started on a loopback port with keys of its own, ended with the test.
//!
//! Needs `sshd`, `ssh-keygen` and `pgrep`; a machine without them fails the tests rather than skipping them.

mod server;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use pgclusterctl::remote::ssh::{Ssh, SshError, SshOptions};
use server::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MIB: usize = 1024 * 1024;

async fn connect(server: &Server) -> Ssh {
    Ssh::connect(&server.target(), &SshOptions::default()).await.expect("a login")
}

/// Bytes that do not repeat at any block size in use.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        bytes.extend((state ^ (state >> 33)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// By the system's tool: this crate's own SHA-256 is slow in an unoptimised build.
fn digest(bytes: &[u8]) -> String {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    let output = std::process::Command::new("sha256sum").arg(file.path()).output().expect("sha256sum");
    String::from_utf8_lossy(&output.stdout)[..64].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gives_status_output_and_errors() {
    let server = Server::start("");
    let ssh = connect(&server).await;
    let output = ssh.run("cat; echo oops >&2; exit 7", "hello").await.expect("a run");
    assert_eq!((output.status, output.text(), output.error_text()), (7, "hello".into(), "oops".into()));

    let killed = ssh.run("kill -KILL $$", "").await.expect("a run");
    assert_eq!((killed.status, killed.signal.as_deref()), (-1, Some("KILL")));

    let failed = ssh.run_ok("echo no >&2; false", "").await.expect_err("status 1");
    assert_eq!(failed.to_string(), "host1: `echo no >&2; false` failed with status 1: no");

    // A command that never looks at its input must not keep the writer waiting.
    let ignored = ssh.run("true", vec![0; 8 * MIB]).await.expect("a run");
    assert!(ignored.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn more_commands_than_sshd_allows_sessions_wait_for_their_turn() {
    let server = Server::start("MaxSessions 10");
    let ssh = connect(&server).await;
    let runs = (0..40).map(|n| {
        let ssh = ssh.clone();
        tokio::spawn(async move { ssh.run(&format!("echo {n}"), "").await.expect("a run").text() })
    });
    for (n, run) in runs.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(run.await.expect("no panic"), n.to_string());
    }
}

/// Several channels at once, in both directions, beside commands and small streams, with the session's keys renewed in between.
async fn transfers(server: &Server, size: usize) {
    let ssh = connect(server).await;
    let echo = server.echo_socket();
    let started = Instant::now();
    let mut tasks = Vec::new();
    for n in 0..2u64 {
        let (ssh, echo) = (ssh.clone(), echo.clone());
        tasks.push(tokio::spawn(async move {
            let data = noise(n, size);
            let back = ssh.run("cat", data.clone()).await.expect("a run");
            assert_eq!(back.stdout.len(), size, "cat {n}");
            assert!(back.stdout == data, "cat {n} came back altered");
            let up = ssh.run("sha256sum | cut -c1-64", data.clone()).await.expect("a run");
            assert_eq!(up.text(), digest(&data), "upload {n}");

            let stream = ssh.dial_unix(&echo).await.expect("a socket");
            let (mut from, mut to) = tokio::io::split(stream);
            let sent = data.clone();
            let writer = tokio::spawn(async move {
                to.write_all(&sent).await.expect("written");
                to.shutdown().await.expect("half closed");
            });
            let mut echoed = Vec::new();
            from.read_to_end(&mut echoed).await.expect("read");
            writer.await.expect("no panic");
            assert_eq!(echoed.len(), size, "echo {n}");
            assert!(echoed == data, "echo {n} came back altered");
        }));
    }
    let small = ssh.clone();
    tasks.push(tokio::spawn(async move {
        for n in 0..50 {
            assert_eq!(small.run("cat", format!("{n}")).await.expect("a run").text(), n.to_string());
            let mut stream = small.dial_unix(&echo).await.expect("a socket");
            stream.write_all(b"ping").await.expect("written");
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await.expect("read");
            assert_eq!(&answer, b"ping");
        }
    }));
    for task in tasks {
        task.await.expect("no panic");
    }
    println!("transfers: {} MiB in {:?}", 2 * 5 * size / MIB, started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn big_transfers_both_ways_lose_nothing() {
    transfers(&Server::start(""), 50 * MIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_may_be_renewed_during_transfers() {
    transfers(&Server::start("RekeyLimit 4M"), 16 * MIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn back_pressure_holds_a_fast_sender() {
    let server = Server::start("");
    let ssh = connect(&server).await;
    let mut endless = ssh.spawn("yes").await.expect("a process");
    tokio::time::sleep(Duration::from_millis(500)).await;
    // Nobody reads `yes`, and others are not held up by it.
    assert_eq!(ssh.run("echo on", "").await.expect("a run").text(), "on");
    let mut start = [0; 4];
    endless.stream.read_exact(&mut start).await.expect("read");
    assert_eq!(&start, b"y\ny\n");
    drop(endless);
    assert_eq!(ssh.run("sleep 0.3; pgrep -x yes -P $PPID || echo none", "").await.expect("a run").text(), "none");

    let stuck = ssh.spawn("sleep 100").await.expect("a process");
    let (_from, mut to) = tokio::io::split(stuck.stream);
    let chunk = vec![0; MIB];
    let flood = async {
        for _ in 0..64 {
            to.write_all(&chunk).await.expect("written");
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(1), flood).await.is_err(),
        "64 MiB went into a process that does not read"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_streams_close_their_channel() {
    let server = Server::start("");
    let ssh = connect(&server).await;
    let echo = server.echo_socket();
    for _ in 0..200 {
        let mut stream = ssh.dial_unix(&echo).await.expect("a socket");
        stream.write_all(b"x").await.expect("written");
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while server.echo_connections() > 0 {
        assert!(Instant::now() < deadline, "{} connections are still open", server.echo_connections());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_socket_leaves_the_session_alone() {
    let server = Server::start("");
    let ssh = connect(&server).await;
    let error = ssh.dial_unix("/nonexistent/docker.sock").await.expect_err("no such socket");
    assert!(matches!(error, SshError::Channel { .. }), "{error:?}");
    assert!(error.to_string().starts_with("host1: socket /nonexistent/docker.sock refused"), "{error}");
    assert_eq!(ssh.run("echo on", "").await.expect("a run").text(), "on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_reported_accepted_and_then_known() {
    let server = Server::start("");
    let mut target = server.target();
    target.known_hosts = server.path("fresh/known_hosts");
    let error = Ssh::connect(&target, &SshOptions::default()).await.expect_err("unknown");
    let SshError::UnknownHostKey(unknown) = error else { panic!("{error:?}") };
    assert_eq!(unknown.key.fingerprint(), server.fingerprint("ed25519"));
    assert_eq!(unknown.key.kind(), "ssh-ed25519");
    unknown.accept().expect("written");
    Ssh::connect(&target, &SshOptions::default()).await.expect("now known");
}

#[tokio::test(flavor = "multi_thread")]
async fn hashed_entries_and_other_kinds_of_key_are_understood() {
    let server = Server::start("");
    let mut target = server.target();
    // The server also has an ed25519 key, which it would show first.
    target.known_hosts = server.known_hosts("rsa_only", &["rsa"]);
    server.hash(&target.known_hosts);
    Ssh::connect(&target, &SshOptions::default()).await.expect("known by its rsa key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_is_refused() {
    let server = Server::start("");
    let other = Server::start("");
    let mut target = server.target();
    let text = std::fs::read_to_string(other.target().known_hosts).expect("readable");
    target.known_hosts = server.path("changed");
    std::fs::write(&target.known_hosts, text.replace(&other.port().to_string(), &server.port().to_string())).expect("written");
    let error = Ssh::connect(&target, &SshOptions::default()).await.expect_err("changed");
    assert!(matches!(error, SshError::ChangedHostKey { .. }), "{error:?}");

    target.host_key = Some(server.public_key("ecdsa"));
    Ssh::connect(&target, &SshOptions::default()).await.expect("the pinned key beats the file");
    target.host_key = Some(other.public_key("ed25519"));
    let error = Ssh::connect(&target, &SshOptions::default()).await.expect_err("another pinned key");
    assert!(matches!(error, SshError::ChangedHostKey { known_hosts: None, .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_says_what_was_tried() {
    let server = Server::start("");
    let mut target = server.target();
    target.identity = Some(server.new_identity("stranger", ""));
    let error = Ssh::connect(&target, &SshOptions::default()).await.expect_err("refused");
    let SshError::LoginRefused { tried, .. } = &error else { panic!("{error:?}") };
    assert!(tried.contains("stranger") && tried.contains("publickey"), "{tried}");
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_missing_and_broken_identities_are_told_apart() {
    let server = Server::start("");
    let mut target = server.target();
    target.identity = Some(server.new_identity("locked", "secret"));
    let error = Ssh::connect(&target, &SshOptions::default()).await.expect_err("encrypted");
    assert!(matches!(error, SshError::EncryptedIdentity { .. }), "{error:?}");
    assert!(error.to_string().contains("agent"), "{error}");

    target.identity = Some(server.path("missing"));
    let error = Ssh::connect(&target, &SshOptions::default()).await.expect_err("missing");
    assert!(matches!(error, SshError::Identity { .. }), "{error:?}");

    target.identity = Some(server.path("broken"));
    std::fs::write(server.path("broken"), "no key").expect("written");
    let error = Ssh::connect(&target, &SshOptions::default()).await.expect_err("broken");
    assert!(matches!(error, SshError::Identity { .. }), "{error:?}");

    // RSA keys sign with SHA-2, the only way modern servers accept.
    target.identity = Some(server.rsa_identity());
    Ssh::connect(&target, &SshOptions::default()).await.expect("an RSA login");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_ends_everything_with_an_error() {
    let mut server = Server::start("");
    let ssh = connect(&server).await;
    let mut stream = ssh.dial_unix(&server.echo_socket()).await.expect("a socket");
    stream.write_all(b"ping").await.expect("written");
    stream.read_exact(&mut [0; 4]).await.expect("read");
    let running = tokio::spawn({
        let ssh = ssh.clone();
        async move { ssh.run("sleep 60", "").await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;

    let started = Instant::now();
    server.kill();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0; 4])).await.expect("no hang");
    assert_eq!(read.expect_err("not a clean end").kind(), std::io::ErrorKind::ConnectionReset);
    let run = tokio::time::timeout(Duration::from_secs(5), running).await.expect("no hang").expect("no panic");
    assert!(matches!(run, Err(SshError::Lost { .. })), "{run:?}");
    let later = tokio::time::timeout(Duration::from_secs(1), ssh.run("true", "")).await.expect("no hang");
    assert!(matches!(later, Err(SshError::Lost { .. })), "{later:?}");
    println!("killed server noticed after {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_notices_the_end_and_answers_keepalives() {
    let mut server = Server::start("ClientAliveInterval 1\nClientAliveCountMax 2");
    let ssh = connect(&server).await;
    ssh.run("true", "").await.expect("a run");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(ssh.run("echo still here", "").await.expect("a run").text(), "still here");
    server.kill();
    let deadline = Instant::now() + Duration::from_secs(5);
    while ssh.lost().is_none() {
        assert!(Instant::now() < deadline, "an idle session does not notice");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_answer_or_speak_ssh_is_an_error_in_time() {
    let server = Server::start("");
    let options = SshOptions { connect_timeout: Duration::from_secs(1), ..SshOptions::default() };
    let mut target = server.target();

    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    target.port = silent.local_addr().expect("an address").port();
    let started = Instant::now();
    let error = Ssh::connect(&target, &options).await.expect_err("silent");
    assert!(matches!(error, SshError::Timeout { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());

    drop(silent);
    let error = Ssh::connect(&target, &options).await.expect_err("closed");
    assert!(matches!(error, SshError::Connect { .. }), "{error:?}");

    let http = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    target.port = http.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        if let Ok((mut peer, _)) = http.accept() {
            let _ = peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            let _ = peer.read(&mut [0; 100]);
        }
    });
    let error = Ssh::connect(&target, &options).await.expect_err("not SSH");
    assert!(matches!(error, SshError::Handshake { .. } | SshError::Timeout { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_ends_with_its_last_handle() {
    let server = Server::start("");
    let ssh = connect(&server).await;
    let stream = ssh.dial_unix(&server.echo_socket()).await.expect("a socket");
    drop(ssh);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.sessions(), 1, "a stream keeps its session");
    drop(stream);
    let deadline = Instant::now() + Duration::from_secs(5);
    while server.sessions() > 0 {
        assert!(Instant::now() < deadline, "the session is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
