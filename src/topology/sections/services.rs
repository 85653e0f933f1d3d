//! `[etcd]`, `[proxy]`, `[pooler]`, `[vector]` and `[images]`.

use super::hosts::Directory;
use crate::topology::file::{ImagesSection, PoolerSection, ReadsName, TopologyFile, VectorEngineName, VectorSection};
use crate::topology::finding::Finding;
use crate::topology::ids::{HostName, MemberName};
use crate::topology::images::{default_names, in_registry};
use crate::topology::limits::{CLIENT_CONNECTIONS, POOL_SIZE};
use crate::topology::model::{EtcdMember, Images, Pooler, Proxy, Reads, VectorEngine};
use crate::topology::span::At;

/// Largest sensible etcd cluster: each member more slows down every write (etcd FAQ: "should not have more than seven", five
/// tolerate two losses).
const ETCD_MAX: usize = 5;

/// One etcd member per host of the list.
pub(super) fn etcd(file: &TopologyFile, directory: &Directory, findings: &mut Vec<Finding>) -> Vec<EtcdMember> {
    let listed = match &file.etcd.hosts {
        Some(written) => {
            let listed = directory.list(written, "etcd.hosts", findings);
            let count = written.len();
            if count > 0 && count.is_multiple_of(2) {
                findings.push(
                    Finding::error("even-etcd", written.span.clone(), format!("etcd cannot have {count} members here"))
                        .label(format!("{count} members survive no more losses than {}, and have one more to lose", count - 1))
                        .help(if count == 2 { "name 1 host or 3" } else { "name 3 hosts or 5" }),
                );
            } else if count > ETCD_MAX {
                findings.push(
                    Finding::error("too-many-etcd", written.span.clone(), format!("etcd cannot have {count} members here"))
                        .label("every write waits for a majority of them")
                        .help("name 3 hosts, or 5 to survive the loss of two at once"),
                );
            } else if count == 1 && directory.hosts().len() >= 3 {
                findings.push(
                    Finding::warning("single-etcd", written.span.clone(), "a single etcd member is a single point of failure")
                        .label("when this host is lost, no group can choose a leader")
                        .help(format!("name three of the {} hosts", directory.hosts().len())),
                );
            }
            listed
        }
        // Two hosts cannot hold a quorum that survives either, so the second would only add a way to fail.
        None => directory.first(if directory.hosts().len() >= 3 { 3 } else { 1 }),
    };
    let member = |(index, host): (usize, HostName)| EtcdMember { name: member_name(&format!("etcd-{}", index + 1)), host };
    listed.into_iter().enumerate().map(member).collect()
}

/// HAProxy, PgBouncer and keepalived, one of each per host of the list.
pub(super) fn proxies(file: &TopologyFile, directory: &Directory, findings: &mut Vec<Finding>) -> Vec<Proxy> {
    let listed = match &file.proxy.hosts {
        Some(written) => {
            if written.len() == 1 && directory.hosts().len() >= 2 {
                findings.push(
                    Finding::warning("single-proxy", written.span.clone(), "a single proxy is a single point of failure")
                        .label("when this host is lost, clients reach nothing")
                        .help("name a second host"),
                );
            }
            directory.list(written, "proxy.hosts", findings)
        }
        None => directory.first(2),
    };
    let reads = match &file.proxy.reads {
        Some(written) if written.value == ReadsName::Zone => {
            if directory.hosts().iter().all(|host| host.zone.is_empty()) {
                findings.push(
                    Finding::warning("unused-key", written.span.clone(), "proxy.reads has no effect without zones")
                        .help("give the hosts a `zone`, or remove the key"),
                );
            }
            Reads::Zone
        }
        _ => Reads::Any,
    };
    listed.into_iter().zip(1..).map(|(host, ordinal)| Proxy { ordinal, host, reads }).collect()
}

/// A member's name made of fixed words and numbers.
pub(super) fn member_name(text: &str) -> MemberName {
    MemberName::new(text).expect("member names are short and made of a-z, 0-9 and hyphens")
}

/// The vector extension, pgvector by default.
pub(super) fn vector(section: &VectorSection) -> VectorEngine {
    match section.engine.as_ref().map(|e| e.value) {
        None | Some(VectorEngineName::Pgvector) => VectorEngine::Pgvector,
        Some(VectorEngineName::Ruvector) => VectorEngine::Ruvector,
        Some(VectorEngineName::None) => VectorEngine::None,
    }
}

/// PgBouncer's numbers.
pub(super) fn pooler(section: &PoolerSection, findings: &mut Vec<Finding>) -> Pooler {
    let number = |written: &Option<At<u32>>, default: u32| written.as_ref().map_or(default, |v| v.value);
    let pooler = Pooler {
        max_client_conn: number(&section.max_client_conn, 1000),
        default_pool_size: number(&section.default_pool_size, 25),
    };
    let ranges = [
        (&section.max_client_conn, "max_client_conn", CLIENT_CONNECTIONS),
        (&section.default_pool_size, "default_pool_size", POOL_SIZE),
    ];
    for (written, key, (min, max)) in ranges {
        if let Some(written) = written
            && !(min..=max).contains(&written.value)
        {
            findings.push(
                Finding::error("pooler-range", written.span.clone(), format!("{key} cannot be {}", written.value))
                    .label(format!("{min} to {max}"))
                    .help(format!("write a number from {min} to {max}, or leave the key out for its default")),
            );
        }
    }
    if pooler.default_pool_size > pooler.max_client_conn {
        let span = section.default_pool_size.as_ref().or(section.max_client_conn.as_ref()).map(|w| w.span.clone());
        findings.push(
            Finding::error("pooler-inverted", span, "the pool is larger than the number of clients that may use it")
                .label(format!("default_pool_size is {}, max_client_conn {}", pooler.default_pool_size, pooler.max_client_conn))
                .help("a pooler shares few server connections among many clients: lower default_pool_size or raise max_client_conn"),
        );
    }
    pooler
}

/// Image names: explicit ones, else the registry's, else those that travel over SSH.
pub(super) fn images(
    section: &ImagesSection,
    postgres: u32,
    citus: bool,
    vector: VectorEngine,
    findings: &mut Vec<Finding>,
) -> Images {
    if let Some(registry) = &section.registry
        && let Err(problem) = check_registry(registry)
    {
        findings.push(
            Finding::error("registry", registry.span.clone(), format!("{:?} is not a registry", registry.value))
                .label(problem)
                .help("write its host and a path, without a scheme: \"registry.example.com/pg\""),
        );
    }
    let explicit = [&section.node, &section.etcd, &section.proxy, &section.guard];
    for image in explicit.into_iter().flatten() {
        if let Err(problem) = check_image(image) {
            findings.push(
                Finding::error("image-name", image.span.clone(), format!("{:?} is not the name of an image", image.value))
                    .label(problem)
                    .help("write a full name with a tag, such as \"registry.example.com/pg/node:17-1\""),
            );
        }
    }
    let defaults = default_names(postgres, citus, vector);
    let name = |explicit: &Option<At<String>>, default: &str| match (explicit, &section.registry) {
        (Some(written), _) => written.value.clone(),
        (None, Some(registry)) => in_registry(default, registry),
        (None, None) => default.to_owned(),
    };
    Images {
        node: name(&section.node, &defaults.node),
        etcd: name(&section.etcd, &defaults.etcd),
        proxy: name(&section.proxy, &defaults.proxy),
        guard: name(&section.guard, &defaults.guard),
        // Without a registry of its own a topology pulls only when nothing is left for this program to carry.
        from_registry: section.registry.is_some() || explicit.iter().all(|e| e.as_ref().is_some_and(|n| has_registry_host(n))),
    }
}

/// Docker's own rule: the first component is a registry when it could not be an account on Docker Hub.
fn has_registry_host(image: &str) -> bool {
    image.split_once('/').is_some_and(|(first, _)| first.contains('.') || first.contains(':') || first == "localhost")
}

fn check_registry(text: &str) -> Result<(), &'static str> {
    if text.contains("://") {
        return Err("a scheme does not belong here");
    }
    let (host, path) = text.split_once('/').unwrap_or((text, ""));
    let (name, port) = host.split_once(':').map_or((host, None), |(n, p)| (n, Some(p)));
    let host_ok = !name.is_empty()
        && name
            .split('.')
            .all(|l| !l.is_empty() && !l.starts_with('-') && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
    if !host_ok || port.is_some_and(|p| p.parse::<u16>().is_err()) {
        return Err("it starts with a host name and, where needed, a port");
    }
    if !has_registry_host(&format!("{host}/")) {
        return Err("the host has no dot and no port, so Docker would take it for an account on Docker Hub");
    }
    if path.is_empty() { Ok(()) } else { check_path(path) }
}

fn check_image(text: &str) -> Result<(), &'static str> {
    let (rest, digest) = text.split_once('@').map_or((text, None), |(r, d)| (r, Some(d)));
    if digest.is_some_and(|d| !d.starts_with("sha256:") || d.len() != "sha256:".len() + 64) {
        return Err("a digest is sha256: and 64 hexadecimal digits");
    }
    let last = rest.rfind('/').map_or(0, |i| i + 1);
    let (path, tag) = match rest[last..].split_once(':') {
        Some((name, tag)) => (&rest[..last + name.len()], Some(tag)),
        None => (rest, None),
    };
    let tag_ok = |t: &str| {
        !t.is_empty() && t.len() <= 128 && t.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    match tag {
        Some(tag) if !tag_ok(tag) => return Err("a tag has letters, digits, '.', '-' and '_'"),
        Some("latest") => return Err("latest is another image tomorrow, and members would differ"),
        None if digest.is_none() => return Err("it has neither a tag nor a digest, so it means latest"),
        _ => {}
    }
    if has_registry_host(path) {
        let (registry, path) = path.split_once('/').unwrap_or((path, ""));
        check_registry(registry)?;
        return check_path(path);
    }
    check_path(path)
}

fn check_path(path: &str) -> Result<(), &'static str> {
    let component = |c: &str| {
        c.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && c.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_'))
    };
    if path.trim_end_matches('/').split('/').all(component) {
        Ok(())
    } else {
        Err("a path has lower-case letters, digits, '.', '-' and '_' between slashes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_and_images_read_as_docker_reads_them() {
        for good in ["registry.example.com/pg", "localhost:5000", "10.0.0.1:5000/a/b", "localhost/x"] {
            assert_eq!(check_registry(good), Ok(()), "{good}");
        }
        for bad in ["", "https://registry.example.com", "acme", "registry.example.com/PG", "a.b:port", "-a.b", "a.b/{{"] {
            assert!(check_registry(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["acme/node:17", "registry.example.com:5000/pg/node:17-1", "node:1"] {
            assert_eq!(check_image(good), Ok(()), "{good}");
        }
        for bad in ["", "node", "node:latest", "Node:1", "node:1 2", "node@sha256:12", "a//b:1"] {
            assert!(check_image(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
