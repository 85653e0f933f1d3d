//! Checks of what clients connect to: HAProxy's backends and the virtual address.

use std::collections::BTreeMap;

use super::look::list;
use super::{Finding, Look};
use crate::observe::model::{Probe, ProxyFacts};
use crate::topology::model::Proxy;
use crate::topology::{GroupId, MemberName};

/// Servers of a backend with their status.
type Servers = BTreeMap<String, String>;

/// Servers so named stand in for a backend's own: the leader serves reads under this prefix while no standby is up.
const STAND_IN: &str = "leader-";
/// The backend of writes, behind the pooler.
const LEADER: &str = "coordinator_leader";

/// Every HAProxy answers, and each of its backends has a server.
pub fn backends(look: &Look<'_>) -> Vec<Finding> {
    let judge = |proxy: &Proxy| {
        let name = service(proxy);
        let facts = match facts(look, proxy) {
            Ok(facts) => facts,
            Err(reason) => {
                return Finding::fail(&name, format!("unknown: {reason}"), format!("pgclusterctl logs {name}"))
                    .following(look.lost_with([&proxy.host]).or_else(|| look.undeployed()));
            }
        };
        if facts.backends.is_empty() {
            return Finding::fail(&name, "has no backends", "run `pgclusterctl up`");
        }
        let bare = |stands_in: bool| {
            let is = move |servers: &Servers| servers_up(servers).0 == 0 && stand_in_up(servers) == stands_in;
            facts.backends.iter().filter(move |(_, servers)| is(servers)).map(|(backend, _)| backend).collect::<Vec<_>>()
        };
        if !bare(false).is_empty() {
            let evidence = format!("no server is up in {}", list(bare(false)));
            let leaderless = super::group::has_no_leader(look, GroupId::COORDINATOR);
            return Finding::fail(&name, evidence, format!("see leader; then `pgclusterctl logs {name}`"))
                .following(leaderless.then(|| format!("leader {}", GroupId::COORDINATOR)));
        }
        if !bare(true).is_empty() {
            let evidence = format!("no server of {} is up, the leader serves instead", list(bare(true)));
            return Finding::warn(&name, evidence, "bring a standby back; see redundancy");
        }
        let counts = facts.backends.iter().map(|(backend, servers)| {
            let (up, all) = servers_up(servers);
            format!("{backend} {up}/{all}")
        });
        Finding::pass(&name, format!("servers up: {}", list(counts)))
    };
    look.topology.proxies.iter().map(judge).collect()
}

/// Exactly one proxy host holds the virtual address.
pub fn vip(look: &Look<'_>) -> Vec<Finding> {
    let Some(vip) = &look.topology.network.vip else {
        return vec![Finding::pass("vip", "the topology has none; clients name the proxy hosts")];
    };
    let address = vip.address.addr();
    let holders = vip_holders(look);
    let unknown: Vec<&Proxy> = look.topology.proxies.iter().filter(|p| look.host(&p.host).is_err()).collect();
    let unseen = list(unknown.iter().map(|p| &p.host));
    vec![match (holders.as_slice(), unknown.is_empty()) {
        ([one], true) => Finding::pass(address, format!("held by {one}")),
        ([one], false) => {
            Finding::warn(address, format!("held by {one}; unknown whether also by {unseen}"), "bring the host back")
                .following(look.lost_with(unknown.iter().map(|p| &p.host)))
        }
        ([], true) => Finding::fail(
            address,
            "no host holds it: clients cannot connect",
            "pgclusterctl logs keepalived-1: which part of the local path fails its script",
        )
        .following(look.undeployed()),
        ([], false) => {
            let remedy = "bring a proxy host back; `pgclusterctl logs keepalived-1` on those that answer";
            Finding::fail(address, format!("no host that answers holds it; unknown: {unseen}"), remedy)
                .following(look.lost_with(look.topology.proxies.iter().map(|p| &p.host)))
        }
        (several, _) => Finding::fail(
            address,
            format!("held by {} at once", list(several)),
            "let VRRP (IP protocol 112) pass between the proxy hosts; is router_id used by another cluster?",
        ),
    }]
}

/// Proxy hosts that carry the virtual address, as the hosts' own interfaces say.
pub fn vip_holders<'a>(look: &Look<'a>) -> Vec<&'a crate::topology::HostName> {
    let Some(vip) = &look.topology.network.vip else { return Vec::new() };
    let carries =
        |p: &&Proxy| look.host(&p.host).is_ok_and(|facts| facts.addresses.values().flatten().any(|a| *a == vip.address.addr()));
    look.topology.proxies.iter().filter(carries).map(|p| &p.host).collect()
}

/// Name of a proxy's HAProxy service.
pub fn service(proxy: &Proxy) -> String {
    format!("haproxy-{}", proxy.ordinal)
}

/// What HAProxy said, or why it said nothing.
pub fn facts<'a>(look: &Look<'a>, proxy: &Proxy) -> Result<&'a ProxyFacts, String> {
    let name = MemberName::new(&service(proxy)).map_err(|e| e.to_string())?;
    match look.observed.proxies.get(&name) {
        Some(Probe::Known(facts)) => Ok(facts),
        Some(Probe::Failed(error)) => Err(error.reason.clone()),
        None => Err("was not asked".into()),
    }
}

/// How many of a backend's own servers are up, and how many there are.
pub fn servers_up(servers: &Servers) -> (usize, usize) {
    let own = || servers.iter().filter(|(name, _)| !name.starts_with(STAND_IN));
    (own().filter(|(_, status)| is_up(status)).count(), own().count())
}

fn stand_in_up(servers: &Servers) -> bool {
    servers.iter().any(|(name, status)| name.starts_with(STAND_IN) && is_up(status))
}

/// Whether proxies answer, and none of them has a leader to send writes to.
pub fn nowhere_to_write(look: &Look<'_>) -> bool {
    let leaders = |proxy: &Proxy| Some(servers_up(facts(look, proxy).ok()?.backends.get(LEADER)?).0);
    let up: Vec<usize> = look.topology.proxies.iter().filter_map(leaders).collect();
    !up.is_empty() && up.iter().all(|up| *up == 0)
}

/// HAProxy writes `UP`, and `UP 1/3` while a change is on its way.
fn is_up(status: &str) -> bool {
    status.starts_with("UP")
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::fixture::{self, verdict_of, with};
    use super::*;
    use crate::observe::model::{Observed, Probe};

    #[test]
    fn a_backend_without_servers_and_a_silent_proxy_fail() {
        let empty = |o: &mut Observed| {
            let backend = fixture::proxy(o, "haproxy-1").backends.values_mut().next().expect("a backend");
            backend.values_mut().for_each(|s| *s = "DOWN".into());
        };
        assert_eq!(verdict_of(&with(empty, backends), "haproxy-1"), Verdict::Fail);
        let bare = with(|o| fixture::proxy(o, "haproxy-1").backends.clear(), backends);
        assert_eq!(verdict_of(&bare, "haproxy-1"), Verdict::Fail);
        let silent =
            with(|o| drop(o.proxies.insert(fixture::member("haproxy-2"), Probe::fail("haproxy-2", "timeout"))), backends);
        assert_eq!(verdict_of(&silent, "haproxy-2"), Verdict::Fail);
    }

    #[test]
    fn without_standbys_the_leader_serves_reads_which_warns() {
        let alone = |o: &mut Observed| {
            let standbys = fixture::proxy(o, "haproxy-1").backends.get_mut("standbys").expect("a backend");
            standbys.values_mut().for_each(|s| *s = "DOWN".into());
            standbys.insert("leader-coordinator-1".into(), "UP".into());
        };
        assert_eq!(verdict_of(&with(alone, backends), "haproxy-1"), Verdict::Warn);
    }

    #[test]
    fn the_address_is_held_once_or_fails() {
        let held = |hosts: &'static [&'static str]| with(move |o| fixture::hold_vip(o, hosts), vip)[0].verdict;
        assert_eq!(held(&["host2"]), Verdict::Pass);
        assert_eq!(held(&[]), Verdict::Fail);
        assert_eq!(held(&["host1", "host2"]), Verdict::Fail);
    }

    #[test]
    fn with_a_proxy_host_lost_once_cannot_be_proved() {
        let (topology, mut observed) = fixture::healthy();
        fixture::lose_host(&topology, &mut observed, "host2");
        let findings = vip(&Look { topology: &topology, observed: &observed });
        assert_eq!((findings[0].verdict, findings[0].follows_from.as_str()), (Verdict::Warn, "host host2"));
    }
}
