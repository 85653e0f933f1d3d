//! The whole cluster in one word, and the reasons in a few.

use std::fmt;

use serde::Serialize;

use super::look::SERVICES;
use super::{CheckResult, Look, Verdict, proxy};
use crate::topology::model::Proxy;

/// The whole cluster in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Nothing failed.
    Healthy,
    /// Nothing of it was deployed yet.
    Absent,
    /// Clients are served, but a promise is broken or redundancy is lost.
    Degraded,
    /// Clients cannot write, or not to every shard.
    Down,
    /// Whether clients are served could not be seen.
    Unknown,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Healthy => "healthy",
            Self::Absent => "absent",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Unknown => "unknown",
        })
    }
}

/// Weighs the results.
pub fn judge(look: &Look<'_>, results: &[CheckResult]) -> (Condition, Vec<String>) {
    let failed = |r: &&CheckResult| r.finding.verdict == Verdict::Fail;
    let leaderless = |r: &&CheckResult| r.id == "leader" && failed(r);
    let seen = look.observed.patroni.known().is_some();
    let condition = if !results.iter().any(|r| failed(&r)) {
        Condition::Healthy
    } else if look.undeployed().is_some() {
        Condition::Absent
    } else if proxy::nowhere_to_write(look) || (seen && (results.iter().any(|r| leaderless(&r)) || no_way_in(look))) {
        Condition::Down
    } else if seen {
        Condition::Degraded
    } else {
        Condition::Unknown
    };
    // Roots only: what follows from them would say the same thing again in other words.
    let mut roots: Vec<&CheckResult> = results.iter().filter(failed).filter(|r| r.finding.follows_from.is_empty()).collect();
    // What stops clients comes first, whatever caused it.
    roots.sort_by_key(|r| r.id != "leader");
    (condition, roots.into_iter().map(reason).collect())
}

/// Whether clients find no proxy: none answers, or none holds the address.
fn no_way_in(look: &Look<'_>) -> bool {
    let answers = |p: &Proxy| proxy::facts(look, p).is_ok();
    let silent = !look.topology.proxies.is_empty() && !look.topology.proxies.iter().any(answers);
    silent || (look.topology.network.vip.is_some() && proxy::vip_holders(look).is_empty())
}

fn reason(result: &CheckResult) -> String {
    let finding = &result.finding;
    match result.id {
        "host" => format!("{} does not answer", finding.subject),
        "service" if finding.subject == SERVICES => "none of its services is deployed".into(),
        _ => format!("{}: {}", finding.subject, finding.evidence),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{diagnose, fixture};
    use super::*;
    use crate::observe::model::Probe;

    #[test]
    fn a_lost_host_degrades_and_is_named_first() {
        let (topology, mut observed) = fixture::healthy();
        fixture::lose_host(&topology, &mut observed, "host3");
        let diagnosis = diagnose(&topology, &observed);
        assert_eq!(diagnosis.condition, Condition::Degraded);
        assert_eq!(diagnosis.reasons[0], "host3 does not answer");
    }

    #[test]
    fn a_group_without_leader_or_an_address_without_holder_is_down() {
        let (topology, mut observed) = fixture::healthy();
        fixture::group(&mut observed, 2).leader.clear();
        let diagnosis = diagnose(&topology, &observed);
        assert_eq!(diagnosis.condition, Condition::Down);
        assert!(diagnosis.reasons[0].starts_with("shard-2: "), "{:?}", diagnosis.reasons);

        let (topology, mut observed) = fixture::healthy();
        fixture::hold_vip(&mut observed, &[]);
        assert_eq!(diagnose(&topology, &observed).condition, Condition::Down);

        let (topology, mut observed) = fixture::healthy();
        for name in ["haproxy-1", "haproxy-2"] {
            let leader = fixture::proxy(&mut observed, name).backends.get_mut("coordinator_leader").expect("a backend");
            leader.values_mut().for_each(|status| *status = "DOWN".into());
        }
        assert_eq!(diagnose(&topology, &observed).condition, Condition::Down);
    }

    #[test]
    fn before_it_is_deployed_a_cluster_is_absent_for_one_reason() {
        let (topology, observed) = fixture::undeployed();
        let diagnosis = diagnose(&topology, &observed);
        assert_eq!(diagnosis.condition, Condition::Absent);
        assert_eq!(diagnosis.reasons, ["none of its services is deployed"]);
    }

    #[test]
    fn without_patronis_keys_it_is_unknown() {
        let (topology, mut observed) = fixture::healthy();
        observed.patroni = Probe::fail("etcd", "no quorum");
        assert_eq!(diagnose(&topology, &observed).condition, Condition::Unknown);
    }
}
