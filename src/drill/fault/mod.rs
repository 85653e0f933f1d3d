//! Breaking things. Whatever does not heal by itself has its healing armed on the target host before the fault is there: a
//! background process with a clock, and a script that `drill heal` finds. The operator's machine may die at any moment.
//!
//! [`process`] kills and freezes, [`network`] cuts and disturbs, [`disk`] fills, [`power`] switches off; the last one is armed on this
//! machine, as the host that it hits has no clock any more.

pub mod disk;
pub mod network;
pub mod power;
pub mod process;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::DrillError;
use crate::consent::Consent;
use crate::error::one_line;
use crate::remote::fleet::Link;
use crate::steps::World;
use crate::topology::HostName;

/// Where armed healings are on a host; gone after a restart, as the faults are. `<name>@<time>.heal`, so that the clock of an
/// earlier fault does not heal a later one.
const ARMED: &str = "/run/pgclusterctl-drill";
/// How often a clock tries to heal, [`PAUSE`] apart: a Docker daemon that is down comes back, or somebody calls `drill heal`.
const TRIES: u32 = 60;
/// Seconds between two tries.
const PAUSE: u32 = 5;

/// What healing came to on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Healing {
    /// What was healed.
    pub healed: Vec<String>,
    /// What was not, each with its reason. It stays armed.
    pub left: Vec<String>,
}

impl Healing {
    /// What the script of [`heal`] says, line by line.
    fn read(text: &str) -> Self {
        let mut healing = Self::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("healed", name)) => healing.healed.push(name.to_owned()),
                Some(("left", why)) => healing.left.push(why.to_owned()),
                _ => {}
            }
        }
        healing
    }

    fn is_empty(&self) -> bool {
        self.healed.is_empty() && self.left.is_empty()
    }
}

/// Arms the healing, then does the harm. A harm that fails half way is healed at once.
async fn inject(link: &Link, name: &str, harm: &str, heal: &str, time: Duration, _consent: &Consent) -> Result<(), DrillError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let file = format!("{ARMED}/{name}@{now}.heal");
    run(link, &arm(&file, heal, time)).await?;
    let harmed = run(link, harm).await;
    if harmed.is_err() {
        // Where that fails, too, it stays armed: its clock tries again, and whoever heals the rest names it.
        let _ = run(link, &healed(&file)).await;
    }
    harmed
}

/// Writes a healing to its file and starts its clock.
fn arm(file: &str, heal: &str, time: Duration) -> String {
    format!(
        "mkdir -p {ARMED} && cat > {file} <<'HEAL'\n{heal}\nHEAL\n\
         setsid nohup sh -c 'sleep {}; for try in $(seq {TRIES}); do test -e {file} || exit; {} && exit; sleep {PAUSE}; done' \
         < /dev/null > /dev/null 2>&1 &",
        time.as_secs_f64(),
        healed(file)
    )
}

/// Heals; only what is healed is forgotten.
fn healed(file: &str) -> String {
    format!("sh {file} && rm -f {file}")
}

/// Heals what is still armed on a host under names that begin so.
pub async fn heal(link: &Link, prefix: &str) -> Result<Healing, DrillError> {
    let output = link.ssh.run_ok(&disarm(&format!("{ARMED}/{prefix}")), "").await.map_err(DrillError::Ssh)?;
    Ok(Healing::read(&output.text()))
}

/// Heals what is armed in files that begin so, and says in a line each what came of it.
fn disarm(prefix: &str) -> String {
    format!(
        "for f in {prefix}*.heal; do test -e \"$f\" || continue; name=$(basename \"${{f%@*}}\"); \
         if why=$(sh \"$f\" 2>&1); then rm -f \"$f\"; echo \"healed $name\"; \
         else echo \"left $name: $(printf %s \"$why\" | tail -n 1)\"; fi; done"
    )
}

/// Heals whatever is still armed on any host; those with nothing are not among what is returned, and one that could not be asked is.
pub async fn heal_all(world: World<'_>) -> BTreeMap<HostName, Healing> {
    let unasked = |error: &dyn std::error::Error| Healing {
        left: vec![format!("unknown, as it was not asked: {}", one_line(error))],
        ..Healing::default()
    };
    let mut all: BTreeMap<_, _> = world.fleet.failures().map(|(host, error)| (host.clone(), unasked(error))).collect();
    for link in world.fleet.links() {
        let healing = heal(link, "").await.unwrap_or_else(|error| unasked(&error));
        if !healing.is_empty() {
            all.insert(link.host.clone(), healing);
        }
    }
    all
}

async fn run(link: &Link, script: &str) -> Result<(), DrillError> {
    link.ssh.run_ok(script, "").await.map(drop).map_err(DrillError::Ssh)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn sh(script: &str) -> (bool, String) {
        let output = Command::new("sh").arg("-c").arg(script).output().expect("a shell");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    #[test]
    fn what_was_not_healed_stays_armed_and_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().display();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("writable");
        write("cut-coordinator-1@17.heal", "exit 0\n");
        write("freeze-coordinator-2@18.heal", "echo trying\necho 'no daemon' >&2\nexit 1\n");
        let (done, said) = sh(&disarm(&format!("{place}/")));
        assert!(done, "{said}");
        let expected =
            Healing { healed: vec!["cut-coordinator-1".into()], left: vec!["freeze-coordinator-2: no daemon".into()] };
        assert_eq!(Healing::read(&said), expected);
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).expect("readable").map(|e| e.expect("an entry").file_name()).collect();
        assert_eq!(left, ["freeze-coordinator-2@18.heal"]);
        let (_, said) = sh(&disarm(&format!("{place}/disk-")));
        assert!(Healing::read(&said).is_empty(), "nothing of that name is armed");
    }

    #[test]
    fn a_healing_is_forgotten_once_it_worked() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("disturb@1.heal");
        let healing = healed(&file.display().to_string());
        std::fs::write(&file, "exit 1\n").expect("writable");
        assert_eq!((sh(&healing).0, file.exists()), (false, true));
        std::fs::write(&file, "exit 0\n").expect("writable");
        assert_eq!((sh(&healing).0, file.exists()), (true, false));
    }
}
