//! `[failover.promise]`: how long writes may fail and what may be lost. A promise that the settings cannot keep is refused.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::quantity::{millis, whole_millis};
use crate::topology::budget::{self, Budget, End, Lever};
use crate::topology::file::{LossSection, PromiseSection, TopologyFile};
use crate::topology::finding::Finding;
use crate::topology::ids::GroupId;
use crate::topology::model::{Group, Replication, Topology};
use crate::topology::promise::{Event, LossLimit, Promise};
use crate::topology::span::At;
use crate::topology::units::{parse_duration, show_duration};

/// Beyond this a promise is surely a wrong unit.
const LONGEST: Duration = Duration::from_secs(3600);

/// Reads the promises of a topology that is complete but for them.
pub(super) fn read(file: &TopologyFile, topology: &Topology, findings: &mut Vec<Finding>) -> Promise {
    let section = &file.failover.promise;
    let gaps = findings.iter().any(Finding::is_error);
    let loss = loss(&section.loss, &topology.groups, findings);
    let promised: Vec<(Event, Option<Duration>)> = Event::ALL
        .into_iter()
        .map(|event| (event, written(section, event).and_then(|at| duration(at, event, findings))))
        .collect();
    // A topology with an error in it has gaps, and what follows from them would be news to nobody.
    if gaps {
        return Promise { outage: BTreeMap::new(), loss };
    }
    let mut outage = BTreeMap::new();
    for (event, promised) in promised {
        let budget = budget::of(topology, event);
        if let (Some(promised), Some(at)) = (promised, written(section, event)) {
            findings.extend(judge(file, topology, at, &budget, promised));
        }
        // A default is no promise that anyone has asked for: what the settings cannot keep is raised to what they can.
        let kept = budget.p95().map(|p95| promised.unwrap_or_else(|| p95.max(event.default_promise())));
        outage.extend(kept.map(|kept| (event, kept)));
    }
    Promise { outage, loss }
}

/// What is wrong with a promise that is written, if anything.
fn judge(file: &TopologyFile, topology: &Topology, at: &At<String>, budget: &Budget, promised: Duration) -> Option<Finding> {
    let event = budget.event;
    match &budget.end {
        End::Absent(why) => Some(
            Finding::warning("unused-key", at.span.clone(), format!("promise.{event} has no effect: {why}"))
                .help("remove the key"),
        ),
        End::Unbounded(why) => Some(
            Finding::error("promise", at.span.clone(), format!("{event} = \"{}\" cannot be kept", at.value))
                .label(why.clone())
                .help("remove the key: without it nothing is promised for this event"),
        ),
        End::After(terms) => {
            let p95 = budget.p95().filter(|p95| promised < *p95)?;
            let parts = terms.iter().filter(|term| !term.worst.is_zero());
            let parts: Vec<String> = parts.map(|term| format!("{} {}", term.name, people(term.worst))).collect();
            // A setting that does little for what is missing is no advice.
            let missing = p95 - promised;
            let lever = budget.lever(topology).filter(|(_, better)| 2 * p95.saturating_sub(*better) >= missing);
            let change = match lever {
                Some((lever, better)) => format!(", or {} ({} then)", lever.advice(), people(better)),
                None => "; no setting of this file shortens it enough, see `topology budget -v`".to_owned(),
            };
            let mut finding = Finding::error("promise", at.span.clone(), format!("{event} = \"{}\" cannot be kept", at.value))
                .label(format!("in one of twenty cases it takes more than {}; at worst: {}", people(p95), parts.join(", ")))
                .help(format!("write \"{}\" or more{change}", show_duration(p95)));
            if let Some((lever, span)) = lever.and_then(|(lever, _)| Some((lever, place(file, lever)?))) {
                finding = finding.also(span, lever.advice());
            }
            Some(finding)
        }
    }
}

/// Where a setting is written, if it is.
fn place(file: &TopologyFile, lever: Lever) -> Option<Range<usize>> {
    let text = |at: &Option<At<String>>| at.as_ref().map(|at| at.span.clone());
    match lever {
        Lever::LoopWait => text(&file.failover.loop_wait),
        Lever::RetryTimeout => text(&file.failover.retry_timeout),
        Lever::PrimaryStartTimeout => text(&file.failover.primary_start_timeout),
        Lever::Guard => file.guard.enabled.as_ref().map(|at| at.span.clone()),
        Lever::Margin => text(&file.guard.margin),
    }
}

fn people(duration: Duration) -> String {
    millis(whole_millis(duration))
}

fn written(section: &PromiseSection, event: Event) -> Option<&At<String>> {
    match event {
        Event::PostgresCrash => section.postgres_crash.as_ref(),
        Event::ContainerKill => section.container_kill.as_ref(),
        Event::ShardLeaderKill => section.shard_leader_kill.as_ref(),
        Event::HostLoss => section.host_loss.as_ref(),
        Event::HostLossWithEtcdLeader => section.host_loss_with_etcd_leader.as_ref(),
        Event::Isolation => section.isolation.as_ref(),
        Event::StandbyLoss => section.standby_loss.as_ref(),
        Event::Vip => section.vip.as_ref(),
        Event::SwitchoverPause => section.switchover_pause.as_ref(),
    }
}

/// A promise as written; `None` when it is no sensible duration, which is then said.
fn duration(written: &At<String>, event: Event, findings: &mut Vec<Finding>) -> Option<Duration> {
    match parse_duration(written) {
        Ok(value) if value <= LONGEST => Some(value),
        Ok(value) => {
            findings.push(
                Finding::error(
                    "duration-too-long",
                    written.span.clone(),
                    format!("{event} cannot be {}", show_duration(value)),
                )
                .label("no failover takes that long")
                .help(format!("the default is \"{}\"", show_duration(event.default_promise()))),
            );
            None
        }
        Err(help) => {
            findings.push(
                Finding::error("duration", written.span.clone(), format!("{:?} is not a duration", written.value))
                    .label(format!("{event} is a duration"))
                    .help(help),
            );
            None
        }
    }
}

/// What each group may lose: what is written for its kind, else what its replication promises.
fn loss(section: &LossSection, groups: &[Group], findings: &mut Vec<Finding>) -> BTreeMap<GroupId, LossLimit> {
    let kinds = [("coordinators", &section.coordinators, true), ("shards", &section.shards, false)];
    for (key, written, coordinators) in kinds {
        let Some(written) = written else { continue };
        let mut members = groups.iter().filter(|group| group.id.is_coordinator() == coordinators).peekable();
        if members.peek().is_none() {
            findings.push(
                Finding::warning("unused-key", written.span.clone(), format!("loss.{key} has no effect without shard groups"))
                    .help("set shards.count, or remove the key"),
            );
        }
        let asynchronous = members.find(|group| group.replication == Replication::Async);
        if let Some(group) = asynchronous.filter(|_| written.value == 0) {
            findings.push(
                Finding::error("loss-of-async", written.span.clone(), format!("{} cannot promise to lose nothing", group.id))
                    .label("replication \"async\" acknowledges commits before a standby has them")
                    .help(match (group.members.len(), coordinators) {
                        (1, _) => "a group of one member has no copy: remove the key, or add a member".to_owned(),
                        (_, true) => "write coordinators.replication = \"sync\", or remove the key".to_owned(),
                        (_, false) => "write shards.replication = \"quorum\", or remove the key".to_owned(),
                    }),
            );
        }
    }
    let limit = |group: &Group| {
        let written = if group.id.is_coordinator() { &section.coordinators } else { &section.shards };
        written.as_ref().map_or_else(|| LossLimit::default_of(group), |at| LossLimit::AtMost(at.value))
    };
    groups.iter().map(|group| (group.id, limit(group))).collect()
}
