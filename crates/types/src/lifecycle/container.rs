//! The lifecycle of a container.

use super::Refused;

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
    /// Signalled; `then` says what follows the exit.
    Stopping {
        /// What follows.
        then: After,
    },
    /// The command ended, or never began. The exit record says how.
    Exited,
    /// The shim does not answer: nobody knows.
    Unknown,
    /// Its files and records are being removed.
    Removing,
    /// Removed.
    Gone,
}

/// What follows the end of a stopping container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum After {
    /// It stays, to be looked at.
    Exited,
    /// It is removed.
    Removing,
}

/// What happens to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Preparation succeeded.
    CreateOk,
    /// Preparation failed and was undone.
    CreateFailed,
    /// Somebody asks to start it.
    Start,
    /// The command runs.
    StartOk,
    /// The command could not be executed.
    StartFailed,
    /// The main process ended.
    Exited,
    /// Somebody asks to stop it.
    Stop,
    /// Somebody asks to remove it.
    Remove,
    /// Removal is complete.
    Removed,
    /// The shim died or does not answer.
    ShimLost,
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
        State::Exited,
        State::Unknown,
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
            State::Exited => "exited",
            State::Unknown => "in an unknown state",
            State::Removing => "being removed",
            State::Gone => "gone",
        }
    }
}

impl Event {
    /// Every event, for tables and tests.
    pub const ALL: [Event; 10] = [
        Event::CreateOk,
        Event::CreateFailed,
        Event::Start,
        Event::StartOk,
        Event::StartFailed,
        Event::Exited,
        Event::Stop,
        Event::Remove,
        Event::Removed,
        Event::ShimLost,
    ];

    /// The event as a verb.
    pub fn word(self) -> &'static str {
        match self {
            Event::CreateOk => "finish creating",
            Event::CreateFailed => "fail creating",
            Event::Start => "start",
            Event::StartOk => "finish starting",
            Event::StartFailed => "fail starting",
            Event::Exited => "end",
            Event::Stop => "stop",
            Event::Remove => "remove",
            Event::Removed => "finish removing",
            Event::ShimLost => "lose the shim of",
        }
    }
}

/// The table: the state after `event`, or why it is refused.
///
/// `Creating` with `Exited`, `Stop` or `Remove` goes to `Gone`: the half-made container is undone.
pub fn next(state: State, event: Event) -> Result<State, Refused> {
    use Event as E;
    use State as S;
    let exited = S::Stopping { then: After::Exited };
    let removing = S::Stopping { then: After::Removing };
    let to = match (state, event) {
        (S::Creating, E::CreateOk) => S::Created,
        (S::Creating, E::CreateFailed | E::Exited | E::Stop | E::Remove) => S::Gone,
        (S::Creating, E::ShimLost) => S::Unknown,

        (S::Created, E::Start) => S::Starting,
        (S::Created, E::Exited | E::Stop) => S::Exited,
        (S::Created, E::Remove) => S::Removing,
        (S::Created, E::ShimLost) => S::Unknown,

        (S::Starting, E::Start) => S::Starting,
        (S::Starting, E::StartOk) => S::Running,
        (S::Starting, E::StartFailed | E::Exited) => S::Exited,
        (S::Starting, E::Stop) => exited,
        (S::Starting, E::Remove) => removing,
        (S::Starting, E::ShimLost) => S::Unknown,

        (S::Running, E::Exited) => S::Exited,
        (S::Running, E::Stop) => exited,
        (S::Running, E::Remove) => removing,
        (S::Running, E::ShimLost) => S::Unknown,

        (S::Stopping { then: After::Exited }, E::StartOk | E::Stop) => exited,
        (S::Stopping { then: After::Exited }, E::StartFailed | E::Exited) => S::Exited,
        (S::Stopping { then: After::Exited }, E::Remove) => removing,
        (S::Stopping { then: After::Removing }, E::StartOk | E::Stop | E::Remove) => removing,
        (S::Stopping { then: After::Removing }, E::StartFailed | E::Exited) => S::Removing,
        (S::Stopping { .. }, E::ShimLost) => S::Unknown,

        // A late answer to a start that a stop overtook arrives after the exit.
        (S::Exited, E::StartOk | E::StartFailed | E::Exited | E::Stop | E::ShimLost) => S::Exited,
        (S::Exited, E::Remove) => S::Removing,

        (S::Unknown, E::Exited) => S::Exited,
        (S::Unknown, E::Stop) => exited,
        (S::Unknown, E::Remove) => removing,
        // The answer to a start may come after the word that the shim is gone, which is the later truth.
        (S::Unknown, E::StartOk | E::StartFailed | E::ShimLost) => S::Unknown,

        (S::Removing, E::StartOk | E::StartFailed | E::Exited | E::Stop | E::Remove | E::ShimLost) => {
            S::Removing
        }
        (S::Removing, E::Removed) => S::Gone,

        (S::Gone, E::Exited | E::Stop | E::Remove | E::Removed | E::ShimLost) => S::Gone,

        (
            S::Creating
            | S::Created
            | S::Starting
            | S::Running
            | S::Stopping { .. }
            | S::Exited
            | S::Unknown
            | S::Removing
            | S::Gone,
            _,
        ) => return Err(Refused { thing: "container", event: event.word(), state: state.word() }),
    };
    Ok(to)
}

#[cfg(test)]
mod tests;
