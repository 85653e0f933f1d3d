//! Which images a topology needs and how each is built. Pure.

use crate::topology::Topology;
use crate::topology::images::{CONTEXTS, default_names, in_registry_suffix, lab_host_name};
use crate::topology::model::VectorEngine;

/// Version of the RuVector crate that its flavour of the node image is built with.
const RUVECTOR_VERSION: &str = "2.0.6";

/// An image that the hosts of a topology need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// Name under which the hosts know it.
    pub name: String,
    /// How it is built; `None` for images that the topology names itself: those are the operator's own.
    pub recipe: Option<Recipe>,
}

/// How an image of this program is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Folder of [`CONTEXTS`].
    pub component: &'static str,
    /// Name on the machine that builds it.
    pub tag: String,
    /// Stage of the Dockerfile, when it has several.
    pub target: Option<&'static str>,
    /// Build arguments besides the base image.
    pub args: Vec<(&'static str, String)>,
    /// Whether Citus is copied in from its image.
    pub citus: bool,
    /// Whether crates are downloaded, which needs the machine's own certificates behind a TLS proxy.
    pub downloads: bool,
    /// Whether this program itself is part of it.
    pub program: bool,
}

/// The images of a topology: node, etcd, proxy, and the guard where it is on.
pub fn needed(topology: &Topology) -> Vec<Needed> {
    let (citus, ruvector) = (topology.citus.is_some(), topology.vector == VectorEngine::Ruvector);
    let ours = default_names(topology.postgres, citus, topology.vector);
    let plain = |component, tag| Recipe {
        component,
        tag,
        target: None,
        args: Vec::new(),
        citus: false,
        downloads: false,
        program: false,
    };
    let mut node = plain("node", ours.node);
    node.target = Some(if citus { "citus" } else { "plain" });
    node.args.push(("PG_MAJOR", topology.postgres.to_string()));
    node.citus = citus;
    if ruvector {
        node.args.push(("RUVECTOR_VERSION", RUVECTOR_VERSION.to_owned()));
        node.downloads = true;
    }
    let named = &topology.images;
    let mut guard = plain("guard", ours.guard);
    guard.program = true;
    let always = [(&named.node, node), (&named.etcd, plain("etcd", ours.etcd)), (&named.proxy, plain("proxy", ours.proxy))];
    let guard = topology.guard.enabled.then_some((&named.guard, guard));
    always
        .into_iter()
        .chain(guard)
        .map(|(name, recipe)| {
            let ours = *name == recipe.tag || name.ends_with(&in_registry_suffix(&recipe.tag));
            Needed { name: name.clone(), recipe: ours.then_some(recipe) }
        })
        .collect()
}

/// The image of a lab's hosts.
pub fn lab_host() -> Recipe {
    let tag = lab_host_name();
    Recipe { component: "lab-host", tag, target: None, args: Vec::new(), citus: false, downloads: false, program: false }
}

/// The default of a build argument that a component's Dockerfile declares before its first stage.
pub fn default_of(component: &str, argument: &str) -> Option<&'static str> {
    let dockerfile = CONTEXTS.get_file(format!("{component}/Dockerfile"))?.contents_utf8()?;
    dockerfile.lines().find_map(|line| line.strip_prefix("ARG ")?.trim().strip_prefix(argument)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn topology(more: &str) -> Topology {
        let text = format!(
            "schema = 1\n[cluster]\nname = \"c\"\n[ssh]\nidentity = \"k\"\n\
             [[host]]\nname = \"a\"\naddress = \"10.0.0.1\"\n[[host]]\nname = \"b\"\naddress = \"10.0.0.2\"\n\
             [[host]]\nname = \"c\"\naddress = \"10.0.0.3\"\n{more}"
        );
        crate::topology::parse(&text, Path::new("t.toml")).expect("a good topology").0
    }

    #[test]
    fn a_topology_with_shards_needs_citus() {
        let images = needed(&topology("[shards]\ncount = 2\n"));
        let node = images[0].recipe.as_ref().expect("ours");
        assert_eq!((node.target, node.citus, node.downloads), (Some("citus"), true, false));
        assert_eq!(images.len(), 4);
    }

    #[test]
    fn one_without_shards_does_not() {
        let images = needed(&topology("[shards]\ncount = 0\n[vector]\nengine = \"ruvector\"\n"));
        let node = images[0].recipe.as_ref().expect("ours");
        assert_eq!((node.target, node.citus, node.downloads), (Some("plain"), false, true));
        assert!(node.args.contains(&("RUVECTOR_VERSION", RUVECTOR_VERSION.to_owned())));
    }

    #[test]
    fn a_registry_changes_the_name_and_not_the_recipe() {
        let images =
            needed(&topology("[images]\nregistry = \"registry.example.com/pg\"\netcd = \"registry.example.com/own/etcd:3\"\n"));
        assert!(images[0].name.starts_with("registry.example.com/pg/pgclusterctl-node:"), "{}", images[0].name);
        assert!(images[0].recipe.as_ref().is_some_and(|r| r.tag.starts_with("localhost/pgclusterctl/node:")));
        assert_eq!(images[1].recipe, None);
    }

    #[test]
    fn dockerfiles_say_where_their_sources_come_from() {
        assert_eq!(default_of("node", "BASE_IMAGE"), Some("debian:trixie-slim"));
        assert_eq!(default_of("lab-host", "BASE_IMAGE"), Some("debian:trixie-slim"));
        assert!(default_of("node", "CITUS_IMAGE").is_some_and(|image| image.starts_with("citusdata/citus:")));
        assert_eq!(default_of("etcd", "CITUS_IMAGE"), None);
    }
}
