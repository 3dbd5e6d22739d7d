//! Probes and hooks of containers, as the kubelet has them.
//!
//! ```text
//! Spec -> state (pure: when a probe is due, what follows from its result) -> controller
//!      -> check (asks the container once: exec, http, tcp, grpc)
//! ```

mod check;
mod exec;
mod grpc;
mod hook;
mod http;
pub mod state;
mod tcp;

use std::time::Duration;

pub(crate) use check::{Answer, Target, ask};
pub(crate) use hook::run;

/// How a container is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// A command in it ends with 0.
    Exec(Vec<String>),
    /// A request is answered with 200 to 399.
    Http(HttpGet),
    /// A port takes a connection.
    Tcp {
        /// Where; none is the pod.
        host: Option<String>,
        /// The port.
        port: u16,
    },
    /// The health service of gRPC says SERVING.
    Grpc {
        /// The port.
        port: u16,
        /// Whose health it is asked for; empty is the server's.
        service: String,
    },
}

/// A GET request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGet {
    /// Whether it is sent by TLS, whatever the server's certificate is.
    pub tls: bool,
    /// Where; none is the pod.
    pub host: Option<String>,
    /// The port.
    pub port: u16,
    /// Path and query, as the manifest has them.
    pub path: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
}

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Whether it has started: until then there are no other probes. Its failure ends the container.
    Startup,
    /// Whether it can serve.
    Readiness,
    /// Whether it works: its failure ends the container.
    Liveness,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Readiness, Self::Liveness];

    /// As messages name it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Readiness => "readiness",
            Self::Liveness => "liveness",
        }
    }
}

/// A probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// How the container is asked.
    pub check: Check,
    /// How long after its start the container is asked first.
    pub delay: Duration,
    /// From one time to the next.
    pub period: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Successes in a row until it counts as one.
    pub successes: u32,
    /// Failures in a row until it counts as one.
    pub failures: u32,
    /// Seconds that the container has to end when this probe fails; None is what its pod has.
    pub grace: Option<u64>,
}

/// The probes of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probes {
    /// See [`Kind::Startup`].
    pub startup: Option<Spec>,
    /// See [`Kind::Readiness`].
    pub readiness: Option<Spec>,
    /// See [`Kind::Liveness`].
    pub liveness: Option<Spec>,
}

impl Probes {
    /// The probe of this kind.
    pub fn get(&self, kind: Kind) -> Option<&Spec> {
        match kind {
            Kind::Startup => self.startup.as_ref(),
            Kind::Readiness => self.readiness.as_ref(),
            Kind::Liveness => self.liveness.as_ref(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.get(*kind).is_none())
    }
}

/// What is done after a container's start, or before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// A command in it.
    Exec(Vec<String>),
    /// A request; any answer is one.
    Http(HttpGet),
    /// Nothing, for so long.
    Sleep(Duration),
}

/// The hooks of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Beside its first process; when it fails, the container is ended.
    pub post_start: Option<Hook>,
    /// Before its stop signal, in the same grace.
    pub pre_stop: Option<Hook>,
}
