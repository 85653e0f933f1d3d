//! What each example renders to, one snapshot per layer: its stack file, the files its services mount, and for a Patroni group
//! the dynamic configuration.

use std::fmt::Write;

use pgclusterctl::templates::artifacts::{Artifacts, Layer};
use pgclusterctl::topology::model::Images;

use crate::examples::{self, Example};

#[test]
fn every_example_renders_as_recorded() {
    for mut example in examples::all() {
        // The real names end with a hash of images/, which is no business of the templates.
        example.topology.images = Images {
            node: "pgclusterctl/node:test".into(),
            etcd: "pgclusterctl/etcd:test".into(),
            proxy: "pgclusterctl/proxy:test".into(),
            guard: "pgclusterctl/guard:test".into(),
            from_registry: example.topology.images.from_registry,
        };
        let artifacts = example.render();
        insta::with_settings!({ snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
            for layer in examples::layers(&artifacts) {
                let name = format!("{}.{}", example.name, layer.file_stem());
                insta::assert_snapshot!(name, document(&example, &artifacts, layer));
            }
        });
    }
}

/// All of a layer as one text.
fn document(example: &Example, artifacts: &Artifacts, layer: Layer) -> String {
    let mut text = String::new();
    let mut section = |title: &str, content: &str| {
        write!(text, "===== {title}\n{}\n\n", content.trim_end()).expect("a string takes any text");
    };
    section(&format!("{}.yml", layer.file_stem()), &examples::stack(example, artifacts, layer, false));
    for service in examples::services(artifacts, layer) {
        for config in &service.configs {
            let file = &artifacts.configs[config];
            section(&file.path, &file.text);
        }
    }
    if let Layer::Group(group) = layer {
        let dynamic = serde_json::to_string_pretty(&artifacts.dynamic[&group]).expect("JSON");
        section(&format!("{group}.json"), &dynamic);
    }
    text
}
