//! What a rebalance evens out, by Citus' catalog: a site may have strategies of its own.

/// A row of pg_dist_rebalance_strategy.
#[derive(Debug, Clone, PartialEq)]
pub struct Strategy {
    /// Its name.
    pub name: String,
    /// Followed where none is named.
    pub is_default: bool,
    /// The least threshold that it allows. Citus takes this for a smaller one, with a warning that nobody sees.
    pub minimum: f32,
}

/// What is wrong with the choice of a strategy or a threshold, and what may be chosen.
pub fn unfit(strategies: &[Strategy], name: Option<&str>, threshold: Option<f32>) -> Option<(String, String)> {
    let chosen = strategies.iter().find(|one| name.map_or(one.is_default, |name| one.name == name));
    match (chosen, name, threshold) {
        (None, Some(name), _) => {
            let known: Vec<&str> = strategies.iter().map(|one| one.name.as_str()).collect();
            Some((format!("there is no rebalance strategy {name}"), format!("Citus knows {}", known.join(", "))))
        }
        (Some(Strategy { name, minimum, .. }), _, Some(threshold)) if threshold < *minimum => Some((
            format!("--threshold {threshold} is less than {name} allows"),
            format!("{minimum} is the least; without --threshold it is the strategy's own"),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_is_one_of_the_catalog_and_a_threshold_one_that_it_allows() {
        let strategy = |name: &str, is_default, minimum| Strategy { name: name.into(), is_default, minimum };
        let known =
            [strategy("by_disk_size", true, 0.01), strategy("by_shard_count", false, 0.0), strategy("ours", false, 0.2)];
        let wrong = |name, threshold| unfit(&known, name, threshold);
        assert_eq!(wrong(None, None), None);
        assert_eq!(wrong(Some("ours"), Some(0.2)), None);
        assert_eq!(wrong(Some("by_shard_count"), Some(0.0)), None);
        let (what, hint) = wrong(Some("nope"), None).expect("unknown");
        assert_eq!(what, "there is no rebalance strategy nope");
        assert_eq!(hint, "Citus knows by_disk_size, by_shard_count, ours");
        assert!(wrong(None, Some(0.001)).is_some_and(|(what, _)| what.ends_with("less than by_disk_size allows")));
        assert!(wrong(Some("ours"), Some(0.1)).is_some_and(|(_, hint)| hint.starts_with("0.2 is the least")));
    }
}
