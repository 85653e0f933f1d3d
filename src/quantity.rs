//! Quantities, for people and for JSON. A leaf: anyone may use it.

use std::time::Duration;

/// A number of bytes for people: `0 B`, `512 B`, `1.5 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value >= 100.0 { format!("{value:.0} {}", UNITS[unit]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `has 10.0 GiB free, and 11.0 GiB are needed`, where that is no room for so many bytes: a tenth more must be free, for the WAL and the
/// indexes that are written meanwhile.
pub fn shortage(free: u64, coming: u64) -> Option<String> {
    let needed = coming + coming / 10;
    (needed > free).then(|| format!("has {} free, and {} are needed", bytes(free), bytes(needed)))
}

/// Whole milliseconds; what does not fit is the largest number.
pub fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration in JSON: a number, with the unit in the key. For `#[serde(serialize_with = "…")]` beside a `rename`.
pub fn as_millis<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(whole_millis(*duration))
}

/// The smallest value that `percent` of a hundred values do not exceed (nearest rank): always a value that was measured, as
/// interpolation between a few would make up a precision that is not there. `None` of none.
pub fn nearest_rank(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// Milliseconds for people: `12 ms`, `1.4 s`, `3 min`, `2 h`.
pub fn millis(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} ms"),
        1_000..120_000 => format!("{:.1} s", count as f64 / 1000.0),
        120_000..7_200_000 => format!("{} min", count / 60_000),
        _ => format!("{} h", count / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_short_and_have_units() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(950 * 1024 * 1024), "950 MiB");
        assert_eq!(millis(999), "999 ms");
        assert_eq!(millis(1400), "1.4 s");
        assert_eq!(millis(180_000), "3 min");
    }
}
