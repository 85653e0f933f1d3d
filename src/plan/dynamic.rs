//! Patroni's dynamic configuration: what is wanted against what etcd holds.

use serde_json::Value;

/// Keys that belong to the operator at run time (`patronictl pause`), never to the topology.
const OPERATORS: [&str; 1] = ["pause"];

/// Whether etcd holds something else than wanted, the operator's own keys aside.
pub fn differs(wanted: &Value, present: &Value) -> bool {
    *wanted != without_operators(present)
}

/// What to write: the wanted configuration with the operator's own keys kept.
pub fn merged(wanted: &Value, present: &Value) -> Value {
    let mut merged = wanted.clone();
    if let (Some(target), Some(source)) = (merged.as_object_mut(), present.as_object()) {
        for key in OPERATORS {
            if let Some(value) = source.get(key) {
                target.insert(key.to_owned(), value.clone());
            }
        }
    }
    merged
}

fn without_operators(present: &Value) -> Value {
    let mut present = present.clone();
    if let Some(map) = present.as_object_mut() {
        map.retain(|key, _| !OPERATORS.contains(&key.as_str()));
    }
    present
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_paused_cluster_is_not_unpaused_by_the_way() {
        let wanted = json!({"ttl": 20});
        let present = json!({"ttl": 20, "pause": true});
        assert!(!differs(&wanted, &present));
        assert!(differs(&json!({"ttl": 30}), &present));
        assert_eq!(merged(&json!({"ttl": 30}), &present), json!({"ttl": 30, "pause": true}));
    }
}
