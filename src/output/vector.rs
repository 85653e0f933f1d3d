//! `vector init` and `vector bench` as tables.

use super::table::{self, align_right, bytes, millis};
use super::ui::{Report, Ui};
use crate::quantity::whole_millis;
use crate::vector::report::{BenchReport, SearchFigures, TableReport};

impl Report for TableReport {
    fn text(&self, _ui: &Ui) -> String {
        if self.statements.is_empty() {
            format!("{} is as wanted, nothing to do\n", self.table)
        } else {
            format!("{} is made\n", self.table)
        }
    }
}

impl Report for BenchReport {
    fn text(&self, ui: &Ui) -> String {
        let versions: Vec<String> = self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let cores: Vec<String> = self.cores.iter().map(|(name, cores)| format!("{name} {cores}")).collect();
        let mut text = format!(
            "{} rows of {} numbers, {} tenants, {} {}, m {}, ef_construction {}, seed {}\n\
             {} searches at each ef, {} clients, each one search after another\n{}\ncores: {}; maintenance_work_mem {}\n\n",
            self.rows,
            self.dims,
            self.tenants,
            self.engine,
            self.distance.as_str(),
            self.m,
            self.ef_construction,
            self.seed,
            self.queries,
            self.clients,
            versions.join(", "),
            cores.join(", "),
            self.maintenance_work_mem,
        );
        text += &self.tables(ui);
        text += "\n";
        text += &self.searches(ui);
        if !self.comparison.is_empty() {
            text += "\nAll shards against the same rows in one table on one node:\n";
        }
        for one in &self.comparison {
            text += &format!(
                "  ef {}: {:.2} times the rate, {:.2} times the median latency, recall {:+.4}\n",
                one.ef, one.rate_ratio, one.p50_ratio, one.recall_difference
            );
        }
        text
    }
}

impl BenchReport {
    fn tables(&self, ui: &Ui) -> String {
        let mut table = table::table(&["table", "shards", "load", "index", "size", "nodes"]);
        (1..=4).for_each(|column| align_right(&mut table, column));
        for one in &self.tables {
            table.add_row([
                one.table.clone(),
                one.shards.to_string(),
                millis(whole_millis(one.load)),
                millis(whole_millis(one.build)),
                bytes(one.bytes),
                one.nodes.join(", "),
            ]);
        }
        table::render_for(table, ui)
    }

    fn searches(&self, ui: &Ui) -> String {
        let heads = ["search", "ef", "recall@10", "p50 ms", "p95 ms", "p99 ms", "searches/s", "shards by index"];
        let mut table = table::table(&heads);
        (1..heads.len()).for_each(|column| align_right(&mut table, column));
        for SearchFigures { kind, ef, recall, p50_us, p95_us, p99_us, per_second, shards, by_vector_index, .. } in
            &self.searches
        {
            let latency = |micros: &u64| format!("{:.1}", *micros as f64 / 1000.0);
            table.add_row([
                kind.as_str().to_owned(),
                ef.to_string(),
                format!("{recall:.4}"),
                latency(p50_us),
                latency(p95_us),
                latency(p99_us),
                format!("{per_second:.0}"),
                format!("{by_vector_index}/{shards}"),
            ]);
        }
        table::render_for(table, ui)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::vector::explain::Shape;
    use crate::vector::report::{Kind, SCHEMA_VERSION, TableFigures, compare};
    use crate::vector::schema::Distance;

    fn report() -> BenchReport {
        let ms = Duration::from_millis;
        let figures = |kind, ef, p50, shards, merged| {
            let latencies = (1..=100).map(|n| ms(p50) + ms(n) / 50).collect();
            let shape = Shape { shards, by_vector_index: shards, merged };
            SearchFigures::of(kind, ef, latencies, ms(25 * p50), 0.9731, shape)
        };
        let searches = vec![
            figures(Kind::OneTenant, 40, 3, 1, false),
            figures(Kind::AllShards, 40, 12, 32, true),
            figures(Kind::OneTable, 40, 6, 1, false),
        ];
        let table = |name: &str, shards, nodes: &[&str]| TableFigures {
            table: name.to_owned(),
            shards,
            nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
            load: ms(2_400),
            build: ms(31_000),
            bytes: 42 << 20,
        };
        BenchReport {
            schema_version: SCHEMA_VERSION,
            cluster: "pgcluster".into(),
            started_at: jiff::Timestamp::UNIX_EPOCH,
            engine: "pgvector".into(),
            distance: Distance::L2,
            seed: 1,
            rows: 20_000,
            dims: 128,
            tenants: 64,
            m: 16,
            ef_construction: 64,
            queries: 100,
            clients: 4,
            versions: BTreeMap::from([("citus".into(), "13.2-1".into()), ("vector".into(), "0.8.0".into())]),
            cores: BTreeMap::from([("client".into(), 8), ("host1".into(), 2)]),
            maintenance_work_mem: "64MB".into(),
            tables: vec![
                table("pgclusterctl_vector_bench", 32, &["worker-1-1", "worker-2-1"]),
                table("pgclusterctl_vector_bench_one", 1, &["worker-1-1"]),
            ],
            comparison: compare(&searches),
            searches,
        }
    }

    #[test]
    fn a_measurement_as_a_table_and_as_json() {
        let ui = Ui::new(false, true, false, false);
        insta::assert_snapshot!("a_measurement", report().text(&ui));
        insta::assert_json_snapshot!("a_measurement_as_json", report());
    }
}
