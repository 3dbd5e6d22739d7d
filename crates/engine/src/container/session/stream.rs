//! The byte streams of a session.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use berth_types::shim::MAX_PACKET;
use rustix::io::Errno;
use rustix::net::SendFlags;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

/// Bytes for a process. Shutting it down closes the process' stdin; on a terminal it does nothing, as on any terminal. Dropping
/// it closes the stdin of an exec session; that of a container stays open for the next client, unless it was made to end
/// with the first (`stdin_once`).
#[derive(Debug)]
pub struct Input(Sink);

/// Bytes of a process. It ends when the process and all that inherited the stream are gone.
#[derive(Debug)]
pub struct Output(Source);

#[derive(Debug)]
enum Sink {
    Pipe(Option<pipe::Sender>),
    Terminal(Arc<AsyncFd<OwnedFd>>),
    Packets { socket: Arc<AsyncFd<OwnedFd>>, _held: Held },
}

#[derive(Debug)]
enum Source {
    Empty,
    Pipe(pipe::Receiver),
    Terminal(Arc<AsyncFd<OwnedFd>>),
    Memory { stream: tokio::io::DuplexStream, _held: Held },
}

/// A client's hold of its attached session: over when all of them are dropped.
#[derive(Debug)]
pub(crate) struct Held(
    #[allow(dead_code, reason = "that it is there is what counts")] pub(crate) mpsc::Sender<Never>,
);

/// What is never sent.
#[derive(Debug)]
pub(crate) enum Never {}

impl Input {
    pub(crate) fn pipe(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self(Sink::Pipe(Some(pipe::Sender::from_owned_fd(fd)?))))
    }

    pub(crate) fn terminal(master: Arc<AsyncFd<OwnedFd>>) -> Self {
        Self(Sink::Terminal(master))
    }

    /// Packets to a shim; an empty one closes the container's stdin. What is written is the shim's, whatever becomes of the
    /// client.
    pub(crate) fn packets(socket: Arc<AsyncFd<OwnedFd>>, held: Held) -> Self {
        Self(Sink::Packets { socket, _held: held })
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

    /// How many bytes wait in the stream, where the kernel tells it.
    pub(crate) fn held(&self) -> Option<usize> {
        match &self.0 {
            Source::Empty => Some(0),
            Source::Pipe(pipe) => rustix::io::ioctl_fionread(pipe).ok().and_then(|held| held.try_into().ok()),
            Source::Terminal(_) | Source::Memory { .. } => None,
        }
    }

    pub(crate) fn memory(stream: tokio::io::DuplexStream, held: Held) -> Self {
        Self(Source::Memory { stream, _held: held })
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
            Sink::Packets { .. } if buf.is_empty() => Poll::Ready(Ok(0)),
            Sink::Packets { socket, .. } => poll_send(socket, cx, &buf[..buf.len().min(MAX_PACKET)]),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Sink::Pipe(Some(pipe)) => Pin::new(pipe).poll_flush(cx),
            Sink::Pipe(None) | Sink::Terminal(_) | Sink::Packets { .. } => Poll::Ready(Ok(())),
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
            Sink::Packets { socket, .. } => poll_send(socket, cx, &[]).map_ok(drop),
        }
    }
}

/// Sends one packet, when there is space for it.
fn poll_send(socket: &AsyncFd<OwnedFd>, cx: &mut Context<'_>, packet: &[u8]) -> Poll<io::Result<usize>> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        let mut ready = ready!(socket.poll_write_ready(cx))?;
        if let Ok(sent) = ready.try_io(|fd| Ok(rustix::net::send(fd, packet, flags)?)) {
            return Poll::Ready(sent);
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
            Source::Memory { stream, .. } => Pin::new(stream).poll_read(cx, buf),
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
