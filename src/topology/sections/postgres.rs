//! `[resources]` and `[postgres.parameters]`.

use std::collections::BTreeMap;

use crate::topology::file::{ParameterValue, PostgresSection, ResourceBlock, ResourcesSection};
use crate::topology::finding::Finding;
use crate::topology::limits::CPUS_MAX;
use crate::topology::model::{Resources, Role};
use crate::topology::span::At;
use crate::topology::units::{parse_size, show_size};

/// Less than this and PostgreSQL, Patroni and Citus are killed for memory before they serve anybody.
const POSTGRES_MEMORY_MIN: u64 = 256 << 20;

/// etcd, HAProxy and PgBouncer each run in less, but not in much less.
const SERVICE_MEMORY_MIN: u64 = 64 << 20;

/// Reads the limits of all roles.
pub(super) fn resources(section: &ResourcesSection, findings: &mut Vec<Finding>) -> BTreeMap<Role, Resources> {
    let roles = [
        (Role::Etcd, "etcd", &section.etcd, SERVICE_MEMORY_MIN),
        (Role::Coordinator, "coordinator", &section.coordinator, POSTGRES_MEMORY_MIN),
        (Role::Worker, "worker", &section.worker, POSTGRES_MEMORY_MIN),
        (Role::Proxy, "proxy", &section.proxy, SERVICE_MEMORY_MIN),
    ];
    roles.into_iter().map(|(role, name, block, min)| (role, read(name, block, min, findings))).collect()
}

fn read(role: &str, block: &ResourceBlock, memory_min: u64, findings: &mut Vec<Finding>) -> Resources {
    let cpus = block.cpus.as_ref().map_or(0.0, |written| {
        let value = written.value;
        if !(value.is_finite() && value > 0.0 && value <= CPUS_MAX) {
            findings.push(
                Finding::error("cpus", written.span.clone(), format!("resources.{role}.cpus cannot be {value}"))
                    .label("a number of cores above 0")
                    .help("write cpus = 2 or cpus = 0.5; leave the key out for no limit"),
            );
        }
        value
    });
    let memory = size(block.memory.as_ref(), "memory", findings);
    if let Some(written) = &block.memory
        && memory.is_some_and(|m| m < memory_min)
    {
        findings.push(
            Finding::error("memory-too-small", written.span.clone(), format!("{role} cannot run in {}", written.value))
                .label(format!("{} at least", show_size(memory_min)))
                .help(format!("write memory = \"{}\" or more, or leave the key out for no limit", show_size(memory_min))),
        );
    }
    let storage = size(block.storage.as_ref(), "storage", findings);
    Resources { cpus, memory: memory.unwrap_or(0), storage: storage.unwrap_or(0) }
}

fn size(written: Option<&At<String>>, key: &str, findings: &mut Vec<Finding>) -> Option<u64> {
    let written = written?;
    match parse_size(written) {
        Ok(0) => {
            findings.push(
                Finding::error("size", written.span.clone(), format!("{key} cannot be zero"))
                    .help("leave the key out when there is nothing to say"),
            );
            None
        }
        Ok(bytes) => Some(bytes),
        Err(help) => {
            findings.push(
                Finding::error("size", written.span.clone(), format!("{:?} is not a size", written.value))
                    .label(format!("{key} is a number of bytes"))
                    .help(help),
            );
            None
        }
    }
}

/// Settings that a topology may not set, with their owner and what to use instead.
const OWNED: &[(&str, &str)] = &[
    // Patroni (patroni/postgresql/config.py, CMDLINE_OPTIONS): passed on the command line, taken from the dynamic configuration
    // alone, and equal on all members because a standby that has less than its leader does not start.
    ("listen_addresses", "Patroni sets it from the member's own configuration"),
    ("port", "Patroni sets it; proxies and Citus expect 5432"),
    ("cluster_name", "Patroni sets it to the scope"),
    ("hot_standby", "Patroni keeps it on: standbys serve reads"),
    ("wal_log_hints", "Patroni keeps it on for pg_rewind"),
    ("track_commit_timestamp", "Patroni owns it, since it must be equal on all members"),
    ("max_wal_senders", "it is derived from the number of members"),
    ("max_replication_slots", "it is derived from the number of members"),
    ("wal_level", "it is derived: logical with Citus, which moves shards by logical replication"),
    // Patroni's replication and recovery.
    ("primary_conninfo", "Patroni sets it to the leader"),
    ("primary_slot_name", "Patroni sets it to the member's slot"),
    ("restore_command", "backups own it"),
    ("archive_mode", "backups own it"),
    ("archive_command", "backups own it"),
    ("archive_library", "backups own it"),
    ("recovery_target", "Patroni owns recovery"),
    ("recovery_target_timeline", "Patroni owns recovery"),
    ("promote_trigger_file", "Patroni owns promotion"),
    ("synchronous_standby_names", "Patroni sets it; choose replication = \"sync\" or \"quorum\" for the group"),
    // This program.
    ("synchronous_commit", "it follows from the group's replication; lower it per session or per role where rows may be lost"),
    ("shared_preload_libraries", "it follows from Citus and the vector engine"),
    ("unix_socket_directories", "health checks and the pooler use its fixed place"),
    ("hba_file", "Patroni writes pg_hba.conf"),
    ("ident_file", "Patroni writes pg_ident.conf"),
    ("config_file", "Patroni writes postgresql.conf"),
    ("data_directory", "it is the member's volume"),
    ("external_pid_file", "Patroni watches the server itself"),
    ("ssl", "the cluster's own CA issues the certificates"),
    ("ssl_ca_file", "the cluster's own CA issues the certificates"),
    ("ssl_cert_file", "the cluster's own CA issues the certificates"),
    ("ssl_key_file", "the cluster's own CA issues the certificates"),
    ("password_encryption", "passwords are SCRAM-SHA-256"),
    ("logging_collector", "Docker collects the log from standard error"),
    ("log_destination", "Docker collects the log from standard error"),
    ("restart_after_crash", "Patroni decides what happens after a crash"),
    ("citus.shard_count", "it is shards.citus_shard_count"),
    ("citus.node_conninfo", "it carries the cluster's certificates"),
    ("citus.local_hostname", "it follows from the member's name"),
];

/// Whose business a setting is that a topology may not set; `None` where it may.
pub fn owner_of(setting: &str) -> Option<&'static str> {
    OWNED.iter().find(|(owned, _)| *owned == setting).map(|(_, owner)| *owner)
}

/// Least values of settings that Patroni passes on the command line; it replaces smaller ones by its own defaults without a word
/// (patroni/postgresql/config.py, CMDLINE_OPTIONS).
const PATRONI_MINIMUMS: [(&str, i64); 3] =
    [("max_connections", 25), ("max_locks_per_transaction", 32), ("max_worker_processes", 2)];

/// Reads the overrides.
pub(super) fn parameters(section: &PostgresSection, findings: &mut Vec<Finding>) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    for (name, written) in &section.parameters {
        let plain = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        let well_formed = name.len() <= 63 && name.split('.').count() <= 2 && name.split('.').all(plain);
        // PostgreSQL folds names; two spellings of one setting must not both be rendered.
        let folded = name.to_ascii_lowercase();
        if !well_formed {
            findings.push(
                Finding::error("parameter-name", written.span.clone(), format!("{name:?} is not the name of a setting"))
                    .label("letters, digits and _, with one dot for an extension's setting")
                    .help(
                        "write it as in `SHOW ALL`; an extension's setting needs quotes: \"citus.log_remote_commands\" = true",
                    ),
            );
            continue;
        }
        if folded != *name {
            findings.push(
                Finding::error("parameter-name", written.span.clone(), format!("{name:?} is written in capitals"))
                    .label("settings are written in lower case here, so that each has one spelling")
                    .help(format!("write {folded}")),
            );
            continue;
        }
        if let Some(owner) = owner_of(&folded) {
            findings.push(
                Finding::error("owned-parameter", written.span.clone(), format!("{name} cannot be set here"))
                    .label(owner)
                    .help("remove it"),
            );
            continue;
        }
        let value = match &written.value {
            ParameterValue::Bool(true) => "on".to_owned(),
            ParameterValue::Bool(false) => "off".to_owned(),
            ParameterValue::Integer(n) => n.to_string(),
            ParameterValue::Float(x) => x.to_string(),
            ParameterValue::Text(text) => text.clone(),
        };
        if let Some((_, min)) = PATRONI_MINIMUMS.iter().find(|(limited, _)| *limited == folded)
            && value.parse::<i64>().is_ok_and(|n| n < *min)
        {
            findings.push(
                Finding::error("patroni-minimum", written.span.clone(), format!("{name} cannot be {value}"))
                    .label(format!("Patroni's minimum is {min}, and it would silently use its own default"))
                    .help(format!("write {min} or more")),
            );
        }
        if value.contains(['\n', '\r', '\0']) {
            findings.push(
                Finding::error("parameter-value", written.span.clone(), format!("{name} has a line break in its value"))
                    .help("write the value on one line"),
            );
        }
        parameters.insert(folded, value);
    }
    parameters
}
