//! Wrong topologies and what is said about them; the examples and what they resolve to.
//!
//! A new case is a new file in `tests/topology/` and its snapshot.

use std::fs;
use std::path::{Path, PathBuf};

use pgclusterctl::output::budget::BudgetReport;
use pgclusterctl::output::{Report, Ui};
use pgclusterctl::topology::{self, finding};
use proptest::prelude::*;

/// Files of a folder in the order of their names.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|e| e.expect("a folder's entry is readable").path())
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.file_stem().expect("a file has a name").to_string_lossy().into_owned()
}

#[test]
fn every_mistake_is_reported_with_its_place_and_what_to_write_instead() {
    for path in files("tests/topology") {
        let text = fs::read_to_string(&path).expect("the case is readable");
        let (findings, verdict) = match topology::parse(&text, Path::new("topology.toml")) {
            Ok((_, warnings)) => (warnings, "valid"),
            Err(findings) => (findings, "invalid"),
        };
        assert_eq!(verdict == "invalid", findings.iter().any(topology::Finding::is_error), "{}", path.display());
        let report = finding::render(&findings, &text, Path::new("topology.toml"), false);
        insta::assert_snapshot!(name(&path), format!("{verdict}\n\n{report}"));
    }
}

#[test]
fn the_json_view_says_the_same() {
    let text = fs::read_to_string("tests/topology/duplicate-host.toml").expect("the case is readable");
    let findings = topology::parse(&text, Path::new("topology.toml")).expect_err("the case is invalid");
    insta::assert_json_snapshot!("duplicate-host.json", finding::views(&findings, &text));
}

#[test]
fn every_example_is_valid_and_resolves_to_what_its_comment_says() {
    for path in files("examples") {
        let text = fs::read_to_string(&path).expect("the example is readable");
        let (topology, warnings) = topology::parse(&text, Path::new("topology.toml"))
            .unwrap_or_else(|f| panic!("{}\n{}", path.display(), finding::render(&f, &text, &path, false)));
        let mut shown = String::new();
        for group in &topology.groups {
            let members: Vec<String> = group.members.iter().map(|m| format!("{}@{}", m.name, m.host)).collect();
            shown.push_str(&format!("{} ({}): {}\n", group.id, group.replication.as_str(), members.join(", ")));
            let readers: Vec<String> = group.readers.iter().map(|m| format!("{}@{}", m.name, m.host)).collect();
            if !readers.is_empty() {
                shown.push_str(&format!("read from: {}\n", readers.join(", ")));
            }
        }
        let etcd: Vec<String> = topology.etcd.iter().map(|e| format!("{}@{}", e.name, e.host)).collect();
        let proxies: Vec<String> = topology.proxies.iter().map(|p| format!("haproxy-{}@{}", p.ordinal, p.host)).collect();
        shown.push_str(&format!("etcd: {}\nproxies: {}\n", etcd.join(", "), proxies.join(", ")));
        let n = &topology.network;
        shown.push_str(&format!("networks: {} {} {}\n", n.coordinator, n.worker, n.admin));
        shown.push_str(&format!("warnings: {}\n\n", finding::summary(&warnings)));
        let tolerance = topology::tolerance::report(&topology, 2);
        shown.push_str(&format!("{}\n{}\n", tolerance.summary(), topology::tolerance::COLUMNS.join(" | ")));
        for row in tolerance.rows() {
            shown.push_str(&format!("{}\n", row.join(" | ")));
        }
        insta::assert_snapshot!(format!("example-{}", name(&path)), shown);
    }
}

/// With their terms, as `topology budget -v` shows them.
#[test]
fn every_example_has_a_budget() {
    let ui = Ui::new(false, false, false, false);
    for path in files("examples") {
        let topology = topology::example(&name(&path));
        let [short, long] = [false, true].map(|verbose| BudgetReport::new(&topology, verbose).text(&ui));
        insta::assert_snapshot!(format!("budget-{}", name(&path)), format!("{short}\n{long}"));
    }
}

#[test]
fn derived_settings_follow_the_limits() {
    let topology = topology::example("classic");
    for group in &topology.groups[..2] {
        let set = topology::resources::postgres_parameters(&topology, group.id);
        insta::assert_debug_snapshot!(format!("parameters-{}", group.id), set);
    }
    let plain = topology::example("ha");
    insta::assert_debug_snapshot!(
        "parameters-plain",
        topology::resources::postgres_parameters(&plain, topology::GroupId::COORDINATOR)
    );
}

/// Something like a topology: right keys, and values that are sometimes right.
fn nearly_a_topology() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "schema",
        "name",
        "address",
        "hosts",
        "host",
        "shard",
        "number",
        "count",
        "replicas",
        "overlay",
        "vip",
        "ttl",
        "memory",
        "cpus",
        "registry",
        "mtu",
        "replication",
        "worker",
        "labels",
        "zone",
        "loop_wait",
        "host_loss",
        "margin",
        "citus_shard_count",
        "work_mem",
    ]);
    let value = prop_oneof![
        Just("1".to_owned()),
        Just("\"host1\"".to_owned()),
        Just("[\"host1\", \"host2\"]".to_owned()),
        Just("\"10.0.0.1/24\"".to_owned()),
        Just("\"20s\"".to_owned()),
        Just("{ a = 1 }".to_owned()),
        Just("-9223372036854775808".to_owned()),
        Just("nan".to_owned()),
        "[0-9]{1,12}".prop_map(|s| s),
        "\"[^\"\\\\\n]{0,12}\"".prop_map(|s| s),
        "\\PC{0,12}".prop_map(|s| s),
    ];
    let header = prop::sample::select(vec![
        "[cluster]",
        "[[host]]",
        "[[shard]]",
        "[[reader]]",
        "[network]",
        "[shards]",
        "[etcd]",
        "[proxy]",
        "[coordinators]",
        "[failover]",
        "[failover.promise]",
        "[guard]",
        "[resources.worker]",
        "[postgres.parameters]",
        "[images]",
        "[host.ssh]",
        "[nonsense]",
    ]);
    let line = prop_oneof![
        4 => (key, value).prop_map(|(k, v)| format!("{k} = {v}\n")),
        2 => header.prop_map(|h| format!("{h}\n")),
    ];
    prop::collection::vec(line, 0..30).prop_map(|lines| {
        format!("schema = 1\n[cluster]\nname = \"a\"\n[[host]]\nname = \"host1\"\naddress = \"10.0.0.10\"\n{}", lines.concat())
    })
}

/// Parses and shows; neither may panic.
fn survives(text: &str) {
    let findings = match topology::parse(text, Path::new("topology.toml")) {
        Ok((topology, warnings)) => {
            topology::tolerance::report(&topology, 2);
            topology::budget::all(&topology);
            for group in &topology.groups {
                topology::resources::postgres_parameters(&topology, group.id);
            }
            warnings
        }
        Err(findings) => findings,
    };
    finding::render(&findings, text, Path::new("topology.toml"), true);
    finding::views(&findings, text);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn no_near_miss_makes_it_panic(text in nearly_a_topology()) {
        survives(&text);
    }

    /// Whatever is asked for, what is accepted never puts two members of a group on one host, and its networks are disjoint.
    #[test]
    fn what_is_accepted_is_sound(
        hosts in 1usize..8, count in 0u32..12, replicas in 1u32..5, zones in 1usize..4, prefix in 16u8..27, third in 0u8..255,
    ) {
        let mut text = String::from("schema = 1\n[cluster]\nname = \"a\"\n");
        for h in 0..hosts {
            let address = 10 + h;
            text += &format!("[[host]]\nname = \"host{h}\"\naddress = \"192.168.9.{address}\"\nzone = \"z{}\"\n", h % zones);
        }
        text += &format!("[network]\noverlay = \"10.{third}.0.0/{prefix}\"\n[shards]\ncount = {count}\nreplicas = {replicas}\n");
        let Ok((topology, _)) = topology::parse(&text, Path::new("topology.toml")) else { return Ok(()) };
        for group in &topology.groups {
            for (i, a) in group.members.iter().enumerate() {
                prop_assert!(group.members[i + 1..].iter().all(|b| a.host != b.host), "{}", group.id);
            }
        }
        let nets = [topology.network.coordinator, topology.network.worker, topology.network.admin];
        for (i, a) in nets.iter().enumerate() {
            prop_assert!(nets[i + 1..].iter().all(|b| !a.contains(&b.network()) && !b.contains(&a.network())));
        }
        prop_assert!(topology.etcd.len() % 2 == 1);
    }
}
