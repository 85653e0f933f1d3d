//! Disks that are full. Only in a lab: its hosts share one file system with the machine, so a member first gets a small one of
//! its own, in memory.

use std::time::Duration;

use super::{inject, run};
use crate::consent::Consent;
use crate::drill::DrillError;
use crate::remote::container::{Container, SERVICE_LABEL};
use crate::remote::fleet::Link;

/// What names of armed healings of [`shrink`] begin with.
pub const SMALL: &str = "disk-";
/// Room on a small disk beyond what the member's data take, for what it writes until the disk is filled.
const SPARE_MIB: u32 = 256;
/// The file that fills a disk, beside the data folder.
const FILLER: &str = "drill-filler";
/// How long a member may take to stop in order.
const STOP_SECS: u32 = 60;

/// A member and its Docker volume.
#[derive(Debug)]
pub struct Disk<'a> {
    /// The member.
    pub container: &'a Container,
    /// Name of its Swarm service.
    pub service: String,
    /// Name of the volume with its data.
    pub volume: String,
}

impl Disk<'_> {
    /// Sets `$data` to the volume's folder on the host.
    fn find(&self) -> String {
        format!("data=$(docker volume inspect --format '{{{{.Mountpoint}}}}' {}) && test -d \"$data\" || exit 1\n", self.volume)
    }

    /// Stops the member in order; Swarm starts it again, and it then finds what is mounted by now.
    fn restart(&self) -> String {
        format!(
            "docker ps --quiet --filter label={SERVICE_LABEL}={} | xargs -r docker stop --time {STOP_SECS} > /dev/null\n",
            self.service
        )
    }
}

/// Mounts a small disk over a standby's volume and restarts the member, which is copied anew onto it. The healing restarts it on
/// its own disk, empty: what was there before is old.
pub async fn shrink(link: &Link, disk: &Disk<'_>, time: Duration, consent: &Consent) -> Result<(), DrillError> {
    let find = disk.find();
    let restart = disk.restart();
    let harm = format!(
        "{find}set -e\nif mountpoint -q \"$data\"; then echo \"$data is a mount point already\" >&2; exit 1; fi\n\
         size=$(($(du -sm \"$data\" | cut -f 1) + {SPARE_MIB}))\n\
         mount -t tmpfs -o \"size=${{size}}m,$(stat -c 'uid=%u,gid=%g,mode=%a' \"$data\")\" tmpfs \"$data\"\n{restart}"
    );
    // Lazily: the member sees the small disk until it has stopped.
    let heal = format!(
        "{find}mountpoint -q \"$data\" || exit 0\numount -l \"$data\" && ! mountpoint -q \"$data\" || exit 1\n\
         find \"$data\" -mindepth 1 -delete\n{restart}"
    );
    inject(link, &format!("{SMALL}{}", disk.container.name), &harm, &heal, time, consent).await
}

/// Takes all room from a member's small disk for so long, and what PostgreSQL holds in reserve: WAL segments that exist already.
pub async fn fill(link: &Link, disk: &Disk<'_>, time: Duration, consent: &Consent) -> Result<(), DrillError> {
    let find = disk.find();
    let harm = format!(
        "{find}mountpoint -q \"$data\" || {{ echo \"$data is no small disk\" >&2; exit 1; }}\n\
         cat /dev/zero > \"$data/{FILLER}\" 2> /dev/null\ntest \"$(df --output=avail \"$data\" | tail -n 1)\" -eq 0"
    );
    let heal = format!("{find}rm -f \"$data/{FILLER}\"\n");
    inject(link, &format!("full-{}", disk.container.name), &harm, &heal, time, consent).await?;
    // Ends with the connection when the disk is full.
    let switch = "select pg_logical_emit_message(false, 'drill', 'full'), pg_switch_wal() from generate_series(1, 64)";
    let id = &disk.container.id;
    run(link, &format!("docker exec --user postgres {id} psql -qXAt -d postgres -c \"{switch}\" > /dev/null 2>&1 || true"))
        .await
}
