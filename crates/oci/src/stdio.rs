//! The caller's own streams, for a process of a container.

use std::os::fd::{AsFd as _, OwnedFd};

use berth_container::run::Stdio;

use crate::OciError;

/// Copies of standard input, output and error.
pub(crate) fn own() -> Result<Stdio, OciError> {
    let copy =
        |fd: std::io::Result<OwnedFd>| fd.map(Some).map_err(OciError::system("copy a standard stream"));
    Ok(Stdio::Fds {
        stdin: copy(std::io::stdin().as_fd().try_clone_to_owned())?,
        stdout: copy(std::io::stdout().as_fd().try_clone_to_owned())?,
        stderr: copy(std::io::stderr().as_fd().try_clone_to_owned())?,
    })
}
