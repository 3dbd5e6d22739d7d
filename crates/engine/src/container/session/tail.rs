//! The output of an exec session, which ends although a process in the background may hold its stream for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use super::Output;

/// How long a stream may be silent after the process' end.
const QUIET: Duration = Duration::from_millis(500);
/// How long after it what others write is read.
const DRAIN: Duration = Duration::from_secs(1);
/// What a terminal can hold; of a pipe the kernel tells it.
const TERMINAL: usize = 64 << 10;

/// Everything that is written until the process has ended, however slowly it is read, and then what processes that it left
/// behind write soon after. The end of the stream, or of that.
#[derive(Debug)]
pub struct Tail {
    from: Output,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The process runs; it is told when it does no more.
    Running(oneshot::Receiver<()>),
    /// It has ended.
    Over {
        /// What was in the stream then and has not been read.
        held: usize,
        since: Instant,
        silence: Pin<Box<Sleep>>,
    },
    Ended,
}

impl Tail {
    pub(crate) fn new(from: Output, over: oneshot::Receiver<()>) -> Self {
        Self { from, state: State::Running(over) }
    }
}

impl AsyncRead for Tail {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { from, state } = &mut *self;
        // Also when the session is dropped.
        if let State::Running(over) = state
            && Pin::new(over).poll(cx).is_ready()
        {
            let silence = Box::pin(tokio::time::sleep(QUIET));
            *state = State::Over { held: from.held().unwrap_or(TERMINAL), since: Instant::now(), silence };
        }
        if let State::Over { held: 0, since, .. } = state
            && since.elapsed() > DRAIN
        {
            *state = State::Ended;
        }
        if matches!(state, State::Ended) {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut *from).poll_read(cx, buf);
        let State::Over { held, silence, .. } = state else { return read };
        if read.is_ready() {
            *held = held.saturating_sub(buf.filled().len() - before);
            silence.as_mut().reset(Instant::now() + QUIET);
            return read;
        }
        // Another process may have read what the kernel told of. Or the runtime has not heard yet that it is there.
        *held = from.held().unwrap_or(0);
        if *held == 0 && silence.as_mut().poll(cx).is_ready() {
            *state = State::Ended;
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
