//! What the checker says, as data: rules, findings, counts, and what a group promised.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::history;

/// Version of the document.
pub const SCHEMA_VERSION: u32 = 1;
/// Operations that a finding names; the history has all.
const NAMED: usize = 50;
/// Operations that its text names.
const TOLD: usize = 5;

/// What has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// What was acknowledged is there, but for what the group may lose.
    Lost,
    /// What is there was attempted, by this group's clients and in this place.
    Phantom,
    /// Nothing is there twice.
    Duplicate,
    /// What surely failed is not there.
    FailedButPresent,
    /// What a client did after an acknowledgement comes after it.
    Reordered,
    /// Nothing is acknowledged on a timeline when a newer one has acknowledged before.
    TwoLeaders,
    /// A standby holds what its leader holds.
    StandbyDiffers,
    /// What a list's reader saw is how the final list begins.
    NotPrefix,
    /// Both sides of a transfer happen, or none, and as they were ordered.
    HalfTransfer,
    /// The balances add up to what the transfers made of them.
    BankTotal,
    /// What is judged was read.
    NotRead,
}

impl Rule {
    /// The name in JSON.
    pub fn id(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Phantom => "phantom",
            Self::Duplicate => "duplicate",
            Self::FailedButPresent => "failed-but-present",
            Self::Reordered => "reordered",
            Self::TwoLeaders => "two-leaders",
            Self::StandbyDiffers => "standby-differs",
            Self::NotPrefix => "not-prefix",
            Self::HalfTransfer => "half-transfer",
            Self::BankTotal => "bank-total",
            Self::NotRead => "not-read",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

/// What a group promises about what it acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "loss", rename_all = "snake_case")]
pub enum Promise {
    /// No more than so many operations are lost; 0 for synchronous replication.
    AtMost {
        /// How many.
        operations: u64,
    },
    /// Asynchronous replication: what is lost is counted, and no finding.
    Counted,
}

impl Default for Promise {
    fn default() -> Self {
        Self::AtMost { operations: 0 }
    }
}

impl Promise {
    /// Whether so much may be lost.
    pub fn allows(self, lost: u64) -> bool {
        match self {
            Self::AtMost { operations } => lost <= operations,
            Self::Counted => true,
        }
    }

    /// Whether anything may be lost.
    pub fn tolerates_loss(self) -> bool {
        self.allows(1)
    }
}

/// A rule that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which.
    pub rule: Rule,
    /// In which group.
    pub group: String,
    /// What was seen, in one line.
    pub detail: String,
    /// How many operations it concerns.
    pub count: u64,
    /// The first of them, by id.
    pub ops: Vec<u64>,
}

impl Finding {
    /// A finding about operations; `detail` is followed by their number and names.
    pub fn about(rule: Rule, group: &str, detail: impl fmt::Display, mut ops: Vec<u64>) -> Self {
        let count = ops.len() as u64;
        let mut names: Vec<String> = ops.iter().take(TOLD).map(|id| history::name(*id)).collect();
        if ops.len() > TOLD {
            names.push("…".into());
        }
        ops.truncate(NAMED);
        let plural = if count == 1 { "operation" } else { "operations" };
        let detail = format!("{detail}: {count} {plural} ({})", names.join(", "));
        Self { rule, group: group.to_owned(), detail, count, ops }
    }

    /// A finding about the whole.
    pub fn whole(rule: Rule, group: &str, detail: impl Into<String>) -> Self {
        Self { rule, group: group.to_owned(), detail: detail.into(), count: 0, ops: Vec::new() }
    }
}

/// Numbers of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Writes that were sent or tried to be.
    pub attempted: u64,
    /// Of these, acknowledged;
    pub ok: u64,
    /// surely not executed;
    pub failed: u64,
    /// nobody knows.
    pub unknown: u64,
    /// Unknown ones that are in the final read.
    pub unknown_found: u64,
    /// Acknowledged ones that are not.
    pub lost: u64,
    /// Transfers of which one side is missing, over all groups. No finding where some group may lose operations: it took
    /// its side along.
    pub half_transfers: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Of these, reads that missed what had been acknowledged before they were sent. No rule: a leader that was cut off may
    /// serve its past for as long as its lease lasts.
    pub stale_reads: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.attempted += other.attempted;
        self.ok += other.ok;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.unknown_found += other.unknown_found;
        self.lost += other.lost;
        self.half_transfers += other.half_transfers;
        self.reads += other.reads;
        self.stale_reads += other.stale_reads;
    }
}

/// The checker's answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What did not hold, by group and rule; empty when everything did.
    pub findings: Vec<Finding>,
    /// Over all groups.
    pub counts: Counts,
    /// By group.
    pub groups: BTreeMap<String, Counts>,
    /// Who was read, by group, the leader first. Where shards have moved, one copy of a group's rows is on several servers, with commas
    /// between their names. Reports of earlier versions say nothing.
    #[serde(default)]
    pub servers: BTreeMap<String, Vec<String>>,
}

impl Verdict {
    /// Whether every rule held.
    pub fn passed(&self) -> bool {
        self.findings.is_empty()
    }
}
