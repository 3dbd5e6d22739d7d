//! One confined process, from the daemon's side.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::pipe::PipeFlags;

use super::{Cause, Job, Outcome, PROGRAM, Refusal, Report};

/// The size of the pipes in bytes, where the system allows it.
const PIPE: usize = 1 << 20;

/// A pipe for the bytes of a layer: its reading and its writing end.
pub(crate) fn pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let ends = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // A user's pipes may be limited; a smaller one is only slower.
    let _smaller = rustix::pipe::fcntl_setpipe_size(&ends.1, PIPE);
    Ok(ends)
}

/// A process with one job. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    socket: UnixStream,
    answer: u64,
    ended: bool,
}

impl Process {
    /// Starts it. `input` is what it reads, `root` its root directory, and `out` what it writes to.
    ///
    /// It is given nothing of the host's but these: its stderr is a pipe that no process reads, since even /dev/null
    /// would be a file whose mode and owner it could change.
    pub(crate) fn start(
        program: &Path,
        job: &Job,
        input: OwnedFd,
        root: BorrowedFd<'_>,
        out: BorrowedFd<'_>,
    ) -> std::io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let (_unread, stderr) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let child = Command::new(program)
            .arg0(PROGRAM)
            .env_clear()
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::from(stderr))
            .spawn()?;
        let this = Self { child, socket, answer: job.bounds.answer(), ended: false };
        this.send(job, root, out)?;
        Ok(this)
    }

    fn send(&self, job: &Job, root: BorrowedFd<'_>, out: BorrowedFd<'_>) -> std::io::Result<()> {
        let bytes = postcard::to_allocvec(job).map_err(std::io::Error::other)?;
        let fds = [root, out];
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

    /// Waits for the answer and the end. Its input must be closed, or the process waits as well.
    pub(crate) fn wait(mut self) -> Result<Report, Refusal> {
        let mut bytes = Vec::new();
        // A process that was killed resets the connection: how it ended says more than this error.
        let _reset = Read::by_ref(&mut self.socket).take(self.answer + 1).read_to_end(&mut bytes);
        if bytes.len() as u64 > self.answer {
            let reason = format!("the unpacker's answer is over {} bytes", self.answer);
            return Err(Refusal { reason, cause: Cause::Limit });
        }
        let status = self.child.wait();
        self.ended = true;
        match postcard::from_bytes(&bytes) {
            Ok(Outcome::Done(report)) => Ok(report),
            Ok(Outcome::Refused(refusal)) => Err(refusal),
            Err(_) => Err(Refusal { reason: no_answer(status), cause: Cause::System }),
        }
    }
}

fn no_answer(status: std::io::Result<ExitStatus>) -> String {
    match status.map(|s| (s.signal(), s.code())) {
        Ok((Some(signal), _)) => format!("the unpacker was killed by signal {signal}"),
        Ok((None, code)) => {
            format!("the unpacker gave no answer, exit status {}", code.unwrap_or(-1))
        }
        Err(e) => format!("the unpacker gave no answer: {e}"),
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended {
            // Both fail only when it has ended.
            let _gone = self.child.kill();
            let _gone = self.child.wait();
        }
    }
}
