//! Hosts: one shell command and one question to the daemon for each.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use bollard::models::SystemInfo;
use futures_util::future::join_all;

use super::lines::{Daemon, Lines};
use super::model::{HostFacts, Probe, SwarmMembership};
use super::{Scope, within};
use crate::error::one_line;
use crate::topology::ids::HostName;

/// Everything the shell knows, in sections that start with `==`; Docker's data folder comes on stdin. Only tools that every
/// Docker host has: iproute2 comes with Docker's own dependencies, the rest is coreutils and /proc.
const SCRIPT: &str = r#"
read -r root
echo "==clock"; date +%s%3N
echo "==kernel"; uname -r
echo "==cpus"; nproc
echo "==memory"; sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo
echo "==disk"; df -B1 --output=size,avail "$root" | tail -n 1
echo "==addresses"; ip -o -4 addr show
echo "==listening"; cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" { split($2, a, ":"); print a[2] }'
"#;

pub(super) async fn collect(lines: &Lines<'_>, scope: Scope) -> BTreeMap<HostName, Probe<HostFacts>> {
    if !scope.hosts {
        return BTreeMap::new();
    }
    let looks = lines.topology.hosts.iter().map(|host| async move {
        let name = host.name.as_str();
        let plain = |reason: String| {
            // Name and address stand in the row already.
            let reason = reason.strip_prefix(&format!("{name}: ")).unwrap_or(&reason);
            let connect = format!("cannot connect to {}:{}: ", host.address, host.ssh.port);
            reason.strip_prefix(&connect).unwrap_or(reason).to_owned()
        };
        let look = async { look(lines, &host.name).await.map_err(plain) };
        (host.name.clone(), within(name, lines.patience.probe, look).await)
    });
    join_all(looks).await.into_iter().collect()
}

async fn look(lines: &Lines<'_>, host: &HostName) -> Result<HostFacts, String> {
    let link = lines.link(host)?;
    let (daemon, info) = tokio::join!(lines.daemon(host), lines.info(host));
    let Daemon { version, containers } = daemon?;
    let root = info.as_ref().ok().and_then(|info| info.docker_root_dir.as_deref()).unwrap_or("/var/lib/docker");
    let before = jiff::Timestamp::now();
    let output = link.ssh.run_ok(SCRIPT, format!("{root}\n")).await.map_err(|e| one_line(&e))?;
    let after = jiff::Timestamp::now();
    let middle = i64::midpoint(before.as_millisecond(), after.as_millisecond());
    let text = output.text();
    let sections = sections(&text);
    let section = |name: &str| sections.get(name).copied().unwrap_or_default().trim();
    let disk: Vec<u64> = section("disk").split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let clock = section("clock").parse::<i64>().map_err(|_| "its clock cannot be read".to_owned())?;
    Ok(HostFacts {
        docker_version: version.clone(),
        kernel: section("kernel").to_owned(),
        cpus: section("cpus").parse().unwrap_or_default(),
        memory_bytes: section("memory").parse::<u64>().unwrap_or_default() * 1024,
        disk_total_bytes: disk.first().copied().unwrap_or_default(),
        disk_free_bytes: disk.get(1).copied().unwrap_or_default(),
        clock_skew_ms: clock - middle,
        addresses: addresses(section("addresses")),
        listening: listening(section("listening")),
        swarm: membership(info),
        containers: containers.clone(),
    })
}

fn membership(info: Result<&SystemInfo, String>) -> SwarmMembership {
    let info = match info {
        Ok(info) => info,
        Err(error) => return SwarmMembership { state: "unknown".into(), error, ..SwarmMembership::default() },
    };
    let swarm = info.swarm.clone().unwrap_or_default();
    SwarmMembership {
        state: swarm.local_node_state.map(|s| s.to_string()).unwrap_or_default(),
        node_id: swarm.node_id.unwrap_or_default(),
        cluster_id: swarm.cluster.and_then(|c| c.id).unwrap_or_default(),
        control_available: swarm.control_available.unwrap_or_default(),
        error: swarm.error.unwrap_or_default(),
    }
}

/// Text between the lines that start with `==`, by what follows there.
fn sections(text: &str) -> BTreeMap<&str, &str> {
    let parts = text.split("==").skip(1);
    parts.filter_map(|part| part.split_once('\n').map(|(name, body)| (name.trim(), body))).collect()
}

/// Lines of `ip -o -4 addr show`: `2: eth0    inet 10.0.0.10/24 brd …`.
fn addresses(text: &str) -> BTreeMap<String, Vec<Ipv4Addr>> {
    let mut found: BTreeMap<String, Vec<Ipv4Addr>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace().skip(1);
        let (Some(interface), Some("inet"), Some(address)) = (words.next(), words.next(), words.next()) else { continue };
        if let Some(Ok(address)) = address.split('/').next().map(str::parse) {
            found.entry(interface.to_owned()).or_default().push(address);
        }
    }
    found
}

/// Ports in hexadecimal, as /proc/net/tcp has them.
fn listening(text: &str) -> Vec<u16> {
    let mut ports: Vec<u16> = text.lines().filter_map(|line| u16::from_str_radix(line.trim(), 16).ok()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_shell_says_is_read() {
        let text = "==clock\n1700000000123\n==disk\n 100 50\n==listening\n1538\n1538\n0016\n";
        let sections = sections(text);
        assert_eq!(sections["clock"].trim(), "1700000000123");
        assert_eq!(listening(sections["listening"]), [22, 5432]);
        let shown = "1: lo    inet 127.0.0.1/8 scope host lo\n2: eth0    inet 10.0.0.10/24 brd 10.0.0.255 scope global eth0\n2: eth0    inet 10.0.0.100/24 scope global secondary eth0";
        let expected = vec![Ipv4Addr::new(10, 0, 0, 10), Ipv4Addr::new(10, 0, 0, 100)];
        assert_eq!(addresses(shown)["eth0"], expected);
    }
}
