//! Runs a shim's program for one action, with bounds on its time and on what it prints.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use berth_sys::process::{Exit, end, reap};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::answer::MAX_ANSWER;

/// The last bytes of its stderr that are kept for messages.
const WORDS: usize = 4 << 10;
/// How long a killed program may take to be gone.
const KILLED: Duration = Duration::from_secs(5);
/// Where programs are looked for if the caller has no search path itself.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program to run.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) program: &'a Path,
    pub(crate) args: Vec<OsString>,
    /// Its environment, beside the search path.
    pub(crate) env: Vec<(&'static str, OsString)>,
    /// Its working directory.
    pub(crate) dir: &'a Path,
    pub(crate) input: &'a [u8],
    pub(crate) limit: Duration,
    /// Once one of these is readable, it is ended.
    pub(crate) cancels: &'a [BorrowedFd<'a>],
}

/// Why a program did not do its work; the last words are in each, as far as it had any.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It could not be started.
    #[error("start {program}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It did not end in time and was killed.
    #[error("{program} {action} did not end within {limit:?}{words}")]
    Slow {
        /// The program.
        program: PathBuf,
        /// What it was to do.
        action: &'static str,
        /// The time it had.
        limit: Duration,
        /// What it said last.
        words: Words,
    },
    /// Nobody needs it any more; it was killed.
    #[error("{program} {action} was given up by its caller")]
    Cancelled {
        /// The program.
        program: PathBuf,
        /// What it was to do.
        action: &'static str,
    },
    /// It printed more than any answer has, and was killed.
    #[error("{program} {action} printed over {MAX_ANSWER} bytes{words}")]
    TooMuch {
        /// The program.
        program: PathBuf,
        /// What it was to do.
        action: &'static str,
        /// What it said last.
        words: Words,
    },
    /// It failed.
    #[error("{program} {action} {status}{words}", status = Ended(*exit))]
    Failed {
        /// The program.
        program: PathBuf,
        /// What it was to do.
        action: &'static str,
        /// How it ended.
        exit: Exit,
        /// What it said last.
        words: Words,
    },
}

/// What a program said last: in a message `: "..."`, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words(pub String);

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {:?}", self.0) }
    }
}

struct Ended(Exit);

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Exit::Code(code) => write!(f, "failed with status {code}"),
            Exit::Signal(signal) => write!(f, "was killed by signal {signal}"),
        }
    }
}

/// What came out of a program that did its work.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) words: Words,
}

/// How the watch over a program ended.
enum Watched {
    Ended(Option<Exit>),
    Late,
    Cancelled,
    TooMuch,
}

impl Run<'_> {
    /// Runs it to its end. What it started in the background may still hold its stdout: nobody waits for that.
    ///
    /// # Errors
    /// See [`ProgramError`]; it has ended then. One that did not end in time has lost its process group too.
    pub(crate) fn run(self, action: &'static str) -> Result<Output, ProgramError> {
        let program = || self.program.to_path_buf();
        let spawned = |source| ProgramError::Spawn { program: program(), source };
        let mut child = self.command().spawn().map_err(spawned)?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| spawned(io::ErrorKind::InvalidData.into()))?;
        // Nothing else reaps it, so the number is its own.
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                drop(child.kill());
                drop(child.wait());
                return Err(spawned(error.into()));
            }
        };
        let mut pipes = Pipes {
            input: child.stdin.take().map(OwnedFd::from),
            out: child.stdout.take().map(OwnedFd::from),
            err: child.stderr.take().map(OwnedFd::from),
            stdout: Vec::new(),
            stderr: Vec::new(),
        };
        let watched = pipes.watch(&self, pidfd.as_fd()).map_err(spawned);
        if !matches!(watched, Ok(Watched::Ended(_))) {
            // It is not reaped yet, so its group's number is its own too.
            let _ = kill_process_group(pid, Signal::KILL);
            end(pidfd.as_fd(), KILLED);
            pipes.drain();
        }
        let words = words(&pipes.stderr);
        match watched? {
            // None: somebody reaped it who should not; what it printed decides.
            Watched::Ended(Some(Exit::Code(0)) | None) => Ok(Output { stdout: pipes.stdout, words }),
            Watched::Ended(Some(exit)) => {
                Err(ProgramError::Failed { program: program(), action, exit, words })
            }
            Watched::Late => Err(ProgramError::Slow { program: program(), action, limit: self.limit, words }),
            Watched::Cancelled => Err(ProgramError::Cancelled { program: program(), action }),
            Watched::TooMuch => Err(ProgramError::TooMuch { program: program(), action, words }),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.args(&self.args).current_dir(self.dir).process_group(0);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_else(|| PATH.into()));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

struct Pipes {
    input: Option<OwnedFd>,
    out: Option<OwnedFd>,
    err: Option<OwnedFd>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Pipes {
    /// Feeds it and listens to it until it ends.
    fn watch(&mut self, run: &Run<'_>, pidfd: BorrowedFd<'_>) -> io::Result<Watched> {
        for pipe in [&self.input, &self.out, &self.err].into_iter().flatten() {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        let deadline = Instant::now() + run.limit;
        let mut input = run.input;
        loop {
            self.feed(&mut input);
            self.drain();
            if self.stdout.len() > MAX_ANSWER {
                return Ok(Watched::TooMuch);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Watched::Late);
            }
            let first = std::iter::once(&pidfd).chain(run.cancels);
            let mut fds: Vec<_> = first.map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
            fds.extend(self.input.iter().map(|fd| PollFd::new(fd, PollFlags::OUT)));
            let outputs = [&self.out, &self.err];
            fds.extend(outputs.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::IN)));
            match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if fds.first().is_some_and(|fd| !fd.revents().is_empty()) {
                // It can print no more: what is in the pipes is all.
                self.drain();
                let fits = self.stdout.len() <= MAX_ANSWER;
                return Ok(if fits { Watched::Ended(reap(pidfd)) } else { Watched::TooMuch });
            }
            if fds.iter().skip(1).take(run.cancels.len()).any(|fd| !fd.revents().is_empty()) {
                return Ok(Watched::Cancelled);
            }
        }
    }

    fn feed(&mut self, input: &mut &[u8]) {
        while let Some(pipe) = &self.input {
            match rustix::io::write(pipe, input) {
                Ok(count) if count < input.len() => *input = input.get(count..).unwrap_or_default(),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                // All is written, or it does not want it.
                Ok(_) | Err(_) => self.input = None,
            }
        }
    }

    /// Takes what there is, up to a little over what an answer may have.
    fn drain(&mut self) {
        drain(&mut self.out, &mut self.stdout, |all| all.len() > MAX_ANSWER);
        drain(&mut self.err, &mut self.stderr, |all| {
            let over = all.len().saturating_sub(WORDS);
            all.drain(..over);
            false
        });
    }
}

/// Appends what is in a pipe to `all`, until `stop` says so.
fn drain(pipe: &mut Option<OwnedFd>, all: &mut Vec<u8>, mut stop: impl FnMut(&mut Vec<u8>) -> bool) {
    let mut buffer = [0; 8 << 10];
    // A program that prints without end must not keep us here.
    for _ in 0..64 {
        let Some(fd) = pipe else { return };
        match rustix::io::read(fd.as_fd(), &mut buffer) {
            Ok(0) => *pipe = None,
            Ok(count) => {
                all.extend(buffer.iter().take(count));
                if stop(all) {
                    return;
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return,
            Err(_) => *pipe = None,
        }
    }
}

/// Text for a message out of what was printed.
pub(crate) fn words(printed: &[u8]) -> Words {
    Words(String::from_utf8_lossy(printed).trim().to_owned())
}
