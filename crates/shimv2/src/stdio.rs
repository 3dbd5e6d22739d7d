//! The FIFOs of a process: the shim's side by their paths, ours opened before the shim knows of them.
//!
//! Our ends of the outputs are opened before anybody writes, which poll(2) tells from an end: it reports a hang-up only once a writer has
//! come and gone. Our end of the input is opened for reading too, as else there would have to be a reader already;
//! [`Stdio::settle`] gives that up once the shim has opened its end, so that writing fails when the process has closed its input. The shim
//! may do that later than it answers, so its open is watched for: without a reader a write would fail, and what was written
//! before a close would be lost.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, inotify, mknodat, open};

/// Which streams a process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    /// Whether it has an input.
    pub stdin: bool,
    /// Whether its other streams are one terminal; then there is no stderr.
    pub terminal: bool,
}

/// The FIFOs of a process.
#[derive(Debug)]
pub struct Stdio {
    /// The paths, as the shim is told them.
    pub paths: Paths,
    /// Where its input is written to. To close it, drop it.
    pub stdin: Option<OwnedFd>,
    /// Where its output is read from.
    pub stdout: OwnedFd,
    /// Where its error output is read from.
    pub stderr: Option<OwnedFd>,
    /// Tells when the input's FIFO is opened.
    opened: Option<OwnedFd>,
}

/// The paths of the FIFOs; empty for a stream that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Of the input.
    pub stdin: String,
    /// Of the output.
    pub stdout: String,
    /// Of the error output.
    pub stderr: String,
}

impl Stdio {
    /// Makes the FIFOs in a directory, which is the caller's to make (for root alone) and to remove: one for each process.
    ///
    /// # Errors
    /// A FIFO cannot be made or opened; what was made is left to who removes the directory.
    pub fn make(dir: &Path, streams: Streams) -> io::Result<Self> {
        let stdin = match streams.stdin {
            // For reading too: see above.
            true => Some(fifo(dir, "stdin", OFlags::RDWR)?),
            false => None,
        };
        let stdout = fifo(dir, "stdout", OFlags::RDONLY)?;
        let stderr = match streams.terminal {
            true => None,
            false => Some(fifo(dir, "stderr", OFlags::RDONLY)?),
        };
        let text = |fifo: Option<PathBuf>| match fifo.map(PathBuf::into_os_string) {
            None => Ok(String::new()),
            // The protocol has only text for a path.
            Some(path) => path.into_string().map_err(|_| io::Error::other("the path is no UTF-8")),
        };
        let (stdin_path, stdin) = stdin.unzip();
        let (stderr_path, stderr) = stderr.unzip();
        // The system has few of these for a user. Without one the input stays open for reading too, and that of a process which has closed its
        // input fills the FIFO instead of failing.
        let opened = stdin_path.as_deref().and_then(|path| watch_opens(path).ok());
        let paths =
            Paths { stdin: text(stdin_path)?, stdout: text(Some(stdout.0))?, stderr: text(stderr_path)? };
        Ok(Self { paths, stdin, stdout: stdout.1, stderr, opened })
    }

    /// Waits until the shim has opened the input, if there is one. To be called when it has answered the request that named the FIFOs (a
    /// container's Create, an exec session's Start): then that takes no time.
    ///
    /// # Errors
    /// It has not opened it within `limit`, and everything is as before; or it cannot be opened again.
    pub fn settle(&mut self, limit: Duration) -> io::Result<()> {
        let Some(opened) = &self.opened else { return Ok(()) };
        let mut fds = [PollFd::new(opened, PollFlags::IN)];
        if poll(&mut fds, Timespec::try_from(limit).ok().as_ref())? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stdin = Some(end_of(Path::new(&self.paths.stdin), OFlags::WRONLY)?);
        self.opened = None;
        Ok(())
    }
}

/// What becomes readable when a file is opened the next time.
fn watch_opens(path: &Path) -> rustix::io::Result<OwnedFd> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&watch, path, inotify::WatchFlags::OPEN)?;
    Ok(watch)
}

fn fifo(dir: &Path, name: &str, flags: OFlags) -> io::Result<(PathBuf, OwnedFd)> {
    let path = dir.join(name);
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    let end = end_of(&path, flags)?;
    Ok((path, end))
}

fn end_of(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let always = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(open(path, flags | always, Mode::empty())?)
}
