//! The daemon's side of the unpacking process.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::{Cause, Job, Outcome, PROGRAM, Refusal};

/// The most bytes of an answer: millions of implied directories.
const MAX_ANSWER: u64 = 512 << 20;
/// The pipe's size in bytes, where the system allows it.
const PIPE: usize = 1 << 20;

/// A process that unpacks one layer. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Unpacker {
    child: Child,
    socket: UnixStream,
    ended: bool,
}

impl Unpacker {
    /// Starts it; the blob's bytes go into the returned pipe.
    pub(crate) fn start(
        program: &Path,
        job: &Job,
        dir: BorrowedFd<'_>,
        recipe: BorrowedFd<'_>,
    ) -> std::io::Result<(Self, OwnedFd)> {
        let (socket, theirs) = UnixStream::pair()?;
        let (input, output) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        // A user's pipes may be limited; a smaller one is only slower.
        let _smaller = rustix::pipe::fcntl_setpipe_size(&output, PIPE);
        let child = Command::new(program)
            .arg0(PROGRAM)
            .env_clear()
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::null())
            .spawn()?;
        let this = Self { child, socket, ended: false };
        this.send(job, dir, recipe)?;
        Ok((this, output))
    }

    fn send(&self, job: &Job, dir: BorrowedFd<'_>, recipe: BorrowedFd<'_>) -> std::io::Result<()> {
        let bytes = postcard::to_allocvec(job).map_err(std::io::Error::other)?;
        let fds = [dir, recipe];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let flags = SendFlags::NOSIGNAL;
        rustix::net::sendmsg(self.socket.as_fd(), &[IoSlice::new(&bytes)], &mut control, flags)?;
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits for the answer and the end. The pipe must be closed, or the process waits as well.
    pub(crate) fn wait(mut self) -> Result<super::Report, Refusal> {
        let mut bytes = Vec::new();
        // A process that was killed resets the connection: how it ended says more than this error.
        let _reset = Read::by_ref(&mut self.socket).take(MAX_ANSWER).read_to_end(&mut bytes);
        let status = self.child.wait();
        self.ended = true;
        let system = |reason: String| Refusal { reason, cause: Cause::System };
        match postcard::from_bytes(&bytes) {
            Ok(Outcome::Done(report)) => Ok(report),
            Ok(Outcome::Refused(refusal)) => Err(refusal),
            Err(_) => Err(system(match status.map(|s| (s.signal(), s.code())) {
                Ok((Some(signal), _)) => format!("the unpacker was killed by signal {signal}"),
                Ok((None, code)) => {
                    format!("the unpacker gave no answer, exit status {}", code.unwrap_or(-1))
                }
                Err(e) => format!("the unpacker gave no answer: {e}"),
            })),
        }
    }
}

impl Drop for Unpacker {
    fn drop(&mut self) {
        if !self.ended {
            // Both fail only when it has ended.
            let _gone = self.child.kill();
            let _gone = self.child.wait();
        }
    }
}
