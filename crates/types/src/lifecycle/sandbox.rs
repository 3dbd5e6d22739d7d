//! The lifecycle of a pod sandbox.
//!
//! ```text
//! Starting --Up--> Ready --Stop--> Stopping --Down, Settled--> NotReady --Remove--> Removing --Cleared--> Gone
//!    |                                |  ^                        ^                    |
//!    +--NotUp--> Gone           NotDown  Stop                     +-----NotCleared-----+
//!                                     v  |
//!                                  StopFailed
//! ```
//!
//! What is asked while the sandbox is being made is remembered by that state and begins when it is up.

use super::{Kinds, Outcome, Refused};

mod next;
mod state;

pub use state::{After, Listed, State};

/// A pod sandbox with what its state owns.
#[derive(Debug)]
pub enum Sandbox<K: Kinds> {
    /// Namespaces, network and shim are being made.
    Starting {
        /// Callers of Run.
        run: Vec<K::Waiter>,
        /// What was requested in the meantime, to begin when it is up.
        asked: Option<Ending<K>>,
    },
    /// Containers can be made in it.
    Ready,
    /// Its containers are being ended and its network taken down.
    Stopping {
        /// The callers that wait for that, and what follows.
        ending: Ending<K>,
        /// How far it is.
        stage: Stage,
    },
    /// Part of the teardown failed: asking to stop again tries again.
    StopFailed,
    /// Nothing of it runs; its records stay.
    NotReady,
    /// Its files and records are being removed.
    Removing {
        /// Callers of Remove.
        waiters: Vec<K::Waiter>,
    },
    /// Removed, or undone.
    Gone,
}

/// The callers that wait for the end of a sandbox.
#[derive(Debug)]
pub struct Ending<K: Kinds> {
    /// Callers of Stop.
    pub stop: Vec<K::Waiter>,
    /// Callers of Remove, when removal follows.
    pub remove: Option<Vec<K::Waiter>>,
}

/// How far the end of a sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Processes, network and mounts are being taken down.
    Down,
    /// They are; containers that are being prepared have still to report.
    Settling,
}

/// What happens to a pod sandbox.
#[derive(Debug)]
pub enum Message<K: Kinds> {
    /// A caller asks for the same sandbox again.
    Join(K::Waiter),
    /// It is up.
    Up,
    /// It could not be made, and what was made is undone.
    NotUp(K::Error),
    /// A caller asks to stop it.
    Stop(K::Waiter),
    /// Its shim, or its init process, is dead: it ends by itself.
    Died,
    /// Everything of it ended and was taken down.
    Down,
    /// Part of the teardown failed.
    NotDown(K::Error),
    /// No container of it is being made any more.
    Settled,
    /// A caller asks to remove it.
    Remove(K::Waiter),
    /// Removal is complete.
    Cleared,
    /// A part of it could not be removed.
    NotCleared(K::Error),
}

/// What is to be done after a message.
#[derive(Debug)]
pub enum Effect<K: Kinds> {
    /// Answer a caller.
    Answer(K::Waiter, Outcome<K::Error>),
    /// Take it down; reports `Down` or `NotDown`.
    TakeDown,
    /// Wait for the containers that are being made; `Settled`, or `NotDown` when it takes too long.
    Settle,
    /// Remove its files and records; reports `Cleared` or `NotCleared`.
    Clear,
}

impl<K: Kinds> Sandbox<K> {
    /// One that is being made for a caller.
    pub fn starting(waiter: K::Waiter) -> Self {
        Sandbox::Starting { run: vec![waiter], asked: None }
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        let then = |ending: &Ending<K>| match ending.remove {
            None => After::NotReady,
            Some(_) => After::Removing,
        };
        match self {
            Sandbox::Starting { .. } => State::Starting,
            Sandbox::Ready => State::Ready,
            Sandbox::Stopping { ending, .. } => State::Stopping { then: then(ending) },
            Sandbox::StopFailed => State::StopFailed,
            Sandbox::NotReady => State::NotReady,
            Sandbox::Removing { .. } => State::Removing,
            Sandbox::Gone => State::Gone,
        }
    }

    /// Refuses a call by its verb.
    pub fn refuse(&self, event: &'static str) -> Refused {
        Refused { thing: "pod sandbox", event, state: self.state().word() }
    }
}

#[cfg(test)]
pub(super) mod tests;
