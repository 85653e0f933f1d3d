//! The programs' own checks of what is rendered for them, run in the images of the cluster; and what the wrapper of Patroni makes of it,
//! where the lab would show that too rarely.
//!
//! Files reach the containers as a tar stream on stdin, so nothing is mounted and a remote Docker daemon does as well.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use pgclusterctl::templates::artifacts::{Artifacts, Kind};
use pgclusterctl::topology::images::default_names;
use pgclusterctl::topology::model::VectorEngine;
use serde_json::{Value, json};

use crate::examples;

/// Files by their path in the container's working folder.
type Files = BTreeMap<String, String>;

#[test]
fn haproxy_accepts_its_files() {
    for example in examples::all() {
        let mut files = files_of(&example.render(), Kind::Haproxy);
        // The container writes this one from a secret.
        files.insert("users.cfg".into(), "userlist stats\n    user stats insecure-password 'x'\n".into());
        let check = r#"for f in haproxy-*; do haproxy -c -f users.cfg -f "$f" 2>&1 || { echo "FAILED $f"; exit 1; }; done"#;
        let output = in_container(&proxy_image(), &[], check, &files);
        // Names do not resolve here: a notice. A warning would be repeated in every cluster's log.
        assert!(!output.contains("[WARNING]"), "{}: {output}", example.name);
    }
}

#[test]
fn keepalived_accepts_its_files() {
    for example in examples::all() {
        let Some(vip) = &example.topology.network.vip else { continue };
        let files = files_of(&example.render(), Kind::Keepalived);
        // The check demands the interface, which is eth0 in a container whatever the topology says.
        let check = r#"[ "$INTERFACE" = eth0 ] || { ip link set eth0 down; ip link set eth0 name "$INTERFACE"; ip link set "$INTERFACE" up; }
            for f in keepalived-*; do out=$(keepalived --config-test -f "$f" 2>&1) && [ -z "$out" ] || { echo "FAILED $f: $out"; exit 1; }; done"#;
        let interface = format!("INTERFACE={}", vip.interface);
        in_container(&proxy_image(), &["--cap-add=NET_ADMIN", "--env", &interface], check, &files);
    }
}

/// PgBouncer has no check of its own: it is started with what its entrypoint would write, must say that it is up, must have
/// no complaint, and must let its console be asked for a setting that was rendered.
#[test]
fn pgbouncer_starts_with_its_files() {
    for example in examples::all() {
        let files = files_of(&example.render(), Kind::Pgbouncer);
        let check = r#"mkdir -p /run/secrets; printf x > /run/secrets/pgbouncer_password
            for f in pgbouncer-*; do
              cp "$f" /etc/pgbouncer/pgbouncer.ini
              pgbouncer-entrypoint > log 2>&1 & pid=$!
              for i in $(seq 50); do grep -q 'process up' log && break; sleep 0.1; done
              # What a shell starts in the background ignores SIGQUIT until it has a handler of its own.
              while kill -QUIT "$pid" 2>/dev/null; do sleep 0.1; done; wait "$pid" || true
              grep -q 'process up' log && ! grep -E 'WARNING|ERROR|FATAL' log || { echo "FAILED $f"; cat log; exit 1; }
            done"#;
        in_container(&proxy_image(), &["--tmpfs", "/run/pgbouncer"], check, &files);
    }
}

/// Patroni's check wants what a running member has: the passwords that the container adds, and etcd at its address. The
/// dynamic configuration goes in as `bootstrap.dcs`, so that it is checked too.
#[test]
fn patroni_accepts_its_files() {
    for example in examples::all() {
        let artifacts = example.render();
        let mut files = Files::new();
        for service in &artifacts.services {
            let Kind::Member(group) = service.kind else { continue };
            let text = &artifacts.configs[&service.configs[0]].text;
            files.insert(format!("{}/10-patroni.yml", service.name), text.clone());
            files.insert(format!("{}/20-dynamic.yml", service.name), bootstrap(&artifacts.dynamic[&group]));
            files.insert(format!("{}/90-secrets.yml", service.name), passwords());
        }
        let etcd: Vec<String> = example.topology.etcd.iter().map(|m| format!("--add-host={}:127.0.0.1", m.name)).collect();
        let options: Vec<&str> = etcd.iter().map(String::as_str).collect();
        let check = r#"socat TCP-LISTEN:2379,fork,reuseaddr /dev/null & sleep 0.3
            for d in */; do
              install -d -o postgres -g postgres /var/lib/postgresql/$PG_MAJOR; chown -R postgres "$d"
              out=$(setpriv --reuid=postgres --regid=postgres --clear-groups patroni --validate-config "$d" 2>&1) && [ -z "$out" ] \
                || { echo "FAILED $d: $out"; exit 1; }
            done"#;
        in_container(&node_image(), &options, check, &files);
    }
}

/// The member that has just answered, not one that may be silent: item 14 of `images/node/patroni-for-swarm`.
#[test]
fn patroni_asks_who_answers_for_the_members_of_etcd() {
    let files = Files::from([("asks.py".to_owned(), include_str!("asks_who_answers.py").to_owned())]);
    let said = in_container(&node_image(), &[], "python3 asks.py", &files);
    let expected: String = (1..=3).map(|n| format!("http://etcd-{n}:2379 asks http://etcd-{n}:2379\n")).collect();
    assert_eq!(said, expected);
}

#[test]
fn docker_accepts_the_stack_files() {
    for example in examples::all() {
        let artifacts = example.render();
        for layer in examples::layers(&artifacts) {
            for fragments in [false, true] {
                let text = examples::stack(&example, &artifacts, layer, fragments);
                let output = run(Command::new("docker").args(["stack", "config", "-c", "-"]), text.as_bytes());
                assert!(output.status.success(), "{} {}: {}", example.name, layer.file_stem(), said(&output));
            }
        }
    }
}

/// The proxy image that `image build` makes, whatever registry an example names.
fn proxy_image() -> String {
    one_of([default_names(17, true, VectorEngine::Pgvector).proxy])
}

/// The node image: extensions matter to no validator, so the plain flavour or the one with Citus will do.
fn node_image() -> String {
    one_of([false, true].map(|citus| default_names(17, citus, VectorEngine::Pgvector).node))
}

/// The first of these images that is here; fails the test when none is.
fn one_of<const N: usize>(names: [String; N]) -> String {
    let present = |name: &String| {
        let mut inspect = Command::new("docker");
        inspect.args(["image", "inspect", name]).stdout(Stdio::null()).stderr(Stdio::null());
        inspect.status().unwrap_or_else(|error| panic!("docker cannot be run: {error}")).success()
    };
    match names.iter().find(|name| present(name)) {
        Some(name) => name.clone(),
        None => panic!("none of these images is here: {}; make them with `pgclusterctl image build`", names.join(", ")),
    }
}

/// Patroni's dynamic configuration as a file of its configuration folder.
fn bootstrap(dynamic: &Value) -> String {
    let mut dynamic = dynamic.clone();
    // Patroni 4.0.7 runs with "quorum", but its check knows only booleans.
    if dynamic["synchronous_mode"] == json!("quorum") {
        dynamic["synchronous_mode"] = json!(true);
    }
    json!({ "bootstrap": { "dcs": dynamic } }).to_string()
}

/// What the container adds from its secrets.
fn passwords() -> String {
    let password = json!({ "password": "x" });
    json!({
        "restapi": { "authentication": password },
        "postgresql": { "authentication": { "superuser": password, "replication": password, "rewind": password } },
    })
    .to_string()
}

/// The files of all services of a kind, named after their services.
fn files_of(artifacts: &Artifacts, kind: Kind) -> Files {
    let services = artifacts.services.iter().filter(|s| s.kind == kind);
    let files: Files = services.map(|s| (s.name.to_string(), artifacts.configs[&s.configs[0]].text.clone())).collect();
    files
}

/// Runs a shell script beside `files` in a fresh container and returns what it printed; fails the test when it fails.
fn in_container(image: &str, options: &[&str], script: &str, files: &Files) -> String {
    let script = format!("set -eu; mkdir /files; cd /files; tar -x; {script}");
    let mut command = Command::new("docker");
    command.args(["run", "--rm", "-i"]).args(options).args(["--entrypoint", "bash", image, "-c", &script]);
    let output = run(&mut command, &tar(files));
    assert!(output.status.success(), "{image}: {}", said(&output));
    said(&output)
}

fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("docker cannot be run: {error}"));
    // A script that ends early closes its stdin; what it said matters more than that.
    let _ = child.stdin.take().expect("piped").write_all(input);
    child.wait_with_output().expect("docker was started")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn tar(files: &Files) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, text.as_bytes()).expect("memory");
    }
    archive.into_inner().expect("memory")
}
