//! Whether the lease guards watch: a service that runs may be blind all the same.

use std::time::Duration;

use super::look::Look;
use super::{Finding, etcd};
use crate::observe::model::{GuardFacts, Probe};
use crate::quantity::millis;
use crate::topology::model::GuardMember;
use crate::topology::timing::GUARD_BLIND;

/// Every guard has a fresh view of etcd, by quorum reads, and hears its Docker daemon.
pub fn watches(look: &Look<'_>) -> Vec<Finding> {
    look.topology.guards().iter().map(|guard| judge(look, guard)).collect()
}

fn judge(look: &Look<'_>, guard: &GuardMember) -> Finding {
    let name = &guard.name;
    let logs = format!("pgclusterctl logs {name}");
    let facts = match look.observed.guards.get(name) {
        Some(Probe::Known(facts)) => facts,
        Some(Probe::Failed(error)) => {
            // A container that is paused or hangs is none that Swarm replaces by itself.
            let remedy = format!("{logs}; on a manager: docker service update --force {}_{name}", look.topology.name);
            let finding = Finding::fail(name, format!("says nothing of its watch: {}", error.reason), remedy);
            return finding.following(root_of_silence(look, guard));
        }
        None => return Finding::warn(name, "unknown: was not asked", logs),
    };
    match facts {
        GuardFacts { last_look_ms: None, .. } => blind(look, guard, "has had no good look at etcd yet"),
        GuardFacts { last_look_ms: Some(age), .. } if Duration::from_millis(*age) > GUARD_BLIND => {
            blind(look, guard, &format!("is blind: its last good look at etcd was {} ago", millis(*age)))
        }
        GuardFacts { hears_docker: false, .. } => Finding::warn(
            name,
            "hears nothing of its Docker daemon: who dies there is noticed only by its lease",
            format!("{logs}; restart the Docker daemon of {} if that lasts", guard.host),
        ),
        GuardFacts { last_look_ms: Some(age), .. } => Finding::pass(name, format!("looked at etcd {} ago", millis(*age))),
    }
}

fn blind(look: &Look<'_>, guard: &GuardMember, evidence: &str) -> Finding {
    let remedy = format!("see that the etcd member of {} answers; pgclusterctl logs {}", guard.host, guard.name);
    let quorum = etcd::has_no_quorum(look).then(etcd::quorum_root);
    Finding::fail(&guard.name, evidence, remedy).following(quorum)
}

/// Its host, or its service, where that is known not to run.
fn root_of_silence(look: &Look<'_>, guard: &GuardMember) -> Option<String> {
    let service = || look.observed.swarm.known()?.services.get(guard.name.as_str());
    let stopped = || service().filter(|s| s.task_state != "running").map(|_| format!("service {}", guard.name));
    look.lost_with([&guard.host]).or_else(|| look.undeployed()).or_else(stopped)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::fixture::{self, verdict_of, with};
    use super::*;
    use crate::observe::model::Observed;

    fn change(observed: &mut Observed, facts: Probe<GuardFacts>) {
        observed.guards.insert(fixture::member("guard-2"), facts);
    }

    fn says(last_look_ms: Option<u64>, hears_docker: bool) -> Finding {
        let known = || Probe::Known(GuardFacts { last_look_ms, hears_docker });
        with(|o| change(o, known()), watches).swap_remove(1)
    }

    #[test]
    fn a_guard_without_a_fresh_view_fails() {
        assert_eq!(says(Some(400), true).verdict, Verdict::Pass);
        assert_eq!(says(Some(3_500), true).verdict, Verdict::Fail);
        assert_eq!(says(None, true).verdict, Verdict::Fail);
    }

    #[test]
    fn a_guard_that_does_not_hear_docker_warns() {
        assert_eq!(says(Some(400), false).verdict, Verdict::Warn);
    }

    #[test]
    fn a_guard_that_does_not_answer_fails_for_itself_while_its_service_runs() {
        let silent = |o: &mut Observed| change(o, Probe::fail("guard-2", "its container is paused"));
        let finding = with(silent, watches).swap_remove(1);
        assert_eq!((finding.verdict, finding.follows_from.as_str()), (Verdict::Fail, ""));
        let stopped = |o: &mut Observed| {
            silent(o);
            fixture::known(&mut o.swarm).services.get_mut("guard-2").expect("a service").task_state = "failed".into();
        };
        assert_eq!(with(stopped, watches)[1].follows_from, "service guard-2");
    }

    #[test]
    fn guards_are_blind_because_etcd_has_no_quorum() {
        let lost = |o: &mut Observed| {
            for name in ["etcd-1", "etcd-2"] {
                o.etcd.insert(fixture::member(name), Probe::fail(name, "connection refused"));
            }
            change(o, Probe::Known(GuardFacts { last_look_ms: Some(9_000), hears_docker: true }));
        };
        let findings = with(lost, watches);
        assert_eq!(findings[1].follows_from, "etcd-quorum etcd");
        assert_eq!(verdict_of(&findings, "guard-2"), Verdict::Fail);
    }

    #[test]
    fn a_guard_goes_with_its_host() {
        let (topology, mut observed) = fixture::healthy();
        fixture::lose_host(&topology, &mut observed, "host3");
        let findings = watches(&Look { topology: &topology, observed: &observed });
        assert_eq!((findings[2].verdict, findings[2].follows_from.as_str()), (Verdict::Fail, "host host3"));
    }

    #[test]
    fn where_guards_are_switched_off_nobody_is_asked() {
        let (mut topology, observed) = fixture::healthy();
        topology.guard.enabled = false;
        assert_eq!(watches(&Look { topology: &topology, observed: &observed }), []);
    }
}
