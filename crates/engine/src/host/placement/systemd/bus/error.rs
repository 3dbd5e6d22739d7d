//! Why systemd did not do what it was asked.

use std::time::Duration;

use berth_types::{Classify, Kind};

use crate::error::EngineError;

/// Why systemd did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum BusError {
    /// The bus, or systemd on it, cannot be reached.
    #[error("{call} of systemd ({unit}): it cannot be reached over the system bus")]
    Away { call: &'static str, unit: String, source: zbus::Error },
    /// systemd answered with an error.
    #[error("systemd refuses {call} ({unit})")]
    Refused { call: &'static str, unit: String, source: zbus::Error },
    /// It did what was asked, without success.
    #[error("systemd's job {call} for {unit} ended as {result:?}")]
    Job { call: &'static str, unit: String, result: String },
    /// There is a unit of this name, and it neither becomes active nor goes.
    #[error("systemd has a unit {unit} already, which is still {state} after {} s", after.as_secs())]
    Exists { unit: String, state: String, after: Duration },
    /// It did not answer.
    #[error("systemd did not do {call} ({unit}) within {} s", after.as_secs())]
    Late { call: &'static str, unit: String, after: Duration },
    /// The daemon ends.
    #[error("the daemon ended before systemd had answered")]
    Closed,
}

impl Classify for BusError {
    fn kind(&self) -> Kind {
        match self {
            BusError::Away { .. } | BusError::Closed => Kind::Unavailable,
            BusError::Refused { .. } | BusError::Job { .. } => Kind::Internal,
            BusError::Exists { .. } | BusError::Late { .. } => Kind::Timeout,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            BusError::Away { .. } => Some(
                "is dbus installed and running? a host without it needs --cgroup-driver cgroupfs, and a kubelet with the same"
                    .to_owned(),
            ),
            BusError::Job { unit, .. } | BusError::Exists { unit, .. } | BusError::Late { unit, .. } => {
                Some(format!("see journalctl -u {unit}"))
            }
            BusError::Refused { .. } | BusError::Closed => None,
        }
    }
}

impl From<BusError> for EngineError {
    fn from(error: BusError) -> Self {
        EngineError::failed("ask systemd", error)
    }
}
