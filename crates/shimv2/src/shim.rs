//! A connected shim: its methods by the types of their requests.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use prost::Message;
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::answer::{Address, Started};
use crate::client::{Call, Client};
use crate::error::{CallError, Lost};
use crate::message::rpc::Request;
use crate::message::{Method, Version};

/// How long to look again where a socket's queue is full: it cannot be waited for.
const AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// A connected shim. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Shim {
    client: Client,
    version: Version,
}

/// Why a shim cannot be connected to.
#[derive(Debug, thiserror::Error)]
#[error("connect to the shim at {address}")]
pub struct ConnectError {
    /// Where it should listen.
    pub address: String,
    /// Why.
    pub source: io::Error,
}

impl Shim {
    /// Connects to a shim that runs. A shim has any number of connections.
    ///
    /// # Errors
    /// It is gone, or takes no connection within `limit`.
    pub fn connect(started: &Started, limit: Duration) -> Result<Self, ConnectError> {
        let client = connect(&started.address, limit).and_then(Client::over);
        let failed = |source| ConnectError { address: started.address.to_string(), source };
        Ok(Self { client: client.map_err(failed)?, version: started.version })
    }

    /// Calls a method and waits for the answer; without `limit` for ever, as long as the connection lasts.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call<M: Method>(&self, request: &M, limit: Option<Duration>) -> Result<M::Answer, CallError> {
        decode::<M>(self.client.call(self.wrap(request), limit))
    }

    /// Calls a method and gives the outcome to `then`; see [`Client::begin`].
    pub fn begin<M: Method>(
        &self,
        request: &M,
        limit: Option<Duration>,
        then: impl FnOnce(Result<M::Answer, CallError>) + Send + 'static,
    ) -> Call {
        self.client.begin(self.wrap(request), limit, |outcome| then(decode::<M>(outcome)))
    }

    /// The version of its Task service.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether it is the same connection.
    pub fn is_same(&self, other: &Self) -> bool {
        self.client.is_same(&other.client)
    }

    /// Why the connection is gone, if it is.
    pub fn lost(&self) -> Option<Lost> {
        self.client.lost()
    }

    /// Ends the connection: every call that waits fails. The shim goes on.
    pub fn end(&self) {
        self.client.end();
    }

    fn wrap<M: Method>(&self, request: &M) -> Request {
        Request {
            service: M::SERVICE.name(self.version).to_owned(),
            method: M::NAME.to_owned(),
            payload: request.encode_to_vec(),
            ..Request::default()
        }
    }
}

fn decode<M: Method>(outcome: Result<Vec<u8>, CallError>) -> Result<M::Answer, CallError> {
    let payload = outcome?;
    M::Answer::decode(payload.as_slice())
        .map_err(|source| CallError::Answer { method: M::NAME.to_owned(), source })
}

/// A socket that is connected to this address. Only a queue that is full is waited for.
pub(crate) fn connect(address: &Address, limit: Duration) -> io::Result<OwnedFd> {
    let name = match address {
        Address::Path(path) => SocketAddrUnix::new(path)?,
        Address::Abstract(name) => SocketAddrUnix::new_abstract_name(name)?,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let deadline = Instant::now() + limit;
    loop {
        match rustix::net::connect(&socket, &name) {
            Ok(()) => return Ok(socket),
            Err(Errno::AGAIN) if Instant::now() < deadline => {
                let _ = rustix::event::poll(&mut [], Some(&AGAIN));
            }
            Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
