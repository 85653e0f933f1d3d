//! Who waits for whom across nodes, and what becomes of transactions that their coordinator has lost.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_postgres::Client;

use super::client::Target;
use super::harness::{Lab, container_of, eventually};
use super::{RECOVERY, leader_of, member_rows};

/// Two transactions on two shards, each waiting for the other: shown, and ended by the operator.
pub fn deadlock(lab: &Lab, runtime: &Runtime, target: &Target) {
    assert_eq!(lab.ctl(&["locks"]).ok().stdout, "Nobody waits for a lock.\n");
    lab.ctl(&["locks", "cancel", "1", "--yes"]).exits(2);
    end_an_idle_one(lab, runtime, target);
    without(lab, "citus.distributed_deadlock_detection_factor = -1", || end_one_of_two(lab, runtime, target));
    eventually("nobody waits", RECOVERY, || match lab.ctl(&["locks"]) {
        run if run.status == 0 => Ok(()),
        run => Err(run.stdout),
    });
}

/// A transaction whose client does nothing has no statement that could be ended.
fn end_an_idle_one(lab: &Lab, runtime: &Runtime, target: &Target) {
    let idle = open(runtime, target, 1);
    let activity = lab.json(&["activity"]);
    let sessions = activity["sessions"].as_array().expect("sessions");
    let found = sessions.iter().find(|one| one["query"] == update(1) && one["state"] == "idle in transaction");
    let gpid = found.unwrap_or_else(|| panic!("{activity:#}"))["gpid"].to_string();
    let refused = lab.ctl(&["locks", "cancel", &gpid, "--yes"]).exits(6);
    assert!(refused.stderr.contains(&format!("locks cancel {gpid} --terminate")), "{}", refused.stderr);
    lab.ctl(&["locks", "cancel", &gpid, "--terminate", "--yes"]).ok();
    assert!(!runtime.block_on(add(&idle, 1)), "its session is ended");
}

fn end_one_of_two(lab: &Lab, runtime: &Runtime, target: &Target) {
    let here = 1;
    let there = runtime.block_on(target.number(&on_another_node(here)));
    let [first, second] = [open(runtime, target, here), open(runtime, target, there)];
    let both = runtime.block_on(async {
        let crossed = [(first, there), (second, here)].map(|(client, id)| tokio::spawn(async move { add(&client, id).await }));
        tokio::time::sleep(Duration::from_secs(1)).await;
        crossed
    });
    let activity = lab.json(&["activity"]);
    let sessions = activity["sessions"].as_array().expect("sessions");
    for id in [here, there] {
        let crossed = sessions.iter().find(|session| session["query"] == update(id));
        assert!(crossed.is_some_and(|session| session["transaction_ms"].as_u64() >= Some(900)), "{}: {activity:#}", update(id));
    }
    let locks = lab.ctl(&["locks", "--format", "json"]).exits(5);
    let locks: Value = serde_json::from_str(&locks.stdout).expect("JSON");
    assert_eq!(locks["cycles"].as_array().map(Vec::len), Some(1), "{locks:#}");
    let victim = locks["cycles"][0]["victim"].as_u64().expect("a victim").to_string();
    assert!(lab.ctl(&["locks"]).exits(5).stdout.contains("deadlock"));
    lab.ctl(&["locks", "cancel", &victim, "--yes"]).ok();
    let ended = runtime.block_on(async {
        let mut ended = Vec::new();
        for one in both {
            ended.push(tokio::time::timeout(RECOVERY, one).await.expect("both go on").expect("no panic"));
        }
        ended
    });
    assert_eq!(ended.iter().filter(|done| **done).count(), 1, "one was ended, the other one went on: {ended:?}");
}

/// A row whose shard is of another group than this row's: a deadlock within one node is ended by PostgreSQL there.
fn on_another_node(id: i64) -> String {
    let group = |id: &str| {
        format!("(select groupid from pg_dist_placement where shardid = get_shard_id_for_distribution_column('ledger', {id}))")
    };
    let here = group(&id.to_string());
    format!("select n from generate_series(1::bigint, 100) n where {} <> {here} order by n limit 1", group("n"))
}

/// Prepared transactions that nobody will end: one was committed by its coordinator, one was not, and one is somebody else's.
pub fn orphans(lab: &Lab) {
    lab.ctl(&["tx", "list"]).ok();
    without(lab, "pgclusterctl.recovery = off", || recover(lab));
}

fn recover(lab: &Lab) {
    let (committed, lost) = ("citus_0_99999_4000000001_1", "citus_0_99999_4000000002_1");
    let begun = Instant::now();
    on_worker(lab, "create table orphan (gid text)");
    for gid in [committed, lost, "mine"] {
        on_worker(lab, &format!("begin; insert into orphan values ('{gid}'); prepare transaction '{gid}'"));
    }
    sql(lab, &["--"], &format!("insert into pg_dist_transaction (groupid, gid) values (1, '{committed}')"));
    let list = lab.ctl(&["tx", "list", "--format", "json"]).exits(5);
    let list: Value = serde_json::from_str(&list.stdout).expect("JSON");
    let node = leader_of(lab, "shard-1");
    for (gid, fate) in [(committed, "commit"), (lost, "rollback"), ("mine", "foreign")] {
        let prepared = list["prepared"].as_array().expect("transactions");
        let found = prepared.iter().find(|one| one["gid"] == gid).unwrap_or_else(|| panic!("{gid}: {list:#}"));
        assert_eq!((&found["fate"], &found["node"]), (&fate.into(), &node.as_str().into()), "{found:#}");
        let age = found["age_ms"].as_u64().expect("an age");
        assert!(age > 0 && u128::from(age) <= begun.elapsed().as_millis(), "{found:#}");
    }
    // What is somebody else's stays, and is said to stay.
    let left = lab.ctl(&["tx", "recover", "--yes", "--format", "json"]).exits(7);
    let left: Value = serde_json::from_str(&left.stdout).expect("JSON");
    assert_eq!(left["prepared"].as_array().map(Vec::len), Some(1), "{left:#}");
    on_worker(lab, "rollback prepared 'mine'");
    lab.ctl(&["tx", "recover", "--yes"]).ok();
    assert_eq!(on_worker(lab, "select string_agg(gid, ',') from orphan"), committed);
    on_worker(lab, "drop table orphan");
}

/// A transaction that has changed one row.
fn open(runtime: &Runtime, target: &Target, id: i64) -> Client {
    runtime.block_on(async {
        let client = target.connect().await.expect("the VIP takes connections");
        client.batch_execute("begin").await.expect("it begins");
        assert!(add(&client, id).await);
        client
    })
}

/// Changes a row; false when it was not allowed to.
async fn add(client: &Client, id: i64) -> bool {
    client.batch_execute(&update(id)).await.is_ok()
}

fn update(id: i64) -> String {
    format!("update ledger set note = note || '.' where id = {id}")
}

/// Does something while a thing is left alone that is done every few seconds otherwise; with this setting it is not.
pub fn without<T>(lab: &Lab, setting: &str, work: impl FnOnce() -> T) -> T {
    let set = |statement: &str| {
        sql(lab, &["--"], statement);
        sql(lab, &["--"], "select pg_reload_conf()");
    };
    set(&format!("alter system set {setting}"));
    // It reads its settings when it wakes.
    std::thread::sleep(Duration::from_secs(3));
    let result = work();
    let name = setting.split(' ').next().unwrap_or(setting);
    set(&format!("alter system reset {name}"));
    result
}

/// Runs statements on the leader of the first shard group.
pub fn on_worker(lab: &Lab, statements: &str) -> String {
    sql(lab, &["--shard", "1", "--"], statements)
}

/// Runs statements as postgres, one by one, in the application's database.
pub fn sql(lab: &Lab, place: &[&str], statements: &str) -> String {
    let each = statements.split(';').map(str::trim).flat_map(|sql| ["-c", sql]);
    let args: Vec<&str> =
        ["psql"].into_iter().chain(place.iter().copied()).chain(["-XAtq", "--dbname", "app"]).chain(each).collect();
    lab.ctl(&args).ok().stdout.trim().to_owned()
}

/// A session that waits for a row loses its client without a word, as with a host that loses its power: it is ended while it waits.
/// It would get the row otherwise, and keep it for as long as TCP takes to find that nobody is told.
pub fn waits_for_nobody(lab: &Lab, runtime: &Runtime, target: &Target) {
    const WAITS: &str = "application_name = 'vanishes' and wait_event_type = 'Lock'";
    const UPDATE: &str = "update vanished set note = note || '+'";
    runtime.block_on(target.batch("create table vanished (note text); insert into vanished values ('')"));
    let leader = leader_of(lab, "coordinator");
    let rows = member_rows(lab);
    let standby = rows.iter().find(|row| row["group"] == "coordinator" && row["member"] != leader.as_str()).expect("a standby");
    let (member, host) = (standby["member"].as_str().expect("a name"), standby["host"].as_str().expect("a name"));

    let holder = runtime.block_on(async {
        let holder = target.connect().await.expect("the VIP takes connections");
        holder.batch_execute(&format!("begin; {UPDATE}")).await.expect("nobody else has the row");
        holder
    });
    let (password, to) = (format!("PGPASSWORD={}", target.password), format!("host={leader} user=app dbname=app"));
    let psql = ["exec", member, "--", "env", "PGAPPNAME=vanishes", &password, "psql", &to, "-c", "begin", "-c", UPDATE];
    let mut waiter = lab.command(&psql).spawn().expect("the binary starts");
    let mut port = 0;
    eventually("it waits", RECOVERY, || {
        port = runtime.block_on(
            target.number(&format!("select coalesce(max(client_port), 0)::bigint from pg_stat_activity where {WAITS}")),
        );
        if port > 0 { Ok(()) } else { Err("nobody does".into()) }
    });
    let rules = |verb: &str| {
        let pid = format!("$(docker inspect --format '{{{{.State.Pid}}}}' {})", container_of(member));
        let drop =
            |chain: &str, side: &str| format!("nsenter -t {pid} -n iptables {verb} {chain} -p tcp --{side} {port} -j DROP");
        lab.on_host(host, &format!("{} && {}", drop("OUTPUT", "sport"), drop("INPUT", "dport")));
    };
    rules("-I");
    eventually("who lost its client waits no more", RECOVERY, || {
        let left = runtime.block_on(target.number("select count(*) from pg_stat_activity where application_name = 'vanishes'"));
        if left == 0 { Ok(()) } else { Err("it waits".into()) }
    });
    rules("-D");
    waiter.kill().expect("it can be killed");
    waiter.wait().expect("it ends");
    runtime.block_on(holder.batch_execute("commit")).expect("it still has the row");
    assert_eq!(runtime.block_on(target.number("select length(note)::bigint from vanished")), 1);
    runtime.block_on(target.batch("drop table vanished"));
}
