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

/// Before members that disagree are asked a second time.
const CHANGE: Duration = Duration::from_millis(300);

pub(super) async fn members(lines: &Lines<'_>, scope: Scope) -> BTreeMap<MemberName, Probe<EtcdFacts>> {
    if !scope.etcd {
        return BTreeMap::new();
    }
    let look = || async {
        let looks = lines.topology.etcd.iter().map(|member| async move {
            let look = async { lines.store(&member.name).await?.facts().await.map_err(|e| one_line(&e)) };
            (member.name.clone(), within(member.name.as_str(), lines.patience.probe, look).await)
        });
        join_all(looks).await.into_iter().collect()
    };
    let seen = look().await;
    if of_one_mind(&seen) {
        return seen;
    }
    // They were asked while the leadership changed hands, or there is no leader: the second look tells which.
    sleep(CHANGE).await;
    look().await
}

/// Whether all that answer name the same leader.
fn of_one_mind(members: &BTreeMap<MemberName, Probe<EtcdFacts>>) -> bool {
    let mut named = members.values().filter_map(Probe::known).map(|facts| facts.leader_id);
    named.next().is_none_or(|first| first != 0 && named.all(|leader| leader == first))
}

/// All members are asked, the first answer counts: any member passes a read on to the leader, and one that is cut off says
/// nothing.
pub(super) async fn patroni(lines: &Lines<'_>, scope: Scope) -> Probe<BTreeMap<GroupId, GroupState>> {
    if !(scope.patroni || scope.leaders != Leaders::None || scope.citus) {
        return not_asked("etcd");
    }
    let ask = || first(lines.topology.etcd.iter().map(|m| keys(lines, &m.name)).collect());
    lines.patience.etcd.until_answered(ask).await
}

/// etcd's list of its members, likewise.
pub(super) async fn membership(lines: &Lines<'_>, scope: Scope) -> Probe<Vec<EtcdPeer>> {
    if !scope.membership {
        return not_asked("etcd");
    }
    let look = |member| async move {
        let look = async { led(lines, member).await?.members().await.map_err(|e| one_line(&e)) };
        within(MemberName::as_str(member), lines.patience.probe, look).await
    };
    let ask = || first(lines.topology.etcd.iter().map(|m| look(&m.name)).collect());
    lines.patience.etcd.until_answered(ask).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_asked_again_while_they_name_different_leaders_or_none() {
        let named = |leaders: &[Option<u64>]| -> BTreeMap<MemberName, Probe<EtcdFacts>> {
            let answer = |leader: &Option<u64>| match leader {
                Some(leader_id) => Probe::Known(EtcdFacts { leader_id: *leader_id, ..EtcdFacts::default() }),
                None => Probe::fail("etcd", "no answer"),
            };
            let names = (1..).map(|n| MemberName::new(&format!("etcd-{n}")).expect("a name"));
            names.zip(leaders.iter().map(answer)).collect()
        };
        assert!(of_one_mind(&named(&[Some(2), Some(2), Some(2)])));
        assert!(of_one_mind(&named(&[None, Some(2), Some(2)])), "who is silent names nobody");
        assert!(of_one_mind(&named(&[None, None, None])), "it is no use to wait for them again");
        assert!(!of_one_mind(&named(&[Some(2), Some(3), Some(3)])));
        assert!(!of_one_mind(&named(&[None, Some(0), Some(0)])));
    }
}
