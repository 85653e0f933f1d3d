//! What a lab is called and where its hosts stand: names, labels and addresses. Pure.

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;

use super::error::LabError;
use crate::topology::ids::check_name;

/// Label that every object of a lab bears; its value is the lab's name. Nothing without it is ever touched.
pub const LABEL: &str = "pgclusterctl.lab";
/// Label of a host's container and volume; its value is the host's name.
pub const HOST_LABEL: &str = "pgclusterctl.lab.host";
/// Label of a host that the lab's topology does not name; its value is of no meaning.
pub const SPARE_LABEL: &str = "pgclusterctl.lab.spare";
/// Label of the network; its value is the folder with the lab's keys and topology, an absolute path.
pub const FOLDER_LABEL: &str = "pgclusterctl.lab.folder";

/// Subnet of a lab whose subnet was not chosen: out of 172.16.0.0/12, beyond what Docker hands out by itself first.
pub const DEFAULT_SUBNET: &str = "172.30.77.0/24";

/// Last part of the first host's address, less one: host1 is `.11`.
const HOST_OFFSET: u32 = 10;
/// Last part of the virtual address.
const VIP_OFFSET: u32 = 100;
/// Longest prefix that has room for the virtual address.
const LONGEST_PREFIX: u8 = 25;
/// Most hosts of a lab; their addresses end before the virtual one, and a laptop long before that.
pub const MAX_HOSTS: u8 = 9;

/// A lab's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabName(String);

impl FromStr for LabName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        check_name(text).map_err(|reason| reason.to_string())?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl LabName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Name of the network and prefix of every other object.
    pub fn prefix(&self) -> String {
        format!("pgclusterctl-lab-{}", self.0)
    }

    /// Name of a host's container and of its volume.
    pub fn object(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix())
    }

    /// `pgclusterctl.lab=<name>`: the filter that finds the lab's objects and no others.
    pub fn filter(&self) -> HashMap<String, Vec<String>> {
        HashMap::from([("label".to_owned(), vec![format!("{LABEL}={}", self.0)])])
    }

    /// The label of every object.
    pub fn labels(&self) -> HashMap<String, String> {
        HashMap::from([(LABEL.to_owned(), self.0.clone())])
    }

    /// The labels of what belongs to one host.
    pub fn host_labels(&self, host: &str, spare: bool) -> HashMap<String, String> {
        let mut labels = self.labels();
        labels.insert(HOST_LABEL.to_owned(), host.to_owned());
        if spare {
            labels.insert(SPARE_LABEL.to_owned(), String::new());
        }
        labels
    }

    /// How this lab is addressed on the command line: ` --name x`, or nothing for the default lab.
    pub fn flag(&self) -> String {
        if self.0 == "lab" { String::new() } else { format!(" --name {}", self.0) }
    }
}

/// A lab's network with the places of hosts and virtual address in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet(Ipv4Net);

impl Subnet {
    /// Refuses subnets that are too small, or that no private network uses: a lab must never shadow the Internet.
    pub fn new(net: Ipv4Net) -> Result<Self, LabError> {
        let bad = |reason| Err(LabError::Subnet { subnet: net, reason });
        if net.prefix_len() > LONGEST_PREFIX {
            return bad("it is too small: a lab needs a /25 or larger");
        }
        if net.addr() != net.network() {
            return bad("bits are set behind the prefix");
        }
        if !net.network().is_private() || !net.broadcast().is_private() {
            return bad("it is not within 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16");
        }
        Ok(Self(net))
    }

    /// The network itself.
    pub fn net(self) -> Ipv4Net {
        self.0
    }

    /// The machine's own address in it.
    pub fn gateway(self) -> Ipv4Addr {
        self.at(1)
    }

    /// Address of the n-th host, counted from 1.
    pub fn host(self, ordinal: u8) -> Ipv4Addr {
        self.at(HOST_OFFSET + u32::from(ordinal))
    }

    /// Address for the proxies, with the subnet's prefix length.
    pub fn vip(self) -> Ipv4Net {
        Ipv4Net::new(self.at(VIP_OFFSET), self.0.prefix_len()).unwrap_or(self.0)
    }

    fn at(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.0.network()) + offset)
    }
}

/// `host1`, `host2`, …
pub fn host_name(ordinal: u8) -> String {
    format!("host{ordinal}")
}

/// `1 host`, `3 hosts`.
pub fn counted(hosts: usize) -> String {
    if hosts == 1 { "1 host".into() } else { format!("{hosts} hosts") }
}

/// The number of a host's name, if it is one of a lab's.
pub fn ordinal(host: &str) -> Option<u8> {
    let number = host.strip_prefix("host")?.parse().ok()?;
    ((1..=MAX_HOSTS).contains(&number) && host_name(number) == host).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Result<Subnet, LabError> {
        Subnet::new(text.parse().expect("a subnet"))
    }

    #[test]
    fn addresses_follow_from_the_subnet() {
        let subnet = subnet(DEFAULT_SUBNET).expect("fits");
        assert_eq!(subnet.gateway(), Ipv4Addr::new(172, 30, 77, 1));
        assert_eq!(subnet.host(1), Ipv4Addr::new(172, 30, 77, 11));
        assert_eq!(subnet.host(MAX_HOSTS), Ipv4Addr::new(172, 30, 77, 19));
        assert_eq!(subnet.vip().to_string(), "172.30.77.100/24");
    }

    #[test]
    fn subnets_that_would_do_harm_are_refused() {
        for bad in ["8.8.8.0/24", "172.30.77.0/26", "172.30.77.1/24", "172.0.0.0/8", "0.0.0.0/0"] {
            assert!(subnet(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn names_are_checked_and_make_object_names() {
        let name: LabName = "test2".parse().expect("a name");
        assert_eq!(name.object("host1"), "pgclusterctl-lab-test2-host1");
        assert_eq!(name.flag(), " --name test2");
        assert!("../x".parse::<LabName>().is_err());
    }

    #[test]
    fn hosts_are_numbered() {
        assert_eq!(ordinal("host3"), Some(3));
        for bad in ["host0", "host10", "host03", "hostx", "3"] {
            assert_eq!(ordinal(bad), None, "{bad}");
        }
    }
}
