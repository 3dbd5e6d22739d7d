//! The lifecycle of a container.
//!
//! ```text
//! Creating --Prepared--> Created --Start--> Starting --Started--> Running
//!                           |                  |                     |
//!                           +------Stop--------+---------------------+--> Stopping --Exited--> Exited --Remove--> Removing --> Gone
//! ```
//!
//! A container is `Exited` only when it is certain that nothing of it lives. One that could not be killed goes
//! back to where it was; one whose shim does not answer is `Unknown` until the shim or its record says more.

use std::time::Duration;

use super::{Kinds, Outcome, Refused};

mod next;
mod state;

pub use state::{After, Listed, State};

/// A container with what its state owns.
#[derive(Debug)]
pub enum Container<K: Kinds> {
    /// The root file system and the process are being prepared.
    Creating {
        /// Callers of Create.
        waiters: Vec<K::Waiter>,
        /// The end, when the shim reported it before the preparation was reported.
        ended: Option<K::Exit>,
    },
    /// The process waits, prepared, before its `execve`.
    Created {
        /// What preparation found out.
        facts: K::Facts,
    },
    /// The process was released.
    Starting {
        /// What preparation found out.
        facts: K::Facts,
        /// The start in flight.
        start: Start<K>,
    },
    /// The command runs.
    Running {
        /// What preparation found out.
        facts: K::Facts,
        /// Nanoseconds since 1970.
        started_at: i64,
    },
    /// It is being ended.
    Stopping {
        /// What preparation found out.
        facts: K::Facts,
        /// How far it had come.
        life: Life<K>,
        /// Callers of Stop.
        stop: Vec<K::Waiter>,
        /// Callers of Remove, when removal follows.
        remove: Option<Vec<K::Waiter>>,
    },
    /// Its shim does not answer: it may live or not.
    Unknown {
        /// What preparation found out.
        facts: K::Facts,
        /// Nanoseconds since 1970, if it is known to have been started.
        started_at: Option<i64>,
    },
    /// The command ended, or never began, and nothing of it lives.
    Exited {
        /// What preparation found out.
        facts: K::Facts,
        /// Nanoseconds since 1970; None when it never ran.
        started_at: Option<i64>,
        /// How it ended.
        exit: K::Exit,
    },
    /// Its files and records are being removed.
    Removing {
        /// What preparation found out.
        facts: K::Facts,
        /// Nanoseconds since 1970; None when it never ran.
        started_at: Option<i64>,
        /// How it ended.
        exit: K::Exit,
        /// Callers of Remove.
        waiters: Vec<K::Waiter>,
    },
    /// Removed, or undone.
    Gone,
}

/// A start in flight.
#[derive(Debug)]
pub enum Start<K: Kinds> {
    /// The shim has not answered yet.
    Asked {
        /// Callers of Start.
        waiters: Vec<K::Waiter>,
        /// The end, when it came before the answer, which says what kind of end it is.
        ended: Option<K::Exit>,
    },
    /// The answer did not come in time, or was lost with the connection: the shim's next report decides.
    Overdue,
}

/// How far a container had come when it was asked to end.
#[derive(Debug)]
pub enum Life<K: Kinds> {
    /// Its process waits before its `execve`.
    Prepared,
    /// Its process was released.
    Starting(Start<K>),
    /// Its command ran.
    Running {
        /// Nanoseconds since 1970.
        started_at: i64,
    },
    /// Its shim does not answer.
    Unknown {
        /// Nanoseconds since 1970, if it is known to have been started.
        started_at: Option<i64>,
    },
}

/// What happens to a container.
#[derive(Debug)]
pub enum Message<K: Kinds> {
    /// A caller asks to create the same container again.
    Join(K::Waiter),
    /// Preparation succeeded. The callers of Create get the outcome: success, unless the pod was stopped meanwhile.
    Prepared(K::Facts, Outcome<K::Error>),
    /// Preparation failed, and what was made is undone.
    NotPrepared(K::Error),
    /// A caller asks to start it.
    Start(K::Waiter),
    /// Its command runs since then (nanoseconds since 1970).
    Started(i64),
    /// Its command could not be executed.
    NotStarted(K::Error, K::Exit),
    /// The shim did not answer to the start: it may have happened.
    StartOverdue(K::Error),
    /// A caller asks to stop it within a time.
    Stop(Duration, K::Waiter),
    /// It could not be killed.
    NotStopped(K::Error),
    /// Its main process ended and nothing of it lives. With the time of its start, if the reporter knows it.
    Exited(Option<i64>, K::Exit),
    /// A caller asks to remove it.
    Remove(K::Waiter),
    /// Everything of it is removed.
    Removed,
    /// A part of it could not be removed.
    NotRemoved(K::Error),
    /// Its shim, found again, says how far it is.
    Found(Found),
    /// Its shim is dead.
    ShimDied(K::Error),
}

/// How far a container that lives is, by its shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Prepared, before its `execve`.
    Created,
    /// Running since then (nanoseconds since 1970).
    Running(i64),
}

/// What is to be done after a message.
#[derive(Debug)]
pub enum Effect<K: Kinds> {
    /// Answer a caller.
    Answer(K::Waiter, Outcome<K::Error>),
    /// Ask the shim to release the process; reports `Started`, `NotStarted` or `StartOverdue`.
    Start,
    /// End it within a time, by its shim if that is to be asked; reports `NotStopped`, or the end comes as `Exited`.
    Stop(Duration, Ask),
    /// It is to end earlier than requested before.
    Hurry(Duration),
    /// It has ended: nothing of it has to be stopped any more.
    Ended,
    /// Remove everything of it; reports `Removed` or `NotRemoved`.
    Remove,
}

/// Whether a shim is asked to end a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// It is.
    Shim,
    /// It does not answer: the container is killed by its cgroup.
    Kernel,
}

impl<K: Kinds> Container<K> {
    /// One that is being created for a caller.
    pub fn creating(waiter: K::Waiter) -> Self {
        Container::Creating { waiters: vec![waiter], ended: None }
    }

    /// One that recovery found: nothing is known but its record, until its shim or that record's end says more.
    pub fn recovered(facts: K::Facts) -> Self {
        Container::Unknown { facts, started_at: None }
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        match self {
            Container::Creating { .. } => State::Creating,
            Container::Created { .. } => State::Created,
            Container::Starting { .. } => State::Starting,
            Container::Running { .. } => State::Running,
            Container::Stopping { remove: None, .. } => State::Stopping { then: After::Exited },
            Container::Stopping { remove: Some(_), .. } => State::Stopping { then: After::Removing },
            Container::Unknown { .. } => State::Unknown,
            Container::Exited { .. } => State::Exited,
            Container::Removing { .. } => State::Removing,
            Container::Gone => State::Gone,
        }
    }

    /// How callers see it: one that is stopped before it was known to run is still a created one.
    pub fn seen(&self) -> State {
        match self {
            Container::Stopping { life: Life::Prepared, .. } => State::Created,
            Container::Stopping { life: Life::Starting(_), .. } => State::Starting,
            Container::Stopping { life: Life::Unknown { .. }, .. } => State::Unknown,
            other => other.state(),
        }
    }

    /// What preparation found out; None before it is over, and when the container is removed.
    pub fn facts(&self) -> Option<&K::Facts> {
        match self {
            Container::Creating { .. } | Container::Gone => None,
            Container::Created { facts }
            | Container::Starting { facts, .. }
            | Container::Running { facts, .. }
            | Container::Stopping { facts, .. }
            | Container::Unknown { facts, .. }
            | Container::Exited { facts, .. }
            | Container::Removing { facts, .. } => Some(facts),
        }
    }

    /// When its command began (nanoseconds since 1970), if it did and that is known.
    pub fn started_at(&self) -> Option<i64> {
        match self {
            Container::Running { started_at, .. }
            | Container::Stopping { life: Life::Running { started_at }, .. } => Some(*started_at),
            Container::Stopping { life: Life::Unknown { started_at }, .. }
            | Container::Unknown { started_at, .. }
            | Container::Exited { started_at, .. }
            | Container::Removing { started_at, .. } => *started_at,
            Container::Creating { .. }
            | Container::Created { .. }
            | Container::Starting { .. }
            | Container::Stopping { life: Life::Prepared | Life::Starting(_), .. }
            | Container::Gone => None,
        }
    }

    /// How it ended, if it did.
    pub fn exit(&self) -> Option<&K::Exit> {
        match self {
            Container::Exited { exit, .. } | Container::Removing { exit, .. } => Some(exit),
            Container::Creating { .. }
            | Container::Created { .. }
            | Container::Starting { .. }
            | Container::Running { .. }
            | Container::Stopping { .. }
            | Container::Unknown { .. }
            | Container::Gone => None,
        }
    }

    /// Whether processes of it may exist.
    pub fn may_live(&self) -> bool {
        match self.state() {
            State::Created | State::Starting | State::Running | State::Stopping { .. } | State::Unknown => {
                true
            }
            State::Creating | State::Exited | State::Removing | State::Gone => false,
        }
    }

    /// Refuses a call by its verb.
    pub fn refuse(&self, event: &'static str) -> Refused {
        Refused { thing: "container", event, state: self.state().word() }
    }
}

#[cfg(test)]
pub(super) mod tests;
