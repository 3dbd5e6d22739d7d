//! The byte streams of a session.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;

/// Bytes for a process. Shutting it down, or dropping it, closes the process' stdin; on a terminal it does
/// nothing, as on any terminal.
#[derive(Debug)]
pub struct Input(Sink);

/// Bytes of a process. It ends when the process and all that inherited the stream are gone.
#[derive(Debug)]
pub struct Output(Source);

#[derive(Debug)]
enum Sink {
    Pipe(Option<pipe::Sender>),
    Terminal(Arc<AsyncFd<OwnedFd>>),
    Memory(tokio::io::DuplexStream),
}

#[derive(Debug)]
enum Source {
    Empty,
    Pipe(pipe::Receiver),
    Terminal(Arc<AsyncFd<OwnedFd>>),
    Memory(tokio::io::DuplexStream),
}

impl Input {
    pub(crate) fn pipe(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self(Sink::Pipe(Some(pipe::Sender::from_owned_fd(fd)?))))
    }

    pub(crate) fn terminal(master: Arc<AsyncFd<OwnedFd>>) -> Self {
        Self(Sink::Terminal(master))
    }

    pub(crate) fn memory(stream: tokio::io::DuplexStream) -> Self {
        Self(Sink::Memory(stream))
    }
}

impl Output {
    /// Ends at once.
    pub(crate) fn empty() -> Self {
        Self(Source::Empty)
    }

    pub(crate) fn pipe(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self(Source::Pipe(pipe::Receiver::from_owned_fd(fd)?)))
    }

    pub(crate) fn terminal(master: Arc<AsyncFd<OwnedFd>>) -> Self {
        Self(Source::Terminal(master))
    }

    pub(crate) fn memory(stream: tokio::io::DuplexStream) -> Self {
        Self(Source::Memory(stream))
    }
}

impl AsyncWrite for Input {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Sink::Pipe(Some(pipe)) => Pin::new(pipe).poll_write(cx, buf),
            Sink::Pipe(None) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Sink::Terminal(master) => loop {
                let mut ready = ready!(master.poll_write_ready(cx))?;
                match ready.try_io(|fd| Ok(rustix::io::write(fd, buf)?)) {
                    Ok(result) => return Poll::Ready(result),
                    Err(_would_block) => {}
                }
            },
            Sink::Memory(memory) => Pin::new(memory).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Sink::Pipe(Some(pipe)) => Pin::new(pipe).poll_flush(cx),
            Sink::Pipe(None) | Sink::Terminal(_) => Poll::Ready(Ok(())),
            Sink::Memory(memory) => Pin::new(memory).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            // A pipe has no shutdown but its end.
            Sink::Pipe(pipe) => {
                drop(pipe.take());
                Poll::Ready(Ok(()))
            }
            Sink::Terminal(_) => Poll::Ready(Ok(())),
            Sink::Memory(memory) => Pin::new(memory).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Output {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Source::Empty => Poll::Ready(Ok(())),
            Source::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buf),
            Source::Memory(memory) => Pin::new(memory).poll_read(cx, buf),
            Source::Terminal(master) => loop {
                let mut ready = ready!(master.poll_read_ready(cx))?;
                let room = buf.initialize_unfilled();
                match ready.try_io(|fd| Ok(rustix::io::read(fd, room)?)) {
                    Ok(Ok(got)) => {
                        buf.advance(got);
                        return Poll::Ready(Ok(()));
                    }
                    // A terminal whose last process is gone says so in this way.
                    Ok(Err(e)) if e.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                        return Poll::Ready(Ok(()));
                    }
                    Ok(Err(e)) => return Poll::Ready(Err(e)),
                    Err(_would_block) => {}
                }
            },
        }
    }
}
