//! Asks a container once.

use std::net::IpAddr;
use std::time::Duration;

use berth_engine::Engine;
use berth_types::ContainerId;

use super::state::Outcome;
use super::{Check, Spec, exec, grpc, http, tcp};

/// How often a container is asked that could not be asked, before that is its result.
const TRIES: usize = 3;
/// The most bytes of an answer's text.
const MAX_MESSAGE: usize = 1024;

/// Who is asked.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) engine: Engine,
    pub(crate) container: ContainerId,
    /// Where its pod is reached.
    pub(crate) address: Option<IpAddr>,
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    /// What a user may be told of it.
    pub(crate) message: String,
}

impl Answer {
    pub(super) fn success(message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Success, message: cut(message.into()) }
    }

    pub(super) fn failure(message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failure, message: cut(message.into()) }
    }

    pub(super) fn unknown(message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Unknown, message: cut(message.into()) }
    }

    pub(super) fn late(timeout: Duration) -> Self {
        Self::failure(format!("no answer within {} s", timeout.as_secs()))
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_MESSAGE));
    text
}

/// Asks a container; what could not be asked is tried again at once, as a kubelet does.
pub(crate) async fn ask(target: &Target, spec: &Spec) -> Answer {
    let mut answer = once(target, spec).await;
    for _ in 1..TRIES {
        if answer.outcome != Outcome::Unknown {
            break;
        }
        answer = once(target, spec).await;
    }
    answer
}

async fn once(target: &Target, spec: &Spec) -> Answer {
    match &spec.check {
        Check::Exec(argv) => exec::ask(target, argv, spec.timeout).await,
        Check::Http(get) => http::ask(target.address, get, spec.timeout).await,
        Check::Tcp { host, port } => match place(host.as_deref(), target.address) {
            Ok(host) => tcp::ask(&host, *port, spec.timeout).await,
            Err(answer) => answer,
        },
        Check::Grpc { port, service } => match target.address {
            Some(address) => grpc::ask(address, *port, service, spec.timeout).await,
            None => nowhere(),
        },
    }
}

/// The host that is asked.
pub(super) fn place(host: Option<&str>, address: Option<IpAddr>) -> Result<String, Answer> {
    let of_pod = || address.map(|address| address.to_string());
    host.map(str::to_owned).or_else(of_pod).ok_or_else(nowhere)
}

fn nowhere() -> Answer {
    Answer::unknown("the pod has no address")
}
