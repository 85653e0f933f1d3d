//! Host keys: what `known_hosts` says about a host, fingerprints, and adding a key that the operator has accepted.
//!
//! Called by [`super::ssh`] while it logs in, and by the command layer once an unknown key was shown and accepted
//! ([`append`]). Everything but [`KnownHosts::load`] and [`append`] is pure.
//!
//! libssh2 has a known_hosts reader of its own, which knows neither patterns nor `@revoked` and cannot tell which kinds of key
//! a host is known by. Without the latter a server with several keys offers the wrong one and looks as if it had changed.

use std::fmt;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A public host key.
#[derive(Clone, PartialEq, Eq)]
pub struct HostKey {
    kind: String,
    blob: Vec<u8>,
}

impl HostKey {
    /// A key in the wire format of RFC 4253, as the server sends it; `None` when it is none.
    pub fn from_blob(blob: &[u8]) -> Option<Self> {
        let length = u32::from_be_bytes(blob.get(..4)?.try_into().ok()?) as usize;
        let kind = std::str::from_utf8(blob.get(4..4 + length)?).ok()?;
        (!kind.is_empty()).then(|| Self { kind: kind.to_owned(), blob: blob.to_vec() })
    }

    /// A key as it is written in files: `ssh-ed25519 AAAA… comment`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (kind, data) = (words.next()?, words.next()?);
        let key = Self::from_blob(&STANDARD.decode(data).ok()?)?;
        (key.kind == kind).then_some(key)
    }

    /// Key type, e.g. `ssh-ed25519`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Fingerprint as OpenSSH prints it: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&self.blob)))
    }

    /// The line that makes the key known under a name of [`entry_name`].
    pub fn line(&self, name: &str) -> String {
        format!("{name} {self}")
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, STANDARD.encode(&self.blob))
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({} {})", self.kind, self.fingerprint())
    }
}

/// How a host is called in known_hosts: its address, or `[address]:port` where the port is not 22.
pub fn entry_name(address: &str, port: u16) -> String {
    if port == 22 { address.to_owned() } else { format!("[{address}]:{port}") }
}

/// What known_hosts says about a key that a host has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is the one on file.
    Trusted,
    /// The host is not on file.
    Unknown,
    /// The host is on file with other keys; the number is the first such line, counted from 1.
    Changed(usize),
    /// The key is marked `@revoked` in that line.
    Revoked(usize),
}

/// A parsed known_hosts file.
#[derive(Debug, Clone, Default)]
pub struct KnownHosts {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    line: usize,
    names: Names,
    revoked: bool,
    key: HostKey,
}

#[derive(Debug, Clone)]
enum Names {
    /// Comma-separated patterns with `*`, `?` and a leading `!`.
    Patterns(Vec<String>),
    /// `|1|salt|hash`: HMAC-SHA1 of the name under the salt.
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

impl KnownHosts {
    /// Reads a file; one that does not exist knows nobody.
    pub fn load(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => Ok(Self::parse(&String::from_utf8_lossy(&bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Parses a file's text. Lines that OpenSSH would skip are skipped, and so are certificate authorities: libssh2 does not
    /// understand host certificates.
    pub fn parse(text: &str) -> Self {
        let entries = text.lines().enumerate().filter_map(|(index, line)| Entry::parse(index + 1, line)).collect();
        Self { entries }
    }

    /// Kinds of key that the host is known by, in the order of the file.
    pub fn kinds(&self, name: &str) -> Vec<&str> {
        let mut kinds = Vec::new();
        for entry in self.entries.iter().filter(|entry| !entry.revoked && entry.names.contain(name)) {
            if !kinds.contains(&entry.key.kind()) {
                kinds.push(entry.key.kind());
            }
        }
        kinds
    }

    /// Judges the key that the host of that [`entry_name`] has shown. A host that is on file by other kinds of key only counts
    /// as changed: whoever cannot show the known key must not get away with showing a new one.
    pub fn check(&self, name: &str, key: &HostKey) -> Verdict {
        let mine = || self.entries.iter().filter(|entry| entry.names.contain(name));
        if let Some(entry) = mine().find(|entry| entry.revoked && entry.key == *key) {
            return Verdict::Revoked(entry.line);
        }
        if mine().any(|entry| !entry.revoked && entry.key == *key) {
            return Verdict::Trusted;
        }
        match mine().find(|entry| !entry.revoked) {
            Some(entry) => Verdict::Changed(entry.line),
            None => Verdict::Unknown,
        }
    }
}

impl Entry {
    fn parse(line: usize, text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return None;
        }
        let (marker, rest) = match text.strip_prefix('@') {
            Some(marked) => marked.split_once(char::is_whitespace).map(|(marker, rest)| (Some(marker), rest.trim_start()))?,
            None => (None, text),
        };
        let revoked = match marker {
            None => false,
            Some("revoked") => true,
            Some(_) => return None,
        };
        let (names, key) = rest.split_once(char::is_whitespace)?;
        Some(Self { line, names: Names::parse(names)?, revoked, key: HostKey::parse(key)? })
    }
}

impl Names {
    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("|1|") {
            Some(hashed) => {
                let (salt, hash) = hashed.split_once('|')?;
                Some(Self::Hashed { salt: STANDARD.decode(salt).ok()?, hash: STANDARD.decode(hash).ok()? })
            }
            None => Some(Self::Patterns(text.split(',').map(str::to_ascii_lowercase).collect())),
        }
    }

    fn contain(&self, name: &str) -> bool {
        match self {
            Self::Hashed { salt, hash } => {
                Hmac::<Sha1>::new_from_slice(salt).is_ok_and(|mac| mac.chain_update(name.as_bytes()).verify_slice(hash).is_ok())
            }
            Self::Patterns(patterns) => {
                let name = name.to_ascii_lowercase();
                let hit = |pattern: &str| matches(pattern.as_bytes(), name.as_bytes());
                let refused = patterns.iter().any(|pattern| pattern.strip_prefix('!').is_some_and(hit));
                !refused && patterns.iter().any(|pattern| hit(pattern))
            }
        }
    }
}

/// OpenSSH's patterns: `*` is any text, `?` any one character.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
        Some((&c, rest)) => text.split_first().is_some_and(|(&t, tail)| (c == b'?' || c == t) && matches(rest, tail)),
    }
}

/// The server's host key algorithms in order of preference, for a host known by these kinds of key (none: not known).
pub fn preferred_algorithms(known: &[&str]) -> String {
    const ALL: [&str; 6] =
        ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-512", "rsa-sha2-256"];
    // An `ssh-rsa` key signs by any of the rsa algorithms.
    let is_known =
        |algorithm: &str| known.iter().any(|kind| *kind == algorithm || (*kind == "ssh-rsa" && algorithm.starts_with("rsa-")));
    let (first, then): (Vec<&str>, Vec<&str>) = ALL.into_iter().partition(|algorithm| is_known(algorithm));
    [first, then].concat().join(",")
}

/// Makes a key known: appends its line to the file, which is created with its folder when it is missing.
pub fn append(known_hosts: &Path, name: &str, key: &HostKey) -> io::Result<()> {
    if let Some(folder) = known_hosts.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(known_hosts)?;
    let mut line = key.line(name) + "\n";
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            line.insert(0, '\n');
        }
    }
    file.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIAfuzHVJi7/5RbWHLXqxnsxBrTPTHfBcJRzbYBRqQ0E";

    fn key(text: &str) -> HostKey {
        HostKey::parse(text).expect("a key")
    }

    #[test]
    fn a_fingerprint_reads_as_ssh_keygen_prints_it() {
        // GitHub publishes this one.
        assert_eq!(key(ED25519).fingerprint(), "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU");
        assert_eq!(key(ED25519).to_string(), ED25519);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bad in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 !!!",
            "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
        ] {
            assert_eq!(HostKey::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn names_patterns_and_ports_are_told_apart() {
        let file =
            format!("# comment\n\n10.0.0.10,host1 {ED25519} root@host1\n[10.0.0.10]:2222 {OTHER}\n*.lan,!bad.lan {OTHER}\n");
        let known = KnownHosts::parse(&file);
        assert_eq!(known.check(&entry_name("10.0.0.10", 22), &key(ED25519)), Verdict::Trusted);
        assert_eq!(known.check(&entry_name("10.0.0.10", 22), &key(OTHER)), Verdict::Changed(3));
        assert_eq!(known.check(&entry_name("10.0.0.10", 2222), &key(OTHER)), Verdict::Trusted);
        assert_eq!(known.check(&entry_name("10.0.0.10", 2223), &key(OTHER)), Verdict::Unknown);
        assert_eq!(known.check("a.lan", &key(OTHER)), Verdict::Trusted);
        assert_eq!(known.check("bad.lan", &key(OTHER)), Verdict::Unknown);
        assert_eq!(known.kinds("HOST1"), ["ssh-ed25519"]);
    }

    /// That `ssh-keygen -H` hashes the same way is seen in tests/ssh.
    #[test]
    fn hashed_names_match_only_their_host() {
        let mac = Hmac::<Sha1>::new_from_slice(b"twenty bytes of salt").expect("any length").chain_update(b"10.0.0.10");
        let hash = STANDARD.encode(mac.finalize().into_bytes());
        let line = format!("|1|{}|{hash} {ED25519}", STANDARD.encode(b"twenty bytes of salt"));
        let known = KnownHosts::parse(&line);
        assert_eq!(known.check("10.0.0.10", &key(ED25519)), Verdict::Trusted);
        assert_eq!(known.check("10.0.0.11", &key(ED25519)), Verdict::Unknown);
    }

    #[test]
    fn revoked_keys_are_refused_and_authorities_ignored() {
        let known = KnownHosts::parse(&format!("@revoked * {ED25519}\n@cert-authority *.lan {OTHER}\nhost1 {ED25519}\n"));
        assert_eq!(known.check("host1", &key(ED25519)), Verdict::Revoked(1));
        assert_eq!(known.check("a.lan", &key(OTHER)), Verdict::Unknown);
    }

    #[test]
    fn known_kinds_are_asked_for_first() {
        assert!(preferred_algorithms(&[]).starts_with("ssh-ed25519,"));
        assert!(preferred_algorithms(&["ssh-rsa"]).starts_with("rsa-sha2-512,rsa-sha2-256,ssh-ed25519"));
        assert!(preferred_algorithms(&["ecdsa-sha2-nistp256"]).starts_with("ecdsa-sha2-nistp256,ssh-ed25519"));
    }

    #[test]
    fn an_accepted_key_is_appended_on_a_line_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(".ssh/known_hosts");
        append(&path, "host1", &key(ED25519)).expect("created");
        fs::write(&path, format!("host1 {ED25519}")).expect("written");
        append(&path, "[host2]:2222", &key(OTHER)).expect("appended");
        let text = fs::read_to_string(&path).expect("readable");
        assert_eq!(text, format!("host1 {ED25519}\n[host2]:2222 {OTHER}\n"));
        let known = KnownHosts::load(&path).expect("readable");
        assert_eq!(known.check(&entry_name("host2", 2222), &key(OTHER)), Verdict::Trusted);
    }
}
