//! Edits of files as people write them, and of files as nobody would.

use std::path::Path;

use proptest::prelude::*;

use super::*;

const PATH: &str = "topology.toml";

fn add(text: &str, hosts: &[&str]) -> Result<Edit, EditError> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    add_group(text, Path::new(PATH), &hosts)
}

fn remove(text: &str, group: u32) -> Result<Edit, EditError> {
    remove_group(text, Path::new(PATH), GroupId(group))
}

fn member_out(text: &str, member: &str) -> Result<Edit, EditError> {
    remove_member(text, Path::new(PATH), member)
}

/// What is different: lines that went with `-`, lines that came with `+`.
fn difference(before: &str, after: &str) -> String {
    let diff = similar::TextDiff::from_lines(before, after);
    let changed = diff.iter_all_changes().filter(|change| change.tag() != similar::ChangeTag::Equal);
    changed.map(|change| format!("{}{change}", change.tag())).collect()
}

/// `shard-2: worker-2-1@host2 worker-2-2@host3`, a line for each shard group.
fn places(topology: &Topology) -> Vec<String> {
    let member = |member: &crate::topology::model::Member| format!("{}@{}", member.name, member.host);
    let group = |group: &crate::topology::model::Group| {
        format!(
            "{} {}: {}",
            group.id,
            group.replication.as_str(),
            group.members.iter().map(member).collect::<Vec<_>>().join(" ")
        )
    };
    topology.groups.iter().skip(1).map(group).collect()
}

const HOSTS: &str = "\
schema = 1

[cluster]
name = \"pgcluster\"

[[host]]
name = \"host1\"
address = \"10.0.0.10\"

[[host]]
name = \"host2\"
address = \"10.0.0.11\"

[[host]]
name = \"host3\"
address = \"10.0.0.12\"
";

fn file(shards: &str) -> String {
    format!("{HOSTS}\n{shards}\n# PostgreSQL of every group\n[postgres.parameters]\nwork_mem = \"64MB\" # each\n# the end\n")
}

const RING: &str =
    "# A ring\n[shards]\n# three for a start\ncount = 3   # groups\nreplicas = 2 # members\nreplication = \"sync\" # careful\n";

const BLOCKS: &str = "\
# Placed by hand, for good reasons.

# the first
[[shard]]
hosts = [\"host1\", \"host2\"] # near the clients

# the second
[[shard]]
hosts = [
    \"host2\", # the leader's home
    \"host3\",
]

# the third
[[shard]]
number = 5 # three and four are gone
hosts = [\"host3\", \"host1\"]
replication = \"async\"
";

#[test]
fn a_ring_grows_and_shrinks_by_its_count() {
    let text = file(RING);
    let more = add(&text, &[]).expect("a fourth");
    assert_eq!(difference(&text, &more.text), "-count = 3   # groups\n+count = 4   # groups\n");
    assert_eq!(places(&more.after)[3], "shard-4 sync: worker-4-1@host1 worker-4-2@host2");
    assert_eq!(remove(&more.text, 4).expect("the last").text, text);
}

#[test]
fn a_ring_that_loses_another_group_is_written_out_with_its_comments() {
    let text = file(RING);
    let less = remove(&text, 2).expect("the second");
    assert_eq!(places(&less.after), [places(&less.before)[0].clone(), places(&less.before)[2].clone()]);
    let rest = less.text.strip_prefix(HOSTS).expect("the beginning is untouched");
    assert_eq!(
        rest,
        "\n# A ring\n[shards]\nreplication = \"sync\" # careful\n\n# three for a start\n\n[[shard]]\nhosts = [\"host1\", \"host2\"]\n\n\
         [[shard]]\nhosts = [\"host3\", \"host1\"]\nnumber = 3\n\n# PostgreSQL of every group\n[postgres.parameters]\n\
         work_mem = \"64MB\" # each\n# the end\n"
    );
}

#[test]
fn a_ring_gets_a_group_on_hosts_of_its_own() {
    let text = file("[shards]\ncount = 2\n");
    let more = add(&text, &["host1", "host3"]).expect("a third");
    assert_eq!(
        difference(&text, &more.text),
        "-[shards]\n-count = 2\n+[[shard]]\n+hosts = [\"host1\", \"host2\"]\n+\n+[[shard]]\n+hosts = [\"host2\", \"host3\"]\n+\n\
         +[[shard]]\n+hosts = [\"host1\", \"host3\"]\n"
    );
    assert_eq!(places(&more.after)[2], "shard-3 quorum: worker-3-1@host1 worker-3-2@host3");
}

#[test]
fn blocks_are_added_where_least_is_and_removed_alone() {
    let text = file(BLOCKS);
    let more = add(&text, &[]).expect("a sixth");
    assert_eq!(difference(&text, &more.text), "+[[shard]]\n+hosts = [\"host1\", \"host2\"]\n+\n");
    assert_eq!(places(&more.after)[3], "shard-6 quorum: worker-6-1@host1 worker-6-2@host2");
    assert_eq!(remove(&more.text, 6).expect("the last").text, text);

    let first = remove(&text, 1).expect("the first");
    assert_eq!(
        difference(&text, &first.text),
        "-# the first\n-[[shard]]\n-hosts = [\"host1\", \"host2\"] # near the clients\n-\n+number = 2\n"
    );
    assert!(first.text.contains("# Placed by hand, for good reasons.\n\n# the second\n"), "{}", first.text);
    let second = remove(&text, 2).expect("the second");
    assert!(second.text.contains("\nnumber = 5 # three and four are gone\n"), "{}", second.text);
    let third = remove(&text, 5).expect("the third");
    assert_eq!(third.after.groups.last().map(|group| group.id), Some(GroupId(2)));
    // A number that is free again is given again.
    assert_eq!(places(&add(&third.text, &["host2"]).expect("another third").after)[2], "shard-3 async: worker-3-1@host2");
}

#[test]
fn what_cannot_be_is_said() {
    let text = file(RING);
    let errors = [
        (remove(&text, 9), Exit::Usage),
        (remove(&text, 0), Exit::Usage),
        (remove(&file("[shards]\ncount = 1\n"), 1), Exit::Refused),
        (remove(&file("[shards]\ncount = 0\n"), 1), Exit::Usage),
        (add(&file("[shards]\ncount = 0\n"), &[]), Exit::Refused),
        (add(&text, &["host9"]), Exit::Usage),
        (add(&text, &["host1", "host1"]), Exit::Usage),
        // `sync` with nobody to wait for.
        (add(&text, &["host1"]), Exit::Refused),
        (add(&file("[[shard]]\nnumber = 9999\nhosts = [\"host1\"]\n"), &[]), Exit::Refused),
        (add("shards = 3", &[]), Exit::Topology),
    ];
    for (result, exit) in errors {
        let error = result.expect_err("it cannot be done");
        assert_eq!(error.exit(), exit, "{error}");
        assert!(!error.hints().is_empty(), "{error}");
    }
}

#[test]
fn a_file_in_another_form_is_left_alone() {
    let text = format!("shard = [{{ hosts = [\"host1\"] }}, {{ hosts = [\"host2\"] }}]\n{HOSTS}");
    assert!(matches!(remove(&text, 1), Err(EditError::Moves { .. })));
    let text = format!("shards = {{ count = 2, replicas = 1 }}\n{HOSTS}");
    assert!(add(&text, &[]).expect("a count is a count").text.starts_with("shards = { count = 3, replicas = 1 }\n"));
    let less = remove(&text, 1).expect("written out");
    assert_eq!(places(&less.after), ["shard-2 async: worker-2-1@host2"]);
}

const LISTED: &str = "\
[coordinators] # all of them
hosts = [
    # at home
    \"host1\",
    \"host2\", # near
    # far away
    \"host3\", # and slow
    # no more than three
]

# the only one
[[shard]]
hosts = [\"host1\", \"host2\", \"host3\"] # each
";

#[test]
fn the_last_member_of_a_group_goes_with_what_is_said_of_it() {
    let text = file(LISTED);
    let less = member_out(&text, "coordinator-3").expect("two are left");
    assert_eq!(difference(&text, &less.text), "-    # far away\n-    \"host3\", # and slow\n");
    let less = member_out(&less.text, "worker-1-3").expect("two are left");
    let changed = "-hosts = [\"host1\", \"host2\", \"host3\"] # each\n+hosts = [\"host1\", \"host2\"] # each\n";
    assert_eq!(difference(&file(LISTED), &less.text), format!("-    # far away\n-    \"host3\", # and slow\n{changed}"));
    assert_eq!(places(&less.after), ["shard-1 quorum: worker-1-1@host1 worker-1-2@host2"]);
    // A comment that stays wants its line to end.
    let text = format!("coordinators.hosts = [ \"host1\", \"host2\", # near\n \"host3\" ]\n{HOSTS}");
    let less = member_out(&text, "coordinator-3").expect("two are left");
    assert!(less.text.starts_with("coordinators.hosts = [ \"host1\", \"host2\" # near\n]\n"), "{}", less.text);
}

#[test]
fn what_was_left_to_its_default_is_written_out() {
    let text = file(&RING.replace("replicas = 2", "replicas = 3"));
    let less = member_out(&text, "coordinator-3").expect("two are left");
    assert_eq!(difference(&text, &less.text), "+\n+[coordinators]\n+hosts = [\"host1\", \"host2\"]\n");
    let less = member_out(&text, "worker-2-3").expect("two are left");
    let expected = [
        "shard-1 sync: worker-1-1@host1 worker-1-2@host2 worker-1-3@host3",
        "shard-2 sync: worker-2-1@host2 worker-2-2@host3",
        "shard-3 sync: worker-3-1@host3 worker-3-2@host1 worker-3-3@host2",
    ];
    assert_eq!(places(&less.after), expected);
    assert!(less.text.contains("# three for a start\n"), "{}", less.text);
}

#[test]
fn a_member_that_others_need_stays() {
    let text = file(BLOCKS);
    let said = |text: &str, member: &str| {
        let error = member_out(text, member).expect_err("it stays");
        assert!(!error.hints().is_empty(), "{error}");
        (error.exit(), error.to_string())
    };
    for (member, last) in [("coordinator-1", "coordinator-3"), ("worker-2-1", "worker-2-2")] {
        let (exit, words) = said(&text, member);
        assert!(exit == Exit::Refused && words.contains(&format!("without it {last} would have another name")), "{words}");
    }
    for unknown in ["coordinator-4", "worker-9-1", "coordinator-reader-1"] {
        assert_eq!(said(&text, unknown).0, Exit::Usage);
    }
    assert!(matches!(member_out(&text, "worker-2-2"), Err(EditError::LastStandby { replication: Replication::Quorum, .. })));
    // Where the replication is written, the check of the file says so, at its place.
    let written = text.replace("    \"host3\",\n]", "    \"host3\",\n]\nreplication = \"sync\"");
    assert!(said(&written, "worker-2-2").1.contains("cannot replicate \"sync\" with one member"));
    let alone = member_out(&text, "worker-5-2").expect("its commits wait for nobody");
    assert_eq!(places(&alone.after)[2], "shard-5 async: worker-5-1@host3");
    assert!(matches!(member_out(&alone.text, "worker-5-1"), Err(EditError::OnlyMember { .. })));
    let promised = format!("{text}\n[failover.promise.loss]\ncoordinators = 0\n");
    member_out(&promised, "coordinator-3").expect("two still promise it");
    let host_loss = with_a_promise(&text);
    let (exit, words) = said(&host_loss, "coordinator-2");
    assert!(exit == Exit::Refused && words.contains("cannot be kept"), "{words}");
    let inline = format!("shard = [{{ hosts = [\"host1\", \"host2\"] }}]\n{HOSTS}");
    assert!(matches!(member_out(&inline, "worker-1-2"), Err(EditError::Moves { .. })));
}

/// Two asynchronous coordinators that promise to be there again soon after the loss of a host.
fn with_a_promise(text: &str) -> String {
    format!(
        "{text}\n[coordinators]\nhosts = [\"host1\", \"host2\"]\nreplication = \"async\"\n[failover.promise]\nhost_loss = \"60s\"\n"
    )
}

/// A valid file: a ring or blocks, with zones or without, with comments here and there.
fn some_file() -> impl Strategy<Value = String> {
    let hosts = prop::collection::vec("[a-c]?", 1..6);
    (hosts, 1u32..6, 1usize..4, prop::collection::vec((0usize..6, 0u32..4, any::<bool>()), 1..6), any::<bool>()).prop_map(
        |(zones, count, replicas, blocks, ring)| {
            let mut text = String::from("schema = 1 # one\n[cluster]\nname = \"a\"\n");
            for (index, zone) in zones.iter().enumerate() {
                text += &format!("# host {index}\n[[host]]\nname = \"h{index}\"\naddress = \"192.168.9.{}\"\n", index + 10);
                text += &if zone.is_empty() { String::new() } else { format!("zone = \"{zone}\"\n") };
            }
            let replicas = replicas.min(zones.len());
            if ring {
                return text
                    + &format!(
                        "[shards]\n# how many\ncount = {count} # so many\nreplicas = {replicas}\n[pooler]\n# the end\n"
                    );
            }
            let mut last = 0;
            for (first, gap, comment) in blocks {
                text += if comment { "\n# a word\n" } else { "" };
                text += "[[shard]]\n";
                last += 1 + gap;
                text += &if gap > 0 { format!("number = {last} # from here\n") } else { String::new() };
                let hosts: Vec<String> = (0..replicas).map(|n| format!("\"h{}\"", (first + n) % zones.len())).collect();
                text += &format!("hosts = [{}]\n", hosts.join(", "));
            }
            text + "[pooler]\n# the end\n"
        },
    )
}

fn comments(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_once('#')).map(|(_, comment)| comment).collect()
}

proptest! {
    /// Whatever the file looks like: an edit names, places and numbers nobody else anew, and can be taken back.
    #[test]
    fn nobody_else_is_moved_or_renamed(text in some_file(), pick in any::<prop::sample::Index>(), host in 0usize..9) {
        let (before, _) = parse(&text, Path::new(PATH)).expect("the file is valid");
        let was = places(&before);
        let hosts = [format!("h{}", host % before.hosts.len())];
        for hosts in [&[][..], &hosts[..]] {
            let more = add_group(&text, Path::new(PATH), hosts).expect("one more");
            let (after, _) = parse(&more.text, Path::new(PATH)).expect("it is still valid");
            prop_assert_eq!(&places(&after)[..was.len()], &was[..], "{}", more.text);
            prop_assert_eq!(after.groups.len(), before.groups.len() + 1);
            prop_assert_eq!(&after, &more.after);
            let added = after.groups.last().expect("the new one").id;
            let back = remove_group(&more.text, Path::new(PATH), added).expect("it goes again");
            prop_assert_eq!(places(&back.after), was.clone());
        }
        let gone = pick.index(was.len());
        let group = before.groups[gone + 1].id;
        match remove_group(&text, Path::new(PATH), group) {
            Ok(less) => {
                let (after, _) = parse(&less.text, Path::new(PATH)).expect("it is still valid");
                let mut left = was;
                left.remove(gone);
                prop_assert_eq!(places(&after), left, "{}", less.text);
                prop_assert_eq!(&after.etcd, &before.etcd);
                prop_assert_eq!(&after.proxies, &before.proxies);
                let kept = comments(&less.text);
                let others = comments(&text).into_iter().filter(|c| !["a word", "so many", "from here"].contains(&c.trim()));
                for comment in others {
                    prop_assert!(kept.contains(&comment), "{comment} is gone:\n{}", less.text);
                }
            }
            Err(error) => prop_assert!(was.len() == 1 && matches!(error, EditError::LastGroup { .. }), "{error}"),
        }
    }

    /// The same for one member: all others keep their names and hosts, and every comment that is not about it stays.
    #[test]
    fn no_other_member_is_moved_or_renamed(text in some_file(), pick in any::<prop::sample::Index>()) {
        let (before, _) = parse(&text, Path::new(PATH)).expect("the file is valid");
        let names: Vec<MemberName> = before.members().map(|member| member.name.clone()).collect();
        let name = pick.get(&names);
        let group = before.groups.iter().find(|group| group.members.iter().any(|m| m.name == *name)).expect("its group");
        match member_out(&text, name.as_str()) {
            Ok(less) => {
                let (after, _) = parse(&less.text, Path::new(PATH)).expect("it is still valid");
                let hosts = |topology: &Topology| topology.services();
                let mut left = hosts(&before);
                left.remove(name.as_str());
                prop_assert_eq!(hosts(&after), left, "{}", less.text);
                let kept = comments(&less.text);
                for comment in comments(&text).into_iter().filter(|c| c.trim() != "so many") {
                    prop_assert!(kept.contains(&comment), "{comment} is gone:\n{}", less.text);
                }
            }
            Err(EditError::NotLast { last, .. }) => prop_assert!(last != *name && Some(&last) == group.members.last().map(|m| &m.name)),
            Err(EditError::OnlyMember { .. }) => prop_assert_eq!(group.members.len(), 1),
            Err(EditError::LastStandby { .. }) => {
                prop_assert!(group.members.len() == 2 && group.replication != Replication::Async);
            }
            Err(error) => prop_assert!(false, "{error}\n{text}"),
        }
    }
}
