//! Tables that the topology declares: spread when the application has made them, also while it writes; and who asks for most.

use serde_json::Value;
use tokio::runtime::Runtime;

use super::client::{Target, Writer};
use super::harness::{Lab, note};
use super::traffic::sql;

const DECLARED: &str = r#"
[[table]]
name = "items"
distribution_column = "customer"
colocate_with = "orders"

[[table]]
name = "orders"
distribution_column = "customer"

[[table]]
name = "country"
reference = true
"#;

/// Rows before anything is distributed.
const ORDERS: i64 = 5_000;

pub fn spread_under_load(lab: &Lab, runtime: &Runtime, target: &Target) {
    let path = lab.path("topology.toml");
    let before = std::fs::read_to_string(&path).expect("readable");
    lab.ctl(&["schema", "apply", "--yes"]).exits(2);
    std::fs::write(&path, format!("{before}{DECLARED}")).expect("writable");
    assert_eq!(states(lab), ["country not_created", "orders not_created", "items not_created"]);
    lab.ctl(&["plan", "--check"]).ok();

    runtime.block_on(target.batch(&format!(
        "create table country (code text primary key);
         create table orders (id bigint, customer bigint default 7, country text, primary key (customer, id));
         create table items (customer bigint, id bigint, line int, primary key (customer, id, line));
         insert into orders select -n, n % 100, 'x' from generate_series(1, {ORDERS}) n"
    )));
    // What has no rows `up` does by the way; the rest wants a consent of its own.
    let plan = lab.ctl(&["plan", "--check"]).exits(5);
    assert!(plan.stdout.contains("select create_reference_table('public.country')"), "{}", plan.stdout);
    let up = lab.json(&["up", "--yes"]);
    assert_eq!(up["tables_left"], serde_json::json!(["orders", "items"]), "{up:#}");
    assert_eq!(states(lab), ["country as_declared", "orders to_do", "items to_do"]);
    lab.ctl(&["plan", "--check"]).ok();

    // Who waits for a moment is not turned away.
    let writer = runtime.block_on(async { Writer::start(target.patient(), "orders") });
    count_nudges(lab);
    let apply = lab.ctl(&["schema", "apply", "--yes"]).ok();
    note(format_args!("{ORDERS} rows distributed in {:.1} s", apply.took.as_secs_f64()));
    let written = runtime.block_on(writer.finish());
    note(format_args!(
        "{} rows written meanwhile; the longest a write waited: {} ms",
        written.acknowledged.len(),
        written.outage.as_millis()
    ));
    assert_eq!(written.failed, 0, "a write failed");
    assert_ne!(nudges(lab), "0", "Citus may wait for a keepalive that does not come");
    let rows = runtime.block_on(target.number("select count(*) from orders"));
    assert_eq!(rows, ORDERS + written.acknowledged.len() as i64);
    assert_eq!(states(lab), ["country as_declared", "orders as_declared", "items as_declared"]);
    let together = "select count(distinct colocationid) from pg_dist_partition
        where logicalrelid in ('orders'::regclass, 'items'::regclass)";
    assert_eq!(runtime.block_on(target.number(together)), 1);
    lab.ctl(&["plan", "--check"]).ok();

    busy(lab, runtime, target);

    std::fs::write(&path, format!("{before}{}", DECLARED.replace("\"customer\"\n\n", "\"customer\"\nshard_count = 8\n\n")))
        .expect("writable");
    let other = lab.ctl(&["schema", "apply", "--yes"]).exits(6);
    let change = "select alter_distributed_table('public.orders', shard_count => 8, cascade_to_colocated => true)";
    assert!(other.stdout.contains(change), "{}", other.stdout);
    let plan = lab.ctl(&["plan", "--check"]).ok();
    assert!(plan.stdout.contains("orders differs, by customer, 32 shards"), "{}", plan.stdout);

    std::fs::write(&path, before).expect("writable");
    runtime.block_on(target.batch("drop table items, orders, country"));
}

/// Who reads the coordinators' WAL. Patroni leaves a slot alone that has the name and the plugin of one of Citus'.
const READER: &str = "citus_shard_move_slot_9_9_9";

fn count_nudges(lab: &Lab) {
    let slot = format!("select pg_create_logical_replication_slot('{READER}', 'pgoutput')");
    sql(lab, &["--"], &format!("create publication nudges; {slot}"));
}

/// How many there were since [`count_nudges`].
fn nudges(lab: &Lab) -> String {
    let messages = format!(
        "select count(*) from pg_logical_slot_peek_binary_changes('{READER}', null, null, 'proto_version', '1', \
         'publication_names', 'nudges', 'messages', 'true') where position('pgclusterctl'::bytea in data) > 0"
    );
    let count = sql(lab, &["--"], &messages);
    sql(lab, &["--"], &format!("select pg_drop_replication_slot('{READER}'); drop publication nudges"));
    count
}

/// One customer asks for more than all others.
fn busy(lab: &Lab, runtime: &Runtime, target: &Target) {
    lab.ctl(&["tenants", "--reset"]).ok();
    runtime.block_on(async {
        let client = target.connect().await.expect("the VIP takes connections");
        for n in 0..60 {
            let customer = if n % 3 == 0 { 1000 + n } else { 42 };
            client.batch_execute(&format!("select count(*) from orders where customer = {customer}")).await.expect("it reads");
            client.batch_execute(&format!("insert into items values ({customer}, {n}, 1)")).await.expect("it writes");
        }
    });
    let seen = lab.json(&["tenants", "--top", "5"]);
    let first = &seen["tenants"][0];
    assert_eq!(first["tenant"], "42", "{seen:#}");
    let sum =
        |what: &str| ["this_period", "last_period"].iter().filter_map(|period| first[*period][what].as_u64()).sum::<u64>();
    assert_eq!((sum("reads"), sum("writes")), (40, 40), "{seen:#}");
    assert_eq!(seen["tenants"].as_array().map(Vec::len), Some(5), "{seen:#}");
    let place = lab.json(&["shards", "where", "orders", "42"]);
    assert_eq!(first["group"], place["places"][0]["group"], "{seen:#}");
}

/// Each declared table with its state, in the order in which they are spread.
fn states(lab: &Lab) -> Vec<String> {
    let report = lab.json(&["schema", "apply", "--plan"]);
    let declared = |row: &&Value| !row["declared"].is_null();
    let rows = report["tables"].as_array().expect("tables").iter().filter(declared);
    rows.map(|row| format!("{} {}", row["table"].as_str().expect("a name"), row["state"].as_str().expect("a state"))).collect()
}
