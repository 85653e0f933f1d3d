//! What rights a lab host gets from the engine below. Pure.
//!
//! A Docker daemon wants `--privileged`. Engines that run in a sandbox of their own may lack one of the kernel's capabilities,
//! and then refuse to give all of them; a host that gets every capability that is there, and none that is not, works as well.

use bollard::models::{HostConfig, HostConfigCgroupnsModeEnum};

/// The kernel's capabilities by number (include/uapi/linux/capability.h), as Docker writes them.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Without these no Docker daemon runs, and no keepalived in it.
const ESSENTIAL: [&str; 5] = ["SYS_ADMIN", "NET_ADMIN", "NET_RAW", "MKNOD", "SYS_CHROOT"];

/// How a host gets its rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rights {
    /// `--privileged`.
    Privileged,
    /// These capabilities and no confinement.
    Capabilities(Vec<String>),
}

/// Bounding set as the kernel prints it (`CapBnd`, hexadecimal) -> names, and the names of what is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundingSet {
    /// What can be given.
    pub present: Vec<String>,
    /// What this kernel has but the engine cannot give.
    pub missing: Vec<String>,
}

impl BoundingSet {
    /// From the lines of several processes: what all of them have. `None` when no line is a bounding set.
    pub fn parse(text: &str) -> Option<Self> {
        let masks = text.split_whitespace().map(|word| u64::from_str_radix(word, 16)).collect::<Result<Vec<_>, _>>().ok()?;
        let mask = masks.into_iter().reduce(|all, one| all & one)?;
        // Capabilities that a newer kernel has and an older one not are no loss: they start above the highest bit that is set.
        let known = CAPABILITIES.iter().enumerate().take(64 - mask.leading_zeros() as usize);
        let (present, missing): (Vec<_>, Vec<_>) = known.partition(|(bit, _)| mask & (1 << bit) != 0);
        let names = |list: Vec<(usize, &&str)>| list.into_iter().map(|(_, name)| (*name).to_owned()).collect();
        Some(Self { present: names(present), missing: names(missing) })
    }

    /// When the engine's own set cannot be seen: everything but what sandboxes take away first.
    pub fn guess() -> Self {
        let (missing, present) = CAPABILITIES.iter().map(|c| (*c).to_owned()).partition(|c| c == "SYS_RESOURCE");
        Self { present, missing }
    }

    /// What is missing and without which nothing will work.
    pub fn fatal(&self) -> Vec<&'static str> {
        ESSENTIAL.into_iter().filter(|need| !self.present.iter().any(|has| has == need)).collect()
    }
}

/// The capability that an engine says it does not know, without its prefix: engines are older than kernels.
pub fn unknown_capability(message: &str) -> Option<&str> {
    let name = message.split("unknown capability: ").nth(1)?;
    let name = name.trim_start_matches(['"', '\\']);
    let end = name.find(|c: char| !(c.is_ascii_uppercase() || c == '_')).unwrap_or(name.len());
    let name = name[..end].strip_prefix("CAP_").unwrap_or(&name[..end]);
    (!name.is_empty()).then_some(name)
}

/// The part of a host's configuration that its rights decide.
pub fn host_config(rights: &Rights) -> HostConfig {
    let common = HostConfig {
        // The inner daemon makes its control groups below the machine's own, as a daemon on a real host does.
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::HOST),
        userns_mode: Some("host".into()),
        ..HostConfig::default()
    };
    match rights {
        Rights::Privileged => HostConfig { privileged: Some(true), ..common },
        Rights::Capabilities(names) => HostConfig {
            cap_add: Some(names.clone()),
            security_opt: Some(vec!["seccomp=unconfined".into(), "apparmor=unconfined".into(), "label=disable".into()]),
            // `systempaths=unconfined` of the command line: /proc/sys is the inner daemon's to write.
            masked_paths: Some(Vec::new()),
            readonly_paths: Some(Vec::new()),
            device_cgroup_rules: Some(vec!["a *:* rwm".into()]),
            binds: Some(vec!["/sys/fs/cgroup:/sys/fs/cgroup:rw".into()]),
            ..common
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_lacks_a_capability() {
        let set = BoundingSet::parse("000001fffeffffff\n").expect("a bounding set");
        assert_eq!(set.missing, ["SYS_RESOURCE"]);
        assert_eq!(set.present.len(), 40);
        assert!(set.fatal().is_empty());
    }

    #[test]
    fn the_smallest_of_several_sets_counts() {
        let set = BoundingSet::parse("000001ffffffffff\n000001ffffdfffff\n").expect("bounding sets");
        assert_eq!(set.missing, ["SYS_ADMIN"]);
        assert_eq!(set.fatal(), ["SYS_ADMIN"]);
    }

    #[test]
    fn an_older_kernel_lacks_nothing() {
        // Linux 5.4: 38 capabilities.
        let set = BoundingSet::parse("0000003fffffffff").expect("a bounding set");
        assert_eq!((set.present.len(), set.missing.len()), (38, 0));
    }

    #[test]
    fn no_set_is_no_set() {
        assert_eq!(BoundingSet::parse(""), None);
        assert_eq!(BoundingSet::parse("CapBnd: what"), None);
    }

    #[test]
    fn engines_name_what_they_do_not_know() {
        assert_eq!(unknown_capability(r#"invalid CapAdd: unknown capability: "CAP_BPF""#), Some("BPF"));
        assert_eq!(unknown_capability("unable to apply caps: operation not permitted"), None);
    }

    #[test]
    fn single_capabilities_come_without_confinement() {
        let config = host_config(&Rights::Capabilities(vec!["NET_ADMIN".into()]));
        assert_eq!(config.privileged, None);
        assert_eq!(config.readonly_paths, Some(vec![]));
        assert_eq!(host_config(&Rights::Privileged).privileged, Some(true));
    }
}
