//! Why a leader did not change as ordered.

use std::time::Duration;

use crate::error::{Exit, Failure};
use crate::plan::candidate::NoCandidate;
use crate::remote::patroni::PatroniError;
use crate::steps::handover::HandOverError;
use crate::steps::poolers::PauseError;

/// Why a leader did not change as ordered.
#[derive(Debug, thiserror::Error)]
pub enum FailoverError {
    /// Nobody can take over.
    #[error(transparent)]
    NoCandidate(#[from] NoCandidate),
    /// The state of the group is unknown.
    #[error("nothing is known of {group}: {reason}")]
    Blind {
        /// The group.
        group: String,
        /// Why.
        reason: String,
    },
    /// Patroni was not reached, or said no.
    #[error(transparent)]
    HandOver(#[from] HandOverError),
    /// The group did not become whole in time.
    #[error("{group} is not in order after {} s: {}", after.as_secs(), missing.join("; "))]
    Unfinished {
        /// The group.
        group: String,
        /// How long was waited.
        after: Duration,
        /// What is missing.
        missing: Vec<String>,
    },
    /// Somebody else became leader.
    #[error("{leader} leads {group} now, not {wanted}")]
    Other {
        /// The group.
        group: String,
        /// Who should.
        wanted: String,
        /// Who does.
        leader: String,
    },
}

impl Failure for FailoverError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoCandidate(_)
            | Self::HandOver(HandOverError::Patroni(PatroniError::Rejected { .. }) | HandOverError::Blocked { .. }) => {
                Exit::Refused
            }
            Self::HandOver(HandOverError::Interrupted) => Exit::Interrupted,
            Self::HandOver(
                HandOverError::Unwritable { .. }
                | HandOverError::StillHeld { .. }
                | HandOverError::Pause(PauseError::Stuck { .. }),
            ) => Exit::Unhealthy,
            Self::Blind { .. } | Self::HandOver(_) => Exit::Unreachable,
            Self::Unfinished { .. } | Self::Other { .. } => Exit::Unhealthy,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoCandidate(NoCandidate::NoLeader { .. }) => "use `pgclusterctl failover` when the leader is lost",
            Self::NoCandidate(NoCandidate::Nobody { .. }) => {
                "`pgclusterctl status` shows each member; `failover --force` accepts the loss of what a candidate never received"
            }
            Self::NoCandidate(_) => "`pgclusterctl status` shows who is who",
            Self::HandOver(HandOverError::Patroni(PatroniError::Rejected { .. })) => {
                "`pgclusterctl status` shows the state that Patroni decided on"
            }
            Self::HandOver(HandOverError::Blocked { .. }) => {
                "`--wait 5m` tries for longer, `--kill-after 30s` ends transactions that are older; or end them yourself"
            }
            Self::HandOver(HandOverError::Interrupted) => return Vec::new(),
            Self::HandOver(HandOverError::Pause(_)) => {
                "`--no-pause` changes the leader without holding clients back: each open transaction fails once"
            }
            Self::Blind { .. } | Self::HandOver(_) => "`pgclusterctl status` shows what can be reached",
            Self::Unfinished { .. } | Self::Other { .. } => "`pgclusterctl health` names what is wrong and what to do",
        };
        vec![hint.to_owned()]
    }
}
