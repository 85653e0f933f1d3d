//! Prepared transactions: those in flight, and those that somebody left behind.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::topology::GroupId;

/// A prepared transaction on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prepared {
    /// The group whose leader holds it.
    pub group: String,
    /// That leader.
    pub node: String,
    /// Its name.
    pub gid: String,
    /// Who prepared it.
    pub owner: String,
    /// How long ago, in milliseconds.
    pub age_ms: u64,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a prepared transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Its transaction is still being worked on.
    InFlight,
    /// Its transaction was committed: Citus commits it.
    Commit,
    /// Its transaction was not: Citus rolls it back.
    Rollback,
    /// The node that began it does not answer, and nobody else knows.
    Unknown,
    /// Not one of Citus': whoever made it has to end it.
    Foreign,
}

impl Fate {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::InFlight => "in flight",
            Self::Commit => "left over: will be committed",
            Self::Rollback => "left over: will be rolled back",
            Self::Unknown => "unknown: the node that began it does not answer",
            Self::Foreign => "not of Citus: COMMIT PREPARED or ROLLBACK PREPARED by hand",
        }
    }
}

/// The parts of a name that Citus gives: `citus_<group>_<process>_<transaction>_<connection>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gid {
    /// The group of the node that began the transaction.
    pub origin: GroupId,
    /// Its number there.
    pub transaction: u64,
}

impl Gid {
    /// `None` when it is not one of Citus'.
    pub fn parse(gid: &str) -> Option<Self> {
        let mut parts = gid.strip_prefix("citus_")?.split('_');
        let (origin, _process) = (parts.next()?.parse().ok()?, parts.next()?.parse::<u32>().ok()?);
        let (transaction, _connection) = (parts.next()?.parse().ok()?, parts.next()?.parse::<u32>().ok()?);
        parts.next().is_none().then_some(Self { origin: GroupId(origin), transaction })
    }
}

/// What the nodes that begin transactions know of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    /// Groups whose leader answered.
    pub answered: BTreeSet<GroupId>,
    /// Names of those that were committed there (`pg_dist_transaction`).
    pub committed: BTreeSet<String>,
    /// Those that are being worked on: origin and number.
    pub active: BTreeSet<(GroupId, u64)>,
}

/// What becomes of the prepared transaction of that name. Citus' own rule: a record at the origin means commit; no record, and
/// nobody at work on it, means rollback.
pub fn fate(gid: &str, origins: &Origins) -> Fate {
    let Some(parts) = Gid::parse(gid) else { return Fate::Foreign };
    if !origins.answered.contains(&parts.origin) {
        Fate::Unknown
    } else if origins.active.contains(&(parts.origin, parts.transaction)) {
        Fate::InFlight
    } else if origins.committed.contains(gid) {
        Fate::Commit
    } else {
        Fate::Rollback
    }
}

/// What two looks say together, one after the other. Nodes are asked one question after another, and between them a transaction may
/// begin, be prepared and end: what only the second look saw is still worked on, as far as anybody knows. What both saw began before the
/// second, which asks first who is at work: nobody is at work on what it takes for left over.
pub fn standing(first: &[Prepared], second: Vec<Prepared>) -> Vec<Prepared> {
    let seen: BTreeSet<&str> = first.iter().map(|one| one.gid.as_str()).collect();
    let confirmed = |one: Prepared| match one.fate {
        Fate::Commit | Fate::Rollback if !seen.contains(one.gid.as_str()) => Prepared { fate: Fate::InFlight, ..one },
        _ => one,
    };
    second.into_iter().map(confirmed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_citus_are_told_from_others() {
        assert_eq!(Gid::parse("citus_0_3917_42_7"), Some(Gid { origin: GroupId(0), transaction: 42 }));
        for other in ["citus_0_3917_42", "citus_0_3917_42_7_1", "citus_a_1_2_3", "mine", ""] {
            assert_eq!(Gid::parse(other), None, "{other}");
        }
    }

    #[test]
    fn the_origin_decides() {
        let gid = "citus_0_3917_42_7";
        let mut origins = Origins::default();
        assert_eq!(fate(gid, &origins), Fate::Unknown);
        origins.answered.insert(GroupId::COORDINATOR);
        assert_eq!(fate(gid, &origins), Fate::Rollback);
        origins.committed.insert(gid.into());
        assert_eq!(fate(gid, &origins), Fate::Commit);
        origins.active.insert((GroupId::COORDINATOR, 42));
        assert_eq!(fate(gid, &origins), Fate::InFlight, "it may be about to be committed");
        assert_eq!(fate("mine", &origins), Fate::Foreign);
    }

    #[test]
    fn only_what_is_seen_twice_is_left_over() {
        let one = |gid: &str, fate| Prepared {
            group: "shard-1".into(),
            node: "worker-1-1".into(),
            gid: gid.into(),
            owner: "app".into(),
            age_ms: 1,
            fate,
        };
        let first = [one("gone", Fate::Rollback), one("left", Fate::Rollback), one("lost", Fate::InFlight)];
        let second = vec![
            one("left", Fate::Rollback),
            one("lost", Fate::Commit),
            one("new", Fate::Rollback),
            one("newer", Fate::Commit),
            one("silent", Fate::Unknown),
            one("mine", Fate::Foreign),
        ];
        let fates: Vec<_> = standing(&first, second).into_iter().map(|one| (one.gid, one.fate)).collect();
        let expected = [
            ("left", Fate::Rollback),
            ("lost", Fate::Commit),
            ("new", Fate::InFlight),
            ("newer", Fate::InFlight),
            ("silent", Fate::Unknown),
            ("mine", Fate::Foreign),
        ];
        assert_eq!(fates, expected.map(|(gid, fate)| (gid.to_owned(), fate)));
    }
}
