//! Looking at a cluster without changing it. Collectors run in parallel, each with its own deadline; what one cannot see is a
//! [`Probe::Failed`] that says why.

mod again;
mod citus;
mod guards;
mod hosts;
mod leaders;
mod lines;
pub mod model;
mod patience;
pub mod patroni;
mod proxies;
mod scope;
pub mod shards;
mod stores;
mod swarm;
mod tables;
mod tenants;
pub mod traces;
pub mod traffic;

use std::future::Future;
use std::time::Duration;

pub use model::{Observed, Probe, ProbeError};
pub use scope::{Leaders, Scope};

use lines::Lines;

use crate::plan::Condition;
use crate::remote::fleet::Fleet;
use crate::topology::{GroupId, Topology};
use model::GroupState;

/// What etcd says of a group; an error says why that is not known.
pub async fn group_state(topology: &Topology, fleet: &Fleet, group: GroupId) -> Result<GroupState, String> {
    match observe(topology, fleet, Scope::of_conditions(&[Condition::Leader { group }])).await.patroni {
        Probe::Known(mut groups) => groups.remove(&group).ok_or_else(|| "etcd has no keys of it".into()),
        Probe::Failed(error) => Err(error.to_string()),
    }
}

/// Looks at everything that the scope names, at the same time.
pub async fn observe(topology: &Topology, fleet: &Fleet, scope: Scope) -> Observed {
    // On the heap: it is part of nearly every command, larger than all else in it, and a build without optimization copies futures from
    // frame to frame until its stack is used up.
    Box::pin(look(topology, fleet, scope)).await
}

async fn look(topology: &Topology, fleet: &Fleet, scope: Scope) -> Observed {
    let lines = Lines::new(topology, fleet);
    let first = async {
        let patroni = stores::patroni(&lines, scope).await;
        // Who leads is known only from Patroni's keys.
        let (leaders, citus) = tokio::join!(leaders::collect(&lines, scope, &patroni), citus::collect(&lines, scope, &patroni));
        (patroni, leaders, citus)
    };
    let (hosts, swarm, etcd, membership, (patroni, leaders, citus), mut proxies, guards) = tokio::join!(
        hosts::collect(&lines, scope),
        swarm::collect(&lines, scope),
        stores::members(&lines, scope),
        stores::membership(&lines, scope),
        first,
        proxies::collect(&lines, scope),
        guards::collect(&lines, scope),
    );
    proxies::place_vip(topology, &hosts, &mut proxies);
    Observed { hosts, swarm, etcd, membership, patroni, leaders, citus, proxies, guards }
}

/// Ends a look after its time; the failure says so.
async fn within<T, E: std::fmt::Display>(target: &str, limit: Duration, look: impl Future<Output = Result<T, E>>) -> Probe<T> {
    match tokio::time::timeout(limit, look).await {
        Ok(result) => Probe::from((target, result)),
        Err(_) => Probe::fail(target, format!("no answer within {} ms", limit.as_millis())),
    }
}

/// What stands for something that the scope left out.
fn not_asked<T>(target: &str) -> Probe<T> {
    Probe::fail(target, "was not asked")
}
