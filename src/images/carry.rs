//! Carries images from this machine's engine to the hosts' engines, without a registry.
//!
//! Hosts that lack the same images share one archive: exported and compressed once, sent to all of them at the same time. An
//! engine shows an image only once it has all of it, so whatever interrupts this, the next run sends what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::query_parameters::ImportImageOptions;
use futures_util::future::join_all;
use futures_util::{Stream, StreamExt};
use indicatif::{ProgressBar, ProgressState};
use serde::Serialize;
use tokio::sync::watch;

use super::error::{ImageError, file};
use super::local::failed;
use super::spool::Spool;
use super::survey::{self, outcome};
use crate::observe::model::Probe;
use crate::output::progress::style;
use crate::output::{Ui, table};
use crate::quantity::whole_millis;
use crate::remote::fleet::{Fleet, Link};
use crate::topology::HostName;

/// Longest time from the first byte to an engine's answer: it answers only when it has everything, and lines can be slow.
const RECEIVE: Duration = Duration::from_secs(6 * 3600);

/// What one host received.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Received {
    /// Images that it lacked and has now, by name.
    pub images: Vec<String>,
    /// Bytes that were sent to it.
    pub sent_bytes: u64,
    /// From the first byte to the engine's last word.
    pub elapsed_ms: u64,
}

/// Sends each host the images it lacks, as `lacking` says. A host that fails does not stop the others.
pub async fn carry(
    ui: &Ui,
    from: &Docker,
    fleet: &Fleet,
    lacking: &BTreeMap<HostName, Vec<String>>,
) -> Result<BTreeMap<HostName, Probe<Received>>, ImageError> {
    let mut received = BTreeMap::new();
    for (images, hosts) in by_images(lacking) {
        let names: Vec<String> = images.iter().map(|name| (*name).clone()).collect();
        let spool = Spool::start(export(from.clone(), names.clone())).map_err(file(std::env::temp_dir(), "written"))?;
        let sends = fleet.links().filter(|link| hosts.contains(&&link.host)).map(|link| {
            let (spool, names) = (&spool, &names);
            async move { (link.host.clone(), outcome(link.host.as_str(), send(ui, link, spool, names).await)) }
        });
        received.extend(join_all(sends).await);
    }
    Ok(received)
}

/// Sets of missing images, each with the hosts that lack exactly these.
fn by_images(lacking: &BTreeMap<HostName, Vec<String>>) -> BTreeMap<BTreeSet<&String>, Vec<&HostName>> {
    let mut sets: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (host, images) in lacking.iter().filter(|(_, images)| !images.is_empty()) {
        sets.entry(images.iter().collect()).or_default().push(host);
    }
    sets
}

/// One archive of several images: layers that they share are in it once.
fn export(
    from: Docker,
    names: Vec<String>,
) -> impl Stream<Item = Result<bytes::Bytes, bollard::errors::Error>> + Send + 'static {
    // The library's stream borrows the client; a task that owns both lets the archive outlive this function.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut pieces = std::pin::pin!(from.export_images(&names));
        while let Some(piece) = pieces.next().await {
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    });
    futures_util::stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|item| (item, receiver)) })
}

async fn send(ui: &Ui, link: &Link, spool: &Spool, names: &[String]) -> Result<Received, ImageError> {
    let host = &link.host;
    let started = Instant::now();
    let ask = || failed(format!("receive images on {host}"));
    let meter = Meter::start(ui, host, spool.clone());
    let options = ImportImageOptions { quiet: true, ..Default::default() };
    // Engines unpack zstd by themselves since version 23, the oldest that hosts may have.
    let docker = &link.docker.clone().with_timeout(RECEIVE);
    load(docker.import_image_stream(options, meter.count(spool.read()), None)).await.map_err(ask())?;
    let there = survey::fingerprints(docker, names).await.map_err(ask())?;
    if let Some(lost) = names.iter().find(|name| !there.contains_key(*name)) {
        return Err(ImageError::NotLoaded { image: lost.clone(), host: host.to_string() });
    }
    let received = Received { images: names.to_vec(), sent_bytes: meter.sent(), elapsed_ms: whole_millis(started.elapsed()) };
    drop(meter);
    let (bytes, time) = (table::bytes(received.sent_bytes), table::millis(received.elapsed_ms));
    ui.note(format!("{host}: {} images, {bytes} in {time}", names.len()));
    Ok(received)
}

/// Takes what an engine says while it loads, to the end.
async fn load<T>(answers: impl Stream<Item = Result<T, bollard::errors::Error>>) -> Result<(), bollard::errors::Error> {
    let mut answers = std::pin::pin!(answers);
    while let Some(answer) = answers.next().await {
        answer?;
    }
    Ok(())
}

/// A host's bar, and the count behind it.
struct Meter {
    bar: ProgressBar,
    sent: Arc<AtomicU64>,
    /// Dropped with the meter, which ends the task that watches the archive's length.
    _alive: watch::Sender<()>,
}

impl Meter {
    fn start(ui: &Ui, host: &HostName, spool: Spool) -> Self {
        // Both are unknown until the archive is complete.
        let total = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = state.len().map(|length| write!(out, "of {}", table::bytes(length)));
        };
        let rest = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = state.len().map(|_| write!(out, "{} s left", state.eta().as_secs()));
        };
        let bar = ProgressBar::no_length().with_prefix(host.to_string()).with_message("waiting for the export").with_style(
            style("{prefix} {bar:32} {bytes} {total} {bytes_per_sec} {rest} {msg}")
                .with_key("total", total)
                .with_key("rest", rest),
        );
        let bar = ui.progress().add(bar);
        // Without a tick nothing is drawn before the first byte.
        bar.tick();
        let (alive, mut gone) = watch::channel(());
        let watched = bar.clone();
        tokio::spawn(async move {
            tokio::select! {
                length = spool.complete() => if let Some(length) = length { watched.set_length(length) },
                _ = gone.changed() => {}
            }
        });
        Self { bar, sent: Arc::default(), _alive: alive }
    }

    /// Counts what passes by.
    fn count<S: Stream<Item = std::io::Result<bytes::Bytes>>>(&self, stream: S) -> impl Stream<Item = S::Item> + use<S> {
        let (bar, sent) = (self.bar.clone(), self.sent.clone());
        let last = bar.clone();
        stream
            .inspect(move |chunk| {
                if let Ok(chunk) = chunk {
                    bar.inc(chunk.len() as u64);
                    if sent.fetch_add(chunk.len() as u64, Ordering::Relaxed) == 0 {
                        bar.set_message("");
                    }
                }
            })
            .chain(futures_util::stream::poll_fn(move |_| {
                last.set_message("unpacking");
                std::task::Poll::Ready(None)
            }))
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_lack_the_same_share_an_archive() {
        let host = |name: &str| HostName::new(name).expect("a name");
        let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let lacking = BTreeMap::from([
            (host("a"), list(&["x", "y"])),
            (host("b"), list(&["y", "x"])),
            (host("c"), list(&["y"])),
            (host("d"), list(&[])),
        ]);
        let sets = by_images(&lacking);
        assert_eq!(sets.len(), 2);
        assert!(sets.values().any(|hosts| hosts.len() == 2));
    }
}
