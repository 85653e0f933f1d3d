//! `lab kill`, `lab start` and `lab down`.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard::Docker;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, EndpointSettings};
use bollard::query_parameters::{KillContainerOptions, ListContainersOptionsBuilder, RemoveVolumeOptions};
use futures_util::future::try_join_all;

use super::error::LabError;
use super::host;
use super::spec::{HOST_LABEL, LABEL, LabName, host_name, ordinal};
use super::state::{self, Existing, Net};
use crate::consent::Consent;
use crate::images::local::{self, failed, is_not_found};
use crate::output::{Step, Ui};

/// Cuts a host's power: every process in it is gone at once, nothing is written any more, and nobody is told. Returns false when it was
/// off already.
pub async fn kill(name: &LabName, host: &str) -> Result<bool, LabError> {
    let docker = local::connect().await?;
    let (existing, _) = known(&docker, name).await?;
    if !is_on(&existing, name, host)? {
        return Ok(false);
    }
    let object = name.object(host);
    let killed = kill_in_silence(&docker, &object).await;
    if killed.is_err() {
        // A host that lives and hears nobody would be neither on nor off. If this fails, too, the error has told of it.
        let _ = links(&docker, &object, "up").await;
    }
    killed.map(|()| true)
}

/// Kernels that go on without their processes say good-bye to their peers and turn others away, which no host without power does: it is
/// taken off the network first. It is back on it when it is switched on again.
async fn kill_in_silence(docker: &Docker, object: &str) -> Result<(), LabError> {
    links(docker, object, "down").await?;
    let options = KillContainerOptions { signal: "SIGKILL".into() };
    docker.kill_container(object, Some(options)).await.map_err(failed(format!("kill the container {object}")))?;
    Ok(())
}

/// Sets all links of a host `up` or `down`.
async fn links(docker: &Docker, object: &str, state: &str) -> Result<(), LabError> {
    let all = format!("for link in /sys/class/net/eth*; do ip link set dev \"${{link##*/}}\" {state} || exit; done");
    let (code, said) = host::exec(docker, object, &["sh", "-c", &all]).await?;
    if code == 0 { Ok(()) } else { Err(LabError::Silence { host: object.to_owned(), said: said.trim().to_owned() }) }
}

/// The lab that a host of this name and address belongs to, on or off; `None` when it is no lab host of this machine.
pub async fn of_host(host: &str, address: Ipv4Addr) -> Result<Option<LabName>, LabError> {
    let docker = local::connect().await?;
    let filters = HashMap::from([("label", vec![LABEL.to_owned(), format!("{HOST_LABEL}={host}")])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let found = docker.list_containers(Some(options)).await.map_err(failed("list the lab's containers".to_owned()))?;
    let there = |container: &ContainerSummary| {
        let networks = container.network_settings.as_ref().and_then(|s| s.networks.as_ref());
        // What is off has no address, only the one that it will have.
        let fixed = |network: &EndpointSettings| network.ipam_config.as_ref().and_then(|ipam| ipam.ipv4_address.clone());
        networks.into_iter().flatten().any(|(_, network)| fixed(network).as_deref() == Some(&address.to_string()))
    };
    let on = |container: &ContainerSummary| container.state == Some(ContainerSummaryStateEnum::RUNNING);
    let name = found.into_iter().filter(there).max_by_key(on).and_then(|container| container.labels?.remove(LABEL));
    Ok(name.and_then(|name| name.parse().ok()))
}

/// Switches hosts on, all that are off when none is named, and waits until they answer. Returns those that were off.
pub async fn start(ui: &Ui, name: &LabName, hosts: &[String]) -> Result<Vec<String>, LabError> {
    let docker = local::connect().await?;
    let (existing, network) = known(&docker, name).await?;
    let mut off = Vec::new();
    if hosts.is_empty() {
        off.extend(existing.hosts.iter().filter(|(_, on)| !**on).map(|(n, _)| *n));
    }
    for host in hosts {
        if !is_on(&existing, name, host)? {
            off.extend(ordinal(host));
        }
    }
    let step = Step::start(ui, "waiting for sshd and dockerd");
    let docker = &docker;
    let starts = off.iter().map(|n| async move {
        let host = host_name(*n);
        let object = name.object(&host);
        docker.start_container(&object, None).await.map_err(failed(format!("start the container {object}")))?;
        state::wait_ready(docker, name, &host, network.subnet.host(*n)).await?;
        Ok::<_, LabError>(host)
    });
    let started = try_join_all(starts).await?;
    step.done("");
    Ok(started)
}

/// What `down` would remove; `None` when there is nothing.
pub async fn what_goes(name: &LabName) -> Result<Option<Existing>, LabError> {
    let docker = local::connect().await?;
    let existing = state::find(&docker, name).await?;
    Ok((!existing.objects.is_empty()).then_some(existing))
}

/// Removes everything that bears the lab's label. The folder with keys and topology stays.
pub async fn down(ui: &Ui, name: &LabName, _consent: Consent) -> Result<(), LabError> {
    let docker = local::connect().await?;
    let objects = state::find(&docker, name).await?.objects;
    let step = Step::start(ui, format!("removing lab {name}"));
    // Containers hold volumes and network.
    try_join_all(objects.containers.iter().map(|object| host::remove(&docker, object))).await?;
    for volume in &objects.volumes {
        let removed = docker.remove_volume(volume, None::<RemoveVolumeOptions>).await;
        unless_gone(removed).map_err(failed(format!("remove the volume {volume}")))?;
    }
    for network in &objects.networks {
        unless_gone(docker.remove_network(network).await).map_err(failed(format!("remove the network {network}")))?;
    }
    step.done("");
    Ok(())
}

/// Someone else may have removed it in between; that is what was wanted.
fn unless_gone(result: Result<(), bollard::errors::Error>) -> Result<(), bollard::errors::Error> {
    match result {
        Err(error) if is_not_found(&error) => Ok(()),
        other => other,
    }
}

async fn known(docker: &Docker, name: &LabName) -> Result<(Existing, Net), LabError> {
    let mut existing = state::find(docker, name).await?;
    match existing.network.take() {
        Some(network) => Ok((existing, network)),
        None => Err(LabError::NoLab { name: name.to_string(), flag: name.flag() }),
    }
}

fn is_on(existing: &Existing, name: &LabName, host: &str) -> Result<bool, LabError> {
    if let Some(on) = ordinal(host).and_then(|n| existing.hosts.get(&n)) {
        return Ok(*on);
    }
    let known = existing.hosts.keys().map(|n| host_name(*n)).collect::<Vec<_>>().join(", ");
    Err(LabError::NoHost { name: name.to_string(), host: host.to_owned(), known })
}
