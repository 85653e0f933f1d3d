//! `scale` as data and as text.

use std::time::Duration;

use serde::Serialize;

use super::shards::PlanReport as Moves;
use super::table;
use super::ui::{Report, Tone, Ui};
use crate::plan::PlanReport;
use crate::plan::diff::Difference;
use crate::plan::member;
use crate::plan::removal::Step;
use crate::quantity::whole_millis;
use crate::shards::{Job, Move};
use crate::topology::model::{Group, Member, Topology};
use crate::topology::{GroupId, HostName, MemberName};

/// The end of `scale add-shard`.
#[derive(Debug, Serialize)]
pub struct AddReport {
    /// Version of this document's shape.
    pub schema_version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// The new group.
    pub group: String,
    /// Its members, the leader's home first.
    pub members: Vec<Place>,
    /// Until all was healthy, shards not moved yet.
    pub took_ms: u64,
    /// The rebalance that followed; `null` when nothing was moved.
    pub rebalance: Option<Job>,
}

/// A member and its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The member.
    pub member: String,
    /// Where it is.
    pub host: HostName,
}

impl AddReport {
    /// Of a group that is up.
    pub fn new(topology: &Topology, group: &Group, took: Duration) -> Self {
        let place = |member: &Member| Place { member: member.name.to_string(), host: member.host.clone() };
        Self {
            schema_version: 1,
            cluster: topology.name.to_string(),
            group: group.id.to_string(),
            members: group.members.iter().map(place).collect(),
            took_ms: whole_millis(took),
            rebalance: None,
        }
    }
}

impl Report for AddReport {
    fn text(&self, _ui: &Ui) -> String {
        let members: Vec<String> = self.members.iter().map(|place| format!("{} on {}", place.member, place.host)).collect();
        let moved = match &self.rebalance {
            Some(job) => format!("; job {} is {}, {} of {} moves done", job.id, job.state.word(), job.done, job.moves),
            None => String::new(),
        };
        format!("{} of {} is up: {} ({}){moved}\n", self.group, self.cluster, members.join(", "), table::millis(self.took_ms))
    }
}

/// The end of `scale read`.
#[derive(Debug, Serialize)]
pub struct ReadersReport {
    /// Version of this document's shape.
    pub schema_version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// The group.
    pub group: String,
    /// All its readers.
    pub readers: Vec<Place>,
    /// Whether anything had to be done.
    pub changed: bool,
    /// Until all was healthy.
    pub took_ms: u64,
}

impl ReadersReport {
    /// Of a group whose readers follow their leader.
    pub fn new(topology: &Topology, group: GroupId, changed: bool, took: Duration) -> Self {
        let readers = topology.group(group).map(|group| &group.readers[..]).unwrap_or_default();
        let place = |member: &Member| Place { member: member.name.to_string(), host: member.host.clone() };
        Self {
            schema_version: 1,
            cluster: topology.name.to_string(),
            group: group.to_string(),
            readers: readers.iter().map(place).collect(),
            changed,
            took_ms: whole_millis(took),
        }
    }
}

impl Report for ReadersReport {
    fn text(&self, _ui: &Ui) -> String {
        let readers: Vec<String> = self.readers.iter().map(|place| format!("{} on {}", place.member, place.host)).collect();
        let (group, cluster, readers) = (&self.group, &self.cluster, readers.join(", "));
        let state = if self.changed { format!("({})", table::millis(self.took_ms)) } else { "(nothing had to be done)".into() };
        format!("{group} of {cluster} is read from {readers} {state}\n")
    }
}

/// What `scale in --member` is about to do.
#[derive(Debug, Serialize)]
pub struct MemberPlan {
    /// Version of this document's shape.
    pub schema_version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// The member or reader.
    pub member: MemberName,
    /// In this order.
    pub steps: Vec<member::Step>,
    /// Hosts on which its data volume stays.
    pub kept: Vec<HostName>,
    /// What changes in the topology file.
    pub file: Option<Difference>,
    /// What `up` has to do afterwards.
    pub then: PlanReport,
}

impl Report for MemberPlan {
    fn text(&self, ui: &Ui) -> String {
        let steps = self.steps.iter().map(ToString::to_string).collect();
        let kept = self.kept.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ");
        let kept = if kept.is_empty() { String::new() } else { format!("  kept: its data volume on {kept}\n") };
        let head = going(self.member.as_str(), &self.cluster, steps, &self.then, ui);
        head + &kept + &changes(self.file.iter().chain(&self.then.differences), ui)
    }
}

/// The end of `scale in --member`.
#[derive(Debug, Serialize)]
pub struct MemberReport {
    /// Version of this document's shape.
    pub schema_version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// The member or reader that is gone.
    pub member: MemberName,
    /// What was done by this run.
    pub steps: Vec<member::Step>,
    /// Hosts on which its data volume was kept.
    pub kept: Vec<HostName>,
    /// Until the rest was healthy.
    pub took_ms: u64,
}

impl MemberReport {
    /// Of a plan that was carried out.
    pub fn new(plan: MemberPlan, took: Duration) -> Self {
        let MemberPlan { cluster, member, steps, kept, .. } = plan;
        Self { schema_version: 1, cluster, member, steps, kept, took_ms: whole_millis(took) }
    }
}

impl Report for MemberReport {
    fn text(&self, _ui: &Ui) -> String {
        let kept = if self.kept.is_empty() { "" } else { "; its data volume is kept" };
        format!("{} is out of {}, which is healthy ({}){kept}\n", self.member, self.cluster, table::millis(self.took_ms))
    }
}

/// The numbered steps of taking something out, and what `up` does afterwards.
fn going(what: &str, cluster: &str, steps: Vec<String>, then: &PlanReport, ui: &Ui) -> String {
    let mut text = ui.paint(Tone::Head, &format!("Taking {what} out of {cluster}:"));
    text.push('\n');
    let last = steps.len() + 1;
    for (step, number) in steps.into_iter().zip(1..) {
        text += &format!("  {number}. {step}\n");
    }
    let then: Vec<String> = then.plan.actions().map(ToString::to_string).collect();
    if !then.is_empty() {
        text += &format!("  {last}. as `up` does: {}\n", then.join(", "));
    }
    text
}

/// Differences, line by line.
fn changes<'d>(differences: impl Iterator<Item = &'d Difference>, ui: &Ui) -> String {
    let mut text = String::new();
    for difference in differences {
        text += &format!("\n{}\n", ui.paint(Tone::Head, &format!("Changes in {}", difference.what)));
        for line in difference.diff.lines() {
            let tone = match line.as_bytes().first() {
                Some(b'+') => Some(Tone::Good),
                Some(b'-') => Some(Tone::Bad),
                _ => None,
            };
            let line = tone.map_or_else(|| line.to_owned(), |tone| ui.paint(tone, line));
            text += &format!("  {line}\n");
        }
    }
    text
}

/// What `scale in` is about to do.
#[derive(Debug, Serialize)]
pub struct RemovalPlan {
    /// Version of this document's shape.
    pub schema_version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// The group.
    pub group: GroupId,
    /// In this order.
    pub steps: Vec<Step>,
    /// Shards that go to other groups.
    pub moves: Vec<Move>,
    /// So many of them at once.
    pub parallel: u32,
    /// Volumes that stay, each with its host.
    pub kept: Vec<(HostName, String)>,
    /// What changes in the topology file.
    pub file: Option<Difference>,
    /// What `up` has to do afterwards.
    pub then: PlanReport,
}

impl Report for RemovalPlan {
    fn text(&self, ui: &Ui) -> String {
        let steps = self.steps.iter().map(ToString::to_string).collect();
        let mut text = going(&self.group.to_string(), &self.cluster, steps, &self.then, ui);
        if !self.kept.is_empty() {
            let kept: Vec<String> = self.kept.iter().map(|(host, member)| format!("{member} on {host}")).collect();
            text += &format!("  kept: the data volumes {}\n", kept.join(", "));
        }
        if !self.moves.is_empty() {
            text += &format!("\n{}", Moves::new(self.moves.clone(), self.parallel).text(ui));
        }
        text + &changes(self.file.iter().chain(&self.then.differences), ui)
    }
}

/// The end of `scale in`.
#[derive(Debug, Serialize)]
pub struct RemovalReport {
    /// Version of this document's shape.
    pub schema_version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// The group that is gone.
    pub group: String,
    /// What was done by this run.
    pub steps: Vec<Step>,
    /// Shards that this run found on it.
    pub shards: u64,
    /// Volumes that were kept, each with its host.
    pub kept: Vec<(HostName, String)>,
    /// Until the rest was healthy.
    pub took_ms: u64,
}

impl RemovalReport {
    /// Of a plan that was carried out.
    pub fn new(plan: RemovalPlan, shards: u64, took: Duration) -> Self {
        let RemovalPlan { cluster, group, steps, kept, .. } = plan;
        Self { schema_version: 1, cluster, group: group.to_string(), steps, shards, kept, took_ms: whole_millis(took) }
    }
}

impl Report for RemovalReport {
    fn text(&self, _ui: &Ui) -> String {
        let kept = match self.kept.len() {
            0 => String::new(),
            count => format!("; {count} data volumes are kept"),
        };
        format!("{} is out of {}, which is healthy ({}){kept}\n", self.group, self.cluster, table::millis(self.took_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Action, Plan};

    #[test]
    fn a_removal_is_told_in_the_order_in_which_it_is_done() {
        let mut plan = Plan::default();
        plan.push("leftovers", vec![Action::RemoveConfig { name: "pgcluster-worker-3-1-0123".into() }], Vec::new());
        let host = HostName::new("host1").expect("a name");
        let report = RemovalPlan {
            schema_version: 1,
            cluster: "pgcluster".into(),
            group: GroupId(3),
            steps: vec![
                Step::Drain { shards: 2, job: None },
                Step::Edit,
                Step::Services { members: vec!["worker-3-1".into(), "worker-3-2".into()] },
            ],
            moves: vec![Move { shard: 7, tables: vec!["orders".into()], from: GroupId(3), to: GroupId(1), bytes: Some(2048) }],
            parallel: 2,
            kept: vec![(host, "worker-3-2".into())],
            file: crate::plan::diff::unified("topology.toml", "count = 3\n", "count = 2\n"),
            then: PlanReport { schema_version: 1, cluster: "pgcluster".into(), pending: true, plan, differences: Vec::new() },
        };
        insta::assert_snapshot!(report.text(&Ui::new(false, false, false, false)));
    }

    #[test]
    fn a_member_goes_in_its_own_steps() {
        let host = HostName::new("host3").expect("a name");
        let then = PlanReport {
            schema_version: 1,
            cluster: "pgcluster".into(),
            pending: false,
            plan: Plan::default(),
            differences: Vec::new(),
        };
        let report = MemberPlan {
            schema_version: 1,
            cluster: "pgcluster".into(),
            member: MemberName::new("coordinator-3").expect("a name"),
            steps: vec![
                member::Step::HandOver { group: GroupId::COORDINATOR },
                member::Step::Edit,
                member::Step::Service,
                member::Step::Volumes { hosts: vec![host] },
            ],
            kept: Vec::new(),
            file: crate::plan::diff::unified(
                "topology.toml",
                "hosts = [\"host1\", \"host2\", \"host3\"]\n",
                "hosts = [\"host1\", \"host2\"]\n",
            ),
            then,
        };
        insta::assert_snapshot!(report.text(&Ui::new(false, false, false, false)));
    }
}
