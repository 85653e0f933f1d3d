//! etcd: Patroni's keys by a read that the quorum confirms, and each member's own state.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::sleep;

use super::lines::Lines;
use super::model::{EtcdFacts, EtcdPeer, GroupState, Probe};
use super::patroni::{self, Key};
use super::{Leaders, Scope, not_asked, within};
use crate::error::one_line;
use crate::remote::etcd::Etcd;
use crate::topology::ids::{GroupId, MemberName};

/// How often etcd is asked for its members, and the pause in between.
const MEMBERSHIP_TRIES: u32 = 4;
const MEMBERSHIP_PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn members(lines: &Lines<'_>, scope: Scope) -> BTreeMap<MemberName, Probe<EtcdFacts>> {
    if !scope.etcd {
        return BTreeMap::new();
    }
    let looks = lines.topology.etcd.iter().map(|member| async move {
        let look = async { lines.store(&member.name).await?.facts().await.map_err(|e| one_line(&e)) };
        (member.name.clone(), within(member.name.as_str(), lines.patience.probe, look).await)
    });
    join_all(looks).await.into_iter().collect()
}

/// All members are asked, the first answer counts: any member passes a read on to the leader, and one that is cut off says
/// nothing.
pub(super) async fn patroni(lines: &Lines<'_>, scope: Scope) -> Probe<BTreeMap<GroupId, GroupState>> {
    if !(scope.patroni || scope.leaders != Leaders::None || scope.citus) {
        return not_asked("etcd");
    }
    first(lines.topology.etcd.iter().map(|m| keys(lines, &m.name)).collect()).await
}

/// etcd's list of its members, likewise. Who asks for it is about to change it, or was killed while doing so: etcd may be electing a
/// leader, which takes a second or two and is no loss of quorum.
pub(super) async fn membership(lines: &Lines<'_>, scope: Scope) -> Probe<Vec<EtcdPeer>> {
    if !scope.membership {
        return not_asked("etcd");
    }
    let look = |member| async move {
        let look = async { led(lines, member).await?.members().await.map_err(|e| one_line(&e)) };
        within(MemberName::as_str(member), lines.patience.probe, look).await
    };
    let mut tries = 1;
    loop {
        let answer = first(lines.topology.etcd.iter().map(|m| look(&m.name)).collect()).await;
        if tries == MEMBERSHIP_TRIES || answer.known().is_some() {
            return answer;
        }
        tries += 1;
        sleep(MEMBERSHIP_PAUSE).await;
    }
}

async fn first<T>(mut asked: FuturesUnordered<impl Future<Output = Probe<T>>>) -> Probe<T> {
    let mut reasons = Vec::new();
    while let Some(probe) = asked.next().await {
        match probe {
            Probe::Known(value) => return Probe::Known(value),
            Probe::Failed(error) => reasons.push(error.to_string()),
        }
    }
    Probe::fail("etcd", reasons.join("; "))
}

/// A member that knows a leader: without one a read waits for it until its deadline.
async fn led<'l>(lines: &'l Lines<'_>, member: &MemberName) -> Result<&'l Etcd, String> {
    let etcd = lines.store(member).await?;
    match etcd.facts().await.map_err(|e| one_line(&e))?.leader_id {
        0 => Err("knows no leader".to_owned()),
        _ => Ok(etcd),
    }
}

async fn keys(lines: &Lines<'_>, member: &MemberName) -> Probe<BTreeMap<GroupId, GroupState>> {
    let look = async {
        let etcd = led(lines, member).await?;
        let entries = etcd.range(&patroni::prefix(lines.topology)).await.map_err(|e| one_line(&e))?;
        let keys = entries.iter().map(|e| Key { name: &e.key, value: &e.value, lease: e.lease });
        Ok::<_, String>(patroni::read(lines.topology, keys))
    };
    within(member.as_str(), lines.patience.probe, look).await
}
