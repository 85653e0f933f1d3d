//! Building images with the builder of the local engine.

use std::collections::BTreeSet;
use std::time::Instant;

use bollard::Docker;
use serde::Serialize;

use super::error::ImageError;
use super::local::{failed, is_not_found};
use super::recipe::Recipe;
use super::sources::{self, Sources};
use super::{context, tool};
use crate::output::{Step, Ui};
use crate::quantity::whole_millis;

/// Proxies that builders take from the command line without a declaration in the Dockerfile.
const PROXY_VARIABLES: [&str; 8] =
    ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY"];

/// An image of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Built {
    /// Its name.
    pub image: String,
    /// What was done.
    pub outcome: Outcome,
    /// Unpacked size in bytes, layers that other images share included.
    pub size_bytes: u64,
    /// How long it took, 0 when it was there.
    pub elapsed_ms: u64,
}

/// What was done about an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was there.
    Present,
    /// It was built.
    Built,
}

/// Builds what is missing, one after another: each build keeps all cores busy by itself. With `rebuild` all of it is built.
pub async fn build(
    ui: &Ui,
    docker: &Docker,
    recipes: &[Recipe],
    sources: &Sources,
    rebuild: bool,
) -> Result<Vec<Built>, ImageError> {
    let mut built = Vec::new();
    let mut ready = BTreeSet::new();
    for recipe in recipes {
        if !rebuild && let Some(size_bytes) = size(docker, &recipe.tag).await? {
            built.push(Built { image: recipe.tag.clone(), outcome: Outcome::Present, size_bytes, elapsed_ms: 0 });
            continue;
        }
        let started = Instant::now();
        let base = sources.base(recipe.component);
        if ready.insert(base.clone()) {
            sources::ensure_base(ui, docker, &base).await?;
        }
        if recipe.citus {
            sources::ensure_citus(ui, docker, &sources.citus()).await?;
        }
        build_one(ui, recipe, sources, rebuild).await?;
        let size_bytes = size(docker, &recipe.tag).await?.unwrap_or_default();
        let elapsed_ms = whole_millis(started.elapsed());
        built.push(Built { image: recipe.tag.clone(), outcome: Outcome::Built, size_bytes, elapsed_ms });
    }
    Ok(built)
}

async fn build_one(ui: &Ui, recipe: &Recipe, sources: &Sources, rebuild: bool) -> Result<(), ImageError> {
    let doing = format!("building {}", recipe.tag);
    let step = Step::start(ui, doing.clone());
    let place = context::write(recipe)?;
    let mut command = tool::docker();
    command.args(arguments(recipe, sources, rebuild));
    for variable in PROXY_VARIABLES {
        // The value stays in the environment: a proxy's address may hold a password.
        if std::env::var_os(variable).is_some() {
            command.args(["--build-arg", variable]);
        }
    }
    command.arg(place.path());
    tool::run(&step, &doing, &format!("image-{}", recipe.component), command).await?;
    step.done("");
    Ok(())
}

/// Arguments of `docker`, but for the context.
fn arguments(recipe: &Recipe, sources: &Sources, rebuild: bool) -> Vec<String> {
    let mut arguments = vec!["build".to_owned(), "--tag".to_owned(), recipe.tag.clone()];
    if rebuild {
        // The point of building again is newer packages: no layer of the last build may stand in for them.
        arguments.push("--no-cache".into());
    }
    if let Some(target) = recipe.target {
        arguments.extend(["--target".into(), target.into()]);
    }
    let citus = recipe.citus.then(|| ("CITUS_IMAGE", sources.citus()));
    let base = ("BASE_IMAGE", sources.base(recipe.component));
    for (name, value) in [base].into_iter().chain(citus).chain(recipe.args.iter().cloned()) {
        arguments.extend(["--build-arg".into(), format!("{name}={value}")]);
    }
    arguments
}

/// Size of an image of this machine in bytes; `None` when it is not there.
async fn size(docker: &Docker, image: &str) -> Result<Option<u64>, ImageError> {
    match docker.inspect_image(image).await {
        Ok(found) => Ok(Some(found.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default())),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(failed(format!("inspect the image {image}"))(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_builder_is_told() {
        let recipe = Recipe {
            component: "node",
            tag: "pgclusterctl/node:17-citus-ab".into(),
            target: Some("citus"),
            args: vec![("PG_MAJOR", "17".into())],
            citus: true,
            downloads: false,
            program: false,
        };
        let sources = Sources { base: None, citus: Some("local/citus:1".into()) };
        let told = arguments(&recipe, &sources, true).join(" ");
        assert_eq!(
            told,
            "build --tag pgclusterctl/node:17-citus-ab --no-cache --target citus --build-arg BASE_IMAGE=debian:trixie-slim \
             --build-arg CITUS_IMAGE=local/citus:1 --build-arg PG_MAJOR=17"
        );
    }
}
