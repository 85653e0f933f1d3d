//! Tells cargo that the program holds a copy of `images/`, and gives the lease guard's code a fingerprint.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// What the guard is made of: a change here is a new guard image, any other change of the program is not.
const GUARD: [&str; 5] = ["src/guard", "src/commands/guard.rs", "src/topology/timing.rs", "Cargo.toml", "Cargo.lock"];

fn main() {
    // `include_dir!` reads it without saying so.
    println!("cargo::rerun-if-changed=images");
    let mut hash = Sha256::new();
    for source in GUARD {
        println!("cargo::rerun-if-changed={source}");
        for file in files(Path::new(source)) {
            let text = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            hash.update(file.as_os_str().as_encoded_bytes());
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        }
    }
    let fingerprint: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    println!("cargo::rustc-env=PGCLUSTERCTL_GUARD_FINGERPRINT={fingerprint}");
}

/// The file itself, or all files of a folder, in a stable order.
fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut inside: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    inside.sort();
    inside.iter().flat_map(|entry| files(entry)).collect()
}
