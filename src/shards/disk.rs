//! Whether the hosts have room for what moves bring: every member of a group that gets shards writes them, standbys and readers as well
//! as the leader, and members of several groups share a host's disk.

use std::collections::BTreeMap;

use super::model::ShardMap;
use super::moves::Move;
use super::obstacle::{MoveFacts, Obstacle};
use crate::quantity::shortage;
use crate::topology::{GroupId, HostName, Topology};

/// Hosts without room for all that comes to their members. What leaves a host is no room: it goes after each move, some time later. A
/// host that did not tell is not judged, and nor are moves of unknown size.
pub fn too_small(topology: &Topology, map: &ShardMap, facts: &MoveFacts, moves: &[Move]) -> Vec<Obstacle> {
    let mut to_groups: BTreeMap<GroupId, u64> = BTreeMap::new();
    for one in moves {
        *to_groups.entry(one.to).or_default() += one.bytes.unwrap_or_default();
    }
    let judge = |host: &HostName| {
        let here = topology.groups.iter().flat_map(|group| group.everyone()).filter(|member| member.host == *host);
        let to_members = here.filter_map(|member| Some((member, *to_groups.get(&member.group)?)));
        let (names, coming): (Vec<&str>, Vec<u64>) = to_members.map(|(member, bytes)| (member.name.as_str(), bytes)).unzip();
        let coming: u64 = coming.iter().sum();
        let lacks = shortage(free(topology, map, facts, host)?, coming).filter(|_| coming > 0)?;
        Some(Obstacle {
            what: format!("{host} {lacks} for what comes to {}", names.join(", ")),
            way_out: "make room there, or take a group in on hosts with more".into(),
        })
    };
    topology.hosts.iter().filter_map(|host| judge(&host.name)).collect()
}

/// What the host tells of Docker's disk; or less, where a leader there tells less of the disk that its data is on.
fn free(topology: &Topology, map: &ShardMap, facts: &MoveFacts, host: &HostName) -> Option<u64> {
    let is_here = |leader: &str| topology.member(leader).is_some_and(|member| member.host == *host);
    let leaders = map.nodes.iter().filter(|(_, node)| is_here(&node.leader));
    let told = leaders.filter_map(|(group, _)| Some(facts.rooms.get(group)?.as_ref().ok()?.disk_bytes));
    told.chain(facts.disks.get(host).copied()).min()
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::obstacle::Room;
    use super::*;
    use crate::topology::{MemberName, example};

    const ROOM: Room = Room { standby: false, disk_bytes: 5_000, slots: 4, senders: 4, origins: 4, appliers: 4, workers: 6 };

    fn host(name: &str) -> HostName {
        HostName::new(name).expect("a name")
    }

    fn facts(free: [u64; 3]) -> MoveFacts {
        let disks = ["host1", "host2", "host3"].map(host).into_iter().zip(free).collect();
        MoveFacts { disks, rooms: (0..=3).map(|group| (GroupId(group), Ok(ROOM))).collect(), ..MoveFacts::default() }
    }

    /// Shards of the third group to the others.
    fn moves(bytes: &[(u32, u64)]) -> Vec<Move> {
        let one = |(to, bytes): &(u32, u64)| Move {
            shard: 103,
            tables: vec!["orders".into()],
            from: GroupId(3),
            to: GroupId(*to),
            bytes: Some(*bytes),
        };
        bytes.iter().map(one).collect()
    }

    fn told(topology: &Topology, facts: &MoveFacts, moves: &[Move]) -> Vec<String> {
        too_small(topology, &fixture::map(), facts, moves).into_iter().map(|obstacle| obstacle.what).collect()
    }

    #[test]
    fn a_standby_needs_as_much_room_as_its_leader() {
        let topology = example("three-hosts");
        let to_first = moves(&[(1, 100), (1, 200)]);
        assert!(told(&topology, &facts([330, 330, 0]), &to_first).is_empty(), "nothing comes to host3");
        let standby = ["host2 has 329 B free, and 330 B are needed for what comes to worker-1-2"];
        assert_eq!(told(&topology, &facts([330, 329, 0]), &to_first), standby);
        let leader = ["host1 has 0 B free, and 330 B are needed for what comes to worker-1-1"];
        assert_eq!(told(&topology, &facts([0, 330, 0]), &to_first), leader);
    }

    #[test]
    fn groups_that_share_a_host_are_added_up() {
        let topology = example("three-hosts");
        let to_both = moves(&[(1, 300), (2, 300)]);
        assert!(told(&topology, &facts([330, 660, 330]), &to_both).is_empty());
        let both = ["host2 has 659 B free, and 660 B are needed for what comes to worker-1-2, worker-2-1"];
        assert_eq!(told(&topology, &facts([330, 659, 330]), &to_both), both);
    }

    #[test]
    fn a_reader_needs_room_too() {
        let mut topology = example("three-hosts");
        let name = MemberName::new("worker-1-reader-1").expect("a name");
        let reader = crate::topology::model::Member { name, host: host("host3"), group: GroupId(1) };
        topology.groups[1].readers.push(reader);
        let to_first = moves(&[(1, 300)]);
        let reader = ["host3 has 1 B free, and 330 B are needed for what comes to worker-1-reader-1"];
        assert_eq!(told(&topology, &facts([330, 330, 1]), &to_first), reader);
    }

    #[test]
    fn a_leader_may_know_better_and_who_does_not_tell_is_not_judged() {
        let (topology, mut facts) = (example("three-hosts"), facts([9_000, 9_000, 9_000]));
        facts.rooms.insert(GroupId(1), Ok(Room { disk_bytes: 7, ..ROOM }));
        let leader = ["host1 has 7 B free, and 330 B are needed for what comes to worker-1-1"];
        assert_eq!(told(&topology, &facts, &moves(&[(1, 300)])), leader);
        let mut unknown = moves(&[(1, 300)]);
        unknown[0].bytes = None;
        assert!(told(&topology, &facts, &unknown).is_empty());
        let silent = MoveFacts { disks: BTreeMap::new(), rooms: BTreeMap::new(), ..facts };
        assert!(told(&topology, &silent, &moves(&[(1, 300)])).is_empty());
    }
}
