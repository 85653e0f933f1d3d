//! Durations and sizes as people write them: `20s`, `500ms`, `1m`; `16GiB`, `512MB`, `4096`.
//!
//! Called by [`super::resolve`] for every value with a unit. Pure. Two crates exist for this; both accept forms that a reader of
//! a topology would have to look up (`1h 3min`, `2 KiBit`), and neither says what to write instead.

use std::time::Duration;

/// Reads a duration: a whole number directly followed by `ms`, `s`, `m` or `h`. The error is what to write instead.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "write a whole number and a unit: \"500ms\", \"20s\", \"5m\" or \"1h\"";
    let (number, unit) = split(text);
    let number: u64 = number.parse().map_err(|_| EXPECTED.to_owned())?;
    let millis_per_unit: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(EXPECTED.to_owned()),
    };
    let millis = number.checked_mul(millis_per_unit).ok_or_else(|| EXPECTED.to_owned())?;
    Ok(Duration::from_millis(millis))
}

/// Reads a duration as PostgreSQL does, in whole numbers: milliseconds without a unit, else `ms`, `s`, `min`, `h` or `d`.
pub fn parse_postgres_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text.trim());
    let millis_per_unit: u64 = match unit.trim_start() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(millis_per_unit).map(Duration::from_millis)
}

/// Reads a size in bytes: a whole number alone, or directly followed by `kB`, `MB`, `GB`, `TB` (powers of 1000) or
/// `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024). The error is what to write instead.
pub fn parse_size(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "write a whole number and a unit: \"512MiB\", \"16GiB\" or \"2TB\"";
    let (number, unit) = split(text);
    let number: u64 = number.parse().map_err(|_| EXPECTED.to_owned())?;
    let bytes_per_unit: u64 = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(EXPECTED.to_owned()),
    };
    number.checked_mul(bytes_per_unit).ok_or_else(|| EXPECTED.to_owned())
}

/// A size for people: the largest binary unit that leaves a whole number, e.g. `16GiB`.
pub fn show_size(bytes: u64) -> String {
    for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        let factor = 1u64 << shift;
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes}B")
}

/// A duration for people, in the largest unit that leaves a whole number, e.g. `20s`.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".to_owned(),
        m if m % 3_600_000 == 0 => format!("{}h", m / 3_600_000),
        m if m % 60_000 == 0 => format!("{}m", m / 60_000),
        m if m % 1_000 == 0 => format!("{}s", m / 1_000),
        m => format!("{m}ms"),
    }
}

/// Leading digits and what follows them.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_and_sizes_read_as_written() {
        assert_eq!(parse_duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_size("16GiB"), Ok(16 << 30));
        assert_eq!(parse_size("512MB"), Ok(512_000_000));
        assert_eq!(parse_size("4096"), Ok(4096));
        for bad in ["", "s", "20", "20 s", "-1s", "1.5s", "20S", "99999999999999999999s", "18446744073709551615h"] {
            assert!(parse_duration(bad).is_err(), "{bad:?} was accepted");
        }
        for bad in ["", "GiB", "16 GiB", "16G", "1.5GiB", "16gib", "18446744073709551615GiB"] {
            assert!(parse_size(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn postgres_has_units_of_its_own() {
        let read = |text| parse_postgres_duration(text).map(|duration| duration.as_millis());
        assert_eq!(["5000", "5s", "5 s", "1min", "0"].map(read), [5_000, 5_000, 5_000, 60_000, 0].map(Some));
        for bad in ["", "s", "5m", "5S", "1.5s", "-1", "18446744073709551615d"] {
            assert_eq!(read(bad), None, "{bad:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes in any::<u64>(), millis in any::<u32>()) {
            prop_assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
            let duration = Duration::from_millis(u64::from(millis));
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
