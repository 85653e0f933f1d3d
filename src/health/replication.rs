//! Checks of replication: are the standbys there, does a commit wait for them as promised, how far behind are they.

use super::look::{is_up, list};
use super::thresholds::{LAG_FAIL_BYTES, LAG_WARN_TIME};
use super::{Finding, Look};
use crate::observe::model::{GroupState, StandbyFacts};
use crate::quantity::{bytes, millis};
use crate::topology::model::{Group, Member, Replication};
use crate::topology::timing::READ_LAG;

/// Every standby that may take over streams. Seen in the leader's `pg_stat_replication`; where the leader says nothing, as Patroni has it.
pub fn redundancy(look: &Look<'_>) -> Vec<Finding> {
    look.each_group(|group, state| {
        let expected: Vec<&Member> = group.members.iter().filter(|m| m.name.as_str() != state.leader).collect();
        let streams = |member: &&&Member| match look.leader(group) {
            Ok(facts) => facts.standbys.get(member.name.as_str()).is_some_and(|s| s.state == "streaming"),
            Err(_) => {
                look.host(&member.host).is_ok() && state.members.get(member.name.as_str()).is_some_and(|m| is_up(&m.state))
            }
        };
        let streaming: Vec<&Member> = expected.iter().filter(streams).copied().collect();
        let missing: Vec<&Member> = expected.iter().filter(|m| !streams(m)).copied().collect();
        if expected.is_empty() {
            return vec![Finding::warn(group.id, "one member, no standby", "give the group a second member")];
        }
        let (up, all) = (streaming.len(), expected.len());
        if missing.is_empty() {
            let names = list(streaming.iter().map(|m| &m.name));
            return vec![Finding::pass(group.id, format!("{up} of {all} standbys stream: {names}"))];
        }
        let names = list(missing.iter().map(|m| &m.name));
        let remedy = format!("bring {names} back; `pgclusterctl logs {}` says what it waits for", missing[0].name);
        let lost = look.lost_with(missing.iter().map(|m| &m.host));
        vec![if up == 0 {
            let evidence = format!("no standby streams ({names} missing): the next loss stops the group");
            Finding::fail(group.id, evidence, remedy)
        } else {
            Finding::warn(group.id, format!("{up} of {all} standbys stream, {names} missing"), remedy).following(lost)
        }]
    })
}

/// Every reader streams, and is none of those that count: it may not lead, and no commit waits for it.
pub fn readers(look: &Look<'_>) -> Vec<Finding> {
    let findings =
        look.each_group(|group, state| group.readers.iter().map(|reader| reads(look, group, state, reader)).collect());
    if findings.is_empty() { vec![Finding::pass("readers", "the topology has none")] } else { findings }
}

fn reads(look: &Look<'_>, group: &Group, state: &GroupState, reader: &Member) -> Finding {
    let name = &reader.name;
    let own = state.members.get(name.as_str());
    let tagged = |tag: &str| own.is_none_or(|own| own.tags.get(tag) == Some(&serde_json::Value::Bool(true)));
    let seen = look.leader(group).ok().map(|facts| facts.standbys.get(name.as_str()));
    let waited_for = matches!(seen, Some(Some(standby)) if matches!(standby.sync_state.as_str(), "sync" | "quorum"));
    if !tagged("nofailover") || !tagged("nosync") || waited_for {
        let evidence = "is a reader, and Patroni treats it as a standby that may lead: it lacks its tags";
        return Finding::fail(name, evidence, "run `pgclusterctl up`");
    }
    let streams = match seen {
        Some(standby) => standby.is_some_and(|standby| standby.state == "streaming"),
        None => look.host(&reader.host).is_ok() && own.is_some_and(|own| is_up(&own.state)),
    };
    if streams {
        return Finding::pass(name, format!("streams from {}", state.leader));
    }
    let doing = own.map_or("has not joined", |own| if own.state.is_empty() { "is silent" } else { "does not stream" });
    Finding::warn(name, format!("{doing}: nobody reads from it"), format!("`pgclusterctl logs {name}` says what it waits for"))
        .following(look.lost_with([&reader.host]))
}

/// Commits wait for the standbys that the topology promises.
pub fn synchronous(look: &Look<'_>) -> Vec<Finding> {
    look.each_leader(|group, facts| {
        let waits = |wanted: &[&str]| {
            let is = |s: &&StandbyFacts| wanted.contains(&s.sync_state.as_str());
            facts.standbys.values().filter(is).count()
        };
        let finding = match group.replication {
            Replication::Async => {
                // A standby that commits wait for would break the other promise, that of no added latency.
                match waits(&["sync", "quorum"]) {
                    0 => Finding::pass(group.id, "asynchronous, as the topology says"),
                    n => Finding::warn(
                        group.id,
                        format!("asynchronous by the topology, yet commits wait for {n}"),
                        "run `pgclusterctl up`",
                    ),
                }
            }
            Replication::Sync => promised(look, group, "sync", waits(&["sync", "quorum"])),
            Replication::Quorum => promised(look, group, "quorum", waits(&["quorum", "sync"])),
        };
        vec![finding]
    })
}

fn promised(look: &Look<'_>, group: &Group, mode: &str, standbys: usize) -> Finding {
    if standbys > 0 {
        return Finding::pass(
            group.id,
            format!("{mode}, confirmed by {standbys} standby{}", if standbys == 1 { "" } else { "s" }),
        );
    }
    let evidence = format!("{mode} is promised, and no standby confirms commits: losing the leader loses data");
    let root = redundancy(look).into_iter().find(|f| f.subject == group.id.to_string() && f.verdict != super::Verdict::Pass);
    Finding::fail(group.id, evidence, "bring a standby back; see redundancy")
        .following(root.map(|f| format!("redundancy {}", f.subject)))
}

/// Standbys are close behind.
pub fn lag(look: &Look<'_>) -> Vec<Finding> {
    let limit = look.topology.failover.maximum_lag_on_failover;
    look.each_leader(|group, facts| {
        let judge = |(name, standby): (&String, &StandbyFacts)| {
            let evidence = format!("{} and {} behind {}", bytes(standby.lag_bytes), millis(standby.lag_ms), facts.member);
            let remedy = format!("look at I/O and network of {name}; a long query there can hold replay back");
            if group.is_reader(name) {
                // It takes over from nobody: only those who read from it notice.
                let late = standby.lag_bytes > READ_LAG || u128::from(standby.lag_ms) > LAG_WARN_TIME.as_millis();
                return if late { Finding::warn(name, evidence, remedy) } else { Finding::pass(name, evidence) };
            }
            if standby.lag_bytes > LAG_FAIL_BYTES {
                Finding::fail(name, evidence, remedy)
            } else if standby.lag_bytes > limit {
                Finding::warn(name, format!("{evidence}: too far to take over (limit {})", bytes(limit)), remedy)
            } else if u128::from(standby.lag_ms) > LAG_WARN_TIME.as_millis() {
                Finding::warn(name, evidence, remedy)
            } else {
                Finding::pass(name, evidence)
            }
        };
        // Others may stream too (a backup, a subscriber); they are not ours to judge.
        let ours = |name: &str| group.everyone().any(|m| m.name.as_str() == name);
        facts.standbys.iter().filter(|(name, _)| ours(name)).map(judge).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::fixture::{self, verdict_of, with};
    use super::*;
    use crate::observe::model::Observed;

    #[test]
    fn the_last_standby_lost_fails_one_of_two_warns() {
        let last = with(|o| fixture::leader(o, 1).standbys.clear(), redundancy);
        assert_eq!(verdict_of(&last, "shard-1"), Verdict::Fail);
        let one = with(|o| drop(fixture::leader(o, 0).standbys.remove("coordinator-2")), redundancy);
        assert_eq!(verdict_of(&one, "coordinator"), Verdict::Warn);
    }

    #[test]
    fn a_reader_is_no_redundancy_and_its_loss_no_failure() {
        let (topology, healthy) = fixture::healthy_with_reader();
        let judge = |check: fn(&Look<'_>) -> Vec<Finding>, subject: &str, change: &dyn Fn(&mut Observed)| {
            let mut observed = healthy.clone();
            change(&mut observed);
            verdict_of(&check(&Look { topology: &topology, observed: &observed }), subject)
        };
        const READER: &str = "worker-1-reader-1";
        let gone = |o: &mut Observed| drop(fixture::leader(o, 1).standbys.remove(READER));
        assert_eq!(judge(readers, READER, &|_| ()), Verdict::Pass);
        assert_eq!(judge(readers, READER, &gone), Verdict::Warn);
        assert_eq!(judge(redundancy, "shard-1", &gone), Verdict::Pass);
        let last = |o: &mut Observed| drop(fixture::leader(o, 1).standbys.remove("worker-1-2"));
        assert_eq!(judge(redundancy, "shard-1", &last), Verdict::Fail, "the reader does not count");
        let late = |o: &mut Observed| fixture::standby(o, 1, READER).lag_bytes = 10 << 30;
        assert_eq!(judge(lag, READER, &late), Verdict::Warn);
        let waits = |o: &mut Observed| fixture::standby(o, 1, READER).sync_state = "quorum".into();
        assert_eq!(judge(readers, READER, &waits), Verdict::Fail);
        let votes = |o: &mut Observed| fixture::state(o, 1, READER).tags.clear();
        assert_eq!(judge(readers, READER, &votes), Verdict::Fail);
    }

    #[test]
    fn a_standby_that_catches_up_is_not_yet_redundancy() {
        let catching_up = with(|o| fixture::standby(o, 1, "worker-1-2").state = "catchup".into(), redundancy);
        assert_eq!(verdict_of(&catching_up, "shard-1"), Verdict::Fail);
    }

    #[test]
    fn without_sql_patroni_is_believed_but_not_about_a_lost_host() {
        let (topology, mut observed) = fixture::healthy();
        fixture::silence_leader(&mut observed, 1);
        let look = Look { topology: &topology, observed: &observed };
        assert_eq!(verdict_of(&redundancy(&look), "shard-1"), Verdict::Pass);
        let (topology, mut observed) = fixture::healthy();
        fixture::lose_host(&topology, &mut observed, "host2");
        fixture::silence_leader(&mut observed, 1);
        let look = Look { topology: &topology, observed: &observed };
        assert_eq!(verdict_of(&redundancy(&look), "shard-1"), Verdict::Fail);
    }

    #[test]
    fn a_promise_of_synchronous_commits_is_kept_or_fails() {
        let broken = with(|o| fixture::standby(o, 1, "worker-1-2").sync_state = "async".into(), synchronous);
        assert_eq!(verdict_of(&broken, "shard-1"), Verdict::Fail);
        let (mut topology, observed) = fixture::healthy();
        topology.groups[1].replication = Replication::Async;
        let look = Look { topology: &topology, observed: &observed };
        assert_eq!(verdict_of(&synchronous(&look), "shard-1"), Verdict::Warn);
    }

    #[test]
    fn lag_warns_where_takeover_ends_and_fails_far_behind() {
        let limit = fixture::healthy().0.failover.maximum_lag_on_failover;
        let behind = |bytes: u64| with(move |o| fixture::standby(o, 1, "worker-1-2").lag_bytes = bytes, lag);
        assert_eq!(verdict_of(&behind(limit), "worker-1-2"), Verdict::Pass);
        assert_eq!(verdict_of(&behind(limit + 1), "worker-1-2"), Verdict::Warn);
        assert_eq!(verdict_of(&behind(LAG_FAIL_BYTES + 1), "worker-1-2"), Verdict::Fail);
        let late = with(|o| fixture::standby(o, 1, "worker-1-2").lag_ms = 11_000, lag);
        assert_eq!(verdict_of(&late, "worker-1-2"), Verdict::Warn);
    }
}
