//! Host ports held by a socket while the daemon runs.
//!
//! Packets to a host port never reach a process of the host. Binding the port shows whether one is
//! listening there (whose clients would be led to the pod), and lets one that comes later fail with
//! "address in use" instead of waiting for connections that never come (docs/adr/0034). Nothing listens
//! on these sockets.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use berth_types::SandboxId;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::error::AttachError;
use crate::port::{PortMapping, Protocol, Scope};

/// How often a port in use is tried again: a socket of a pod that has just been detached lives on in a
/// child that another thread has forked, until that executes its program.
const RETRIES: u32 = 5;
/// The time between.
const PAUSE: Duration = Duration::from_millis(4);

#[derive(Debug, Default)]
pub(super) struct Reservations {
    held: HashMap<SandboxId, Vec<OwnedFd>>,
}

impl Reservations {
    pub(super) fn hold(&mut self, sandbox: &SandboxId, sockets: Vec<OwnedFd>) {
        if !sockets.is_empty() {
            self.held.insert(sandbox.clone(), sockets);
        }
    }

    pub(super) fn release(&mut self, sandbox: &SandboxId) {
        self.held.remove(sandbox);
    }
}

/// Binds all of `ports` in the calling thread's network namespace.
pub(super) fn bind_all(ports: &[PortMapping], ipv6: bool) -> Result<Vec<OwnedFd>, AttachError> {
    let mut sockets = Vec::new();
    for port in ports {
        for address in addresses(port, ipv6) {
            sockets.extend(bind(port, address)?);
        }
    }
    Ok(sockets)
}

fn addresses(port: &PortMapping, ipv6: bool) -> Vec<IpAddr> {
    let v4 = match port.scope4() {
        Scope::None => None,
        Scope::One(ip) => Some(ip),
        Scope::All => Some(Ipv4Addr::UNSPECIFIED),
    };
    let v6 = match port.scope6() {
        Scope::One(ip) if ipv6 => Some(ip),
        Scope::All if ipv6 => Some(Ipv6Addr::UNSPECIFIED),
        Scope::None | Scope::One(_) | Scope::All => None,
    };
    v4.map(IpAddr::from).into_iter().chain(v6.map(IpAddr::from)).collect()
}

/// A bound socket; `None` where the host's kernel does not have the protocol, so that no process
/// can have the port either. A socket of SCTP would have it loaded, which disturbs programs that bring
/// an SCTP of their own; so it is held only where the kernel's is there already.
fn bind(port: &PortMapping, address: IpAddr) -> Result<Option<OwnedFd>, AttachError> {
    if port.protocol == Protocol::Sctp && !Path::new("/proc/thread-self/net/sctp").exists() {
        return Ok(None);
    }
    let mut result = bind_either_way(port, address);
    for _ in 0..RETRIES {
        if result.as_ref().err() != Some(&Errno::ADDRINUSE) {
            break;
        }
        std::thread::sleep(PAUSE);
        result = bind_either_way(port, address);
    }
    match result {
        Ok(socket) => Ok(Some(socket)),
        Err(Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT) => Ok(None),
        Err(Errno::ADDRINUSE) => Err(AttachError::PortInUse { port: *port, address }),
        Err(Errno::ADDRNOTAVAIL) => {
            Err(AttachError::BadPort { port: *port, reason: "the address is not one of this host's" })
        }
        Err(source) => Err(AttachError::Reserve { port: *port, source }),
    }
}

fn bind_either_way(port: &PortMapping, address: IpAddr) -> Result<OwnedFd, Errno> {
    match try_bind(port, address, false) {
        // Connections of a server that has ended may hold the port for a minute, but not against
        // a socket that is willing to share it with them.
        Err(Errno::ADDRINUSE) => try_bind(port, address, true),
        result => result,
    }
}

fn try_bind(port: &PortMapping, address: IpAddr, share: bool) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, protocol) = match port.protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol))?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // UDP sockets that share a port take packets from each other.
    if share && port.protocol != Protocol::Udp {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(address, port.host_port))?;
    if share {
        // Shared with what lingers, not with a server that comes later.
        sockopt::set_socket_reuseaddr(&socket, false)?;
    }
    Ok(socket)
}
