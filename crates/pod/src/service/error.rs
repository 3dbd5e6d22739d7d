//! Why a service is not what is asked for.

use std::path::PathBuf;

use berth_engine::services::NetError;
use berth_types::{Classify, Kind};

use crate::manifest::list;

/// Why a service is not made.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// There is no block for addresses of services.
    #[error("there can be no services: no block of addresses is free for them")]
    NoNetwork,
    /// There are [`super::MAX_SERVICES`].
    #[error("the limit of {} services is reached", super::MAX_SERVICES)]
    TooMany,
    /// A field asks for what cannot be given.
    #[error("Service {service}: {path}: {message}")]
    Field {
        /// Which.
        service: String,
        /// The field.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// All addresses are taken.
    #[error("Service {service}: every address of the block for services is taken")]
    Exhausted {
        /// Which.
        service: String,
    },
    /// A host port cannot be opened.
    #[error("Service {service}: {fault}")]
    Port {
        /// Which.
        service: String,
        /// What is wrong, with the port.
        fault: String,
    },
    /// Its lease could not be written or removed.
    #[error("Service {service}: write its lease {path}")]
    Keep {
        /// Which.
        service: String,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The DNS server could not be started.
    #[error("start the DNS server on {address}")]
    Dns {
        /// Where.
        address: std::net::IpAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The network refused.
    #[error("change the services of the pod network")]
    Network(#[source] NetError),
    /// More than one of these.
    #[error("{}", list(.0))]
    Several(Vec<ServiceError>),
}

impl ServiceError {
    /// Nothing where there are none.
    pub(super) fn of(mut faults: Vec<Self>) -> Option<Self> {
        match faults.len() {
            0 | 1 => faults.pop(),
            _ => Some(Self::Several(faults)),
        }
    }
}

impl Classify for ServiceError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoNetwork | Self::Port { .. } => Kind::Precondition,
            Self::TooMany | Self::Exhausted { .. } => Kind::Exhausted,
            Self::Field { .. } => Kind::Invalid,
            Self::Keep { .. } | Self::Dns { .. } => Kind::Internal,
            Self::Network(error) => error.kind(),
            Self::Several(all) => all.first().map_or(Kind::Invalid, Self::kind),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoNetwork => Some("choose one with --service-cidr".to_owned()),
            Self::TooMany => Some("berth services lists them".to_owned()),
            Self::Exhausted { .. } => {
                Some("remove services, or choose a larger block with --service-cidr".to_owned())
            }
            Self::Network(error) => error.hint(),
            Self::Field { .. }
            | Self::Port { .. }
            | Self::Keep { .. }
            | Self::Dns { .. }
            | Self::Several(_) => None,
        }
    }
}
