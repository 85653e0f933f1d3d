//! The real program on its command line: help, usage, exit codes, and what it says before it touches a host.
//!
//! After a wanted change of texts: `INSTA_UPDATE=always cargo nextest run --test cli`, then read the diff.

mod ci;
mod harness;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use clap::CommandFactory;
use harness::{Place, Run};
use insta::assert_snapshot;
use jiff::Timestamp;
use pgclusterctl::cli::Cli;
use pgclusterctl::drill::outage::{ClientOutage, Gap, Outages};
use pgclusterctl::drill::report::{DrillReport, NotCarriedOut, Outcome, Promises, Run as DrillRun};

/// Every command with its parents, as typed; in the order of the help.
fn commands() -> Vec<String> {
    fn below(command: &clap::Command, typed: &str, found: &mut Vec<String>) {
        for inner in command.get_subcommands() {
            let typed = format!("{typed} {}", inner.get_name()).trim().to_owned();
            found.push(typed.clone());
            below(inner, &typed, found);
        }
    }
    let mut found = Vec::new();
    below(&Cli::command(), "", &mut found);
    found
}

#[test]
fn help_of_the_program() {
    assert_snapshot!(Place::new().run("--help").exits(0));
}

/// All commands in one snapshot: read as a whole it shows whether their words agree.
#[test]
fn help_of_every_command() {
    let place = Place::new();
    let mut text = String::new();
    for command in commands() {
        let run = place.run(&format!("{command} --help")).exits(0);
        assert_eq!(run.stderr, "");
        // Global flags are in the program's own help; here they would hide what is the command's.
        writeln!(text, "{}", without_global_flags(&run.to_string())).expect("writes to a string");
    }
    assert_snapshot!(text);
}

/// Drops the paragraphs of flags that every command has.
fn without_global_flags(help: &str) -> String {
    let root = Cli::command();
    let global: Vec<String> =
        root.get_arguments().filter(|a| a.is_global_set()).filter_map(|a| Some(format!("--{}", a.get_long()?))).collect();
    let mut kept = String::new();
    let mut dropping = false;
    for line in help.lines() {
        let flag = line.trim_start().split([' ', ',']).find(|word| word.starts_with("--"));
        let indent = line.len() - line.trim_start().len();
        // A flag stands two to six columns in, its text deeper.
        if let Some(name) = flag.filter(|_| (2..=6).contains(&indent)) {
            let name = name.trim_end_matches("...");
            dropping = global.iter().any(|global| global == name) || matches!(name, "--help" | "--version");
        } else if indent == 0 && !line.is_empty() {
            dropping = false;
        }
        if !dropping {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[test]
fn version() {
    assert_eq!(Place::new().run("--version").exits(0).stdout, "pgclusterctl [VERSION]\n");
}

#[test]
fn usage_errors_exit_2_and_say_what_to_write() {
    let place = Place::new();
    let wrong = [
        "stauts",
        "status --fromat json",
        "status --format yaml",
        "--quiet --verbose status",
        "switchover",
        "switchover --coordinator --shard 1",
        "switchover --shard 1 --wait 5s",
        "switchover --shard 1 --no-pause",
        "failover --shard 0",
        "render",
        "exec coordinator-1",
        "lab up --hosts 0",
        "lab kill",
        "forward worker-1-1 99999",
        "scale in --shard 0",
        "scale add-shard --rebalance --no-rebalance",
        "scale add-shard --no-rebalance --parallel 2",
        "scale in --member coordinator-3 --transfer block-writes",
        "host replace host1",
        "host replace host1 Host_4",
    ];
    let runs: Vec<String> = wrong.iter().map(|arguments| place.run(arguments).exits(2).to_string()).collect();
    assert_snapshot!(runs.join("\n"));
}

/// Whatever needs the topology says so, and how to get one; nothing is written.
#[test]
fn a_missing_topology_exits_3() {
    let place = Place::new();
    let asking = [
        "topology check",
        "topology show",
        "topology tolerance",
        "topology budget",
        "render -o out",
        "plan",
        "init",
        "image build",
        "image push",
        "image list",
        "up",
        "down",
        "status",
        "health",
        "switchover --coordinator",
        "failover --shard 1",
        "psql",
        "password",
        "logs worker-1-1",
        "exec worker-1-1 -- true",
        "forward worker-1-1 5432",
        "scale add-shard",
        "scale in --shard 1",
        "scale in --member coordinator-3",
        "host replace host1 host4 --address 10.0.0.14",
    ];
    let lacking = |run: &Run| {
        run.code == Some(3)
            && run.stdout.is_empty()
            && ["error: ", "topology.toml", "--topology FILE", "pgclusterctl new"].iter().all(|said| run.stderr.contains(said))
    };
    let wrong: Vec<String> =
        asking.iter().map(|arguments| place.run(arguments)).filter(|run| !lacking(run)).map(|run| run.to_string()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(place.work().read_dir().expect("reads the folder").count(), 0, "something was written");
}

/// One mistake is enough: no command gets further, and each shows the same report as `topology check`.
#[test]
fn an_invalid_topology_exits_3() {
    let place = Place::new().with("topology.toml", "schema = 1\n[cluster]\nname = \"../x\"\n");
    let check = place.run("topology check").exits(3);
    assert!(check.stderr.contains("../x") || check.stdout.contains("../x"), "{check}");
    for command in ["plan", "up", "status", "render -o out"] {
        let run = place.run(command).exits(3);
        assert_eq!(run.stdout, "", "{run}");
    }
    assert!(!place.work().join("out").exists());
}

#[test]
fn a_first_topology_is_valid_and_never_overwritten() {
    let place = Place::new();
    let run = place.run("new --hosts db1=10.0.0.10,db2=10.0.0.11,db3=10.0.0.12 --shards 2").exits(0);
    assert!(run.stderr.contains("pgclusterctl init"), "the next command is not named: {run}");
    place.run("topology check").exits(0);
    let shown = place.run("topology show").exits(0);
    assert!(shown.stdout.contains("db3") && shown.stdout.contains("worker-2-2"), "{shown}");

    let read = || std::fs::read_to_string(place.work().join("topology.toml")).expect("was written");
    let before = read();
    let again = place.run("new --shards 0").exits(6);
    assert!(again.stderr.contains("--force"), "{again}");
    assert_eq!(read(), before);
    place.run("new --shards 0 --force").exits(0);
    assert_ne!(read(), before);
}

/// What the file alone forbids is said before any host is asked, and nothing is written.
#[test]
fn a_group_that_cannot_be_added_or_taken_out_is_told_from_the_file() {
    let place = Place::new();
    let read = || std::fs::read_to_string(place.work().join("topology.toml")).expect("was written");
    let hosts = "new --hosts a=127.0.0.1,b=127.0.0.2,c=127.0.0.3 --force --shards";
    let wrong = [
        (1, "scale in --shard 1", 6, "the only shard group"),
        (1, "scale add-shard --hosts a,x", 2, "no host \"x\""),
        (1, "scale add-shard --hosts a,a", 2, "a is named twice"),
        // The default of these files is quorum replication, and one member has nobody to wait for.
        (1, "scale add-shard --hosts a", 6, "cannot replicate"),
        (0, "scale add-shard", 6, "was made without shard groups"),
        (1, "scale in --member coordinator-1", 6, "would have another name"),
        (1, "scale in --member worker-1-2", 6, "cannot replicate"),
        (0, "scale in --member haproxy-1", 2, "no member of a group"),
    ];
    for (shards, command, exit, said) in wrong {
        place.run(&format!("{hosts} {shards}")).exits(0);
        let before = read();
        let run = place.run(&format!("{command} --yes")).exits(exit);
        assert!(run.stderr.contains(said) && run.stderr.contains("hint: ") && run.stdout.is_empty(), "{run}");
        assert_eq!(read(), before);
    }
}

#[test]
fn rendering_twice_gives_the_same_files() {
    let place = Place::new();
    place.run("new").exits(0);
    for folder in ["one", "two", "one"] {
        place.run(&format!("render -o {folder}")).exits(0);
    }
    let one = place.files("one");
    assert!(one.len() > 10, "only {} files", one.len());
    assert_eq!(one, place.files("two"));
}

/// What is wrong with the order itself is said before any host is asked, and the file stays as it is.
#[test]
fn a_host_that_cannot_take_the_place_is_refused() {
    let place = Place::new();
    place.run("new --hosts db1=10.0.0.10,db2=10.0.0.11,db3=10.0.0.12").exits(0);
    let read = || std::fs::read_to_string(place.work().join("topology.toml")).expect("was written");
    let before = read();
    let wrong = [
        ("host replace db7 db4 --address 10.0.0.14", 2),
        ("host replace db1 db4", 2),
        ("host replace db1 db2", 6),
        ("host replace db1 db4 --address 10.0.0.12", 2),
        ("host replace db1 db4 --address 10.0.1.14", 6),
        ("host replace db1 db4 --address 224.0.0.1", 6),
        ("host remove db7", 2),
        ("host remove db1", 6),
    ];
    let runs: Vec<String> = wrong.iter().map(|(arguments, code)| place.run(arguments).exits(*code).to_string()).collect();
    assert_snapshot!(runs.join("\n"));
    assert_eq!(read(), before);
}

/// Records of another drill are never mixed with those of this one, and nobody is asked before that is sure.
#[test]
fn a_drill_wants_an_empty_folder() {
    let place = Place::new();
    place.run("new").exits(0);
    let run = place.run("drill run switchover --yes --folder .").exits(2);
    assert!(run.stderr.starts_with("error: . is not empty") && run.stderr.contains("hint: name another folder"), "{run}");
    std::fs::create_dir(place.work().join("records")).expect("makes a folder");
    let run = place.run("drill run switchover --yes --folder records");
    assert!(run.code == Some(4) && !run.stderr.contains("not empty"), "{run}");
}

/// A drill breaks things: without a yes it does not even look at them, and leaves nothing behind.
#[test]
fn a_drill_without_consent_changes_nothing() {
    let place = Place::new();
    place.run("new").exits(0);
    let before = place.files(".");
    let run = place.run("drill run switchover --folder records").exits(6);
    assert!(run.stderr.contains("there is no terminal") && run.stderr.contains("hint: repeat the command with --yes"), "{run}");
    assert_eq!((run.stdout.as_str(), place.files(".")), ("", before));
    assert!(!place.work().join("records").exists());
}

/// A drill whose only run was like that; the promise is 5 s.
fn drill(outage_ms: u64, reasons: &[&str]) -> Outcome {
    let ms = Duration::from_millis;
    let gap = Gap { from: ms(900), until: ms(900 + outage_ms), closed: true };
    let client = ClientOutage {
        client: 0,
        group: "coordinator".into(),
        outage: Some(gap),
        recovery: Some(ms(outage_ms)),
        failed: 0,
        unknown: 0,
        gaps: vec![gap],
    };
    let run = DrillRun {
        scenario: "container-kill".into(),
        number: 1,
        injected: ms(1_000),
        promise: Promises { outage: Some(ms(5_000)), ..Promises::default() },
        outages: Outages { clients: vec![client] },
        reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
        ..DrillRun::default()
    };
    Ok(run.judged())
}

#[test]
fn a_drills_exit_says_what_became_of_its_promises() {
    let void = || Err(NotCarriedOut { scenario: "freeze".into(), number: 1, reason: "there is no leader now".into() });
    let cases = [
        ("kept", vec![drill(4_000, &[])], 0, "1 of 1 promises kept"),
        ("broken", vec![drill(6_000, &[])], 5, "the outage took 0.0 s, promised are at most 0.0 s"),
        ("lost", vec![drill(4_000, &["lost in coordinator"])], 5, "lost in coordinator"),
        ("void", vec![drill(4_000, &[]), void()], 7, "there is no leader now"),
        ("broken and void", vec![drill(6_000, &[]), void()], 5, "1 not carried out"),
        ("all void", vec![void()], 7, "0 of 0 runs passed"),
        ("empty", vec![], 5, "0 of 0 runs passed"),
    ];
    for (name, outcomes, exit, said) in cases {
        let report = DrillReport::new(name, 1, Timestamp::UNIX_EPOCH, BTreeMap::new(), outcomes);
        let text = serde_json::to_string(&report).expect("a report is JSON");
        let place = Place::new().with("report.json", &text);
        for format in ["table", "json", "junit"] {
            let run = place.run(&format!("drill report report.json --format {format}")).exits(exit);
            assert!(format != "table" || run.stdout.contains(said), "{name}: {run}");
        }
    }
    // One that was too long is one of twenty, when nights are judged together, and too long by itself.
    let night = |at: i64, outage| {
        let started_at = Timestamp::from_second(at).expect("a time");
        let report = DrillReport::new("night", 1, started_at, BTreeMap::new(), vec![drill(outage, &[])]);
        serde_json::to_string(&report).expect("a report is JSON")
    };
    let nights = (1..20).fold(Place::new(), |place, n| place.with(&format!("night-{n}.json"), &night(n, 4_000)));
    let nights = nights.with("night-20.json", &night(20, 6_000));
    let files = |last: u32| (1..=last).map(|n| format!("night-{n}.json")).collect::<Vec<_>>().join(" ");
    nights.run("drill report night-20.json").exits(5);
    let run = nights.run(&format!("drill report {}", files(20))).exits(0);
    assert!(run.stdout.contains("20 drills") && run.stdout.contains("20 of 20 runs passed"), "{run}");
    let run = nights.run(&format!("drill report {} night-7.json", files(19))).exits(2);
    assert!(run.stderr.contains("is there twice"), "{run}");
    let place = Place::new().with("report.json", r#"{"schema_version": 2}"#);
    let old = place.run("drill report report.json").exits(2);
    assert!(old.stderr.contains("it is of version 2"), "{old}");
}

/// Nothing listens there: every command says which host, and what to look at.
#[test]
fn unreachable_hosts_exit_4() {
    let place = Place::new();
    place.run("new --hosts a=127.0.0.1,b=127.0.0.2,c=127.0.0.3").exits(0);
    let path = place.work().join("topology.toml");
    let text = std::fs::read_to_string(&path).expect("was written");
    // tcpmux: assigned, and never used.
    std::fs::write(&path, text.replace("[ssh]\n", "[ssh]\nport = 1\n")).expect("writes the file");
    for command in
        ["status", "health", "init", "up --yes", "password", "psql", "logs worker-1-1", "switchover --coordinator --yes"]
    {
        let run = place.run(command).exits(4);
        assert!(run.stderr.contains("a: cannot connect to 127.0.0.1:1") && run.stderr.contains("hint: "), "{run}");
    }
}

#[test]
fn without_docker_labs_and_images_exit_4() {
    let place = Place::new();
    place.run("new").exits(0);
    for command in ["lab up", "lab status", "lab down", "lab kill host1", "image build"] {
        let run = place.run(command).exits(4);
        assert!(run.stderr.contains("no Docker engine answers at unix:///nonexistent/docker.sock"), "{run}");
    }
}

/// The JSON has every term; the table is asserted with its numbers in `tests/topology.rs`.
#[test]
fn a_budget_says_what_is_promised_and_why() {
    let place = Place::new();
    place.run("new --hosts db1=10.0.0.10,db2=10.0.0.11,db3=10.0.0.12 --shards 1").exits(0);
    assert_snapshot!(
        "budget",
        format!("{}\n{}", place.run("topology budget").exits(0), place.run("topology budget -v").exits(0))
    );
    let run = place.run("topology budget --format json").exits(0);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}\n{run}"));
    assert_eq!(report["schema_version"], 1);
    let lost = &report["events"][3];
    assert_eq!((&lost["event"], &lost["outcome"]), (&"host_loss".into(), &"bounded".into()));
    assert_eq!(lost["terms"][0]["worst_ms"], 7000, "{lost:#}");
    assert!(lost["promise_ms"].as_u64() >= lost["p95_ms"].as_u64(), "{lost:#}");
}

#[test]
fn completions_know_every_command() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = place.run(&format!("completions {shell}")).exits(0);
        assert_eq!(run.stderr, "");
        for command in commands().iter().filter(|command| !command.contains(' ')) {
            assert!(run.stdout.contains(command.as_str()), "{shell} does not complete {command}");
        }
    }
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let place = Place::new();
    let page = place.run("man").exits(0);
    assert!(page.stdout.contains(".TH pgclusterctl 1"), "{page}");
    let run = place.run("man --output pages").exits(0);
    assert_eq!(run.stdout, "");
    for command in commands() {
        let file = format!("pages/pgclusterctl-{}.1", command.replace(' ', "-"));
        assert!(place.work().join(&file).exists(), "{file} is missing");
    }
}
#[test]
fn the_schema_is_json() {
    let run = Place::new().run("topology schema").exits(0);
    let schema: serde_json::Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}\n{run}"));
    assert_eq!(schema["properties"]["schema"]["type"], "integer", "{run}");
}
