//! Measuring searches: makes tables of its own, fills them with seeded vectors, searches them as clients do, and removes them.
//!
//! The baseline of a search over all shards is one table with the same rows and the same index that lies on one node: with
//! Citus a table of a single shard, so that both are asked through the same coordinator and answered by a shard group's
//! leader with the same resources, and only the spreading differs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use super::VectorError;
use super::client::Connection;
use super::data::{self, Vectors};
use super::explain::{self, Shape};
use super::report::{Kind, SearchFigures, TableFigures, recall};
use super::schema::{Engine, Identifier, Layout, Search, TableSpec, Way};
use crate::consent::Consent;
use crate::context::Interrupt;
use crate::drill::workload::Target;
use crate::output::{Step, Ui};

/// Names of the tables begin so; nothing else is ever removed.
const PREFIX: &str = "pgclusterctl_vector_bench";
/// Searches before each measurement, for each client: connections, caches and plans are warm then.
const WARM: u64 = 2;
/// What was interrupted may hold its locks for a moment.
const REMOVE: &str = "begin; set local lock_timeout = '30s'";

/// What is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchOptions {
    /// Columns and index; its name is not used.
    pub table: TableSpec,
    /// Rows of each table.
    pub rows: u64,
    /// Values of the distribution column.
    pub tenants: u64,
    /// Searches at each setting.
    pub queries: u64,
    /// Connections.
    pub clients: u16,
    /// `hnsw.ef_search`, each.
    pub efs: Vec<u32>,
    /// What all vectors follow from.
    pub seed: u64,
    /// Leave the tables.
    pub keep: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// Each table.
    pub tables: Vec<TableFigures>,
    /// Each ef, each kind.
    pub searches: Vec<SearchFigures>,
    /// Of the server and its extensions.
    pub versions: BTreeMap<String, String>,
    /// Where the one table is.
    pub maintenance_work_mem: String,
}

/// Measures. However it ends, the tables are removed, except on `keep`.
pub async fn run(
    options: &BenchOptions,
    target: &Target,
    citus: bool,
    ui: &Ui,
    interrupt: &Interrupt,
    _consent: &Consent,
) -> Result<Measured, VectorError> {
    let named = |name: String| TableSpec { name: name.parse::<Identifier>().expect("a good name"), ..options.table.clone() };
    let bench = Bench {
        options,
        target,
        citus,
        ui,
        interrupt,
        connection: Connection::open(target).await?,
        sharded: named(PREFIX.to_owned()),
        one: named(format!("{PREFIX}_one")),
        vectors: Vectors::new(options.seed, options.rows, options.table.dims, options.tenants),
    };
    // Of a run that was killed.
    bench.remove().await?;
    let measured = bench.measure().await;
    let removed = if options.keep { Ok(()) } else { bench.remove().await };
    if let (Err(error), Err(_)) = (&removed, &measured) {
        ui.warn(format!("tables named {PREFIX}* are still there ({error}); the next `vector bench` removes them"));
    }
    measured.and_then(|measured| removed.map(|()| measured))
}

struct Bench<'a> {
    options: &'a BenchOptions,
    target: &'a Target,
    citus: bool,
    ui: &'a Ui,
    interrupt: &'a Interrupt,
    connection: Connection,
    sharded: TableSpec,
    one: TableSpec,
    vectors: Vectors,
}

/// A search that was answered.
struct Answer {
    query: usize,
    latency: Duration,
    ids: Vec<u64>,
}

/// Something that is searched for.
struct Query {
    tenant: u64,
    vector: String,
}

impl Bench<'_> {
    async fn run(&self, doing: &str, sql: &str) -> Result<Vec<Vec<String>>, VectorError> {
        self.connection.run(doing, sql, self.interrupt).await
    }

    async fn cell(&self, doing: &str, sql: &str) -> Result<String, VectorError> {
        Ok(self.run(doing, sql).await?.into_iter().flatten().next().unwrap_or_default())
    }

    /// On a connection of its own, which is not the interrupted one, and is not interrupted itself.
    async fn remove(&self) -> Result<(), VectorError> {
        let connection = Connection::open(self.target).await?;
        let (sharded, one) = (&self.sharded.name, &self.one.name);
        let sql = format!("{REMOVE}; drop table if exists \"{sharded}\"; drop table if exists \"{one}\"; commit");
        connection.run("removing the tables", &sql, &Interrupt::default()).await?;
        Ok(())
    }

    async fn measure(&self) -> Result<Measured, VectorError> {
        let mut measured = Measured { versions: self.versions().await?, ..Measured::default() };
        if self.citus {
            measured.tables.push(self.make(&self.sharded, Layout::Apart, None).await?);
        }
        let (layout, from) = if self.citus { (Layout::OneNode, Some(&self.sharded)) } else { (Layout::Plain, None) };
        measured.tables.push(self.make(&self.one, layout, from).await?);
        // Asked over a table of Citus, it is the node of the rows that answers.
        let memory = format!("select max(current_setting('maintenance_work_mem')) from \"{}\"", self.one.name);
        measured.maintenance_work_mem = self.cell("reading a setting", &memory).await?;
        measured.searches = self.searches(iterative(&measured.versions)).await?;
        Ok(measured)
    }

    async fn versions(&self) -> Result<BTreeMap<String, String>, VectorError> {
        let sql = "select extname, extversion from pg_extension where extname in ('citus', 'vector', 'ruvector') \
                   union all select 'postgresql', current_setting('server_version')";
        let rows = self.run("reading versions", sql).await?;
        let versions: BTreeMap<String, String> =
            rows.into_iter().filter_map(|row| Some((row.first()?.clone(), row.get(1)?.clone()))).collect();
        if versions.contains_key(self.options.table.engine.name()) {
            Ok(versions)
        } else {
            Err(VectorError::NoExtension(self.options.table.engine.name()))
        }
    }

    /// Makes a table, fills it from the client or from another table, and builds the index.
    async fn make(&self, spec: &TableSpec, layout: Layout, from: Option<&TableSpec>) -> Result<TableFigures, VectorError> {
        let name = &spec.name;
        for statement in spec.create(layout) {
            self.run("making a table", &statement).await?;
        }
        let rows = self.options.rows;
        let step = Step::start(self.ui, format!("{rows} vectors into {name}"));
        let started = Instant::now();
        match from {
            Some(from) => {
                let sql = format!("insert into \"{name}\" select * from \"{}\"", from.name);
                self.run("copying the rows", &sql).await?;
            }
            None => {
                let copy = format!("copy \"{name}\" (id, \"{}\", embedding, payload) from stdin", spec.distribution);
                self.connection.load(&copy, &self.vectors, rows, self.interrupt).await?;
            }
        }
        let load = started.elapsed();
        let count = self.cell("counting", &format!("select count(*) from \"{name}\"")).await?.parse().unwrap_or_default();
        if count != rows {
            return Err(VectorError::Rows { table: name.to_string(), found: count, wanted: rows });
        }
        step.done("");
        let step = Step::start(self.ui, format!("index of {name}"));
        let started = Instant::now();
        self.run("building the index", &spec.create_index()).await?;
        let build = started.elapsed();
        self.run("collecting statistics", &format!("analyze \"{name}\"")).await?;
        step.done("");
        let (nodes, shards) = self.placements(name).await?;
        let size = if self.citus { "citus_total_relation_size" } else { "pg_total_relation_size" };
        let bytes = self.cell("measuring the size", &format!("select {size}('\"{name}\"')")).await?;
        Ok(TableFigures { table: name.to_string(), shards, nodes, load, build, bytes: bytes.parse().unwrap_or_default() })
    }

    async fn placements(&self, table: &Identifier) -> Result<(Vec<String>, u32), VectorError> {
        if !self.citus {
            return Ok((vec!["coordinator".to_owned()], 1));
        }
        let sql = format!(
            "select n.nodename, count(*) from pg_dist_shard s join pg_dist_placement p using (shardid) \
             join pg_dist_node n on n.groupid = p.groupid and n.noderole = 'primary' \
             where s.logicalrelid = '\"{table}\"'::regclass group by 1 order by 1"
        );
        let rows = self.run("looking where the shards are", &sql).await?;
        let shards = rows.iter().filter_map(|row| row.get(1)?.parse::<u32>().ok()).sum();
        Ok((rows.into_iter().filter_map(|row| row.into_iter().next()).collect(), shards))
    }

    async fn searches(&self, iterative: bool) -> Result<Vec<SearchFigures>, VectorError> {
        let query = |number| {
            let drawn = self.vectors.query(number);
            Query { tenant: drawn.tenant, vector: data::text(&drawn.vector) }
        };
        let queries: Vec<Query> = (0..self.options.queries).map(query).collect();
        let connections = try_join_all((0..self.options.clients).map(|_| Connection::open(self.target))).await?;
        let kinds: &[Kind] =
            if self.citus { &[Kind::OneTenant, Kind::AllShards, Kind::OneTable] } else { &[Kind::OneTenant, Kind::OneTable] };
        let step = Step::start(self.ui, format!("exact answers to {} searches", queries.len()));
        let mut truths = BTreeMap::new();
        for &kind in kinds {
            // Both tables have the same rows.
            if kind != Kind::OneTable || !self.citus {
                truths.insert(kind, self.search(&connections, &queries, kind, Way::Exact).await?.0);
            }
        }
        step.done("");
        let mut figures = Vec::new();
        for &ef in &self.options.efs {
            for &kind in kinds {
                let step = Step::start(self.ui, format!("ef {ef}, {}", kind.as_str()));
                let way = Way::Approximate { ef, iterative: iterative && kind == Kind::OneTenant };
                let warm = usize::try_from(WARM * u64::from(self.options.clients)).unwrap_or(usize::MAX).min(queries.len());
                self.search(&connections, &queries[..warm], kind, way).await?;
                let (answers, took) = self.search(&connections, &queries, kind, way).await?;
                let truth = truths.get(&kind).or_else(|| truths.get(&Kind::AllShards)).map_or(&[][..], Vec::as_slice);
                let found = recall(truth.iter().zip(&answers).map(|(truth, answer)| (&truth.ids[..], &answer.ids[..])));
                let latencies = answers.iter().map(|answer| answer.latency).collect();
                let shape = self.explain(&connections[0], &queries[0], kind, way).await?;
                let one = SearchFigures::of(kind, ef, latencies, took, found, shape);
                step.done(&format!("recall {found}, {} searches a second", one.per_second));
                figures.push(one);
            }
        }
        Ok(figures)
    }

    fn table(&self, kind: Kind) -> &TableSpec {
        if kind == Kind::OneTable || !self.citus { &self.one } else { &self.sharded }
    }

    fn request<'q>(&'q self, query: &'q Query, kind: Kind, way: Way) -> Search<'q> {
        let tenant = (kind == Kind::OneTenant).then_some(query.tenant);
        Search { table: self.table(kind), tenant, vector: &query.vector, way }
    }

    /// All clients search, each one search after another, until all queries are answered; in the order of the queries.
    async fn search(
        &self,
        connections: &[Connection],
        queries: &[Query],
        kind: Kind,
        way: Way,
    ) -> Result<(Vec<Answer>, Duration), VectorError> {
        let next = AtomicUsize::new(0);
        let started = Instant::now();
        let clients = connections.iter().map(|connection| self.client(connection, queries, &next, kind, way));
        let mut answers: Vec<Answer> = try_join_all(clients).await?.into_iter().flatten().collect();
        let took = started.elapsed();
        answers.sort_unstable_by_key(|answer| answer.query);
        Ok((answers, took))
    }

    async fn client(
        &self,
        connection: &Connection,
        queries: &[Query],
        next: &AtomicUsize,
        kind: Kind,
        way: Way,
    ) -> Result<Vec<Answer>, VectorError> {
        let mut answers = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(query) = queries.get(number) else { return Ok(answers) };
            let messages = self.request(query, kind, way).messages(self.citus);
            let sent = Instant::now();
            let rows = connection.run_all("searching", &messages, self.interrupt).await?;
            let latency = sent.elapsed();
            let ids = rows.iter().filter_map(|row| row.first()?.parse().ok()).collect();
            answers.push(Answer { query: number, latency, ids });
        }
    }

    async fn explain(&self, connection: &Connection, query: &Query, kind: Kind, way: Way) -> Result<Shape, VectorError> {
        let messages = self.request(query, kind, way).explain(self.citus);
        let rows = connection.run_all("explaining a search", &messages, self.interrupt).await?;
        Ok(explain::read(rows.iter().flatten().map(String::as_str), &self.table(kind).index()))
    }
}

/// Whether an index goes on searching where a filter left too few rows: pgvector from 0.8.0 on (its changelog).
fn iterative(versions: &BTreeMap<String, String>) -> bool {
    let Some(version) = versions.get(Engine::Pgvector.name()) else { return false };
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or_default());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()) >= (0, 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_goes_on_from_a_version_on() {
        let of = |version: &str| iterative(&BTreeMap::from([("vector".to_owned(), version.to_owned())]));
        assert_eq!([of("0.7.4"), of("0.8.0"), of("0.10.1"), of("1.0")], [false, true, true, true]);
        assert!(!iterative(&BTreeMap::from([("ruvector".to_owned(), "2.0.6".to_owned())])));
    }
}
