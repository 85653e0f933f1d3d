//! Which host gets which member when the operator names none: pure arithmetic over hosts and zones.
//!
//! Called by [`super::resolve`]. A group never gets one host twice: asked for more members than hosts, it gets fewer.

use std::collections::BTreeMap;

/// Order in which hosts are filled: round-robin over the zones in order of first appearance, so that neighbours differ in zone
/// as long as that is possible. Without zones it is the order of the file. Returns indices into `zones`.
pub fn spread_order(zones: &[&str]) -> Vec<usize> {
    let mut first_seen: Vec<&str> = Vec::new();
    let mut by_zone: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, zone) in zones.iter().enumerate() {
        if !by_zone.contains_key(zone) {
            first_seen.push(zone);
        }
        by_zone.entry(zone).or_default().push(index);
    }
    let longest = by_zone.values().map(Vec::len).max().unwrap_or(0);
    (0..longest)
        .flat_map(|round| first_seen.iter().filter_map(|z| by_zone[z].get(round).copied()).collect::<Vec<_>>())
        .collect()
}

/// Places `groups` groups of `members` members in a ring: the leader of group g at home on host (g-1) mod n, its standbys on the
/// hosts that follow. With zones, a standby goes to a zone that its group uses least, there to the host with the fewest
/// members. Returns, per group, indices into `zones` (one zone per host, empty text where none is named).
pub fn ring(zones: &[&str], groups: u32, members: u32) -> Vec<Vec<usize>> {
    let order = spread_order(zones);
    let hosts = order.len();
    let zoned = zones.iter().any(|z| !z.is_empty());
    let mut load = vec![0usize; hosts];
    let mut placed = Vec::new();
    for group in 0..groups as usize {
        if hosts == 0 {
            placed.push(Vec::new());
            continue;
        }
        let home = group % hosts;
        let mut chosen = vec![order[home]];
        load[order[home]] += 1;
        while chosen.len() < (members as usize).min(hosts) {
            let next = (1..hosts)
                .map(|step| (step, order[(home + step) % hosts]))
                .filter(|(_, h)| !chosen.contains(h))
                .min_by_key(|&(step, host)| {
                    let same_zone = chosen.iter().filter(|&&c| zones[c] == zones[host]).count();
                    (same_zone, if zoned { load[host] } else { 0 }, step)
                });
            let Some((_, host)) = next else { break };
            load[host] += 1;
            chosen.push(host);
        }
        placed.push(chosen);
    }
    placed
}

/// Hosts for one more group of `members` members, for a group that is placed alone: the host with the fewest members is its
/// leader's home; a standby goes to a zone that the group uses least, there to the host with the fewest members. `load` has the
/// members of each host so far. Returns indices into `zones`.
pub fn beside(zones: &[&str], load: &[usize], members: usize) -> Vec<usize> {
    let mut chosen: Vec<usize> = Vec::new();
    while chosen.len() < members.min(zones.len()) {
        let free = (0..zones.len()).filter(|host| !chosen.contains(host));
        let next = free.min_by_key(|&host| {
            let same_zone = chosen.iter().filter(|&&c| zones[c] == zones[host]).count();
            (same_zone, load.get(host).copied().unwrap_or_default(), host)
        });
        let Some(next) = next else { break };
        chosen.push(next);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn three_groups_on_three_hosts_are_a_ring() {
        assert_eq!(ring(&["", "", ""], 3, 2), [[0, 1], [1, 2], [2, 0]]);
    }

    #[test]
    fn zones_come_before_neighbours() {
        // Two hosts in each of two zones: a standby never shares its leader's zone, and nobody gets three members.
        let zones = ["a", "a", "b", "b"];
        let placed = ring(&zones, 4, 2);
        for group in &placed {
            assert_ne!(zones[group[0]], zones[group[1]], "{placed:?}");
        }
        for host in 0..4 {
            assert_eq!(placed.iter().flatten().filter(|&&h| h == host).count(), 2, "{placed:?}");
        }
    }

    #[test]
    fn one_more_group_goes_where_least_is() {
        assert_eq!(beside(&["", "", ""], &[3, 1, 2], 2), [1, 2]);
        // Without zones all hosts are in the same one; with them, another zone comes before an emptier host.
        assert_eq!(beside(&["a", "a", "b"], &[1, 2, 9], 2), [0, 2]);
        assert_eq!(beside(&["", ""], &[0, 0], 5), [0, 1]);
    }

    proptest! {
        #[test]
        fn no_group_has_two_members_on_one_host(
            zones in proptest::collection::vec("[a-c]?", 1..9), groups in 0u32..20, members in 1u32..6,
        ) {
            let zones: Vec<&str> = zones.iter().map(String::as_str).collect();
            let placed = ring(&zones, groups, members);
            prop_assert_eq!(placed.len(), groups as usize);
            for group in placed {
                let distinct: BTreeSet<usize> = group.iter().copied().collect();
                prop_assert_eq!(distinct.len(), group.len());
                prop_assert_eq!(group.len(), (members as usize).min(zones.len()));
                // Every zone that could be used is used before one is used twice.
                let used: BTreeSet<&str> = group.iter().map(|&h| zones[h]).collect();
                let all: BTreeSet<&str> = zones.iter().copied().collect();
                prop_assert_eq!(used.len(), group.len().min(all.len()));
            }
        }

        #[test]
        fn leaders_are_spread_evenly(hosts in 1usize..9, groups in 0u32..40) {
            let zones = vec![""; hosts];
            let placed = ring(&zones, groups, 2);
            let at_home = |host| placed.iter().filter(|g| g[0] == host).count();
            let (min, max) = ((0..hosts).map(at_home).min(), (0..hosts).map(at_home).max());
            prop_assert!(max.unwrap_or(0) - min.unwrap_or(0) <= 1);
        }
    }
}
