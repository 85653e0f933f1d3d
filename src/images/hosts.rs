//! The images of a topology on its hosts: what each lacks, and the two ways to bring it there.

use std::collections::BTreeMap;

use serde::Serialize;

use super::carry::{Received, carry};
use super::error::ImageError;
use super::local::{self, LocalError, failed};
use super::recipe::{self, Needed};
use super::registry;
use super::survey::{Fingerprint, Presence, Presences, compare, fingerprints, outcome, survey};
use crate::observe::model::Probe;
use crate::output::Ui;
use crate::remote::fleet::Fleet;
use crate::topology::{HostName, Topology};

/// Where the images of a topology are.
#[derive(Debug, Serialize)]
pub struct Whereabouts {
    /// In the order node, etcd, proxy, guard.
    pub images: Vec<String>,
    /// On this machine.
    pub here: Probe<BTreeMap<String, Presence>>,
    /// On the hosts.
    pub hosts: Presences,
}

/// Which host has which image of the topology. This machine's engine says what the right image is; without one, the name does.
pub async fn locate(topology: &Topology, fleet: &Fleet) -> Whereabouts {
    let images = names(&recipe::needed(topology));
    let own = own(&images).await;
    let known = own.as_ref().map(Clone::clone).unwrap_or_default();
    let hosts = survey(fleet, &images, &known).await;
    let here = own.map(|own| compare(&images, &own, &own));
    Whereabouts { here: outcome("this machine", here), images, hosts }
}

async fn own(names: &[String]) -> Result<BTreeMap<String, Fingerprint>, LocalError> {
    fingerprints(&local::connect().await?, names).await.map_err(failed("inspect images"))
}

/// Fails when a host lacks an image and has nowhere to get it from. Called before a cluster is changed.
pub async fn require(topology: &Topology, fleet: &Fleet) -> Result<(), ImageError> {
    if topology.images.from_registry {
        return Ok(());
    }
    // The name is enough here: this machine need not have an engine, and a tag is the hash of what it was built from.
    let names = names(&recipe::needed(topology));
    let seen = survey(fleet, &names, &BTreeMap::new()).await;
    let lacking = lacking(&seen);
    if lacking.values().all(Vec::is_empty) {
        return Ok(());
    }
    Err(ImageError::Lacking { what: told(&lacking) })
}

/// Brings every host what it lacks. A host that fails does not stop the others; its row says why.
pub async fn push(ui: &Ui, topology: &Topology, fleet: &Fleet) -> Result<BTreeMap<HostName, Probe<Received>>, ImageError> {
    let needed = recipe::needed(topology);
    if topology.images.from_registry {
        registry::publish(ui, &needed).await?;
        return Ok(registry::pull(ui, fleet, &names(&needed)).await);
    }
    let names = names(&needed);
    let from = local::connect().await?;
    let here = fingerprints(&from, &names).await.map_err(failed("inspect images"))?;
    let seen = survey(fleet, &names, &here).await;
    let lacking = lacking(&seen);
    check_here(&lacking, &here)?;
    let mut received = carry(ui, &from, fleet, &lacking).await?;
    for (host, seen) in seen {
        match seen {
            Probe::Failed(error) => drop(received.insert(host, Probe::Failed(error))),
            Probe::Known(_) => drop(received.entry(host).or_insert_with(|| Probe::Known(Received::default()))),
        }
    }
    Ok(received)
}

/// The images that each host that answered has not got.
fn lacking(seen: &Presences) -> BTreeMap<HostName, Vec<String>> {
    let absent = |images: &BTreeMap<String, Presence>| {
        images.iter().filter(|(_, presence)| !presence.is_present()).map(|(name, _)| name.clone()).collect()
    };
    seen.iter().filter_map(|(host, images)| Some((host.clone(), absent(images.known()?)))).collect()
}

/// What is to be carried must be here first.
fn check_here(lacking: &BTreeMap<HostName, Vec<String>>, here: &BTreeMap<String, Fingerprint>) -> Result<(), ImageError> {
    let absent: BTreeMap<_, Vec<_>> = lacking
        .iter()
        .map(|(host, images)| (host.clone(), images.iter().filter(|name| !here.contains_key(*name)).cloned().collect()))
        .collect();
    if absent.values().all(Vec::is_empty) { Ok(()) } else { Err(ImageError::NotBuilt { what: told(&absent) }) }
}

/// `a, b (host1, host2); c (host3)`.
fn told(lacking: &BTreeMap<HostName, Vec<String>>) -> String {
    let mut sets: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (host, images) in lacking.iter().filter(|(_, images)| !images.is_empty()) {
        sets.entry(images.join(", ")).or_default().push(host.as_str());
    }
    sets.iter().map(|(images, hosts)| format!("{images} ({})", hosts.join(", "))).collect::<Vec<_>>().join("; ")
}

fn names(needed: &[Needed]) -> Vec<String> {
    needed.iter().map(|image| image.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> HostName {
        HostName::new(name).expect("a name")
    }

    #[test]
    fn what_is_lacking_is_told_host_by_host() {
        let images = |x, y| Probe::Known(BTreeMap::from([("x".to_owned(), x), ("y".to_owned(), y)]));
        let present = || Presence::Present { size_bytes: 1 };
        let seen = BTreeMap::from([
            (host("a"), images(Presence::Missing, Presence::Other { id: "0".into() })),
            (host("b"), images(present(), present())),
            (host("c"), images(Presence::Missing, Presence::Missing)),
            (host("d"), Probe::fail("d", "gone")),
        ]);
        let lacking = lacking(&seen);
        assert_eq!(lacking.len(), 3);
        assert_eq!(told(&lacking), "x, y (a, c)");
        assert!(check_here(&lacking, &BTreeMap::new()).is_err());
    }
}
