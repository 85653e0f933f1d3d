//! `status` for people: calm where all is well, loud where it is not. Fits into 100 columns.

use comfy_table::Cell;

use super::{CitusRow, EtcdRow, GroupRow, HostRow, MemberRow, ProxyRow, StatusReport};
use crate::health::{Condition, Verdict};
use crate::output::health::{condition, problems};
use crate::output::table::{self, MISSING, UNKNOWN, align_right, bytes, millis, toned};
use crate::output::ui::{Tone, Ui};

/// The whole text.
pub fn text(report: &StatusReport, ui: &Ui) -> String {
    if report.condition == Condition::Absent && report.verbose == 0 {
        // Of what is not there, nothing is to be told but how to make it.
        let sections = [headline(report, ui), hosts(&report.hosts, 0, ui), problems(&report.problems, 0, ui)];
        return sections.join("\n");
    }
    let mut sections = vec![headline(report, ui), members(&report.members, ui)];
    if report.verbose > 0 {
        sections.push(groups(&report.groups, ui));
    }
    sections.push(hosts(&report.hosts, report.verbose, ui));
    sections.push(etcd(&report.etcd, report.verbose, ui));
    sections.push(proxies(&report.proxies, ui));
    if !report.citus.is_empty() {
        sections.push(citus(&report.citus, ui));
    }
    if !report.problems.is_empty() {
        sections.push(problems(&report.problems, report.verbose, ui));
    }
    sections.join("\n")
}

fn headline(report: &StatusReport, ui: &Ui) -> String {
    let mut line = condition(&report.cluster, report.condition, ui);
    match report.reasons.as_slice() {
        [] => {
            let served = match (&report.vip, report.proxies.iter().find(|p| p.holds_vip == Some(true))) {
                (Some(vip), Some(proxy)) => format!("; {vip} on {}", proxy.host),
                _ => String::new(),
            };
            let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
            let (hosts, groups) = (count(report.hosts.len(), "host"), count(report.groups.len(), "group"));
            let members = count(report.members.len(), "member");
            let warnings = report.problems.iter().filter(|p| p.finding.verdict == Verdict::Warn).count();
            if warnings > 0 {
                line += &format!(" with {}", ui.paint(Tone::Odd, &count(warnings, "warning")));
            }
            line += &ui.paint(Tone::Faint, &format!(": {hosts}, {groups}, {members}{served}"));
        }
        [one] => line += &format!(": {one}"),
        [first, rest @ ..] => {
            line += &format!(": {first}");
            for reason in rest.iter().take(if report.verbose > 0 { rest.len() } else { MORE_REASONS }) {
                line += &format!("\n  {reason}");
            }
            if report.verbose == 0 && rest.len() > MORE_REASONS {
                line += &format!("\n  and {} more, see below", rest.len() - MORE_REASONS);
            }
        }
    }
    line + "\n"
}

/// Reasons shown after the first one, each on its own line.
const MORE_REASONS: usize = 3;

fn members(rows: &[MemberRow], ui: &Ui) -> String {
    let mut table = table::table(&["group", "member", "host", "role", "tl", "lag", "delay", "restart", "state"]);
    [4, 5, 6].into_iter().for_each(|column| align_right(&mut table, column));
    for row in rows {
        let leads = row.role == "leader";
        let lag = |text: Option<String>| if leads { plain(MISSING) } else { known(text) };
        table.add_row([
            plain(&row.group),
            plain(&row.member),
            plain(&row.host),
            role(row.role),
            known(row.timeline),
            lag(row.lag_bytes.map(bytes)),
            lag(row.lag_ms.map(millis)),
            match row.pending_restart {
                Some(true) => toned("pending", Tone::Odd),
                Some(false) => plain(MISSING),
                None => unknown(),
            },
            match (row.reason.as_str(), row.state.as_str()) {
                ("", "running" | "streaming") => toned(&row.state, Tone::Good),
                ("", state) => toned(state, Tone::Odd),
                (reason, "absent" | UNKNOWN) => toned(clip(reason), Tone::Bad),
                (reason, state) => toned(clip(&format!("{state}, {reason}")), Tone::Odd),
            },
        ]);
    }
    table::render_for(table, ui)
}

fn groups(rows: &[GroupRow], ui: &Ui) -> String {
    let heads = ["group", "replication", "leader", "connections", "oldest tx", "wal kept", "data", "2pc", "failover"];
    let mut table = table::table(&heads);
    (3..8).for_each(|column| align_right(&mut table, column));
    for row in rows {
        let connections = row.connections_used.zip(row.connections_max).map(|(used, max)| format!("{used}/{max}"));
        table.add_row([
            plain(&row.group),
            plain(row.replication),
            text_or_missing(&row.leader),
            known(connections),
            known(row.oldest_transaction_ms.map(|ms| if ms == 0 { MISSING.to_owned() } else { millis(ms) })),
            known(row.wal_kept_bytes.map(bytes)),
            known(row.database_bytes.map(bytes)),
            known(row.prepared_transactions),
            match row.paused {
                Some(true) => toned("paused", Tone::Odd),
                Some(false) => plain("on"),
                None => unknown(),
            },
        ]);
    }
    table::render_for(table, ui)
}

fn hosts(rows: &[HostRow], verbose: u8, ui: &Ui) -> String {
    let mut heads = vec!["host", "address", "swarm", "docker", "disk free", "clock"];
    if verbose > 0 {
        heads.extend(["kernel", "cpus", "memory"]);
    }
    heads.push("state");
    let mut table = table::table(&heads);
    [4, 5].into_iter().for_each(|column| align_right(&mut table, column));
    for row in rows {
        let free = row.disk_free_bytes.zip(row.disk_total_bytes.filter(|t| *t > 0));
        let mut cells = vec![
            plain(&row.host),
            plain(&row.address),
            if row.swarm == UNKNOWN { unknown() } else { plain(row.swarm) },
            known(row.docker.as_ref()),
            known(free.map(|(free, total)| format!("{} ({} %)", bytes(free), free.saturating_mul(100) / total))),
            known(row.clock_skew_ms.map(|ms| format!("{ms:+} ms"))),
        ];
        if verbose > 0 {
            cells.extend([known(row.kernel.as_ref()), known(row.cpus), known(row.memory_bytes.map(bytes))]);
        }
        let state = match row.reason.as_str() {
            "" => row.state.clone(),
            reason if row.state == "unreachable" => clip(reason),
            reason => clip(&format!("{}: {reason}", row.state)),
        };
        let tone = match row.state.as_str() {
            "ready" => Tone::Good,
            "drain" | "pause" => Tone::Odd,
            _ => Tone::Bad,
        };
        cells.push(toned(state, tone));
        table.add_row(cells);
    }
    table::render_for(table, ui)
}

fn etcd(rows: &[EtcdRow], verbose: u8, ui: &Ui) -> String {
    let mut heads = vec!["etcd", "host", "role", "term", "raft index", "db size", "alarms"];
    if verbose > 0 {
        heads.push("version");
    }
    heads.push("state");
    let mut table = table::table(&heads);
    [3, 4, 5].into_iter().for_each(|column| align_right(&mut table, column));
    for row in rows {
        let mut cells = vec![
            plain(&row.member),
            plain(&row.host),
            role(row.role),
            known(row.raft_term),
            known(row.raft_index),
            known(row.db_size_bytes.map(bytes)),
            match (row.alarms.as_slice(), row.raft_term) {
                ([], Some(_)) => plain(MISSING),
                ([], None) => unknown(),
                (alarms, _) => toned(alarms.join(" "), Tone::Bad),
            },
        ];
        if verbose > 0 {
            cells.push(known(row.version.as_ref()));
        }
        cells.push(match (row.reason.as_str(), row.role) {
            ("", "leaderless") => toned("knows no leader", Tone::Bad),
            ("", _) => toned("answers", Tone::Good),
            (reason, _) => toned(clip(reason), Tone::Bad),
        });
        table.add_row(cells);
    }
    table::render_for(table, ui)
}

fn proxies(rows: &[ProxyRow], ui: &Ui) -> String {
    let mut table = table::table(&["proxy", "host", "vip", "backends up", "sessions", "state"]);
    align_right(&mut table, 4);
    for row in rows {
        let short = |name: &str| name.strip_prefix("coordinator_").unwrap_or(name).to_owned();
        let backends: Vec<String> =
            row.backends.iter().map(|b| format!("{} {}/{}", short(&b.backend), b.up, b.total)).collect();
        let empty: Vec<&str> = row.backends.iter().filter(|b| b.up == 0).map(|b| b.backend.as_str()).collect();
        table.add_row([
            plain(&row.proxy),
            plain(&row.host),
            match row.holds_vip {
                Some(true) => toned("held", Tone::Head),
                Some(false) => plain(MISSING),
                None => unknown(),
            },
            known(row.sessions.map(|_| backends.join(", "))),
            known(row.sessions),
            match (row.reason.as_str(), empty.as_slice()) {
                ("", []) => toned("answers", Tone::Good),
                ("", empty) => toned(format!("no server in {}", empty.join(", ")), Tone::Bad),
                (reason, _) => toned(clip(reason), Tone::Bad),
            },
        ]);
    }
    table::render_for(table, ui)
}

fn citus(rows: &[CitusRow], ui: &Ui) -> String {
    let mut table = table::table(&["citus group", "pg_dist_node", "patroni's leader", "shards", "metadata", "state"]);
    align_right(&mut table, 3);
    for row in rows {
        table.add_row([
            plain(&row.group),
            if row.reason.is_empty() { text_or_missing(&row.node) } else { unknown() },
            text_or_missing(&row.leader),
            known(row.shards),
            match row.metadata_synced {
                Some(true) => plain("synced"),
                Some(false) => toned("stale", Tone::Bad),
                None => unknown(),
            },
            match (row.matches, row.copy_matches, row.reason.as_str()) {
                (Some(true), Some(true), _) => toned("match", Tone::Good),
                (Some(true), Some(false), _) => toned("copy differs", Tone::Bad),
                (Some(true), None, _) => toned("copy unknown", Tone::Odd),
                (Some(false), ..) => toned("differs", Tone::Bad),
                (None, _, "") => toned("no leader", Tone::Bad),
                (None, _, reason) => toned(clip(reason), Tone::Bad),
            },
        ]);
    }
    table::render_for(table, ui)
}

/// A reason that fits into a row; the problems below tell it in full.
fn clip(reason: &str) -> String {
    const MAX: usize = 44;
    match reason.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", reason[..end].trim_end()),
        None => reason.to_owned(),
    }
}

fn plain(text: &str) -> Cell {
    Cell::new(text)
}

fn text_or_missing(text: &str) -> Cell {
    Cell::new(if text.is_empty() { MISSING } else { text })
}

fn role(name: &str) -> Cell {
    match name {
        "leader" => toned(name, Tone::Head),
        UNKNOWN => unknown(),
        name => plain(name),
    }
}

fn known(value: Option<impl ToString>) -> Cell {
    value.map_or_else(unknown, |value| Cell::new(value))
}

fn unknown() -> Cell {
    toned(UNKNOWN, Tone::Faint)
}
