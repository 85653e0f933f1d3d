//! The way through a registry: this machine's images go there under the registry's names, and the hosts pull them.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::future::join_all;

use super::carry::Received;
use super::error::ImageError;
use super::recipe::Needed;
use super::survey::{outcome, unreachable};
use super::tool;
use crate::observe::model::Probe;
use crate::output::{Step, Ui};
use crate::remote::fleet::{Fleet, Link};
use crate::remote::ssh::SshError;
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

/// Lets every host pull, all at once and with the logins of its own `docker` command. A host that fails does not stop the others.
pub async fn pull(ui: &Ui, fleet: &Fleet, names: &[String]) -> BTreeMap<HostName, Probe<Received>> {
    let step = Step::start(ui, "pulling on the hosts");
    let pulls =
        fleet.links().map(|link| async move { (link.host.clone(), outcome(link.host.as_str(), pull_on(link, names).await)) });
    let mut pulled: BTreeMap<_, _> = join_all(pulls).await.into_iter().collect();
    pulled.extend(unreachable(fleet));
    step.done("");
    pulled
}

/// A host that has an image asks the registry for its digest alone.
async fn pull_on(link: &Link, names: &[String]) -> Result<Received, SshError> {
    let started = Instant::now();
    for name in names {
        // The topology's check leaves nothing in a name that a shell would take for anything else.
        link.ssh.run_ok(&format!("docker pull --quiet '{name}'"), "").await?;
    }
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Received { images: names.to_vec(), sent_bytes: 0, elapsed_ms })
}
