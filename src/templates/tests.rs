//! What must hold of every rendering, on a topology built by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::artifacts::{Kind, Layer, SECRETS};
use super::*;
use crate::topology::ids::{ClusterName, GroupId, HostName, MemberName};
use crate::topology::model::*;
use crate::topology::{Promise, timing};

fn host_name(n: usize) -> HostName {
    HostName::new(&format!("host{n}")).expect("valid")
}

fn member_name(text: &str) -> MemberName {
    MemberName::new(text).expect("valid")
}

fn host(n: usize) -> Host {
    Host {
        name: host_name(n),
        address: std::net::Ipv4Addr::new(10, 0, 0, 9 + u8::try_from(n).expect("small")),
        ssh: Ssh {
            user: "root".into(),
            port: 22,
            identity: None,
            known_hosts: PathBuf::from("/root/.ssh/known_hosts"),
            host_key: None,
        },
        labels: BTreeMap::new(),
        zone: String::new(),
    }
}

fn group(id: u32, replication: Replication, hosts: &[usize]) -> Group {
    let id = GroupId(id);
    let name = |n: usize| {
        if id.is_coordinator() { format!("coordinator-{n}") } else { format!("worker-{}-{n}", id.0) }
    };
    let members = hosts
        .iter()
        .enumerate()
        .map(|(n, host)| Member { name: member_name(&name(n + 1)), host: host_name(*host), group: id })
        .collect();
    Group { id, replication, members, readers: Vec::new() }
}

/// The default cluster on three hosts: three coordinators and a ring of three shard groups.
fn topology() -> Topology {
    let limits = Resources { cpus: 1.5, memory: 3 << 30, storage: 0 };
    Topology {
        name: ClusterName::new("pgcluster").expect("valid"),
        database: "app".into(),
        postgres: 17,
        hosts: (1..=3).map(host).collect(),
        network: Network {
            coordinator: "10.0.1.0/26".parse().expect("valid"),
            worker: "10.0.1.64/26".parse().expect("valid"),
            admin: "10.0.1.128/26".parse().expect("valid"),
            mtu: 1450,
            encrypted: false,
            vip: Some(Vip { address: "10.0.0.100/24".parse().expect("valid"), interface: "eth0".into(), router_id: 51 }),
        },
        etcd: (1..=3).map(|n| EtcdMember { name: member_name(&format!("etcd-{n}")), host: host_name(n) }).collect(),
        groups: vec![
            group(0, Replication::Sync, &[1, 2, 3]),
            group(1, Replication::Quorum, &[1, 2]),
            group(2, Replication::Quorum, &[2, 3]),
            group(3, Replication::Async, &[3, 1]),
        ],
        proxies: vec![
            Proxy { ordinal: 1, host: host_name(1), reads: Reads::Any },
            Proxy { ordinal: 2, host: host_name(2), reads: Reads::Any },
        ],
        failover: Timings {
            ttl: Duration::from_secs(20),
            loop_wait: Duration::from_secs(1),
            retry_timeout: Duration::from_secs(3),
            primary_start_timeout: Duration::ZERO,
            maximum_lag_on_failover: 1 << 20,
        },
        guard: Guard { enabled: true, margin: Duration::from_millis(300) },
        promise: Promise::default(),
        citus: Some(Citus { shard_count: 32 }),
        tables: Vec::new(),
        vector: VectorEngine::Pgvector,
        resources: BTreeMap::from([(Role::Worker, limits)]),
        parameters: BTreeMap::from([("log_statement".into(), "ddl".into())]),
        pooler: Pooler { max_client_conn: 1000, default_pool_size: 25 },
        images: Images {
            node: "pgclusterctl/node:dev".into(),
            etcd: "pgclusterctl/etcd:dev".into(),
            proxy: "pgclusterctl/proxy:dev".into(),
            guard: "pgclusterctl/guard:dev".into(),
            from_registry: false,
        },
    }
}

fn rendered(topology: &Topology) -> Artifacts {
    render(topology).expect("renders")
}

/// Names of the services whose part of the stack file is another.
fn changed_services(before: &Artifacts, after: &Artifacts) -> BTreeSet<String> {
    let hashes = |a: &Artifacts| a.services.iter().map(|s| (s.name.to_string(), s.hash.clone())).collect::<BTreeSet<_>>();
    hashes(before).symmetric_difference(&hashes(after)).map(|(name, _)| name.clone()).collect()
}

#[test]
fn the_same_topology_gives_the_same_names_and_hashes() {
    assert_eq!(rendered(&topology()), rendered(&topology()));
}

#[test]
fn names_hold_the_hash_of_the_content_and_fit_swarm() {
    let mut topology = topology();
    topology.name = ClusterName::new(&"c".repeat(24)).expect("valid");
    let artifacts = rendered(&topology);
    for (name, file) in &artifacts.configs {
        assert!(name.ends_with(&artifacts::short_hash(&file.text)), "{name}");
        assert!(name.len() <= 64, "{name}");
        assert_eq!(name, &file.name);
    }
    let mounted: BTreeSet<&String> = artifacts.services.iter().flat_map(|s| &s.configs).collect();
    assert_eq!(mounted, artifacts.configs.keys().collect());
}

#[test]
fn a_hash_is_of_the_fragment_and_the_fragment_has_no_hash() {
    for service in rendered(&topology()).services {
        assert_eq!(service.hash, artifacts::short_hash(&service.fragment));
        assert!(!service.fragment.contains(&service.hash));
        assert!(!service.fragment.contains(artifacts::LABEL_HASH) && !service.fragment.contains(artifacts::LABEL_FRAGMENT));
    }
}

/// The stack file adds the hash by appending to the fragment's last mapping, which must therefore be the labels.
#[test]
fn a_fragment_ends_with_its_labels() {
    for service in rendered(&topology()).services {
        assert!(
            service.fragment.ends_with("  labels:\n    pgclusterctl.cluster: pgcluster\n"),
            "{}: {}",
            service.name,
            service.fragment
        );
    }
}

#[test]
fn moving_a_proxy_changes_its_own_services_and_who_names_its_address() {
    let before = topology();
    let mut after = topology();
    after.proxies[1].host = host_name(3);
    let changed = changed_services(&rendered(&before), &rendered(&after));
    // keepalived-1 has the other's address as its peer.
    let expected = ["haproxy-2", "keepalived-1", "keepalived-2", "pgbouncer-2"].map(String::from);
    assert_eq!(changed, BTreeSet::from(expected));
}

#[test]
fn pooler_settings_change_no_database() {
    let before = topology();
    let mut after = topology();
    after.pooler.max_client_conn = 2000;
    let changed = changed_services(&rendered(&before), &rendered(&after));
    assert!(changed.iter().all(|name| name.starts_with("haproxy-") || name.starts_with("pgbouncer-")), "{changed:?}");
}

/// Whatever can be changed while PostgreSQL runs goes through etcd: a member that need not restart must not.
#[test]
fn settings_and_timings_restart_nothing() {
    let before = topology();
    let mut after = topology();
    after.parameters.insert("work_mem".into(), "64MB".into());
    after.failover.loop_wait = Duration::from_secs(2);
    after.groups[1].replication = Replication::Async;
    let (before, after) = (rendered(&before), rendered(&after));
    assert_eq!(changed_services(&before, &after), BTreeSet::new());
    assert_ne!(before.dynamic, after.dynamic);
}

/// An index of RuVector finds nothing where it is scanned for rows alone.
#[test]
fn ruvector_is_never_asked_for_rows_without_an_order() {
    let index_only = |topology: &Topology| {
        let settings = rendered(topology).dynamic.into_values();
        settings.map(|group| group["postgresql"]["parameters"]["enable_indexonlyscan"].clone()).collect::<Vec<_>>()
    };
    assert!(index_only(&topology()).iter().all(serde_json::Value::is_null));
    let ruvector = Topology { vector: VectorEngine::Ruvector, ..topology() };
    assert_eq!(index_only(&ruvector), vec!["off"; ruvector.groups.len()]);
}

/// `observe` and `health` know these backends, and the leader's servers in the last one, by name.
#[test]
fn haproxys_backends_have_the_names_that_others_know() {
    let artifacts = rendered(&topology());
    let service = artifacts.service("haproxy-1").expect("rendered");
    let text = &artifacts.configs[&service.configs[0]].text;
    let backends: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("backend ")).collect();
    assert_eq!(backends, ["poolers", "leader_tls", "coordinator_leader", "standbys", "leader_for_reads"]);
    let (standbys, leader) = text.split_once("backend leader_for_reads").expect("the backend that stands in for the standbys");
    assert!(leader.contains("    server leader-coordinator-1 coordinator-1:5432 ") && !standbys.contains("server leader-"));
}

/// Who waits longer must not be given up by whom it waits for: PgBouncer for HAProxy, that for its own script.
#[test]
fn whoever_waits_for_a_leader_is_more_patient_than_the_next_one_on_the_way() {
    let script = include_str!("../../images/proxy/leader.lua");
    let constant = |name: &str| -> u64 {
        let value = script.lines().find_map(|l| l.strip_prefix(&format!("local {name} = "))).expect("a constant of the script");
        value.parse().expect("a number")
    };
    let wait = Duration::from_millis(constant("PAUSE_MS") * constant("PAUSES"));
    let route = timing::LEADER_ROUTE;
    assert!(wait + Duration::from_millis(250) <= route.patience, "{wait:?}");
    assert!(route.patience + 2 * route.connect <= route.handshake);
    assert!(route.handshake < timing::POOLER_CONNECT_TIMEOUT);
}

/// Sessions of a leader that stands still must not outlast the guard's patience with it.
#[test]
fn a_leader_that_stands_still_is_out_before_the_next_one_leads() {
    let check = timing::SERVER_CHECK;
    let out = check.up + (timing::LEADER_ROUTE.check * check.fall) + check.changing * (check.fall - 1);
    let topology = topology();
    assert!(out < topology.guard.revokes_after(&topology.failover), "{out:?}");
}

/// The part of a configuration that belongs to a backend of HAProxy.
fn backend<'a>(artifacts: &'a Artifacts, proxy: &str, name: &str) -> &'a str {
    let service = artifacts.service(proxy).expect("rendered");
    let text = &artifacts.configs[&service.configs[0]].text;
    let (_, rest) = text.split_once(&format!("backend {name}\n")).expect("it has the backend");
    rest.split("\n\n").next().unwrap_or_default()
}

#[test]
fn a_reader_has_no_vote_and_serves_reads_alone() {
    let mut topology = topology();
    topology.hosts.push(host(4));
    let reader = Member { name: GroupId(0).reader(1), host: host_name(4), group: GroupId(0) };
    topology.groups[0].readers.push(reader.clone());
    let settings = |artifacts: &Artifacts, name: &str| {
        artifacts.configs[&artifacts.service(name).expect("rendered").configs[0]].text.clone()
    };
    let artifacts = rendered(&topology);
    let own = settings(&artifacts, "coordinator-reader-1");
    assert!(own.contains("\ntags:\n  nofailover: true\n  nosync: true\n") && own.contains("\n  clonefrom: true\n"), "{own}");
    assert!(!settings(&artifacts, "coordinator-2").contains("tags:"));
    let serves = |name| backend(&artifacts, "haproxy-1", name).contains("server coordinator-reader-1 ");
    let read_from = ["coordinator_leader", "standbys", "leader_for_reads"].map(serves);
    assert_eq!(read_from, [false, true, false]);
    // Nothing that its group shares changes, or all members would have to restart.
    let mut without = topology.clone();
    without.groups[0].readers.clear();
    assert_eq!(rendered(&without).dynamic, artifacts.dynamic);
    assert_eq!(
        changed_services(&rendered(&without), &artifacts),
        ["coordinator-reader-1", "haproxy-1", "haproxy-2"].map(str::to_owned).into()
    );
    topology.hosts[3].zone = "far".into();
    assert!(!settings(&rendered(&topology), "coordinator-reader-1").contains("clonefrom"));
}

#[test]
fn a_proxy_may_prefer_what_is_near() {
    let mut topology = topology();
    for (host, zone) in topology.hosts.iter_mut().zip(["east", "east", "west"]) {
        host.zone = zone.into();
    }
    let near = |topology: &Topology| {
        let artifacts = rendered(topology);
        let standbys = backend(&artifacts, "haproxy-1", "standbys").to_owned();
        let far = standbys
            .lines()
            .filter(|line| line.ends_with(" backup"))
            .map(|line| line.trim().split(' ').nth(1).map(str::to_owned));
        (standbys.contains("option allbackups"), far.flatten().collect::<Vec<_>>())
    };
    assert_eq!(near(&topology), (false, Vec::new()));
    topology.proxies[0].reads = Reads::Zone;
    assert_eq!(near(&topology), (true, vec!["coordinator-3".to_owned()]));
}

#[test]
fn replication_is_said_in_patronis_words() {
    let dynamic = rendered(&topology()).dynamic;
    let mode = |group| &dynamic[&GroupId(group)]["synchronous_mode"];
    assert_eq!((mode(0), mode(1), mode(3)), (&true.into(), &"quorum".into(), &false.into()));
}

#[test]
fn the_operators_parameters_win() {
    let mut topology = topology();
    topology.parameters.insert("tcp_user_timeout".into(), "30s".into());
    let parameters = &rendered(&topology).dynamic[&GroupId(1)]["postgresql"]["parameters"];
    assert_eq!(parameters["tcp_user_timeout"], "30s");
    assert_eq!(parameters["log_statement"], "ddl");
    assert_eq!(parameters["ssl"], "on");
}

#[test]
fn secrets_are_known_and_each_is_mounted_somewhere() {
    let known: BTreeSet<String> = SECRETS.iter().map(|name| format!("pgcluster-{name}")).collect();
    let mounted: BTreeSet<String> = rendered(&topology()).services.into_iter().flat_map(|s| s.secrets).collect();
    assert_eq!(mounted, known);
}

#[test]
fn a_stack_file_declares_what_its_services_use_and_no_more() {
    let topology = topology();
    let artifacts = rendered(&topology);
    let pooler = artifacts.service("pgbouncer-1").expect("rendered");
    let text = stack_file(&topology, &artifacts, &[pooler], false);
    let heads: Vec<&str> = text.lines().filter(|l| !l.starts_with([' ', '#']) && !l.is_empty()).collect();
    assert_eq!(heads, ["version: \"3.9\"", "services:", "networks:", "volumes:", "configs:", "secrets:"]);
    assert!(text.contains("name: pgcluster-admin") && !text.contains("name: pgcluster-worker"));
    assert!(!text.contains("haproxy-1:") && !text.contains("stats-password"));
}

#[test]
fn dollars_survive_compose() {
    let mut topology = topology();
    topology.images.etcd = "registry.example.com/a$b:1".into();
    let artifacts = rendered(&topology);
    let service = artifacts.service("etcd-1").expect("rendered");
    assert!(service.fragment.starts_with("image: \"registry.example.com/a$$b:1\"\n"), "{}", service.fragment);
    let text = stack_file(&topology, &artifacts, &[service], true);
    // Compose reads the label's `$$$$` as `$$`: the label's text is the fragment.
    assert!(text.contains("          image: \"registry.example.com/a$$$$b:1\"\n"), "{text}");
}

#[test]
fn quotes_and_newlines_cannot_leave_their_value() {
    let mut topology = topology();
    topology.images.etcd = "x\"\n  privileged: true".into();
    let artifacts = rendered(&topology);
    let fragment = &artifacts.service("etcd-1").expect("rendered").fragment;
    assert_eq!(fragment.lines().next(), Some(r#"image: "x\"\n  privileged: true""#));
}

#[test]
fn limits_are_halved_for_the_reservation_and_zero_is_no_limit() {
    let artifacts = rendered(&topology());
    let worker = &artifacts.service("worker-1-1").expect("rendered").fragment;
    assert!(worker.contains("    limits:\n      cpus: \"1.5\"\n      memory: \"3221225472\"\n"), "{worker}");
    assert!(worker.contains("    reservations:\n      cpus: \"0.75\"\n      memory: \"1610612736\"\n"), "{worker}");
    assert!(!artifacts.service("etcd-1").expect("rendered").fragment.contains("resources:"));
}

#[test]
fn without_citus_nothing_of_it_is_rendered() {
    let mut topology = topology();
    topology.citus = None;
    topology.groups.truncate(1);
    let artifacts = rendered(&topology);
    for (name, file) in &artifacts.configs {
        assert!(!file.text.contains("citus"), "{name}");
    }
    assert!(!artifacts.dynamic[&GroupId::COORDINATOR].to_string().contains("citus"));
    let patroni = |a: &Artifacts| {
        let service = a.service("coordinator-1").expect("rendered");
        a.configs[&service.configs[0]].text.clone()
    };
    // With Citus, nodes reach each other as postgres; without it nobody has a reason to.
    assert!(patroni(&artifacts).contains("- host all postgres all reject"));
    assert!(!patroni(&rendered(&super::tests::topology())).contains("postgres all reject"));
}

#[test]
fn without_a_vip_there_is_no_keepalived() {
    let mut topology = topology();
    topology.network.vip = None;
    assert!(rendered(&topology).services.iter().all(|s| s.kind != Kind::Keepalived));
}

#[test]
fn three_proxies_wait_differently_long() {
    let mut topology = topology();
    topology.proxies.push(Proxy { ordinal: 3, host: host_name(3), reads: Reads::Any });
    let artifacts = rendered(&topology);
    let adverts: Vec<u32> = (1..=3)
        .map(|n| {
            let service = artifacts.service(&format!("keepalived-{n}")).expect("rendered");
            let text = &artifacts.configs[&service.configs[0]].text;
            let line = text.lines().find_map(|l| l.trim().strip_prefix("down_timer_adverts ")).expect("rendered");
            line.parse().expect("a number")
        })
        .collect();
    assert_eq!(adverts, [3, 4, 5]);
}

/// The budget reckons with these: what is deployed must say the same.
#[test]
fn what_is_deployed_has_the_timings_that_the_budget_adds_up() {
    let artifacts = rendered(&topology());
    let service = |name: &str| artifacts.service(name).expect("rendered");
    let file = |name: &str| artifacts.configs[&service(name).configs[0]].text.as_str();
    let ms = |duration: Duration| duration.as_millis();
    let check = timing::SERVER_CHECK;
    for (name, text, expected) in [
        ("haproxy", file("haproxy-1"), format!(" downinter {}ms ", ms(check.down))),
        ("haproxy", file("haproxy-1"), format!(" inter {}ms fastinter {}ms ", ms(check.up), ms(check.changing))),
        ("haproxy", file("haproxy-1"), format!(" fall {} rise {} ", check.fall, check.rise)),
        ("pgbouncer", file("pgbouncer-1"), format!("\nserver_login_retry = {}\n", timing::POOLER_LOGIN_RETRY.as_secs_f64())),
        ("keepalived", file("keepalived-1"), format!(" advert_int {:.1}\n", timing::VRRP_ADVERT.as_secs_f64())),
        ("keepalived", file("keepalived-1"), format!(" down_timer_adverts {}\n", timing::VRRP_DOWN_TIMER)),
        ("keepalived", file("keepalived-1"), format!(" priority {}\n", timing::VRRP_PRIORITY)),
        ("etcd", &service("etcd-1").fragment, format!("--election-timeout={}\n", ms(timing::ETCD_ELECTION))),
        ("swarm", &service("coordinator-1").fragment, format!(" delay: {}s\n", timing::RESTART_DELAY.as_secs())),
    ] {
        assert!(text.contains(&expected), "{name} lacks {expected:?}:\n{text}");
    }
    let dynamic = &artifacts.dynamic[&GroupId::COORDINATOR];
    assert_eq!((&dynamic["loop_wait"], &dynamic["retry_timeout"]), (&1.into(), &3.into()));
    assert_eq!((&dynamic["ttl"], &dynamic["primary_start_timeout"]), (&20.into(), &0.into()));
}

#[test]
fn services_come_layer_by_layer() {
    let layers: Vec<Layer> = rendered(&topology()).services.iter().map(|s| s.layer).collect();
    assert!(layers.is_sorted(), "{layers:?}");
}
