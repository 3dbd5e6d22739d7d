//! What can go wrong in the engine. Errors are cheap to clone: every caller that joined one piece
//! of work gets the same one.

use std::sync::Arc;

use berth_types::lifecycle::Refused;
use berth_types::{Classify, Kind};

/// A cause that several callers may hold.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// Why a call of the engine failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// Nothing has this id or name.
    #[error("{thing} {key:?} not found")]
    NotFound {
        /// `pod sandbox` or `container`.
        thing: &'static str,
        /// What was looked up.
        key: String,
    },
    /// Several ids have this prefix.
    #[error("several {thing}s have the id prefix {key:?}")]
    Ambiguous {
        /// `pod sandbox` or `container`.
        thing: &'static str,
        /// What was looked up.
        key: String,
    },
    /// The lifecycle table refuses.
    #[error("{thing} {id}: {refused}")]
    Refused {
        /// `pod sandbox` or `container`.
        thing: &'static str,
        /// Its short id.
        id: String,
        /// What was refused.
        refused: Refused,
    },
    /// The identity is taken.
    #[error("{thing} {identity} exists as {id} {how}")]
    AlreadyExists {
        /// `pod sandbox` or `container`.
        thing: &'static str,
        /// The identity, as text.
        identity: String,
        /// The id of what has it.
        id: String,
        /// `with another configuration`, `and is stopped`.
        how: &'static str,
    },
    /// A value of the request is wrong.
    #[error("{field}: {message}")]
    Invalid {
        /// Which, as the caller knows it.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// A setting that Berth does not support (yet).
    #[error("{field}: {message}")]
    Unsupported {
        /// Which.
        field: String,
        /// What is missing.
        message: String,
    },
    /// A handler that there is cannot be used.
    #[error("runtime_handler: the handler {name:?} cannot be used: {why}")]
    Handler {
        /// Its name.
        name: String,
        /// Why, as a sentence.
        why: String,
    },
    /// An image cannot be mounted as a volume.
    #[error("mount the image {image:?} on {place}")]
    ImageVolume {
        /// The image, as it was asked for.
        image: String,
        /// Where in the container.
        place: String,
        /// What a caller may branch on.
        kind: Kind,
        /// Why.
        source: Cause,
    },
    /// The command of a container or exec session could not be executed.
    #[error("{message}")]
    Command {
        /// What and why.
        message: String,
        /// The exit status that a shell would give: 127 when it is not found, 126 when it cannot be executed,
        /// 128 for anything else.
        code: i32,
    },
    /// A container is paused, or is not as pausing it or letting it go on needs.
    #[error("container {id} {how}")]
    Pause {
        /// Its short id.
        id: String,
        /// `is paused`, `is not paused`, `is not running`.
        how: &'static str,
    },
    /// A port of a pod cannot be connected to.
    #[error("{message}")]
    Unreachable {
        /// Where, and why.
        message: String,
    },
    /// The time allowed ran out.
    #[error("{what} did not finish within {millis} ms")]
    Timeout {
        /// What.
        what: String,
        /// Milliseconds allowed.
        millis: u64,
    },
    /// Another crate failed; the kind is that of its error.
    #[error("{what}")]
    Failed {
        /// What was being done.
        what: String,
        /// What a caller may branch on.
        kind: Kind,
        /// Why.
        source: Cause,
    },
    /// Several steps failed that do not depend on each other.
    #[error("{what}: {errors}")]
    Several {
        /// What was being done.
        what: String,
        /// The chains of all, one after the other.
        errors: String,
        /// What a caller may branch on: the first one's.
        kind: Kind,
    },
    /// The engine is shutting down, or the owner of the pod has ended.
    #[error("the engine is shutting down")]
    Closed,
}

impl EngineError {
    /// Wraps the failure of another crate, keeping its kind.
    pub fn failed<E>(what: impl Into<String>, source: E) -> Self
    where
        E: Classify + Send + Sync + 'static,
    {
        let kind = source.kind();
        EngineError::Failed { what: what.into(), kind, source: Arc::new(source) }
    }

    /// Wraps a failure of the system.
    pub fn system<E>(what: impl Into<String>, source: E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        EngineError::Failed { what: what.into(), kind: Kind::Internal, source: Arc::new(source) }
    }

    /// Several failures in one.
    pub(crate) fn several(what: &str, errors: &[EngineError]) -> Self {
        let kind = errors.first().map_or(Kind::Internal, Classify::kind);
        let errors: Vec<String> = errors.iter().map(|error| berth_types::error::chain(error)).collect();
        EngineError::Several { what: what.to_owned(), errors: errors.join("; "), kind }
    }

    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        EngineError::Invalid { field: field.into(), message: message.into() }
    }

    pub(crate) fn unsupported(field: impl Into<String>, message: impl Into<String>) -> Self {
        EngineError::Unsupported { field: field.into(), message: message.into() }
    }
}

impl EngineError {
    /// Whether a call to a container can fail so because the container ends meanwhile. What its end cannot cause is told as it
    /// is: a probe's timeout during a grace, too.
    pub(crate) fn can_be_of_an_end(&self) -> bool {
        match self {
            EngineError::Timeout { .. } | EngineError::Invalid { .. } => false,
            // A step towards the command may have failed, as entering a container that has ended.
            EngineError::Command { code, .. } => *code != NOT_FOUND,
            _ => true,
        }
    }
}

/// The exit status of a shell for a command that is not there.
const NOT_FOUND: i32 = 127;

impl Classify for EngineError {
    fn kind(&self) -> Kind {
        match self {
            EngineError::NotFound { .. } => Kind::NotFound,
            EngineError::Refused { .. } | EngineError::Handler { .. } | EngineError::Pause { .. } => {
                Kind::Precondition
            }
            EngineError::AlreadyExists { .. } => Kind::AlreadyExists,
            EngineError::Ambiguous { .. } | EngineError::Invalid { .. } | EngineError::Command { .. } => {
                Kind::Invalid
            }
            EngineError::Unsupported { .. } => Kind::Unsupported,
            EngineError::Timeout { .. } => Kind::Timeout,
            EngineError::Failed { kind, .. }
            | EngineError::Several { kind, .. }
            | EngineError::ImageVolume { kind, .. } => *kind,
            EngineError::Closed | EngineError::Unreachable { .. } => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            EngineError::Ambiguous { .. } => Some("use more digits of the id".to_owned()),
            EngineError::AlreadyExists { thing, .. } => {
                Some(format!("remove that {thing} first, or use a higher attempt"))
            }
            EngineError::Pause { how, .. } if how.starts_with("is paused") => {
                Some("berth unpause lets it go on".to_owned())
            }
            EngineError::NotFound { .. }
            | EngineError::Pause { .. }
            | EngineError::Refused { .. }
            | EngineError::Invalid { .. }
            | EngineError::Handler { .. }
            | EngineError::Unsupported { .. }
            | EngineError::ImageVolume { .. }
            | EngineError::Command { .. }
            | EngineError::Unreachable { .. }
            | EngineError::Timeout { .. }
            | EngineError::Failed { .. }
            | EngineError::Several { .. }
            | EngineError::Closed => None,
        }
    }
}

#[cfg(test)]
mod tests;
