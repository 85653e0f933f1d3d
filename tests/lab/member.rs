//! The last coordinator is taken out while it leads and a client writes, and comes back; the operator is killed on the way. A shard group
//! gets a third member, which leads, and goes.

use tokio::runtime::Runtime;

use super::client::{Target, Writer};
use super::harness::{Lab, eventually, note};
use super::traffic::sql;
use super::{RECOVERY, ROWS, becomes_healthy, leader_of, member_rows, read};

const MEMBER: &str = "coordinator-3";

pub fn out_and_back(lab: &Lab, runtime: &Runtime, write: &Target) {
    let path = lab.path("topology.toml");
    let text = || std::fs::read_to_string(&path).expect("readable");
    let before = text();
    let refused = lab.ctl(&["scale", "in", "--member", "coordinator-1", "--yes"]).exits(6);
    assert!(refused.stderr.contains(MEMBER), "it names the one that can go: {}", refused.stderr);
    lab.ctl(&["scale", "in", "--member", "coordinator-4", "--yes"]).exits(2);
    assert_eq!(text(), before, "what is refused changes nothing");
    lead(lab);

    runtime.block_on(write.batch("create table beside (id bigint primary key)"));
    let writer = runtime.block_on(async { Writer::start(write.clone(), "beside") });
    let out = ["scale", "in", "--member", MEMBER, "--yes"];
    read::kill(lab, &out, "stop and remove");
    let listed = "[coordinators]\nhosts = [\"host1\", \"host2\"]\n";
    assert!(text().contains(listed), "the file is written before anything is destroyed: {}", text());
    let run = lab.ctl(&out).ok();
    let written = runtime.block_on(writer.finish());
    note(format_args!("killed and run again it took {:.1} s more; {written}", run.took.as_secs_f64()));
    runtime.block_on(written.is_in("beside", write));
    assert_eq!(runtime.block_on(write.number("select count(*) from ledger")), ROWS);
    runtime.block_on(write.batch("drop table beside"));
    becomes_healthy(lab);
    assert!(member_rows(lab).iter().all(|row| row["member"] != MEMBER));
    lab.ctl(&["plan", "--check"]).ok();
    lab.ctl(&out).exits(2);

    std::fs::write(&path, before).expect("writable");
    let back = lab.ctl(&["up", "--yes"]).ok();
    note(format_args!("it is back after {:.1} s", back.took.as_secs_f64()));
    becomes_healthy(lab);
    assert!(member_rows(lab).iter().any(|row| row["member"] == MEMBER));
    lab.ctl(&["plan", "--check"]).ok();
}

/// A further standby of a shard group is one that may lead: Citus hears of it, and of its end.
pub fn third_of_a_shard_group(lab: &Lab, runtime: &Runtime, write: &Target) {
    const MEMBER: &str = "worker-1-3";
    const RING: &str = "count = 3\nreplicas = 2\n";
    let path = lab.path("topology.toml");
    let text = || std::fs::read_to_string(&path).expect("readable");
    let before = text();
    assert!(before.contains(RING), "{before}");
    let leader = leader_of(lab, "shard-1");
    // What the ring says, and one member more.
    let hosts = [r#""host1", "host2", "host3""#, r#""host2", "host3""#, r#""host3", "host1""#];
    let blocks = hosts.map(|hosts| format!("\n[[shard]]\nhosts = [{hosts}]\n"));
    std::fs::write(&path, before.replacen(RING, "", 1) + &blocks.concat()).expect("writable");
    // Rows of standbys come and go in Patroni's own rounds.
    let is_known_as = |wanted: &str| {
        let role = "select coalesce(max(noderole::text), 'none') from pg_dist_node where nodename = 'worker-1-3'";
        eventually("pg_dist_node knows of it", RECOVERY, || match sql(lab, &["--"], role) {
            role if role == wanted => Ok(()),
            role => Err(format!("{role}, not {wanted}")),
        });
    };

    runtime.block_on(write.batch("create table beside (id bigint primary key)"));
    runtime.block_on(write.batch("select create_distributed_table('beside', 'id')"));
    let writer = runtime.block_on(async { Writer::start(write.patient(), "beside") });
    lab.ctl(&["up", "--yes"]).ok();
    becomes_healthy(lab);
    assert_eq!(leader_of(lab, "shard-1"), leader, "one more standby is no reason to hand leadership over");
    is_known_as("secondary");
    lab.ctl(&["switchover", "--shard", "1", "--to", MEMBER, "--yes"]).ok();
    assert_eq!(leader_of(lab, "shard-1"), MEMBER);
    is_known_as("primary");
    assert_eq!(runtime.block_on(write.number("select count(*) from ledger")), ROWS);

    lab.ctl(&["scale", "in", "--member", MEMBER, "--yes"]).ok();
    let written = runtime.block_on(writer.finish());
    note(format_args!("{written}"));
    runtime.block_on(written.is_in("beside", write));
    runtime.block_on(write.batch("drop table beside"));
    is_known_as("none");
    assert!(member_rows(lab).iter().all(|row| row["member"] != MEMBER));
    let left = &blocks[0].replace(", \"host3\"", "");
    assert!(text().contains(left.trim_end()), "{}", text());
    becomes_healthy(lab);
    std::fs::write(&path, before).expect("writable");
    lab.ctl(&["plan", "--check"]).ok();
}

/// Makes it the leader. Only the synchronous standby can take over; after a change another one may be that.
fn lead(lab: &Lab) {
    for _ in 0..6 {
        if leader_of(lab, "coordinator") == MEMBER {
            return;
        }
        let asked = lab.ctl(&["switchover", "--coordinator", "--to", MEMBER, "--yes"]);
        if asked.status != 0 {
            lab.ctl(&["switchover", "--coordinator", "--yes"]).ok();
        }
        becomes_healthy(lab);
    }
    panic!("{MEMBER} does not come to lead");
}
