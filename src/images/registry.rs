//! The way through a registry: this machine's images go there under the registry's names, and the hosts pull them.

use std::collections::BTreeMap;
use std::time::Instant;

use bollard::Docker;
use bollard::query_parameters::CreateImageOptions;
use futures_util::TryStreamExt;
use futures_util::future::join_all;

use super::carry::Received;
use super::error::ImageError;
use super::recipe::Needed;
use super::survey::Engines;
use super::tool;
use crate::observe::model::Probe;
use crate::output::{Step, Ui};
use crate::topology::HostName;

/// Tags and pushes what was built here; images that the topology names itself are in their registry already. Uses the logins of
/// the `docker` command. Returns the names that were pushed.
pub async fn publish(ui: &Ui, images: &[Needed]) -> Result<Vec<String>, ImageError> {
    let mut published = Vec::new();
    for image in images {
        let Some(recipe) = image.recipe.as_ref().filter(|recipe| recipe.tag != image.name) else { continue };
        let doing = format!("pushing {}", image.name);
        let step = Step::start(ui, doing.clone());
        for arguments in [["tag", &recipe.tag, &image.name].as_slice(), ["push", &image.name].as_slice()] {
            let mut command = tool::docker();
            command.args(arguments);
            tool::run(&step, &doing, "image-push", command).await?;
        }
        step.done("");
        published.push(image.name.clone());
    }
    Ok(published)
}

/// Lets every host pull, all at once. A host that fails does not stop the others.
pub async fn pull(ui: &Ui, engines: &Engines, names: &[String]) -> BTreeMap<HostName, Probe<Received>> {
    let step = Step::start(ui, "pulling on the hosts");
    let pulls = engines
        .iter()
        .map(|(host, docker)| async move { (host.clone(), Probe::from((host.as_str(), pull_on(docker, names).await))) });
    let pulled = join_all(pulls).await.into_iter().collect();
    step.done("");
    pulled
}

/// An engine that has an image asks the registry for its digest alone.
async fn pull_on(docker: &Docker, names: &[String]) -> Result<Received, bollard::errors::Error> {
    let started = Instant::now();
    for name in names {
        let options = CreateImageOptions { from_image: Some(name.clone()), ..Default::default() };
        docker.create_image(Some(options), None, None).try_for_each(|_| std::future::ready(Ok(()))).await?;
    }
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Received { images: names.to_vec(), sent_bytes: 0, elapsed_ms })
}
