//! The images that ours are built from: Debian's base image, and Citus'.
//!
//! A registry is asked last and may be out of reach: what is on this machine under the right name does as well, and the base
//! image can be made from Debian's packages.

use bollard::Docker;
use tempfile::NamedTempFile;
use tokio::process::Command;

use super::error::{ImageError, file};
use super::local::{failed, is_not_found};
use super::{recipe, tool};
use crate::output::{Step, Ui};

/// Makes root file systems out of Debian packages.
const MMDEBSTRAP: &str = "mmdebstrap";

/// What Debian's official slim image leaves out as well, and caches that only cost space. No mirror is named: mmdebstrap then
/// adds security and stable updates to the release, as the official image has them.
const SLIM: [&str; 8] = [
    "--variant=minbase",
    "--aptopt=Acquire::Languages \"none\"",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-include=/usr/share/locale/locale.alias",
    "--customize-hook=find \"$1/var/cache/apt\" \"$1/var/lib/apt/lists\" \"$1/var/log\" -type f -delete",
];

/// Images to build from, where they are not those that the Dockerfiles name.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Debian trixie.
    pub base: Option<String>,
    /// A file tree with Citus in it.
    pub citus: Option<String>,
}

impl Sources {
    /// The base image for a component.
    pub fn base(&self, component: &str) -> String {
        self.base.clone().unwrap_or_else(|| recipe::default_of(component, "BASE_IMAGE").unwrap_or_default().to_owned())
    }

    /// The Citus image.
    pub fn citus(&self) -> String {
        self.citus.clone().unwrap_or_else(|| recipe::default_of("node", "CITUS_IMAGE").unwrap_or_default().to_owned())
    }
}

/// Sees to it that the base image is on this machine: it is there, or pulled, or made.
pub async fn ensure_base(ui: &Ui, docker: &Docker, image: &str) -> Result<(), ImageError> {
    let Err(reason) = ensure(ui, docker, image).await? else { return Ok(()) };
    let suite = debian_suite(image);
    match suite {
        Some(suite) if rustix::process::geteuid().is_root() && tool::find(MMDEBSTRAP).is_some() => {
            make_base(ui, image, suite).await
        }
        _ => Err(ImageError::Base { image: image.to_owned(), reason, can_be_made: suite.is_some() }),
    }
}

/// Sees to it that the Citus image is on this machine: it is there, or pulled.
pub async fn ensure_citus(ui: &Ui, docker: &Docker, image: &str) -> Result<(), ImageError> {
    match ensure(ui, docker, image).await? {
        Ok(()) => Ok(()),
        Err(reason) => Err(ImageError::Citus { image: image.to_owned(), reason }),
    }
}

/// The inner error is the registry's, in one line.
async fn ensure(ui: &Ui, docker: &Docker, image: &str) -> Result<Result<(), String>, ImageError> {
    match docker.inspect_image(image).await {
        Ok(_) => return Ok(Ok(())),
        Err(error) if is_not_found(&error) => {}
        Err(error) => return Err(failed(format!("inspect the image {image}"))(error).into()),
    }
    let doing = format!("pulling {image}");
    let step = Step::start(ui, doing.clone());
    let mut command = tool::docker();
    command.args(["pull", image]);
    match tool::run(&step, &doing, "image-pull", command).await {
        Ok(()) => {
            step.done("");
            Ok(Ok(()))
        }
        Err(ImageError::Failed { tail, .. }) => Ok(Err(tail.lines().last().unwrap_or_default().trim().to_owned())),
        Err(error) => Err(error),
    }
}

async fn make_base(ui: &Ui, image: &str, suite: &str) -> Result<(), ImageError> {
    let doing = format!("making {image} from Debian's packages");
    let step = Step::start(ui, doing.clone());
    // Imported only once it is complete: a pipe would import half a system too.
    let archive = NamedTempFile::with_suffix(".tar").map_err(file(std::env::temp_dir(), "written"))?;
    let mut command = Command::new(MMDEBSTRAP);
    command.args(SLIM).arg(suite).arg(archive.path());
    tool::run(&step, &doing, "image-base", command).await?;
    let mut command = tool::docker();
    command.args(["import", "--change", "CMD [\"bash\"]"]).arg(archive.path()).arg(image);
    tool::run(&step, &doing, "image-base-import", command).await?;
    step.done("");
    Ok(())
}

/// `trixie` of `debian:trixie-slim`: only images that are Debian's by name are made under that name.
fn debian_suite(image: &str) -> Option<&str> {
    let tag = image.strip_prefix("debian:")?;
    let suite = tag.strip_suffix("-slim").unwrap_or(tag);
    suite.bytes().all(|b| b.is_ascii_lowercase()).then_some(suite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debians_own_names_are_made() {
        assert_eq!(debian_suite("debian:trixie-slim"), Some("trixie"));
        assert_eq!(debian_suite("debian:trixie"), Some("trixie"));
        for other in ["debian:13", "ubuntu:noble", "registry.example.com/debian:trixie"] {
            assert_eq!(debian_suite(other), None, "{other}");
        }
    }

    #[test]
    fn sources_default_to_what_the_dockerfiles_name() {
        let sources = Sources { citus: Some("local/citus:1".into()), base: None };
        assert_eq!(sources.base("etcd"), "debian:trixie-slim");
        assert_eq!(sources.citus(), "local/citus:1");
    }
}
