//! Durations in JSON: whole milliseconds, the unit in the key's name. For `#[serde(with = "…")]` beside a `rename`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

/// As a number.
pub use crate::quantity::as_millis as serialize;
/// Whole milliseconds.
pub use crate::quantity::whole_millis as of;

/// From a number.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

/// The same for what may be missing: `null`.
pub mod option {
    use super::{Deserialize, Deserializer, Duration, Serializer, of};

    /// As a number or `null`.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_some(&of(*duration)),
            None => serializer.serialize_none(),
        }
    }

    /// From a number or `null`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Option::<u64>::deserialize(deserializer).map(|millis| millis.map(Duration::from_millis))
    }
}
