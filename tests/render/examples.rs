//! The topologies of `examples/`, resolved.

use std::path::{Path, PathBuf};

use pgclusterctl::templates::artifacts::{Artifacts, Layer, Service};
use pgclusterctl::templates::{render, stack_file};
use pgclusterctl::topology::{Topology, resolve};

/// An example by the stem of its file.
pub struct Example {
    pub name: String,
    pub topology: Topology,
}

/// All examples in the order of their names.
pub fn all() -> Vec<Example> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("examples/ is there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no examples in {}", folder.display());
    files.iter().map(|path| load(path)).collect()
}

fn load(path: &Path) -> Example {
    let topology = resolve::load(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
    Example { name, topology }
}

impl Example {
    pub fn render(&self) -> Artifacts {
        render(&self.topology).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// The layers of a rendering, in order.
pub fn layers(artifacts: &Artifacts) -> Vec<Layer> {
    let mut layers: Vec<Layer> = artifacts.services.iter().map(|s| s.layer).collect();
    layers.sort_unstable();
    layers.dedup();
    layers
}

/// The services of a layer.
pub fn services(artifacts: &Artifacts, layer: Layer) -> Vec<&Service> {
    artifacts.services.iter().filter(|s| s.layer == layer).collect()
}

/// The stack file of a layer.
pub fn stack(example: &Example, artifacts: &Artifacts, layer: Layer, fragments_in_labels: bool) -> String {
    stack_file(&example.topology, artifacts, &services(artifacts, layer), fragments_in_labels)
}
