//! A connection to a shim: requests with numbers, each with a time limit; what the shim says unasked goes
//! to the pod's owner, the ends of exec sessions to those who wait for them.
//!
//! One task per connection owns the socket. It ends when the shim closes, when a frame is not
//! understood, or when nobody holds a [`Shim`] any more. Every waiting request then fails with `Lost`.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_sys::socket::{Frame, FrameError, Progress, Reader, Writer};
use berth_types::shim::{
    Answer, CodecError, Event, Failure, FromShim, MAX_FRAME, Reason, Request, ToShim, decode, encode,
};
use berth_types::{Classify, ContainerId, ExecId, Kind};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use crate::container::session::ExecEnd;

/// Requests that may wait for the connection's task.
const QUEUE: usize = 64;

/// Why a request to a shim failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ShimError {
    /// The shim, or the connection to it, is gone.
    #[error("the shim is gone")]
    Lost,
    /// No answer came in time.
    #[error("the shim did not answer {request} within {} s", after.as_secs())]
    Timeout {
        /// What was asked.
        request: &'static str,
        /// The time allowed.
        after: Duration,
    },
    /// The shim says no.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The request is too large.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The answer is not one to this request.
    #[error("the shim gave an answer to {request} that does not fit it")]
    Unexpected {
        /// What was asked.
        request: &'static str,
    },
}

impl Classify for ShimError {
    fn kind(&self) -> Kind {
        match self {
            ShimError::Lost => Kind::Unavailable,
            ShimError::Timeout { .. } => Kind::Timeout,
            ShimError::Codec(_) => Kind::Invalid,
            ShimError::Unexpected { .. } => Kind::Internal,
            ShimError::Failed(failure) => match failure.reason {
                Reason::NotFound => Kind::NotFound,
                Reason::State => Kind::Precondition,
                Reason::Refused | Reason::CommandNotFound | Reason::CommandDenied => Kind::Invalid,
                Reason::Protocol | Reason::System => Kind::Internal,
            },
        }
    }
}

/// What a connection tells unasked.
#[derive(Debug)]
pub(crate) enum Notice {
    /// The shim says that something happened.
    Event(Event),
    /// The connection ended.
    Lost,
}

type Reply = oneshot::Sender<Result<(Answer, Vec<OwnedFd>), ShimError>>;

struct Call {
    request: Request,
    fds: Vec<OwnedFd>,
    reply: Reply,
}

type Execs = Arc<Mutex<HashMap<ExecId, oneshot::Sender<ExecEnd>>>>;

/// A connected shim. Clones share the connection.
#[derive(Debug, Clone)]
pub(crate) struct Shim {
    calls: mpsc::Sender<Call>,
    execs: Execs,
}

/// A connection that nobody serves yet.
#[derive(Debug)]
pub(crate) struct Connection(OwnedFd);

impl Connection {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Serves the connection in a task of its own; `notices` gets what the shim says unasked.
    pub(crate) fn serve<N>(self, notices: mpsc::Sender<N>) -> std::io::Result<Shim>
    where
        N: From<Notice> + Send + 'static,
    {
        let (calls, requests) = mpsc::channel(QUEUE);
        let execs = Execs::default();
        let line = Line {
            socket: crate::host::async_fd::register_both(self.0)?,
            reader: Reader::new(),
            writer: Writer::new(2 * MAX_FRAME),
            waiting: HashMap::new(),
            next: 0,
            execs: Arc::clone(&execs),
            notices,
        };
        tokio::spawn(line.run(requests));
        Ok(Shim { calls, execs })
    }
}

impl Shim {
    /// Asks and waits for the answer, at most for `limit`.
    pub(crate) async fn ask(
        &self,
        request: Request,
        fds: Vec<OwnedFd>,
        limit: Duration,
    ) -> Result<(Answer, Vec<OwnedFd>), ShimError> {
        let name = name(&request);
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.calls.send(Call { request, fds, reply }).await.map_err(|_| ShimError::Lost)?;
            answer.await.map_err(|_| ShimError::Lost)?
        };
        match tokio::time::timeout(limit, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(ShimError::Timeout { request: name, after: limit }),
        }
    }

    /// Asks for something whose only good answer is Done.
    pub(crate) async fn tell(
        &self,
        request: Request,
        fds: Vec<OwnedFd>,
        limit: Duration,
    ) -> Result<(), ShimError> {
        let name = name(&request);
        match self.ask(request, fds, limit).await? {
            (Answer::Done, _) => Ok(()),
            (
                Answer::Hello { .. }
                | Answer::Created { .. }
                | Answer::ExecStarted { .. }
                | Answer::Started { .. },
                _,
            ) => Err(ShimError::Unexpected { request: name }),
        }
    }

    /// Releases a prepared container; gives the time that the shim will always tell for its start.
    pub(crate) async fn start(&self, container: ContainerId, limit: Duration) -> Result<i64, ShimError> {
        match self.ask(Request::Start { container }, Vec::new(), limit).await? {
            (Answer::Started { at }, _) => Ok(at),
            // A shim of before says no time.
            (Answer::Done, _) => Ok(crate::host::clock::now()),
            (Answer::Hello { .. } | Answer::Created { .. } | Answer::ExecStarted { .. }, _) => {
                Err(ShimError::Unexpected { request: "Start" })
            }
        }
    }

    /// Whether the connection has ended.
    pub(crate) fn is_gone(&self) -> bool {
        self.calls.is_closed()
    }

    /// The end of this exec session, when it comes. Must be asked for before the session is begun.
    pub(crate) fn exec_end(&self, exec: &ExecId) -> oneshot::Receiver<ExecEnd> {
        let (sender, receiver) = oneshot::channel();
        self.execs.lock().unwrap_or_else(PoisonError::into_inner).insert(exec.clone(), sender);
        receiver
    }

    /// Nobody waits for this session any more.
    pub(crate) fn forget_exec(&self, exec: &ExecId) {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner).remove(exec);
    }

    /// Asks without waiting for the answer; lost when the queue is full or the shim is gone.
    pub(crate) fn post(&self, request: Request) {
        let (reply, _) = oneshot::channel();
        drop(self.calls.try_send(Call { request, fds: Vec::new(), reply }));
    }
}

fn name(request: &Request) -> &'static str {
    match request {
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
    }
}

struct Line<N> {
    socket: AsyncFd<OwnedFd>,
    reader: Reader,
    writer: Writer,
    waiting: HashMap<u64, Reply>,
    next: u64,
    execs: Execs,
    notices: mpsc::Sender<N>,
}

impl<N: From<Notice>> Line<N> {
    async fn run(mut self, mut calls: mpsc::Receiver<Call>) {
        match self.serve(&mut calls).await {
            Ok(()) => {}
            Err(error) => tracing::debug!(error = berth_types::error::chain(&error), "shim connection ended"),
        }
        // Waiting requests fail because their senders are dropped, before the owner hears of it.
        self.waiting.clear();
        self.execs.lock().unwrap_or_else(PoisonError::into_inner).clear();
        drop(calls);
        drop(self.notices.send(Notice::Lost.into()).await);
    }

    async fn serve(&mut self, calls: &mut mpsc::Receiver<Call>) -> Result<(), FrameError> {
        loop {
            tokio::select! {
                call = calls.recv() => match call {
                    Some(call) => self.accept(call)?,
                    None => return Ok(()),
                },
                ready = self.socket.readable() => {
                    let mut ready = ready.map_err(FrameError::Socket)?;
                    match self.reader.read(self.socket.get_ref())? {
                        Progress::Some => {}
                        Progress::WouldBlock => ready.clear_ready(),
                        Progress::End => return Ok(()),
                    }
                    drop(ready);
                    while let Some(frame) = self.reader.frame()? {
                        self.receive(frame).await;
                    }
                }
                ready = self.socket.writable(), if !self.writer.is_empty() => {
                    let mut ready = ready.map_err(FrameError::Socket)?;
                    if !self.writer.flush(self.socket.get_ref())? {
                        ready.clear_ready();
                    }
                }
            }
        }
    }

    /// Queues a request and sends what the socket takes. A request that cannot be encoded fails alone.
    fn accept(&mut self, call: Call) -> Result<(), FrameError> {
        let number = self.next;
        self.next += 1;
        let body = match encode(&ToShim { number, request: call.request }) {
            Ok(body) => body,
            Err(error) => {
                drop(call.reply.send(Err(error.into())));
                return Ok(());
            }
        };
        self.waiting.retain(|_, reply| !reply.is_closed());
        self.writer.push(Frame { body, fds: call.fds })?;
        self.waiting.insert(number, call.reply);
        self.writer.flush(self.socket.get_ref())?;
        Ok(())
    }

    async fn receive(&mut self, frame: Frame) {
        match decode::<FromShim>(&frame.body) {
            Ok(FromShim::Answer { number, outcome }) => {
                if let Some(reply) = self.waiting.remove(&number) {
                    drop(reply.send(outcome.map(|a| (a, frame.fds)).map_err(ShimError::Failed)));
                }
            }
            Ok(FromShim::Event(Event::ExecExited { exec, code, timed_out })) => {
                let waiting = self.execs.lock().unwrap_or_else(PoisonError::into_inner).remove(&exec);
                if let Some(waiting) = waiting {
                    let _ = waiting.send(ExecEnd { code, timed_out });
                }
            }
            Ok(FromShim::Event(event @ (Event::Exited { .. } | Event::PodEnded))) => {
                drop(self.notices.send(Notice::Event(event).into()).await);
            }
            Ok(FromShim::Event(Event::Note { container, text })) => {
                tracing::info!(container = container.short(), %text, "done otherwise than asked");
            }
            // A newer shim may say what this daemon does not know.
            Err(error) => tracing::warn!(%error, "message of a shim not understood"),
        }
    }
}

#[cfg(test)]
mod tests;
