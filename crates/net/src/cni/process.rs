//! Running a plugin: one process with a time limit, of which nothing is left when the call is over.
//!
//! ```text
//! start   group of its own, empty environment but for the call's, no descriptor but three pipes
//! feed    configuration to its stdin, at most MAX_OUTPUT of its stdout and the end of its stderr are kept
//! end     it ends, or its time does; then what is left of its group is killed, and only then its number given up
//! ```
//! A plugin that wants to leave a process running has to give it a session or group of its own.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

/// The most that is read of an answer.
pub(super) const MAX_OUTPUT: usize = 1 << 20;
/// What is kept of a plugin's standard error: its end.
const MAX_STDERR: usize = 4096;
/// The time for a program that is being written, by an installer say, to become executable.
const BUSY_LIMIT: Duration = Duration::from_secs(2);
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// The time for a killed process to end. One that the kernel does not end is left to a thread.
const KILL_LIMIT: Duration = Duration::from_secs(1);

/// How a plugin ended.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    /// The end of it.
    pub(super) stderr: Vec<u8>,
}

/// Why there is no outcome.
#[derive(Debug)]
pub(super) enum Failure {
    Run(io::Error),
    TimedOut,
    TooMuch,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Run(error)
    }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Self::Run(error.into())
    }
}

/// Runs `program` in the calling thread's network namespace until it ends or `deadline` has passed.
pub(super) fn run(
    program: &Path,
    environment: &[(&str, String)],
    input: &[u8],
    deadline: Instant,
) -> Result<Output, Failure> {
    let mut group = Group::start(program, environment, deadline)?;
    let mut streams = Streams {
        stdin: group.child.stdin.take().map(OwnedFd::from).map(nonblocking).transpose()?,
        stdout: group.child.stdout.take().map(OwnedFd::from).map(nonblocking).transpose()?,
        stderr: group.child.stderr.take().map(OwnedFd::from).map(nonblocking).transpose()?,
        input,
        said: Vec::new(),
        errors: Vec::new(),
    };
    while !streams.wait(&group.pidfd, deadline)? {
        streams.exchange()?;
    }
    // What it wrote before its end is there; a child of it that holds the pipe is not waited for.
    streams.exchange()?;
    let status = group.end()?;
    Ok(Output { status, stdout: streams.said, stderr: streams.errors })
}

/// A plugin and what it started. Killed when dropped.
struct Group {
    child: Child,
    pidfd: OwnedFd,
    pid: Pid,
    reaped: bool,
}

impl Group {
    fn start(program: &Path, environment: &[(&str, String)], deadline: Instant) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(environment.iter().map(|(key, value)| (key, value)))
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let patience = deadline.min(Instant::now() + BUSY_LIMIT);
        let child = loop {
            match command.spawn() {
                Err(error)
                    if error.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < patience =>
                {
                    std::thread::sleep(BUSY_PAUSE);
                }
                result => break result?,
            }
        };
        let pid = Pid::from_child(&child);
        // It is this process' child and not reaped, so the number is its own.
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self { child, pidfd, pid, reaped: false }),
            Err(error) => {
                let mut child = child;
                child.kill()?;
                child.wait()?;
                Err(error.into())
            }
        }
    }

    /// Kills what is left of the group and takes the status of its first process.
    fn end(mut self) -> Result<ExitStatus, Failure> {
        self.kill();
        self.reaped = true;
        Ok(self.child.wait()?)
    }

    /// The first process is not reaped yet, so that no other group can have its number.
    fn kill(&self) {
        // A group without a process needs no signal.
        rustix::process::kill_process_group(self.pid, Signal::KILL).ok();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        self.kill();
        let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let limit = Timespec::try_from(KILL_LIMIT).expect("a second");
        if matches!(poll(&mut ended, Some(&limit)), Ok(1)) {
            drop(self.child.wait());
            return;
        }
        let pidfd = self.pidfd.try_clone();
        let pid = self.pid;
        tracing::warn!(pid = pid.as_raw_nonzero(), "a plugin was killed and does not end");
        let reap = move || {
            if let Ok(pidfd) = pidfd {
                let id = rustix::process::WaitId::PidFd(pidfd.as_fd());
                rustix::process::waitid(id, rustix::process::WaitIdOptions::EXITED).ok();
            }
        };
        // Without a thread it stays a zombie until the daemon ends.
        drop(std::thread::Builder::new().name("reap-plugin".to_owned()).stack_size(64 << 10).spawn(reap));
    }
}

/// What is exchanged with a plugin. An end that is closed is `None`.
struct Streams<'a> {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    /// What it has not read yet.
    input: &'a [u8],
    said: Vec<u8>,
    errors: Vec<u8>,
}

impl Streams<'_> {
    /// Waits until there is something to exchange, or the process has ended, which it tells.
    fn wait(&self, pidfd: &OwnedFd, deadline: Instant) -> Result<bool, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::TimedOut);
        }
        let mut fds = vec![PollFd::new(pidfd, PollFlags::IN)];
        fds.extend(self.stdin.iter().map(|fd| PollFd::new(fd, PollFlags::OUT)));
        fds.extend(self.stdout.iter().chain(&self.stderr).map(|fd| PollFd::new(fd, PollFlags::IN)));
        let limit = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => Ok(!fds[0].revents().is_empty()),
            Err(error) => Err(error.into()),
        }
    }

    /// Exchanges what can be without waiting.
    fn exchange(&mut self) -> Result<(), Failure> {
        self.feed();
        let mut too_much = false;
        let said = &mut self.said;
        read_available(&mut self.stdout, |bytes| {
            too_much = said.len() + bytes.len() > MAX_OUTPUT;
            if !too_much {
                said.extend_from_slice(bytes);
            }
            !too_much
        })?;
        if too_much {
            return Err(Failure::TooMuch);
        }
        let errors = &mut self.errors;
        let mut taken = 0;
        read_available(&mut self.stderr, |bytes| {
            errors.extend_from_slice(bytes);
            errors.drain(..errors.len().saturating_sub(MAX_STDERR));
            taken += bytes.len();
            // One that never stops is left for the next round, which looks at the time.
            taken < MAX_OUTPUT
        })
    }

    /// A plugin need not read its configuration.
    fn feed(&mut self) {
        while let Some(stdin) = &self.stdin {
            match rustix::io::write(stdin, self.input) {
                Ok(written) => self.input = self.input.get(written..).unwrap_or_default(),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return,
                Err(_) => self.input = &[],
            }
            if self.input.is_empty() {
                self.stdin = None;
            }
        }
    }
}

/// Reads until there is nothing for now or `take` has enough.
fn read_available(stream: &mut Option<OwnedFd>, mut take: impl FnMut(&[u8]) -> bool) -> Result<(), Failure> {
    let mut buffer = [0; 16 << 10];
    while let Some(fd) = stream.as_ref() {
        match rustix::io::read(fd, &mut buffer) {
            Ok(0) => *stream = None,
            Ok(n) if take(&buffer[..n]) => {}
            Ok(_) | Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn nonblocking(fd: OwnedFd) -> Result<OwnedFd, Failure> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(fd)
}

#[cfg(test)]
mod tests;
