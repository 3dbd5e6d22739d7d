//! Descriptors that tokio waits for.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor.
#[expect(
    deprecated,
    reason = "what the deprecation is about, a descriptor that changes or is closed while it is registered, \
              cannot happen to an OwnedFd that is never taken out; the replacement is for sys alone"
)]
pub(crate) fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}

/// Registers a descriptor for reading and writing.
pub(crate) fn register_both(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    register(fd, Interest::READABLE | Interest::WRITABLE)
}
