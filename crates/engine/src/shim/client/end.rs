//! What the end of a connection says of the shim, and what an attempt to connect again finds.

use std::io;

use berth_sys::socket::FrameError;
use rustix::io::Errno;

use super::Connection;

/// Why a connection ended. None of it says that the shim's process is dead: see [`reached`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    /// The shim closed it: it ended, or a daemon that did not read was dropped.
    #[error("the shim closed the connection")]
    Closed,
    /// What came is not a frame, descriptors were lost for lack of space, or the socket failed.
    #[error("the connection to the shim broke: {0}")]
    Broken(String),
    /// There is no [`Shim`](super::Shim) of it any more.
    #[error("the connection to the shim was closed by the daemon")]
    Unused,
}

impl From<FrameError> for Lost {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Socket(e)
                if [Errno::PIPE, Errno::CONNRESET].iter().any(|errno| raw(*errno) == e.raw_os_error()) =>
            {
                Self::Closed
            }
            FrameError::Socket(_)
            | FrameError::Limits
            | FrameError::Descriptors
            | FrameError::Lost
            | FrameError::Truncated
            | FrameError::Full(_)
            | FrameError::Timeout => Self::Broken(berth_types::error::chain(&error)),
        }
    }
}

/// What an attempt to connect says of a shim.
#[derive(Debug)]
pub(crate) enum Reached {
    /// It lives; the connection is to be greeted.
    Alive(Connection),
    /// It lives and has not accepted the earlier connections. Try again later.
    Busy,
    /// It is dead: no process holds the listening socket, and the shim holds it for its whole life.
    Dead,
    /// Its socket is missing: whether it lives shows in the shims' cgroup.
    Missing,
    /// This daemon could not even try (descriptors or memory, most likely): nothing is known of the shim. Try again later.
    Unknown(io::Error),
}

/// Interprets an attempt to connect to a shim's socket (unix(7), connect(2)).
pub(crate) fn reached(attempt: io::Result<Connection>) -> Reached {
    match attempt {
        Ok(connection) => Reached::Alive(connection),
        Err(e) if e.raw_os_error() == raw(Errno::AGAIN) => Reached::Busy,
        Err(e) if e.raw_os_error() == raw(Errno::CONNREFUSED) => Reached::Dead,
        Err(e) if e.raw_os_error() == raw(Errno::NOENT) => Reached::Missing,
        Err(e) => Reached::Unknown(e),
    }
}

fn raw(errno: Errno) -> Option<i32> {
    Some(errno.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::super::super::spawn::connect;
    use super::*;

    #[test]
    fn only_a_refused_connection_is_a_death() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shim.sock");
        assert!(matches!(reached(connect(&path)), Reached::Missing));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(reached(connect(&path)), Reached::Alive(_)));
        // It lives and does not accept: its backlog fills.
        let mut waiting = Vec::new();
        loop {
            match reached(connect(&path)) {
                Reached::Alive(connection) => waiting.push(connection),
                Reached::Busy => break,
                other => panic!("{other:?}"),
            }
            assert!(waiting.len() < 100_000, "the backlog has an end");
        }
        drop(listener);
        assert!(matches!(reached(connect(&path)), Reached::Dead));
        let exhausted = io::Error::from(Errno::MFILE);
        assert!(matches!(reached(Err(exhausted)), Reached::Unknown(_)));
    }

    #[test]
    fn a_reset_is_the_shims_closing_and_a_lost_descriptor_is_not() {
        assert_eq!(Lost::from(FrameError::from(Errno::PIPE)), Lost::Closed);
        assert!(matches!(Lost::from(FrameError::Lost), Lost::Broken(why) if why.contains("open files")));
    }
}
