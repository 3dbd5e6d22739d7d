//! Why the streaming server cannot be started.

use std::net::SocketAddr;
use std::path::PathBuf;

use berth_types::{Classify, Kind};

/// The streaming server cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StreamingError {
    /// The address is taken, or not one of this machine.
    #[error("listen on {address} for streams")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// A file for TLS cannot be read or used.
    #[error("TLS of the streaming server: {path}: {problem}")]
    Tls {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl Classify for StreamingError {
    fn kind(&self) -> Kind {
        match self {
            StreamingError::Listen { .. } => Kind::Unavailable,
            StreamingError::Tls { .. } => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            StreamingError::Listen { .. } => {
                Some("choose another --stream-address or --stream-port; port 0 takes a free one".to_owned())
            }
            StreamingError::Tls { .. } => None,
        }
    }
}
