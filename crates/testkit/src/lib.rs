//! Development only: what the tests, the conformance run and the benchmark need.
//!
//! - [`registry`]: a throw-away OCI registry on a loopback port, with authorization, TLS and
//!   faults on request.
//! - [`image`]: layers and images made in memory, and stand-ins for the images of the CRI's
//!   conformance suite made from Debian packages.
//! - [`guard`]: root, deadlines, temporary places.
//! - [`isolated`]: namespaces of a test's own.
//! - [`leak`]: what a test left behind on the machine.
//! - [`cni`]: the usual network of a node, made by CNI plugins.
//! - [`daemon`]: a `berth serve` of a test's own.
//! - [`executable`]: programs that are written and executed at once.
//! - [`prometheus`]: the text format of metrics.
//! - [`rng`]: numbers for tests that meddle at random.
//! - `collector`, with the feature `otlp`: a collector of traces.
//! - `cri` and `bench`, with the feature `cri`: a client of the CRI, and what measures with it.
//!
//! Nothing here is linked into the program that users get.

#![forbid(unsafe_code)]

#[cfg(feature = "cri")]
pub mod bench;
pub mod cni;
#[cfg(feature = "otlp")]
pub mod collector;
#[cfg(feature = "cri")]
pub mod cri;
pub mod daemon;
pub mod executable;
pub mod guard;
pub mod image;
pub mod isolated;
pub mod leak;
pub mod prometheus;
pub mod registry;
pub mod rng;

pub(crate) use KitError as Error;
pub use daemon::Daemon;
pub use guard::{Deadline, wait_until};
pub use registry::Registry;
pub use rng::Rng;

/// Why a function of the testkit failed.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    /// A file, socket or process refused.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: String,
        /// The refusal.
        source: std::io::Error,
    },
    /// A file that a Debian package brings is not on this machine.
    #[error("{path} is missing: apt-get install {package} (cargo xtask setup does it)")]
    Missing {
        /// The file looked for.
        path: String,
        /// The package that has it.
        package: String,
    },
    /// Anything else, as text.
    #[error("{0}")]
    Other(String),
}

impl KitError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// The result of the testkit's calls.
pub type Result<T, E = KitError> = std::result::Result<T, E>;
