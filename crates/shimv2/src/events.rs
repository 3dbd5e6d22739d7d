//! The service that shims forward their events to (`containerd.services.events.ttrpc.v1.Events`), at the address that they are told.
//!
//! One thread serves all shims of a pod, without waiting for any. An event is answered once `sink` has it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{Mode, chmod};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::frame::{self, Frames, Incoming, Kind};
use crate::message::event::{Envelope, FORWARD, Forward, SERVICE};
use crate::message::rpc::{Request, Response, Status, code};

/// The most shims and publishers at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// The most bytes of answers that wait for one that does not read them; then it is disconnected.
const MAX_QUEUE: usize = 64 << 10;

/// When to try again to accept a caller, for lack of descriptors.
const AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The service, until it is dropped; its socket goes with it.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    stop: Arc<OwnedFd>,
}

impl Events {
    /// Listens at `path`, for root alone; what is left there of an earlier one is replaced. `sink` is called in the service's thread and
    /// must not wait.
    ///
    /// # Errors
    /// The socket cannot be made there.
    pub fn listen(path: &Path, sink: impl FnMut(Envelope) + Send + 'static) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::bind(&listener, &SocketAddrUnix::new(path)?)?;
        // Before it listens, so nobody else ever connects.
        chmod(path, Mode::RUSR | Mode::WUSR)?;
        rustix::net::listen(&listener, 128)?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let service = Self { path: path.to_owned(), stop: Arc::clone(&stop) };
        let thread = std::thread::Builder::new().name("shim events".to_owned());
        thread.spawn(move || serve(&listener, &stop, sink))?;
        Ok(service)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // It fails only when the thread is about to wake anyway.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        drop(std::fs::remove_file(&self.path));
    }
}

fn serve(listener: &OwnedFd, stop: &OwnedFd, mut sink: impl FnMut(Envelope)) {
    let mut connections: Vec<Connection> = Vec::new();
    // Whether the last caller could not be accepted: it is there still, and must not wake us again at once.
    let mut lacks = false;
    loop {
        let takes = connections.len() < MAX_CONNECTIONS && !lacks;
        let accepts = if takes { PollFlags::IN } else { PollFlags::empty() };
        let until = lacks.then_some(&AGAIN);
        lacks = false;
        let mut fds = vec![PollFd::new(stop, PollFlags::IN), PollFd::new(listener, accepts)];
        fds.extend(connections.iter().map(|c| PollFd::new(&c.socket, c.interest())));
        match poll(&mut fds, until) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return,
        }
        let [stopped, ready, others @ ..] = fds.as_slice() else { return };
        if !stopped.revents().is_empty() {
            return;
        }
        let ready = !ready.revents().is_empty();
        let mut active = others.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>().into_iter();
        connections.retain_mut(|c| !active.next().unwrap_or(false) || c.turn(&mut sink).is_ok());
        if ready {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(listener, flags) {
                Ok(socket) => connections.push(Connection::new(socket)),
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => lacks = true,
            }
        }
    }
}

/// A shim or publisher.
#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    frames: Frames,
    queue: VecDeque<u8>,
}

/// It has gone, or does not keep to the protocol.
struct Gone;

impl Connection {
    fn new(socket: OwnedFd) -> Self {
        Self { socket, frames: Frames::new(), queue: VecDeque::new() }
    }

    fn interest(&self) -> PollFlags {
        if self.queue.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
    }

    fn turn(&mut self, sink: &mut impl FnMut(Envelope)) -> Result<(), Gone> {
        let mut buffer = [0; 16 << 10];
        match rustix::net::recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(Gone),
            Ok((count, _)) => {
                let mut bytes = buffer.get(..count).unwrap_or_default();
                while let Some(incoming) = self.frames.next(&mut bytes) {
                    let (stream, response, envelope) = answer(incoming).ok_or(Gone)?;
                    envelope.into_iter().for_each(&mut *sink);
                    let sent = frame::encode(Kind::Response, stream, &response.encode_to_vec());
                    self.queue.extend(sent.map_err(|_| Gone)?);
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return Err(Gone),
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Gone> {
        while !self.queue.is_empty() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(self.socket.as_fd(), self.queue.as_slices().0, flags) {
                Ok(count) => drop(self.queue.drain(..count)),
                Err(Errno::AGAIN) if self.queue.len() <= MAX_QUEUE => return Ok(()),
                Err(Errno::INTR) => {}
                Err(_) => return Err(Gone),
            }
        }
        Ok(())
    }
}

/// What is answered to a frame, and the event that it brought. None if it is no request. Pure.
fn answer(incoming: Incoming) -> Option<(u32, Response, Option<Envelope>)> {
    let (header, body) = match incoming {
        Incoming::Frame(header, body) => (header, Some(body)),
        Incoming::TooLarge(header) => (header, None),
    };
    if header.kind != Kind::Request {
        return None;
    }
    let refused = |code, message: String| {
        let status = Some(Status { code, message });
        Some((header.stream, Response { status, payload: Vec::new() }, None))
    };
    let Some(body) = body else {
        return refused(code::INVALID_ARGUMENT, format!("a request of {} bytes is too large", header.length));
    };
    let Ok(request) = Request::decode(body.as_slice()) else {
        return refused(code::INVALID_ARGUMENT, "the request cannot be read".to_owned());
    };
    if request.service != SERVICE || request.method != FORWARD {
        let Request { service, method, .. } = request;
        return refused(
            code::UNIMPLEMENTED,
            format!("only {SERVICE}/{FORWARD} is served, not {service}/{method}"),
        );
    }
    match Forward::decode(request.payload.as_slice()) {
        Ok(Forward { envelope: Some(envelope) }) => {
            Some((header.stream, Response::default(), Some(envelope)))
        }
        Ok(Forward { envelope: None }) => {
            refused(code::INVALID_ARGUMENT, "there is no event in it".to_owned())
        }
        Err(_) => refused(code::INVALID_ARGUMENT, "the event cannot be read".to_owned()),
    }
}

#[cfg(test)]
mod tests;
