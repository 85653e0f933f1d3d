//! The scenarios, as data: what each breaks, in which order, and which promise it holds the cluster to.
//!
//! [`list`] has all of them, [`need`] says which clusters can play which.

mod list;
mod need;

use std::collections::BTreeSet;
use std::time::Duration;

pub use list::ALL;
pub use need::Need;

use super::operator::PATIENCE;
use super::target;
use crate::topology::budget::{self, End};
use crate::topology::model::Timings;
use crate::topology::{Event, GroupId, Topology};

/// For all commands of an operator in one act: three at most.
const COMMANDS: Duration = PATIENCE.saturating_mul(3);
/// How long a cluster may take to become whole after its faults have ended: a rewound or copied member, etcd, Swarm's restarts.
pub const WHOLE: Duration = Duration::from_secs(180);
/// How long clients may be turned away before the next act goes on without them.
pub const SERVED: Duration = Duration::from_secs(90);
/// How long hosts may take until they answer again after their power is back; `lab start` gives up then.
const BOOT: Duration = Duration::from_secs(60);

/// A rehearsed failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens, in one line.
    pub about: &'static str,
    /// The promise that its outage is held against; `None` has none, only that nothing is lost and all becomes whole.
    pub event: Option<Event>,
    /// Put in place before the clients start.
    pub arrange: &'static [Arrange],
    /// What is done, in order.
    pub acts: &'static [Act],
    /// Whether a cluster has to sit it out: then nobody may be promoted.
    pub steady: bool,
    /// Part of the set for CI: short, and telling.
    pub ci: bool,
}

/// What has to be so before it begins. What can be brought about, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrange {
    /// The coordinators' leader is on the host that holds the VIP.
    LeaderWithVip,
    /// It is on another.
    LeaderWithoutVip,
    /// No leader of any group is on the host that holds the VIP.
    NoLeaderWithVip,
    /// Etcd is led from another host than the coordinators' leader is on. Its guard sees to that too, after a while.
    EtcdLedElsewhere,
    /// The coordinators' leader has a disk of its own that has little room left.
    LeaderOnSmallDisk,
    /// The cluster is what the topology says: an `up` of the drill's does nothing but what the drill wants.
    NothingPending,
}

/// Who is hit, by what they are at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The coordinators' leader.
    Leader,
    /// The leader of the first shard group.
    ShardLeader,
    /// A synchronous standby of the coordinators.
    SyncStandby,
    /// All standbys of the coordinators but that one.
    OtherStandbys,
    /// All standbys of the coordinators.
    Standbys,
    /// HAProxy beside the VIP.
    Haproxy,
    /// PgBouncer beside the VIP.
    Pgbouncer,
    /// The member that leads etcd.
    EtcdLeader,
    /// All members of etcd but one.
    EtcdMajority,
}

/// A host, by what is on it at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// With the coordinators' leader.
    OfLeader,
    /// With the VIP.
    OfVip,
    /// With the leading Swarm manager.
    OfSwarmLeader,
}

/// What of the traffic is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Nothing comes or goes.
    Both,
    /// Nothing comes.
    Inbound,
    /// Nothing goes.
    Outbound,
}

/// Who is on the other end of a cut line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The synchronous standby.
    SyncStandby,
    /// All members of etcd.
    Etcd,
}

/// What becomes of a host's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Each is sent so much later.
    Slow(Duration),
    /// So many of a hundred are lost.
    Lossy(u8),
}

/// How long something lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// So long.
    Of(Duration),
    /// A little longer than a leader's key lives without being renewed.
    BeyondTtl,
}

impl Time {
    /// In a cluster with these timings.
    pub fn with(self, timings: &Timings) -> Duration {
        /// More than etcd takes to look for expired leases, and a hand's breadth.
        const BEYOND: Duration = Duration::from_secs(2);
        match self {
            Self::Of(time) => time,
            Self::BeyondTtl => timings.ttl + BEYOND,
        }
    }
}

/// One thing that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// SIGKILL to all processes of a container; Swarm starts another.
    Kill(Who),
    /// The same to the leaders of the coordinators and of the first shard group at once: who they are is found out before either is
    /// hit.
    KillLeaders,
    /// SIGKILL to Patroni alone, from outside of its container, which ends with it.
    KillPatroni(Who),
    /// SIGKILL to the postmaster; Patroni and the container stay.
    KillPostmaster(Who),
    /// SIGKILL to one server process: PostgreSQL ends all sessions and recovers.
    KillBackend(Who),
    /// An orderly stop of a container.
    Stop(Who),
    /// All processes of a container stand still for so long, then go on.
    Freeze(Who, Time),
    /// A host loses its power. Only in a lab.
    PowerOff(Place),
    /// The same, right after etcd's leadership was brought to that host: its guard would soon take it away again. Only in a lab.
    PowerOffWithEtcdLeader(Place),
    /// The host that lost its power first gets it back before the others. What it holds is old: whatever may not lose anything must
    /// not be led from there any more. Only in a lab.
    PowerOnFirst,
    /// All hosts without power get it back. Only in a lab.
    PowerOn,
    /// Whoever stands still goes on.
    Thaw,
    /// A host is cut off from all others for so long. SSH stays.
    Isolate(Place, Direction, Time),
    /// One member does not reach others for so long.
    Cut(Who, Peer, Time),
    /// Standbys get nothing more from their leader for so long, and are well otherwise: they lag.
    Lag(Who, Time),
    /// A host sends its packets late, or loses some, for so long.
    Disturb(Place, Weather, Time),
    /// The disk of a member is full for so long. Only after [`Arrange::LeaderOnSmallDisk`].
    FillDisk(Who, Time),
    /// Members on small disks get their own back.
    UsualDisks,
    /// A planned change of the coordinators' leader.
    Switchover,
    /// A planned change of the first shard group's leader.
    ShardSwitchover,
    /// An operator's `up` with a changed setting is killed (SIGKILL) while it hands over leadership, another completes it, and a
    /// third takes the change back.
    KillUp,
    /// An operator takes all shards from the first shard group and gives it its share again.
    MoveShards,
    /// An operator adds a shard group with its share of the shards, and takes it out again.
    GrowAndShrink,
    /// The Docker daemon of a host is killed; its containers end with it, and it is started anew.
    KillDockerd(Place),
    /// Until the cluster is whole again, as before the first act.
    UntilWhole,
    /// Until every client has written again.
    UntilServed,
    /// So long.
    Wait(Time),
}

impl Scenario {
    const fn event(self, event: Event) -> Self {
        Self { event: Some(event), ..self }
    }

    const fn after(self, arrange: &'static [Arrange]) -> Self {
        Self { arrange, ..self }
    }

    const fn steady(self) -> Self {
        Self { steady: true, ..self }
    }

    const fn ci(self) -> Self {
        Self { ci: true, ..self }
    }

    /// What it is in this cluster: where no commit waits for a standby, the loss of the VIP's host is that of the VIP.
    pub fn event_in(&self, topology: &Topology) -> Option<Event> {
        let event = self.event?;
        let nobody_waits = || matches!(budget::of(topology, event).end, End::Absent(_));
        let vip_goes = self.acts.contains(&Act::PowerOff(Place::OfVip));
        Some(if event == Event::StandbyLoss && vip_goes && nobody_waits() { Event::Vip } else { event })
    }

    /// Whether all that happens is ordered: then nobody may be turned away.
    pub fn is_planned(&self) -> bool {
        self.acts.iter().all(|act| matches!(act, Act::Switchover | Act::ShardSwitchover) || act.moves_shards())
    }

    /// Whether data is in another group afterwards than its clients began with.
    pub fn moves_shards(&self) -> bool {
        self.acts.iter().any(Act::moves_shards)
    }

    /// The groups that it is about, to which most clients write.
    pub fn hits(&self, topology: &Topology) -> BTreeSet<GroupId> {
        let shard = self.needs_shards().then(|| target::first_shard(topology));
        let coordinators = shard.is_none() || self.acts.contains(&Act::KillLeaders);
        shard.into_iter().chain(coordinators.then_some(GroupId::COORDINATOR)).collect()
    }

    /// How long its acts take at most, as far as time or somebody's patience bounds them.
    pub fn lasts(&self, timings: &Timings) -> Duration {
        self.acts.iter().map(|act| act.lasts(timings)).sum()
    }
}

impl Act {
    fn moves_shards(&self) -> bool {
        matches!(self, Self::MoveShards | Self::GrowAndShrink)
    }

    /// Whether it takes a host's power, or gives it back.
    #[cfg(test)]
    fn switches(&self) -> bool {
        matches!(self, Self::PowerOff(_) | Self::PowerOffWithEtcdLeader(_) | Self::PowerOnFirst | Self::PowerOn)
    }

    /// How long it takes at most.
    fn lasts(&self, timings: &Timings) -> Duration {
        match self {
            Self::Freeze(_, time)
            | Self::Isolate(_, _, time)
            | Self::Cut(_, _, time)
            | Self::Lag(_, time)
            | Self::Disturb(_, _, time)
            | Self::FillDisk(_, time)
            | Self::Wait(time) => time.with(timings),
            Self::KillUp | Self::MoveShards | Self::GrowAndShrink => COMMANDS,
            Self::UntilServed => SERVED,
            Self::UntilWhole => WHOLE,
            Self::PowerOnFirst | Self::PowerOn => BOOT,
            _ => Duration::ZERO,
        }
    }
}

/// The scenario of that name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::example;

    #[test]
    fn names_are_unique_and_fit_the_command_line() {
        let names: BTreeSet<_> = ALL.iter().map(|s| s.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
    }

    #[test]
    fn whoever_loses_power_gets_it_back() {
        for scenario in ALL {
            let count = |want: fn(&Act) -> bool| scenario.acts.iter().filter(|act| want(act)).count();
            let off = count(|act| matches!(act, Act::PowerOff(_) | Act::PowerOffWithEtcdLeader(_)));
            let on = count(|act| matches!(act, Act::PowerOnFirst | Act::PowerOn));
            assert_eq!(off, on, "{}", scenario.name);
            assert!(off == 0 || scenario.acts.iter().rfind(|act| act.switches()) == Some(&Act::PowerOn), "{}", scenario.name);
        }
    }

    /// Nobody but the host that came back first could lead, for longer than any lease lives: what keeps it from leading is that it is
    /// stale. And nobody's clock gives a host its power back, or thaws a member, before that.
    #[test]
    fn a_stale_host_is_alone_for_longer_than_a_lease_lives() {
        let timings = example("three-hosts").failover;
        let acts = find("sequential-loss-stale").expect("a scenario").acts;
        let at = |act: Act| acts.iter().position(|a| *a == act).expect("an act");
        let alone = &acts[at(Act::PowerOnFirst) + 1..at(Act::PowerOn)];
        let time: Duration = alone.iter().map(|act| act.lasts(&timings)).sum();
        assert!(time >= timings.ttl * 2, "{time:?}");
        let frozen = acts.iter().position(|act| matches!(act, Act::Freeze(..))).expect("the third one stands still");
        let while_frozen: Duration = acts[frozen + 1..at(Act::Thaw)].iter().map(|act| act.lasts(&timings)).sum();
        assert!(acts[frozen].lasts(&timings) >= while_frozen, "it thaws too early");
        assert!(acts[frozen + 1..at(Act::PowerOnFirst)].iter().any(|act| matches!(act, Act::PowerOff(_))));
    }

    #[test]
    fn who_got_a_small_disk_gets_its_own_back() {
        for scenario in ALL {
            let small = scenario.arrange.contains(&Arrange::LeaderOnSmallDisk);
            assert_eq!(small, scenario.acts.contains(&Act::UsualDisks), "{}", scenario.name);
            let fills = scenario.acts.iter().any(|act| matches!(act, Act::FillDisk(..)));
            assert_eq!(small, fills, "{}: nothing but a small disk may be filled", scenario.name);
        }
    }

    #[test]
    fn a_run_is_as_long_as_the_patience_of_its_acts() {
        let timings = example("three-hosts").failover;
        let lasts = |name| find(name).expect("a scenario").lasts(&timings);
        assert_eq!(lasts("up-killed"), PATIENCE * 3);
        assert_eq!(lasts("failover-of-failover"), SERVED);
        assert_eq!(lasts("container-kill"), Duration::ZERO);
        assert_eq!(lasts("freeze"), (timings.ttl + Duration::from_secs(2)) * 2);
    }

    #[test]
    fn where_no_commit_waits_only_the_vip_is_lost() {
        let holder = find("vip-holder-loss").expect("a scenario");
        let mut topology = example("three-hosts");
        assert_eq!(holder.event_in(&topology), Some(Event::StandbyLoss));
        topology.groups.iter_mut().for_each(|group| group.replication = crate::topology::model::Replication::Async);
        assert_eq!(holder.event_in(&topology), Some(Event::Vip));
        assert_eq!(find("cut-standby").and_then(|cut| cut.event_in(&topology)), Some(Event::StandbyLoss));
    }

    /// What is looked up after a first kill finds a cluster that recovers already, a second later.
    #[test]
    fn two_leaders_are_lost_in_one_act() {
        let acts = find("two-leaders-lost").expect("a scenario").acts;
        assert_eq!(acts, [Act::KillLeaders]);
    }

    #[test]
    fn most_clients_write_to_the_groups_that_are_hit() {
        let topology = example("three-hosts");
        let hit = |name: &str| find(name).expect("a scenario").hits(&topology).into_iter().map(|g| g.0).collect::<Vec<_>>();
        assert_eq!(hit("host-loss"), [0]);
        assert_eq!(hit("shard-leader-kill"), [1]);
        assert_eq!(hit("two-leaders-lost"), [0, 1]);
    }

    /// What a runbook rehearses: the names after `drill run` in its last part.
    fn rehearsed(page: &str) -> BTreeSet<&str> {
        let (_, part) = page.split_once("\n## Rehearse\n").unwrap_or_default();
        let part = part.split("\n## ").next().unwrap_or_default();
        let runs = part.lines().filter_map(|line| line.strip_prefix("pgclusterctl drill run "));
        runs.flat_map(|run| run.split('#').next().unwrap_or_default().split_whitespace())
            .filter(|w| !w.starts_with('-'))
            .collect()
    }

    #[test]
    fn every_runbook_rehearses_and_every_scenario_is_in_one() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks");
        let read = |path: &std::path::Path| std::fs::read_to_string(path).expect("a page");
        let overview = read(&folder.join("README.md"));
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir(&folder).expect("the runbooks") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
            if name == "README.md" {
                continue;
            }
            let page = read(&path);
            let here = rehearsed(&page);
            assert!(!here.is_empty(), "{name} has no `## Rehearse` with a drill");
            let line =
                overview.lines().find(|line| line.contains(&format!("({name})"))).expect("every page is in the overview");
            for scenario in &here {
                assert!(find(scenario).is_some(), "{name}: there is no {scenario}");
                assert!(line.contains(&format!("`{scenario}`")), "README.md: {scenario} is rehearsed in {name}");
            }
            found.extend(here.into_iter().map(str::to_owned));
        }
        let missing: Vec<_> = ALL.iter().map(|s| s.name).filter(|name| !found.contains(*name)).collect();
        assert!(missing.is_empty(), "no runbook rehearses {missing:?}");
    }

    #[test]
    fn the_ci_set_covers_the_promises_that_need_no_long_faults() {
        let events: BTreeSet<_> = ALL.iter().filter(|s| s.ci).filter_map(|s| s.event).collect();
        for event in [Event::ContainerKill, Event::ShardLeaderKill, Event::HostLoss, Event::Vip, Event::SwitchoverPause] {
            assert!(events.contains(&event), "{event}");
        }
    }
}
