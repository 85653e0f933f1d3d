//! HAProxy's own view of its servers, and which proxy host carries the VIP.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::lines::Lines;
use super::model::{HostFacts, Probe, ProxyFacts};
use super::{Scope, within};
use crate::error::one_line;
use crate::remote::relay;
use crate::topology::Topology;
use crate::topology::ids::{HostName, MemberName};

pub(super) async fn collect(lines: &Lines<'_>, scope: Scope) -> BTreeMap<MemberName, Probe<ProxyFacts>> {
    if !scope.proxies {
        return BTreeMap::new();
    }
    let looks = lines.topology.proxies.iter().map(|proxy| async move {
        let name = format!("haproxy-{}", proxy.ordinal);
        let probe = within(&name, lines.patience.probe, look(lines, &name)).await;
        // A name made of fixed letters and a number always is one.
        MemberName::new(&name).ok().map(|name| (name, probe))
    });
    join_all(looks).await.into_iter().flatten().collect()
}

/// Marks the proxies whose host carries the VIP.
pub(super) fn place_vip(
    topology: &Topology,
    hosts: &BTreeMap<HostName, Probe<HostFacts>>,
    proxies: &mut BTreeMap<MemberName, Probe<ProxyFacts>>,
) {
    let Some(vip) = topology.network.vip.as_ref().map(|vip| vip.address.addr()) else { return };
    for proxy in &topology.proxies {
        let facts = hosts.get(&proxy.host).and_then(Probe::known);
        let carries = facts.is_some_and(|f| f.addresses.values().flatten().any(|a| *a == vip));
        let name = format!("haproxy-{}", proxy.ordinal);
        if let Some((_, Probe::Known(facts))) = proxies.iter_mut().find(|(n, _)| n.as_str() == name) {
            facts.holds_vip = carries;
        }
    }
}

async fn look(lines: &Lines<'_>, name: &str) -> Result<ProxyFacts, String> {
    let container = lines.container(name).await?;
    let mut socket = relay::haproxy(&container).await.map_err(|e| one_line(&e))?;
    socket.write_all(b"show stat\n").await.map_err(|e| one_line(&e))?;
    let mut answer = Vec::new();
    // An empty line ends the answer. The end of the stream comes half a second later: socat waits that long for more of ours.
    while !answer.ends_with(b"\n\n") && socket.read_buf(&mut answer).await.map_err(|e| one_line(&e))? > 0 {}
    read(&String::from_utf8_lossy(&answer))
}

/// Backend of `haproxy.cfg.tera` that serves reads while no server of [`STANDBYS`] is up. HAProxy needs the two apart, for
/// their checks differ; who reads statistics sees one backend that works as long as either does. Its servers are named
/// `leader-<member>`.
const LEADER_FOR_READS: &str = "leader_for_reads";
const STANDBYS: &str = "standbys";
/// Frontends of `haproxy.cfg.tera` that clients connect to.
const CLIENTS: [&str; 2] = ["writes", "reads"];
/// Status of a server without checks.
const UNCHECKED: &str = "no check";

/// `show stat` is CSV whose first line names the columns (HAProxy management guide, section 9.1).
fn read(text: &str) -> Result<ProxyFacts, String> {
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let head = lines.next().and_then(|line| line.strip_prefix("# ")).ok_or("it answers no statistics")?;
    let columns: Vec<_> = head.split(',').collect();
    let column = |name: &str| columns.iter().position(|c| *c == name).ok_or(format!("its statistics have no column {name}"));
    let (proxy, server, status, sessions) = (column("pxname")?, column("svname")?, column("status")?, column("scur")?);
    let mut facts = ProxyFacts { holds_vip: false, backends: BTreeMap::new(), sessions: 0 };
    for line in lines {
        let fields: Vec<_> = line.split(',').collect();
        let field = |index: usize| fields.get(index).copied().unwrap_or_default();
        match field(server) {
            "FRONTEND" if CLIENTS.contains(&field(proxy)) => {
                facts.sessions += field(sessions).parse::<u64>().unwrap_or_default()
            }
            "FRONTEND" | "BACKEND" => {}
            // This proxy itself, once more: says nothing about anybody.
            _ if field(status) == UNCHECKED => {}
            name => {
                let backend = if field(proxy) == LEADER_FOR_READS { STANDBYS } else { field(proxy) };
                let servers = facts.backends.entry(backend.to_owned()).or_default();
                servers.insert(name.to_owned(), field(status).to_owned());
            }
        }
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read_by_column_name() {
        let text = "# pxname,svname,qcur,scur,status,\nwrites,FRONTEND,,3,OPEN,\nleader,FRONTEND,,2,OPEN,\nleader_tls,leader,0,2,no check,\nleader,coordinator-1,0,1,UP,\nleader,coordinator-2,0,0,DOWN,\nleader,BACKEND,0,1,UP,\n\n";
        let facts = read(text).expect("readable");
        assert_eq!(facts.sessions, 3);
        assert_eq!(facts.backends["leader"]["coordinator-1"], "UP");
        assert_eq!(facts.backends["leader"].len(), 2);
        assert!(!facts.backends.contains_key("leader_tls"), "nothing is known of it");
        assert!(read("Unknown command\n").is_err());
    }

    #[test]
    fn the_leader_that_stands_in_for_the_standbys_is_among_them() {
        let text =
            "# pxname,svname,scur,status,\nleader_for_reads,leader-coordinator-1,0,UP,\nstandbys,coordinator-1,0,DOWN,\n";
        let facts = read(text).expect("readable");
        assert_eq!(facts.backends.keys().collect::<Vec<_>>(), ["standbys"]);
        assert_eq!(facts.backends["standbys"]["leader-coordinator-1"], "UP");
    }
}
