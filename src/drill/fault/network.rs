//! Networks: cut, late, or losing packets.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::inject;
use crate::consent::Consent;
use crate::drill::DrillError;
use crate::drill::scenario::{Direction, Weather};
use crate::remote::container::Container;
use crate::remote::fleet::Link;
use crate::topology::model::Host;

/// Where PostgreSQL listens, for clients and for standbys.
pub const POSTGRES: u16 = 5432;

/// Where a host's own `arp_ignore` is kept while it is cut off.
const ARP_IGNORE: &str = "/run/pgclusterctl-drill/arp_ignore";

/// The host hears or reaches nobody for so long; SSH stays.
pub async fn isolate(
    link: &Link,
    host: &Host,
    direction: Direction,
    time: Duration,
    consent: &Consent,
) -> Result<(), DrillError> {
    let (cut, heal) = isolation(host, direction);
    inject(link, "isolate", &cut, &heal, time, consent).await
}

/// What cuts a host off, and what ends that.
fn isolation(host: &Host, direction: Direction) -> (String, String) {
    let (inbound, outbound) = (direction != Direction::Outbound, direction != Direction::Inbound);
    let interface = interface(host);
    let (mut cut, mut heal) = (format!("set -e\n{interface}"), interface);
    let mut rule = |chain: &str, side: &str, ssh: &str| {
        // Packets to containers and those from them pass the same chain.
        let name = format!("PGCLUSTERCTL-{chain}{side}");
        let spare = if ssh.is_empty() { String::new() } else { format!("iptables -w -A {name} {ssh} -j RETURN\n") };
        cut += &format!(
            "iptables -w -N {name}\n{spare}iptables -w -A {name} -j DROP\niptables -w -I {chain} 1 {side} \"$if\" -j {name}\n"
        );
        heal += &format!(
            "while iptables -w -D {chain} {side} \"$if\" -j {name} 2> /dev/null; do :; done\n\
             iptables -w -F {name} 2> /dev/null; iptables -w -X {name} 2> /dev/null\n"
        );
    };
    let port = host.ssh.port;
    if inbound {
        rule("INPUT", "-i", &format!("-p tcp --dport {port}"));
        rule("FORWARD", "-i", "");
    }
    if outbound {
        rule("OUTPUT", "-o", &format!("-p tcp --sport {port}"));
        rule("FORWARD", "-o", "");
    }
    if direction == Direction::Both {
        // A host that is cut off answers no ARP request either; otherwise it would still claim the VIP.
        let set = "/proc/sys/net/ipv4/conf/$if/arp_ignore";
        // What an isolation that was not healed has kept is the host's own; what is set by now is not.
        cut += &format!("test -e {ARP_IGNORE} || cat {set} > {ARP_IGNORE}\necho 8 > {set}\n");
        heal += &format!("if test -e {ARP_IGNORE}; then cat {ARP_IGNORE} > {set} && rm -f {ARP_IGNORE} || exit 1; fi\n");
    }
    // What is left of it is what counts, not who took the rest away.
    heal += "rules=$(iptables -w -S) || exit 1\ncase $rules in *PGCLUSTERCTL-*) echo \"rules are left\"; exit 1 ;; esac\n";
    (cut, heal)
}

/// Sets `$if` to the interface that has the host's address.
fn interface(host: &Host) -> String {
    let address = host.address.to_string().replace('.', "\\.");
    format!("if=$(ip -o -4 address show | awk '$4 ~ /^{address}\\// {{ print $2; exit }}')\ntest -n \"$if\" || exit 1\n")
}

/// What a member does not reach: addresses, and of these one port only where one is named.
#[derive(Debug, Clone)]
pub struct Cut {
    /// Others' addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Their TCP port; `None` is everything.
    pub port: Option<u16>,
}

/// A member does not reach others, nor they it, for so long. Works in the member's own network namespace.
pub async fn cut(link: &Link, container: &Container, what: &Cut, time: Duration, consent: &Consent) -> Result<(), DrillError> {
    let enter = format!("pid=$(docker inspect --format '{{{{.State.Pid}}}}' {}) && ", container.id);
    let harm = format!("set -e\n{enter}test \"$pid\" -gt 0\n{}", rules(what));
    // The namespace is the container's own: nothing else has rules in these two chains, and they end with it.
    let heal = format!(
        "runs=$(docker ps --quiet --filter id={}) || exit 1\ntest -n \"$runs\" || exit 0\n\
         {enter}nsenter -t $pid -n sh -c 'iptables -w -F INPUT && iptables -w -F OUTPUT'\n",
        container.id
    );
    inject(link, &format!("cut-{}", container.name), &harm, &heal, time, consent).await
}

fn rules(what: &Cut) -> String {
    let port = |side: &str| what.port.map_or(String::new(), |port| format!(" -p tcp --{side} {port}"));
    let (from, to) = (port("sport"), port("dport"));
    let rule = |address: &Ipv4Addr| {
        format!(
            "nsenter -t $pid -n iptables -w -I INPUT -s {address}{from} -j DROP\n\
             nsenter -t $pid -n iptables -w -I OUTPUT -d {address}{to} -j DROP\n"
        )
    };
    what.addresses.iter().map(rule).collect()
}

/// What the host sends is late, or lost in part, for so long.
pub async fn disturb(link: &Link, host: &Host, weather: Weather, time: Duration, consent: &Consent) -> Result<(), DrillError> {
    let interface = interface(host);
    // Refused where somebody has put a queue of their own there: it would be lost with the healing.
    let harm = format!("{interface}tc qdisc add dev \"$if\" root {}\n", netem(weather));
    let heal = format!(
        "{interface}queues=$(tc qdisc show dev \"$if\") || exit 1\n\
         case $queues in *netem*) tc qdisc del dev \"$if\" root ;; esac\n"
    );
    inject(link, "disturb", &harm, &heal, time, consent).await
}

/// The queueing discipline as `tc` is told it.
fn netem(weather: Weather) -> String {
    match weather {
        Weather::Slow(delay) => format!("netem delay {}ms", delay.as_millis()),
        Weather::Lossy(percent) => format!("netem loss {percent}%"),
    }
}

/// Why a host cannot delay or lose packets; `None` when it can. Tried in a network namespace that ends with the question.
pub async fn without_netem(link: &Link) -> Result<Option<String>, DrillError> {
    let tried = link.ssh.run("unshare --net tc qdisc add dev lo root netem delay 1ms", "").await.map_err(DrillError::Ssh)?;
    Ok((!tried.success()).then(|| tried.error_text().lines().next().unwrap_or("no reason is given").to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::example;

    #[test]
    fn a_cut_is_two_rules_for_each_address() {
        let addresses = vec![Ipv4Addr::new(10, 0, 1, 5), Ipv4Addr::new(10, 0, 2, 5)];
        let all = rules(&Cut { addresses: addresses.clone(), port: None });
        assert_eq!(all.lines().count(), 4);
        assert!(all.starts_with("nsenter -t $pid -n iptables -w -I INPUT -s 10.0.1.5 -j DROP\n"), "{all}");
        let one = rules(&Cut { addresses, port: Some(POSTGRES) });
        assert!(one.contains("-I INPUT -s 10.0.2.5 -p tcp --sport 5432 -j DROP\n"), "{one}");
        assert!(one.contains("-I OUTPUT -d 10.0.2.5 -p tcp --dport 5432 -j DROP\n"), "{one}");
    }

    #[test]
    fn containers_are_cut_off_with_their_host() {
        let host = &example("three-hosts").hosts[0];
        let jumps = |direction| {
            let (cut, heal) = isolation(host, direction);
            let jumps = cut.lines().filter_map(|line| line.strip_prefix("iptables -w -I ")?.split_once(" -j "));
            let jumps: Vec<_> = jumps.map(|(rule, chain)| (rule.to_owned(), chain.to_owned())).collect();
            for (rule, chain) in &jumps {
                assert!(heal.contains(&format!("-D {} -j {chain} ", rule.replace(" 1 ", " "))), "{rule} is not healed");
                assert!(heal.contains(&format!("iptables -w -X {chain} ")), "{chain} stays");
            }
            jumps.into_iter().map(|(rule, _)| rule).collect::<Vec<_>>()
        };
        let inbound = ["INPUT 1 -i \"$if\"", "FORWARD 1 -i \"$if\""];
        let outbound = ["OUTPUT 1 -o \"$if\"", "FORWARD 1 -o \"$if\""];
        assert_eq!(jumps(Direction::Inbound), inbound);
        assert_eq!(jumps(Direction::Outbound), outbound);
        assert_eq!(jumps(Direction::Both), [inbound, outbound].concat());
    }

    #[test]
    fn who_is_cut_off_gets_its_own_answer_to_arp_back() {
        let (cut, heal) = isolation(&example("three-hosts").hosts[0], Direction::Both);
        let kept = cut.find(&format!("/arp_ignore > {ARP_IGNORE}\n")).expect("it is kept");
        assert!(cut.find("echo 8 >").is_some_and(|changed| kept < changed), "{cut}");
        assert!(heal.contains(&format!("cat {ARP_IGNORE} > /proc")) && !heal.contains("echo 0"), "{heal}");
    }

    #[test]
    fn weather_is_said_in_the_words_of_tc() {
        assert_eq!(netem(Weather::Slow(Duration::from_millis(50))), "netem delay 50ms");
        assert_eq!(netem(Weather::Lossy(2)), "netem loss 2%");
    }
}
