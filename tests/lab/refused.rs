//! What is refused about shards, before anything is changed: rows that cannot be told apart, and input that means nothing.

use tokio::runtime::Runtime;

use super::SHARDS;
use super::client::Target;
use super::harness::Lab;
use super::rebalance::spread;

/// Rows of a table without a primary key cannot be replicated while clients write. Whatever would move them names the table and the
/// way out, which then works.
pub fn a_table_without_a_key(lab: &Lab, runtime: &Runtime, target: &Target) {
    const ROWS: i64 = 1_000;
    let path = lab.path("topology.toml");
    let seen = || (spread(lab), placed(runtime, target), std::fs::read_to_string(&path).expect("readable"));
    runtime.block_on(async {
        target.batch("create table keyless (id bigint, note text)").await;
        let apart = "colocate_with => 'none', shard_count => 4";
        target.batch(&format!("select create_distributed_table('keyless', 'id', {apart})")).await;
        target.batch(&format!("insert into keyless select n, 'x' from generate_series(1, {ROWS}) n")).await;
    });
    let (shard, home) = place_of(lab, "keyless", "1");
    let away = (home % SHARDS + 1).to_string();
    let home = home.to_string();
    let before = seen();
    let commands: [&[&str]; 4] = [
        &["shards", "move", &shard, "--to", &away, "--yes"],
        &["shards", "drain", "--shard", &home, "--plan"],
        &["shards", "drain", "--shard", &home, "--yes"],
        &["scale", "in", "--shard", &home, "--yes"],
    ];
    for command in commands {
        let refused = lab.ctl(command).exits(6);
        for told in ["keyless has neither a primary key nor a replica identity", "--transfer block-writes"] {
            assert!(refused.stderr.contains(told), "{command:?}\n{}", refused.stderr);
        }
    }
    assert_eq!(seen(), before, "what is refused changes nothing");

    // Shown, and not agreed to.
    let shown = lab.ctl(&["scale", "in", "--shard", &home, "--transfer", "block-writes"]).exits(6);
    assert!(shown.stderr.contains(&format!("Taking shard-{home} out")), "{}", shown.stderr);
    assert_eq!(seen(), before, "what is only shown changes nothing");
    lab.ctl(&["shards", "move", &shard, "--to", &away, "--transfer", "block-writes", "--yes"]).ok();
    assert_eq!(place_of(lab, "keyless", "1").1.to_string(), away);
    assert_eq!(runtime.block_on(target.number("select count(*) from keyless")), ROWS);
    runtime.block_on(target.batch("drop table keyless"));
}

/// Each with its own words, and nothing is moved, split or isolated.
pub fn bad_input(lab: &Lab, runtime: &Runtime, target: &Target) {
    let (shard, _) = place_of(lab, "ledger", "1");
    let before = placed(runtime, target);
    let wrong: [(&[&str], &str); 7] = [
        (&["isolate", "nowhere", "1"], "nowhere is no table that Citus knows"),
        (&["isolate", "ledger", "word"], "\"word\" is no value of ledger.id, whose type is bigint"),
        (&["isolate", "ledger", "9223372036854775808"], "is no value of ledger.id, whose type is bigint"),
        (&["split", "1"], "there is no shard 1 that could be moved"),
        (&["split", "word"], "invalid value 'word'"),
        (&["split", &shard, "--into", "1"], "1 is not in 2..=64"),
        (&["move", &shard, "--to", "9"], "there is no shard-9"),
    ];
    for (words, said) in wrong {
        let run = lab.ctl(&[&["shards"], words, &["--yes"]].concat()).exits(2);
        assert!(run.stderr.contains(said), "{words:?}\n{}", run.stderr);
    }
    // Not a matter of words: commits of the group wait for its only standby.
    let last = lab.ctl(&["scale", "in", "--member", "worker-1-2", "--yes"]).exits(6);
    assert!(last.stderr.contains("there is no standby to wait for"), "{}", last.stderr);
    assert_eq!(placed(runtime, target), before, "what is refused changes nothing");
}

/// The shard of a value, and the number of its group.
pub fn place_of(lab: &Lab, table: &str, value: &str) -> (String, u32) {
    let found = lab.json(&["shards", "where", table, value]);
    let group = found["places"][0]["group"].as_str().expect("a group");
    let number = group.strip_prefix("shard-").and_then(|number| number.parse().ok()).expect("a shard group");
    (found["shard"].to_string(), number)
}

/// One number that says which shards there are, of which hash values, on which groups, and how many jobs moved them.
fn placed(runtime: &Runtime, target: &Target) -> i64 {
    let all = "select hashtextextended(
        string_agg(concat_ws(' ', s.shardid, shardminvalue, shardmaxvalue, groupid), ',' order by s.shardid, groupid),
        (select count(*) from pg_dist_background_job))
        from pg_dist_shard s join pg_dist_placement p using (shardid)";
    runtime.block_on(target.number(all))
}
