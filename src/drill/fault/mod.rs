//! Breaking things. Whatever does not heal by itself has its healing armed on the target host before the fault is there: a
//! background process with a clock, and a script that `drill heal` finds. The operator's machine may die at any moment.
//!
//! [`process`] kills and freezes, [`network`] cuts and disturbs, [`disk`] fills, [`power`] switches off; the last one is armed on this
//! machine, as the host that it hits has no clock any more.

pub mod disk;
pub mod network;
pub mod power;
pub mod process;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::DrillError;
use crate::consent::Consent;
use crate::remote::fleet::Link;
use crate::steps::World;

/// Where armed healings are on a host; gone after a restart, as the faults are. `<name>@<time>.heal`, so that the clock of an
/// earlier fault does not heal a later one.
const ARMED: &str = "/run/pgclusterctl-drill";

/// Arms the healing, then does the harm. A harm that fails half way is healed at once.
async fn inject(link: &Link, name: &str, harm: &str, heal: &str, time: Duration, _consent: &Consent) -> Result<(), DrillError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let file = format!("{ARMED}/{name}@{now}.heal");
    let arm = format!(
        "mkdir -p {ARMED} && cat > {file} <<'HEAL'\n{heal}\nHEAL\n\
         setsid nohup sh -c 'sleep {}; test -e {file} && sh {file}; rm -f {file}' < /dev/null > /dev/null 2>&1 &",
        time.as_secs_f64()
    );
    run(link, &arm).await?;
    let harmed = run(link, harm).await;
    if harmed.is_err() {
        run(link, &format!("sh {file}; rm -f {file}")).await?;
    }
    harmed
}

/// Heals what is still armed on a host under names that begin so; tells what it was.
pub async fn heal(link: &Link, prefix: &str) -> Result<Vec<String>, DrillError> {
    let script = format!(
        "for f in {ARMED}/{prefix}*.heal; do test -e \"$f\" || continue; \
         basename \"${{f%@*}}\"; sh \"$f\" >&2; rm -f \"$f\"; done"
    );
    let output = link.ssh.run_ok(&script, "").await.map_err(DrillError::Ssh)?;
    Ok(output.text().lines().map(str::to_owned).collect())
}

/// Heals whatever is still armed on any host that answers.
pub async fn heal_all(world: World<'_>) -> Vec<(String, Vec<String>)> {
    let mut healed = Vec::new();
    for link in world.fleet.links() {
        if let Ok(names) = heal(link, "").await
            && !names.is_empty()
        {
            healed.push((link.host.to_string(), names));
        }
    }
    healed
}

async fn run(link: &Link, script: &str) -> Result<(), DrillError> {
    link.ssh.run_ok(script, "").await.map(drop).map_err(DrillError::Ssh)
}
