//! Checks of the hosts themselves: do they answer, do their clocks agree, is there room on the disk.

use super::thresholds::{CLOCK_SKEW_FAIL, CLOCK_SKEW_WARN, DISK_FREE_FAIL_PERCENT, DISK_FREE_WARN_PERCENT};
use super::{Finding, Look};
use crate::observe::model::HostFacts;
use crate::quantity::bytes;
use crate::topology::model::Host;

/// Every host answers over SSH, and its Docker daemon too.
pub fn answers(look: &Look<'_>) -> Vec<Finding> {
    let judge = |host: &Host| match look.host(&host.name) {
        Ok(facts) => Finding::pass(&host.name, format!("Docker {} on kernel {}", facts.docker_version, facts.kernel)),
        Err(error) => Finding::fail(&host.name, error.reason, remedy(host)),
    };
    look.topology.hosts.iter().map(judge).collect()
}

fn remedy(host: &Host) -> String {
    let port = if host.ssh.port == 22 { String::new() } else { format!(" -p {}", host.ssh.port) };
    format!("see what `ssh{port} {}@{} docker ps` says; start the host or its Docker daemon", host.ssh.user, host.address)
}

/// Judges the facts of each host; a host that is lost is unknown and follows from that.
fn each(look: &Look<'_>, judge: impl Fn(&Host, &HostFacts) -> Finding) -> Vec<Finding> {
    let one = |host: &Host| match look.host(&host.name) {
        Ok(facts) => judge(host, facts),
        Err(_) => Finding::warn(&host.name, "unknown: the host does not answer", format!("bring {} back", host.name))
            .following(look.lost_with([&host.name])),
    };
    look.topology.hosts.iter().map(one).collect()
}

/// The hosts' clocks agree with each other. The operator's own clock is no judge: it may be the one that is wrong.
pub fn clock(look: &Look<'_>) -> Vec<Finding> {
    let middle = middle_clock_ms(look);
    each(look, |host, facts| {
        let off = facts.clock_skew_ms - middle;
        let evidence = format!("{off:+} ms from the middle of all hosts");
        let remedy = format!("run chrony or systemd-timesyncd on {}", host.name);
        match u128::from(off.unsigned_abs()) {
            ms if ms >= CLOCK_SKEW_FAIL.as_millis() => Finding::fail(&host.name, evidence, remedy),
            ms if ms >= CLOCK_SKEW_WARN.as_millis() => Finding::warn(&host.name, evidence, remedy),
            _ => Finding::pass(&host.name, evidence),
        }
    })
}

/// The median of the hosts' clocks minus the operator's clock, in milliseconds.
pub fn middle_clock_ms(look: &Look<'_>) -> i64 {
    let known = look.topology.hosts.iter().filter_map(|h| look.host(&h.name).ok());
    let mut skews: Vec<i64> = known.map(|facts| facts.clock_skew_ms).collect();
    skews.sort_unstable();
    skews.get(skews.len() / 2).copied().unwrap_or(0)
}

/// Docker's file system has room.
pub fn disk(look: &Look<'_>) -> Vec<Finding> {
    each(look, |host, facts| {
        if facts.disk_total_bytes == 0 {
            return Finding::warn(&host.name, "unknown: the file system reports no size", "look at `df` of Docker's data root");
        }
        let percent = percent(facts.disk_free_bytes, facts.disk_total_bytes);
        let (free, total) = (bytes(facts.disk_free_bytes), bytes(facts.disk_total_bytes));
        let evidence = format!("{free} of {total} free ({percent} %)");
        let remedy = format!("make room on {}: `docker system df`, kept WAL (see slots), old images", host.name);
        match percent {
            0..DISK_FREE_FAIL_PERCENT => Finding::fail(&host.name, evidence, remedy),
            DISK_FREE_FAIL_PERCENT..DISK_FREE_WARN_PERCENT => Finding::warn(&host.name, evidence, remedy),
            _ => Finding::pass(&host.name, evidence),
        }
    })
}

/// `part` of `whole` in percent, rounded down; `whole` is not zero.
pub fn percent(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * 100 / u128::from(whole.max(1))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, verdict_of};
    use super::super::{Finding, Look, Verdict};
    use crate::observe::model::{HostFacts, Observed};

    fn with(host: &str, change: impl Fn(&mut HostFacts), check: fn(&Look<'_>) -> Vec<Finding>) -> Vec<Finding> {
        let (topology, mut observed) = fixture::healthy();
        change(fixture::host(&mut observed, host));
        check(&Look { topology: &topology, observed: &observed })
    }

    #[test]
    fn a_silent_host_fails_and_its_other_answers_follow() {
        let (topology, mut observed): (_, Observed) = fixture::healthy();
        fixture::lose_host(&topology, &mut observed, "host2");
        let look = Look { topology: &topology, observed: &observed };
        assert_eq!(verdict_of(&super::answers(&look), "host2"), Verdict::Fail);
        let disk = super::disk(&look);
        assert_eq!(verdict_of(&disk, "host2"), Verdict::Warn);
        assert_eq!(disk[1].follows_from, "host host2");
    }

    #[test]
    fn a_clock_is_judged_by_the_other_hosts_not_by_the_operators() {
        let all_off = |o: &mut Observed| ["host1", "host2", "host3"].map(|h| fixture::host(o, h).clock_skew_ms = 90_000);
        let (topology, mut observed) = fixture::healthy();
        all_off(&mut observed);
        let findings = super::clock(&Look { topology: &topology, observed: &observed });
        assert!(findings.iter().all(|f| f.verdict == Verdict::Pass), "{findings:?}");
        assert_eq!(verdict_of(&with("host1", |h| h.clock_skew_ms = -700, super::clock), "host1"), Verdict::Warn);
        assert_eq!(verdict_of(&with("host1", |h| h.clock_skew_ms = 2_500, super::clock), "host1"), Verdict::Fail);
    }

    #[test]
    fn a_full_disk_fails() {
        let free = |percent: u64| move |h: &mut HostFacts| h.disk_free_bytes = h.disk_total_bytes / 100 * percent;
        assert_eq!(verdict_of(&with("host3", free(4), super::disk), "host3"), Verdict::Fail);
        assert_eq!(verdict_of(&with("host3", free(10), super::disk), "host3"), Verdict::Warn);
        assert_eq!(verdict_of(&with("host3", |h| h.disk_total_bytes = 0, super::disk), "host3"), Verdict::Warn);
    }
}
