//! A lab's folder: keys, known_hosts and the topology, all made before any host starts, so that the first login already
//! meets a host key that is known.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::error::{LabError, file};
use super::spec::{LabName, Subnet, host_name, ordinal};
use super::topology_file;

/// Login key of the lab.
pub const IDENTITY: &str = "id_ed25519";
/// Host keys in OpenSSH's format.
pub const KNOWN_HOSTS: &str = "known_hosts";
/// The topology.
pub const TOPOLOGY: &str = "topology.toml";
/// Subfolder with the hosts' private keys.
const HOST_KEYS: &str = "host-keys";

/// The folder of one lab.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

/// What became of the topology file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was written, or was there with the same text.
    Fresh,
    /// Someone has edited it; it was left alone.
    Kept,
}

/// The keys that a host is given before its first start.
#[derive(Debug, Clone)]
pub struct HostKeys {
    /// Its private key.
    pub private: Vec<u8>,
    /// Its public key.
    pub public: Vec<u8>,
    /// Who may log in.
    pub authorized: Vec<u8>,
}

impl Folder {
    /// Opens or makes the folder; its path is absolute from here on.
    pub fn open(path: &Path) -> Result<Self, LabError> {
        fs::create_dir_all(path.join(HOST_KEYS)).map_err(file(path, "created"))?;
        let path = path.canonicalize().map_err(file(path, "read"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).map_err(file(&path, "protected"))?;
        Ok(Self { path })
    }

    /// Absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Absolute path of the topology file.
    pub fn topology(&self) -> PathBuf {
        self.path.join(TOPOLOGY)
    }

    /// Makes the lab's login key and the host keys of hosts 1 to `hosts`; keys that exist are kept.
    pub async fn make_keys(&self, name: &LabName, hosts: u8) -> Result<(), LabError> {
        keygen(&self.path.join(IDENTITY), &format!("pgclusterctl lab {name}")).await?;
        for n in 1..=hosts {
            let host = host_name(n);
            keygen(&self.host_key(&host), &format!("{host} of pgclusterctl lab {name}")).await?;
        }
        Ok(())
    }

    /// Reads what a host is given.
    pub fn keys_of(&self, host: &str) -> Result<HostKeys, LabError> {
        let read = |path: PathBuf| fs::read(&path).map_err(file(path, "read"));
        Ok(HostKeys {
            private: read(self.host_key(host))?,
            public: read(public(&self.host_key(host)))?,
            authorized: read(public(&self.path.join(IDENTITY)))?,
        })
    }

    /// Writes known_hosts for every host that has a key here.
    pub fn write_known_hosts(&self, subnet: Subnet, hosts: u8) -> Result<(), LabError> {
        let mut text = String::new();
        for n in 1..=hosts {
            let key = public(&self.host_key(&host_name(n)));
            let line = fs::read_to_string(&key).map_err(file(key, "read"))?;
            text.push_str(&known_hosts_line(&subnet.host(n).to_string(), &line));
        }
        self.replace(KNOWN_HOSTS, &text)
    }

    /// Writes the topology, unless someone has edited the one that is there.
    pub fn write_topology(&self, subnet: Subnet, hosts: u8, shards: Option<u32>) -> Result<Written, LabError> {
        let path = self.topology();
        let old = match fs::read_to_string(&path) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(file(path, "read")(error)),
        };
        let old = old.as_deref();
        if old.is_some_and(|old| !topology_file::is_unedited(old)) {
            return Ok(Written::Kept);
        }
        let shards = topology_file::shards(shards, old);
        let text = topology_file::sealed(&topology_file::render(subnet, hosts, shards));
        self.replace(TOPOLOGY, &text)?;
        Ok(Written::Fresh)
    }

    fn host_key(&self, host: &str) -> PathBuf {
        debug_assert!(ordinal(host).is_some(), "hosts of a lab are numbered");
        self.path.join(HOST_KEYS).join(host)
    }

    /// Replaces a file as a whole, so that nobody ever reads half of one.
    fn replace(&self, name: &str, text: &str) -> Result<(), LabError> {
        let path = self.path.join(name);
        let partial = self.path.join(format!(".{name}.partial"));
        let mut out = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&partial)
            .map_err(file(&partial, "written"))?;
        out.write_all(text.as_bytes()).map_err(file(&partial, "written"))?;
        fs::rename(&partial, &path).map_err(file(path, "written"))
    }
}

/// Makes an Ed25519 key without a passphrase where there is none.
async fn keygen(path: &Path, comment: &str) -> Result<(), LabError> {
    const PROGRAM: &str = "ssh-keygen";
    const HINT: &str = "Debian and Ubuntu: apt-get install openssh-client";
    if path.exists() && public(path).exists() {
        return Ok(());
    }
    // Half a pair, left by an interrupted run, would make ssh-keygen ask whether to overwrite it.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file(path, "replaced")(error)),
        _ => {}
    }
    let output = tokio::process::Command::new(PROGRAM)
        .args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"])
        .arg(path)
        .output()
        .await
        .map_err(|error| LabError::Program { program: PROGRAM, reason: error.to_string(), hint: HINT })?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(LabError::Program { program: PROGRAM, reason, hint: HINT })
}

fn public(private: &Path) -> PathBuf {
    private.with_extension("pub")
}

/// One line of known_hosts from a public key file's line; the comment is dropped.
fn known_hosts_line(address: &str, public_key: &str) -> String {
    let key = public_key.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    format!("{address} {key}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hosts_has_address_type_and_key() {
        assert_eq!(known_hosts_line("172.30.77.11", "ssh-ed25519 AAAA host1 of a lab\n"), "172.30.77.11 ssh-ed25519 AAAA\n");
    }

    #[test]
    fn an_edited_topology_is_kept() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(place.path()).expect("opens");
        let subnet = Subnet::new("172.30.77.0/24".parse().expect("a subnet")).expect("fits");
        assert_eq!(folder.write_topology(subnet, 3, Some(3)).expect("writes"), Written::Fresh);
        assert_eq!(folder.write_topology(subnet, 3, Some(0)).expect("writes"), Written::Fresh);
        let text = fs::read_to_string(folder.topology()).expect("reads");
        fs::write(folder.topology(), text.replace("768MiB", "2GiB")).expect("edits");
        assert_eq!(folder.write_topology(subnet, 3, Some(3)).expect("writes"), Written::Kept);
    }
}
