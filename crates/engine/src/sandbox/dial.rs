//! Connections to the ports of a pod, as from inside of it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use berth_types::lifecycle::sandbox;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::error::EngineError;
use crate::handler::Handler;
use crate::model::{Network, SandboxView};
use crate::shared::Shared;

mod through;

pub(crate) use through::Forwards;

/// The time that a program in the pod has to accept.
const LIMIT: Duration = Duration::from_secs(30);
/// Where a program of the pod may listen that means itself: `localhost`, in this order.
const LOCALHOST: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// A connection to a port of a pod.
#[derive(Debug)]
pub enum Connection {
    /// To a program in the pod's network namespace.
    Tcp(TcpStream),
    /// By way of the pod's own kernel, which takes the end of one direction for that of both.
    Unix(UnixStream),
}

/// Connects to a port of the pod on `localhost`, by IPv4 and else by IPv6; in a kernel of its own by IPv4 alone.
pub(crate) async fn connect(
    shared: &Shared,
    view: Arc<SandboxView>,
    handler: Arc<dyn Handler>,
    port: u16,
) -> Result<Connection, EngineError> {
    if view.state != sandbox::State::Ready {
        // The words by which clients see that no other connection will work either.
        let message = format!("sandbox {} is not running", view.id);
        return Err(EngineError::Unreachable { message });
    }
    if handler.has_own_kernel() && view.config.namespaces.network != Network::Host {
        return through::connect(shared, view, handler, port).await.map(Connection::Unix);
    }
    direct(&view, port).await.map(Connection::Tcp)
}

/// In the pod's network namespace only the socket is made.
async fn direct(view: &SandboxView, port: u16) -> Result<TcpStream, EngineError> {
    let mut failures = Vec::new();
    for address in LOCALHOST {
        let to = SocketAddr::new(address, port);
        let connected = async {
            let socket = TcpSocket::from_std_stream(socket(view, address)?.into());
            tokio::time::timeout(LIMIT, socket.connect(to)).await.map_err(io::Error::from)?
        };
        match connected.await {
            Ok(stream) => return Ok(stream),
            Err(error) => failures.push(format!("{to}: {error}")),
        }
    }
    Err(EngineError::Unreachable { message: format!("connect in the pod: {}", failures.join("; ")) })
}

/// A socket in the pod's network namespace. Blocks for a moment.
fn socket(view: &SandboxView, address: IpAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let make = move || {
        Ok(socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?)
    };
    let Some(path) = &view.netns else { return make() };
    let netns = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    // The thread ends, so nothing else is ever in that namespace.
    let inside =
        std::thread::Builder::new().name("dial".to_owned()).stack_size(64 << 10).spawn(move || {
            rustix::thread::move_into_link_name_space(netns.as_fd(), None)?;
            make()
        })?;
    inside.join().map_err(|_| io::Error::other("the thread that makes the socket failed"))?
}
