//! Patroni's keys in etcd, read into [`GroupState`]. Pure; the layout is that of Patroni 4.
//!
//! A value that cannot be read counts as absent: a member that writes nonsense is a member that nobody knows anything of.

use std::collections::BTreeMap;

use serde_json::Value;

use super::model::{GroupState, MemberState};
use crate::topology::Topology;
use crate::topology::ids::GroupId;

/// A key of Patroni as etcd holds it.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// Full name.
    pub name: &'a str,
    /// Content.
    pub value: &'a [u8],
    /// Lease it is bound to; 0 without one.
    pub lease: i64,
}

/// Everything under a cluster's scope.
pub fn prefix(topology: &Topology) -> String {
    format!("/service/{}/", topology.name)
}

/// The state of every group that has a key.
pub fn read<'a>(topology: &Topology, keys: impl IntoIterator<Item = Key<'a>>) -> BTreeMap<GroupId, GroupState> {
    let prefix = prefix(topology);
    let mut groups: BTreeMap<GroupId, GroupState> = BTreeMap::new();
    for key in keys {
        let Some(rest) = key.name.strip_prefix(&prefix) else { continue };
        let (group, rest) = if topology.citus.is_some() {
            let Some((number, rest)) = rest.split_once('/') else { continue };
            let Ok(number) = number.parse() else { continue };
            (GroupId(number), rest)
        } else {
            (GroupId::COORDINATOR, rest)
        };
        note(groups.entry(group).or_default(), rest, key);
    }
    groups
}

fn note(state: &mut GroupState, name: &str, key: Key<'_>) {
    let text = || String::from_utf8_lossy(key.value).into_owned();
    let json = || serde_json::from_slice::<Value>(key.value).unwrap_or(Value::Null);
    match name {
        "initialize" => state.initialized = !key.value.is_empty(),
        "leader" => {
            state.leader = text();
            state.leader_lease = key.lease;
        }
        "config" => {
            state.config = json();
            state.paused = state.config["pause"] == Value::Bool(true);
        }
        "status" => state.leader_lsn = json()["optime"].as_u64().unwrap_or_default(),
        "sync" => {
            let sync = json();
            state.sync_leader = word(&sync, "leader");
            let standbys = word(&sync, "sync_standby");
            state.sync_standbys = standbys.split(',').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect();
        }
        // Patroni empties the key before it removes it, or leaves it empty.
        "failover" => state.failover_request = Some(text()).filter(|text| text != "{}").unwrap_or_default(),
        "history" => state.history_len = json().as_array().map_or(0, Vec::len) as u64,
        other => {
            if let Some(name) = other.strip_prefix("members/") {
                state.members.insert(name.to_owned(), member(&json()));
            }
        }
    }
}

fn member(data: &Value) -> MemberState {
    let state = word(data, "state");
    let replication = word(data, "replication_state");
    MemberState {
        role: word(data, "role"),
        // A standby is "running" while it streams, recovers from an archive, or neither: the second word tells.
        state: if state == "running" && !replication.is_empty() { replication } else { state },
        timeline: data["timeline"].as_u64().unwrap_or_default(),
        lsn: data["xlog_location"].as_u64().unwrap_or_default(),
        pending_restart: data["pending_restart"] == Value::Bool(true),
        restart_shrinks: shrinks(&data["pending_restart_reason"]),
        version: word(data, "version"),
        tags: data["tags"].as_object().map(|tags| tags.clone().into_iter().collect()).unwrap_or_default(),
    }
}

/// Settings whose value on a standby may not be below its leader's.
const NOT_BELOW_LEADER: [&str; 5] =
    ["max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions", "max_locks_per_transaction"];

/// `{"max_connections": {"old_value": "250", "new_value": "137"}, …}`
fn shrinks(reason: &Value) -> bool {
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok());
    let smaller = |name: &&str| {
        let change = &reason[*name];
        number(&change["new_value"]).zip(number(&change["old_value"])).is_some_and(|(new, old)| new < old)
    };
    NOT_BELOW_LEADER.iter().any(smaller)
}

fn word(data: &Value, key: &str) -> String {
    data[key].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key<'a>(name: &'a str, value: &'a str) -> Key<'a> {
        Key { name, value: value.as_bytes(), lease: 7 }
    }

    #[test]
    fn a_group_is_read_as_patroni_wrote_it() {
        let topology = crate::topology::example("three-hosts");
        let keys = [
            key("/service/pgcluster/1/initialize", "7391"),
            key("/service/pgcluster/1/leader", "worker-1-1"),
            key("/service/pgcluster/1/config", r#"{"ttl":20,"pause":true}"#),
            key("/service/pgcluster/1/status", r#"{"optime":83886080,"slots":{"worker_1_2":83886080},"retain_slots":[]}"#),
            key("/service/pgcluster/1/sync", r#"{"leader":"worker-1-1","sync_standby":"worker-1-2,worker-1-3","quorum":1}"#),
            key(
                "/service/pgcluster/1/members/worker-1-2",
                r#"{"conn_url":"postgres://worker-1-2:5432/postgres","state":"running","role":"replica","version":"4.0.7","xlog_location":83886000,"replication_state":"streaming","timeline":3,"pending_restart":true,"pending_restart_reason":{"max_connections":{"old_value":"250","new_value":"137"}},"tags":{"nofailover":true}}"#,
            ),
            key("/service/pgcluster/1/history", r#"[[1,1,"x","t","a"],[2,2,"y","t","b"]]"#),
            key("/service/pgcluster/2/members/broken", "not json"),
            key("/service/other/1/leader", "stranger"),
        ];
        let groups = read(&topology, keys);
        let one = &groups[&GroupId(1)];
        assert!(one.initialized && one.paused);
        assert_eq!((one.leader.as_str(), one.leader_lease, one.leader_lsn), ("worker-1-1", 7, 83_886_080));
        assert_eq!(one.sync_standbys, ["worker-1-2", "worker-1-3"]);
        assert_eq!(one.history_len, 2);
        let standby = &one.members["worker-1-2"];
        assert_eq!((standby.state.as_str(), standby.timeline, standby.lsn), ("streaming", 3, 83_886_000));
        assert!(
            standby.restart_shrinks && !shrinks(&serde_json::json!({"max_connections": {"old_value": "1", "new_value": "2"}}))
        );
        assert!(standby.pending_restart && standby.tags.contains_key("nofailover"));
        assert_eq!(groups[&GroupId(2)].members["broken"], MemberState::default());
        assert!(!groups.contains_key(&GroupId(0)));
    }

    #[test]
    fn without_citus_there_is_no_group_in_the_key() {
        let topology = crate::topology::example("ha");
        let name = format!("{}leader", prefix(&topology));
        let groups = read(&topology, [key(&name, "coordinator-2")]);
        assert_eq!(groups[&GroupId::COORDINATOR].leader, "coordinator-2");
    }
}
