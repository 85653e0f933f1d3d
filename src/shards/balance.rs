//! How evenly shards lie on the groups that take them.

use std::collections::BTreeMap;

use super::model::{Placement, ShardMap};
use crate::topology::GroupId;

/// What a group, a table or any other bundle of placements carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Placements.
    pub shards: u64,
    /// Of all whose size is known.
    pub bytes: u64,
    /// Of all whose rows are known.
    pub rows: u64,
    /// Placements whose size is unknown.
    pub unsized_shards: u64,
    /// Placements that were never analyzed.
    pub uncounted_shards: u64,
}

impl Load {
    /// Adds a placement.
    #[must_use]
    pub fn and(self, placement: &Placement) -> Self {
        Self {
            shards: self.shards + 1,
            bytes: self.bytes + placement.bytes.unwrap_or(0),
            rows: self.rows + placement.rows.unwrap_or(0),
            unsized_shards: self.unsized_shards + u64::from(placement.bytes.is_none()),
            uncounted_shards: self.uncounted_shards + u64::from(placement.rows.is_none()),
        }
    }

    /// Bytes, unless part of them is unknown.
    pub fn known_bytes(&self) -> Option<u64> {
        (self.unsized_shards == 0).then_some(self.bytes)
    }

    /// Rows, unless no shard was ever analyzed.
    pub fn known_rows(&self) -> Option<u64> {
        (self.uncounted_shards < self.shards || self.shards == 0).then_some(self.rows)
    }
}

/// What each shard group carries of what can be moved, also when it carries none; the coordinators appear only if they carry any.
pub fn loads(map: &ShardMap) -> BTreeMap<GroupId, Load> {
    let groups = map.nodes.keys().filter(|group| !group.is_coordinator());
    let mut loads: BTreeMap<GroupId, Load> = groups.map(|group| (*group, Load::default())).collect();
    for placement in map.movable() {
        let load = loads.entry(placement.group).or_default();
        *load = load.and(placement);
    }
    loads
}

/// Of [`loads`] those of groups that take shards: what a rebalance evens out.
pub fn shared(map: &ShardMap) -> Vec<Load> {
    let takes = |group: &GroupId| map.nodes.get(group).is_some_and(|node| node.takes_shards);
    loads(map).into_iter().filter(|(group, _)| takes(group)).map(|(_, load)| load).collect()
}

/// By how much the fullest exceeds the mean, in percent of the mean; 0 where there is nothing to compare.
pub fn imbalance_percent(values: impl IntoIterator<Item = u64>) -> f64 {
    let values: Vec<u64> = values.into_iter().collect();
    let sum: u64 = values.iter().sum();
    let Some(max) = values.iter().max().filter(|_| sum > 0) else { return 0.0 };
    let mean = sum as f64 / values.len() as f64;
    (*max as f64 / mean - 1.0) * 100.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture;
    use super::*;

    #[test]
    fn an_empty_group_counts_unless_it_is_drained() {
        let mut map = fixture::map();
        map.placements.retain(|p| p.group != GroupId(3));
        assert_eq!(loads(&map)[&GroupId(3)], Load::default());
        assert_eq!(shared(&map).len(), 3);
        map.nodes.get_mut(&GroupId(3)).expect("of the fixture").takes_shards = false;
        assert_eq!(loads(&map).len(), 3, "it is still shown");
        assert_eq!(shared(&map).len(), 2, "it is not to be filled");
    }

    #[test]
    fn reference_tables_are_no_burden_of_one_group() {
        let loads = loads(&fixture::map());
        assert_eq!(loads[&GroupId(1)].shards, 2);
        assert_eq!(loads[&GroupId(1)].bytes, 300);
    }

    #[test]
    fn unknown_is_told_from_nothing() {
        let placement = Placement { shard: 1, table: "t".into(), group: GroupId(1), bytes: None, range: None, rows: None };
        let load = Load::default().and(&placement);
        assert_eq!((load.known_bytes(), load.known_rows()), (None, None));
        assert_eq!((Load::default().known_bytes(), Load::default().known_rows()), (Some(0), Some(0)));
    }

    #[test]
    fn the_fullest_is_measured_by_the_mean() {
        assert_eq!(imbalance_percent([]), 0.0);
        assert_eq!(imbalance_percent([0, 0]), 0.0);
        assert_eq!(imbalance_percent([10, 10, 10]), 0.0);
        assert_eq!(imbalance_percent([30, 0, 0]), 200.0);
    }

    proptest! {
        #[test]
        fn imbalance_is_never_negative_and_grows_with_the_fullest(values in prop::collection::vec(1u64..1_000, 1..6), more in 1u64..1_000) {
            let before = imbalance_percent(values.clone());
            prop_assert!(before >= -1e-9);
            let mut fuller = values;
            *fuller.iter_mut().max().expect("not empty") += more;
            prop_assert!(imbalance_percent(fuller) >= before - 1e-9);
        }
    }
}
