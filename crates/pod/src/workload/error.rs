//! Why a workload is not there.

use std::io;
use std::path::PathBuf;

use berth_types::{Classify, Kind};

use super::MAX_WORKLOADS;
use crate::controller::PodError;
use crate::manifest::Immutable;
use crate::plan::PlanError;

/// Why a workload is not made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// Its pods cannot be run.
    #[error("{workload}: {template}: {fault}")]
    Template {
        /// Which.
        workload: String,
        /// Where its pods' fields are.
        template: &'static str,
        /// What is wrong.
        fault: PlanError,
    },
    /// It would change what must not change.
    #[error(transparent)]
    Immutable(#[from] Immutable),
    /// One of its pods cannot be made.
    #[error("{workload}: {message}")]
    Pod {
        /// Which.
        workload: String,
        /// Why, with all causes.
        message: String,
        /// What a caller may branch on.
        kind: Kind,
        /// What the user could do.
        hint: Option<String>,
    },
    /// What was asked for cannot be written.
    #[error("{workload}: write {path}")]
    Keep {
        /// Which.
        workload: String,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is one.
    #[error("{0} exists")]
    Exists(String),
    /// There are as many as there may be.
    #[error("the limit of {MAX_WORKLOADS} workloads is reached")]
    TooMany,
    /// There is none.
    #[error("no {0}")]
    NotFound(String),
    /// It was removed.
    #[error("{0} was removed in the meantime")]
    Down(String),
    /// More than one of these.
    #[error("{}", crate::manifest::list(.0))]
    Several(Vec<WorkloadError>),
}

impl WorkloadError {
    /// One error of several; nothing of none.
    pub(super) fn of(mut all: Vec<Self>) -> Option<Self> {
        if all.len() > 1 { Some(Self::Several(all)) } else { all.pop() }
    }

    pub(super) fn pod(workload: String, error: &PodError) -> Self {
        let message = berth_types::error::chain(error);
        Self::Pod { workload, message, kind: error.kind(), hint: error.hint() }
    }

    /// What another workload's task said, of this one.
    pub(super) fn said(workload: String, error: &Self) -> Self {
        let message = berth_types::error::chain(error);
        Self::Pod { workload, message, kind: error.kind(), hint: error.hint() }
    }
}

impl Classify for WorkloadError {
    fn kind(&self) -> Kind {
        match self {
            Self::Template { fault, .. } => fault.kind(),
            Self::Immutable(e) => e.kind(),
            Self::Pod { kind, .. } => *kind,
            Self::Keep { .. } => Kind::Internal,
            Self::Exists(_) => Kind::AlreadyExists,
            Self::TooMany => Kind::Exhausted,
            Self::NotFound(_) => Kind::NotFound,
            Self::Down(_) => Kind::Cancelled,
            Self::Several(all) if all.iter().all(|e| e.kind() == Kind::Unsupported) => Kind::Unsupported,
            Self::Several(_) => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Immutable(e) => e.hint(),
            Self::Pod { hint, .. } => hint.clone(),
            Self::NotFound(_) => Some("berth workloads lists them".to_owned()),
            _ => None,
        }
    }
}
