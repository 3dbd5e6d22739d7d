//! The names of a sandbox's states, for lists, records and messages.

/// Where a pod sandbox is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Namespaces, network and shim are being made. Not listed.
    Starting,
    /// Containers can be made in it.
    Ready,
    /// Its containers are being ended and its network taken down; `then` says what follows.
    Stopping {
        /// What follows.
        then: After,
    },
    /// Part of the teardown failed (a CNI plugin refused, say): asking to stop again tries again.
    StopFailed,
    /// Nothing of it runs; its records stay.
    NotReady,
    /// Its files and records are being removed.
    Removing,
    /// Removed.
    Gone,
}

/// What follows the end of a stopping sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum After {
    /// It stays, listed as not ready.
    NotReady,
    /// It is removed.
    Removing,
}

/// The two states that the CRI knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listed {
    /// SANDBOX_READY
    Ready,
    /// SANDBOX_NOTREADY
    NotReady,
}

impl State {
    /// Every state, for tables and tests.
    pub const ALL: [State; 8] = [
        State::Starting,
        State::Ready,
        State::Stopping { then: After::NotReady },
        State::Stopping { then: After::Removing },
        State::StopFailed,
        State::NotReady,
        State::Removing,
        State::Gone,
    ];

    /// How the CRI lists it; None when it is not listed.
    pub fn listed(self) -> Option<Listed> {
        match self {
            State::Starting | State::Gone => None,
            State::Ready => Some(Listed::Ready),
            State::Stopping { .. } | State::StopFailed | State::NotReady | State::Removing => {
                Some(Listed::NotReady)
            }
        }
    }

    /// The state as an adjective.
    pub fn word(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Ready => "ready",
            State::Stopping { .. } => "stopping",
            State::StopFailed => "half stopped",
            State::NotReady => "not ready",
            State::Removing => "being removed",
            State::Gone => "gone",
        }
    }
}
