//! Names of the images that the hosts run. Pure: the content of `images/`, which travels inside the program, decides the tag.
//!
//! Called by [`super::resolve`] for the topology's names and by image building for what to make. A changed Dockerfile is a new
//! tag, so a host that has a tag has that content, and nobody ever pulls or pushes `latest`.

use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};

use super::model::{Images, VectorEngine};

/// The build contexts, one folder per component: `node`, `etcd`, `proxy`, `guard`, and the lab's host.
pub static CONTEXTS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/images");

/// Prefix of the names of images that no registry holds. Swarm asks the registry of a name before each start of a container, and takes
/// what it says; on `localhost` nobody answers, at once. Without that word it would be Docker Hub: a container that is to start waits
/// until a host without a way out has given up, and whoever owns that name there decides what runs here.
pub const LOCAL_PREFIX: &str = "localhost/pgclusterctl/";

/// Hash of the guard's own code: its image holds this program, of which little else matters there.
const GUARD_FINGERPRINT: &str = env!("PGCLUSTERCTL_GUARD_FINGERPRINT");

/// Hexadecimal digits of the content hash in a tag: 32 bits, for a handful of versions on one host.
const HASH_DIGITS: usize = 8;

/// Names of the images that `image build` makes for this flavour, as an engine without a registry knows them.
pub fn default_names(postgres: u32, citus: bool, vector: VectorEngine) -> Images {
    let flavour = node_flavour(postgres, citus, vector);
    Images {
        node: format!("{LOCAL_PREFIX}node:{flavour}-{}", content_hash("node", &flavour)),
        etcd: format!("{LOCAL_PREFIX}etcd:{}", content_hash("etcd", "")),
        proxy: format!("{LOCAL_PREFIX}proxy:{}", content_hash("proxy", "")),
        guard: format!("{LOCAL_PREFIX}guard:{}", content_hash("guard", GUARD_FINGERPRINT)),
        from_registry: false,
    }
}

/// The same images under a registry's prefix: `localhost/pgclusterctl/node:T` becomes `<registry>/pgclusterctl-node:T`, since some
/// registries allow one path component below the account only.
pub fn in_registry(name: &str, registry: &str) -> String {
    let rest = name.strip_prefix(LOCAL_PREFIX).unwrap_or(name);
    format!("{}/pgclusterctl-{rest}", registry.trim_end_matches('/'))
}

/// How a name that [`in_registry`] made ends, whatever the registry.
pub fn in_registry_suffix(name: &str) -> String {
    in_registry(name, "")
}

/// Name of the image of a lab's hosts.
pub fn lab_host_name() -> String {
    format!("{LOCAL_PREFIX}lab-host:{}", content_hash("lab-host", ""))
}

/// What a node image is built with, e.g. `17-citus-ruvector`. pgvector is in every node image, so it makes no flavour.
pub fn node_flavour(postgres: u32, citus: bool, vector: VectorEngine) -> String {
    let citus = if citus { "citus" } else { "plain" };
    let vector = if vector == VectorEngine::Ruvector { "-ruvector" } else { "" };
    format!("{postgres}-{citus}{vector}")
}

/// Hash of a component's build context and flavour.
fn content_hash(component: &str, flavour: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(flavour);
    if let Some(folder) = CONTEXTS.get_dir(component) {
        let mut files = Vec::new();
        collect(folder, &mut files);
        files.sort_by_key(|(path, _)| *path);
        for (path, content) in files {
            // Lengths keep `ab` + `c` apart from `a` + `bc`.
            hash.update(path.as_os_str().as_encoded_bytes().len().to_le_bytes());
            hash.update(path.as_os_str().as_encoded_bytes());
            hash.update(content.len().to_le_bytes());
            hash.update(content);
        }
    }
    let mut text = hex::encode(hash.finalize());
    text.truncate(HASH_DIGITS);
    text
}

fn collect(folder: &Dir<'static>, files: &mut Vec<(&'static std::path::Path, &'static [u8])>) {
    for file in folder.files() {
        files.push((file.path(), file.contents()));
    }
    for inner in folder.dirs() {
        collect(inner, files);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_the_flavour() {
        let names = default_names(17, true, VectorEngine::Ruvector);
        assert!(names.node.starts_with("localhost/pgclusterctl/node:17-citus-ruvector-"), "{}", names.node);
        assert_eq!(names.node.len(), "localhost/pgclusterctl/node:17-citus-ruvector-".len() + HASH_DIGITS);
        assert!(default_names(17, false, VectorEngine::Pgvector).node.starts_with("localhost/pgclusterctl/node:17-plain-"));
    }

    #[test]
    fn a_registry_replaces_the_local_prefix() {
        assert_eq!(
            in_registry("localhost/pgclusterctl/etcd:ab", "registry.example.com/pg/"),
            "registry.example.com/pg/pgclusterctl-etcd:ab"
        );
    }
}
