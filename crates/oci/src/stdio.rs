//! The caller's own streams and further descriptors, for a process of a container.

use std::os::fd::{AsFd as _, OwnedFd};

use berth_container::run::{MAX_FDS, Stdio};

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

/// The descriptors from 3 on that this program was given for that process: so many. To be called before it opens any itself.
pub(crate) fn preserved(count: u32) -> Result<Vec<OwnedFd>, OciError> {
    let wrong = |problem: String| OciError::invalid("--preserve-fds", problem);
    let count = usize::try_from(count).ok().filter(|count| *count <= MAX_FDS);
    let count = count.ok_or_else(|| wrong(format!("at most {MAX_FDS}")))?;
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut given = berth_sys::spawn::inherited(3).unwrap_or_default();
    if given.len() < count {
        return Err(wrong(format!("descriptor {} is not open", 3 + given.len())));
    }
    given.truncate(count);
    Ok(given)
}
