//! From the engine's errors to gRPC statuses: the kind chooses the code, the chain is the message.

use berth_engine::EngineError;
use berth_types::error::chain;
use berth_types::{Classify, Kind};
use tonic::{Code, Status};

/// The longest message of a status: it travels as an HTTP/2 header, which peers limit.
const MAX_MESSAGE: usize = 4096;

/// A field of a request that is invalid or not supported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The field must be set.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The value is not allowed.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field's path in the request.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Berth does not support this field (yet), and refuses it instead of ignoring it.
    #[error("{field} is not supported: {reason}")]
    Unsupported {
        /// The field's path in the request.
        field: String,
        /// What the caller could do.
        reason: String,
    },
    /// A field that is refused with a error that the kubelet recognises.
    #[error("{word}: {field} is not supported: {reason}")]
    Named {
        /// The error.
        word: KubeletError,
        /// The field's path in the request.
        field: String,
        /// What the caller could do.
        reason: String,
    },
}

/// What the kubelet looks for at the beginning of an error's text (k8s.io/cri-api, pkg/errors). Its client puts the
/// name of the code before the text unless the code is Unknown, so these words need that code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KubeletError {
    /// The registry does not answer.
    RegistryUnavailable,
    /// An image is not signed as it has to be, or refused by the policy.
    SignatureValidationFailed,
    /// A mount cannot be read-only with everything mounted below it.
    RroUnsupported,
    /// An image cannot be mounted as a volume.
    ImageVolumeMountFailed,
}

impl std::fmt::Display for KubeletError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            KubeletError::RegistryUnavailable => "RegistryUnavailable",
            KubeletError::SignatureValidationFailed => "SignatureValidationFailed",
            KubeletError::RroUnsupported => "RROUnsupported",
            KubeletError::ImageVolumeMountFailed => "ImageVolumeMountFailed",
        })
    }
}

impl FieldError {
    /// A value that is not allowed.
    pub(crate) fn invalid(field: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Invalid { field: field.into(), reason: reason.to_string() }
    }

    /// A field that is not supported yet.
    pub(crate) fn unsupported(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unsupported { field: field.into(), reason: reason.into() }
    }

    /// A field that is not supported, with the error that the kubelet recognises.
    pub(crate) fn named(word: KubeletError, field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Named { word, field: field.into(), reason: reason.into() }
    }
}

impl Classify for FieldError {
    fn kind(&self) -> Kind {
        match self {
            Self::Missing(_) | Self::Invalid { .. } => Kind::Invalid,
            Self::Unsupported { .. } | Self::Named { .. } => Kind::Unsupported,
        }
    }
}

impl From<FieldError> for Status {
    fn from(error: FieldError) -> Self {
        match error {
            FieldError::Named { .. } => Status::new(Code::Unknown, message(&error)),
            FieldError::Missing(_) | FieldError::Invalid { .. } | FieldError::Unsupported { .. } => {
                status(&error)
            }
        }
    }
}

/// The gRPC code of a kind.
pub fn code(kind: Kind) -> Code {
    match kind {
        Kind::NotFound => Code::NotFound,
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::Invalid => Code::InvalidArgument,
        Kind::Precondition => Code::FailedPrecondition,
        Kind::Unsupported => Code::Unimplemented,
        Kind::Denied | Kind::Untrusted => Code::PermissionDenied,
        Kind::Unavailable => Code::Unavailable,
        Kind::Exhausted => Code::ResourceExhausted,
        Kind::Timeout => Code::DeadlineExceeded,
        Kind::Cancelled => Code::Cancelled,
        Kind::Corrupt => Code::DataLoss,
        Kind::Internal => Code::Internal,
    }
}

/// The status for an error: one line with the whole chain, and the hint if there is one.
pub fn status(error: &dyn Classify) -> Status {
    Status::new(code(error.kind()), message(error))
}

/// The status for a container that could not be created.
pub(crate) fn create_status(error: &EngineError) -> Status {
    match error {
        EngineError::ImageVolume { .. } => Status::new(
            Code::Unknown,
            format!("{}: {}", KubeletError::ImageVolumeMountFailed, message(error)),
        ),
        _ if error.kind() == Kind::Untrusted => Status::new(
            Code::Unknown,
            format!("{}: {}", KubeletError::SignatureValidationFailed, message(error)),
        ),
        _ => status(error),
    }
}

/// The status for a failed pull.
pub(crate) fn pull_status(error: &dyn Classify) -> Status {
    let text = message(error);
    match error.kind() {
        Kind::Unavailable => {
            Status::new(Code::Unknown, format!("{}: {text}", KubeletError::RegistryUnavailable))
        }
        Kind::Untrusted => {
            Status::new(Code::Unknown, format!("{}: {text}", KubeletError::SignatureValidationFailed))
        }
        kind => Status::new(code(kind), text),
    }
}

/// The status for something that does not exist. Scripts look for these words.
pub(crate) fn not_found(thing: &str, key: &str) -> Status {
    Status::not_found(format!("{thing} {key:?} not found"))
}

fn message(error: &dyn Classify) -> String {
    let mut text = chain(error);
    if let Some(hint) = error.hint() {
        text = format!("{text} (hint: {hint})");
    }
    if text.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(end);
        text.push_str(" ...");
    }
    text
}

#[cfg(test)]
mod tests;
