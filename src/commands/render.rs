//! `render`: everything that would be deployed, as files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::output::{Report, Ui};
use crate::templates::{self, Artifacts};
use crate::topology::Topology;

/// Arguments of `render`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder to write to; created, and only files of an earlier render are replaced.
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
}

/// Lists what a render wrote, so that the next one knows what it may replace or remove.
const MANIFEST: &str = ".pgclusterctl-rendered";

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let topology = context.topology()?;
    let artifacts = templates::render(&topology)?;
    let files = files(&topology, &artifacts);
    write(&args.output, &files)?;
    let report = RenderReport {
        schema_version: 1,
        cluster: topology.name.to_string(),
        folder: args.output.display().to_string(),
        files: files.into_keys().collect(),
    };
    context.ui.result(&report)?;
    Ok(Exit::Ok)
}

/// Every file by its path inside the folder.
fn files(topology: &Topology, artifacts: &Artifacts) -> BTreeMap<String, String> {
    let mut files: BTreeMap<_, _> = artifacts.configs.values().map(|file| (file.path.clone(), file.text.clone())).collect();
    let layers: std::collections::BTreeSet<_> = artifacts.services.iter().map(|s| s.layer).collect();
    for layer in layers {
        let services: Vec<_> = artifacts.services.iter().filter(|s| s.layer == layer).collect();
        let text = templates::stack_file(topology, artifacts, &services, false);
        files.insert(format!("stack/{}.yml", layer.file_stem()), text);
    }
    for (group, value) in &artifacts.dynamic {
        files.insert(format!("patroni/{group}.json"), format!("{value:#}\n"));
    }
    files
}

fn write(folder: &Path, files: &BTreeMap<String, String>) -> Result<(), CommandError> {
    let failed = |path: &Path, error: std::io::Error| {
        CommandError::new(Exit::Refused, format!("{}: cannot be written: {error}", path.display()))
    };
    let manifest = folder.join(MANIFEST);
    let earlier = std::fs::read_to_string(&manifest).unwrap_or_default();
    let occupied = folder.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if occupied && earlier.is_empty() {
        let error = CommandError::new(Exit::Refused, format!("{}: holds files that no render wrote", folder.display()));
        return Err(error.hint("name an empty or a new folder"));
    }
    std::fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
    // First the list of old and new, then the files: whatever moment this stops at, the next render knows its own.
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    std::fs::write(&manifest, format!("{earlier}{}\n", names.join("\n"))).map_err(|e| failed(&manifest, e))?;
    for stale in earlier.lines().filter(|name| !name.is_empty() && !files.contains_key(*name)) {
        // One that is gone already is as it should be.
        let _ = std::fs::remove_file(folder.join(stale));
    }
    for (name, text) in files {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&path, text)).map_err(|e| failed(&path, e))?;
    }
    std::fs::write(&manifest, format!("{}\n", names.join("\n"))).map_err(|e| failed(&manifest, e))
}

/// What was written.
#[derive(Debug, Serialize)]
struct RenderReport {
    schema_version: u32,
    cluster: String,
    folder: String,
    files: Vec<String>,
}

impl Report for RenderReport {
    fn text(&self, _ui: &Ui) -> String {
        let mut text: String = self.files.iter().map(|file| format!("{}/{file}\n", self.folder)).collect();
        text.push_str(&format!("{} files\n", self.files.len()));
        text
    }
}
