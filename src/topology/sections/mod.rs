//! One file per part of the topology: each reads what is written, says all that is wrong with it, fills in defaults.
//!
//! Called by [`super::resolve`] alone. A part that is wrong yields its default or nothing, so that the others can still be
//! checked; whether there was an error is for the caller to see in the findings.

mod failover;
mod groups;
mod guard;
mod hosts;
mod network;
mod postgres;
mod promise;
mod readers;
mod services;
mod tables;
mod whole;

use std::path::Path;

pub use postgres::owner_of;

use super::file::TopologyFile;
use super::finding::Finding;
use super::ids::{ClusterName, NAME_MAX, NameError};
use super::model::Topology;
use super::promise::Promise;
use super::span::At;
use super::tables::IDENTIFIER_MAX;

/// Versions of the file's format that this program reads.
const SCHEMA: u32 = 1;

/// PostgreSQL major versions that the node image is built for.
const POSTGRES_MAJORS: [u32; 1] = [17];

/// Reads all sections.
pub(super) fn resolve(file: &TopologyFile, path: &Path, findings: &mut Vec<Finding>) -> Topology {
    if *file.schema != SCHEMA {
        findings.push(
            Finding::error("schema-version", file.schema.span.clone(), "this version of the format is not known")
                .label(format!("this program reads version {SCHEMA}"))
                .help("write schema = 1, or use a newer pgclusterctl"),
        );
    }
    let name = cluster_name(&file.cluster.name, findings);
    let database = database(file.cluster.database.as_ref(), findings);
    let postgres = postgres_major(file.cluster.postgres.as_ref(), findings);

    let directory = hosts::read(file, path, findings);
    let etcd = services::etcd(file, &directory, findings);
    let mut groups = groups::read(file, &directory, findings);
    readers::read(file, &directory, &mut groups, findings);
    let proxies = services::proxies(file, &directory, findings);
    let network = network::read(file, &directory, &proxies, findings);
    let failover = failover::read(&file.failover, findings);
    let guard = guard::read(file, &failover, findings);
    let citus = groups::citus(file, &groups, findings);
    let tables = tables::read(file, citus.as_ref(), findings);
    let vector = services::vector(&file.vector);
    let resources = postgres::resources(&file.resources, findings);
    let parameters = postgres::parameters(&file.postgres, findings);
    let pooler = services::pooler(&file.pooler, findings);
    let images = services::images(&file.images, postgres, citus.is_some(), vector, findings);

    let mut topology = Topology {
        name,
        database,
        postgres,
        hosts: directory.into_hosts(),
        network,
        etcd,
        groups,
        proxies,
        failover,
        guard,
        promise: Promise::default(),
        citus,
        tables,
        vector,
        resources,
        parameters,
        pooler,
        images,
    };
    topology.promise = promise::read(file, &topology, findings);
    whole::check(file, &topology, findings);
    topology
}

fn cluster_name(written: &At<String>, findings: &mut Vec<Finding>) -> ClusterName {
    ClusterName::new(written).unwrap_or_else(|error| {
        findings.push(bad_name("cluster-name", written, &error, "pgcluster"));
        ClusterName::new("pgcluster").expect("the stand-in is a name")
    })
}

/// A name that cannot be one. `example` is a name that could stand there.
fn bad_name(rule: &'static str, written: &At<String>, error: &NameError, example: &str) -> Finding {
    let cleaned = suggest_name(written);
    let suggestion = if cleaned.is_empty() { example } else { &cleaned };
    Finding::error(rule, written.span.clone(), format!("{:?} cannot be a name", written.value))
        .label(error.to_string())
        .help(format!("write a name such as \"{suggestion}\""))
}

/// The nearest name to a text that is none; empty when nothing is left of it.
fn suggest_name(text: &str) -> String {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit()).filter(|w| !w.is_empty());
    let joined = words.collect::<Vec<_>>().join("-");
    let cut: String = joined.trim_start_matches(|c: char| !c.is_ascii_lowercase()).chars().take(NAME_MAX).collect();
    cut.trim_end_matches('-').to_owned()
}

fn database(written: Option<&At<String>>, findings: &mut Vec<Finding>) -> String {
    let Some(written) = written else { return "app".to_owned() };
    let name = written.as_str();
    let well_formed = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.len() <= IDENTIFIER_MAX;
    if !well_formed {
        findings.push(
            Finding::error("database-name", written.span.clone(), format!("{name:?} cannot be a database name here"))
                .label(format!("a-z, 0-9 and _, not starting with a digit, {IDENTIFIER_MAX} characters at most"))
                .help("write a name that SQL needs no quotes for, such as \"app\""),
        );
    } else if ["postgres", "template0", "template1"].contains(&name) {
        findings.push(
            Finding::error("database-name", written.span.clone(), format!("{name:?} is PostgreSQL's own database"))
                .label("the application needs a database of its own")
                .help("write another name, such as \"app\""),
        );
    } else if name.starts_with("pgbouncer") {
        findings.push(
            Finding::error("database-name", written.span.clone(), format!("{name:?} is the name of PgBouncer's console"))
                .label("clients that ask for it reach the pooler, not PostgreSQL")
                .help("write another name, such as \"app\""),
        );
    }
    name.to_owned()
}

fn postgres_major(written: Option<&At<u32>>, findings: &mut Vec<Finding>) -> u32 {
    let [supported] = POSTGRES_MAJORS;
    let Some(written) = written else { return supported };
    if !POSTGRES_MAJORS.contains(written) {
        findings.push(
            Finding::error("postgres-version", written.span.clone(), format!("PostgreSQL {} is not supported", written.value))
                .label("no node image can be built for this major version")
                .help(format!("write postgres = {supported}")),
        );
    }
    written.value
}
