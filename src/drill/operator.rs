//! The operator's own commands, as processes that can be killed, and a copy of the topology file that gives `up` something to do.
//!
//! The copy lies beside the file, since names of files in it are relative to its folder, and goes when its owner does. The file
//! itself is only read.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use super::DrillError;
use crate::error::one_line;
use crate::steps::StepError;

/// A setting that takes a restart of every member, is of no consequence, and is in nobody's way: no standby needs as much of it
/// as its leader has.
const SETTING: &str = "track_activity_query_size";
/// Its value in the copy, in bytes, and the one that is taken where this one is in use.
const VALUES: [i64; 2] = [2048, 3072];
/// A command that takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A copy of a topology file with one setting changed.
#[derive(Debug)]
pub struct Changed {
    /// The copy.
    pub path: PathBuf,
}

impl Changed {
    /// Writes it.
    pub fn copy_of(original: &Path) -> Result<Self, DrillError> {
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |source| DrillError::File { path, source }
        };
        let text = std::fs::read_to_string(original).map_err(failed(original))?;
        let text = changed(&text).map_err(std::io::Error::other).map_err(failed(original))?;
        let path = original.with_file_name(format!(".drill-{}.toml", std::process::id()));
        std::fs::write(&path, text).map_err(failed(&path))?;
        Ok(Self { path })
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        // A copy that stays is in nobody's way.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The text of a topology file with another value of [`SETTING`].
fn changed(text: &str) -> Result<String, String> {
    let mut file: toml::Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    let section = |table: &mut toml::Table, name: &str| match table.entry(name).or_insert_with(|| toml::Table::new().into()) {
        toml::Value::Table(section) => Ok(std::mem::take(section)),
        _ => Err(format!("{name} is no table")),
    };
    let mut postgres = section(&mut file, "postgres")?;
    let mut parameters = section(&mut postgres, "parameters")?;
    let [first, other] = VALUES;
    let taken = parameters.get(SETTING).and_then(toml::Value::as_integer) == Some(first);
    parameters.insert(SETTING.to_owned(), if taken { other } else { first }.into());
    postgres.insert("parameters".to_owned(), parameters.into());
    file.insert("postgres".to_owned(), postgres.into());
    toml::to_string(&file).map_err(|error| error.to_string())
}

/// Starts `up` and kills it as soon as clients are `held_back`, which nobody else does meanwhile; false when it ended before.
pub async fn kill_up(topology: &Path, held_back: impl Future<Output = Result<(), StepError>>) -> Result<bool, DrillError> {
    let command = &["up"];
    let failed = |source: std::io::Error| no_end(command, source.to_string());
    let mut up = start(topology, command)?;
    let mut stderr = up.stderr.take().expect("stderr is piped");
    let killed = async {
        let mut said = Vec::new();
        tokio::select! {
            held = held_back => {
                // It gets no chance to give its lock back, nor to let clients go on.
                up.kill().await.map_err(failed)?;
                let unseen = |error| DrillError::Fault { target: "the poolers".into(), reason: one_line(&error) };
                held.map(|()| true).map_err(unseen)
            }
            _ = stderr.read_to_end(&mut said) => up.wait().await.map(|_| false).map_err(failed),
        }
    };
    tokio::time::timeout(PATIENCE, killed).await.unwrap_or_else(|_| Err(hangs(command)))
}

/// Runs a command to its end; an error says what it said last.
pub async fn run(topology: &Path, command: &[&str]) -> Result<(), DrillError> {
    let mut child = start(topology, command)?;
    let mut stderr = child.stderr.take().expect("stderr is piped");
    let mut text = String::new();
    let ended = async {
        stderr.read_to_string(&mut text).await?;
        child.wait().await
    };
    let status = match tokio::time::timeout(PATIENCE, ended).await {
        Ok(status) => status.map_err(|source| no_end(command, source.to_string()))?,
        Err(_) => return Err(hangs(command)),
    };
    if status.success() {
        return Ok(());
    }
    Err(no_end(command, format!("ended with {status}: {}", complaint(&text))))
}

/// The error at the end of what a command printed, with its causes; or its last line.
fn complaint(text: &str) -> String {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("error"));
    let Some(error) = lines.next() else { return text.lines().last().unwrap_or_default().to_owned() };
    let causes = lines.map(str::trim).take_while(|line| line.starts_with("because: "));
    causes.fold(error.to_owned(), |said, cause| format!("{said}; {cause}"))
}

fn start(topology: &Path, command: &[&str]) -> Result<Child, DrillError> {
    let failed = |source: std::io::Error| no_end(command, source.to_string());
    let mut child = Command::new(std::env::current_exe().map_err(failed)?);
    child.arg("--topology").arg(topology).arg("--yes").args(command);
    child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    child.spawn().map_err(failed)
}

fn hangs(command: &[&str]) -> DrillError {
    no_end(command, format!("has not ended within {} s", PATIENCE.as_secs()))
}

fn no_end(command: &[&str], reason: String) -> DrillError {
    DrillError::Fault { target: format!("`pgclusterctl {}`", command.join(" ")), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_setting_is_changed_and_nothing_else() {
        let text = "[cluster]\nname = \"pg\"\n[postgres.parameters]\nwork_mem = \"8MB\"\n";
        let once: toml::Table = changed(text).expect("a topology").parse().expect("TOML");
        assert_eq!(once["postgres"]["parameters"][SETTING].as_integer(), Some(VALUES[0]));
        assert_eq!(once["postgres"]["parameters"]["work_mem"].as_str(), Some("8MB"));
        assert_eq!(once["cluster"]["name"].as_str(), Some("pg"));
        let twice: toml::Table = changed(&once.to_string()).expect("a topology").parse().expect("TOML");
        assert_eq!(
            twice["postgres"]["parameters"][SETTING].as_integer(),
            Some(VALUES[1]),
            "a value that is in use changes nothing"
        );
        assert!(changed("postgres = 3").is_err());
    }

    #[test]
    fn a_complaint_has_its_causes() {
        let text = "step 3 of 9\nerror: 8 of 9 steps done\n  because: coordinator: no\n  because: so\n  hint: run it again\n";
        assert_eq!(complaint(text), "error: 8 of 9 steps done; because: coordinator: no; because: so");
        assert_eq!((complaint("step 3 of 9\nKilled\n"), complaint("")), ("Killed".into(), String::new()));
    }

    #[test]
    fn every_example_can_be_changed() {
        for name in ["three-hosts", "five-hosts", "one-host"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(format!("{name}.toml"));
            let text = std::fs::read_to_string(&path).expect("an example");
            let text = changed(&text).expect("a topology");
            let (topology, _) = crate::topology::parse(&text, &path).unwrap_or_else(|found| panic!("{name}: {found:?}"));
            assert_eq!(topology.parameters[SETTING], VALUES[0].to_string());
        }
    }

    #[test]
    fn the_copy_goes_and_the_file_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let original = folder.path().join("topology.toml");
        std::fs::write(&original, "schema = 1\n").expect("writable");
        let copy = Changed::copy_of(&original).expect("a copy");
        assert!(copy.path.exists() && copy.path.parent() == original.parent());
        drop(copy);
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 1);
        assert_eq!(std::fs::read_to_string(&original).expect("readable"), "schema = 1\n");
    }
}
