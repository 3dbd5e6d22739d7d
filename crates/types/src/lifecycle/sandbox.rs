//! The lifecycle of a pod sandbox.

use super::Refused;

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

/// What happens to a pod sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// It is up, with its addresses.
    RunOk,
    /// It could not be made, and what was made is undone.
    RunFailed,
    /// Somebody asks to stop it.
    Stop,
    /// Everything of it ended and was taken down.
    Stopped,
    /// Part of the teardown failed.
    StopFailed,
    /// Somebody asks to remove it.
    Remove,
    /// Removal is complete.
    Removed,
    /// The shim died or does not answer.
    ShimLost,
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

impl Event {
    /// Every event, for tables and tests.
    pub const ALL: [Event; 8] = [
        Event::RunOk,
        Event::RunFailed,
        Event::Stop,
        Event::Stopped,
        Event::StopFailed,
        Event::Remove,
        Event::Removed,
        Event::ShimLost,
    ];

    /// The event as a verb.
    pub fn word(self) -> &'static str {
        match self {
            Event::RunOk => "finish starting",
            Event::RunFailed => "fail starting",
            Event::Stop => "stop",
            Event::Stopped => "finish stopping",
            Event::StopFailed => "fail stopping",
            Event::Remove => "remove",
            Event::Removed => "finish removing",
            Event::ShimLost => "lose the shim of",
        }
    }
}

/// The table: the state after `event`, or why it is refused.
///
/// A sandbox whose shim is lost stops: its cgroup is killed and its network taken down like any other.
pub fn next(state: State, event: Event) -> Result<State, Refused> {
    use Event as E;
    use State as S;
    let stop = S::Stopping { then: After::NotReady };
    let remove = S::Stopping { then: After::Removing };
    let to = match (state, event) {
        (S::Starting, E::RunOk) => S::Ready,
        (S::Starting, E::RunFailed) => S::Gone,
        (S::Starting, E::Stop | E::ShimLost) => stop,
        (S::Starting, E::Remove) => remove,

        (S::Ready, E::Stop | E::ShimLost) => stop,
        (S::Ready, E::Remove) => remove,

        (S::Stopping { then: After::NotReady }, E::Stop | E::ShimLost) => stop,
        (S::Stopping { then: After::NotReady }, E::Stopped) => S::NotReady,
        (S::Stopping { then: After::NotReady }, E::Remove) => remove,
        (S::Stopping { then: After::Removing }, E::Stop | E::ShimLost | E::Remove) => remove,
        (S::Stopping { then: After::Removing }, E::Stopped) => S::Removing,
        (S::Stopping { .. }, E::StopFailed) => S::StopFailed,

        (S::StopFailed, E::Stop) => stop,
        (S::StopFailed, E::Remove) => remove,
        (S::StopFailed, E::ShimLost) => S::StopFailed,

        (S::NotReady, E::Stop | E::ShimLost) => S::NotReady,
        (S::NotReady, E::Remove) => S::Removing,

        (S::Removing, E::Stop | E::Remove | E::ShimLost) => S::Removing,
        (S::Removing, E::Removed) => S::Gone,

        (S::Gone, E::Stop | E::Remove | E::Removed | E::ShimLost) => S::Gone,

        (
            S::Starting | S::Ready | S::Stopping { .. } | S::StopFailed | S::NotReady | S::Removing | S::Gone,
            _,
        ) => return Err(Refused { thing: "pod sandbox", event: event.word(), state: state.word() }),
    };
    Ok(to)
}

#[cfg(test)]
mod tests;
