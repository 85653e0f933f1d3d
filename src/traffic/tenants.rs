//! Tenants: values of a distribution column, and what is asked for on their behalf.

use serde::Serialize;

/// A value of the distribution column on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tenant {
    /// The value; of a distributed schema its name.
    pub tenant: String,
    /// The group whose leader answered it.
    pub group: String,
    /// That leader, as pg_dist_node names it.
    pub node: String,
    /// In the period that runs.
    pub this_period: Usage,
    /// In the period before.
    pub last_period: Usage,
    /// Tables that lie together and have its rows.
    pub tables: Vec<String>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Queries that read.
    pub reads: u64,
    /// Queries that write.
    pub writes: u64,
    /// Processor time of the node, in milliseconds.
    pub cpu_ms: u64,
}

impl Tenant {
    /// Queries of both periods: one alone says nothing at its beginning.
    fn queries(&self) -> u64 {
        let of = |usage: Usage| usage.reads + usage.writes;
        of(self.this_period) + of(self.last_period)
    }
}

/// Those with the most queries first, among equals those with more processor time; at most `top`. Who asked for nothing is left out.
pub fn busiest(mut tenants: Vec<Tenant>, top: usize) -> Vec<Tenant> {
    tenants.retain(|tenant| tenant.queries() > 0);
    tenants.sort_by_cached_key(|tenant| {
        let cpu = tenant.this_period.cpu_ms + tenant.last_period.cpu_ms;
        (std::cmp::Reverse((tenant.queries(), cpu)), tenant.tenant.clone(), tenant.node.clone())
    });
    tenants.truncate(top);
    tenants
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str, this: (u64, u64, u64), last: (u64, u64, u64)) -> Tenant {
        let usage = |(reads, writes, cpu_ms)| Usage { reads, writes, cpu_ms };
        Tenant {
            tenant: name.into(),
            group: "shard-1".into(),
            node: "worker-1-1".into(),
            this_period: usage(this),
            last_period: usage(last),
            tables: vec!["orders".into()],
        }
    }

    #[test]
    fn the_busiest_of_both_periods_is_first() {
        let all = vec![
            tenant("quiet", (0, 0, 0), (0, 0, 0)),
            tenant("new", (5, 1, 1), (0, 0, 0)),
            tenant("steady", (1, 1, 1), (40, 60, 9)),
            tenant("heavy", (3, 3, 900), (0, 0, 0)),
        ];
        let names = |top| busiest(all.clone(), top).into_iter().map(|t| t.tenant).collect::<Vec<_>>();
        assert_eq!(names(10), ["steady", "heavy", "new"]);
        assert_eq!(names(1), ["steady"]);
    }
}
