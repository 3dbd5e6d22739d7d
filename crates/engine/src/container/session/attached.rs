//! An attached client: packets of the shim turned into streams.
//!
//! ```text
//! shim --[stream byte, output]--> read task --> stdout, stderr
//! shim <--[input]---------------- write task <-- stdin       (an empty packet closes it)
//! ```

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use berth_types::ContainerId;
use berth_types::shim::{MAX_PACKET, Request, Stream};
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{AttachSession, Input, Output, Resize, Resizer};
use crate::error::EngineError;
use crate::model::ContainerConfig;
use crate::shim::Shim;

/// Bytes that wait for a slow reader.
const BUFFER: usize = 64 << 10;
/// The time that the shim has to set a size.
const RESIZE_LIMIT: Duration = Duration::from_secs(10);

/// The session on this socket.
pub(crate) fn attached(
    container: ContainerId,
    config: &ContainerConfig,
    shim: Shim,
    socket: OwnedFd,
) -> io::Result<AttachSession> {
    let socket = Arc::new(crate::host::async_fd::register_both(socket)?);
    let (stdout, out) = tokio::io::duplex(BUFFER);
    let (stderr, err) = tokio::io::duplex(BUFFER);
    tokio::spawn(read(Arc::clone(&socket), out, err));
    let stdin = config.stdin.then(|| {
        let (stdin, input) = tokio::io::duplex(BUFFER);
        tokio::spawn(write(socket, input));
        Input::memory(stdin)
    });
    let resizer = config.tty.then(|| Resizer(Arc::new(Terminal { shim, container: container.clone() })));
    Ok(AttachSession {
        container,
        stdin,
        stdout: Output::memory(stdout),
        stderr: (!config.tty).then(|| Output::memory(stderr)),
        resizer,
    })
}

/// Ends with the container's output, or when nobody reads any more.
async fn read(socket: Arc<AsyncFd<OwnedFd>>, mut stdout: DuplexStream, mut stderr: DuplexStream) {
    let mut packet = vec![0; MAX_PACKET + 1];
    loop {
        let flags = RecvFlags::DONTWAIT;
        let got = socket
            .async_io(tokio::io::Interest::READABLE, |fd| {
                Ok(rustix::net::recv(fd, packet.as_mut_slice(), flags).map(|(got, _)| got)?)
            })
            .await;
        let Ok(got @ 1..) = got else { break };
        let stream = if packet[0] == Stream::Stderr as u8 { &mut stderr } else { &mut stdout };
        if stream.write_all(&packet[1..got]).await.is_err() {
            break;
        }
    }
    // The write task may wait for its client; the shim is to see that this one is gone.
    let _ = rustix::net::shutdown(socket.get_ref(), Shutdown::Both);
}

/// Ends when the client closes its input or the shim is gone.
async fn write(socket: Arc<AsyncFd<OwnedFd>>, mut input: DuplexStream) {
    let mut chunk = vec![0; MAX_PACKET];
    while let Ok(got) = input.read(&mut chunk).await {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = socket
            .async_io(tokio::io::Interest::WRITABLE, |fd| Ok(rustix::net::send(fd, &chunk[..got], flags)?))
            .await;
        if got == 0 || sent.is_err() {
            break;
        }
    }
}

#[derive(Debug)]
struct Terminal {
    shim: Shim,
    container: ContainerId,
}

impl Resize for Terminal {
    fn resize(
        &self,
        rows: u16,
        columns: u16,
    ) -> Pin<Box<dyn Future<Output = Result<(), EngineError>> + Send + '_>> {
        Box::pin(async move {
            let request = Request::Resize { container: self.container.clone(), exec: None, rows, columns };
            let told = self.shim.tell(request, Vec::new(), RESIZE_LIMIT).await;
            told.map_err(|e| EngineError::failed("set the terminal's size", e))
        })
    }
}
