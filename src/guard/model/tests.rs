//! What the simulation shows.

use std::time::Duration;

use super::guards::Rule;
use super::patroni::Contract;
use super::schedule::{Action, Target, Way, draw, restarts};
use super::{At, MS, Outcome, SECOND, Setup, Violation, run};

/// Clocks of etcd, Patroni and the guards at the ends of what is allowed, and in step.
const CORNERS: [[i64; 3]; 5] =
    [[0, 0, 0], [10_000, -10_000, 10_000], [10_000, -10_000, -10_000], [-10_000, 10_000, 10_000], [-10_000, -10_000, 10_000]];

fn setup(seed: u64) -> Setup {
    Setup {
        seed,
        rule: Rule::Real,
        contract: Contract::Rule,
        synchronous: true,
        heartbeats: true,
        clocks: None,
        guards: 3,
        pauses: true,
        length: 50 * SECOND,
    }
}

/// One guard, nothing drawn that could hide what is looked for.
fn strict(seed: u64, clocks: [i64; 3]) -> Setup {
    Setup { clocks: Some(clocks), contract: Contract::Latest, pauses: false, length: 30 * SECOND, ..setup(seed) }
}

const CUTS: [Action; 4] = [
    Action::CutEtcd(Target::Leader, Way::Both),
    Action::CutEtcd(Target::Leader, Way::In),
    Action::Isolate(Target::Leader, Way::Both),
    Action::Isolate(Target::Leader, Way::Out),
];

/// Whether leaders write heartbeats: both ways to tell what was renewed have to be safe by themselves.
const WAYS: [bool; 2] = [true, false];

/// The leader is cut off at every moment of its loop, with clocks of every kind.
fn cuts(rule: Rule, heartbeats: bool, kinds: &[Action], before: impl Fn(At) -> Vec<(At, Action)>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (kind, clocks) in kinds.iter().flat_map(|kind| CORNERS.map(|clocks| (kind.clone(), clocks))) {
        for step in 0..20 {
            let at = 15 * SECOND + step * 50 * MS;
            let mut schedule = before(at);
            schedule.push((at, kind.clone()));
            outcomes.push(run(Setup { rule, heartbeats, ..strict(step, clocks) }, schedule));
        }
    }
    outcomes
}

fn drawn(rule: Rule, heartbeats: bool, seeds: std::ops::Range<u64>) -> Vec<(u64, Outcome)> {
    seeds.map(|seed| (seed, run(Setup { rule, heartbeats, ..setup(seed) }, draw(seed)))).collect()
}

fn early(outcome: &Outcome) -> bool {
    outcome.violations.iter().any(|v| matches!(v, Violation::Early { .. }))
}

fn both(outcome: &Outcome) -> bool {
    outcome.violations.iter().any(|v| matches!(v, Violation::Both { .. }))
}

fn both_by_etcd(outcome: &Outcome) -> bool {
    outcome.violations.iter().all(|v| matches!(v, Violation::Both { by_guard: false, .. }))
}

fn assert_safe<'a>(outcomes: impl IntoIterator<Item = (u64, &'a Outcome)>) {
    for (seed, outcome) in outcomes {
        assert_eq!(outcome.violations, [], "run {seed}");
    }
}

#[test]
fn no_schedule_makes_a_guard_depose_a_leader_that_leads() {
    for heartbeats in WAYS {
        let runs = drawn(Rule::Real, heartbeats, 0..1_000);
        let revoked: usize = runs.iter().map(|(_, o)| o.revoked.len()).sum();
        assert!(revoked > 400, "only {revoked} revocations: the schedules are too tame to show anything");
        assert_safe(runs.iter().map(|(seed, o)| (*seed, o)));
    }
}

/// Here a leader acknowledges alone, and the time is the only lock. It has two gaps, each the moment that a leader takes to find its lease
/// gone: who comes back while its end is on the way to etcd leads on for that long; and so does who still leads when `ttl` is over, as after
/// everything stood still for so long: etcd ends its lease itself, guards or not.
#[test]
fn no_schedule_makes_two_leaders_acknowledge_where_commits_wait_for_nobody() {
    for (contract, heartbeats) in [Contract::Rule, Contract::Source].into_iter().flat_map(|c| WAYS.map(|way| (c, way))) {
        let run = |seed| (seed, run(Setup { contract, heartbeats, synchronous: false, ..setup(seed) }, draw(seed)));
        let runs: Vec<_> = (0..500).map(run).collect();
        let revoked: usize = runs.iter().map(|(_, o)| o.revoked.len()).sum();
        assert!(revoked > 150, "{contract:?}: only {revoked} revocations");
        let (gap, others): (Vec<_>, Vec<_>) =
            runs.iter().partition(|(_, o)| both(o) && (!o.came_back.is_empty() || both_by_etcd(o)));
        assert!(gap.len() <= 2, "{contract:?}: {} runs of 500", gap.len());
        assert_safe(others.into_iter().map(|(seed, o)| (*seed, o)));
    }
}

#[test]
fn a_leader_that_is_cut_off_at_any_moment_has_stepped_down_before() {
    for heartbeats in WAYS {
        let outcomes = cuts(Rule::Real, heartbeats, &CUTS, |_| Vec::new());
        assert!(outcomes.iter().all(|o| !o.revoked.is_empty()), "a leader that was cut off keeps its lease");
        assert_safe(outcomes.iter().map(|o| (0, o)));
        // What makes this worth asserting: leaders did go on for nearly as long as their rule allows.
        let longest = outcomes.iter().filter_map(|o| Some(o.stepped_down? - o.renewals.last()?)).max();
        assert!(longest.is_some_and(|l| l > 6_900 * MS), "{longest:?}");
    }
}

#[test]
fn settings_that_change_while_a_leader_is_cut_off_do_not_hasten_its_end() {
    for (retry, lowered) in [(6, 300 * MS), (9, 2 * SECOND), (9, 5 * SECOND)] {
        for clocks in CORNERS {
            for hole in [false, true] {
                let mut schedule = vec![
                    (0, Action::RetryTimeout(retry)),
                    (20 * SECOND, Action::CutEtcd(Target::Leader, Way::Both)),
                    (20 * SECOND + lowered, Action::RetryTimeout(3)),
                ];
                // All guards are stopped for longer than a hole, and remember nevertheless.
                schedule.extend((0..3).filter(|_| hole).map(|g| (21 * SECOND + lowered, Action::StopGuard(g, 2 * SECOND))));
                let outcome = run(Setup { length: 60 * SECOND, ..strict(retry, clocks) }, schedule);
                assert_safe([(0, &outcome)]);
            }
        }
    }
}

#[test]
fn a_leader_in_maintenance_is_left_to_its_ttl_also_when_maintenance_ends_without_it() {
    for clocks in CORNERS {
        let schedule = vec![
            (5 * SECOND, Action::Pause(true)),
            (15 * SECOND, Action::CutEtcd(Target::Leader, Way::Both)),
            (16 * SECOND, Action::Pause(false)),
        ];
        let outcome = run(Setup { length: 60 * SECOND, ..strict(1, clocks) }, schedule);
        assert_eq!(outcome.revoked, [], "clocks {clocks:?}");
    }
}

#[test]
fn a_lost_leader_costs_the_bound_the_margin_and_a_moment() {
    let mut slowest = 0;
    for (clocks, seed) in CORNERS.into_iter().flat_map(|c| (0..20).map(move |seed| (c, seed))) {
        let at = 15 * SECOND + seed * 50 * MS;
        let lost = vec![(at, Action::StopDocker(Target::Leader)), (at, Action::Kill(Target::Leader))];
        let dead = run(strict(seed, clocks), lost.clone());
        let after = dead.revoked.first().expect("a revocation").1;
        assert!((7_200 * MS..8_800 * MS).contains(&after), "clocks {clocks:?}: {after}");
        slowest = slowest.max(after);
        // The host of etcd's leader goes with it: its lease is extended once, when the next etcd leader is elected, and who sees
        // heartbeats is not impressed.
        let both: Vec<_> = std::iter::once((at, Action::StopEtcd(Target::EtcdLeader))).chain(lost).collect();
        for (heartbeats, longer) in [(true, 0), (false, 2_500 * MS)] {
            let outcome = run(Setup { heartbeats, ..strict(seed, clocks) }, both.clone());
            let after = outcome.revoked.first().expect("a revocation").1;
            assert!((7_200 * MS..8_800 * MS + longer).contains(&after), "clocks {clocks:?}, {heartbeats}: {after}");
        }
    }
    assert!(slowest < 8 * SECOND, "{slowest}");
}

#[test]
fn one_guard_that_sees_is_enough() {
    for seed in 0..10 {
        let schedule =
            vec![(10 * SECOND, Action::StopGuard(1, 20 * SECOND)), (15 * SECOND, Action::Isolate(Target::Leader, Way::Both))];
        let outcome = run(strict(seed, CORNERS[0]), schedule);
        assert!(outcome.revoked.first().is_some_and(|(_, after)| *after < 8_800 * MS), "{:?}", outcome.revoked);
    }
}

#[test]
fn every_broken_rule_is_found() {
    let found = |outcomes: &[Outcome]| outcomes.iter().filter(|o| early(o)).count();
    let calm = |_| Vec::new();
    for way in WAYS {
        assert!(found(&cuts(Rule::ShortBound, way, &CUTS[..1], calm)) > 0, "a bound of four seconds");
        assert!(drawn(Rule::ShortBound, way, 0..40).iter().any(|(_, o)| early(o)), "a bound of four seconds, drawn");
        assert!(found(&cuts(Rule::NoMargin, way, &CUTS[..1], calm)) > 0, "no margin for clocks");
    }
    // A renewal that only the old etcd leader knew of.
    let moves = |at: At| vec![(at - 10 * MS, Action::MoveEtcd(1))];
    assert!(found(&cuts(Rule::TakesOffExtensions, false, &CUTS[..1], moves)) > 0, "an extension that is taken off");
    WAYS.iter().for_each(|way| assert_eq!(found(&cuts(Rule::Real, *way, &CUTS[..1], moves)), 0));
    let lowered = |rule| {
        let schedule = |seed| {
            vec![
                (0, Action::RetryTimeout(6)),
                (20 * SECOND, Action::CutEtcd(Target::Leader, Way::Both)),
                (20 * SECOND + seed * 100 * MS, Action::RetryTimeout(3)),
            ]
        };
        (0..10)
            .map(|seed| run(Setup { rule, length: 50 * SECOND, ..strict(seed, CORNERS[0]) }, schedule(seed)))
            .collect::<Vec<_>>()
    };
    assert!(found(&lowered(Rule::ForgetsSettings)) > 0, "settings that hold at once");
    let frozen = |rule, heartbeats| {
        let schedule = |seed| vec![(15 * SECOND + seed * 20 * MS, Action::Freeze(10 * SECOND))];
        let setup = |seed| Setup { rule, heartbeats, ..strict(seed, CORNERS[0]) };
        (0..100).map(|seed| run(setup(seed), schedule(seed))).collect::<Vec<_>>()
    };
    for way in WAYS {
        assert!(found(&frozen(Rule::LooksOverHoles, way)) > 0, "what was before a hole");
        assert_eq!(found(&frozen(Rule::Real, way)), 0);
    }
}

/// A leader that was cut off comes back about when a guard concludes that it is gone, and the guard is stopped on the way to the deed.
fn back_in_time(rule: Rule, heartbeats: bool) -> impl Iterator<Item = (u64, Outcome)> {
    (0..500).map(move |seed| {
        let at = 15 * SECOND + seed * 7 * MS;
        let back = at + 6 * SECOND + (seed % 30) * 100 * MS;
        let schedule = vec![(at, Action::CutEtcd(Target::Leader, Way::Both)), (back, Action::Heal)];
        // One guard: others that are not stopped would be first.
        (seed, run(Setup { rule, heartbeats, guards: 1, length: 30 * SECOND, ..setup(seed) }, schedule))
    })
}

#[test]
fn who_acts_on_what_is_old_deposes_a_leader_that_is_back() {
    for heartbeats in WAYS {
        for stale in [Rule::ActsOnStale, Rule::ActsOnStaleComparison] {
            assert!(back_in_time(stale, heartbeats).any(|(_, o)| early(&o)), "{stale:?}, heartbeats: {heartbeats}");
        }
        let runs: Vec<_> = back_in_time(Rule::Real, heartbeats).collect();
        assert_safe(runs.iter().map(|(seed, o)| (*seed, o)));
    }
}

#[test]
fn a_death_that_docker_tells_of_costs_a_moment() {
    for (clocks, seed) in CORNERS.into_iter().flat_map(|c| (0..20).map(move |seed| (c, seed))) {
        let at = 15 * SECOND + seed * 50 * MS;
        let dead = run(strict(seed, clocks), vec![(at, Action::Kill(Target::Leader))]);
        let revoked = dead.revoked.first().expect("a revocation").0;
        assert!(revoked - at < 2 * SECOND, "clocks {clocks:?}: {}", revoked - at);
    }
}

fn restarted(rule: Rule, seeds: std::ops::Range<u64>) -> impl Iterator<Item = (u64, Outcome)> {
    let setup = move |seed| Setup { rule, length: 25 * SECOND, ..setup(seed) };
    seeds.map(move |seed| (seed, run(setup(seed), restarts(seed))))
}

#[test]
fn a_leader_that_was_started_anew_is_not_taken_for_the_one_that_died() {
    let runs: Vec<_> = restarted(Rule::Real, 0..500).collect();
    let at_once = runs.iter().flat_map(|(_, o)| &o.revoked).filter(|(_, unrenewed)| *unrenewed < 5 * SECOND).count();
    assert!(at_once > 150, "only {at_once} deaths were proved: the schedules show nothing");
    assert_safe(runs.iter().map(|(seed, o)| (*seed, o)));
}

#[test]
fn every_broken_proof_of_a_death_is_found() {
    for rule in [Rule::TrustsDeaths, Rule::AsksDockerFirst, Rule::TrustsSilence] {
        assert!(restarted(rule, 0..1_000).any(|(_, o)| early(&o)), "{rule:?}");
    }
}

/// Two locks on one door here, too: who was seen to hold the lease before Docker was asked is gone when nobody runs then, whether
/// that lease was known before the death or not.
#[test]
fn without_knowing_leases_the_order_of_questions_still_holds() {
    let runs: Vec<_> = restarted(Rule::ForgetsLeases, 0..200).collect();
    assert_safe(runs.iter().map(|(seed, o)| (*seed, o)));
}

/// Two locks on one door: a new etcd leader extends all leases by more than a hole is long, so that alone keeps a watch from
/// trusting what it knew of the term before.
#[test]
fn without_the_term_the_extension_still_holds() {
    let runs = drawn(Rule::BlindToTerms, false, 0..200);
    assert_safe(runs.iter().map(|(seed, o)| (*seed, o)));
}

/// What Patroni does when packets vanish may take longer than its rule says. With a standby to wait for there are two leaders for a
/// moment, of which only one can acknowledge, since the other waits for a standby that follows it no more. Where nobody is waited
/// for, the guard waits.
#[test]
fn a_leader_that_is_late_to_step_down_acknowledges_nothing() {
    let (mut longest, mut lost) = (0, 0);
    for (clocks, offset) in CORNERS.into_iter().flat_map(|clocks| (0..200).map(move |offset| (clocks, offset))) {
        // Found in a first run: when the leader renews.
        let source = |rule, synchronous| Setup { rule, contract: Contract::Source, synchronous, ..strict(3, clocks) };
        let calm = run(source(Rule::Real, true), Vec::new());
        let renewal = *calm.renewals.iter().find(|at| **at > 15 * SECOND).expect("a renewal");
        let schedule = vec![(renewal + offset * 5 * MS, Action::CutEtcd(Target::Leader, Way::Both))];
        let outcome = run(source(Rule::Real, true), schedule.clone());
        assert!(!both(&outcome), "{offset}: {:?}", outcome.violations);
        longest = longest.max(outcome.two_leaders);
        assert_safe([(offset, &run(source(Rule::Real, false), schedule.clone()))]);
        // Rare, and real: for a guard that does not wait there is a moment in which both acknowledge.
        lost += usize::from(both(&run(source(Rule::NeverWaits, false), schedule)));
    }
    assert!(longest > 2 * SECOND && longest < 4 * SECOND, "{longest}");
    assert!((5..100).contains(&lost), "{lost}");
}

/// etcd without space renews leases and takes no heartbeats. Who takes its own back then leads on, and is judged by its lease.
#[test]
fn a_leader_whose_heartbeat_etcd_refuses_leads_on() {
    for (clocks, seed) in CORNERS.into_iter().flat_map(|c| (0..20).map(move |seed| (c, seed))) {
        let at = 10 * SECOND + seed * 50 * MS;
        let full = vec![(at, Action::Full(true)), (at + 12 * SECOND, Action::Full(false))];
        let outcome = run(strict(seed, clocks), full.clone());
        assert_safe([(seed, &outcome)]);
        assert_eq!((outcome.revoked, outcome.stepped_down), (Vec::new(), None), "clocks {clocks:?}");
        let leaves = run(Setup { contract: Contract::LeavesHeartbeat, ..strict(seed, clocks) }, full);
        assert!(early(&leaves), "clocks {clocks:?}: a heartbeat that was left there is taken for the last one");
        // Cut off meanwhile it loses its lease as ever.
        let cut = vec![(at, Action::Full(true)), (at + 5 * SECOND, Action::CutEtcd(Target::Leader, Way::Both))];
        let outcome = run(strict(seed, clocks), cut);
        assert_safe([(seed, &outcome)]);
        assert!(!outcome.revoked.is_empty());
    }
}

/// What nobody can protect from: a container that stands still does not know that its time is over. Its lease is revoked as that of
/// a lost one, and when it thaws it is a leader until it looks: of commits that nobody confirms any more.
#[test]
fn a_leader_that_was_frozen_acknowledges_nothing_when_it_thaws() {
    let mut two_leaders = 0;
    for (heartbeats, seed) in WAYS.into_iter().flat_map(|way| (0..100).map(move |seed| (way, seed))) {
        let frozen = vec![(15 * SECOND + seed * 20 * MS, Action::FreezeMember(Target::Leader, 12 * SECOND))];
        let outcome = run(Setup { heartbeats, ..setup(seed) }, frozen);
        assert_safe([(seed, &outcome)]);
        assert!(!outcome.revoked.is_empty(), "run {seed}");
        two_leaders = two_leaders.max(outcome.two_leaders);
    }
    assert!(two_leaders > 0, "nobody led beside the frozen one: this shows nothing");
}

#[test]
fn renewals_are_what_a_calm_world_has() {
    let outcome = run(setup(7), Vec::new());
    assert_eq!((outcome.violations, outcome.revoked), (Vec::new(), Vec::new()));
    assert!(outcome.renewals.len() > 12 && Duration::from_micros(outcome.two_leaders).is_zero());
}
