//! One plugin: how it registers, what it wants to be called for, and the calls.

use std::time::Duration;

use berth_ttrpc::rpc::{Status, code};
use berth_types::{Classify, Kind};
use prost::Message;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::api::{
    ConfigureRequest, ConfigureResponse, Container, Empty, Event, LinuxResources, PodSandbox,
    RegisterPluginRequest, StateChangeEvent, SynchronizeRequest, SynchronizeResponse,
};
use crate::connection::{Call, CallError, Connection, RUNTIME_SERVICE};
use crate::event::{self, Events, UnknownEvents};

/// The time from the connection to the registration, and for the answer to Synchronize.
pub const REGISTRATION_LIMIT: Duration = Duration::from_secs(5);
/// The time for any other answer.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(2);
/// The time that what is being created has to be done when a plugin comes.
pub const PAUSE_LIMIT: Duration = Duration::from_secs(5);
/// The version of NRI that Berth speaks.
pub const VERSION: &str = "v0.12.2";
/// The longest name.
const MAX_NAME: usize = 128;
/// The bytes that a part of a synchronisation has at most: what is left of a message is for what goes round it.
const PART: usize = 3 << 20;

/// Why a plugin is not taken in.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It did not register in time.
    #[error("it did not register within {} ms", REGISTRATION_LIMIT.as_millis())]
    Silent,
    /// It went away.
    #[error("it did not register: {0}")]
    Gone(String),
    /// It has no proper name.
    #[error("it registered with the name {name:?} and the index {index:?}: {why}")]
    Name {
        /// The name.
        name: String,
        /// The index.
        index: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A call failed.
    #[error("{0}: {1}")]
    Call(&'static str, #[source] CallError),
    /// It wants something that there is not.
    #[error(transparent)]
    Events(#[from] UnknownEvents),
    /// Something that is being created takes too long: it could be in no picture of what there is.
    #[error("what is being created was not done within {} ms (hint: it may connect again)", PAUSE_LIMIT.as_millis())]
    Busy,
    /// It cannot be synchronised in parts.
    #[error("there are more pods and containers than one message has, and it does not take them in parts")]
    Parts,
}

impl Classify for JoinError {
    fn kind(&self) -> Kind {
        match self {
            JoinError::Silent | JoinError::Busy => Kind::Timeout,
            JoinError::Gone(_) => Kind::Unavailable,
            JoinError::Name { .. } | JoinError::Events(_) => Kind::Invalid,
            JoinError::Call(_, error) => error.kind(),
            JoinError::Parts => Kind::Unsupported,
        }
    }
}

/// Who a plugin is: plugins are asked in the order of their indices.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Two digits.
    pub index: String,
    /// Its name.
    pub name: String,
}

impl Identity {
    /// Checks both.
    ///
    /// # Errors
    /// What is wrong.
    pub fn of(index: &str, name: &str) -> Result<Self, JoinError> {
        let wrong = |why| Err(JoinError::Name { name: name.to_owned(), index: index.to_owned(), why });
        if index.len() != 2 || !index.bytes().all(|b| b.is_ascii_digit()) {
            return wrong("an index is two digits");
        }
        if name.is_empty() || name.len() > MAX_NAME {
            return wrong("a name has 1 to 128 characters");
        }
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+".contains(&b)) {
            return wrong("a name has letters, digits and -_.+ alone");
        }
        Ok(Self { index: index.to_owned(), name: name.to_owned() })
    }

    /// The same from the name of a file.
    ///
    /// # Errors
    /// What is wrong.
    pub fn of_file(file: &str) -> Result<Self, JoinError> {
        let (index, name) = file.split_once('-').unwrap_or(("", file));
        Self::of(index, name)
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.index, self.name)
    }
}

/// A plugin that is registered and configured.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// Who it is.
    pub identity: Identity,
    events: Events,
    connection: Connection,
}

/// What a call about a pod or a container of it carries: `RunPodSandboxRequest`, `StartContainerRequest` and all of their kind.
#[derive(Clone, PartialEq, prost::Message)]
pub struct About {
    /// The pod.
    #[prost(message, optional, tag = "1")]
    pub pod: Option<PodSandbox>,
    /// The container, if it is one.
    #[prost(message, optional, tag = "2")]
    pub container: Option<Container>,
    /// The limits that are asked for, if it is about them.
    #[prost(message, optional, tag = "3")]
    pub resources: Option<LinuxResources>,
}

impl Plugin {
    /// Waits for a plugin's registration and configures it. One that was started here has its name already.
    ///
    /// # Errors
    /// It is not to be taken in; the connection has ended.
    pub async fn join(
        stream: UnixStream,
        known: Option<Identity>,
        config: String,
        version: &str,
    ) -> Result<(Self, mpsc::Receiver<Call>), JoinError> {
        let (connection, mut calls) = Connection::begin(stream);
        let joined = async {
            let registered = timeout(REGISTRATION_LIMIT, register(&connection, &mut calls, known)).await;
            let identity = registered.map_err(|_| JoinError::Silent)??;
            let request = ConfigureRequest {
                config,
                runtime_name: "berth".to_owned(),
                runtime_version: version.to_owned(),
                registration_timeout: millis(REGISTRATION_LIMIT),
                request_timeout: millis(REQUEST_LIMIT),
                nri_version: VERSION.to_owned(),
            };
            let configured = connection.call("Configure", &request, REQUEST_LIMIT).await;
            let ConfigureResponse { events } = configured.map_err(|e| JoinError::Call("Configure", e))?;
            Ok(Self { identity, events: Events::of(events)?, connection: connection.clone() })
        };
        let joined = joined.await;
        if let Err(error) = &joined {
            connection.end(&berth_types::error::chain(error));
        }
        joined.map(|plugin| (plugin, calls))
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether it wants to be called for this.
    pub fn wants(&self, event: Event) -> bool {
        self.events.has(event)
    }

    /// Calls it.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub async fn call<A: Message + Default>(
        &self,
        event: Event,
        request: &impl Message,
    ) -> Result<A, CallError> {
        self.connection.call(event::method(event), request, REQUEST_LIMIT).await
    }

    /// Tells it of something about a pod or container: by the call for it, or by the one that was for all of them in older versions.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub async fn tell<A: Message + Default>(&self, event: Event, about: &About) -> Result<A, CallError> {
        let told = self.call(event, about).await;
        if !matches!(told, Err(CallError::Unimplemented(_))) {
            return told;
        }
        let About { pod, container, resources: _ } = about.clone();
        let change = StateChangeEvent { event: event as i32, pod, container };
        let told: Result<Empty, _> = self.connection.call("StateChange", &change, REQUEST_LIMIT).await;
        match told {
            // One that wants what it has no call for is not harmed by not being called.
            Ok(_) | Err(CallError::Unimplemented(_)) => Ok(A::default()),
            Err(error) => Err(error),
        }
    }

    /// Tells it of all pods and containers, in several messages where one does not hold them; gives what it wants changed.
    ///
    /// # Errors
    /// It is not to be taken in.
    pub async fn synchronize(
        &self,
        pods: Vec<PodSandbox>,
        containers: Vec<Container>,
    ) -> Result<SynchronizeResponse, JoinError> {
        let failed = |e| JoinError::Call("Synchronize", e);
        let mut parts = parts(pods, containers).into_iter().peekable();
        loop {
            let (pods, containers) = parts.next().unwrap_or_default();
            let more = parts.peek().is_some();
            let request = SynchronizeRequest { pods, containers, more };
            let answered = self.connection.call("Synchronize", &request, REGISTRATION_LIMIT).await;
            let answer: SynchronizeResponse = answered.map_err(failed)?;
            if !more {
                return Ok(answer);
            }
            if !answer.more || !answer.update.is_empty() {
                return Err(JoinError::Parts);
            }
        }
    }
}

/// Pods and containers in portions that a message has room for, pods first.
fn parts(pods: Vec<PodSandbox>, containers: Vec<Container>) -> Vec<(Vec<PodSandbox>, Vec<Container>)> {
    let mut parts = vec![(Vec::new(), Vec::new())];
    let mut size = 0;
    for pod in pods {
        room(&mut parts, &mut size, pod.encoded_len()).0.push(pod);
    }
    for container in containers {
        room(&mut parts, &mut size, container.encoded_len()).1.push(container);
    }
    parts
}

type Part = (Vec<PodSandbox>, Vec<Container>);

fn room<'a>(parts: &'a mut Vec<Part>, size: &mut usize, more: usize) -> &'a mut Part {
    // With the length and the number of the field.
    let more = more + 8;
    let is_full = *size > 0 && *size + more > PART;
    if is_full || parts.is_empty() {
        parts.push((Vec::new(), Vec::new()));
        *size = 0;
    }
    *size += more;
    parts.last_mut().expect("there is one")
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Waits for the registration and answers it.
async fn register(
    connection: &Connection,
    calls: &mut mpsc::Receiver<Call>,
    known: Option<Identity>,
) -> Result<Identity, JoinError> {
    loop {
        let call = tokio::select! {
            call = calls.recv() => call,
            why = connection.ended() => return Err(JoinError::Gone(why)),
        };
        let Some(call) = call else { return Err(JoinError::Gone(connection.ended().await)) };
        if !is(&call, "RegisterPlugin") {
            connection.answer(&call, Err(not_yet(&call))).await;
            continue;
        }
        let request = RegisterPluginRequest::decode(call.request.payload.as_slice()).unwrap_or_default();
        let identity = match known {
            Some(known) => Ok(known),
            None => Identity::of(&request.plugin_idx, &request.plugin_name),
        };
        let answer = identity.as_ref().map(|_| Vec::new()).map_err(|e| refused(&e.to_string()));
        connection.answer(&call, answer).await;
        return identity;
    }
}

/// Whether this method of the runtime's service is called.
pub(crate) fn is(call: &Call, method: &str) -> bool {
    call.request.service == RUNTIME_SERVICE && call.request.method == method
}

/// The answer to a call that there is not.
pub(crate) fn not_yet(call: &Call) -> Status {
    let message = format!("there is no {}/{} now", call.request.service, call.request.method);
    Status { code: code::UNIMPLEMENTED, message }
}

/// The answer to what is refused.
pub(crate) fn refused(message: &str) -> Status {
    Status { code: code::INVALID_ARGUMENT, message: message.to_owned() }
}

#[cfg(test)]
mod tests;
