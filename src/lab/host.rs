//! One lab host as an object of the local engine: made, started, asked, looked at.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, HostConfigLogConfig, NetworkingConfig,
    VolumeCreateRequest,
};
use bollard::query_parameters::{CreateContainerOptions, LogsOptions, RemoveContainerOptions, UploadToContainerOptions};
use futures_util::StreamExt;

use super::error::LabError;
use super::folder::HostKeys;
use super::privilege::{self, Rights, unknown_capability};
use super::spec::LabName;
use crate::images::local::{LocalError, failed};
use crate::remote::exec;

/// Lines of a dead host's log that an error shows.
const LOG_TAIL: &str = "15";

/// Who may log in to a host.
const AUTHORIZED_KEYS: &str = "/root/.ssh/authorized_keys";
/// What a host shows of itself.
const HOST_KEY_PUBLIC: &str = "/etc/ssh/ssh_host_ed25519_key.pub";

/// What a host is made of.
#[derive(Debug)]
pub struct NewHost<'a> {
    /// Its lab.
    pub lab: &'a LabName,
    /// Its name.
    pub name: &'a str,
    /// Whether the lab's topology leaves it out.
    pub spare: bool,
    /// Its fixed address in the lab's network.
    pub address: Ipv4Addr,
    /// The lab host's image.
    pub image: &'a str,
    /// Its identity and who may log in.
    pub keys: &'a HostKeys,
}

/// Makes and starts a host with these rights. What the engine does not know is taken off `rights`. On failure the container is
/// removed again, the volume is left for the next try.
pub async fn create(docker: &Docker, host: &NewHost<'_>, rights: &mut Rights) -> Result<(), LocalError> {
    let object = host.lab.object(host.name);
    let labels = host.lab.host_labels(host.name, host.spare);
    let volume = VolumeCreateRequest { name: Some(object.clone()), labels: Some(labels), ..Default::default() };
    docker.create_volume(volume).await.map_err(failed(format!("create the volume {object}")))?;

    loop {
        let options = CreateContainerOptions { name: Some(object.clone()), ..Default::default() };
        let error = match docker.create_container(Some(options), body(host, &object, rights)).await {
            Ok(_) => break,
            Err(error) => error,
        };
        let unknown = unknown_capability(&error.to_string()).map(str::to_owned);
        match (rights as &mut Rights, unknown) {
            (Rights::Capabilities(names), Some(unknown)) if names.contains(&unknown) => names.retain(|name| name != &unknown),
            _ => return Err(failed(format!("create the container {object}"))(error)),
        }
    }
    let started = async {
        let options = UploadToContainerOptions { path: "/".into(), ..Default::default() };
        let archive = bollard::body_full(archive(host.keys).into());
        docker
            .upload_to_container(&object, Some(options), archive)
            .await
            .map_err(failed(format!("copy keys into {object}")))?;
        docker.start_container(&object, None).await.map_err(failed(format!("start the container {object}")))
    };
    if let Err(error) = started.await {
        // The first failure is the one worth telling.
        let _ = remove(docker, &object).await;
        return Err(error);
    }
    Ok(())
}

/// Gives a running host the folder's keys where it has others; returns whether it had.
pub async fn give_keys(docker: &Docker, object: &str, keys: &HostKeys) -> Result<bool, LocalError> {
    let (_, has) = exec(docker, object, &["cat", AUTHORIZED_KEYS, HOST_KEY_PUBLIC]).await?;
    if has.as_bytes() == [keys.authorized.as_slice(), keys.public.as_slice()].concat() {
        return Ok(false);
    }
    upload(docker, object, keys).await?;
    // sshd has its host key in memory; its sessions survive the signal.
    exec(docker, object, &["sh", "-c", "chown -R root:root /root/.ssh && kill -HUP $(cat /run/sshd.pid)"]).await?;
    Ok(true)
}

async fn upload(docker: &Docker, object: &str, keys: &HostKeys) -> Result<(), LocalError> {
    let options = UploadToContainerOptions { path: "/".into(), ..Default::default() };
    let archive = bollard::body_full(archive(keys).into());
    docker.upload_to_container(object, Some(options), archive).await.map_err(failed(format!("copy keys into {object}")))
}

/// Removes a container, running or not.
pub async fn remove(docker: &Docker, object: &str) -> Result<(), LocalError> {
    let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
    docker.remove_container(object, Some(options)).await.map_err(failed(format!("remove the container {object}")))
}

fn body(host: &NewHost<'_>, object: &str, rights: &Rights) -> ContainerCreateBody {
    let mut config: HostConfig = privilege::host_config(rights);
    let binds = config.binds.get_or_insert_default();
    binds.push(format!("{object}:/var/lib/docker"));
    if std::path::Path::new("/lib/modules").exists() {
        // For modprobe, where iptables and overlayfs are modules that nothing has loaded yet.
        binds.push("/lib/modules:/lib/modules:ro".into());
    }
    config.log_config = Some(HostConfigLogConfig {
        typ: Some("json-file".into()),
        config: Some(HashMap::from([("max-size".to_owned(), "10m".to_owned()), ("max-file".to_owned(), "2".to_owned())])),
    });
    let endpoint = EndpointSettings {
        ipam_config: Some(EndpointIpamConfig { ipv4_address: Some(host.address.to_string()), ..Default::default() }),
        ..Default::default()
    };
    ContainerCreateBody {
        hostname: Some(host.name.to_owned()),
        image: Some(host.image.to_owned()),
        labels: Some(host.lab.host_labels(host.name, host.spare)),
        host_config: Some(HostConfig { network_mode: Some(host.lab.prefix()), ..config }),
        networking_config: Some(NetworkingConfig { endpoints_config: Some(HashMap::from([(host.lab.prefix(), endpoint)])) }),
        ..Default::default()
    }
}

/// The files that a host needs before its sshd starts. sshd is told to offer no other key than the one in known_hosts.
fn archive(keys: &HostKeys) -> Vec<u8> {
    const ONLY_KEY: &[u8] = b"HostKey /etc/ssh/ssh_host_ed25519_key\n";
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, mode: u32, content: &[u8]| {
        let path = path.trim_start_matches('/');
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_mtime(0);
        // Writing into a Vec fails only for paths beyond tar's limits; these are constants.
        let _ = tar.append_data(&mut header, path, content);
    };
    add(AUTHORIZED_KEYS, 0o600, &keys.authorized);
    add("/etc/ssh/ssh_host_ed25519_key", 0o600, &keys.private);
    add(HOST_KEY_PUBLIC, 0o644, &keys.public);
    add("/etc/ssh/sshd_config.d/host-key.conf", 0o644, ONLY_KEY);
    tar.into_inner().unwrap_or_default()
}

/// Runs a command inside a host; returns its exit code and what it wrote to either output.
pub async fn exec(docker: &Docker, object: &str, command: &[&str]) -> Result<(i64, String), LocalError> {
    let doing = || failed(format!("run {} in {object}", command.first().copied().unwrap_or_default()));
    let options = CreateExecOptions {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(command.to_vec()),
        ..Default::default()
    };
    let id = docker.create_exec(object, options).await.map_err(doing())?.id;
    let mut text = String::new();
    if let StartExecResults::Attached { mut output, .. } = docker.start_exec(&id, None).await.map_err(doing())? {
        while let Some(chunk) = output.next().await {
            text.push_str(&String::from_utf8_lossy(&chunk.map_err(doing())?.into_bytes()));
        }
    }
    Ok((exec::status(docker, &id).await.map_err(doing())?, text))
}

/// The last lines of a host's log, indented.
pub async fn log_tail(docker: &Docker, object: &str) -> String {
    let lines = log(docker, object, LOG_TAIL).await;
    lines.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

async fn log(docker: &Docker, object: &str, tail: &str) -> Vec<String> {
    let options = LogsOptions { stdout: true, stderr: true, tail: tail.into(), ..Default::default() };
    let lines = docker.logs(object, Some(options)).filter_map(|line| async { line.ok() }).map(LogOutput::into_bytes);
    lines.map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned()).collect().await
}

/// What the engine's processes can give, seen through a container that shares its process table: the engine may run elsewhere,
/// and this program may be confined differently.
pub async fn bounding_set(docker: &Docker, lab: &LabName, image: &str) -> Result<Option<privilege::BoundingSet>, LabError> {
    // The first process of the engine's machine or sandbox, and every daemon in it.
    const SCRIPT: &str = "grep -hs '^CapBnd:' /proc/1/status \
        $(grep -lsE '^Name:[[:space:]](dockerd|containerd)$' /proc/[0-9]*/status) | cut -f2";
    let object = lab.object("probe");
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        labels: Some(lab.labels()),
        entrypoint: Some(vec!["sh".into(), "-c".into(), SCRIPT.into()]),
        network_disabled: Some(true),
        host_config: Some(HostConfig { pid_mode: Some("host".into()), ..Default::default() }),
        ..Default::default()
    };
    // A probe left by an interrupted run.
    let _ = remove(docker, &object).await;
    let options = CreateContainerOptions { name: Some(object.clone()), ..Default::default() };
    docker.create_container(Some(options), body).await.map_err(failed(format!("create the container {object}")))?;
    let seen = async {
        docker.start_container(&object, None).await.map_err(failed(format!("start the container {object}")))?;
        let mut end = docker.wait_container(&object, None);
        while end.next().await.is_some_and(|event| event.is_ok()) {}
        Ok::<_, LocalError>(log(docker, &object, "all").await.join("\n"))
    }
    .await;
    remove(docker, &object).await?;
    Ok(privilege::BoundingSet::parse(&seen?))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_host_gets_its_keys_with_strict_modes() {
        let keys = HostKeys { private: b"private".to_vec(), public: b"public".to_vec(), authorized: b"login".to_vec() };
        let bytes = archive(&keys);
        let mut seen = Vec::new();
        for entry in tar::Archive::new(&bytes[..]).entries().expect("an archive") {
            let mut entry = entry.expect("an entry");
            let mut content = String::new();
            entry.read_to_string(&mut content).expect("text");
            let path = entry.path().expect("a path").display().to_string();
            seen.push((path, entry.header().mode().expect("a mode"), content));
        }
        assert_eq!(seen[0], ("root/.ssh/authorized_keys".into(), 0o600, "login".into()));
        assert_eq!(seen[1], ("etc/ssh/ssh_host_ed25519_key".into(), 0o600, "private".into()));
        assert_eq!(seen.len(), 4);
    }
}
