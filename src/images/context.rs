//! Build contexts as folders: what is embedded in this program, written out for the builder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use include_dir::{Dir, DirEntry};
use tempfile::TempDir;

use super::error::{ImageError, file};
use super::recipe::Recipe;
use crate::topology::images::CONTEXTS;

/// Name under which a Dockerfile finds the machine's certificates.
const CA_BUNDLE: &str = "ca-bundle.crt";

/// Variables that name a file with the certificates this machine trusts, most specific first.
const CA_VARIABLES: [&str; 3] = ["CARGO_HTTP_CAINFO", "SSL_CERT_FILE", "CURL_CA_BUNDLE"];

/// Where Debian and Ubuntu keep them.
const CA_DEFAULT: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Name under which a Dockerfile finds this program.
const PROGRAM: &str = "pgclusterctl";

/// Writes a recipe's build context into a folder that vanishes with the value; with the machine's certificates if the build
/// downloads: behind a proxy that breaks TLS open, nothing else knows the proxy's.
pub fn write(recipe: &Recipe) -> Result<TempDir, ImageError> {
    let component = recipe.component;
    let place = TempDir::with_prefix("pgclusterctl-").map_err(file(std::env::temp_dir(), "written"))?;
    if let Some(folder) = CONTEXTS.get_dir(component) {
        write_entries(folder, component, place.path())?;
    }
    if recipe.program {
        // The file that runs, also when a newer one was installed in its place meanwhile.
        let own = Path::new("/proc/self/exe");
        fs::copy(own, place.path().join(PROGRAM)).map_err(file(own, "copied"))?;
    }
    if recipe.downloads
        && let Some(bundle) = ca_bundle()
    {
        let to = place.path().join(CA_BUNDLE);
        fs::copy(&bundle, &to).map_err(file(bundle, "copied"))?;
    }
    Ok(place)
}

fn write_entries(folder: &Dir<'_>, component: &str, place: &Path) -> Result<(), ImageError> {
    for entry in folder.entries() {
        // Paths of entries begin with the component's name.
        let to = place.join(entry.path().strip_prefix(component).unwrap_or(entry.path()));
        match entry {
            DirEntry::Dir(inner) => {
                fs::create_dir_all(&to).map_err(file(&to, "created"))?;
                write_entries(inner, component, place)?;
            }
            DirEntry::File(found) => {
                fs::write(&to, found.contents()).map_err(file(&to, "written"))?;
                fs::set_permissions(&to, fs::Permissions::from_mode(mode(found.contents()))).map_err(file(&to, "written"))?;
            }
        }
    }
    Ok(())
}

/// Embedding keeps no modes. What starts with `#!` is meant to be run.
fn mode(content: &[u8]) -> u32 {
    if content.starts_with(b"#!") { 0o755 } else { 0o644 }
}

fn ca_bundle() -> Option<PathBuf> {
    let named = CA_VARIABLES.into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    named.chain([PathBuf::from(CA_DEFAULT)]).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_can_be_run_and_folders_are_kept() {
        let recipe = Recipe {
            component: "node",
            tag: "t".into(),
            target: None,
            args: Vec::new(),
            citus: false,
            downloads: false,
            program: false,
        };
        let place = write(&recipe).expect("writes");
        let mode = |name: &str| fs::metadata(place.path().join(name)).expect("exists").permissions().mode() & 0o777;
        assert_eq!(mode("node-entrypoint"), 0o755);
        assert_eq!(mode("Dockerfile"), 0o644);
        assert!(place.path().join("sql").is_dir());
        assert!(!place.path().join(CA_BUNDLE).exists());
    }
}
