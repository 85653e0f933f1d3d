//! A planned change that meets a transaction which does not end: whatever becomes of the operator, clients go on.

use std::process::Child;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio_postgres::Client;

use super::client::{Target, detail};
use super::harness::{Lab, finished, note};
use super::{RECOVERY, leader_of};

/// A write that takes longer is being held back: an attempt to pause lasts two seconds.
const HELD: Duration = Duration::from_secs(1);
/// A pause heals itself after ten seconds at the latest; the rest is for a machine that is busy.
const HEALED: Duration = Duration::from_secs(30);
const SWITCHOVER: [&str; 5] = ["switchover", "--coordinator", "--yes", "--wait", "60s"];

/// One transaction, and three operators: who gives up, who is killed in mid-pause, and who waits for its end.
pub fn three_operators(lab: &Lab, runtime: &Runtime, target: &Target) {
    let before = leader_of(lab, "coordinator");
    let open = runtime.block_on(begin(target));

    let refused = lab.ctl(&SWITCHOVER[..3]).exits(6);
    for told in ["clients go on", "pid ", "idle in transaction", "insert into written"] {
        assert!(refused.stderr.contains(told), "{told} is missing:\n{}", refused.stderr);
    }
    runtime.block_on(write(target, -2));

    let mut killed = lab.command(&SWITCHOVER).spawn().expect("the binary starts");
    let held = runtime.block_on(kill_while_held(target, &mut killed));
    note(format_args!("a write that was held back when the operator was killed took {:.1} s", held.as_secs_f64()));

    let started = Instant::now();
    let waiting = lab.command(&SWITCHOVER).spawn().expect("the binary starts");
    runtime.block_on(async {
        tokio::time::sleep(2 * HELD).await;
        open.batch_execute("commit").await.unwrap_or_else(|e| panic!("the transaction is lost: {}", detail(&e)));
    });
    let output = waiting.wait_with_output().expect("it ends");
    finished(&output, started.elapsed()).ok();
    assert_ne!(leader_of(lab, "coordinator"), before);
    assert!(runtime.block_on(target.number("select count(*) from written where id < 0")) >= 3);
}

/// A transaction that ends when it is told to.
async fn begin(target: &Target) -> Client {
    let client = target.connect().await.expect("the VIP takes connections");
    client.batch_execute("begin; insert into written (id) values (-1)").await.expect("the table is there");
    client
}

async fn write(target: &Target, id: i64) {
    target.batch(&format!("insert into written (id) values ({id})")).await;
}

/// Writes until a write is held back, kills the operator, and tells how long that write took in all.
async fn kill_while_held(target: &Target, operator: &mut Child) -> Duration {
    let client = target.connect().await.expect("the VIP takes connections");
    let begun = Instant::now();
    for id in (i64::MIN / 2..).take_while(|_| begun.elapsed() < RECOVERY) {
        let started = Instant::now();
        let sql = format!("insert into written (id) values ({id})");
        let write = client.batch_execute(&sql);
        tokio::pin!(write);
        if let Ok(written) = tokio::time::timeout(HELD, &mut write).await {
            written.unwrap_or_else(|e| panic!("a write was turned away: {}", detail(&e)));
            continue;
        }
        operator.kill().expect("it can be killed");
        operator.wait().expect("it ends");
        let written = tokio::time::timeout(HEALED, write).await.expect("clients go on without the operator");
        written.unwrap_or_else(|e| panic!("a write was turned away: {}", detail(&e)));
        return started.elapsed();
    }
    panic!("no write was held back within {RECOVERY:?}");
}
