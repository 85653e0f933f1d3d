//! A planned change that meets a transaction which does not end: whatever becomes of the operator, clients go on.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio_postgres::Client;

use super::client::{Target, detail};
use super::harness::{Lab, finished, note};
use super::{RECOVERY, becomes_healthy, leader_of};

/// A write that takes longer is being held back: an attempt to pause lasts two seconds.
const HELD: Duration = Duration::from_secs(1);
/// A pause heals itself after ten seconds at the latest; the rest is for a machine that is busy.
const HEALED: Duration = Duration::from_secs(30);
const SWITCHOVER: [&str; 5] = ["switchover", "--coordinator", "--yes", "--wait", "60s"];

/// A transaction, and seven operators: who gives up, who is killed in mid-pause, who stands still in it with every connection open, who
/// thinks better of it, who waits for its end, who ends the next one, and who cannot wait for one that waits.
pub fn seven_operators(lab: &Lab, runtime: &Runtime, target: &Target) {
    let before = leader_of(lab, "coordinator");
    all_or_none(lab, runtime, target, &before);
    let open = runtime.block_on(begin(target, -1));

    let refused = lab.ctl(&SWITCHOVER[..3]).exits(6);
    for told in ["clients go on", "pid ", "idle in transaction", "insert into written"] {
        assert!(refused.stderr.contains(told), "{told} is missing:\n{}", refused.stderr);
    }
    runtime.block_on(write(target, -2));

    let mut killed = lab.command(&SWITCHOVER).spawn().expect("the binary starts");
    let held = runtime.block_on(while_held(target, -1_000_000, || {
        killed.kill().expect("it can be killed");
        killed.wait().expect("it ends");
    }));
    note(format_args!("a write that was held back when the operator was killed took {:.1} s", held.as_secs_f64()));

    let mut stopped = lab.command(&SWITCHOVER).spawn().expect("the binary starts");
    let held = runtime.block_on(while_held(target, -3_000_000, || signal(&stopped, "-STOP")));
    note(format_args!("a write that was held back when the operator stood still took {:.1} s", held.as_secs_f64()));
    stopped.kill().expect("it can be killed");
    stopped.wait().expect("it ends");

    let started = Instant::now();
    let interrupted = lab.command(&SWITCHOVER).spawn().expect("the binary starts");
    let held = runtime.block_on(while_held(target, -2_000_000, || signal(&interrupted, "-INT")));
    let run = finished(&interrupted.wait_with_output().expect("it ends"), started.elapsed()).exits(130);
    assert!(run.stderr.contains("clients go on"), "{}", run.stderr);
    note(format_args!("a write that was held back when the operator pressed Ctrl-C took {:.1} s", held.as_secs_f64()));
    assert_eq!(leader_of(lab, "coordinator"), before);

    let started = Instant::now();
    let waiting = lab.command(&SWITCHOVER).spawn().expect("the binary starts");
    runtime.block_on(async {
        tokio::time::sleep(2 * HELD).await;
        open.batch_execute("commit").await.unwrap_or_else(|e| panic!("the transaction is lost: {}", detail(&e)));
    });
    let output = waiting.wait_with_output().expect("it ends");
    finished(&output, started.elapsed()).ok();
    assert_ne!(leader_of(lab, "coordinator"), before);
    assert!(runtime.block_on(target.number("select count(*) from written where id < 0")) >= 4);
    becomes_healthy(lab);

    let open = runtime.block_on(begin(target, -4));
    let ended = lab.json(&["switchover", "--coordinator", "--yes", "--kill-after", "1s"]);
    assert_eq!(ended["transactions_ended"], 1, "{ended:#}");
    assert_ne!(ended["from"], ended["to"], "{ended:#}");
    runtime.block_on(open.batch_execute("commit")).expect_err("it was ended");
    assert_eq!(runtime.block_on(target.number("select count(*) from written where id = -4")), 0);
    becomes_healthy(lab);
    break_the_lock(lab, runtime, target);
}

/// One pooler stands still: as it cannot be told to hold its clients back, no other one does either, and the leader stays.
fn all_or_none(lab: &Lab, runtime: &Runtime, target: &Target, leader: &str) {
    const POOLER: &str = "pgbouncer-2";
    lab.docker("host2", "pause", POOLER);
    let refused = lab.ctl(&SWITCHOVER[..3]);
    lab.docker("host2", "unpause", POOLER);
    let refused = refused.exits(4);
    assert!(refused.stderr.contains(&format!("{POOLER} cannot be paused: ")), "{}", refused.stderr);
    note(format_args!("refused after {:.1} s: {}", refused.took.as_secs_f64(), refused.stderr.trim()));
    assert_eq!(leader_of(lab, "coordinator"), leader);
    runtime.block_on(write(target, -6));
    becomes_healthy(lab);
}

/// Somebody's switchover waits for a transaction and holds the lock, when the leader has to change at once.
fn break_the_lock(lab: &Lab, runtime: &Runtime, target: &Target) {
    let before = leader_of(lab, "coordinator");
    let open = runtime.block_on(begin(target, -5));
    let mut waiting = lab.start_command(&SWITCHOVER);
    waiting.until("its switchover", |line| line.starts_with("switchover of "));
    let failover = ["failover", "--coordinator", "--yes"];
    let refused = lab.ctl(&failover).exits(6);
    for told in ["is running `switchover`", "failover --break-lock"] {
        assert!(refused.stderr.contains(told), "{told} is missing:\n{}", refused.stderr);
    }
    let taken = lab.ctl(&[&failover[..], &["--break-lock"]].concat()).ok();
    assert!(taken.stderr.contains("the lock was taken from "), "{}", taken.stderr);
    let ended = waiting.end().exits(7);
    assert!(ended.stderr.contains("another operator took the cluster's lock"), "{}", ended.stderr);
    assert_ne!(leader_of(lab, "coordinator"), before);
    runtime.block_on(open.batch_execute("commit")).expect_err("its leader is another");
    becomes_healthy(lab);
    lab.ctl(&["plan", "--check"]).ok();
}

/// Two transactions, each of which wants a shard that the other one has used, when leadership of their group changes. Citus holds writes
/// back shard by shard: in whatever order, one of them wants what is held back already, and has what Citus waits for.
pub fn crossed_transactions_end(lab: &Lab, runtime: &Runtime, target: &Target) {
    const TABLE: &str = "create table crossing (shard bigint, client int, primary key (shard, client))";
    const TWO_SHARDS: &str = "select min(value)::bigint
         from (select value, get_shard_id_for_distribution_column('crossing', value) as shardid
               from generate_series(1, 1000) as value) as hashed
         join pg_dist_placement using (shardid) where groupid = 1 group by shardid order by 1 limit 2";
    const HELD_BACK: &str = "select count(*) from pg_locks where locktype = 'advisory' and mode = 'AccessExclusiveLock'";
    async fn wants(client: &Client, number: i64, shard: i64, end: &str) {
        let sql = format!("insert into crossing values ({shard}, {number}); {end}");
        client.batch_execute(&sql).await.unwrap_or_else(|e| panic!("client {number}: {}", detail(&e)));
    }
    let before = leader_of(lab, "shard-1");
    let (one, other, [left, right]) = runtime.block_on(async {
        target.batch(TABLE).await;
        target.batch("select create_distributed_table('crossing', 'shard')").await;
        let connect = async || target.connect().await.expect("the VIP takes connections");
        let (one, other) = (connect().await, connect().await);
        let shards = one.query(TWO_SHARDS, &[]).await.expect("a distributed table");
        let shards: Vec<i64> = shards.iter().map(|row| row.get(0)).collect();
        let shards: [i64; 2] = shards.try_into().expect("two shards in a group");
        for (client, number, shard) in [(&one, 1, shards[0]), (&other, 2, shards[1])] {
            client.batch_execute("begin").await.expect("a transaction");
            wants(client, number, shard, "").await;
        }
        (one, other, shards)
    });
    let started = Instant::now();
    let changing = lab.command(&["switchover", "--shard", "1", "--yes"]).spawn().expect("the binary starts");
    runtime.block_on(async {
        while target.number(HELD_BACK).await == 0 {
            assert!(started.elapsed() < RECOVERY, "nothing is held back");
        }
        tokio::join!(wants(&one, 1, right, "commit"), wants(&other, 2, left, "commit"));
    });
    let output = changing.wait_with_output().expect("it ends");
    finished(&output, started.elapsed()).ok();
    assert_ne!(leader_of(lab, "shard-1"), before);
    assert_eq!(runtime.block_on(target.number("select count(*) from crossing")), 4);
    runtime.block_on(target.batch("drop table crossing"));
    becomes_healthy(lab);
}

/// `-INT` is what Ctrl-C sends.
fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill is installed");
    assert!(sent.success());
}

/// A transaction that ends when it is told to.
async fn begin(target: &Target, id: i64) -> Client {
    let client = target.connect().await.expect("the VIP takes connections");
    let sql = format!("begin; insert into written (id) values ({id})");
    client.batch_execute(&sql).await.expect("the table is there");
    client
}

async fn write(target: &Target, id: i64) {
    target.batch(&format!("insert into written (id) values ({id})")).await;
}

/// Writes downwards from a number until a write is held back, does something, and tells how long that write took in all.
async fn while_held(target: &Target, from: i64, act: impl FnOnce()) -> Duration {
    let client = target.connect().await.expect("the VIP takes connections");
    let begun = Instant::now();
    for id in (i64::MIN..=from).rev().take_while(|_| begun.elapsed() < RECOVERY) {
        let started = Instant::now();
        let sql = format!("insert into written (id) values ({id})");
        let write = client.batch_execute(&sql);
        tokio::pin!(write);
        if let Ok(written) = tokio::time::timeout(HELD, &mut write).await {
            written.unwrap_or_else(|e| panic!("a write was turned away: {}", detail(&e)));
            continue;
        }
        act();
        let written = tokio::time::timeout(HEALED, write).await.expect("clients go on without the operator");
        written.unwrap_or_else(|e| panic!("a write was turned away: {}", detail(&e)));
        return started.elapsed();
    }
    panic!("no write was held back within {RECOVERY:?}");
}
