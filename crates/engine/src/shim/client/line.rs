//! The task that owns a connection's socket.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use berth_sys::socket::{Frame, FrameError, Progress, Reader, Writer};
use berth_types::shim::{Answer, Event, FromShim, MAX_FRAME, Request, ToShim, answer_number, decode, encode};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use super::{Common, Lost, NotSent, Notice, ShimError, lock};
use crate::container::session::ExecEnd;

/// Requests that may wait for the connection's task.
pub(super) const QUEUE: usize = 64;
/// Requests that may wait for the shim's answer.
const MAX_WAITING: usize = 1024;
/// The most events that the owner may leave unread; beyond that the shim is not read.
const MAX_NOTICES: usize = 1024;

type Reply = oneshot::Sender<Result<(Answer, Vec<OwnedFd>), ShimError>>;

/// A request, and where its answer goes.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) request: Request,
    pub(super) fds: Vec<OwnedFd>,
    pub(super) reply: Reply,
}

/// A request that was sent.
#[derive(Debug)]
struct Waiting {
    request: &'static str,
    reply: Reply,
}

/// The socket and what waits on both of its sides.
pub(super) struct Line<N> {
    socket: AsyncFd<OwnedFd>,
    reader: Reader,
    writer: Writer,
    waiting: HashMap<u64, Waiting>,
    next: u64,
    common: Arc<Common>,
    notices: mpsc::Sender<N>,
    /// What the owner has not taken yet. Answers do not wait for it: the owner may be waiting for one.
    untold: VecDeque<Event>,
}

impl<N: From<Notice>> Line<N> {
    pub(super) fn new(socket: AsyncFd<OwnedFd>, common: Arc<Common>, notices: mpsc::Sender<N>) -> Self {
        Self {
            socket,
            reader: Reader::new(),
            writer: Writer::new(2 * MAX_FRAME),
            waiting: HashMap::new(),
            next: 0,
            common,
            notices,
            untold: VecDeque::new(),
        }
    }

    pub(super) async fn run(mut self, mut calls: mpsc::Receiver<Box<Call>>) {
        let lost = match self.serve(&mut calls).await {
            Ok(lost) => lost,
            Err(error) => Lost::from(error),
        };
        // Waiting requests fail because their senders are dropped, before the owner is told.
        drop(calls);
        self.waiting.clear();
        lock(&self.common.execs).clear();
        lock(&self.common.kills).clear();
        for event in std::mem::take(&mut self.untold) {
            drop(self.notices.send(Notice::Event(event).into()).await);
        }
        drop(self.notices.send(Notice::Lost(lost).into()).await);
    }

    async fn serve(&mut self, calls: &mut mpsc::Receiver<Box<Call>>) -> Result<Lost, FrameError> {
        let notices = self.notices.clone();
        loop {
            tokio::select! {
                call = calls.recv() => match call {
                    Some(call) => self.accept(*call)?,
                    None => return Ok(Lost::Unused),
                },
                () = self.common.wake.notified() => self.kill_execs(calls)?,
                room = notices.reserve(), if !self.untold.is_empty() => match (room, self.untold.pop_front()) {
                    (Ok(room), Some(event)) => room.send(Notice::Event(event).into()),
                    // The owner has ended.
                    (Ok(_), None) | (Err(_), _) => self.untold.clear(),
                },
                ready = self.socket.readable(), if self.untold.len() < MAX_NOTICES => {
                    let mut ready = ready.map_err(FrameError::Socket)?;
                    match self.reader.read(self.socket.get_ref())? {
                        Progress::Some => {}
                        Progress::WouldBlock => ready.clear_ready(),
                        Progress::End => return Ok(Lost::Closed),
                    }
                    drop(ready);
                    while let Some(frame) = self.reader.frame()? {
                        self.receive(frame);
                    }
                }
                ready = self.socket.writable(), if !self.writer.is_empty() => {
                    let mut ready = ready.map_err(FrameError::Socket)?;
                    if !self.writer.flush(self.socket.get_ref())? {
                        ready.clear_ready();
                    }
                    drop(ready);
                    // Those for which the queue had no space.
                    self.kill_execs(calls)?;
                }
            }
        }
    }

    /// Queues a request and sends what the socket takes. A failure concerns this request only.
    fn accept(&mut self, call: Call) -> Result<(), FrameError> {
        let Call { request, fds, reply } = call;
        let name = request.name();
        // An exec session whose caller is gone has been killed before it was asked for.
        if reply.is_closed() && matches!(request, Request::Exec(_)) {
            return Ok(());
        }
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.retain(|_, waiting| !waiting.reply.is_closed());
        }
        let waiting = self.waiting.len();
        if waiting >= MAX_WAITING {
            return Self::refuse(reply, NotSent::Busy { request: name, waiting }.into());
        }
        let number = self.next;
        self.next += 1;
        let body = match encode(&ToShim { number, request }) {
            Ok(body) => body,
            Err(error) => return Self::refuse(reply, error.into()),
        };
        let count = fds.len();
        match self.writer.push(Frame { body, fds }) {
            Ok(()) => {}
            // The frame was not queued: what was queued before it goes on.
            Err(FrameError::Full(_)) => {
                return Self::refuse(reply, NotSent::Busy { request: name, waiting }.into());
            }
            Err(FrameError::Limits) => {
                return Self::refuse(reply, NotSent::Descriptors { request: name, count }.into());
            }
            Err(error) => return Err(error),
        }
        self.waiting.insert(number, Waiting { request: name, reply });
        self.writer.flush(self.socket.get_ref())?;
        Ok(())
    }

    fn refuse(reply: Reply, error: ShimError) -> Result<(), FrameError> {
        drop(reply.send(Err(error)));
        Ok(())
    }

    /// Asks for the end of the sessions whose callers are gone. What is in the queue comes first: it may hold the
    /// request that begins one of them.
    fn kill_execs(&mut self, calls: &mut mpsc::Receiver<Box<Call>>) -> Result<(), FrameError> {
        let kills = std::mem::take(&mut *lock(&self.common.kills));
        if kills.is_empty() {
            return Ok(());
        }
        while let Ok(call) = calls.try_recv() {
            self.accept(*call)?;
        }
        for exec in kills {
            let number = self.next;
            self.next += 1;
            // An id always fits.
            let Ok(body) = encode(&ToShim { number, request: Request::KillExec { exec: exec.clone() } })
            else {
                continue;
            };
            match self.writer.push(Frame { body, fds: Vec::new() }) {
                Ok(()) => {}
                // The shim does not read: once more when it has read something.
                Err(FrameError::Full(_)) => lock(&self.common.kills).push(exec),
                Err(error) => return Err(error),
            }
        }
        self.writer.flush(self.socket.get_ref())?;
        Ok(())
    }

    fn receive(&mut self, frame: Frame) {
        match decode::<FromShim>(&frame.body) {
            Ok(FromShim::Answer { number, outcome }) => {
                if let Some(waiting) = self.waiting.remove(&number) {
                    let answer = outcome.map(|a| (a, frame.fds)).map_err(ShimError::Failed);
                    drop(waiting.reply.send(answer));
                }
            }
            Ok(FromShim::Event(Event::ExecExited { exec, code, timed_out })) => {
                if let Some(waiting) = lock(&self.common.execs).remove(&exec) {
                    let _ = waiting.send(ExecEnd { code, timed_out });
                }
            }
            Ok(FromShim::Event(Event::Note { container, text })) => {
                tracing::info!(container = container.short(), %text, "a setting was applied differently");
            }
            Ok(FromShim::Event(
                event @ (Event::Exited { .. }
                | Event::PodEnded
                | Event::Started { .. }
                | Event::Lingers { .. }),
            )) => self.untold.push_back(event),
            // A newer shim may say what this daemon does not know.
            Err(error) => {
                let waiting = answer_number(&frame.body).and_then(|number| self.waiting.remove(&number));
                let request = waiting.as_ref().map(|waiting| waiting.request);
                tracing::warn!(%error, request, "unknown message from a shim");
                if let Some(Waiting { request, reply }) = waiting {
                    drop(reply.send(Err(ShimError::Unexpected { request })));
                }
            }
        }
    }
}
