//! What was measured of vector searches, as data. Pure: arithmetic over latencies and ids.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::schema::Distance;
use crate::quantity::{as_millis, nearest_rank};

/// Version of the JSON document: raised when a key changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// A measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// When it began.
    pub started_at: jiff::Timestamp,
    /// `pgvector` or `ruvector`.
    pub engine: String,
    /// What searches order by.
    pub distance: Distance,
    /// What all vectors follow from.
    pub seed: u64,
    /// Rows in each table.
    pub rows: u64,
    /// Numbers in a vector.
    pub dims: u32,
    /// Values of the distribution column.
    pub tenants: u64,
    /// Edges of a node in the index' graph.
    pub m: u32,
    /// Candidates while it is built.
    pub ef_construction: u32,
    /// Searches at each setting.
    pub queries: u64,
    /// Connections that search at the same time, each one search after another.
    pub clients: u16,
    /// Of programs and extensions.
    pub versions: BTreeMap<String, String>,
    /// Cores of each host, and of the machine that the clients ran on; a host that was not seen is missing.
    pub cores: BTreeMap<String, u32>,
    /// `maintenance_work_mem` of the coordinators: a graph that does not fit is built much more slowly.
    pub maintenance_work_mem: String,
    /// The sharded one first, where there are shards.
    pub tables: Vec<TableFigures>,
    /// By ef, then by kind.
    pub searches: Vec<SearchFigures>,
    /// All shards against one table on one node, by ef; empty in a cluster without shards.
    pub comparison: Vec<Comparison>,
}

/// A table that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Its name.
    pub table: String,
    /// What was run; nothing when it was as wanted.
    pub statements: Vec<String>,
}

/// What is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Rows of one tenant: one shard, or in a cluster without shards a part of the table.
    OneTenant,
    /// All rows, over all shards.
    AllShards,
    /// All rows, in one table on one node.
    OneTable,
}

impl Kind {
    /// In tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OneTenant => "one tenant",
            Self::AllShards => "all shards",
            Self::OneTable => "one table",
        }
    }
}

/// A table that was made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableFigures {
    /// Its name.
    pub table: String,
    /// Shards; 1 for the one on one node.
    pub shards: u32,
    /// Nodes that hold them.
    pub nodes: Vec<String>,
    /// Until all rows were in it. The sharded table is filled by COPY from the client, the other one from it.
    #[serde(rename = "load_ms", serialize_with = "as_millis")]
    pub load: Duration,
    /// Until the index was built, on all shards at the same time.
    #[serde(rename = "build_ms", serialize_with = "as_millis")]
    pub build: Duration,
    /// With all indexes.
    pub bytes: u64,
}

/// Searches of one kind at one ef.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SearchFigures {
    /// What was searched.
    pub kind: Kind,
    /// `hnsw.ef_search`.
    pub ef: u32,
    /// The part of the ten nearest rows that was found, over all searches.
    pub recall: f64,
    /// Median latency as the client saw it, in microseconds.
    pub p50_us: u64,
    /// 95th percentile.
    pub p95_us: u64,
    /// 99th percentile; of less than a hundred searches the longest.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
    /// Searches a second, of all clients together.
    pub per_second: f64,
    /// Shards that a search looks at.
    pub shards: u32,
    /// Those of them where it goes by the vector index.
    pub by_vector_index: u32,
    /// Whether the coordinator merges what the shards found.
    pub merged: bool,
}

/// All shards against one table, at one ef: above 1 is more for all shards.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// `hnsw.ef_search`.
    pub ef: u32,
    /// Searches a second: above 1, shards are faster.
    pub rate_ratio: f64,
    /// Median latency: below 1, shards are faster.
    pub p50_ratio: f64,
    /// Recall of all shards minus that of one table: each shard gives its own ten best, so it is rarely less.
    pub recall_difference: f64,
}

impl SearchFigures {
    /// Latencies of single searches, and how long all of them took.
    pub fn of(
        kind: Kind,
        ef: u32,
        mut latencies: Vec<Duration>,
        took: Duration,
        recall: f64,
        shape: super::explain::Shape,
    ) -> Self {
        latencies.sort_unstable();
        let micros =
            |percent| nearest_rank(&latencies, percent).map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX));
        Self {
            kind,
            ef,
            recall,
            p50_us: micros(50),
            p95_us: micros(95),
            p99_us: micros(99),
            max_us: micros(100),
            per_second: rounded(latencies.len() as f64 / took.as_secs_f64().max(f64::EPSILON), 1.0),
            shards: shape.shards,
            by_vector_index: shape.by_vector_index,
            merged: shape.merged,
        }
    }
}

/// The part of the true nearest that was found, over all searches; 1 when there was nothing to be found.
pub fn recall<'a>(searches: impl IntoIterator<Item = (&'a [u64], &'a [u64])>) -> f64 {
    let (mut found, mut wanted) = (0, 0);
    for (truth, answer) in searches {
        let truth: BTreeSet<&u64> = truth.iter().collect();
        wanted += truth.len();
        found += answer.iter().collect::<BTreeSet<_>>().intersection(&truth).count();
    }
    if wanted == 0 { 1.0 } else { rounded(found as f64 / wanted as f64, 10_000.0) }
}

/// All shards against one table, at every ef that both were searched with.
pub fn compare(searches: &[SearchFigures]) -> Vec<Comparison> {
    let find = |kind, ef| searches.iter().find(|s| s.kind == kind && s.ef == ef);
    let of = |all: &SearchFigures| {
        let one = find(Kind::OneTable, all.ef)?;
        Some(Comparison {
            ef: all.ef,
            rate_ratio: rounded(all.per_second / one.per_second.max(f64::EPSILON), 100.0),
            p50_ratio: rounded(all.p50_us as f64 / (one.p50_us as f64).max(1.0), 100.0),
            recall_difference: rounded(all.recall - one.recall, 10_000.0),
        })
    };
    searches.iter().filter(|s| s.kind == Kind::AllShards).filter_map(of).collect()
}

/// More digits than were measured would be made up.
fn rounded(value: f64, by: f64) -> f64 {
    (value * by).round() / by
}

#[cfg(test)]
mod tests {
    use super::super::explain::Shape;
    use super::*;

    const SHAPE: Shape = Shape { shards: 4, by_vector_index: 4, merged: true };

    fn figures(kind: Kind, ef: u32, millis: &[u64], took: u64) -> SearchFigures {
        let latencies = millis.iter().copied().map(Duration::from_millis).collect();
        SearchFigures::of(kind, ef, latencies, Duration::from_millis(took), 0.9, SHAPE)
    }

    #[test]
    fn recall_counts_what_was_found_of_what_is_nearest() {
        let (truth, all, half): (&[u64], &[u64], &[u64]) = (&[1, 2], &[2, 1], &[2, 9]);
        assert_eq!(recall([(truth, all), (truth, half)]), 0.75);
        assert_eq!(recall([(truth, &[][..])]), 0.0);
        assert_eq!(recall([(&[][..], &[][..])]), 1.0, "a tenant without rows");
        assert_eq!(recall([(truth, &[1, 1][..])]), 0.5, "nobody is found twice");
    }

    #[test]
    fn latencies_are_percentiles_and_a_rate() {
        let hundred: Vec<u64> = (1..=100).rev().collect();
        let figures = figures(Kind::AllShards, 40, &hundred, 500);
        assert_eq!((figures.p50_us, figures.p95_us), (50_000, 95_000));
        assert_eq!((figures.p99_us, figures.max_us), (99_000, 100_000));
        assert_eq!(figures.per_second, 200.0);
    }

    #[test]
    fn shards_are_compared_with_one_table_at_the_same_ef() {
        let mut searches = vec![figures(Kind::OneTenant, 40, &[1], 1), figures(Kind::AllShards, 40, &[2, 2], 2)];
        assert_eq!(compare(&searches), Vec::new());
        searches.push(figures(Kind::OneTable, 100, &[9, 9], 9));
        searches.push(figures(Kind::OneTable, 40, &[4, 4], 4));
        let wanted = Comparison { ef: 40, rate_ratio: 2.0, p50_ratio: 0.5, recall_difference: 0.0 };
        assert_eq!(compare(&searches), [wanted]);
    }
}
