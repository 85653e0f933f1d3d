//! Breaking things. Whatever does not heal by itself has its healing armed on the target host before the fault is there: a
//! background process with a clock, and a script that `drill heal` finds. The operator's machine may die at any moment.

use std::time::Duration;

use super::DrillError;
use super::scenario::Direction;
use crate::consent::Consent;
use crate::remote::container::Container;
use crate::remote::exec;
use crate::remote::fleet::Link;
use crate::steps::World;
use crate::topology::model::Host;

/// Where armed healings are on a host; gone after a restart, as the faults are.
const ARMED: &str = "/run/pgclusterctl-drill";

/// Kills all processes of a container, or stops it in order.
pub async fn kill(container: &Container, signal: &str, _consent: &Consent) -> Result<(), DrillError> {
    let options = bollard::query_parameters::KillContainerOptionsBuilder::default().signal(signal).build();
    let killed = container.docker.kill_container(&container.id, Some(options)).await;
    killed.map_err(|source| DrillError::Docker { target: container.name.clone(), doing: "kill it", source })
}

/// Sends SIGKILL to the first process that a shell expression names by its id, from within the container.
pub async fn kill_process(container: &Container, pid: &str, _consent: &Consent) -> Result<(), DrillError> {
    let script = format!("pid=$({pid}) && test -n \"$pid\" && kill -KILL $pid");
    let argv = ["sh", "-c", script.as_str()];
    let done = exec::run(&container.docker, &container.id, "", &argv, bytes::Bytes::new()).await;
    let done = done.map_err(|source| DrillError::Docker { target: container.name.clone(), doing: "run kill in it", source })?;
    if done.status == 0 {
        return Ok(());
    }
    let reason = format!("the process was not found: {}", String::from_utf8_lossy(&done.stderr).trim());
    Err(DrillError::Fault { target: container.name.clone(), reason })
}

/// The postmaster: its id is on the first line of its lock file.
pub const POSTMASTER: &str = "head -n 1 /var/lib/postgresql/*/data/postmaster.pid";
/// One server process of a client or of a background job: any of them takes PostgreSQL into recovery.
pub const BACKEND: &str = "pgrep -f '^postgres: .*(walwriter|background writer)' | head -n 1";

/// All processes of a container stand still for so long.
pub async fn freeze(link: &Link, container: &Container, time: Duration, consent: &Consent) -> Result<(), DrillError> {
    let id = &container.id;
    inject(
        link,
        &format!("freeze-{}", container.name),
        &format!("docker pause {id}"),
        &format!("docker unpause {id}"),
        time,
        consent,
    )
    .await
}

/// The host hears or reaches nobody for so long; SSH stays.
pub async fn isolate(
    link: &Link,
    host: &Host,
    direction: Direction,
    time: Duration,
    consent: &Consent,
) -> Result<(), DrillError> {
    let (inbound, outbound) = (direction != Direction::Outbound, direction != Direction::Inbound);
    let mut cut = format!(
        "set -e\nif=$(ip -o -4 address show | awk '$4 ~ /^{}\\// {{ print $2; exit }}')\ntest -n \"$if\"\n",
        host.address.to_string().replace('.', "\\.")
    );
    let mut heal = cut.replace("set -e\n", "");
    let mut rule = |chain: &str, side: &str, ssh: &str| {
        let name = format!("PGCLUSTERCTL-{chain}");
        let spare = if ssh.is_empty() { String::new() } else { format!("iptables -w -A {name} {ssh} -j RETURN\n") };
        cut += &format!(
            "iptables -w -N {name}\n{spare}iptables -w -A {name} -j DROP\niptables -w -I {chain} 1 {side} \"$if\" -j {name}\n"
        );
        heal += &format!(
            "while iptables -w -D {chain} {side} \"$if\" -j {name} 2> /dev/null; do :; done\n\
             iptables -w -F {name} 2> /dev/null; iptables -w -X {name} 2> /dev/null\n"
        );
    };
    let port = host.ssh.port;
    if inbound {
        rule("INPUT", "-i", &format!("-p tcp --dport {port}"));
        rule("FORWARD", "-i", "");
    }
    if outbound {
        rule("OUTPUT", "-o", &format!("-p tcp --sport {port}"));
    }
    if direction == Direction::Both {
        // A host that is cut off answers no ARP request either; otherwise it would still claim the VIP.
        cut += "echo 8 > /proc/sys/net/ipv4/conf/$if/arp_ignore\n";
        heal += "echo 0 > /proc/sys/net/ipv4/conf/$if/arp_ignore\n";
    }
    inject(link, "isolate", &cut, &heal, time, consent).await
}

/// A member does not reach others, nor they it, for so long. Works in the member's own network namespace.
pub async fn cut(
    link: &Link,
    container: &Container,
    peers: &[String],
    time: Duration,
    consent: &Consent,
) -> Result<(), DrillError> {
    let enter = format!("pid=$(docker inspect --format '{{{{.State.Pid}}}}' {}) && ", container.id);
    let address =
        |peer: &String| format!("$(docker exec {} getent ahostsv4 {peer} | awk '{{ print $1; exit }}')", container.id);
    let mut cut = format!("set -e\n{enter}test \"$pid\" -gt 0\n");
    for peer in peers {
        cut += &format!("ip={}\ntest -n \"$ip\"\n", address(peer));
        cut +=
            "nsenter -t $pid -n iptables -w -I INPUT -s $ip -j DROP\nnsenter -t $pid -n iptables -w -I OUTPUT -d $ip -j DROP\n";
    }
    // The namespace is the container's own: nothing else has rules in these two chains.
    let heal = format!("{enter}nsenter -t $pid -n sh -c 'iptables -w -F INPUT; iptables -w -F OUTPUT'\n");
    inject(link, &format!("cut-{}", container.name), &cut, &heal, time, consent).await
}

/// Kills the Docker daemon with all that it has started, as a crash of it and its shims would; then starts it. In a lab the
/// daemon is started by the host's own first process.
pub async fn kill_dockerd(link: &Link, _consent: &Consent) -> Result<(), DrillError> {
    run(link, "kill -KILL $(cat /var/run/docker.pid)").await
}

/// Arms the healing, then does the harm. A harm that fails half way is healed at once.
async fn inject(link: &Link, name: &str, harm: &str, heal: &str, time: Duration, _consent: &Consent) -> Result<(), DrillError> {
    let file = format!("{ARMED}/{name}.heal");
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

/// Heals whatever is still armed on a host; tells what it was.
pub async fn heal(link: &Link) -> Result<Vec<String>, DrillError> {
    let script = format!(
        "for f in {ARMED}/*.heal; do test -e \"$f\" || continue; basename \"$f\" .heal; sh \"$f\" >&2; rm -f \"$f\"; done"
    );
    let output = link.ssh.run_ok(&script, "").await.map_err(DrillError::Ssh)?;
    Ok(output.text().lines().map(str::to_owned).collect())
}

/// Heals whatever is still armed on any host that answers.
pub async fn heal_all(world: World<'_>) -> Vec<(String, Vec<String>)> {
    let mut healed = Vec::new();
    for link in world.fleet.links() {
        if let Ok(names) = heal(link).await
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
