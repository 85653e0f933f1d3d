//! Which host has which image, and whether it is the one that this machine has under that name.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::Docker;
use bollard::models::ImageInspect;
use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::timeout;

use super::local::is_not_found;
use crate::observe::model::Probe;
use crate::remote::fleet::Fleet;
use crate::topology::HostName;

/// Longest wait for an engine that only has to look into its own list.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Image name -> presence, per host.
pub type Presences = BTreeMap<HostName, Probe<BTreeMap<String, Presence>>>;

/// What is compared of an image. Ids alone will not do: engines that keep images in containerd give the same image another id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    id: String,
    layers: Vec<String>,
    /// Unpacked size in bytes.
    pub size_bytes: u64,
}

impl Fingerprint {
    fn of(image: ImageInspect) -> Self {
        Self {
            id: image.id.unwrap_or_default(),
            layers: image.root_fs.and_then(|fs| fs.layers).unwrap_or_default(),
            size_bytes: image.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
        }
    }

    fn is_same_as(&self, other: &Self) -> bool {
        self.id == other.id || (!self.layers.is_empty() && self.layers == other.layers)
    }

    /// The id as the `docker` command shows it.
    pub fn short_id(&self) -> String {
        self.id.trim_start_matches("sha256:").chars().take(12).collect()
    }
}

/// Whether a host has an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Presence {
    /// It has it.
    Present {
        /// Unpacked size in bytes.
        size_bytes: u64,
    },
    /// What it has under that name is another image than this machine's.
    Other {
        /// Short id of what it has.
        id: String,
    },
    /// It has none of that name.
    Missing,
}

impl Presence {
    /// `here` is this machine's image; without one any image of the name is right.
    fn of(there: Option<&Fingerprint>, here: Option<&Fingerprint>) -> Self {
        match (there, here) {
            (None, _) => Self::Missing,
            (Some(there), Some(here)) if !there.is_same_as(here) => Self::Other { id: there.short_id() },
            (Some(there), _) => Self::Present { size_bytes: there.size_bytes },
        }
    }

    /// Whether nothing has to be done.
    pub fn is_present(&self) -> bool {
        matches!(self, Self::Present { .. })
    }
}

/// The images of one engine by name; names that it does not have are left out.
pub async fn fingerprints(docker: &Docker, names: &[String]) -> Result<BTreeMap<String, Fingerprint>, bollard::errors::Error> {
    let mut found = BTreeMap::new();
    for name in names {
        match docker.inspect_image(name).await {
            Ok(image) => drop(found.insert(name.clone(), Fingerprint::of(image))),
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Asks all hosts at once. `here` is what this machine has; empty when it has no engine.
pub async fn survey(fleet: &Fleet, names: &[String], here: &BTreeMap<String, Fingerprint>) -> Presences {
    let asked = fleet.links().map(|link| async move {
        let answer = match timeout(ANSWER_WITHIN, fingerprints(&link.docker, names)).await {
            Ok(Ok(there)) => Probe::Known(compare(names, &there, here)),
            Ok(Err(error)) => outcome(link.host.as_str(), Err(error)),
            Err(_) => {
                Probe::fail(link.host.as_str(), format!("its engine gave no answer within {} s", ANSWER_WITHIN.as_secs()))
            }
        };
        (link.host.clone(), answer)
    });
    let mut seen: Presences = join_all(asked).await.into_iter().collect();
    seen.extend(unreachable(fleet));
    seen
}

/// A row for every host that could not be connected to.
pub fn unreachable<T>(fleet: &Fleet) -> impl Iterator<Item = (HostName, Probe<T>)> {
    fleet.failures().map(|(host, error)| (host.clone(), outcome(host.as_str(), Err(error))))
}

/// A result as a row's content. An error keeps its whole chain of causes: the last one is usually the one that helps.
pub fn outcome<T>(place: &str, result: Result<T, impl std::error::Error>) -> Probe<T> {
    let error = match result {
        Ok(value) => return Probe::Known(value),
        Err(error) => error,
    };
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    // The row says where; most errors of hosts say it too.
    Probe::fail(place, text.strip_prefix(&format!("{place}: ")).unwrap_or(&text))
}

/// One engine's images beside this machine's.
pub fn compare(
    names: &[String],
    there: &BTreeMap<String, Fingerprint>,
    here: &BTreeMap<String, Fingerprint>,
) -> BTreeMap<String, Presence> {
    names.iter().map(|name| (name.clone(), Presence::of(there.get(name), here.get(name)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, layers: &[&str]) -> Fingerprint {
        Fingerprint { id: format!("sha256:{id}"), layers: layers.iter().map(|l| (*l).to_owned()).collect(), size_bytes: 7 }
    }

    #[test]
    fn the_same_layers_are_the_same_image_whatever_the_id() {
        let (here, there) = (image("aa", &["1", "2"]), image("bb", &["1", "2"]));
        assert_eq!(Presence::of(Some(&there), Some(&here)), Presence::Present { size_bytes: 7 });
    }

    #[test]
    fn a_row_names_its_place_once_and_the_last_cause() {
        #[derive(Debug, thiserror::Error)]
        #[error("host1: cannot connect")]
        struct Outer(#[source] std::io::Error);
        let probe = outcome::<()>("host1", Err(Outer(std::io::Error::other("no route to host"))));
        assert_eq!(probe.failed().expect("failed").to_string(), "host1: cannot connect: no route to host");
    }

    #[test]
    fn other_layers_are_another_image() {
        let (here, there) = (image("aa", &["1", "2"]), image("0123456789abcdef", &["1", "3"]));
        assert_eq!(Presence::of(Some(&there), Some(&here)), Presence::Other { id: "0123456789ab".into() });
        assert_eq!(Presence::of(Some(&there), None), Presence::Present { size_bytes: 7 });
        assert_eq!(Presence::of(None, Some(&here)), Presence::Missing);
    }
}
