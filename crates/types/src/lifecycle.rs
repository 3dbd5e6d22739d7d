//! The lifecycle of a container, of a pod sandbox, and of the pod that they make: pure state machines.
//!
//! ```text
//! message (a call, a report of work, a report of the shim) --> next(message) --> effects (answers, work to begin)
//! ```
//!
//! The states own their data: the callers that wait, what preparation found out, how it ended. The engine's
//! owner task of a pod feeds it every message in order and carries out the effects; recovery builds the same
//! states from records and feeds the same messages. Nothing else changes a state. A call that the present state
//! does not allow is answered with a [`Refused`] that names both; a report that is out of date changes nothing.
//! `docs/lifecycle.md` is rendered from these machines. See docs/adr/0060.

pub mod container;
pub mod pod;
pub mod sandbox;
pub mod table;

/// What the states hold, chosen by the one that runs the machines.
pub trait Kinds: std::fmt::Debug {
    /// What the preparation of a container found out.
    type Facts: Clone + std::fmt::Debug;
    /// How a container ended.
    type Exit: Clone + std::fmt::Debug;
    /// A caller that waits for an answer.
    type Waiter: std::fmt::Debug;
    /// Why work failed.
    type Error: Clone + std::fmt::Debug;
}

/// What a caller is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<E> {
    /// What it asked for is so.
    Done,
    /// The present state does not allow it.
    Refused(Refused),
    /// The work failed.
    Failed(E),
}

/// A call that the present state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot {event} a {thing} that is {state}")]
pub struct Refused {
    /// `container` or `pod sandbox`.
    pub thing: &'static str,
    /// The call, as a verb.
    pub event: &'static str,
    /// The state, as an adjective.
    pub state: &'static str,
}

#[cfg(test)]
mod tests;
