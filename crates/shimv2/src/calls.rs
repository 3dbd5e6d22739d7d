//! The calls that wait for an answer on one connection: what each frame, deadline and loss means for them. Pure.
//!
//! `D` is who waits; whatever happens, each is given back exactly once.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use prost::Message;

use crate::error::{CallError, Lost};
use crate::frame::{self, Header, Incoming, Kind};
use crate::message::rpc::{Request, Response};

/// The most calls that wait at once.
pub(crate) const MAX_CALLS: usize = 4096;
/// The most bytes that wait for a shim that does not read: two of the largest requests.
pub(crate) const MAX_QUEUE: usize = 2 * (frame::HEADER + frame::MAX_BODY);

/// The calls of a connection.
#[derive(Debug)]
pub(crate) struct Calls<D> {
    /// The number of the next call; servers refuse one that is not greater than all before.
    next: u32,
    waiting: BTreeMap<u32, Waiting<D>>,
    queue: VecDeque<u8>,
    lost: Option<Lost>,
}

#[derive(Debug)]
struct Waiting<D> {
    method: String,
    /// When it is given up, and how long that is.
    deadline: Option<(Instant, Duration)>,
    done: D,
}

/// Who waited, and for what outcome.
pub(crate) type Done<D> = (D, Result<Vec<u8>, CallError>);

impl<D> Calls<D> {
    /// None waits.
    pub(crate) fn new() -> Self {
        Self { next: 1, waiting: BTreeMap::new(), queue: VecDeque::new(), lost: None }
    }

    /// Queues a call; its number, or who waited and why not.
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        request: &mut Request,
        limit: Option<Duration>,
        done: D,
    ) -> Result<u32, Done<D>> {
        let method = &request.method;
        if let Some(reason) = self.lost.clone() {
            return Err((done, Err(CallError::Lost { method: method.clone(), reason })));
        }
        // The server gives it up at the same time; zero would be no limit.
        request.timeout_nanos =
            limit.map_or(0, |limit| i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX).max(1));
        let bytes = match frame::encode(Kind::Request, self.next, &request.encode_to_vec()) {
            Ok(bytes) => bytes,
            Err(size) => return Err((done, Err(CallError::TooLarge { method: method.clone(), size }))),
        };
        if self.waiting.len() >= MAX_CALLS || self.queue.len() + bytes.len() > MAX_QUEUE {
            return Err((done, Err(CallError::Busy { method: method.clone() })));
        }
        let Some(after) = self.next.checked_add(2) else {
            return Err((done, Err(CallError::Busy { method: method.clone() })));
        };
        let number = std::mem::replace(&mut self.next, after);
        self.queue.extend(bytes);
        // One that no clock can hold is none.
        let deadline = limit.and_then(|limit| Some((now.checked_add(limit)?, limit)));
        self.waiting.insert(number, Waiting { method: method.clone(), deadline, done });
        Ok(number)
    }

    /// Gives up a call: its answer is passed over when it comes. None if it has ended.
    pub(crate) fn cancel(&mut self, number: u32) -> Option<Done<D>> {
        let Waiting { method, done, .. } = self.waiting.remove(&number)?;
        Some((done, Err(CallError::Cancelled { method })))
    }

    /// What came.
    ///
    /// # Errors
    /// The shim does not keep to the protocol; the connection cannot be used any more.
    pub(crate) fn receive(&mut self, incoming: Incoming) -> Result<Option<Done<D>>, Lost> {
        let (header, body) = match incoming {
            Incoming::Frame(header, body) => (header, Some(body)),
            Incoming::TooLarge(header) => (header, None),
        };
        self.check(header)?;
        // Of a call that was given up.
        let Some(Waiting { method, done, .. }) = self.waiting.remove(&header.stream) else { return Ok(None) };
        let outcome = match body {
            Some(body) => outcome(method, &body),
            None => Err(CallError::AnswerTooLarge { method, size: header.length }),
        };
        Ok(Some((done, outcome)))
    }

    fn check(&self, header: Header) -> Result<(), Lost> {
        let broken = |what: String| Err(Lost::Broken(what));
        match header.kind {
            Kind::Response => {}
            Kind::Request => return broken("it sent a request of its own".to_owned()),
            Kind::Data => return broken("it sent a stream, which no method is".to_owned()),
            Kind::Other(number) => return broken(format!("it sent a frame of the unknown kind {number}")),
        }
        if header.stream.is_multiple_of(2) || header.stream >= self.next {
            return broken(format!("it answered call {}, which was never made", header.stream));
        }
        Ok(())
    }

    /// Gives up the calls whose time has run out.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Done<D>> {
        let late = |w: &Waiting<D>| w.deadline.is_some_and(|(at, _)| at <= now);
        let late: Vec<u32> = self.waiting.iter().filter(|(_, w)| late(w)).map(|(n, _)| *n).collect();
        late.into_iter()
            .filter_map(|number| self.waiting.remove(&number))
            .map(|Waiting { method, deadline, done }| {
                let limit = deadline.map_or(Duration::ZERO, |(_, limit)| limit);
                (done, Err(CallError::Slow { method, limit }))
            })
            .collect()
    }

    /// When the next call is given up.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waiting.values().filter_map(|w| w.deadline).map(|(at, _)| at).min()
    }

    /// The connection is gone: every call fails, now and later. The first reason stays.
    pub(crate) fn lose(&mut self, reason: Lost) -> Vec<Done<D>> {
        let reason = self.lost.get_or_insert(reason).clone();
        self.queue = VecDeque::new();
        std::mem::take(&mut self.waiting)
            .into_values()
            .map(|Waiting { method, done, .. }| {
                (done, Err(CallError::Lost { method, reason: reason.clone() }))
            })
            .collect()
    }

    /// Why the connection is gone, if it is.
    pub(crate) fn lost(&self) -> Option<&Lost> {
        self.lost.as_ref()
    }

    /// What is to be sent.
    pub(crate) fn to_send(&self) -> &[u8] {
        self.queue.as_slices().0
    }

    /// So many bytes of that were.
    pub(crate) fn sent(&mut self, count: usize) {
        self.queue.drain(..count.min(self.queue.len()));
        if self.queue.is_empty() {
            self.queue.shrink_to(64 << 10);
        }
    }
}

fn outcome(method: String, body: &[u8]) -> Result<Vec<u8>, CallError> {
    match Response::decode(body) {
        Err(source) => Err(CallError::Answer { method, source }),
        Ok(Response { status: Some(status), .. }) if status.code != 0 => {
            Err(CallError::Refused { method, code: status.code, message: status.message })
        }
        Ok(Response { payload, .. }) => Ok(payload),
    }
}

#[cfg(test)]
mod tests;
