//! Doing what a scenario says, act by act. Part of the [`Director`]'s work.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use super::director::{Director, WHOLE_LOOK};
use super::fault::disk::{self, Disk};
use super::fault::network::{self, Cut};
use super::fault::{power, process};
use super::notes::Notes;
use super::operator::{self, Changed};
use super::scenario::{Act, Direction, Peer, Place, Scenario, Time, Weather, Who};
use super::workload::Workload;
use super::{DrillError, fault, target};
use crate::lab::{self, LabName};
use crate::observe::{Scope, observe};
use crate::remote::container::Container;
use crate::remote::etcd::Etcd;
use crate::steps::poolers;
use crate::topology::{GroupId, HostName};

/// How long Swarm may take until it misses a host: three of its heartbeats, 5 s each (`docker swarm update --dispatcher-heartbeat`), and
/// one more.
const MISSED: Duration = Duration::from_secs(20);

/// For how long it is tried again to move etcd's leadership: longer than an election takes.
const ETCD_MOVES: Duration = Duration::from_secs(5);
/// Pause between two such tries.
const ETCD_LOOK: Duration = Duration::from_millis(300);

impl Director<'_> {
    /// Does everything in order.
    pub(super) async fn play(
        &mut self,
        scenario: &Scenario,
        lab: Option<&LabName>,
        workload: &Workload,
        notes: &mut Notes,
    ) -> Result<(), DrillError> {
        for act in scenario.acts {
            self.stopped()?;
            self.act(*act, lab, workload, notes).await?;
            notes.done();
        }
        Ok(())
    }

    /// Does one thing.
    async fn act(&mut self, act: Act, lab: Option<&LabName>, workload: &Workload, notes: &mut Notes) -> Result<(), DrillError> {
        let timings = &self.topology.failover;
        let lasts = |time: Time| time.with(timings);
        match act {
            Act::Kill(who) => self.kill(who, "SIGKILL", notes).await,
            Act::Stop(who) => self.kill(who, "SIGTERM", notes).await,
            Act::KillLeaders => self.kill_leaders(notes).await,
            Act::KillPatroni(who) => self.kill_patroni(who, notes).await,
            Act::KillPostmaster(who) => self.kill_inside(who, process::POSTMASTER, "the postmaster", notes).await,
            Act::KillBackend(who) => self.kill_inside(who, process::BACKEND, "the server process of a client", notes).await,
            Act::Freeze(who, time) => self.freeze(who, lasts(time), notes).await,
            Act::Isolate(place, direction, time) => self.isolate(place, direction, lasts(time), notes).await,
            Act::Cut(who, peer, time) => self.cut(who, peer, lasts(time), notes).await,
            Act::Lag(who, time) => self.lag(who, lasts(time), notes).await,
            Act::Disturb(place, weather, time) => self.disturb(place, weather, lasts(time), notes).await,
            Act::FillDisk(who, time) => self.fill_disk(who, lasts(time), notes).await,
            Act::UsualDisks => self.usual_disks(notes).await,
            Act::PowerOff(place) => self.power_off(place, lab, notes).await,
            Act::PowerOffWithEtcdLeader(place) => self.power_off_with_etcd_leader(place, lab, notes).await,
            Act::PowerOnFirst => self.power_on_first(lab, notes).await,
            Act::PowerOn => self.power_on(lab, notes).await,
            Act::Thaw => self.thaw(notes).await,
            Act::Switchover => self.ordered(GroupId::COORDINATOR, notes).await,
            Act::ShardSwitchover => self.ordered(target::first_shard(self.topology), notes).await,
            Act::KillDockerd(place) => self.kill_dockerd(place, notes).await,
            Act::KillUp => self.kill_up(notes).await,
            Act::MoveShards => self.move_shards(notes).await,
            Act::GrowAndShrink => self.grow_and_shrink(notes).await,
            Act::UntilWhole => self.wants_whole_again(notes).await.map(drop),
            Act::UntilServed => self.wants_service(workload, notes.reached(), notes).await,
            Act::Wait(time) => {
                tokio::time::sleep(lasts(time)).await;
                Ok(())
            }
        }
    }

    async fn freeze(&self, who: Who, time: Duration, notes: &mut Notes) -> Result<(), DrillError> {
        for name in self.services(who).await? {
            let container = self.fleet.member(self.topology, &name).await?;
            notes.harm(format!("{name} stands still for {} s", time.as_secs())).await;
            process::freeze(self.fleet.link(&container.host)?, &container, time, self.consent).await?;
        }
        Ok(())
    }

    async fn isolate(&self, place: Place, direction: Direction, time: Duration, notes: &mut Notes) -> Result<(), DrillError> {
        let name = self.place(place).await?;
        let what = match direction {
            Direction::Both => "is cut off",
            Direction::Inbound => "hears nobody",
            Direction::Outbound => "is heard by nobody",
        };
        notes.harm(format!("{name} {what} for {} s", time.as_secs())).await;
        network::isolate(self.fleet.link(&name)?, self.topology.host(&name), direction, time, self.consent).await
    }

    async fn cut(&self, who: Who, peer: Peer, time: Duration, notes: &mut Notes) -> Result<(), DrillError> {
        let name = self.one(who).await?;
        let peers = match peer {
            Peer::SyncStandby => self.services(Who::SyncStandby).await?,
            Peer::Etcd => self.topology.etcd.iter().map(|m| m.name.to_string()).collect(),
        };
        let what = Cut { addresses: self.addresses(&peers).await?, port: None };
        let container = self.fleet.member(self.topology, &name).await?;
        notes.harm(format!("{name} does not reach {} for {} s", peers.join(", "), time.as_secs())).await;
        network::cut(self.fleet.link(&container.host)?, &container, &what, time, self.consent).await
    }

    /// Standbys stop receiving WAL, and nothing else: to Patroni they are well. Where nothing may be lost they must not lead.
    async fn lag(&self, who: Who, time: Duration, notes: &mut Notes) -> Result<(), DrillError> {
        let leader = self.one(Who::Leader).await?;
        let what = Cut { addresses: self.addresses(&[leader]).await?, port: Some(network::POSTGRES) };
        let names = self.services(who).await?;
        for name in &names {
            let container = self.fleet.member(self.topology, name).await?;
            notes.harm(format!("{name} gets nothing more from its leader for {} s", time.as_secs())).await;
            network::cut(self.fleet.link(&container.host)?, &container, &what, time, self.consent).await?;
        }
        if who == Who::OtherStandbys {
            notes.barred.extend(names);
        }
        Ok(())
    }

    async fn disturb(&self, place: Place, weather: Weather, time: Duration, notes: &mut Notes) -> Result<(), DrillError> {
        let name = self.place(place).await?;
        let what = match weather {
            Weather::Slow(delay) => format!("sends everything {} ms late", delay.as_millis()),
            Weather::Lossy(percent) => format!("loses {percent} % of what it sends"),
        };
        notes.harm(format!("{name} {what} for {} s", time.as_secs())).await;
        network::disturb(self.fleet.link(&name)?, self.topology.host(&name), weather, time, self.consent).await
    }

    async fn fill_disk(&self, who: Who, time: Duration, notes: &mut Notes) -> Result<(), DrillError> {
        for name in self.services(who).await? {
            let container = self.fleet.member(self.topology, &name).await?;
            notes.harm(format!("the disk of {name} is full for {} s", time.as_secs())).await;
            disk::fill(self.fleet.link(&container.host)?, &self.disk(&container), time, self.consent).await?;
        }
        Ok(())
    }

    async fn usual_disks(&self, notes: &mut Notes) -> Result<(), DrillError> {
        for link in self.fleet.links() {
            // What is left of them is found at the end.
            for name in fault::heal(link, disk::SMALL).await?.healed {
                let member = name.trim_start_matches(disk::SMALL);
                notes.tell(format!("{member} gets its own disk back, and is copied anew onto it"));
            }
        }
        Ok(())
    }

    async fn power_off(&mut self, place: Place, lab: Option<&LabName>, notes: &mut Notes) -> Result<(), DrillError> {
        let name = self.place(place).await?;
        notes.harm(format!("{name} loses its power")).await;
        let clock = power::off(lab.ok_or_else(no_switch)?, &name, self.consent).await?;
        self.dark.push((name, clock));
        Ok(())
    }

    async fn power_off_with_etcd_leader(
        &mut self,
        place: Place,
        lab: Option<&LabName>,
        notes: &mut Notes,
    ) -> Result<(), DrillError> {
        let lab = lab.ok_or_else(no_switch)?;
        let name = self.place(place).await?;
        let member = self.topology.etcd.iter().find(|member| member.host == name);
        let member = member.ok_or_else(|| DrillError::NoTarget { what: format!("etcd member on {name}") })?.name.to_string();
        self.lead_etcd(&member).await?;
        notes.harm(format!("{name} loses its power, and with it {member}, which leads etcd")).await;
        let clock = power::off(lab, &name, self.consent).await?;
        self.dark.push((name, clock));
        Ok(())
    }

    /// Brings etcd's leadership to a member.
    pub(super) async fn lead_etcd(&self, member: &str) -> Result<(), DrillError> {
        let started = Instant::now();
        loop {
            match self.move_etcd_leader(member).await {
                // A guard may move it, too: whoever led a moment ago does not any more, and for a moment nobody may.
                Err(DrillError::Etcd(_) | DrillError::NoTarget { .. }) if started.elapsed() < ETCD_MOVES => {
                    tokio::time::sleep(ETCD_LOOK).await
                }
                moved => return moved,
            }
        }
    }

    async fn move_etcd_leader(&self, member: &str) -> Result<(), DrillError> {
        let target = self.store(member).await?;
        let facts = target.facts().await?;
        if facts.leader_id == facts.member_id {
            return Ok(());
        }
        let leader = self.store(&self.one(Who::EtcdLeader).await?).await?;
        Ok(leader.move_leader(facts.member_id).await?)
    }

    async fn store(&self, member: &str) -> Result<Etcd, DrillError> {
        Ok(Etcd::connect(&self.fleet.member(self.topology, member).await?).await?)
    }

    /// Members on it lack what was acknowledged meanwhile: where nothing may be lost, none of them may be promoted.
    async fn power_on_first(&mut self, lab: Option<&LabName>, notes: &mut Notes) -> Result<(), DrillError> {
        let lab = lab.ok_or_else(no_switch)?;
        if self.dark.is_empty() {
            return Err(no_switch());
        }
        self.wait_until_missed().await?;
        let (name, clock) = self.dark.remove(0);
        notes.barred.extend(target::bound(&name, self.topology));
        notes.tell(format!("power is back on {name}, and nowhere else"));
        lab::start(self.ui, lab, &[name.to_string()]).await?;
        clock.disarm();
        self.fleet.revive(self.topology).await;
        Ok(())
    }

    /// What is left of it is found at the end.
    async fn thaw(&self, notes: &mut Notes) -> Result<(), DrillError> {
        for link in self.fleet.links() {
            for name in fault::heal(link, process::FROZEN).await?.healed {
                notes.tell(format!("{} goes on", name.trim_start_matches(process::FROZEN)));
            }
        }
        Ok(())
    }

    async fn power_on(&mut self, lab: Option<&LabName>, notes: &mut Notes) -> Result<(), DrillError> {
        self.wait_until_missed().await?;
        notes.tell("power is back");
        self.lights(lab.ok_or_else(no_switch)?).await?;
        self.fleet.revive(self.topology).await;
        Ok(())
    }

    /// Waits until Swarm has noticed which hosts are gone: they take longer to boot than that, and those of a lab do not. One that is back in
    /// the moment in which it is given up may be `down` for Swarm until its daemon starts once more (seen with dockerd 26.1).
    async fn wait_until_missed(&self) -> Result<(), DrillError> {
        let started = Instant::now();
        while started.elapsed() < MISSED {
            let observed = observe(self.topology, &self.fleet, Scope { swarm: true, ..Scope::default() }).await;
            if self.dark.iter().all(|(host, _)| target::is_down(host, &observed)) {
                break;
            }
            self.stopped()?;
            tokio::time::sleep(WHOLE_LOOK).await;
        }
        Ok(())
    }

    /// Gives all hosts their power back, and only then takes the clocks away that would.
    pub(super) async fn lights(&mut self, lab: &LabName) -> Result<(), DrillError> {
        lab::start(self.ui, lab, &[]).await?;
        self.dark.drain(..).for_each(|(_, clock)| clock.disarm());
        Ok(())
    }

    async fn kill_dockerd(&self, place: Place, notes: &mut Notes) -> Result<(), DrillError> {
        let name = self.place(place).await?;
        notes.harm(format!("the Docker daemon of {name} is killed")).await;
        process::kill_dockerd(self.fleet.link(&name)?, self.consent).await
    }

    async fn services(&self, who: Who) -> Result<Vec<String>, DrillError> {
        let observed = observe(self.topology, &self.fleet, target::scope_of(who)).await;
        let found = target::services(who, self.topology, &observed);
        if found.is_empty() { Err(DrillError::NoTarget { what: format!("{who:?}") }) } else { Ok(found) }
    }

    /// The one service that `who` is now.
    pub(super) async fn one(&self, who: Who) -> Result<String, DrillError> {
        self.services(who).await?.pop().ok_or_else(|| DrillError::NoTarget { what: format!("{who:?}") })
    }

    async fn place(&self, place: Place) -> Result<HostName, DrillError> {
        let observed = observe(self.topology, &self.fleet, target::scope_of_place(place)).await;
        let found = target::host(place, self.topology, &observed);
        found.ok_or_else(|| DrillError::NoTarget { what: format!("host {place:?}") })
    }

    async fn kill(&self, who: Who, signal: &str, notes: &mut Notes) -> Result<(), DrillError> {
        for name in self.services(who).await? {
            let container = self.fleet.member(self.topology, &name).await?;
            notes.harm(format!("{signal} to {name}")).await;
            process::kill(&container, signal, self.consent).await?;
        }
        Ok(())
    }

    /// Looks both of them up first: a look takes seconds on a busy host, and by then the first loss would be half over.
    async fn kill_leaders(&self, notes: &mut Notes) -> Result<(), DrillError> {
        let mut containers = Vec::new();
        for who in [Who::ShardLeader, Who::Leader] {
            containers.push(self.fleet.member(self.topology, &self.one(who).await?).await?);
        }
        let names: Vec<_> = containers.iter().map(|container| container.name.as_str()).collect();
        notes.harm(format!("SIGKILL to {} at once", names.join(" and "))).await;
        try_join_all(containers.iter().map(|container| process::kill(container, "SIGKILL", self.consent))).await.map(drop)
    }

    async fn kill_patroni(&self, who: Who, notes: &mut Notes) -> Result<(), DrillError> {
        for name in self.services(who).await? {
            let container = self.fleet.member(self.topology, &name).await?;
            notes.harm(format!("SIGKILL to Patroni of {name}")).await;
            process::kill_first(self.fleet.link(&container.host)?, &container, self.consent).await?;
        }
        Ok(())
    }

    async fn kill_inside(&self, who: Who, pid: &str, what: &str, notes: &mut Notes) -> Result<(), DrillError> {
        for name in self.services(who).await? {
            let container = self.fleet.member(self.topology, &name).await?;
            notes.harm(format!("SIGKILL to {what} of {name}")).await;
            process::kill_process(&container, pid, self.consent).await?;
        }
        Ok(())
    }

    async fn ordered(&self, group: GroupId, notes: &mut Notes) -> Result<(), DrillError> {
        notes.harm(format!("switchover of {group} is ordered")).await;
        let change = self.switch(group, None).await?;
        let held = change.held_back().map_or(String::new(), |held| format!(", {held}"));
        notes.tell(format!("{} leads {group}{held}", change.to));
        Ok(())
    }

    /// Whatever becomes of the change, the topology file has the last word.
    async fn kill_up(&mut self, notes: &mut Notes) -> Result<(), DrillError> {
        // It is the operator's `up` that holds the lock now, and leaves it behind.
        self.unlock().await;
        let changed = self.kill_and_complete(notes).await;
        notes.tell("`up` takes the change back");
        let reverted = operator::run(self.topology_file, &["up"]).await;
        self.lock().await?;
        changed.and(reverted)
    }

    /// What went wrong in the middle does not keep the rest from putting things back.
    async fn move_shards(&mut self, notes: &mut Notes) -> Result<(), DrillError> {
        let group = target::first_shard(self.topology).0.to_string();
        let drain = ["shards", "drain", "--shard", &group];
        self.unlock().await;
        let emptied = self.operate(&drain, notes).await;
        let takes_again = self.operate(&[&drain[..], &["--undo"]].concat(), notes).await;
        let filled = self.operate(&["shards", "rebalance"], notes).await;
        self.lock().await?;
        emptied.and(takes_again).and(filled)
    }

    async fn grow_and_shrink(&mut self, notes: &mut Notes) -> Result<(), DrillError> {
        let before = self.topology_text()?;
        self.unlock().await;
        let grown = self.operate(&["scale", "add-shard", "--rebalance"], notes).await;
        // Also when that failed half way: the file tells how far it came.
        let shrunk = match self.new_group()? {
            Some(group) => self.operate(&["scale", "in", "--shard", &group.0.to_string()], notes).await,
            None => Ok(()),
        };
        self.lock().await?;
        grown.and(shrunk)?;
        if self.topology_text()? != before {
            notes.reasons.push(format!("{} is not what it was before", self.topology_file.display()));
        }
        Ok(())
    }

    /// A group of the file as it is now that was not in it when the drill began.
    fn new_group(&self) -> Result<Option<GroupId>, DrillError> {
        let path = self.topology_file;
        let failed =
            || DrillError::File { path: path.display().to_string(), source: std::io::Error::other("is no topology any more") };
        let (now, _) = crate::topology::parse(&self.topology_text()?, path).map_err(|_| failed())?;
        Ok(now.groups.iter().map(|group| group.id).find(|id| self.topology.group(*id).is_none()))
    }

    fn topology_text(&self) -> Result<String, DrillError> {
        let path = self.topology_file;
        std::fs::read_to_string(path).map_err(|source| DrillError::File { path: path.display().to_string(), source })
    }

    /// Lets an operator do something that clients must not notice.
    async fn operate(&self, command: &[&str], notes: &mut Notes) -> Result<(), DrillError> {
        notes.harm(format!("`pgclusterctl {}` begins", command.join(" "))).await;
        operator::run(self.topology_file, command).await?;
        notes.tell(format!("`pgclusterctl {}` has ended", command.join(" ")));
        Ok(())
    }

    async fn kill_and_complete(&self, notes: &mut Notes) -> Result<(), DrillError> {
        let changed = Changed::copy_of(self.topology_file)?;
        notes.harm("`up` begins to roll out a setting that restarts every member").await;
        if operator::kill_up(&changed.path, poolers::held_back(self.world())).await? {
            notes.tell("SIGKILL to `up` while it holds clients back to hand over leadership");
        } else {
            notes.reasons.push("`up` ended without holding clients back, so it was not killed".into());
        }
        operator::run(&changed.path, &["up"]).await?;
        notes.tell("another `up` has completed the change");
        Ok(())
    }

    /// All addresses of services: members are in more than one network, and are found in any of them.
    async fn addresses(&self, services: &[String]) -> Result<Vec<Ipv4Addr>, DrillError> {
        let mut all = Vec::new();
        for name in services {
            let container = self.fleet.member(self.topology, name).await?;
            let found = container.docker.inspect_container(&container.id, None).await;
            let found = found.map_err(|source| DrillError::Docker { target: name.clone(), doing: "inspect it", source })?;
            let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
            all.extend(networks.values().filter_map(|network| network.ip_address.as_ref()?.parse::<Ipv4Addr>().ok()));
        }
        Ok(all)
    }

    /// A member's disk.
    pub(super) fn disk<'a>(&self, container: &'a Container) -> Disk<'a> {
        let cluster = &self.topology.name;
        let services = self.artifacts.services.iter().filter(|service| service.name.as_str() == container.name);
        let volume = services.flat_map(|service| &service.volumes).next().cloned().unwrap_or_default();
        Disk { container, service: format!("{cluster}_{}", container.name), volume }
    }
}

fn no_switch() -> DrillError {
    DrillError::NoTarget { what: "power switch".into() }
}
