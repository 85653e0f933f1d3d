//! etcd: Patroni's keys by a read that the quorum confirms, and each member's own state.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::model::{EtcdFacts, GroupState, Probe};
use super::patroni::{self, Key};
use super::{Scope, not_asked, within};
use crate::remote::etcd::Etcd;
use crate::remote::fleet::Fleet;
use crate::topology::Topology;
use crate::topology::ids::{GroupId, MemberName};

/// Relay, connection and answer.
const LIMIT: Duration = Duration::from_millis(2500);

pub(super) async fn members(topology: &Topology, fleet: &Fleet, scope: Scope) -> BTreeMap<MemberName, Probe<EtcdFacts>> {
    if !scope.etcd {
        return BTreeMap::new();
    }
    let looks = topology.etcd.iter().map(|member| async move {
        let name = member.name.as_str();
        let look = async { connect(topology, fleet, name).await?.facts().await.map_err(|e| e.to_string()) };
        (member.name.clone(), within(name, LIMIT, look).await)
    });
    join_all(looks).await.into_iter().collect()
}

/// All members are asked, the first answer counts: any member passes a read on to the leader, and one that is cut off says
/// nothing.
pub(super) async fn patroni(topology: &Topology, fleet: &Fleet, scope: Scope) -> Probe<BTreeMap<GroupId, GroupState>> {
    if !(scope.patroni || scope.leaders || scope.citus) {
        return not_asked("etcd");
    }
    let mut asked: FuturesUnordered<_> = topology.etcd.iter().map(|m| keys(topology, fleet, m.name.as_str())).collect();
    let mut reasons = Vec::new();
    while let Some(probe) = asked.next().await {
        match probe {
            Probe::Known(groups) => return Probe::Known(groups),
            Probe::Failed(error) => reasons.push(error.to_string()),
        }
    }
    Probe::fail("etcd", reasons.join("; "))
}

async fn keys(topology: &Topology, fleet: &Fleet, member: &str) -> Probe<BTreeMap<GroupId, GroupState>> {
    let look = async {
        let etcd = connect(topology, fleet, member).await?;
        let entries = etcd.range(&patroni::prefix(topology)).await.map_err(|e| e.to_string())?;
        let keys = entries.iter().map(|e| Key { name: &e.key, value: &e.value, lease: e.lease });
        Ok::<_, String>(patroni::read(topology, keys))
    };
    within(member, LIMIT, look).await
}

async fn connect(topology: &Topology, fleet: &Fleet, member: &str) -> Result<Etcd, String> {
    let container = fleet.member(topology, member).await.map_err(|e| e.to_string())?;
    Etcd::connect(&container).await.map_err(|e| e.to_string())
}
