//! Names and numbers that identify things of a cluster: validated once, then trusted.
//!
//! Everything rendered (service names, DNS aliases, etcd keys, file paths, SQL) is built from these, so their alphabet is the
//! intersection of what all of those accept without quoting. Nothing here touches the outside world.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text cannot serve as a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a name may not be empty")]
    Empty,
    /// Longer than a DNS label can be once prefixes and suffixes are added.
    #[error("a name has at most {max} characters, this one has {len}")]
    TooLong {
        /// Longest allowed length in characters.
        max: usize,
        /// Length found.
        len: usize,
    },
    /// A character outside the alphabet, or a hyphen where DNS forbids one.
    #[error("a name consists of a-z, 0-9 and inner hyphens, and starts with a letter")]
    Alphabet,
}

/// Longest cluster or host name: a DNS label has 63 characters (RFC 1035), and the longest thing we append is
/// `-coordinator` plus a config's role, member and hash.
pub const NAME_MAX: usize = 24;

/// Checks a name that becomes part of DNS labels, Swarm object names and etcd keys.
pub fn check_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    let len = text.chars().count();
    if len > NAME_MAX {
        return Err(NameError::TooLong { max: NAME_MAX, len });
    }
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    let well_formed = bytes[0].is_ascii_lowercase() && bytes.iter().all(inner) && bytes[bytes.len() - 1] != b'-';
    if well_formed { Ok(()) } else { Err(NameError::Alphabet) }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a text that [`check_name`] accepts.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check_name(text)?;
                Ok(Self(text.to_owned()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name_type!(
    /// The cluster's name: Patroni scope, stack name, prefix of every Swarm object.
    ClusterName
);
name_type!(
    /// A host as the topology calls it; also its Swarm node label `<cluster>.host`.
    HostName
);
name_type!(
    /// A member of a Patroni group, an etcd member or a proxy: `coordinator-1`, `worker-2-1`, `etcd-3`, `haproxy-1`.
    /// Service name inside the stack, hostname and DNS alias of its container are all this text.
    MemberName
);

/// What stands before the number in the name of a reader: `coordinator-reader-1`.
const READER: &str = "reader-";

/// A Citus group: 0 is the coordinators' group, 1 and up are shard groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupId(pub u32);

impl GroupId {
    /// The coordinators' group.
    pub const COORDINATOR: Self = Self(0);

    /// Whether this is the coordinators' group.
    pub fn is_coordinator(self) -> bool {
        self == Self::COORDINATOR
    }

    /// The group of a member or reader by its name, `worker-3-1`, `coordinator-2` or `worker-3-reader-1`, whether or not a
    /// topology has it.
    pub fn of_member(name: &str) -> Option<Self> {
        let ordinal = |text: &str| text.strip_prefix(READER).unwrap_or(text).parse::<u32>().ok();
        if let Some(rest) = name.strip_prefix("coordinator-") {
            return ordinal(rest).map(|_| Self::COORDINATOR);
        }
        let (group, member) = name.strip_prefix("worker-")?.split_once('-')?;
        ordinal(member)?;
        group.parse().ok().map(Self).filter(|group| !group.is_coordinator())
    }

    /// Whether the name is that of a reader, whether or not a topology has it.
    pub fn is_reader(name: &str) -> bool {
        Self::of_member(name).is_some() && name.contains(READER)
    }

    /// How commands are told of it: `--coordinator`, `--shard 2`.
    pub fn flag(self) -> String {
        if self.is_coordinator() { "--coordinator".to_owned() } else { format!("--shard {}", self.0) }
    }

    /// The name of its member of that number.
    pub fn member(self, number: u32) -> MemberName {
        self.named(number, "")
    }

    /// The name of its reader of that number.
    pub fn reader(self, number: u32) -> MemberName {
        self.named(number, READER)
    }

    fn named(self, number: u32, kind: &str) -> MemberName {
        let name = if self.is_coordinator() {
            format!("coordinator-{kind}{number}")
        } else {
            format!("worker-{}-{kind}{number}", self.0)
        };
        MemberName::new(&name).expect("words and numbers within their limits make a name")
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_coordinator() { f.pad("coordinator") } else { f.pad(&format!("shard-{}", self.0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_need_quoting_are_refused() {
        for bad in ["", "../x", "a'b", "a\"b", "{{", "A", "1a", "a-", "-a", "a_b", "a b", "ä", &"a".repeat(25)] {
            assert!(check_name(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["a", "pgcluster", "host1", "eu-west-1b"] {
            assert_eq!(check_name(good), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn a_members_name_says_its_group() {
        let of = |name| GroupId::of_member(name).map(|group| group.0);
        assert_eq!((of("worker-3-1"), of("worker-30-1"), of("coordinator-2")), (Some(3), Some(30), Some(0)));
        assert_eq!((of("worker-3-reader-1"), of("coordinator-reader-12")), (Some(3), Some(0)));
        assert_eq!(
            (GroupId(9999).reader(99).as_str(), GroupId(0).reader(1).as_str()),
            ("worker-9999-reader-99", "coordinator-reader-1")
        );
        for other in [
            "worker-reader-3-1",
            "coordinator-reader-",
            "worker-3",
            "worker-0-1",
            "worker-3-1-old",
            "worker-x-1",
            "etcd-1",
            "haproxy-1",
            "coordinator-",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn groups_are_named_as_people_speak_of_them() {
        assert_eq!(GroupId(0).to_string(), "coordinator");
        assert_eq!(format!("{:<10}|", GroupId(2)), "shard-2   |");
    }
}
