//! Names of the two vector extensions, and the statements that make and search tables. Pure text.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::topology::model::VectorEngine;

/// Nearest rows that a search wants: recall is measured of so many.
pub const NEAREST: usize = 10;

/// A vector extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// pgvector: type `vector`.
    Pgvector,
    /// RuVector: type `ruvector`. Names are those of the crate ruvector-postgres 2.0.6 (sql/ruvector--0.3.0.sql, src/lib.rs).
    Ruvector,
}

impl Engine {
    /// The one that the topology names.
    pub fn of(engine: VectorEngine) -> Option<Self> {
        match engine {
            VectorEngine::Pgvector => Some(Self::Pgvector),
            VectorEngine::Ruvector => Some(Self::Ruvector),
            VectorEngine::None => None,
        }
    }

    /// The extension's name, which is its type's, too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pgvector => "vector",
            Self::Ruvector => "ruvector",
        }
    }

    fn ef_search(self) -> &'static str {
        match self {
            Self::Pgvector => "hnsw.ef_search",
            Self::Ruvector => "ruvector.hnsw_ef_search",
        }
    }
}

/// How near two vectors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// Euclidean distance, `<->`.
    #[default]
    L2,
    /// Angle, whatever the lengths, `<=>`.
    Cosine,
    /// Inner product, negated, `<#>`.
    Ip,
}

impl Distance {
    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::Cosine => "cosine",
            Self::Ip => "ip",
        }
    }

    /// The operator that searches order by.
    pub fn operator(self) -> &'static str {
        match self {
            Self::L2 => "<->",
            Self::Cosine => "<=>",
            Self::Ip => "<#>",
        }
    }

    /// The operator class that an index is made with; without it the index would serve another operator, and none be used.
    pub fn operator_class(self, engine: Engine) -> String {
        format!("{}_{}_ops", engine.name(), self.as_str())
    }
}

/// A table's or column's name: what needs no quotes, and leaves room for what is appended to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identifier(String);

impl FromStr for Identifier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        if begins && text.chars().all(inner) && text.len() <= 40 {
            Ok(Self(text.to_owned()))
        } else {
            Err("a name has a-z, 0-9 and _, begins with no digit, and has at most 40 characters".into())
        }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A table with vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    /// Its name, in the schema that the search path leads to.
    pub name: Identifier,
    /// Whose type and index.
    pub engine: Engine,
    /// Numbers in a vector.
    pub dims: u32,
    /// What the index serves.
    pub distance: Distance,
    /// Edges of a node in the index' graph.
    pub m: u32,
    /// Candidates while the graph is built.
    pub ef_construction: u32,
    /// Rows with the same value lie on the same shard; part of the primary key.
    pub distribution: Identifier,
    /// Shards, where it is distributed; `None` is `citus.shard_count`.
    pub shards: Option<u32>,
}

/// Where a table's rows lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// No Citus.
    Plain,
    /// Over all shard groups, with other tables of the same column type and number of shards.
    Distributed,
    /// Over all shard groups, with no other table.
    Apart,
    /// One shard on one shard group, with no other table.
    OneNode,
}

impl TableSpec {
    /// Name of the vector index.
    pub fn index(&self) -> String {
        format!("{}_embedding_hnsw", self.name)
    }

    fn vector(&self) -> String {
        format!("{}({})", self.engine.name(), self.dims)
    }

    /// Columns by name, with their types.
    fn columns(&self) -> BTreeMap<String, String> {
        let distribution = (self.distribution.to_string(), "bigint".to_owned());
        let others = [("id", "bigint".to_owned()), ("embedding", self.vector()), ("payload", "jsonb".to_owned())];
        others.into_iter().map(|(name, kind)| (name.to_owned(), kind)).chain([distribution]).collect()
    }

    /// Statements that make the table, without its vector index.
    pub fn create(&self, layout: Layout) -> Vec<String> {
        let Self { name, distribution, .. } = self;
        let table = format!(
            "create table \"{name}\" (id bigint not null, \"{distribution}\" bigint not null, embedding {} not null, \
             payload jsonb not null default '{{}}', primary key (\"{distribution}\", id))",
            self.vector()
        );
        let shards = self.shards.map(|count| format!(", shard_count => {count}")).unwrap_or_default();
        let distribute = match layout {
            Layout::Plain => return vec![table],
            Layout::Distributed => format!("'{distribution}'{shards}"),
            Layout::Apart => format!("'{distribution}', colocate_with => 'none'{shards}"),
            Layout::OneNode => "null, colocate_with => 'none'".to_owned(),
        };
        vec![table, format!("select create_distributed_table('\"{name}\"', {distribute})")]
    }

    /// The statement that makes the vector index, on every shard.
    pub fn create_index(&self) -> String {
        let Self { name, m, ef_construction, distance, engine, .. } = self;
        format!(
            "create index \"{}\" on \"{name}\" using hnsw (embedding {}) with (m = {m}, ef_construction = {ef_construction})",
            self.index(),
            distance.operator_class(*engine)
        )
    }

    /// What makes of what is there what is wanted: nothing, the index, or everything. An error are the differences.
    pub fn missing(&self, found: Option<&Found>, citus: bool) -> Result<Vec<String>, Vec<String>> {
        let layout = if citus { Layout::Distributed } else { Layout::Plain };
        let Some(found) = found else {
            return Ok(self.create(layout).into_iter().chain([self.create_index()]).collect());
        };
        let differences = self.differences(found, citus);
        if !differences.is_empty() {
            return Err(differences);
        }
        Ok(if found.indexes.is_empty() { vec![self.create_index()] } else { Vec::new() })
    }

    fn differences(&self, found: &Found, citus: bool) -> Vec<String> {
        let mut differences = Vec::new();
        // The application may have added columns.
        for (name, wanted) in self.columns() {
            match found.columns.get(&name) {
                None => differences.push(format!("it has no column {name} ({wanted})")),
                Some(kind) if *kind != wanted => differences.push(format!("{name} is {kind}, not {wanted}")),
                Some(_) => {}
            }
        }
        let key = [self.distribution.to_string(), "id".to_owned()];
        if found.primary_key != key {
            let has = if found.primary_key.is_empty() { "missing".to_owned() } else { found.primary_key.join(", ") };
            differences.push(format!("its primary key is {has}, not {}", key.join(", ")));
        }
        match &found.distribution {
            None if citus => differences.push("it is not distributed".into()),
            Some(column) if *column != key[0] => differences.push(format!("it is distributed by {column}, not {}", key[0])),
            _ => {}
        }
        if let (Some(wanted), Some(has)) = (self.shards, found.shards)
            && wanted != has
        {
            differences.push(format!("it has {has} shards, not {wanted}"));
        }
        let class = self.distance.operator_class(self.engine);
        let wanted = (class.clone(), self.m, self.ef_construction);
        let has = |index: &FoundIndex| (index.operator_class.clone(), index.m, index.ef_construction);
        if !found.indexes.is_empty() && !found.indexes.iter().any(|index| has(index) == wanted) {
            let words = |(class, m, ef): (String, u32, u32)| format!("{class} with m {m}, ef_construction {ef}");
            let all: Vec<String> = found.indexes.iter().map(|index| words(has(index))).collect();
            differences.push(format!("its vector index is {}, not {}", all.join("; "), words(wanted)));
        }
        differences
    }
}

/// A table that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Types by column, as `format_type` writes them.
    pub columns: BTreeMap<String, String>,
    /// Columns of the primary key, in its order.
    pub primary_key: Vec<String>,
    /// The distribution column; empty for one without, `None` when Citus does not know the table.
    pub distribution: Option<String>,
    /// Shards, where it is distributed.
    pub shards: Option<u32>,
    /// HNSW indexes of the column `embedding`.
    pub indexes: Vec<FoundIndex>,
}

/// An HNSW index that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundIndex {
    /// What it serves.
    pub operator_class: String,
    /// As it was made with, or the extension's default.
    pub m: u32,
    /// The same.
    pub ef_construction: u32,
}

impl FoundIndex {
    /// From `pg_class.reloptions`, e.g. `m=16`. What it does not name is pgvector's default: 16 and 64 (its README).
    pub fn read(operator_class: String, options: &[String]) -> Self {
        let option = |name: &str, default| {
            let found = options.iter().filter_map(|o| o.split_once('=')).find(|(key, _)| *key == name);
            found.and_then(|(_, value)| value.parse().ok()).unwrap_or(default)
        };
        Self { operator_class, m: option("m", 16), ef_construction: option("ef_construction", 64) }
    }
}

/// How a search is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By the planner's choice, with so many candidates in the index.
    Approximate {
        /// `hnsw.ef_search`.
        ef: u32,
        /// Whether the index goes on where a filter left too few rows: pgvector from 0.8.0 on.
        iterative: bool,
    },
    /// Every row is looked at.
    Exact,
}

/// A search.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// The table.
    pub table: &'a TableSpec,
    /// Only rows with this value in the distribution column: one shard.
    pub tenant: Option<u64>,
    /// As text.
    pub vector: &'a str,
    /// How.
    pub way: Way,
}

impl Search<'_> {
    /// The search as messages that are sent at once; the last one gives the rows. It is the transaction that carries the settings
    /// to the nodes where the shards are (`citus.propagate_set_commands`), and nothing outlives it in the pooler's connection.
    ///
    /// Each setting is a message of its own: Citus sends the whole message that a SET came in, and with it the search, to the
    /// shards' nodes, which refuse it ("cannot execute a distributed query from a query on a shard", measured with 13.2.2).
    pub fn messages(&self, citus: bool) -> Vec<String> {
        self.with_settings(citus, format!("{}; commit", self.query()))
    }

    /// The same with the plan in place of the rows.
    pub fn explain(&self, citus: bool) -> Vec<String> {
        let mut messages = self.with_settings(citus, format!("explain (costs off) {}; commit", self.query()));
        if citus {
            // Before what makes settings go along.
            messages[0] = messages[0].replacen("begin", "begin; set local citus.explain_all_tasks = on", 1);
        }
        messages
    }

    fn with_settings(&self, citus: bool, last: String) -> Vec<String> {
        let begin = if citus { "begin; set local citus.propagate_set_commands = 'local'" } else { "begin" };
        let mut messages = vec![begin.to_owned()];
        match self.way {
            Way::Exact => messages.push("set local enable_indexscan = off".into()),
            Way::Approximate { ef, iterative } => {
                messages.push(format!("set local {} = {ef}", self.table.engine.ef_search()));
                if iterative {
                    messages.push("set local hnsw.iterative_scan = strict_order".into());
                }
            }
        }
        messages.push(last);
        messages
    }

    fn query(&self) -> String {
        let TableSpec { name, distance, distribution, .. } = self.table;
        let only = self.tenant.map(|tenant| format!(" where \"{distribution}\" = {tenant}")).unwrap_or_default();
        format!("select id from \"{name}\"{only} order by embedding {} '{}' limit {NEAREST}", distance.operator(), self.vector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> TableSpec {
        TableSpec {
            name: "docs".parse().expect("a name"),
            engine: Engine::Pgvector,
            dims: 3,
            distance: Distance::Cosine,
            m: 16,
            ef_construction: 64,
            distribution: "tenant".parse().expect("a name"),
            shards: None,
        }
    }

    fn found() -> Found {
        let columns =
            [("id", "bigint"), ("tenant", "bigint"), ("embedding", "vector(3)"), ("payload", "jsonb"), ("at", "date")];
        Found {
            columns: columns.map(|(name, kind)| (name.to_owned(), kind.to_owned())).into(),
            primary_key: vec!["tenant".into(), "id".into()],
            distribution: Some("tenant".into()),
            shards: Some(32),
            indexes: vec![FoundIndex::read("vector_cosine_ops".into(), &[])],
        }
    }

    #[test]
    fn a_table_is_made_with_its_index_on_every_shard() {
        let made = spec().missing(None, true).expect("nothing is there");
        assert_eq!(
            made,
            [
                "create table \"docs\" (id bigint not null, \"tenant\" bigint not null, embedding vector(3) not null, payload jsonb \
                 not null default '{}', primary key (\"tenant\", id))",
                "select create_distributed_table('\"docs\"', 'tenant')",
                "create index \"docs_embedding_hnsw\" on \"docs\" using hnsw (embedding vector_cosine_ops) with (m = 16, \
                 ef_construction = 64)",
            ]
        );
        assert_eq!(spec().missing(None, false).expect("nothing is there").len(), 2, "without shards it is a plain table");
        let few = TableSpec { shards: Some(6), engine: Engine::Ruvector, ..spec() };
        assert!(few.create(Layout::Apart)[1].ends_with("'tenant', colocate_with => 'none', shard_count => 6)"));
        assert!(few.create(Layout::OneNode)[1].ends_with("null, colocate_with => 'none')"));
        assert!(few.create_index().contains("(embedding ruvector_cosine_ops)"));
    }

    #[test]
    fn what_is_there_is_left_or_completed_or_refused() {
        assert_eq!(spec().missing(Some(&found()), true), Ok(Vec::new()));
        let bare = Found { indexes: Vec::new(), ..found() };
        assert_eq!(spec().missing(Some(&bare), true), Ok(vec![spec().create_index()]));
        let plain = Found { distribution: None, shards: None, ..found() };
        assert_eq!(spec().missing(Some(&plain), false), Ok(Vec::new()));

        let refused = |found: Found| spec().missing(Some(&found), true).expect_err("different").join("; ");
        assert_eq!(refused(plain), "it is not distributed");
        let mut other = found();
        other.columns.insert("embedding".into(), "vector(4)".into());
        assert_eq!(refused(other), "embedding is vector(4), not vector(3)");
        let index = FoundIndex::read("vector_l2_ops".into(), &["m=8".into(), "ef_construction=32".into()]);
        let all = Found {
            columns: BTreeMap::new(),
            primary_key: Vec::new(),
            distribution: Some("id".into()),
            indexes: vec![index],
            ..found()
        };
        let said = refused(all);
        for difference in
            ["no column tenant", "primary key is missing", "distributed by id", "vector_l2_ops with m 8, ef_construction 32"]
        {
            assert!(said.contains(difference), "{said}");
        }
        let few = TableSpec { shards: Some(6), ..spec() };
        assert_eq!(few.missing(Some(&found()), true), Err(vec!["it has 32 shards, not 6".into()]));
    }

    #[test]
    fn settings_go_where_the_shards_are_and_last_as_long_as_the_search() {
        let table = spec();
        let way = Way::Approximate { ef: 40, iterative: true };
        let search = Search { table: &table, tenant: Some(7), vector: "[1,2,3]", way };
        assert_eq!(
            search.messages(true),
            [
                "begin; set local citus.propagate_set_commands = 'local'",
                "set local hnsw.ef_search = 40",
                "set local hnsw.iterative_scan = strict_order",
                "select id from \"docs\" where \"tenant\" = 7 order by embedding <=> '[1,2,3]' limit 10; commit",
            ]
        );
        let exact = Search { tenant: None, way: Way::Exact, ..search };
        assert_eq!(
            exact.messages(false),
            [
                "begin",
                "set local enable_indexscan = off",
                "select id from \"docs\" order by embedding <=> '[1,2,3]' limit 10; commit",
            ]
        );
        assert!(exact.explain(false)[2].starts_with("explain (costs off) select"));
        // It concerns the coordinator; sent along with the search, it would carry that to the shards.
        assert_eq!(
            exact.explain(true)[0],
            "begin; set local citus.explain_all_tasks = on; set local citus.propagate_set_commands = 'local'"
        );
    }

    #[test]
    fn names_that_would_need_quotes_are_refused() {
        for bad in ["", "1a", "a-b", "A", "a\"", "a'; drop table x", &"a".repeat(41)] {
            assert!(bad.parse::<Identifier>().is_err(), "{bad:?}");
        }
    }
}
