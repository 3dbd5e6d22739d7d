//! Kinds of errors: what a caller may branch on, apart from the text for users.
//!
//! Each library has small error enums of its own and implements [`Classify`] for them. The edges
//! (the CRI server, the command line) turn the kind into a gRPC code or an exit status, print the
//! chain of sources once, and add the hint.

/// What went wrong, as far as a caller may act on it. The names follow the gRPC codes that the
/// CRI gives meaning to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The thing named does not exist.
    NotFound,
    /// The name is taken by something with another configuration.
    AlreadyExists,
    /// The request itself is wrong: it will fail again unchanged.
    Invalid,
    /// The request is right, but not in the present state.
    Precondition,
    /// Berth does not support this (yet).
    Unsupported,
    /// The caller may not do this, or credentials were refused.
    Denied,
    /// The policy of which images may be used refuses it.
    Untrusted,
    /// Something outside (a registry, a shim) does not answer; trying again may help.
    Unavailable,
    /// A limit was reached: disk, memory, addresses, size of input.
    Exhausted,
    /// The time allowed ran out.
    Timeout,
    /// The operation was cancelled.
    Cancelled,
    /// Stored or received data is damaged.
    Corrupt,
    /// The system refused what should have worked.
    Internal,
}

impl Kind {
    /// In one word, for counters.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Invalid => "invalid",
            Self::Precondition => "precondition",
            Self::Unsupported => "unsupported",
            Self::Denied => "denied",
            Self::Untrusted => "untrusted",
            Self::Unavailable => "unavailable",
            Self::Exhausted => "exhausted",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Corrupt => "corrupt",
            Self::Internal => "internal",
        }
    }
}

/// An error with a kind for callers and, where there is one, a hint for users.
pub trait Classify: std::error::Error {
    /// The kind, for callers that branch.
    fn kind(&self) -> Kind;
    /// What the user could do, as a sentence without a full stop.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// The whole chain of an error in one line: `this: cause: cause of the cause`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}
