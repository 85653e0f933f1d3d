//! The way through a registry: this machine's images go there under the registry's names, and the hosts pull them.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::future::join_all;

use super::carry::Received;
use super::error::ImageError;
use super::local::{self, failed};
use super::recipe::Needed;
use super::survey::{fingerprints, outcome, unreachable};
use super::tool;
use crate::observe::model::Probe;
use crate::output::{Step, Ui};
use crate::quantity::whole_millis;
use crate::remote::fleet::{Fleet, Link};
use crate::remote::ssh::SshError;
use crate::topology::HostName;

/// Tags and pushes what was built here, with the logins of the `docker` command. Images that the topology names itself are in
/// their registry already, and what was not built here may be there too: the hosts will tell.
pub async fn publish(ui: &Ui, images: &[Needed]) -> Result<(), ImageError> {
    let ours = || images.iter().filter_map(|image| Some((&image.name, &image.recipe.as_ref()?.tag)));
    let tags: Vec<String> = ours().map(|(_, tag)| tag.clone()).collect();
    let here = fingerprints(&local::connect().await?, &tags).await.map_err(failed("inspect images"))?;
    for (name, tag) in ours() {
        if !here.contains_key(tag) {
            ui.note(format!("{tag} is not on this machine; the hosts get what the registry has as {name}"));
            continue;
        }
        let doing = format!("pushing {name}");
        let step = Step::start(ui, doing.clone());
        for arguments in [["tag", tag, name].as_slice(), ["push", name].as_slice()] {
            let mut command = tool::docker();
            command.args(arguments);
            tool::run(&step, &doing, "image-push", command).await?;
        }
        step.done("");
    }
    Ok(())
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
    let elapsed_ms = whole_millis(started.elapsed());
    Ok(Received { images: names.to_vec(), sent_bytes: 0, elapsed_ms })
}
