//! One run of the runtime, with a bound.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use berth_container::said::LastWords;
use berth_sys::cgroup::Join;
use berth_sys::process::{self, Exit};
use berth_sys::spawn::{Child, Executable, Spawn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Where runtimes look for helpers of their own.
const PATH: &CStr = c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long one that is killed may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// A program and its arguments.
#[derive(Debug)]
pub(crate) struct Command {
    arguments: Vec<CString>,
    /// Where it runs, if not where this process does.
    join: Join,
}

/// What a run has beside its arguments.
#[derive(Debug, Default)]
pub(crate) struct Given<'a> {
    /// The streams of a container. Without them what it writes is listened to.
    pub(crate) stdio: [Option<BorrowedFd<'a>>; 3],
    /// The other ends of those that nobody reads before it has ended: it is listened to there.
    pub(crate) unread: &'a [OwnedFd],
    /// It is waited for until one of these is readable.
    pub(crate) cancels: &'a [BorrowedFd<'a>],
}

/// Why it did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failed {
    /// How it ended.
    pub(crate) how: String,
    /// What it said last, where its streams are not a container's.
    pub(crate) said: Option<String>,
}

impl Command {
    pub(crate) fn new(program: &Path) -> Self {
        Self { arguments: Vec::new(), join: Join::default() }.arg(program)
    }

    /// It is born in these groups.
    #[must_use]
    pub(crate) fn within(self, join: Join) -> Self {
        Self { join, ..self }
    }

    #[must_use]
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        // Paths of ours and ids, which have none.
        let bytes: Vec<u8> = argument.as_ref().as_bytes().iter().copied().filter(|byte| *byte != 0).collect();
        self.arguments.extend(CString::new(bytes));
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, limit: Duration, given: &Given<'_>) -> Result<(), Failed> {
        let failed =
            |what: &str, e: &dyn std::fmt::Display| Failed { how: format!("{what}: {e}"), said: None };
        let (said, errors) = std::io::pipe().map_err(|e| failed("make a pipe", &e))?;
        let unread = given.unread.iter().map(OwnedFd::try_clone);
        let pipes: std::io::Result<Vec<OwnedFd>> = std::iter::once(Ok(said.into())).chain(unread).collect();
        let said = pipes.and_then(LastWords::new);
        let mut said = said.map_err(|e| failed("make a pipe", &e))?;
        // No device of the host's: crun gives its streams to the container's user, whatever they are.
        let (empty, _) = std::io::pipe().map_err(|e| failed("make a pipe", &e))?;
        let [stdin, stdout, stderr] = given.stdio;
        let words = Some(errors.as_fd());
        let stdio = [stdin.or(Some(empty.as_fd())), stdout.or(words), stderr.or(words)];
        let child = self.spawn(stdio).map_err(|e| failed("it cannot be executed", &e))?;
        drop(errors);
        let how = match wait(&child, limit, &mut said, given.cancels) {
            Waited::Ended => match process::reap(child.pidfd.as_fd()) {
                Some(Exit::Code(0)) => return Ok(()),
                Some(Exit::Code(code)) => format!("it ended with status {code}"),
                Some(Exit::Signal(signal)) => format!("signal {signal} ended it"),
                None => "how it ended is not known".to_owned(),
            },
            Waited::Late => {
                kill(&child);
                format!("it did not end within {} s and was killed", limit.as_secs())
            }
            Waited::Cancelled => {
                kill(&child);
                "it was not waited for any longer".to_owned()
            }
        };
        Err(Failed { how, said: said.last() })
    }

    /// Begins to run it.
    pub(crate) fn spawn(&self, stdio: [Option<BorrowedFd<'_>>; 3]) -> std::io::Result<Child> {
        let program = self.arguments.first().ok_or(std::io::ErrorKind::InvalidInput)?;
        let argv: Vec<&CStr> = self.arguments.iter().map(CString::as_c_str).collect();
        let tasks: Vec<BorrowedFd<'_>> = self.join.tasks.iter().map(AsFd::as_fd).collect();
        let spawn = Spawn {
            program: Executable::Path(program),
            argv: &argv,
            env: &[PATH],
            fds: &[],
            stdio,
            cgroup: self.join.v2_dir.as_ref().map(AsFd::as_fd),
            tasks: &tasks,
            new_pid_namespace: false,
        };
        spawn.spawn()
    }
}

enum Waited {
    Ended,
    Late,
    Cancelled,
}

/// Waits for the end of the program, and listens to it meanwhile.
fn wait(child: &Child, limit: Duration, said: &mut LastWords, cancels: &[BorrowedFd<'_>]) -> Waited {
    let deadline = Instant::now() + limit;
    loop {
        // Also one that never stops talking, which always is readable, is late at some time.
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Waited::Late;
        }
        let mut polled = vec![PollFd::new(&child.pidfd, PollFlags::IN)];
        polled.extend(cancels.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)));
        polled.extend(said.pipes().map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN)));
        let ready = |polled: &[PollFd<'_>]| polled.iter().any(|fd| !fd.revents().is_empty());
        match poll(&mut polled, Timespec::try_from(left).ok().as_ref()) {
            Ok(0) => return Waited::Late,
            Ok(_) if ready(&polled[..1]) => {
                said.listen();
                return Waited::Ended;
            }
            Ok(_) if ready(&polled[1..=cancels.len()]) => return Waited::Cancelled,
            Ok(_) => said.listen(),
            Err(Errno::INTR) => {}
            Err(_) => return Waited::Late,
        }
    }
}

/// Kills the program and what it started in its session's group, and reaps it.
fn kill(child: &Child) {
    if let Some(pid) = rustix::process::Pid::from_raw(child.pid) {
        // It leads its group and has not been reaped, so the number is the group's own.
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
    process::end(child.pidfd.as_fd(), KILL_LIMIT);
}

#[cfg(test)]
mod tests;
