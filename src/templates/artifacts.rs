//! What rendering produces: files, Swarm configs, services and Patroni's dynamic configuration, all with content hashes.
//!
//! Plain data made by [`super::render`]; the planner compares it with what runs, the steps deploy it, `render -o` writes it.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::topology::ids::{GroupId, HostName, MemberName};

/// Everything that one topology renders to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Artifacts {
    /// Immutable Swarm configs by name (the name ends with the content's hash).
    pub configs: BTreeMap<String, ConfigFile>,
    /// Services in the order of their stack files.
    pub services: Vec<Service>,
    /// Patroni's dynamic configuration of each group, as it belongs in etcd.
    pub dynamic: BTreeMap<GroupId, serde_json::Value>,
}

/// A file that containers see through a Swarm config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigFile {
    /// Swarm config name, e.g. `pgcluster-haproxy-1-3f9a2c1b04d7`.
    pub name: String,
    /// Path under the folder that `render -o` writes, e.g. `host1/haproxy-1/haproxy.cfg`.
    pub path: String,
    /// Content; never a password.
    pub text: String,
}

/// The stack file a service is part of; also the order in which layers are brought up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// etcd members.
    Etcd,
    /// A Patroni group.
    Group(GroupId),
    /// HAProxy, PgBouncer, keepalived.
    Proxy,
    /// The lease guards.
    Guard,
}

/// What a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An etcd member.
    Etcd,
    /// A Patroni member of that group.
    Member(GroupId),
    /// HAProxy.
    Haproxy,
    /// PgBouncer.
    Pgbouncer,
    /// keepalived.
    Keepalived,
    /// A lease guard.
    Guard,
}

/// One Swarm service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Name inside the stack, e.g. `worker-1-2`; Swarm calls it `<cluster>_worker-1-2`.
    pub name: MemberName,
    /// What it is.
    pub kind: Kind,
    /// Its stack file.
    pub layer: Layer,
    /// Where it is pinned.
    pub host: HostName,
    /// Image name.
    pub image: String,
    /// Names of the Swarm configs it mounts.
    pub configs: Vec<String>,
    /// Names of the Swarm secrets it mounts.
    pub secrets: Vec<String>,
    /// Names of the local volumes it mounts, as its host's Docker knows them; they outlive the service.
    pub volumes: Vec<String>,
    /// Hash of `fragment`: the label `pgclusterctl.hash` of the running service.
    pub hash: String,
    /// Its part of the stack file (the mapping under `services.<name>`), without the labels that carry hash and fragment.
    pub fragment: String,
}

/// Label of every object that this program makes: the cluster's name.
pub const LABEL_CLUSTER: &str = "pgclusterctl.cluster";
/// Service label: [`Service::hash`].
pub const LABEL_HASH: &str = "pgclusterctl.hash";
/// Service label: [`Service::fragment`], so that a later plan can show what changes.
pub const LABEL_FRAGMENT: &str = "pgclusterctl.fragment";
/// Node label: the host's name in the topology; services are pinned by it.
pub const LABEL_HOST: &str = "pgclusterctl.host";

/// Names of the secrets of a cluster, without the `<cluster>-` prefix; the file under /run/secrets has the same name with
/// underscores.
pub const SECRETS: [&str; 7] = [
    "superuser-password",
    "replication-password",
    "rewind-password",
    "restapi-password",
    "app-password",
    "pgbouncer-password",
    "stats-password",
];

/// Hex digits of a hash that go into a name: 48 bits, ample for the few objects of a cluster, short enough for Swarm's
/// limit of 64 characters.
const SHORT: usize = 12;

/// SHA-256 of a text in hex, cut to the length used in names and labels.
pub fn short_hash(text: &str) -> String {
    let mut hex = hex::encode(Sha256::digest(text.as_bytes()));
    hex.truncate(SHORT);
    hex
}

impl Layer {
    /// Name of its stack file: `etcd`, `coordinator`, `shard-1`, `proxy`.
    pub fn file_stem(self) -> String {
        match self {
            Self::Etcd => "etcd".into(),
            Self::Group(group) => group.to_string(),
            Self::Proxy => "proxy".into(),
            Self::Guard => "guard".into(),
        }
    }
}

impl Artifacts {
    /// The service of that name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|s| s.name.as_str() == name)
    }
}
