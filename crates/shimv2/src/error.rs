//! Why a call failed.

use std::time::Duration;

use berth_types::error::{Classify, Kind};

/// Why a call of a shim failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The request does not fit.
    #[error(
        "{method} of the shim: the request has {size} bytes, over the protocol's {}",
        crate::frame::MAX_BODY
    )]
    TooLarge {
        /// What was called.
        method: String,
        /// The size of the request.
        size: usize,
    },
    /// Too much waits for the shim.
    #[error("{method} of the shim: too many calls wait for it")]
    Busy {
        /// What was called.
        method: String,
    },
    /// No answer came in time.
    #[error("{method} of the shim: no answer within {limit:?}")]
    Slow {
        /// What was called.
        method: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The caller gave it up.
    #[error("{method} of the shim: given up by its caller")]
    Cancelled {
        /// What was called.
        method: String,
    },
    /// The connection was lost, before or while it waited.
    #[error("{method} of the shim: {reason}")]
    Lost {
        /// What was called.
        method: String,
        /// Why.
        reason: Lost,
    },
    /// The answer does not fit.
    #[error(
        "{method} of the shim: the answer has {size} bytes, over the protocol's {}",
        crate::frame::MAX_BODY
    )]
    AnswerTooLarge {
        /// What was called.
        method: String,
        /// The size of the answer.
        size: u32,
    },
    /// The answer is no message of the protocol.
    #[error("{method} of the shim: the answer cannot be read")]
    Answer {
        /// What was called.
        method: String,
        /// What is wrong with it.
        source: prost::DecodeError,
    },
    /// The shim refused, in its own words.
    #[error("{method} of the shim: {message} (code {code})")]
    Refused {
        /// What was called.
        method: String,
        /// A code of gRPC.
        code: i32,
        /// The shim's words.
        message: String,
    },
}

/// Why a connection is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The shim closed it: it has ended, or was killed.
    #[error("it closed the connection")]
    Closed,
    /// The system says so.
    #[error("the connection broke: {0}")]
    Failed(String),
    /// The shim does not keep to the protocol.
    #[error("the connection was ended, since {0}")]
    Broken(String),
    /// We ended it.
    #[error("the connection was ended")]
    Ended,
}

impl Classify for CallError {
    fn kind(&self) -> Kind {
        match self {
            CallError::TooLarge { .. } => Kind::Invalid,
            CallError::Busy { .. } => Kind::Exhausted,
            CallError::Slow { .. } => Kind::Timeout,
            CallError::Cancelled { .. } => Kind::Cancelled,
            CallError::Lost { .. } => Kind::Unavailable,
            CallError::AnswerTooLarge { .. } | CallError::Answer { .. } => Kind::Corrupt,
            CallError::Refused { code, .. } => of_code(*code),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            CallError::Refused { code: 12, .. } => {
                Some("the shim is older than what is asked of it".to_owned())
            }
            _ => None,
        }
    }
}

/// The kinds are named after gRPC's codes.
fn of_code(code: i32) -> Kind {
    match code {
        1 => Kind::Cancelled,
        3 | 11 => Kind::Invalid,
        4 => Kind::Timeout,
        5 => Kind::NotFound,
        6 => Kind::AlreadyExists,
        7 | 16 => Kind::Denied,
        8 => Kind::Exhausted,
        9 | 10 => Kind::Precondition,
        12 => Kind::Unsupported,
        14 => Kind::Unavailable,
        15 => Kind::Corrupt,
        _ => Kind::Internal,
    }
}
