//! The parts that events are made of. Each names the settings it follows from and who says so; what no setting bounds is measured
//! or estimated, and says which.

use std::time::Duration;

use super::{Lever, Term};
use crate::quantity::{millis, whole_millis};
use crate::topology::ids::GroupId;
use crate::topology::limits::{GUARD_MARGIN, LOOP_WAIT_MIN, RETRY_TIMEOUT_MIN};
use crate::topology::model::{Group, Timings, Topology};
use crate::topology::timing::{
    DATABASE_USER_TIMEOUT, ETCD_ELECTION, ETCD_LEASE_SCAN, GUARD_LOOK, HAPROXY_CHECK, POOLER_CONNECT_TIMEOUT,
    POOLER_LOGIN_RETRY, POOLER_ROUND, RESTART_DELAY, SERVER_CHECK, VRRP_ADVERT, WAL_SENDER_TIMEOUT, guard_is_first,
    late_demotion, vrrp_down_timer, vrrp_skew,
};
use crate::topology::units::{parse_postgres_duration, show_duration as show};

/// What no setting bounds, on average and at worst. Only whole outages and promotions were measured (docs/drills: a lab, three hosts on
/// one machine of two cores); the others are estimates whose sums agree with those outages, which the tests hold.
struct Estimate {
    expected: Duration,
    worst: Duration,
}

const fn estimate(expected_ms: u64, worst_ms: u64) -> Estimate {
    Estimate { expected: Duration::from_millis(expected_ms), worst: Duration::from_millis(worst_ms) }
}

/// From the moment the leader key is free until a standby takes writes: measured. Within it Patroni asks the other members, the lost leader
/// among them; what does not answer is given up after 2 s (patroni, `ha.py`, `fetch_node_status`).
const PROMOTION: Estimate = estimate(500, 2_000);
/// The same after a guard has revoked the lease: the lost leader is in etcd no more, and asked for no longer than 0.1 s
/// (`images/node/patroni-for-swarm`).
const REVOKED_PROMOTION: Estimate = estimate(400, 700);
/// The same when the old leader has stopped cleanly: everybody answers.
const PLANNED_PROMOTION: Estimate = estimate(300, 800);
/// From the moment the leader key is free until a standby holds it, which is when its `/primary` answers 200.
const KEY_TAKEN: Estimate = estimate(100, 300);
/// HAProxy's check of a Patroni that is busy being promoted.
const CHECK_ANSWER: Estimate = estimate(50, 100);
/// keepalived's check of a HAProxy that is gone, which asks a second time after 50 ms.
const CHECK_TWICE: Estimate = estimate(60, 150);
/// A write to etcd's quorum.
const ETCD_WRITE: Estimate = estimate(50, 100);
/// From the death of a process until Docker's event of it is read on the same host: measured, most of it is Docker's.
const DIE_EVENT: Estimate = estimate(450, 900);
/// A leader whose PostgreSQL is gone asks its standbys whether one of them can lead, ends what is left of PostgreSQL, and gives its key
/// back.
const KEY_GIVEN_BACK: Estimate = estimate(400, 700);
/// A synchronous standby's name is taken out of etcd, then out of PostgreSQL's settings, which are loaded anew.
const LEFT_OUT: Estimate = estimate(500, 1_400);
/// Until TCP repeats what nobody confirmed: some 0.45 s in the lab.
const REPEATED: Estimate = estimate(500, 1_000);
/// A container's start, without Swarm's delay.
const CONTAINER_START: Estimate = estimate(400, 1_000);
/// Patroni's start, from its container's start to its first round.
const PATRONI_START: Estimate = estimate(600, 1_000);
/// PostgreSQL's crash recovery of a server with little to replay.
const RECOVERY: Duration = Duration::from_secs(1);
/// An orderly stop of a leader: a shutdown checkpoint, and standbys that receive it.
const CLEAN_STOP: Estimate = estimate(400, 800);
/// All poolers are held: transactions that run end first.
const POOLS_HELD: Estimate = estimate(100, 200);
/// How long transactions that use a lost leader of a shard group are waited for before `pg_dist_node` is changed
/// (`images/node/patroni-for-swarm`).
const COOLDOWN: Duration = Duration::from_millis(300);
/// Patroni of the coordinators hears of a new leader of a shard group and changes `pg_dist_node`, without [`COOLDOWN`] and without waiting
/// for a round.
const METADATA: Duration = Duration::from_millis(100);
/// A guard begins the rounds early while leadership changes hands: three times a second (docs/guard.md), with some time to be heard.
const WOKEN_ROUND: Duration = Duration::from_millis(400);
/// How long a guard waits for an answer of etcd (`guard/store.rs`).
const GUARD_REQUEST: Duration = Duration::from_millis(600);
/// A client that was answered by nobody tries again: TCP repeats after 200, 400, 800 ms and so on (Linux, RFC 6298).
const RETRANSMISSION: Estimate = estimate(200, 500);
/// A pooler without server connections makes them: TLS, SCRAM and caches cost 25 ms of a core each with Citus, which is half a second for
/// the 20 clients of a drill.
const SESSIONS: Estimate = estimate(500, 700);
/// The same without Citus, which costs less.
const PLAIN_SESSIONS: Estimate = estimate(200, 400);
/// The same at the pooler of another host, while the leader is well.
const FIRST_LOGIN: Estimate = estimate(350, 450);
/// A client whose operation was under way has an error, and connects again in its own time: those of drills begin an operation every 0.1 s.
const CLIENT: Estimate = estimate(300, 800);
/// The same where a shard group's leader was lost. Sessions at the coordinators outlive it, so that an operation may hang until the client
/// gives it up, those of drills after 1 s; and what was left prepared keeps its rows until it is recovered.
const SHARD_CLIENT: Estimate = estimate(400, 1_200);
/// What isolation takes longer than the loss of a host.
const LIVES_ON: Estimate = estimate(700, 1_100);

/// Name of the part in which a standby becomes the leader.
pub(super) const PROMOTES: &str = "promotion";
/// Name of the part in which etcd has no leader.
const ELECTION: &str = "etcd's election";
/// Name of the part in which clients come again.
const CLIENTS: &str = "clients connect again";

fn term(name: &'static str, expected: Duration, worst: Duration, source: impl Into<String>) -> Term {
    Term { name, expected, worst, source: source.into(), beside: Vec::new(), lever: None }
}

fn estimated(name: &'static str, estimate: &Estimate, source: &str) -> Term {
    term(name, estimate.expected, estimate.worst, format!("estimate: {source}"))
}

/// An unplanned promotion.
fn promotion(topology: &Topology) -> Term {
    if guard_is_first(&topology.guard, &topology.failover) {
        let source = "measured; a revoked lease takes the lost member's key along: nobody waits for long for its answer";
        return term(PROMOTES, REVOKED_PROMOTION.expected, REVOKED_PROMOTION.worst, source);
    }
    term(PROMOTES, PROMOTION.expected, PROMOTION.worst, "measured; members that do not answer are given up after 2s")
}

impl Term {
    fn lever(self, lever: Option<Lever>) -> Self {
        Self { lever, ..self }
    }
}

/// What keeps Patroni from being faster, largest first.
fn patroni_lever(timings: &Timings) -> Option<Lever> {
    if timings.retry_timeout > RETRY_TIMEOUT_MIN {
        Some(Lever::RetryTimeout)
    } else {
        (timings.loop_wait > LOOP_WAIT_MIN).then_some(Lever::LoopWait)
    }
}

/// A leader is gone with its host, and its key is in etcd until somebody takes it away.
pub(super) fn lease(topology: &Topology) -> Vec<Term> {
    let (timings, guard) = (&topology.failover, &topology.guard);
    let age = timings.loop_wait / 2;
    if guard_is_first(guard, timings) {
        let bound = timings.self_demotion();
        let margin = (guard.margin > GUARD_MARGIN.0).then_some(Lever::Margin);
        let source = format!(
            "{} + 2 · {} after the last renewal, which is up to loop_wait old: by then a leader that cannot renew has demoted \
             itself (Patroni's manual)",
            show(timings.loop_wait),
            show(timings.retry_timeout),
        );
        let guards = format!(
            "guard.margin {}; a guard looks right then, and again {} later when that look fails; revoking is one write to \
             etcd (estimate)",
            show(guard.margin),
            show(GUARD_LOOK),
        );
        let sole = topology.group(GroupId::COORDINATOR).is_none_or(Group::has_sole_standby);
        let late = if sole { Duration::ZERO } else { late_demotion(timings.retry_timeout) };
        let mut terms = vec![term("loop_wait + 2·retry_timeout", bound - age, bound, source).lever(patroni_lever(timings))];
        if !late.is_zero() {
            let source = "in rare moments Patroni steps down 4/3·retry_timeout later, and acknowledges meanwhile: replication \
                          is not \"sync\", nor \"quorum\" with one standby";
            terms.push(term("Patroni's late step down", late, late, source).lever(patroni_lever(timings)));
        }
        terms.push(
            term("guard", guard.margin + ETCD_WRITE.expected, guard.margin + GUARD_LOOK + ETCD_WRITE.worst, guards)
                .lever(margin),
        );
        return terms;
    }
    let (why, lever) = if guard.enabled {
        ("the guards would be later", patroni_lever(timings).or(Some(Lever::Margin)))
    } else {
        ("guard.enabled = false", Some(Lever::Guard))
    };
    let source = format!("{} after the last renewal, which is up to loop_wait old; {why}", show(timings.ttl));
    let scan = format!("etcd looks for expired leases every {} (etcd, lessor.go)", show(ETCD_LEASE_SCAN));
    vec![
        term("ttl", timings.ttl - age, timings.ttl, source).lever(lever),
        term("etcd's scan", ETCD_LEASE_SCAN / 2, ETCD_LEASE_SCAN, scan),
    ]
}

/// etcd's leader is gone too, while `waited` is waited for.
pub(super) fn election(topology: &Topology, waited: &[Term]) -> Term {
    let rule = format!("--election-timeout {}: a new leader after 1 to 2 of it, 3 when a vote is split", show(ETCD_ELECTION));
    if guard_is_first(&topology.guard, &topology.failover) {
        // A leader's heartbeats tell when it renewed, whatever the new leader of etcd does with leases: the count goes on.
        let elected = term(ELECTION, ETCD_ELECTION * 3 / 2, ETCD_ELECTION * 3, "");
        let seen = term(ELECTION, (GUARD_LOOK + GUARD_REQUEST) / 2, GUARD_LOOK + GUARD_REQUEST, "");
        let within = meanwhile(ELECTION, &[elected, seen], waited);
        let source = format!(
            "{rule}; the guard looks again within {} and its request's {}; {}",
            show(GUARD_LOOK),
            show(GUARD_REQUEST),
            within.source
        );
        return Term { source, ..within };
    }
    // The count begins anew: the age of the last renewal is nothing to subtract any more.
    let age = topology.failover.loop_wait / 2;
    let source = format!("{rule}; it then gives every lease its full ttl and one of it more (etcd, lessor.Promote)");
    term(ELECTION, ETCD_ELECTION * 5 / 2 + age, ETCD_ELECTION * 4 + age, source)
}

/// A host that is cut off was measured to cost more than one that is lost.
pub(super) fn lives_on() -> Term {
    let source = "measured: so much longer than the loss of a host (3 runs on two cores, where the processes of the host that is cut off \
                  go on); why is not known";
    term("old leader lives on", LIVES_ON.expected, LIVES_ON.worst, source)
}

/// Writes are served again once a standby is promoted, and clients' ways lead to it. With a host, leaders of shard groups may be lost,
/// too, and the outage is a long one.
pub(super) fn new_leader(topology: &Topology, planned: bool, host_lost: bool) -> Term {
    let promotion = if planned { estimated(PROMOTES, &PLANNED_PROMOTION, "all members answer") } else { promotion(topology) };
    let mut beside = vec![promotion, route(host_lost)];
    if host_lost && topology.citus.is_some() {
        beside.push(shard_groups(topology));
    }
    slowest("new leader in service", "from the free key; the slowest of these, which run side by side", beside)
}

fn slowest(name: &'static str, source: &str, beside: Vec<Term>) -> Term {
    let max = |of: fn(&Term) -> Duration| beside.iter().map(of).max().unwrap_or_default();
    Term { beside: beside.clone(), ..term(name, max(|t| t.expected), max(|t| t.worst), source) }
}

/// HAProxy finds the new leader, and what waits in it goes there. Where nobody led for longer than a pooler waits, it may just have
/// given up, and tries again after its pause.
fn route(long: bool) -> Term {
    let check = SERVER_CHECK.down * SERVER_CHECK.rise;
    let mut source =
        format!("key taken (estimate); HAProxy's downinter {} and rise {}", show(SERVER_CHECK.down), SERVER_CHECK.rise);
    let (mut expected, mut worst) =
        (KEY_TAKEN.expected + check / 2 + CHECK_ANSWER.expected, KEY_TAKEN.worst + check + CHECK_ANSWER.worst);
    if long {
        let pause = POOLER_LOGIN_RETRY + POOLER_ROUND;
        source += &format!(
            "; PgBouncer gives up after server_connect_timeout {}, and pauses for server_login_retry {}, looked at every {}",
            show(POOLER_CONNECT_TIMEOUT),
            show(POOLER_LOGIN_RETRY),
            show(POOLER_ROUND),
        );
        // So much of the time it pauses, and then half of the pause is left on average.
        expected += (pause / 2).mul_f64(pause.as_secs_f64() / (POOLER_CONNECT_TIMEOUT + pause).as_secs_f64());
        worst += pause;
    }
    term("HAProxy, PgBouncer", expected, worst, source)
}

/// Shard groups whose leaders were on the same host: promoted, and known to the coordinators.
fn shard_groups(topology: &Topology) -> Term {
    let (promotion, metadata) = (promotion(topology), metadata(topology));
    term(
        "shard groups",
        promotion.expected + metadata.expected,
        promotion.worst + metadata.worst,
        format!("a promotion, then pg_dist_node: {}", metadata.source),
    )
}

/// A shard group's standby is promoted; clients go through the coordinators, whose way has not changed, and which have no connection to
/// the new leader yet.
pub(super) fn new_shard_leader(topology: &Topology) -> [Term; 4] {
    let source = "an operation that was under way has an error, or hangs until its client gives it up (1s in drills); what was left \
                  prepared is recovered";
    [promotion(topology), metadata(topology), sessions(topology), estimated(CLIENTS, &SHARD_CLIENT, source)]
}

fn metadata(topology: &Topology) -> Term {
    let loop_wait = topology.failover.loop_wait;
    let cooldown =
        format!("transactions that use the lost leader have {} to end (images/node/patroni-for-swarm)", show(COOLDOWN));
    let (round, told, lever) = if topology.guard.enabled {
        (WOKEN_ROUND, "guards begin rounds early, three times a second".to_owned(), None)
    } else {
        let lever = (loop_wait > LOOP_WAIT_MIN).then_some(Lever::LoopWait);
        (loop_wait, format!("at the latest it sees it in its next round, loop_wait {}", show(loop_wait)), lever)
    };
    let source = format!("the new leader tells the coordinators' Patroni (estimate); {told}; {cooldown}");
    term("pg_dist_node", METADATA + COOLDOWN, METADATA + COOLDOWN + round, source).lever(lever)
}

/// A guard on the same host sees a container die and revokes its lease without waiting.
pub(super) fn die_event() -> Term {
    term(
        "guard sees the death",
        DIE_EVENT.expected + ETCD_WRITE.expected,
        DIE_EVENT.worst + ETCD_WRITE.worst,
        "measured: Docker's event of a container that died; one write to etcd; a dead leader needs no waiting",
    )
}

/// Without a guard at hand the killed leader itself comes back and gives its key away, or leads again.
pub(super) fn comes_back(topology: &Topology) -> Vec<Term> {
    let lever = (!topology.guard.enabled).then_some(Lever::Guard);
    let restart = term(
        "container restarts",
        RESTART_DELAY + CONTAINER_START.expected + PATRONI_START.expected,
        RESTART_DELAY + CONTAINER_START.worst + PATRONI_START.worst,
        format!("Swarm's restart delay {}; container and Patroni start (estimate); no guard is at hand", show(RESTART_DELAY)),
    )
    .lever(lever);
    let mut terms = vec![restart];
    terms.extend(in_place(topology));
    terms.push(give_back());
    terms
}

/// Patroni looks after its PostgreSQL once in a round.
pub(super) fn notices(topology: &Topology) -> Term {
    let loop_wait = topology.failover.loop_wait;
    let lever = (loop_wait > LOOP_WAIT_MIN).then_some(Lever::LoopWait);
    term("Patroni notices", loop_wait / 2, loop_wait, format!("once in a round: loop_wait {}", show(loop_wait))).lever(lever)
}

/// A synchronous standby's host is silent; `None` where neither limit is set, or one cannot be read. What the leader sends is confirmed
/// by nobody, so that the connection ends with the shorter of them; TCP counts from its first repetition.
pub(super) fn silence(topology: &Topology) -> Option<Term> {
    let limit = |name: &str, ours: Duration| match topology.parameters.get(name) {
        None => Some(ours),
        Some(written) => parse_postgres_duration(written),
    };
    let (sender, user) = (limit("wal_sender_timeout", WAL_SENDER_TIMEOUT)?, limit("tcp_user_timeout", DATABASE_USER_TIMEOUT)?);
    // 0 is without a limit.
    let shorter = |repeated: Duration| {
        let limits = [(sender, sender), (user, user + repeated)];
        limits.into_iter().filter(|(set, _)| !set.is_zero()).map(|(_, limit)| limit).min()
    };
    let source = format!(
        "wal_sender_timeout {} or tcp_user_timeout {}: until then the leader waits for its confirmation of every commit",
        show(sender),
        show(user)
    );
    Some(term("silence", shorter(REPEATED.expected)?, shorter(REPEATED.worst)?, source))
}

/// Patroni has noticed that it is gone, and makes do without it.
pub(super) fn standby_left_out() -> Term {
    estimated("standby is left out", &LEFT_OUT, "its name is taken out of etcd and of synchronous_standby_names")
}

/// The crashed leader gets so long to recover where it is.
pub(super) fn in_place(topology: &Topology) -> Option<Term> {
    let limit = topology.failover.primary_start_timeout;
    let source = format!("primary_start_timeout {}; a crash recovery of little takes about 1s (estimate)", show(limit));
    let term = || term("restart in place", limit.min(RECOVERY), limit, source).lever(Some(Lever::PrimaryStartTimeout));
    (limit > Duration::ZERO).then(term)
}

/// A leader that prefers a failover to its own restart.
pub(super) fn give_back() -> Term {
    let source = "primary_start_timeout is over; a standby is asked, PostgreSQL's rest is ended, then the key is free";
    estimated("key given back", &KEY_GIVEN_BACK, source)
}

/// Clients are held back before the leader is asked to stop.
pub(super) fn pools_held() -> Term {
    estimated("pools are held", &POOLS_HELD, "transactions that run end, then each PgBouncer says that it is paused")
}

/// A leader is asked to stop.
pub(super) fn clean_stop() -> Term {
    estimated("old leader stops", &CLEAN_STOP, "shutdown checkpoint, standbys receive all of it, the key is free")
}

/// The address moves to another proxy host.
pub(super) fn address_moves(topology: &Topology) -> Vec<Term> {
    // At worst the holder was the first proxy: the next one in line has the longest timer that a next one can have.
    let proxies = topology.proxies.len();
    let missed = vrrp_down_timer(proxies, 2);
    let detection = VRRP_ADVERT * missed;
    let source = format!("{missed} advertisements of {} are missed, and the skew of {} (RFC 9568)", show(VRRP_ADVERT), skew(),);
    vec![term("address moves", detection - VRRP_ADVERT / 2 + vrrp_skew(), detection + vrrp_skew(), source), clients_try_again()]
}

/// In whole milliseconds, which is all that a duration is shown in.
fn skew() -> String {
    show(Duration::from_millis(whole_millis(vrrp_skew())))
}

fn clients_try_again() -> Term {
    term(
        "clients try again",
        RETRANSMISSION.expected + FIRST_LOGIN.expected,
        RETRANSMISSION.worst + FIRST_LOGIN.worst,
        "TCP repeats after 200, 400, 800ms (RFC 6298); a first login of the other pooler (estimate)",
    )
}

/// HAProxy alone is gone: its host gives the address up, and the other one takes it without missing anything.
pub(super) fn haproxy_gone() -> Vec<Term> {
    let source = format!(
        "keepalived's check of HAProxy every {} (its script asks twice: estimate), and the skew of {} (RFC 9568)",
        show(HAPROXY_CHECK),
        skew(),
    );
    let given_up = term(
        "address is given up",
        HAPROXY_CHECK / 2 + CHECK_TWICE.expected + vrrp_skew(),
        HAPROXY_CHECK + CHECK_TWICE.worst + vrrp_skew(),
        source,
    );
    vec![given_up, clients_try_again()]
}

/// Clients that were held back, or turned away, come all at once, and each needs a session at a leader that has none.
pub(super) fn sessions(topology: &Topology) -> Term {
    let (estimate, source) = if topology.citus.is_some() {
        (&SESSIONS, "TLS, SCRAM and caches, 25ms of a core each with Citus, of 20 clients at once, on two cores")
    } else {
        (&PLAIN_SESSIONS, "TLS, SCRAM and caches, of all clients at once, on two cores")
    };
    estimated("sessions begin anew", estimate, source)
}

/// Where nobody held clients back, an outage that is short is longer for those whose operation was under way. In a long one they have
/// come again, and wait, before there is a new leader.
pub(super) fn clients() -> Term {
    let source = "an operation that was under way has an error; its client connects again, and writes when its next turn comes";
    estimated(CLIENTS, &CLIENT, source)
}

/// Two ways in which an address is lost; either may happen.
pub(super) fn either(name: &'static str, ways: Vec<Term>) -> Term {
    slowest(name, "the slower of these; only one of them happens", ways)
}

/// Terms one after the other, as one.
pub(super) fn together(name: &'static str, terms: &[Term]) -> Term {
    let source = terms.iter().map(|t| t.source.as_str()).collect::<Vec<_>>().join("; ");
    term(name, terms.iter().map(|t| t.expected).sum(), terms.iter().map(|t| t.worst).sum(), source)
}

/// What moves while something longer is waited for: only what is beyond it counts.
pub(super) fn meanwhile(name: &'static str, moves: &[Term], waited: &[Term]) -> Term {
    let sum = |terms: &[Term], of: fn(&Term) -> Duration| terms.iter().map(of).sum::<Duration>();
    let beyond = |of: fn(&Term) -> Duration| sum(moves, of).saturating_sub(sum(waited, of));
    let source = format!("{} at worst, while the lease is waited for", millis(whole_millis(sum(moves, |t| t.worst))));
    term(name, beyond(|t| t.expected), beyond(|t| t.worst), source)
}
