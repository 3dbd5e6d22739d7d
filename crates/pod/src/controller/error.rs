//! Why a pod does not run.

use std::path::PathBuf;

use berth_engine::EngineError;
use berth_types::{Classify, Kind};

use super::MAX_PODS;
use crate::plan::PlanError;

/// Why a pod does not run.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// The manifest cannot be run.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A pod of this name runs.
    #[error("pod {name} exists in namespace {namespace}")]
    Exists {
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// All ranges of ids are taken.
    #[error("no range of ids is free for a pod with a user namespace")]
    NoIds,
    /// There are [`MAX_PODS`] pods.
    #[error("the limit of {MAX_PODS} pods is reached")]
    TooMany,
    /// Nothing has this name or id.
    #[error("no pod {0:?}")]
    NotFound(String),
    /// An image is missing and must not be pulled.
    #[error("image {image} is not present, and its pull policy is Never")]
    NoImage {
        /// Which.
        image: String,
    },
    /// A container must not run as user 0 but would.
    #[error("container {container} would run as root, which runAsNonRoot forbids")]
    Root {
        /// Which.
        container: String,
    },
    /// An init container failed for good.
    #[error("init container {container} failed with status {code}")]
    Init {
        /// Which.
        container: String,
        /// Its exit status.
        code: i32,
    },
    /// A volume cannot be made or has the wrong type.
    #[error("volume {volume}: {path}: {reason}")]
    Volume {
        /// Which.
        volume: String,
        /// Where.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An image could not be pulled, or the request of another caller failed.
    #[error("{message}")]
    Said {
        /// What, and why, with all causes.
        message: String,
        /// What a caller may branch on.
        kind: Kind,
        /// What the user could do.
        hint: Option<String>,
    },
    /// The engine refused.
    #[error("{what}")]
    Engine {
        /// What was being done.
        what: String,
        /// Why.
        source: EngineError,
    },
    /// It has run for as long as it may.
    #[error("pod {0} was active longer than its activeDeadlineSeconds")]
    Deadline(String),
    /// It was taken down in the meantime.
    #[error("pod {0} was removed in the meantime")]
    Down(String),
}

impl PodError {
    pub(crate) fn engine(what: impl Into<String>) -> impl FnOnce(EngineError) -> Self {
        let what = what.into();
        move |source| Self::Engine { what, source }
    }

    pub(crate) fn image<E: Classify + Send + Sync + 'static>(image: &str) -> impl FnOnce(E) -> Self {
        let image = image.to_owned();
        move |e| {
            let cause = berth_types::error::chain(&e);
            // Most of them name the image themselves.
            let message = if cause.contains(&image) { cause } else { format!("image {image}: {cause}") };
            Self::Said { message, kind: e.kind(), hint: e.hint() }
        }
    }

    /// The same for another caller.
    pub(crate) fn again(&self) -> Self {
        Self::Said { message: berth_types::error::chain(self), kind: self.kind(), hint: self.hint() }
    }
}

impl Classify for PodError {
    fn kind(&self) -> Kind {
        match self {
            Self::Plan(e) => e.kind(),
            Self::Exists { .. } => Kind::AlreadyExists,
            Self::TooMany | Self::NoIds => Kind::Exhausted,
            Self::NotFound(_) | Self::NoImage { .. } => Kind::NotFound,
            Self::Deadline(_) => Kind::Precondition,
            Self::Root { .. } | Self::Init { .. } | Self::Volume { .. } => Kind::Precondition,
            Self::Said { kind, .. } => *kind,
            Self::Engine { source, .. } => source.kind(),
            Self::Down(_) => Kind::Cancelled,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { name, .. } => {
                Some(format!("berth rm -f {name} removes it; play --replace does so first"))
            }
            Self::NotFound(_) => Some("berth pods lists them".to_owned()),
            Self::NoImage { image } => Some(format!("berth pull {image}")),
            Self::Said { hint, .. } => hint.clone(),
            Self::Engine { source, .. } => source.hint(),
            Self::Plan(_)
            | Self::TooMany
            | Self::NoIds
            | Self::Root { .. }
            | Self::Init { .. }
            | Self::Volume { .. }
            | Self::Deadline(_)
            | Self::Down(_) => None,
        }
    }
}
