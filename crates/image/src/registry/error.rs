//! What can go wrong with registries, by host and over all hosts.

use std::time::Duration;

use berth_types::{Classify, Digest, Kind};

use crate::credentials::KeyringError;
use crate::hosts::HostsError;

/// Why one host did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No connection.
    #[error("connect")]
    Connect {
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection broke.
    #[error("{step}")]
    Transport {
        /// What was being done.
        step: &'static str,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("{step}: nothing received within {} ms", limit.as_millis())]
    Timeout {
        /// What was being done.
        step: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// It gave no answer earlier in the same pull, and there are other hosts.
    #[error("skipped: it did not answer earlier in this pull")]
    GivenUp,
    /// The certificates configured for the host cannot be used.
    #[error("{path}: {problem}")]
    Certificates {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There are no usable credentials for the host.
    #[error("credentials")]
    Keyring(#[from] KeyringError),
    /// The host does not have it (404).
    #[error("not found{detail}")]
    NotFound {
        /// What the host says, with a space in front.
        detail: String,
    },
    /// Credentials are needed, or those shown were refused (401, 403).
    #[error("{status}: access refused{detail}")]
    Denied {
        /// The HTTP status.
        status: u16,
        /// What the host says, with a space in front.
        detail: String,
        /// Whether credentials were shown.
        shown: bool,
    },
    /// An unexpected status.
    #[error("answered {status}{detail}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// What the host says, with a space in front.
        detail: String,
        /// How long the host asks to wait (Retry-After).
        retry_after: Option<Duration>,
    },
    /// There are too many redirects.
    #[error("more than {0} redirects")]
    Redirects(usize),
    /// A redirect that is not followed.
    #[error("redirect to {to:?} is not followed: {reason}")]
    Redirect {
        /// Where to.
        to: String,
        /// Why not.
        reason: &'static str,
    },
    /// The token server gave no token.
    #[error("token from {realm}: {problem}")]
    Token {
        /// The token server.
        realm: String,
        /// What is wrong.
        problem: String,
    },
    /// The host answered a range with the whole.
    #[error("the server does not support range requests")]
    NoRanges,
    /// The answer is larger than it may be.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What was read.
        what: &'static str,
        /// The bound, bytes.
        limit: u64,
    },
    /// The content is not what the digest says.
    #[error("{what} has digest {found}, expected {wanted}")]
    WrongDigest {
        /// What was read.
        what: &'static str,
        /// Asked for.
        wanted: Digest,
        /// Received.
        found: Digest,
    },
    /// The content has another size than its descriptor says.
    #[error("{what} has {found} bytes, expected {wanted} as in its descriptor")]
    WrongSize {
        /// What was read.
        what: &'static str,
        /// By the descriptor.
        wanted: u64,
        /// Received or announced.
        found: u64,
    },
    /// The content cannot be understood.
    #[error("{what} is malformed: {problem}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl HostError {
    /// Whether the same request may succeed a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Transport { .. } => true,
            // 501, 505 and 511 are about the request; proxies and caches have numbers of their own.
            Self::Status { status, .. } => {
                matches!(status, 408 | 425 | 429 | 500..=599) && !matches!(status, 501 | 505 | 511)
            }
            // A host that cannot be reached, or did not answer for half a minute, is not asked again.
            Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::GivenUp
            | Self::Certificates { .. }
            | Self::Keyring(_)
            | Self::NotFound { .. }
            | Self::Denied { .. }
            | Self::Redirects(_)
            | Self::Redirect { .. }
            | Self::Token { .. }
            | Self::NoRanges
            | Self::TooLarge { .. }
            | Self::WrongDigest { .. }
            | Self::WrongSize { .. }
            | Self::Malformed { .. } => false,
        }
    }
}

impl Classify for HostError {
    fn kind(&self) -> Kind {
        match self {
            Self::Connect { .. }
            | Self::GivenUp
            | Self::Transport { .. }
            | Self::Timeout { .. }
            | Self::Redirects(_)
            | Self::Redirect { .. } => Kind::Unavailable,
            Self::Status { status, .. } if self.is_transient() || *status >= 500 => Kind::Unavailable,
            Self::Status { .. } | Self::Certificates { .. } | Self::Keyring(_) => Kind::Invalid,
            Self::NotFound { .. } => Kind::NotFound,
            Self::Denied { .. } => Kind::Denied,
            Self::Token { .. } | Self::NoRanges => Kind::Unavailable,
            Self::TooLarge { .. } => Kind::Exhausted,
            Self::WrongDigest { .. } | Self::WrongSize { .. } | Self::Malformed { .. } => Kind::Corrupt,
        }
    }
}

/// A host that was asked, and why it failed.
#[derive(Debug)]
pub struct Tried {
    /// The host, as a URL where the scheme is fixed.
    pub host: String,
    /// The reason.
    pub error: HostError,
}

/// Why a registry did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// hosts.toml is wrong.
    #[error("hosts of registry {registry}")]
    Hosts {
        /// The registry of the reference.
        registry: String,
        /// What is wrong.
        source: HostsError,
    },
    /// Every host refused, by its own reason.
    #[error("{what}: {}", list(tried))]
    AllHosts {
        /// What was asked for.
        what: String,
        /// The hosts in the order in which they were asked; never empty.
        tried: Vec<Tried>,
    },
    /// hosts.toml leaves no host that may be asked.
    #[error("{what}: hosts.toml allows no host of {registry} to {action}")]
    NoHost {
        /// What was asked for.
        what: String,
        /// The registry.
        registry: String,
        /// The capability that is missing.
        action: &'static str,
    },
    /// A manifest of a kind that is not an image Berth can run.
    #[error("manifest of {what}: {problem}")]
    Manifest {
        /// What was asked for.
        what: String,
        /// What it is instead.
        problem: String,
        /// Corrupt when it cannot be read, Unsupported when it is something else.
        kind: Kind,
    },
    /// Nothing in the index runs here.
    #[error("{what}: no image for {wanted}; available: {}", if available.is_empty() { "none" } else { available })]
    Platform {
        /// What was asked for.
        what: String,
        /// The platform wanted.
        wanted: String,
        /// The platforms there are, separated by commas.
        available: String,
    },
}

fn list(tried: &[Tried]) -> String {
    let one = |t: &Tried| format!("{}: {}", t.host, berth_types::error::chain(&t.error));
    tried.iter().map(one).collect::<Vec<_>>().join("; ")
}

impl Classify for RegistryError {
    /// Over several hosts: the refusal of a host that does answer says more than one that cannot
    /// be reached.
    fn kind(&self) -> Kind {
        match self {
            Self::Hosts { .. } | Self::NoHost { .. } => Kind::Invalid,
            Self::Manifest { kind, .. } => *kind,
            Self::Platform { .. } => Kind::NotFound,
            Self::AllHosts { tried, .. } => {
                let kinds: Vec<Kind> = tried.iter().map(|t| t.error.kind()).collect();
                let last = kinds.last().copied().unwrap_or(Kind::Unavailable);
                match last {
                    // The registry itself does not answer: whether it has the image is open.
                    Kind::Unavailable => Kind::Unavailable,
                    _ => kinds.into_iter().find(|k| *k == Kind::Denied).unwrap_or(last),
                }
            }
        }
    }

    fn hint(&self) -> Option<String> {
        let Self::AllHosts { tried, .. } = self else { return None };
        tried.iter().find_map(|t| match &t.error {
            HostError::Denied { shown: false, .. } => {
                Some("no credentials were given; the repository may be private, or not exist".to_owned())
            }
            HostError::Connect { source } if text(source.as_ref()).contains("UnknownIssuer") => {
                Some("put the registry's certificate authority into certs.d/HOST/hosts.toml as ca".to_owned())
            }
            // The peer does not speak TLS.
            HostError::Connect { source } if text(source.as_ref()).contains("InvalidContentType") => Some(
                "it seems to speak plain HTTP: configure it with http:// in certs.d/HOST/hosts.toml"
                    .to_owned(),
            ),
            _ => None,
        })
    }
}

fn text(error: &(dyn std::error::Error + 'static)) -> String {
    berth_types::error::chain(error)
}
