//! Why a specification cannot become a plan.

use berth_types::{Classify, Kind};

/// A setting that is not supported, by the name that it has in the runtime specification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Berth does not support this.
    #[error("{field}: {what} is not supported")]
    Unsupported {
        /// The setting.
        field: String,
        /// What of it.
        what: String,
    },
    /// The setting is invalid.
    #[error("{field}: {problem}")]
    Invalid {
        /// The setting.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// A field that the specification does not know, or that this program does not know.
    #[error("{field}: unknown field")]
    Unknown {
        /// The field.
        field: String,
    },
    /// The document is not a specification.
    #[error("malformed specification: {0}")]
    Malformed(String),
    /// The document is too large.
    #[error("a specification of {0} bytes is over the limit of {limit}", limit = super::MAX_SPEC)]
    TooLarge(usize),
}

impl PlanError {
    pub(crate) fn unsupported(field: impl Into<String>, what: impl Into<String>) -> Self {
        PlanError::Unsupported { field: field.into(), what: what.into() }
    }

    pub(crate) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        PlanError::Invalid { field: field.into(), problem: problem.into() }
    }
}

impl Classify for PlanError {
    fn kind(&self) -> Kind {
        match self {
            PlanError::Unsupported { .. } | PlanError::Unknown { .. } => Kind::Unsupported,
            PlanError::Invalid { .. } | PlanError::Malformed(_) => Kind::Invalid,
            PlanError::TooLarge(_) => Kind::Exhausted,
        }
    }
}
