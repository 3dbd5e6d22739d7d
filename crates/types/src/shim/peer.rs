//! What one side knows of the other, and what may therefore be sent to it.

use serde::{Deserialize, Serialize};

use super::{Answer, Event, Request, VERSION};

/// What a shim can do beyond what its version says: a set of bits. Bits that a daemon does not know mean nothing to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Abilities(u64);

impl Abilities {
    /// Nothing more.
    pub const NONE: Self = Self(0);
    /// Create, Start and Exec do not block other requests: the shim continues reaping and signalling.
    pub const APART: Self = Self(1);
    /// A container is reported as exited only when no process of it is left, however long that takes.
    pub const ENDS_EMPTY: Self = Self(1 << 1);
    /// [`Request::Begin`] is known.
    pub const BEGINS: Self = Self(1 << 2);
    /// [`Request::Steps`] is known.
    pub const STEPS: Self = Self(1 << 3);

    /// Whether it has all of these.
    #[must_use]
    pub fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }
}

/// A shim as its daemon knows it.
///
/// ```
/// use berth_types::shim::{Peer, Request};
/// assert_eq!(Peer::first().knows(&Request::Shutdown), Ok(()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its version.
    pub version: u16,
    /// The versions of plans that it executes.
    pub plans: Vec<u16>,
    /// What it can do beyond its version.
    pub abilities: Abilities,
}

/// A request that a shim does not know, which is therefore not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// The request is newer than the shim.
    #[error(
        "{request} is not supported by the pod's shim, which has version {version} and is older than {since}"
    )]
    Request {
        /// What was to be asked.
        request: &'static str,
        /// The shim's version.
        version: u16,
        /// The version that brought the request.
        since: u16,
    },
    /// The plan is of a version that the shim does not execute.
    #[error(
        "{request} with a plan of version {plan} is not supported by the pod's shim, which executes {plans:?}"
    )]
    Plan {
        /// What was to be asked.
        request: &'static str,
        /// The plan's version.
        plan: u16,
        /// The versions that the shim executes.
        plans: Vec<u16>,
    },
}

impl Peer {
    /// A shim of the first version, which says no more than that; and any shim before it said Hello.
    pub fn first() -> Self {
        Self { version: 1, plans: vec![1], abilities: Abilities::NONE }
    }

    /// The shim that gave this answer to Hello; None when the answer is not one.
    pub fn of(answer: &Answer) -> Option<Self> {
        match answer {
            Answer::Hello { version, .. } => Some(Self { version: *version, ..Self::first() }),
            Answer::Welcome { version, plans, abilities, .. } => {
                Some(Self { version: *version, plans: plans.clone(), abilities: *abilities })
            }
            Answer::Done
            | Answer::Created { .. }
            | Answer::ExecStarted { .. }
            | Answer::Started { .. }
            | Answer::Steps(_) => None,
        }
    }

    /// Whether the shim understands a request. One that it does not understand must not be sent: the first
    /// version of the shim closes the connection then.
    ///
    /// # Errors
    /// What the shim is too old for.
    pub fn knows(&self, request: &Request) -> Result<(), Unsupported> {
        let (name, since) = (request.name(), request.since());
        if since > self.version {
            return Err(Unsupported::Request { request: name, version: self.version, since });
        }
        match request.plan() {
            Some(plan) if !self.plans.contains(&plan) => {
                Err(Unsupported::Plan { request: name, plan, plans: self.plans.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Request {
    /// The name, for users.
    pub fn name(&self) -> &'static str {
        match self {
            Request::Hello { .. } => "Hello",
            Request::Pod(_) => "Pod",
            Request::Create(_) => "Create",
            Request::Start { .. } => "Start",
            Request::Signal { .. } => "Signal",
            Request::Forget { .. } => "Forget",
            Request::Exec(_) => "Exec",
            Request::KillExec { .. } => "KillExec",
            Request::ReopenLog { .. } => "ReopenLog",
            Request::Attach { .. } => "Attach",
            Request::Resize { .. } => "Resize",
            Request::Shutdown => "Shutdown",
            Request::PodWithUser(_) => "PodWithUser",
            Request::AttachClient { .. } => "AttachClient",
            Request::Begin { .. } => "Begin",
            Request::Steps { .. } => "Steps",
        }
    }

    /// The version of the protocol that brought this request.
    pub fn since(&self) -> u16 {
        match self {
            Request::Hello { .. }
            | Request::Pod(_)
            | Request::Create(_)
            | Request::Start { .. }
            | Request::Signal { .. }
            | Request::Forget { .. }
            | Request::Exec(_)
            | Request::KillExec { .. }
            | Request::ReopenLog { .. }
            | Request::Attach { .. }
            | Request::Resize { .. }
            | Request::Shutdown => 1,
            Request::PodWithUser(_)
            | Request::AttachClient { .. }
            | Request::Begin { .. }
            | Request::Steps { .. } => 3,
        }
    }

    /// The version of the plan in this request: every encoded plan begins with it (`u16`, little-endian).
    fn plan(&self) -> Option<u16> {
        let plan = match self {
            Request::Create(create) => &create.plan,
            Request::Exec(exec) => &exec.plan,
            Request::Begin { plan } => plan,
            Request::Hello { .. }
            | Request::Pod(_)
            | Request::Start { .. }
            | Request::Signal { .. }
            | Request::Forget { .. }
            | Request::KillExec { .. }
            | Request::ReopenLog { .. }
            | Request::Attach { .. }
            | Request::Resize { .. }
            | Request::PodWithUser(_)
            | Request::AttachClient { .. }
            | Request::Steps { .. }
            | Request::Shutdown => return None,
        };
        // A plan without a version is malformed, which is for the shim to report.
        plan.first_chunk().map(|version| u16::from_le_bytes(*version))
    }
}

impl Event {
    /// The version of the protocol that brought this event: a daemon that is older is not told.
    pub fn since(&self) -> u16 {
        match self {
            Event::Exited { .. } | Event::ExecExited { .. } | Event::PodEnded | Event::Note { .. } => 1,
            Event::Started { .. } | Event::Lingers { .. } => 2,
        }
    }

    /// What a daemon of this version is told instead; None when that is nothing.
    #[must_use]
    pub fn for_version(self, version: u16) -> Option<Self> {
        debug_assert!(self.since() <= VERSION, "an event of a version to come");
        match self {
            event if event.since() <= version => Some(event),
            Event::Lingers { container, text } => Some(Event::Note { container, text }),
            Event::Started { .. }
            | Event::Exited { .. }
            | Event::ExecExited { .. }
            | Event::PodEnded
            | Event::Note { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
