//! The pipelines of `examples/ci`: nobody answers there, so that whatever asks has to be told `--yes`.

use clap::Parser;
use pgclusterctl::cli::{Cli, Command};
use pgclusterctl::commands::{image, lab};

/// Every command line of this program in a pipeline, as it is typed.
fn command_lines(pipeline: &str) -> Vec<&str> {
    let commands = pipeline.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    let lines = commands.filter_map(|line| line.find("pgclusterctl ").map(|at| (line, at)));
    let typed = lines.filter(|(line, at)| matches!(line[..*at].trim_end(), "" | "-" | "run:" | "- run:"));
    typed.map(|(line, at)| line[at..].split([';', '|', '>', '&']).next().unwrap_or_default().trim_end()).collect()
}

/// Who is not known to ask nothing may ask.
fn may_ask(command: &Command) -> bool {
    !matches!(
        command,
        Command::Image(image::Command::Build(_) | image::Command::Push)
            | Command::Lab(lab::Command::Up(_))
            | Command::Status(_)
            | Command::Health(_)
    )
}

#[test]
fn pipelines_are_understood_and_wait_for_no_answer() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci");
    for entry in std::fs::read_dir(folder).expect("the pipelines") {
        let path = entry.expect("an entry").path();
        let name = path.display();
        let pipeline = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let lines = command_lines(&pipeline);
        assert!(lines.first().is_some_and(|line| line.contains("lab up")), "{name}: {lines:?}");
        assert!(lines.last().is_some_and(|line| line.contains("lab down")), "{name}: {lines:?}");
        for line in lines {
            let cli = Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{name}: {line}\n{error}"));
            assert!(cli.global.yes || !may_ask(&cli.command), "{name}: nobody is there to answer `{line}`: add --yes");
        }
    }
}
