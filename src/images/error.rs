//! What can go wrong with images.

use std::io;
use std::path::PathBuf;

use super::local::LocalError;
use crate::error::{Exit, Failure};

/// Images cannot be built, found or carried.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// This machine's engine.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// A program of this machine cannot be run.
    #[error("{program} cannot be run")]
    Program {
        /// Its name.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
        /// How to get it.
        hint: &'static str,
    },
    /// A program ended with a failure.
    #[error("{doing} failed; the last it said:\n{tail}")]
    Failed {
        /// What it was to do, e.g. `building pgclusterctl/etcd:1a2b`.
        doing: String,
        /// The last lines of its output, indented.
        tail: String,
        /// All of its output.
        log: PathBuf,
    },
    /// The base image is not here and cannot be had.
    #[error("the base image {image} is not on this machine, and it cannot be pulled: {reason}")]
    Base {
        /// Its name.
        image: String,
        /// What the pull said.
        reason: String,
        /// Whether this program knows how to make it.
        can_be_made: bool,
    },
    /// The Citus image is not here and cannot be had.
    #[error("the Citus image {image} is not on this machine, and it cannot be pulled: {reason}")]
    Citus {
        /// Its name.
        image: String,
        /// What the pull said.
        reason: String,
    },
    /// Hosts lack images, and this machine has not got them either.
    #[error("these images are not on this machine, so that they cannot be carried to hosts that lack them: {what}")]
    NotBuilt {
        /// Images with the hosts that lack them.
        what: String,
    },
    /// Hosts lack images that nothing will bring them.
    #[error("hosts lack images: {what}")]
    Lacking {
        /// Images with the hosts that lack them.
        what: String,
    },
    /// A host's engine took an archive without a word of complaint, and has not got what was in it.
    #[error("{host} has not got {image}, although its engine took the archive")]
    NotLoaded {
        /// The image.
        image: String,
        /// The host.
        host: String,
    },
    /// A file.
    #[error("{}: cannot be {doing}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// `read`, `written`, `created`.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Failure for ImageError {
    fn exit(&self) -> Exit {
        match self {
            Self::Local(error) => error.exit(),
            Self::Program { .. } | Self::File { .. } => Exit::Internal,
            Self::Failed { .. } | Self::NotLoaded { .. } => Exit::Partial,
            Self::Base { .. } | Self::Citus { .. } | Self::NotBuilt { .. } | Self::Lacking { .. } => Exit::Refused,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Local(error) => error.hints(),
            Self::Program { hint, .. } => vec![(*hint).to_owned()],
            Self::Failed { log, .. } => vec![format!("all it said is in {}", log.display())],
            Self::Base { can_be_made: true, .. } => vec![
                "run this as root with mmdebstrap installed (apt-get install mmdebstrap), and it is made from Debian's packages".into(),
                "or load it from elsewhere: docker load < image.tar".into(),
                "or name another Debian trixie image: --base-image IMAGE".into(),
            ],
            Self::Base { .. } => vec!["name one that can be had: --base-image IMAGE, or the environment variable BASE_IMAGE".into()],
            Self::Citus { .. } => vec![
                "name one that can be had: --citus-image IMAGE, or the environment variable CITUS_IMAGE".into(),
                "without Citus a topology works that has no shard groups: [shards] count = 0".into(),
            ],
            Self::NotBuilt { .. } => vec!["build them: pgclusterctl image build".into()],
            Self::Lacking { .. } => vec!["build them once, and carry them there: pgclusterctl image build && pgclusterctl image push".into()],
            Self::NotLoaded { host, .. } => vec![format!("see the log of dockerd on {host}; a full disk is the usual reason")],
            Self::File { .. } => Vec::new(),
        }
    }
}

/// Wraps an I/O error of a file.
pub fn file(path: impl Into<PathBuf>, doing: &'static str) -> impl FnOnce(io::Error) -> ImageError {
    let path = path.into();
    move |source| ImageError::File { path, doing, source }
}
