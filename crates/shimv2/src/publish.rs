//! What the publish binary does, by which older shims forward their events: `PROGRAM --address SOCKET publish --topic TOPIC --namespace
//! NAMESPACE` with the event on stdin. Berth's passes it on to the same service that newer shims call themselves.

use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use berth_sys::fs::read_bounded_from;
use prost::Message;

use crate::answer::Address;
use crate::client::Client;
use crate::error::CallError;
use crate::message::event::{Envelope, FORWARD, Forward, SERVICE};
use crate::message::rpc::Request;
use crate::message::{Any, Timestamp};
use crate::shim::connect;

/// How long an event may take: containerd's own limit for a publisher's dial.
const LIMIT: Duration = Duration::from_secs(10);
/// The most bytes of an event.
const MAX_EVENT: u64 = 1 << 20;

/// What a publisher is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The service's socket.
    pub address: PathBuf,
    /// `/tasks/exit` and the like.
    pub topic: String,
    /// The namespace of containerd's kind.
    pub namespace: String,
}

/// Why an event was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The command line is not as containerd's.
    #[error("publish: {0}")]
    Arguments(String),
    /// The event cannot be read.
    #[error("read the event from stdin")]
    Read(#[source] std::io::Error),
    /// It is no event.
    #[error("the event on stdin cannot be read")]
    Event(#[source] prost::DecodeError),
    /// The service is not there.
    #[error("connect to {}", .0.display())]
    Connect(PathBuf, #[source] std::io::Error),
    /// The service did not take it.
    #[error("forward the event")]
    Forward(#[source] CallError),
}

impl Publication {
    /// Reads a command line without its first word. Flags may have one dash or two, and their value behind a `=`.
    ///
    /// # Errors
    /// A flag is missing, has no value or is not known, or it is not `publish`.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, PublishError> {
        let wrong = |what: String| Err(PublishError::Arguments(what));
        let (mut address, mut topic, mut namespace, mut publish) = (None, None, None, false);
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let Ok(arg) = arg.into_string() else { return wrong("an argument is no UTF-8".to_owned()) };
            if arg == "publish" {
                publish = true;
                continue;
            }
            let flag = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')).unwrap_or_default();
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, args.next().and_then(|value| value.into_string().ok())),
            };
            let place = match name {
                "address" => &mut address,
                "topic" => &mut topic,
                "namespace" => &mut namespace,
                _ => return wrong(format!("{arg:?} is not known")),
            };
            *place = value;
        }
        match (publish, address, topic, namespace) {
            (true, Some(address), Some(topic), Some(namespace)) => {
                Ok(Self { address: PathBuf::from(address), topic, namespace })
            }
            _ => wrong("--address, --topic and --namespace are needed".to_owned()),
        }
    }
}

/// Passes an event on.
///
/// # Errors
/// See [`PublishError`].
pub fn publish(publication: Publication, stdin: impl Read) -> Result<(), PublishError> {
    let Publication { address, topic, namespace } = publication;
    let bytes = read_bounded_from(stdin, MAX_EVENT).map_err(PublishError::Read)?;
    let event = Any::decode(bytes.as_slice()).map_err(PublishError::Event)?;
    let envelope = Envelope { timestamp: Some(now()), namespace, topic, event: Some(event) };
    let request = Request {
        service: SERVICE.to_owned(),
        method: FORWARD.to_owned(),
        payload: Forward { envelope: Some(envelope) }.encode_to_vec(),
        ..Request::default()
    };
    let failed = |source| PublishError::Connect(address.clone(), source);
    let socket = connect(&Address::Path(address.clone()), LIMIT).map_err(failed)?;
    let client = Client::over(socket).map_err(failed)?;
    client.call(request, Some(LIMIT)).map(|_| ()).map_err(PublishError::Forward)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    Timestamp { seconds, nanos: since.subsec_nanos().cast_signed() }
}

#[cfg(test)]
mod tests;
