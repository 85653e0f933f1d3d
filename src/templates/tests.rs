//! What must hold of every rendering, on a topology built by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::artifacts::{Kind, Layer, SECRETS};
use super::*;
use crate::topology::ids::{ClusterName, GroupId, HostName, MemberName};
use crate::topology::model::*;

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
    Group { id, replication, members }
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
        proxies: vec![Proxy { ordinal: 1, host: host_name(1) }, Proxy { ordinal: 2, host: host_name(2) }],
        failover: Timings {
            ttl: Duration::from_secs(20),
            loop_wait: Duration::from_secs(1),
            retry_timeout: Duration::from_secs(3),
            primary_start_timeout: Duration::ZERO,
            maximum_lag_on_failover: 1 << 20,
        },
        citus: Some(Citus { shard_count: 32 }),
        vector: VectorEngine::Pgvector,
        resources: BTreeMap::from([(Role::Worker, limits)]),
        parameters: BTreeMap::from([("log_statement".into(), "ddl".into())]),
        pooler: Pooler { max_client_conn: 1000, default_pool_size: 25 },
        images: Images {
            node: "pgclusterctl/node:dev".into(),
            etcd: "pgclusterctl/etcd:dev".into(),
            proxy: "pgclusterctl/proxy:dev".into(),
            from_registry: false,
        },
    }
}

fn rendered(topology: &Topology) -> Artifacts {
    render(topology).expect("renders")
}

#[test]
#[ignore]
fn dump() {
    let dir = PathBuf::from("/tmp/tpl-out");
    let topology = topology();
    let artifacts = rendered(&topology);
    for config in artifacts.configs.values() {
        let path = dir.join(&config.path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &config.text).unwrap();
    }
    for layer in artifacts.services.iter().map(|s| s.layer).collect::<BTreeSet<_>>() {
        let services: Vec<_> = artifacts.services.iter().filter(|s| s.layer == layer).collect();
        std::fs::write(dir.join(format!("{}.yml", layer.file_stem())), stack_file(&topology, &artifacts, &services, false))
            .unwrap();
        std::fs::write(dir.join(format!("{}.full.yml", layer.file_stem())), stack_file(&topology, &artifacts, &services, true))
            .unwrap();
    }
    for (group, value) in &artifacts.dynamic {
        std::fs::write(dir.join(format!("{group}.json")), serde_json::to_string_pretty(value).unwrap()).unwrap();
    }
}
