//! `lab up`: from nothing, or from whatever exists of a lab, to hosts that answer.

use std::path::{Path, PathBuf};

use bollard::Docker;
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use futures_util::future::try_join_all;
use ipnet::Ipv4Net;

use super::error::{LabError, file};
use super::folder::{Folder, Written};
use super::host::{self, NewHost};
use super::privilege::{BoundingSet, Rights};
use super::report::{self, LabReport};
use super::spec::{self, DEFAULT_SUBNET, FOLDER_LABEL, LabName, Subnet, host_name};
use super::state::{self, Existing};
use crate::images::local::{LocalError, failed};
use crate::images::{self, local};
use crate::output::{Step, Ui};

/// What lab is asked for.
#[derive(Debug)]
pub struct Request {
    /// Its name.
    pub name: LabName,
    /// Its folder; when not given, that of the existing lab, or one named like the lab.
    pub folder: Option<PathBuf>,
    /// Its subnet; when not given, that of the existing lab, or [`DEFAULT_SUBNET`].
    pub subnet: Option<Ipv4Net>,
    /// Number of hosts of its topology; an existing lab never gets fewer.
    pub hosts: u8,
    /// Number of further hosts, which the topology leaves out.
    pub spares: u8,
    /// Shard groups of its topology; when not given, as many as it has, or three.
    pub shards: Option<u32>,
}

/// Makes or completes a lab. Hosts that were switched off stay off, and are an error that says how to switch them on.
pub async fn up(ui: &Ui, request: &Request) -> Result<LabReport, LabError> {
    let name = &request.name;
    let docker = local::connect().await?;
    let existing = state::find(&docker, name).await?;
    let (subnet, path) = settings(request, &existing)?;
    let (hosts, all) = counts(request, &existing)?;

    if existing.network.is_none() {
        make_network(&docker, name, subnet, &path).await?;
    }
    let folder = Folder::open(&path)?;
    folder.make_keys(name, all).await?;
    folder.write_known_hosts(subnet, all)?;
    if folder.write_topology(subnet, hosts, request.shards)? == Written::Kept {
        let path = folder.topology();
        ui.note(format!("{} was edited and is kept; delete it to have it written again", path.display()));
    }

    let lab = Lab { docker: &docker, name, subnet, folder: &folder, hosts };
    let missing: Vec<u8> = (1..=all).filter(|n| !existing.hosts.contains_key(n)).collect();
    if !missing.is_empty() {
        let image = images::lab_host(ui, &docker).await?;
        lab.make_hosts(ui, &image, &missing).await?;
    }
    let off: Vec<String> = existing.hosts.iter().filter(|(_, on)| !**on).map(|(n, _)| host_name(*n)).collect();
    if !off.is_empty() {
        let many = off.len() > 1;
        return Err(LabError::Off { name: name.to_string(), hosts: off.join(", "), many, flag: name.flag() });
    }
    lab.wait_for_all(ui, all).await?;
    lab.give_keys(ui, existing.hosts.keys().copied()).await?;
    if let Some(first) = missing.first() {
        lab.check_kernel(ui, &host_name(*first)).await?;
    }
    report::look(&docker, name).await
}

/// How many hosts the topology names, and how many there are with the spare ones behind them. An existing lab never gets fewer.
fn counts(request: &Request, existing: &Existing) -> Result<(u8, u8), LabError> {
    let there = existing.hosts.keys().copied().max().unwrap_or_default();
    let named = existing.hosts.keys().copied().filter(|n| !existing.spares.contains(n)).max().unwrap_or_default();
    let hosts = named.max(request.hosts);
    let all = there.max(hosts.saturating_add(request.spares));
    if all > spec::MAX_HOSTS { Err(LabError::TooMany { asked: all }) } else { Ok((hosts, all)) }
}

/// The lab's settings: as asked for, as they are, or the defaults. An existing lab cannot be given others.
fn settings(request: &Request, existing: &Existing) -> Result<(Subnet, PathBuf), LabError> {
    let wanted = request.subnet.map(Subnet::new).transpose()?;
    let Some(network) = &existing.network else {
        let subnet = match wanted {
            Some(subnet) => subnet,
            None => Subnet::new(DEFAULT_SUBNET.parse().expect("the default is a subnet"))?,
        };
        let path = request.folder.clone().unwrap_or_else(|| PathBuf::from(request.name.as_str()));
        let path = std::path::absolute(&path).map_err(file(path, "found"))?;
        return Ok((subnet, path));
    };
    let differs = |what, has: String, wanted: String| {
        let name = request.name.to_string();
        Err(LabError::Differs { name, what, has, wanted })
    };
    if let Some(wanted) = wanted.filter(|wanted| *wanted != network.subnet) {
        return differs("subnet", network.subnet.net().to_string(), wanted.net().to_string());
    }
    if let Some(wanted) = request.folder.as_ref().filter(|wanted| !same_folder(wanted, &network.folder)) {
        return differs("folder", network.folder.display().to_string(), wanted.display().to_string());
    }
    Ok((network.subnet, network.folder.clone()))
}

fn same_folder(a: &Path, b: &Path) -> bool {
    std::path::absolute(a).is_ok_and(|a| a == b) || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

async fn make_network(docker: &Docker, name: &LabName, subnet: Subnet, folder: &Path) -> Result<(), LabError> {
    let mut labels = name.labels();
    labels.insert(FOLDER_LABEL.to_owned(), folder.display().to_string());
    let config = IpamConfig {
        subnet: Some(subnet.net().to_string()),
        gateway: Some(subnet.gateway().to_string()),
        ..Default::default()
    };
    let request = NetworkCreateRequest {
        name: name.prefix(),
        driver: Some("bridge".into()),
        ipam: Some(Ipam { config: Some(vec![config]), ..Default::default() }),
        labels: Some(labels),
        ..Default::default()
    };
    match docker.create_network(request).await.map_err(failed(format!("create the network {}", name.prefix()))) {
        Ok(_) => Ok(()),
        Err(source) if overlaps(&source) => Err(LabError::SubnetTaken { subnet: subnet.net(), source }),
        Err(error) => Err(error.into()),
    }
}

fn overlaps(error: &LocalError) -> bool {
    matches!(error, LocalError::Request { source, .. } if source.to_string().contains("overlaps"))
}

/// A lab whose network and keys exist.
struct Lab<'a> {
    docker: &'a Docker,
    name: &'a LabName,
    subnet: Subnet,
    folder: &'a Folder,
    /// Hosts that the topology names; those behind are spare.
    hosts: u8,
}

impl Lab<'_> {
    /// Makes hosts: one finds out what rights the engine can give, the others get the same.
    async fn make_hosts(&self, ui: &Ui, image: &str, missing: &[u8]) -> Result<(), LabError> {
        let Some((first, others)) = missing.split_first() else { return Ok(()) };
        let step = Step::start(ui, format!("starting {} of lab {}", spec::counted(missing.len()), self.name));
        let rights = self.make_first(ui, image, *first).await?;
        try_join_all(others.iter().map(|n| async { self.make(image, *n, &mut rights.clone()).await })).await?;
        step.done("");
        Ok(())
    }

    async fn make_first(&self, ui: &Ui, image: &str, n: u8) -> Result<Rights, LabError> {
        let mut rights = Rights::Privileged;
        let privileged = match self.make(image, n, &mut rights).await {
            Ok(()) => return Ok(rights),
            Err(LabError::Local(LocalError::Request { source, .. })) => source.to_string(),
            Err(error) => return Err(error),
        };
        let set = host::bounding_set(self.docker, self.name, image).await?.unwrap_or_else(BoundingSet::guess);
        let fatal = set.fatal();
        if !fatal.is_empty() {
            ui.warn(format!(
                "the Docker engine of this machine lacks CAP_{}; a Docker host cannot work without",
                fatal.join(", CAP_")
            ));
        }
        let mut rights = Rights::Capabilities(set.present);
        match self.make(image, n, &mut rights).await {
            Ok(()) => {}
            Err(LabError::Local(source)) => return Err(LabError::Privileges { privileged, source }),
            Err(error) => return Err(error),
        }
        let without = set.missing.iter().map(|c| format!("CAP_{c}")).collect::<Vec<_>>().join(", ");
        ui.note(format!(
            "the Docker engine of this machine refuses --privileged; hosts run with single capabilities, without {without}"
        ));
        Ok(rights)
    }

    async fn make(&self, image: &str, n: u8, rights: &mut Rights) -> Result<(), LabError> {
        let host = host_name(n);
        let keys = self.folder.keys_of(&host)?;
        let host =
            NewHost { lab: self.name, name: &host, spare: n > self.hosts, address: self.subnet.host(n), image, keys: &keys };
        Ok(host::create(self.docker, &host, rights).await?)
    }

    async fn wait_for_all(&self, ui: &Ui, hosts: u8) -> Result<(), LabError> {
        let step = Step::start(ui, "waiting for sshd and dockerd");
        let waits = (1..=hosts).map(|n| async move {
            let host = host_name(n);
            let facts = state::wait_ready(self.docker, self.name, &host, self.subnet.host(n)).await?;
            if facts.storage_driver != "overlay2" && facts.storage_driver != "overlayfs" {
                let driver = &facts.storage_driver;
                ui.warn(format!(
                    "{host} keeps images with the storage driver {driver}, not overlay2: slow, and each layer is a full copy"
                ));
            }
            Ok::<_, LabError>(())
        });
        try_join_all(waits).await?;
        step.done("");
        Ok(())
    }

    /// Hosts that were there may know other keys, when the folder was lost in between.
    async fn give_keys(&self, ui: &Ui, hosts: impl Iterator<Item = u8>) -> Result<(), LabError> {
        for n in hosts {
            let host = host_name(n);
            if host::give_keys(self.docker, &self.name.object(&host), &self.folder.keys_of(&host)?).await? {
                ui.note(format!("{host} has new keys: the folder {} had lost its own", self.folder.path().display()));
            }
        }
        Ok(())
    }

    /// Swarm's overlay networks need VXLAN; without it services would start and never reach each other.
    async fn check_kernel(&self, ui: &Ui, host: &str) -> Result<(), LabError> {
        const PROBE: &str = "ip link add pgcvxlan type vxlan id 4095 dstport 4790 dev eth0 && ip link del pgcvxlan";
        let (code, text) = host::exec(self.docker, &self.name.object(host), &["sh", "-c", PROBE]).await?;
        if code != 0 {
            let text = text.trim();
            ui.warn(format!(
                "{host} cannot make a VXLAN interface ({text}): Swarm's overlay networks will not work on this kernel"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::lab::state::{Net, Objects};

    fn request(folder: Option<&str>, subnet: Option<&str>) -> Request {
        Request {
            name: "x".parse().expect("a name"),
            folder: folder.map(PathBuf::from),
            subnet: subnet.map(|s| s.parse().expect("a subnet")),
            hosts: 3,
            spares: 0,
            shards: None,
        }
    }

    fn existing(network: Option<Net>) -> Existing {
        Existing { network, hosts: BTreeMap::new(), spares: BTreeSet::new(), objects: Objects::default() }
    }

    #[test]
    fn spare_hosts_stand_behind_the_others_and_stay_spare() {
        let spares = |spares| Request { spares, ..request(None, None) };
        let mut lab = existing(None);
        assert_eq!(counts(&spares(1), &lab).expect("fits"), (3, 4));
        lab.hosts = (1..=4).map(|n| (n, true)).collect();
        lab.spares = BTreeSet::from([4]);
        assert_eq!(counts(&spares(0), &lab).expect("fits"), (3, 4));
        assert_eq!(counts(&spares(2), &lab).expect("fits"), (3, 5));
        assert!(counts(&spares(7), &lab).is_err());
    }

    #[test]
    fn a_new_lab_gets_defaults() {
        let (subnet, folder) = settings(&request(None, None), &existing(None)).expect("settings");
        assert_eq!(subnet.net().to_string(), DEFAULT_SUBNET);
        assert!(folder.is_absolute() && folder.ends_with("x"), "{}", folder.display());
    }

    #[test]
    fn an_existing_lab_keeps_its_settings() {
        let net = || {
            let subnet = Subnet::new("172.30.80.0/24".parse().expect("a subnet")).expect("fits");
            existing(Some(Net { subnet, folder: "/srv/x".into() }))
        };
        let (subnet, folder) = settings(&request(None, None), &net()).expect("settings");
        assert_eq!((subnet.net().to_string().as_str(), folder), ("172.30.80.0/24", PathBuf::from("/srv/x")));
        assert!(settings(&request(Some("/srv/x"), Some("172.30.80.0/24")), &net()).is_ok());
        assert!(settings(&request(Some("/srv/y"), None), &net()).is_err());
        assert!(settings(&request(None, Some("172.30.81.0/24")), &net()).is_err());
    }
}
