//! The power of lab hosts. A host without it heals nothing by itself, so its healing is armed on this machine, which has the lab: a
//! process of its own, which gives the power back although the drill has died.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::consent::Consent;
use crate::drill::DrillError;
use crate::drill::scenario::SERVED;
use crate::lab::{self, LabName};
use crate::output::Ui;
use crate::remote::fleet::Fleet;
use crate::topology::{HostName, Topology};

/// When a host gets its power back although the drill has died: later than any scenario that lives would do it.
const DARK: Duration = SERVED.saturating_mul(3);

/// A program that runs after a while, whatever becomes of this one, unless it is [disarmed](Self::disarm).
#[derive(Debug)]
pub struct Clock(Child);

impl Clock {
    /// Starts it.
    fn arm(program: &Path, arguments: &[&str], time: Duration) -> io::Result<Self> {
        // Neither a terminal that closes nor Ctrl-C in it ends a process group of its own.
        let script = format!("trap '' HUP; sleep {}; exec \"$0\" \"$@\"", time.as_secs_f64());
        let mut clock = Command::new("sh");
        clock.arg("-c").arg(script).arg(program).args(arguments).process_group(0);
        clock.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        clock.spawn().map(Self)
    }

    /// Stops it. One that has gone off is done, and in nobody's way.
    pub fn disarm(mut self) {
        // What a process group is told that is over already, nobody hears.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

/// Arms the healing, then takes a host's power.
pub async fn off(lab: &LabName, host: &HostName, _consent: &Consent) -> Result<Clock, DrillError> {
    let failed = |source: io::Error| DrillError::Fault {
        target: host.to_string(),
        reason: format!("nobody would give it its power back: {source}"),
    };
    let program = std::env::current_exe().map_err(failed)?;
    let name = lab.to_string();
    let clock = Clock::arm(&program, &["lab", "start", host.as_str(), "--name", &name], DARK).map_err(failed)?;
    match lab::kill(lab, host.as_str()).await {
        Ok(_) => Ok(clock),
        Err(error) => {
            clock.disarm();
            Err(error.into())
        }
    }
}

/// Gives hosts that do not answer their power back, if they are those of a lab on this machine; tells which.
pub async fn restore(ui: &Ui, topology: &Topology, fleet: &mut Fleet) -> Result<Vec<String>, DrillError> {
    let silent: Vec<HostName> = fleet.failures().map(|(host, _)| host.clone()).collect();
    let mut started = Vec::new();
    for name in silent {
        // A machine without Docker has no lab, and a host that no lab knows has a switch of its own.
        if let Ok(Some(lab)) = lab::of_host(name.as_str(), topology.host(&name).address).await {
            started.extend(lab::start(ui, &lab, &[name.to_string()]).await?);
        }
    }
    if !started.is_empty() {
        fleet.revive(topology).await;
    }
    Ok(started)
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::Instant;

    use super::*;

    const SOON: Duration = Duration::from_millis(100);

    #[test]
    fn a_clock_goes_off_unless_it_is_disarmed() {
        let folder = tempfile::tempdir().expect("a folder");
        let [rings, disarmed] = ["rings", "disarmed"].map(|name| folder.path().join(name));
        let arm = |path: &Path| Clock::arm(Path::new("touch"), &[&path.display().to_string()], SOON).expect("a shell");
        let stopped = arm(&disarmed);
        stopped.disarm();
        // Forgotten, as by a program that was killed.
        drop(arm(&rings));
        let started = Instant::now();
        while !rings.exists() {
            assert!(started.elapsed() < Duration::from_secs(30), "it did not go off");
            sleep(SOON);
        }
        assert!(!disarmed.exists());
    }
}
