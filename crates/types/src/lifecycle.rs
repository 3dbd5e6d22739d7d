//! The lifecycle of a container and of a pod sandbox: one pure table each.
//!
//! The engine's owner task of a pod is the only caller: it asks the table, then acts. What the
//! table refuses is refused with the state and the event in words. An event that changes nothing
//! (stopping what is stopped) answers the same state: success, or joining the work in flight.
//! `docs/lifecycle.md` is rendered from these tables.

pub mod container;
pub mod sandbox;

/// An event that the present state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot {event} a {thing} that is {state}")]
pub struct Refused {
    /// `container` or `pod sandbox`.
    pub thing: &'static str,
    /// The event, as a verb.
    pub event: &'static str,
    /// The state, as an adjective.
    pub state: &'static str,
}
