//! An attached client: packets of the shim turned into streams.
//!
//! ```text
//! shim --[stream byte, output]--> read task --> stdout, stderr
//! shim <--[input]------------------------------ stdin       (an empty packet closes it)
//! ```
//!
//! Input that is written is in the shim's socket: when the client goes nothing of it is left here.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use berth_types::shim::{MAX_PACKET, Request, Stream};
use berth_types::{ContainerId, ExecId};
use rustix::net::{RecvFlags, Shutdown};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use super::stream::{Held, Never};
use super::{AttachSession, Input, Output, Resize, Resizer};
use crate::container::exec::Target;
use crate::error::EngineError;
use crate::shim::Shim;

/// Bytes that wait for a slow reader.
const BUFFER: usize = 64 << 10;
/// The time that the shim has to set a size.
const RESIZE_LIMIT: Duration = Duration::from_secs(10);

/// The session on this socket. It is over when the container's output is, and when the client has released all its streams.
pub(crate) fn attached(target: &Target, stdin: bool, socket: OwnedFd) -> io::Result<AttachSession> {
    let Streams { stdin, stdout, stderr } = serve(socket, stdin)?;
    let tty = target.config.tty;
    let terminal = || Terminal { shim: target.shim.clone(), container: target.container.clone(), exec: None };
    let resizer = tty.then(|| Resizer(Arc::new(terminal())));
    Ok(AttachSession { stdin, stdout, stderr: (!tty).then_some(stderr), resizer })
}

/// The client's ends.
struct Streams {
    stdin: Option<Input>,
    stdout: Output,
    stderr: Output,
}

fn serve(socket: OwnedFd, wants_stdin: bool) -> io::Result<Streams> {
    let socket = Arc::new(crate::host::async_fd::register_both(socket)?);
    let (stdout, out) = tokio::io::duplex(BUFFER);
    let (stderr, err) = tokio::io::duplex(BUFFER);
    let (held, let_go) = mpsc::channel(1);
    let stdin = wants_stdin.then(|| Input::packets(Arc::clone(&socket), Held(held.clone())));
    tokio::spawn(read(socket, out, err, let_go));
    let (stdout, stderr) = (Output::memory(stdout, Held(held.clone())), Output::memory(stderr, Held(held)));
    Ok(Streams { stdin, stdout, stderr })
}

/// Ends with the container's output, or when the client has released everything: also while the container is silent, since
/// the shim has slots for a few clients only.
async fn read(
    socket: Arc<AsyncFd<OwnedFd>>,
    stdout: DuplexStream,
    stderr: DuplexStream,
    mut let_go: mpsc::Receiver<Never>,
) {
    tokio::select! {
        () = copy(&socket, stdout, stderr) => {}
        _ = let_go.recv() => {}
    }
    // The client may still hold its input; the shim is to see that this one is gone.
    let _ = rustix::net::shutdown(socket.get_ref(), Shutdown::Both);
}

async fn copy(socket: &AsyncFd<OwnedFd>, stdout: DuplexStream, stderr: DuplexStream) {
    let mut packet = vec![0; MAX_PACKET + 1];
    let (mut stdout, mut stderr) = (Some(stdout), Some(stderr));
    loop {
        let flags = RecvFlags::DONTWAIT;
        let got = socket
            .async_io(tokio::io::Interest::READABLE, |fd| {
                Ok(rustix::net::recv(fd, packet.as_mut_slice(), flags).map(|(got, _)| got)?)
            })
            .await;
        let Ok(got @ 1..) = got else { return };
        let stream = if packet[0] == Stream::Stderr as u8 { &mut stderr } else { &mut stdout };
        // What the client does not want goes nowhere; it may want the other, or only give input.
        if let Some(to) = stream
            && to.write_all(&packet[1..got]).await.is_err()
        {
            *stream = None;
        }
    }
}

/// A terminal whose size the shim sets.
#[derive(Debug)]
pub(crate) struct Terminal {
    pub(crate) shim: Shim,
    pub(crate) container: ContainerId,
    /// Of which session, if it is not that of the main process.
    pub(crate) exec: Option<ExecId>,
}

impl Resize for Terminal {
    fn resize(
        &self,
        rows: u16,
        columns: u16,
    ) -> Pin<Box<dyn Future<Output = Result<(), EngineError>> + Send + '_>> {
        Box::pin(async move {
            let (container, exec) = (self.container.clone(), self.exec.clone());
            let request = Request::Resize { container, exec, rows, columns };
            let told = self.shim.tell(request, Vec::new(), RESIZE_LIMIT).await;
            told.map_err(|e| EngineError::failed("set the terminal's size", e))
        })
    }
}

#[cfg(test)]
mod tests;
