//! A connection to a shim: requests with numbers, each with a time limit; events of the shim go
//! to the pod's owner, the ends of exec sessions to their waiters.
//!
//! One task per connection ([`line`]) owns the socket. It ends when the shim closes, when what comes is not a frame, or
//! when there is no [`Shim`] any more. Every waiting request then fails with `Lost`. That says nothing about
//! the shim's process: [`reached`] tells what an attempt to connect again found.
//!
//! A message that is not understood costs no more than the request it answers, and a request that the shim does
//! not know is not sent.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_types::shim::{
    self, Answer, CodecError, Event, Failure, Known, Peer, Reason, Request, Unsupported,
};
use berth_types::{Classify, ContainerId, ExecId, Kind};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::about::About;
use crate::container::session::ExecEnd;

mod end;
mod line;

pub(crate) use end::{Lost, Reached, reached};
use line::{Call, Line, QUEUE};

/// Why a request to a shim failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ShimError {
    /// The connection to the shim was lost, and perhaps the shim. Whether the request was carried out is not known.
    #[error("the connection to the shim was lost")]
    Lost,
    /// No answer came in time.
    #[error("the shim did not answer {request} within {} s", after.as_secs())]
    Timeout {
        /// What was asked.
        request: &'static str,
        /// The time allowed.
        after: Duration,
    },
    /// The shim refused the request.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The request is too large.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The answer is not one to this request, or one that this daemon does not understand.
    #[error("the shim sent an answer to {request} that is of another kind")]
    Unexpected {
        /// What was asked.
        request: &'static str,
    },
    /// The request was not sent, so nothing of it was done.
    #[error(transparent)]
    NotSent(#[from] NotSent),
}

/// Why a request was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotSent {
    /// The shim does not know it.
    #[error("{0}; recreate the pod to get a newer shim")]
    Unsupported(#[from] Unsupported),
    /// Too much waits for the shim already.
    #[error("{request} was not sent: {waiting} requests are waiting for the pod's shim")]
    Busy {
        /// What was to be asked.
        request: &'static str,
        /// How many wait.
        waiting: usize,
    },
    /// It comes with more descriptors than one message may have.
    #[error(
        "{request} comes with {count} descriptors (mounts, most likely), over the limit of {}",
        shim::MAX_FDS
    )]
    Descriptors {
        /// What was to be asked.
        request: &'static str,
        /// How many.
        count: usize,
    },
}

impl Classify for ShimError {
    fn kind(&self) -> Kind {
        match self {
            ShimError::Lost => Kind::Unavailable,
            ShimError::Timeout { .. } => Kind::Timeout,
            ShimError::Codec(_) => Kind::Invalid,
            ShimError::Unexpected { .. } => Kind::Internal,
            ShimError::NotSent(why) => match why {
                NotSent::Unsupported(_) => Kind::Unsupported,
                NotSent::Busy { .. } => Kind::Exhausted,
                NotSent::Descriptors { .. } => Kind::Invalid,
            },
            ShimError::Failed(failure) => match failure.reason {
                Reason::NotFound => Kind::NotFound,
                Reason::State => Kind::Precondition,
                Reason::Refused | Reason::CommandNotFound | Reason::CommandDenied => Kind::Invalid,
                Reason::Protocol | Reason::System => Kind::Internal,
            },
        }
    }
}

/// The notices of a connection.
#[derive(Debug)]
pub(crate) enum Notice {
    /// An event of the shim.
    Event(Event),
    /// The connection ended.
    Lost(Lost),
}

/// What a shim said in answer to Hello.
#[derive(Debug)]
pub(crate) struct Greeting {
    /// Every container it knows.
    pub(crate) containers: Vec<Known>,
}

/// What is shared by the holders of a connection and its task.
#[derive(Debug)]
struct Common {
    execs: Mutex<HashMap<ExecId, oneshot::Sender<ExecEnd>>>,
    /// Exec sessions to be killed: at most each that was begun. The task takes them out when it is notified.
    kills: Mutex<Vec<ExecId>>,
    wake: Notify,
    peer: Mutex<Peer>,
}

/// Inserting and removing are not left half done by a panic.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connected shim. Clones share the connection.
#[derive(Debug, Clone)]
pub(crate) struct Shim {
    calls: mpsc::Sender<Box<Call>>,
    common: Arc<Common>,
}

/// A connection without a task that serves it yet.
#[derive(Debug)]
pub(crate) struct Connection(OwnedFd);

impl Connection {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Serves the connection in a task of its own; `notices` gets the shim's events.
    pub(crate) fn serve<N>(self, notices: mpsc::Sender<N>) -> std::io::Result<Shim>
    where
        N: From<Notice> + Send + 'static,
    {
        let (calls, requests) = mpsc::channel(QUEUE);
        let common = Arc::new(Common {
            execs: Mutex::default(),
            kills: Mutex::default(),
            wake: Notify::new(),
            peer: Mutex::new(Peer::first()),
        });
        let line = Line::new(crate::host::async_fd::register_both(self.0)?, Arc::clone(&common), notices);
        // It is about its pod, whatever call it was made for.
        tokio::spawn(About::now().asked_by(None).around(line.run(requests)));
        Ok(Shim { calls, common })
    }
}

impl Shim {
    /// Says Hello, first on every connection. From then on the shim's version decides what may be asked.
    pub(crate) async fn hello(&self, limit: Duration) -> Result<Greeting, ShimError> {
        let (answer, _) = self.ask(Request::Hello { version: shim::VERSION }, Vec::new(), limit).await?;
        let unexpected = ShimError::Unexpected { request: "Hello" };
        let Some(peer) = Peer::of(&answer) else { return Err(unexpected) };
        match answer {
            Answer::Hello { containers, .. } | Answer::Welcome { containers, .. } => {
                *lock(&self.common.peer) = peer;
                Ok(Greeting { containers })
            }
            Answer::Done
            | Answer::Created { .. }
            | Answer::ExecStarted { .. }
            | Answer::Started { .. }
            | Answer::Steps(_) => Err(unexpected),
        }
    }

    /// What the shim said it is; the first version before it said so.
    pub(crate) fn peer(&self) -> Peer {
        lock(&self.common.peer).clone()
    }

    /// Asks and waits for the answer, at most for `limit`.
    pub(crate) async fn ask(
        &self,
        request: Request,
        fds: Vec<OwnedFd>,
        limit: Duration,
    ) -> Result<(Answer, Vec<OwnedFd>), ShimError> {
        let name = request.name();
        lock(&self.common.peer).knows(&request).map_err(NotSent::Unsupported)?;
        if fds.len() > shim::MAX_FDS {
            return Err(NotSent::Descriptors { request: name, count: fds.len() }.into());
        }
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.calls.send(Box::new(Call { request, fds, reply })).await.map_err(|_| ShimError::Lost)?;
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
        let name = request.name();
        match self.ask(request, fds, limit).await? {
            (Answer::Done, _) => Ok(()),
            (
                Answer::Hello { .. }
                | Answer::Welcome { .. }
                | Answer::Created { .. }
                | Answer::ExecStarted { .. }
                | Answer::Started { .. }
                | Answer::Steps(_),
                _,
            ) => Err(ShimError::Unexpected { request: name }),
        }
    }

    /// Releases a prepared container; gives the time that the shim reports as its start from then on.
    pub(crate) async fn start(&self, container: ContainerId, limit: Duration) -> Result<i64, ShimError> {
        match self.ask(Request::Start { container }, Vec::new(), limit).await? {
            (Answer::Started { at }, _) => Ok(at),
            // An older shim reports no time.
            (Answer::Done, _) => Ok(crate::host::clock::now()),
            (
                Answer::Hello { .. }
                | Answer::Welcome { .. }
                | Answer::Created { .. }
                | Answer::ExecStarted { .. }
                | Answer::Steps(_),
                _,
            ) => Err(ShimError::Unexpected { request: "Start" }),
        }
    }

    /// Joins a client to a container's stdio by the shim's end of its socket pair. Shims before version 3 take each client
    /// for one that gives input.
    pub(crate) async fn attach(
        &self,
        container: ContainerId,
        stdin: bool,
        socket: OwnedFd,
        limit: Duration,
    ) -> Result<(), ShimError> {
        let mut request = Request::AttachClient { container: container.clone(), stdin };
        if self.peer().knows(&request).is_err() {
            request = Request::Attach { container };
        }
        self.tell(request, vec![socket], limit).await
    }

    /// Whether the connection has ended.
    pub(crate) fn is_gone(&self) -> bool {
        self.calls.is_closed()
    }

    /// The end of this exec session, when it comes. Must be asked for before the session is begun.
    pub(crate) fn exec_end(&self, exec: &ExecId) -> oneshot::Receiver<ExecEnd> {
        let (sender, receiver) = oneshot::channel();
        // A connection that has ended has forgotten its sessions and gets none any more.
        if !self.is_gone() {
            lock(&self.common.execs).insert(exec.clone(), sender);
        }
        receiver
    }

    /// Kills an exec session whose end is waited for no more. Never lost while the connection lives, however
    /// busy it is; it does not overtake the request that begins the session.
    pub(crate) fn kill_exec(&self, exec: ExecId) {
        lock(&self.common.execs).remove(&exec);
        if !self.is_gone() {
            lock(&self.common.kills).push(exec);
            self.common.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
