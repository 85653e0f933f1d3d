//! A table with vectors, and a small measurement that leaves nothing behind.

use serde_json::Value;
use tokio::runtime::Runtime;

use super::client::Target;
use super::harness::{Lab, note};
use super::traffic::sql;

/// How many shards have an HNSW index, and whether all are fit for use.
const INDEXED: &str =
    "select count(*) filter (where result = 't'), bool_and(success) from run_command_on_shards('documents', $$
    select bool_and(indisvalid) from pg_index join pg_class c on c.oid = indexrelid join pg_am a on a.oid = c.relam
    where indrelid = '%s'::regclass and amname = 'hnsw'$$)";

/// Made, found as wanted, refused as another; searched by an application's own statement.
pub fn a_table(lab: &Lab, runtime: &Runtime, target: &Target) {
    let init = ["vector", "init", "--table", "documents", "--dims", "3", "--yes"];
    let made = lab.json(&init);
    assert_eq!(made["statements"].as_array().map(Vec::len), Some(3), "{made:#}");
    assert_eq!(lab.json(&init)["statements"].as_array().map(Vec::len), Some(0));
    let other = lab.ctl(&["vector", "init", "--table", "documents", "--dims", "4", "--distance", "cosine", "--yes"]).exits(6);
    assert!(other.stderr.contains("embedding is vector(3), not vector(4)"), "{}", other.stderr);
    assert!(other.stderr.contains("vector_l2_ops"), "{}", other.stderr);
    runtime.block_on(async {
        let client = target.connect().await.expect("the VIP takes connections");
        let rows = "insert into documents (id, tenant, embedding) select i, i % 7, array[i, 0, 0]::vector from generate_series(1, 50) i";
        client.batch_execute(rows).await.expect("the application owns it");
        let nearest = "select id from documents order by embedding <-> '[20.2,0,0]' limit 1";
        assert_eq!(client.query_one(nearest, &[]).await.expect("an answer").get::<_, i64>(0), 20);
    });
    let shards =
        runtime.block_on(target.number("select count(*) from pg_dist_shard where logicalrelid = 'documents'::regclass"));
    let indexed = sql(lab, &["--"], INDEXED);
    assert_eq!(indexed, format!("{shards}|t"), "each shard has an index of its own, and it is valid");
    runtime.block_on(target.batch("drop table documents"));
}

/// Every search finds what an exact one finds, near enough, and by the index; the tables are gone afterwards.
pub fn a_measurement(lab: &Lab, runtime: &Runtime, target: &Target, shards: u32) {
    // Of 2000 rows a shard has so few that the planner reads them all at ef 100.
    const ROWS: u64 = 12_000;
    let few = ["--rows", "12000", "--dims", "32", "--queries", "40", "--clients", "4", "--ef", "20,60", "--shards", "6"];
    let report = lab.json(&[&["vector", "bench", "--yes"], &few[..]].concat());
    assert_eq!(report["rows"], ROWS, "{report:#}");
    let figures = |key: &str| report[key].as_array().cloned().unwrap_or_default();
    let tables = figures("tables");
    assert_eq!((tables[0]["shards"].as_u64(), tables[1]["shards"].as_u64()), (Some(6), Some(1)), "{report:#}");
    assert_eq!(tables[0]["nodes"].as_array().map(Vec::len), Some(shards as usize), "{report:#}");
    let searches = figures("searches");
    assert_eq!(searches.len(), 6, "two ef, three kinds: {report:#}");
    for search in searches.iter().filter(|search| search["ef"] == 60) {
        assert!(search["recall"].as_f64().is_some_and(|recall| recall >= 0.9), "{search:#}");
        assert!(search["p50_us"].as_u64() > Some(0) && search["p50_us"].as_u64() <= search["p99_us"].as_u64(), "{search:#}");
    }
    let all: Vec<&Value> = searches.iter().filter(|search| search["kind"] == "all_shards").collect();
    assert!(all.iter().all(|search| search["shards"] == 6 && search["merged"] == true), "{report:#}");
    // A scan of all rows would find all ten, too. One tenant's rows may be read by the primary key.
    for search in searches.iter().filter(|search| search["kind"] != "one_tenant") {
        assert_eq!(search["by_vector_index"], search["shards"], "{search:#}");
    }
    assert_eq!(figures("comparison").len(), 2);
    let left = "select count(*) from pg_class where relname like 'pgclusterctl_vector_bench%'";
    assert_eq!(runtime.block_on(target.number(left)), 0, "a table was left");
    note(format_args!("all shards: {:.0} searches a second at ef 60", all[1]["per_second"].as_f64().unwrap_or_default()));
}
