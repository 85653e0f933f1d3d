//! Bringing about what a scenario begins with, by planned changes. Part of the [`Director`]'s work.

use std::time::{Duration, Instant};

use super::director::{BEGIN, Director, WHOLE_LOOK};
use super::fault::{disk, process};
use super::scenario::{Arrange, Place, WHOLE, Who};
use super::{DrillError, target};
use crate::failover::{self, FailoverError};
use crate::observe::model::GroupState;
use crate::observe::{Scope, observe};
use crate::plan;
use crate::plan::candidate::{Candidate, Occasion};
use crate::steps::handover::Patience;
use crate::topology::model::Group;
use crate::topology::{GroupId, HostName};

/// Tries to bring leadership where a scenario wants it.
const ARRANGE: u32 = 5;
/// When a member gets its usual disk back though the drill has died.
const SMALL_DISK: Duration = Duration::from_secs(15 * 60);
/// Patience with transactions in planned changes: the drill's own are short.
const PATIENCE: Patience = Patience { wait: Duration::from_secs(10), kill_after: None };

impl Director<'_> {
    /// Brings about what a scenario begins with.
    pub(super) async fn arrange(&mut self, arrange: Arrange) -> Result<(), DrillError> {
        match arrange {
            Arrange::LeaderWithVip => self.place_leader(true).await,
            Arrange::LeaderWithoutVip => self.place_leader(false).await,
            Arrange::NoLeaderWithVip => self.empty_vip_host().await,
            Arrange::EtcdLedElsewhere => self.lead_etcd_elsewhere().await,
            Arrange::LeaderOnSmallDisk => self.lead_from_small_disk().await,
            Arrange::NothingPending => self.nothing_pending().await,
        }
    }

    /// Brings leader and VIP together or apart. The VIP goes where it is wanted more easily than leadership, which only a
    /// synchronous standby can take.
    async fn place_leader(&mut self, with_vip: bool) -> Result<(), DrillError> {
        for _ in 0..ARRANGE {
            let observed = self.observe().await;
            let place = |place| target::host(place, self.topology, &observed);
            let (leader, vip) = (place(Place::OfLeader), place(Place::OfVip));
            if (leader == vip) == with_vip {
                return Ok(());
            }
            let on_proxy = self.topology.proxies.iter().any(|proxy| Some(&proxy.host) == leader.as_ref());
            if self.topology.network.vip.is_some() && (on_proxy || !with_vip) {
                let holder = self.topology.proxies.iter().find(|p| Some(&p.host) == vip.as_ref());
                let name = format!("keepalived-{}", holder.map_or(1, |p| p.ordinal));
                process::kill(&self.fleet.member(self.topology, &name).await?, "SIGKILL", self.consent).await?;
                self.moved(vip.as_ref()).await;
            } else {
                self.switch(GroupId::COORDINATOR, None).await?;
            }
            self.wants_whole().await?;
        }
        Err(DrillError::NoTarget { what: "way to bring the leader and the VIP where the scenario wants them".into() })
    }

    /// Hands the leadership of every group that is led from the VIP's host to a member elsewhere: a group has one member a host.
    async fn empty_vip_host(&mut self) -> Result<(), DrillError> {
        for _ in 0..ARRANGE {
            let observed = self.observe().await;
            let vip = target::vip_host(self.topology, &observed);
            let beside = self.topology.groups.iter().map(|group| group.id);
            let beside: Vec<_> =
                beside.filter(|group| vip.is_some() && target::leader_host(*group, self.topology, &observed) == vip).collect();
            if beside.is_empty() {
                return Ok(());
            }
            for group in beside {
                self.switch(group, None).await?;
                self.wants_whole().await?;
            }
        }
        Err(DrillError::NoTarget { what: "way to bring all leaders to other hosts than the VIP's".into() })
    }

    /// Takes etcd's leadership from the host of the coordinators' leader.
    async fn lead_etcd_elsewhere(&self) -> Result<(), DrillError> {
        let observed = self.observe().await;
        let host = target::host(Place::OfLeader, self.topology, &observed);
        let leads = self.one(Who::EtcdLeader).await?;
        let (beside, others): (Vec<_>, Vec<_>) =
            self.topology.etcd.iter().partition(|member| Some(&member.host) == host.as_ref());
        match others.first() {
            Some(other) if beside.iter().any(|member| member.name.as_str() == leads) => {
                self.lead_etcd(other.name.as_str()).await
            }
            _ => Ok(()),
        }
    }

    /// Gives a standby a small disk, and leadership.
    async fn lead_from_small_disk(&mut self) -> Result<(), DrillError> {
        let standby = self.successor(GroupId::COORDINATOR, None).await?.1.member;
        let container = self.fleet.member(self.topology, &standby).await?;
        let disk = self.disk(&container);
        disk::shrink(self.fleet.link(&container.host)?, &disk, SMALL_DISK, self.consent).await?;
        self.wants_whole().await?;
        for _ in 0..ARRANGE {
            if self.one(Who::Leader).await? == standby {
                return Ok(());
            }
            self.switch(GroupId::COORDINATOR, Some(&standby)).await?;
            self.wants_whole().await?;
        }
        Err(DrillError::NoTarget { what: format!("way to make {standby} the leader") })
    }

    async fn nothing_pending(&self) -> Result<(), DrillError> {
        let observed = observe(self.topology, &self.fleet, Scope::plan()).await;
        match plan::plan(self.topology, self.artifacts, &observed) {
            Ok(plan) if plan.is_empty() => Ok(()),
            Ok(_) => Err(DrillError::Pending),
            Err(refusals) => Err(DrillError::Degraded { missing: vec![plan::Refused(refusals).to_string()] }),
        }
    }

    async fn wants_whole(&mut self) -> Result<(), DrillError> {
        self.whole(WHOLE, |_| ()).await?.map_err(|missing| DrillError::Degraded { missing })
    }

    /// Waits until another host than `from` holds the VIP. Until then everything looks as it did before.
    async fn moved(&self, from: Option<&HostName>) {
        let started = Instant::now();
        while started.elapsed() < BEGIN {
            tokio::time::sleep(WHOLE_LOOK).await;
            let holder = target::vip_host(self.topology, &self.observe().await);
            if holder.is_some() && holder.as_ref() != from {
                return;
            }
        }
    }

    /// Who takes over when a group's leadership is handed over: the member that is wanted, if it may.
    async fn successor(&self, group: GroupId, wanted: Option<&str>) -> Result<(GroupState, Candidate), DrillError> {
        let spec = self.group(group)?;
        let find = |to| failover::candidate(self.world(), spec, Occasion::Planned, to, self.ui);
        let found = async {
            match wanted {
                Some(_) => match find(wanted).await {
                    Err(FailoverError::NoCandidate(_)) => find(None).await,
                    found => found,
                },
                None => find(None).await,
            }
        };
        tokio::select! {
            found = found => Ok(found?),
            () = self.interrupt.asked() => Err(DrillError::Interrupted),
        }
    }

    /// Hands a group's leadership over, to the member that is wanted if it may lead.
    pub(super) async fn switch(&self, group: GroupId, wanted: Option<&str>) -> Result<failover::Change, DrillError> {
        let (state, candidate) = self.successor(group, wanted).await?;
        let (spec, planned) = (self.group(group)?, Occasion::Planned);
        Ok(failover::carry_out(self.world(), spec, &state, &candidate, planned, Some(PATIENCE), self.consent).await?)
    }

    fn group(&self, group: GroupId) -> Result<&Group, DrillError> {
        self.topology.group(group).ok_or_else(|| DrillError::NoTarget { what: format!("leader of {group}") })
    }
}
