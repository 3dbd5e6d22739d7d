//! The names of a container's states, for lists, records and messages.

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The root file system and the process are being prepared. Not listed.
    Creating,
    /// The process waits, prepared, before its `execve`.
    Created,
    /// The process was released.
    Starting,
    /// The command runs.
    Running,
    /// It is being ended; `then` says what follows.
    Stopping {
        /// What follows.
        then: After,
    },
    /// The shim does not answer: it may live or not.
    Unknown,
    /// The command ended, or never began. The exit says how.
    Exited,
    /// Its files and records are being removed.
    Removing,
    /// Removed.
    Gone,
}

/// What follows the end of a stopping container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum After {
    /// It stays, to be inspected.
    Exited,
    /// It is removed.
    Removing,
}

/// The four states that the CRI knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listed {
    /// CONTAINER_CREATED
    Created,
    /// CONTAINER_RUNNING
    Running,
    /// CONTAINER_EXITED
    Exited,
    /// CONTAINER_UNKNOWN
    Unknown,
}

impl State {
    /// Every state, for tables and tests.
    pub const ALL: [State; 10] = [
        State::Creating,
        State::Created,
        State::Starting,
        State::Running,
        State::Stopping { then: After::Exited },
        State::Stopping { then: After::Removing },
        State::Unknown,
        State::Exited,
        State::Removing,
        State::Gone,
    ];

    /// How the CRI lists it; None when it is not listed.
    pub fn listed(self) -> Option<Listed> {
        match self {
            State::Creating | State::Gone => None,
            State::Created | State::Starting => Some(Listed::Created),
            State::Running | State::Stopping { .. } => Some(Listed::Running),
            State::Exited | State::Removing => Some(Listed::Exited),
            State::Unknown => Some(Listed::Unknown),
        }
    }

    /// The state as an adjective.
    pub fn word(self) -> &'static str {
        match self {
            State::Creating => "being created",
            State::Created => "created",
            State::Starting => "starting",
            State::Running => "running",
            State::Stopping { .. } => "stopping",
            State::Unknown => "in an unknown state",
            State::Exited => "exited",
            State::Removing => "being removed",
            State::Gone => "gone",
        }
    }
}
