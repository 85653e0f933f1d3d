//! What changes in each file and service, as unified diffs.

use serde::Serialize;
use similar::TextDiff;

use super::action::{Action, Plan};
use crate::observe::model::{Observed, SwarmFacts};
use crate::templates::Artifacts;

/// One thing whose content changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is, e.g. `service worker-1-1` or `config host1/haproxy-1/haproxy.cfg`.
    pub what: String,
    /// Unified diff; empty when the thing is new.
    pub diff: String,
}

/// Lines around a change that a reader needs to find the place.
const CONTEXT: usize = 2;

/// Differences of everything that the plan updates; new things have no old side and are not listed.
pub fn differences(plan: &Plan, artifacts: &Artifacts, observed: &Observed) -> Vec<Difference> {
    let Some(swarm) = observed.swarm.known() else { return Vec::new() };
    let mut found: Vec<Difference> = Vec::new();
    for action in plan.actions() {
        match action {
            Action::Deploy { service, .. } => found.extend(of_service(service.as_str(), artifacts, swarm)),
            Action::WriteDynamic { group, .. } => {
                let present = observed.patroni.known().and_then(|groups| groups.get(group)).map(|state| &state.config);
                let (Some(present), Some(wanted)) = (present.filter(|p| !p.is_null()), artifacts.dynamic.get(group)) else {
                    continue;
                };
                found.extend(unified(&format!("Patroni settings of {group}"), &pretty(present), &pretty(wanted)));
            }
            _ => {}
        }
    }
    found.dedup();
    found
}

/// A service's own definition, and each file that it mounts under another hash than before.
fn of_service(name: &str, artifacts: &Artifacts, swarm: &SwarmFacts) -> Vec<Difference> {
    let (Some(service), Some(facts)) = (artifacts.service(name), swarm.services.get(name)) else { return Vec::new() };
    let mut found: Vec<_> = unified(&format!("service {name}"), &facts.fragment, &service.fragment).into_iter().collect();
    let files = service.configs.iter().filter_map(|config| artifacts.configs.get(config));
    for file in files {
        // Names differ in their hash alone: the same stem is the same file at an earlier time.
        let old = facts.configs.iter().find(|old| **old != file.name && stem(old) == stem(&file.name));
        let old = old.and_then(|name| swarm.configs.get(name));
        found.extend(old.and_then(|old| unified(&format!("config {}", file.path), old, &file.text)));
    }
    found
}

fn stem(name: &str) -> &str {
    name.rsplit_once('-').map_or(name, |(stem, _)| stem)
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

/// What is different between two texts; `None` when nothing is, or there was no old one.
pub fn unified(what: &str, old: &str, new: &str) -> Option<Difference> {
    if old == new || old.is_empty() {
        return None;
    }
    let diff = TextDiff::from_lines(old, new);
    let text = diff.unified_diff().context_radius(CONTEXT).header("now", "then").to_string();
    Some(Difference { what: what.to_owned(), diff: text })
}
