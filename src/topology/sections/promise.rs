//! `[failover.promise]`: how long writes may fail and what may be lost. A promise that the settings cannot keep is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::topology::file::{LossSection, PromiseSection};
use crate::topology::finding::Finding;
use crate::topology::ids::GroupId;
use crate::topology::model::{Group, Replication, Topology};
use crate::topology::promise::{Event, LossLimit, Promise};
use crate::topology::span::At;
use crate::topology::units::{parse_duration, show_duration};

/// Beyond this a promise is surely a wrong unit.
const LONGEST: Duration = Duration::from_secs(3600);

/// Reads the promises of a topology that is complete but for them.
pub(super) fn read(section: &PromiseSection, topology: &Topology, findings: &mut Vec<Finding>) -> Promise {
    let mut outage = BTreeMap::new();
    for event in Event::ALL {
        let written = written(section, event).and_then(|at| duration(at, event, findings));
        outage.insert(event, written.unwrap_or_else(|| event.default_promise()));
    }
    Promise { outage, loss: loss(&section.loss, &topology.groups, findings) }
}

fn written(section: &PromiseSection, event: Event) -> Option<&At<String>> {
    match event {
        Event::PostgresCrash => section.postgres_crash.as_ref(),
        Event::ContainerKill => section.container_kill.as_ref(),
        Event::ShardLeaderKill => section.shard_leader_kill.as_ref(),
        Event::HostLoss => section.host_loss.as_ref(),
        Event::HostLossWithEtcdLeader => section.host_loss_with_etcd_leader.as_ref(),
        Event::Isolation => section.isolation.as_ref(),
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
