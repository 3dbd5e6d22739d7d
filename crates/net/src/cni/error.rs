//! The errors of CNI networks.

use std::io;
use std::path::PathBuf;

use berth_sys::netlink::NetlinkError;
use berth_types::quantity::QuantityError;
use berth_types::{Classify, Kind, SandboxId};

use crate::port::PortMapping;

/// Why a pod could not be connected, disconnected or checked by CNI plugins.
#[derive(Debug, thiserror::Error)]
pub enum CniError {
    /// There is no network to connect pods to.
    #[error("{message}")]
    NotReady {
        /// Why not.
        message: String,
    },
    /// The network was removed.
    #[error("the pod network was removed by a purge")]
    Purged,
    /// The pod is already connected, or was and could not be disconnected.
    #[error("sandbox {} is already connected", sandbox.short())]
    AlreadyAttached {
        /// The pod.
        sandbox: SandboxId,
    },
    /// The pod's network namespace has no path, which plugins need.
    #[error("the network namespace of sandbox {} is not mounted", sandbox.short())]
    NoNamespace {
        /// The pod.
        sandbox: SandboxId,
    },
    /// A name cannot be handed to plugins.
    #[error("{what} {value:?} cannot be passed to CNI plugins: it has a ; or = in it")]
    BadName {
        /// Which.
        what: &'static str,
        /// The name.
        value: String,
    },
    /// An annotation asks for a bandwidth that is none.
    #[error("annotation {annotation}")]
    BadBandwidth {
        /// Its key.
        annotation: &'static str,
        /// What is wrong with its value.
        source: BandwidthError,
    },
    /// The host port belongs to another pod.
    #[error("host port {port} is used by sandbox {}", holder.short())]
    PortTaken {
        /// The mapping.
        port: PortMapping,
        /// The pod that has the port.
        holder: SandboxId,
    },
    /// `lo` could not be set up.
    #[error("set up lo of sandbox {}", sandbox.short())]
    Loopback {
        /// The pod.
        sandbox: SandboxId,
        /// What the kernel said.
        source: NetlinkError,
    },
    /// A call of a plugin failed.
    #[error("{command} of plugin {plugin} of network {network}")]
    Plugin {
        /// `ADD`, `DEL`, ...
        command: &'static str,
        /// The plugin's type.
        plugin: String,
        /// The network.
        network: String,
        /// Why.
        source: PluginError,
    },
    /// The plugins gave the pod no address. A kubelet would make such a pod again forever.
    #[error("the plugins of network {network} gave the pod no address")]
    NoAddress {
        /// The network.
        network: String,
    },
    /// The record of the pod could not be written, read or removed.
    #[error("{action} {path}")]
    Record {
        /// `write`, `read`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The pod could not be disconnected; its record stays.
    #[error("give back what sandbox {} has of the network", sandbox.short())]
    Held {
        /// The pod.
        sandbox: SandboxId,
        /// Its record, without which nothing is called any more.
        record: PathBuf,
        /// Why.
        source: Box<CniError>,
    },
}

/// Why a bandwidth cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BandwidthError {
    /// It is no quantity.
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    /// It is too small or too large to be meant.
    #[error("{0:?} is not between 1k and 1P bits per second")]
    Range(String),
}

/// Why a plugin failed.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// There is no such program.
    #[error("no executable file {name} in {dirs}")]
    Missing {
        /// Its name.
        name: String,
        /// Where it was looked for.
        dirs: String,
    },
    /// It could not be started or talked to.
    #[error("run {path}")]
    Run {
        /// The program.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It took too long and was killed.
    #[error("it did not end within {seconds} s and was killed")]
    TimedOut {
        /// The time it had.
        seconds: u64,
    },
    /// It printed too much and was killed.
    #[error("it printed more than {limit} bytes and was killed")]
    TooMuch {
        /// The most that is read.
        limit: usize,
    },
    /// It said what is wrong.
    #[error("{message} (code {code})")]
    Said {
        /// The code: below 100 as the CNI specification defines it.
        code: u64,
        /// What it said, with the details.
        message: String,
    },
    /// It ended without saying what is wrong.
    #[error("{status}{}{said}", if said.is_empty() { "" } else { ": " })]
    Ended {
        /// How it ended.
        status: String,
        /// The last line of its standard error, or the beginning of its output.
        said: String,
    },
    /// It succeeded, but its answer cannot be read.
    #[error("its answer cannot be read: {reason}{}{said}", if said.is_empty() { "" } else { ": " })]
    Answer {
        /// What is wrong with it.
        reason: String,
        /// Its beginning.
        said: String,
    },
}

/// A plugin asks for another try (CNI 1.1, section 2).
const TRY_AGAIN: u64 = 11;
/// A plugin does not know the pod: there is nothing to give back.
const UNKNOWN_CONTAINER: u64 = 3;
/// A plugin cannot serve, or existing pods have limited connectivity, too.
const NOT_AVAILABLE: [u64; 2] = [50, 51];

impl PluginError {
    /// Whether the plugin says that it does not know the pod.
    pub(super) fn is_unknown_container(&self) -> bool {
        matches!(self, Self::Said { code: UNKNOWN_CONTAINER, .. })
    }
}

impl Classify for PluginError {
    fn kind(&self) -> Kind {
        match self {
            Self::Missing { .. } => Kind::Precondition,
            Self::TimedOut { .. } => Kind::Timeout,
            Self::Said { code: TRY_AGAIN, .. } => Kind::Unavailable,
            Self::Said { code, .. } if NOT_AVAILABLE.contains(code) => Kind::Unavailable,
            Self::Run { .. }
            | Self::TooMuch { .. }
            | Self::Said { .. }
            | Self::Ended { .. }
            | Self::Answer { .. } => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => {
                Some("install it there, or name its directory with --cni-bin-dir".to_owned())
            }
            Self::Run { .. }
            | Self::TimedOut { .. }
            | Self::TooMuch { .. }
            | Self::Said { .. }
            | Self::Ended { .. }
            | Self::Answer { .. } => None,
        }
    }
}

impl Classify for CniError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotReady { .. } => Kind::Unavailable,
            Self::Purged | Self::NoNamespace { .. } | Self::NoAddress { .. } => Kind::Precondition,
            Self::AlreadyAttached { .. } | Self::PortTaken { .. } => Kind::AlreadyExists,
            Self::BadName { .. } | Self::BadBandwidth { .. } => Kind::Invalid,
            Self::Loopback { .. } | Self::Record { .. } => Kind::Internal,
            Self::Plugin { source, .. } => source.kind(),
            Self::Held { source, .. } => source.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Plugin { source, .. } => source.hint(),
            Self::NoAddress { .. } => Some("check the ipam section of its configuration".to_owned()),
            Self::Held { record, .. } => Some(format!(
                "it is tried again by every stop and removal; if the plugin will never succeed, remove {}",
                record.display()
            )),
            Self::NotReady { .. }
            | Self::Purged
            | Self::AlreadyAttached { .. }
            | Self::NoNamespace { .. }
            | Self::BadName { .. }
            | Self::BadBandwidth { .. }
            | Self::PortTaken { .. }
            | Self::Loopback { .. }
            | Self::Record { .. } => None,
        }
    }
}
