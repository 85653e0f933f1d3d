//! What keeps shards from being moved, found before the first one moves.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::disk;
use super::model::{Node, ShardMap};
use super::moves::{Move, TransferMode};
use crate::topology::{GroupId, HostName, Topology};

/// What is looked at before shards move.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MoveFacts {
    /// Tables without primary key or replica identity.
    pub without_identity: Vec<String>,
    /// Owners of tables, by their oid: a move is one subscription for each owner of its tables.
    pub owners: BTreeMap<String, u32>,
    /// How many moves Citus does at once, in all and on one node.
    pub executors: u32,
    /// Number of a job that is not over yet.
    pub running_job: Option<i64>,
    /// `wal_level` of the coordinators' leader.
    pub wal_level: String,
    /// Free bytes on the disk of each host that told.
    pub disks: BTreeMap<HostName, u64>,
    /// What each active node has left; or why it does not tell.
    pub rooms: BTreeMap<GroupId, Result<Room, String>>,
}

/// What a node has left of what moves use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Room {
    /// Whether it is a standby, by whatever name pg_dist_node has it.
    pub standby: bool,
    /// Free bytes where it keeps its data.
    pub disk_bytes: u64,
    /// Replication slots: the source of a move has one for each subscription.
    pub slots: i64,
    /// WAL senders: one for each subscription, at the source.
    pub senders: i64,
    /// Replication origins: one for each subscription, at the target. PostgreSQL 17 has as many as slots.
    pub origins: i64,
    /// Workers of logical replication: one for each subscription, at the target.
    pub appliers: i64,
    /// Background workers, those included. Parallel queries are not counted: theirs come and go.
    pub workers: i64,
}

/// What is to move, and how.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// In this order.
    pub moves: &'a [Move],
    /// How rows get to their new place.
    pub mode: TransferMode,
    /// So many at once.
    pub parallel: u32,
    /// By Citus' background job, which has a worker for each move and one for itself; else in a session of our own.
    pub job: bool,
}

/// Something in the way, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// What it is.
    pub what: String,
    /// What to do about it.
    pub way_out: String,
}

/// Way out where something derives `wal_level`, which is `logical` with Citus.
pub const SET_BY_UP: &str = "`pgclusterctl up` sets it and restarts the members that run without it";
/// The monitor of the task queue, beside the workers of the moves (`citus.max_background_task_executors`).
const MONITOR: i64 = 1;

impl MoveFacts {
    /// Whether Citus can be asked for a plan: a cost of `by_disk_size` is asked of every node, and a job under way changes it.
    pub fn allow_a_plan(&self) -> bool {
        self.running_job.is_none() && self.rooms.values().all(Result::is_ok)
    }
}

/// All that is in the way.
pub fn obstacles(topology: &Topology, map: &ShardMap, facts: &MoveFacts, wanted: Wanted<'_>) -> Vec<Obstacle> {
    let mut found = Vec::new();
    if let Some(job) = facts.running_job {
        add(
            &mut found,
            format!("job {job} of Citus is not over yet"),
            "`pgclusterctl shards status` follows it, `pgclusterctl shards cancel` stops it",
        );
    }
    for (group, node) in &map.nodes {
        of_node(topology, *group, node, facts, &mut found);
    }
    if wanted.mode == TransferMode::Auto {
        for table in facts.without_identity.iter().filter(|table| wanted.moves.iter().any(|m| m.tables.contains(table))) {
            add(
                &mut found,
                format!("{table} has neither a primary key nor a replica identity"),
                "give it one (`ALTER TABLE … REPLICA IDENTITY FULL` does always), or use --transfer block-writes",
            );
        }
    }
    if wanted.mode != TransferMode::BlockWrites && facts.wal_level != "logical" {
        add(&mut found, format!("wal_level is {}, moving shards needs logical", facts.wal_level), SET_BY_UP);
    }
    if wanted.parallel > facts.executors {
        add(
            &mut found,
            format!("Citus does {} moves at once here, not {}", facts.executors, wanted.parallel),
            "ask for fewer; or set citus.max_background_task_executors and citus.max_background_task_executors_per_node under \
             [postgres.parameters] and run `pgclusterctl up`, which restarts nothing for it",
        );
    }
    for (group, node) in &map.nodes {
        if let Some(Ok(room)) = facts.rooms.get(group) {
            of_room(*group, node, room, facts, wanted, &mut found);
        }
    }
    found.extend(disk::too_small(topology, map, facts, wanted.moves));
    found
}

fn add(found: &mut Vec<Obstacle>, what: String, way_out: impl Into<String>) {
    found.push(Obstacle { what, way_out: way_out.into() });
}

/// A move changes the metadata of all nodes in its transaction: each must be there, also one that has no shard.
fn of_node(topology: &Topology, group: GroupId, node: &Node, facts: &MoveFacts, found: &mut Vec<Obstacle>) {
    let leader = &node.leader;
    if !node.active {
        return add(
            found,
            format!("{leader}, the leader of {group}, is not active in pg_dist_node"),
            "`pgclusterctl health` shows why; when it runs, `pgclusterctl health --repair` activates it",
        );
    }
    match facts.rooms.get(&group) {
        Some(Ok(room)) if room.standby => add(
            found,
            format!("{leader}, the leader of {group} in pg_dist_node, is a standby"),
            "Patroni writes the new leader's name within seconds; when it stays so, `pgclusterctl health --repair` does",
        ),
        Some(Ok(_)) => {}
        silent => {
            let why = silent.and_then(|told| told.as_ref().err()).and_then(|why| why.lines().next()).unwrap_or("no answer");
            let host = topology.member(leader).map(|member| format!(" on {}", member.host)).unwrap_or_default();
            add(
                found,
                format!("{group} does not answer: {leader}{host}: {why}"),
                "`pgclusterctl status` shows whether a standby takes over; bring its member or host back, and run this again",
            );
        }
    }
    if !node.metadata_synced && !group.is_coordinator() {
        add(
            found,
            format!("{leader}, the leader of {group}, does not have the newest metadata"),
            "Citus sends it within a minute once the node answers; when it stays so, `pgclusterctl health --repair` sends it",
        );
    }
}

/// What a node has too little of, for the moves that may be under way at once.
fn of_room(group: GroupId, node: &Node, room: &Room, facts: &MoveFacts, wanted: Wanted<'_>, found: &mut Vec<Obstacle>) {
    let outgoing = at_once(facts, wanted, |m| m.from == group);
    let incoming = at_once(facts, wanted, |m| m.to == group);
    let count = i64::try_from(wanted.moves.len()).unwrap_or(i64::MAX).min(wanted.parallel.into());
    let by_job = if group.is_coordinator() && wanted.job && count > 0 { count + MONITOR } else { 0 };
    let kinds = [
        ("replication slots", room.slots, outgoing, Kind::Slots),
        ("WAL senders", room.senders, outgoing, Kind::Senders),
        ("replication origins", room.origins, incoming, Kind::Origins),
        ("workers of logical replication", room.appliers, incoming, Kind::Workers("max_logical_replication_workers")),
        ("background workers", room.workers, incoming + by_job, Kind::Workers("max_worker_processes")),
    ];
    for (name, left, needed, kind) in kinds {
        if needed > left {
            let left = left.max(0);
            let what =
                format!("{}, the leader of {group}, has {left} {name} left, and {needed} are needed at once", node.leader);
            let fewer = if wanted.parallel > 1 { "ask for fewer moves at once; or " } else { "" };
            add(found, what, format!("{fewer}{}", kind.way_out(&node.leader)));
        }
    }
}

/// Subscriptions that such moves have at once, at most: those of the largest, so many as may run.
fn at_once(facts: &MoveFacts, wanted: Wanted<'_>, which: impl Fn(&Move) -> bool) -> i64 {
    if wanted.mode == TransferMode::BlockWrites {
        return 0;
    }
    let owners = |m: &Move| m.tables.iter().filter_map(|table| facts.owners.get(table)).collect::<BTreeSet<_>>().len().max(1);
    let mut each: Vec<usize> = wanted.moves.iter().filter(|m| which(m)).map(owners).collect();
    each.sort_unstable_by(|a, b| b.cmp(a));
    let most = usize::try_from(wanted.parallel).unwrap_or(usize::MAX);
    i64::try_from(each.iter().take(most).sum::<usize>()).unwrap_or(i64::MAX)
}

/// What of a node can be short.
enum Kind {
    Slots,
    Senders,
    Origins,
    /// By the setting that limits them.
    Workers(&'static str),
}

impl Kind {
    /// Slots and senders follow from the topology; what somebody else holds can be given back. Workers can be made more.
    fn way_out(&self, leader: &str) -> String {
        let shown = |query: &str| format!("`pgclusterctl psql --member {leader} -- -c \"{query}\"` shows who has them");
        match self {
            Self::Slots => {
                let shown = shown("select slot_name, slot_type, active from pg_replication_slots");
                format!("{shown}; pg_drop_replication_slot('…') there drops one that nobody needs any more")
            }
            Self::Senders => {
                let shown = shown("select application_name, client_addr, state from pg_stat_replication");
                format!("{shown}; wait for a backup or a copy to end, or end what nobody needs")
            }
            Self::Origins => {
                let shown = shown("select * from pg_replication_origin_status");
                format!("{shown}; pg_replication_origin_drop('…') there drops one whose subscription is gone")
            }
            Self::Workers(setting) => {
                let shown = shown("select backend_type, count(*) from pg_stat_activity group by 1");
                format!(
                    "set {setting} higher under [postgres.parameters] and run `pgclusterctl up`, which restarts for it; {shown}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    const PLENTY: Room = Room { standby: false, disk_bytes: 1_000, slots: 4, senders: 4, origins: 4, appliers: 4, workers: 6 };

    fn facts() -> MoveFacts {
        let rooms = (0..=3).map(|group| (GroupId(group), Ok(PLENTY))).collect();
        MoveFacts { wal_level: "logical".into(), executors: 4, rooms, ..MoveFacts::default() }
    }

    fn room(facts: &mut MoveFacts, group: u32) -> &mut Room {
        facts.rooms.get_mut(&GroupId(group)).expect("of the fixture").as_mut().expect("it answers")
    }

    fn moves(count: usize, bytes: u64) -> Vec<Move> {
        let one = Move { shard: 103, tables: vec!["orders".into()], from: GroupId(3), to: GroupId(1), bytes: Some(bytes) };
        vec![one; count]
    }

    fn found(map: &ShardMap, facts: &MoveFacts, moves: &[Move], mode: TransferMode, parallel: u32) -> Vec<Obstacle> {
        let topology = crate::topology::example("three-hosts");
        let found = obstacles(&topology, map, facts, Wanted { moves, mode, parallel, job: true });
        for obstacle in &found {
            let words = obstacle.way_out.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'));
            let owned: Vec<_> = words.filter(|word| crate::topology::owner_of(word).is_some()).collect();
            assert!(owned.is_empty(), "the topology refuses {owned:?}: {}", obstacle.way_out);
        }
        found
    }

    fn what(map: &ShardMap, facts: &MoveFacts, bytes: u64, mode: TransferMode) -> Vec<String> {
        found(map, facts, &moves(1, bytes), mode, 4).into_iter().map(|o| o.what).collect()
    }

    fn begin(found: &[String], with: &[&str]) {
        assert_eq!(found.len(), with.len(), "{found:#?}");
        for (found, begin) in found.iter().zip(with) {
            assert!(found.starts_with(begin), "{found}");
        }
    }

    #[test]
    fn nothing_is_in_the_way_of_a_sound_cluster() {
        assert!(what(&fixture::map(), &facts(), 300, TransferMode::Auto).is_empty());
        assert!(found(&fixture::map(), &facts(), &moves(9, 50), TransferMode::Auto, 4).is_empty());
    }

    #[test]
    fn each_obstacle_is_named() {
        let mut map = fixture::map();
        map.nodes.get_mut(&GroupId(1)).expect("of the fixture").active = false;
        map.nodes.get_mut(&GroupId(2)).expect("of the fixture").metadata_synced = false;
        let mut facts = MoveFacts {
            without_identity: vec!["orders".into(), "elsewhere".into()],
            executors: 2,
            running_job: Some(4),
            wal_level: "replica".into(),
            ..facts()
        };
        room(&mut facts, 1).disk_bytes = 320;
        let expected = ["job 4", "worker-1-1", "worker-2-1", "orders", "wal_level", "Citus does 2 moves", "host1 has 320 B"];
        begin(&what(&map, &facts, 300, TransferMode::Auto), &expected);
    }

    #[test]
    fn a_plain_copy_needs_neither_identity_nor_logical_wal_nor_replication() {
        let mut facts = MoveFacts { without_identity: vec!["orders".into()], wal_level: "replica".into(), ..facts() };
        (room(&mut facts, 3).slots, room(&mut facts, 1).appliers) = (0, 0);
        assert!(what(&fixture::map(), &facts, 300, TransferMode::BlockWrites).is_empty());
        begin(&what(&fixture::map(), &facts, 300, TransferMode::ForceLogical), &["wal_level", "worker-1-1", "worker-3-1"]);
    }

    #[test]
    fn a_group_that_does_not_answer_is_named_with_its_leader_and_host_whatever_is_to_move() {
        let (map, mut facts) = (fixture::map(), facts());
        assert!(facts.allow_a_plan());
        facts.rooms.insert(GroupId(2), Err("connection refused\nand more".into()));
        assert!(!facts.allow_a_plan());
        let told = ["shard-2 does not answer: worker-2-1 on host2: connection refused"];
        for count in [0, 1] {
            let found = found(&map, &facts, &moves(count, 1), TransferMode::BlockWrites, 1);
            assert_eq!(found.iter().map(|o| o.what.as_str()).collect::<Vec<_>>(), told);
            assert!(found[0].way_out.starts_with("`pgclusterctl status`"), "{}", found[0].way_out);
        }
        facts.rooms.remove(&GroupId(2));
        begin(&what(&map, &facts, 1, TransferMode::Auto), &["shard-2 does not answer: worker-2-1 on host2: no answer"]);
        facts.rooms.insert(GroupId(2), Ok(Room { standby: true, ..PLENTY }));
        begin(&what(&map, &facts, 1, TransferMode::Auto), &["worker-2-1, the leader of shard-2 in pg_dist_node, is a standby"]);
    }

    #[test]
    fn so_many_moves_at_once_must_find_slots_senders_and_workers() {
        let (map, mut scarce) = (fixture::map(), facts());
        (room(&mut scarce, 3).slots, room(&mut scarce, 3).senders) = (1, 2);
        *room(&mut scarce, 1) = Room { origins: 1, appliers: 1, workers: 1, ..PLENTY };
        room(&mut scarce, 0).workers = 3;
        let three = found(&map, &scarce, &moves(3, 1), TransferMode::Auto, 3);
        let whats: Vec<String> = three.iter().map(|o| o.what.clone()).collect();
        let expected = [
            "coordinator-1, the leader of coordinator, has 3 background workers left, and 4 are needed",
            "worker-1-1, the leader of shard-1, has 1 replication origins left, and 3 are needed",
            "worker-1-1, the leader of shard-1, has 1 workers of logical replication left, and 3",
            "worker-1-1, the leader of shard-1, has 1 background workers left, and 3",
            "worker-3-1, the leader of shard-3, has 1 replication slots left, and 3",
            "worker-3-1, the leader of shard-3, has 2 WAL senders left, and 3",
        ];
        begin(&whats, &expected);
        assert!(three.iter().all(|o| o.way_out.starts_with("ask for fewer moves at once; or ")), "{three:#?}");
        assert!(found(&map, &scarce, &moves(3, 1), TransferMode::Auto, 1).is_empty(), "one after another there is room");
        assert!(found(&map, &scarce, &moves(1, 1), TransferMode::Auto, 3).is_empty(), "there is only one");
    }

    #[test]
    fn tables_of_two_owners_are_two_subscriptions() {
        let (map, mut facts) = (fixture::map(), facts());
        facts.owners = BTreeMap::from([("orders".into(), 10), ("items".into(), 11)]);
        room(&mut facts, 3).slots = 1;
        let mut one = moves(1, 1);
        assert!(found(&map, &facts, &one, TransferMode::Auto, 1).is_empty());
        one[0].tables.push("items".into());
        let whats: Vec<String> = found(&map, &facts, &one, TransferMode::Auto, 1).into_iter().map(|o| o.what).collect();
        begin(&whats, &["worker-3-1, the leader of shard-3, has 1 replication slots left, and 2 are needed at once"]);
    }
}
