//! One socket of a plugin: calls to it, and its calls.
//!
//! A task reads; whoever has something to say writes. What comes is bounded by one message of each of the two connections in it, and by
//! [`MAX_CALLS`] calls that wait. Whatever is against the protocol ends the connection, with the reason.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_ttrpc::frame::{self, Frames, Header, Incoming, Kind};
use berth_ttrpc::rpc::{Request, Response, Status};
use berth_types::{Classify, Kind as ErrorKind};
use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::mux::{self, Demux};

/// The service of a plugin.
const PLUGIN_SERVICE: &str = "nri.pkg.api.v1alpha1.Plugin";
/// The service of a runtime.
pub const RUNTIME_SERVICE: &str = "nri.pkg.api.v1alpha1.Runtime";
/// Calls of a plugin that may wait.
pub const MAX_CALLS: usize = 16;
/// An answer that is sent when the time is over may still be on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(500);
/// The time that an answer to a plugin may take to be written.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// What is read at once.
const PORTION: usize = 16 << 10;

/// Why a call of a plugin failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It is gone, or broke the protocol.
    #[error("{0}")]
    Closed(String),
    /// It did not answer.
    #[error("it did not answer {method} within {} ms", limit.as_millis())]
    Timeout {
        /// What was called.
        method: &'static str,
        /// The time it had.
        limit: Duration,
    },
    /// It answered something that cannot be read.
    #[error("its answer to {method} cannot be read: {why}")]
    Unreadable {
        /// What was called.
        method: &'static str,
        /// What is wrong.
        why: String,
    },
    /// It does not have that call.
    #[error("it has no {0}")]
    Unimplemented(&'static str),
    /// What would be sent is larger than a message can be.
    #[error("{method} would be {size} bytes, and a message has at most {}", frame::MAX_BODY)]
    TooLarge {
        /// What was called.
        method: &'static str,
        /// The bytes that it would have.
        size: usize,
    },
    /// It refuses.
    #[error("{0}")]
    Refused(String),
}

impl CallError {
    /// Whether nothing that follows can go well.
    pub fn is_fatal(&self) -> bool {
        match self {
            CallError::Closed(_) | CallError::Timeout { .. } | CallError::Unreadable { .. } => true,
            CallError::Unimplemented(_) | CallError::TooLarge { .. } | CallError::Refused(_) => false,
        }
    }
}

impl Classify for CallError {
    fn kind(&self) -> ErrorKind {
        match self {
            CallError::Closed(_) => ErrorKind::Unavailable,
            CallError::Timeout { .. } => ErrorKind::Timeout,
            CallError::Unreadable { .. } => ErrorKind::Corrupt,
            CallError::Unimplemented(_) => ErrorKind::Unsupported,
            CallError::TooLarge { .. } => ErrorKind::Exhausted,
            CallError::Refused(_) => ErrorKind::Precondition,
        }
    }
}

/// A call of the plugin.
#[derive(Debug, PartialEq)]
pub struct Call {
    /// What its answer belongs to.
    stream: u32,
    /// What is called.
    pub request: Request,
}

/// A connection. Clones share it.
#[derive(Debug, Clone)]
pub struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    calls: Mutex<Calls>,
    /// Why it ended.
    ended: watch::Sender<Option<String>>,
}

/// Those that wait for an answer.
#[derive(Debug, Default)]
struct Calls {
    last: u32,
    waiting: BTreeMap<u32, oneshot::Sender<Response>>,
}

impl Connection {
    /// Begins to read, in a task of its own.
    pub fn begin(stream: UnixStream) -> (Self, mpsc::Receiver<Call>) {
        let (reader, writer) = stream.into_split();
        let (calls, called) = mpsc::channel(MAX_CALLS);
        let connection = Self(Arc::new(Inner {
            writer: tokio::sync::Mutex::new(writer),
            calls: Mutex::default(),
            ended: watch::channel(None).0,
        }));
        let reading = connection.clone();
        tokio::spawn(async move {
            let mut ended = reading.0.ended.subscribe();
            let why = tokio::select! {
                why = reading.read(reader, calls) => why,
                _ = ended.wait_for(Option::is_some) => return,
            };
            reading.end(&why);
        });
        (connection, called)
    }

    /// Calls the plugin, which is told how long it has.
    ///
    /// # Errors
    /// As [`CallError`] says. After a fatal one the connection has ended.
    pub async fn call<A: Message + Default>(
        &self,
        method: &'static str,
        request: &impl Message,
        limit: Duration,
    ) -> Result<A, CallError> {
        let body = Request {
            service: PLUGIN_SERVICE.to_owned(),
            method: method.to_owned(),
            payload: request.encode_to_vec(),
            timeout_nanos: i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX),
            metadata: Vec::new(),
        };
        let called = timeout(limit + ON_ITS_WAY, self.exchange(method, &body.encode_to_vec())).await;
        let answered = called.unwrap_or(Err(CallError::Timeout { method, limit })).and_then(|response| {
            let unreadable = |e: prost::DecodeError| CallError::Unreadable { method, why: e.to_string() };
            A::decode(response.as_slice()).map_err(unreadable)
        });
        if let Err(error) = &answered
            && error.is_fatal()
        {
            self.end(&error.to_string());
        }
        answered
    }

    async fn exchange(&self, method: &'static str, body: &[u8]) -> Result<Vec<u8>, CallError> {
        let (sender, answer) = oneshot::channel();
        let stream = {
            let mut calls = self.calls();
            // Odd numbers, each greater than those before.
            calls.last = if calls.last == 0 { 1 } else { calls.last.checked_add(2).unwrap_or(1) };
            let stream = calls.last;
            calls.waiting.insert(stream, sender);
            stream
        };
        let _forget = Forget { connection: self, stream };
        let message = frame::encode(Kind::Request, stream, body);
        let message = message.map_err(|size| CallError::TooLarge { method, size })?;
        self.write(&mux::encode(mux::PLUGIN, &message)).await?;
        let response = answer.await.map_err(|_| CallError::Closed(self.why()))?;
        match response.status.filter(|status| status.code != 0) {
            None => Ok(response.payload),
            Some(status) if status.code == berth_ttrpc::rpc::code::UNIMPLEMENTED => {
                Err(CallError::Unimplemented(method))
            }
            Some(status) => Err(CallError::Refused(status.message)),
        }
    }

    /// Answers a call of the plugin.
    pub async fn answer(&self, call: &Call, answer: Result<Vec<u8>, Status>) {
        let response = match answer {
            Ok(payload) => Response { status: None, payload },
            Err(status) => Response { status: Some(status), payload: Vec::new() },
        };
        let message = frame::encode(Kind::Response, call.stream, &response.encode_to_vec());
        let Ok(message) = message else { return self.end("an answer to it is too large") };
        let bytes = mux::encode(mux::RUNTIME, &message);
        if timeout(ANSWER_LIMIT, self.write(&bytes)).await.is_err() {
            self.end("it does not read the answers to its calls");
        }
    }

    async fn write(&self, bytes: &[u8]) -> Result<(), CallError> {
        let mut writer = self.0.writer.lock().await;
        // A part of a frame leaves nothing that could be understood behind it.
        let mut half = Half { connection: self, whole: false };
        let written = writer.write_all(bytes).await;
        half.whole = written.is_ok();
        written.map_err(|_| CallError::Closed(self.why()))
    }

    /// Reads until that ends, and says why.
    async fn read(&self, mut reader: OwnedReadHalf, calls: mpsc::Sender<Call>) -> String {
        let mut demux = Demux::default();
        let (mut answers, mut requests) = (Frames::new(), Frames::new());
        let mut portion = vec![0; PORTION];
        loop {
            let count = match reader.read(&mut portion).await {
                Ok(0) => return "it closed the connection".to_owned(),
                Ok(count) => count,
                Err(error) => return format!("reading from it failed: {error}"),
            };
            let mut bytes = &portion[..count];
            loop {
                let mut part = match demux.next(&mut bytes) {
                    Ok(Some((mux::PLUGIN, part))) => (part, true),
                    Ok(Some((mux::RUNTIME, part))) => (part, false),
                    // Of no connection that there is.
                    Ok(Some(_)) => continue,
                    Ok(None) => break,
                    Err(too_large) => return too_large.to_string(),
                };
                let frames = if part.1 { &mut answers } else { &mut requests };
                while let Some(incoming) = frames.next(&mut part.0) {
                    let taken = match incoming {
                        Incoming::TooLarge(header) => Err(too_large(header)),
                        Incoming::Frame(header, body) if part.1 => self.take_answer(header, &body),
                        Incoming::Frame(header, body) => take_request(&calls, header, &body),
                    };
                    if let Err(why) = taken {
                        return why;
                    }
                }
            }
        }
    }

    fn take_answer(&self, header: Header, body: &[u8]) -> Result<(), String> {
        if header.kind != Kind::Response {
            return Err(format!("it sent a frame of kind {:?} where answers come", header.kind));
        }
        let response = Response::decode(body).map_err(|e| format!("its answer cannot be read: {e}"))?;
        // Nobody waits for what comes too late.
        if let Some(waiting) = self.calls().waiting.remove(&header.stream) {
            drop(waiting.send(response));
        }
        Ok(())
    }

    /// Ends the connection; the first reason counts.
    pub fn end(&self, why: &str) {
        let first = self.0.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(why.to_owned());
            }
            first
        });
        if first {
            self.calls().waiting.clear();
            let connection = self.clone();
            // The other side sees it at once, whatever still holds the connection here.
            tokio::spawn(async move {
                let closed = async { connection.0.writer.lock().await.shutdown().await };
                drop(timeout(ANSWER_LIMIT, closed).await);
            });
        }
    }

    /// Waits until it has ended, and says why.
    pub async fn ended(&self) -> String {
        let mut ended = self.0.ended.subscribe();
        let ended = ended.wait_for(Option::is_some).await;
        ended.ok().and_then(|why| why.clone()).unwrap_or_default()
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.0.ended.borrow().is_some()
    }

    fn why(&self) -> String {
        self.0.ended.borrow().clone().unwrap_or_else(|| "the connection broke".to_owned())
    }

    fn calls(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_large(header: Header) -> String {
    format!("it announced a message of {} bytes, and {} is the most", header.length, frame::MAX_BODY)
}

fn take_request(calls: &mpsc::Sender<Call>, header: Header, body: &[u8]) -> Result<(), String> {
    if header.kind != Kind::Request {
        return Err(format!("it sent a frame of kind {:?} where its calls come", header.kind));
    }
    let request = Request::decode(body).map_err(|e| format!("its call cannot be read: {e}"))?;
    let call = Call { stream: header.stream, request };
    calls.try_send(call).map_err(|_| format!("more than {MAX_CALLS} of its calls wait"))
}

/// Forgets a call that nobody waits for any more.
struct Forget<'a> {
    connection: &'a Connection,
    stream: u32,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.connection.calls().waiting.remove(&self.stream);
    }
}

/// Ends the connection unless all of something was written.
struct Half<'a> {
    connection: &'a Connection,
    whole: bool,
}

impl Drop for Half<'_> {
    fn drop(&mut self) {
        if !self.whole {
            self.connection.end("it did not take what was sent to it");
        }
    }
}

#[cfg(test)]
mod tests;
