//! Runs hooks: programs that a specification has run at points of a container's life, with its state on standard input.
//!
//! ```text
//! create   prestart, createRuntime       here           mounts are made, the host's are still there
//!          createContainer               beside         in its namespaces, by a further process of this program
//! start    startContainer                inside         in the container, as its process would run
//!          poststart                     here           after its execve
//! delete   poststop                      here           when everything of it is gone
//! ```
//!
//! Hooks begin with no signal blocked or ignored and, those of the host, in the bundle. Hooks in the container are told the number that
//! its process has there. Each leads a process group, which is killed when its time is over. It need not read its input, which is a
//! file; what it says is listened to until it ends, also where what it has started goes on and holds its streams.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io::{PipeWriter, Seek as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use berth_sys::process::{self, Exit};
use berth_sys::{namespace, signal, user};
use berth_types::hook::{At, Hook};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Serialize;

use crate::plan::ProcessPlan;
use crate::run::{self, Extra, Join};
use crate::said::LastWords;

#[cfg(feature = "plan")]
mod spec;
#[cfg(feature = "plan")]
pub use spec::{of_spec, take};

/// The name by which a program of Berth is called to be the process between a runtime and a hook in a container's namespaces: [`main`].
pub const NAME: &CStr = c"berth-hook";

/// How long the end of a hook is waited for that was killed.
const KILL_LIMIT: Duration = Duration::from_secs(2);
/// A hook without a limit is waited for so long at once.
const LOOK: Duration = Duration::from_secs(3600);

/// What hooks are told, as the runtime specification has it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State<'a> {
    /// The version of the specification.
    pub oci_version: &'a str,
    /// The container's name.
    pub id: &'a str,
    /// `creating`, `created`, `running` or `stopped`.
    pub status: &'a str,
    /// Its process; 0 when it has none.
    pub pid: i32,
    /// The directory of its bundle.
    pub bundle: &'a str,
    /// Its annotations.
    pub annotations: std::collections::BTreeMap<&'a str, &'a str>,
}

/// What every hook of a time is run with.
#[derive(Debug, Clone, Copy)]
pub struct Course<'a> {
    /// The state of the container, as JSON.
    pub state: &'a [u8],
    /// Where hooks that run here begin, if it is there.
    pub bundle: &'a Path,
    /// The time of a hook that names none; None is as long as it takes.
    pub default: Option<Duration>,
    /// When the time of all of them is over.
    pub until: Option<Instant>,
    /// What ends the wait.
    pub interrupt: Option<Interrupt<'a>>,
}

/// What ends the wait for a hook, which is killed then.
#[derive(Clone, Copy)]
pub struct Interrupt<'a> {
    /// Readable when there is something to be looked at.
    pub fd: BorrowedFd<'a>,
    /// What has happened, if it ends the wait: `signal 15`.
    pub what: &'a dyn Fn() -> std::io::Result<Option<String>>,
}

impl std::fmt::Debug for Interrupt<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interrupt").field("fd", &self.fd).finish_non_exhaustive()
    }
}

/// Where hooks run.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// In the namespaces of the caller.
    Here,
    /// In those of a process, which has a user namespace of its own or not. The hook's path is that of the host.
    Beside {
        /// Its number.
        pid: i32,
        /// Whether it has.
        user: bool,
    },
    /// In the container of a process, as that will run.
    Inside {
        /// What is to run there.
        process: &'a ProcessPlan,
        /// The process.
        target: BorrowedFd<'a>,
        /// Its cgroup.
        join: &'a Join,
    },
}

/// A hook that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("hook {at} {path}: {problem}")]
pub struct HookError {
    /// When it was run.
    pub at: At,
    /// The program.
    pub path: String,
    /// How it failed, with its last words.
    pub problem: String,
}

/// Runs hooks one after the other. The first failure ends it.
///
/// # Errors
/// The hook that failed.
pub fn run(at: At, hooks: &[Hook], place: Place<'_>, course: &Course<'_>) -> Result<(), HookError> {
    hooks.iter().try_for_each(|hook| one(at, hook, place, course))
}

/// Runs all of them, also when one fails.
pub fn run_all(at: At, hooks: &[Hook], place: Place<'_>, course: &Course<'_>) -> Vec<HookError> {
    hooks.iter().filter_map(|hook| one(at, hook, place, course).err()).collect()
}

fn one(at: At, hook: &Hook, place: Place<'_>, course: &Course<'_>) -> Result<(), HookError> {
    let failed = |problem: String| HookError { at, path: hook.path.clone(), problem };
    if course.until.is_some_and(|until| until <= Instant::now()) {
        return Err(failed("it was not run: those before it took all the time that hooks have".to_owned()));
    }
    let system = |what: &str, e: std::io::Error| failed(format!("{what}: {e}"));
    let input = input(course.state).map_err(|e| system("make its input", e))?;
    let (words, said) = std::io::pipe().map_err(|e| system("make a pipe", e))?;
    let mut words = LastWords::new(vec![words.into()]).map_err(|e| system("make a pipe", e))?;
    let limit = limit(hook, course);
    let (pid, pidfd) = match place {
        Place::Here => spawn(here(hook), hook, input, said, course.bundle),
        Place::Beside { pid, user } => spawn(beside(hook, pid, user), hook, input, said, course.bundle),
        Place::Inside { process, target, join } => inside(hook, input, said, (process, target, join)),
    }
    .map_err(&failed)?;
    let ended = wait(pidfd.as_fd(), limit, course.interrupt, &mut words);
    let how = match ended {
        Ok(Ended::ByItself) => match process::reap(pidfd.as_fd()) {
            Some(Exit::Code(0)) => return Ok(()),
            Some(Exit::Code(code)) => format!("exit status {code}"),
            Some(Exit::Signal(signal)) => format!("ended by signal {signal}"),
            None => "its end is not known".to_owned(),
        },
        other => {
            if let Some(pid) = Pid::from_raw(pid) {
                // With what it has started, which might go on with its work. Not reaped, so the number is its own.
                let _gone = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
            }
            // Bounded: what waits for a disk cannot be killed.
            process::end(pidfd.as_fd(), KILL_LIMIT);
            match other {
                Ok(Ended::Interrupted(what)) => format!("interrupted by {what}, it was killed"),
                Ok(Ended::ByItself | Ended::TimedOut) => {
                    let seconds = limit.unwrap_or_default().as_secs_f32().ceil();
                    format!("it did not end within {seconds} seconds and was killed")
                }
                Err(e) => format!("it cannot be waited for: {e}"),
            }
        }
    };
    Err(failed(match words.last() {
        Some(said) => format!("{how}: {said}"),
        None => how,
    }))
}

/// The time that a hook has.
fn limit(hook: &Hook, course: &Course<'_>) -> Option<Duration> {
    let own = hook.timeout_s.map(|seconds| Duration::from_secs(seconds.into())).or(course.default);
    let left = course.until.map(|until| until.saturating_duration_since(Instant::now()));
    own.into_iter().chain(left).min()
}

fn here(hook: &Hook) -> Command {
    let mut command = Command::new(&hook.path);
    command.args(hook.args.iter().skip(1));
    if let Some(first) = hook.args.first() {
        command.arg0(first);
    }
    command
}

fn beside(hook: &Hook, pid: i32, user: bool) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(OsStr::from_bytes(NAME.to_bytes())).args([pid.to_string(), user.to_string()]);
    command.arg(&hook.path).args(&hook.args);
    command
}

/// Begins a program that runs here, in a process group of its own.
fn spawn(
    mut command: Command,
    hook: &Hook,
    input: File,
    said: PipeWriter,
    bundle: &Path,
) -> Result<(i32, OwnedFd), String> {
    if let Some(env) = &hook.env {
        let pairs = env.iter().filter_map(|e| e.split_once('=')).filter(|(name, _)| !name.is_empty());
        command.env_clear().envs(pairs);
    }
    let errors = said.try_clone().map_err(|e| format!("copy a pipe: {e}"))?;
    command.stdin(input).stdout(said).stderr(errors).process_group(0);
    // One that was removed since is no reason not to run the hook.
    if bundle.is_dir() {
        command.current_dir(bundle);
    }
    signal::unblocked(&mut command);
    let child = command.spawn().map_err(|e| e.to_string())?;
    let pid = child.id().cast_signed();
    // Not reaped, so the number is its own.
    let pidfd = Pid::from_raw(pid).ok_or(Errno::INVAL).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
    Ok((pid, pidfd.map_err(|e| format!("open its process: {e}"))?))
}

/// Begins a program in a container.
fn inside(
    hook: &Hook,
    input: File,
    said: PipeWriter,
    (process, target, join): (&ProcessPlan, BorrowedFd<'_>, &Join),
) -> Result<(i32, OwnedFd), String> {
    let errors = said.try_clone().map_err(|e| format!("copy a pipe: {e}"))?;
    let stdio =
        run::Stdio::Fds { stdin: Some(input.into()), stdout: Some(said.into()), stderr: Some(errors.into()) };
    let bytes = |list: &[String]| list.iter().map(|s| s.clone().into_bytes()).collect::<Vec<_>>();
    let mut plan = process.clone();
    plan.args =
        if hook.args.is_empty() { bytes(std::slice::from_ref(&hook.path)) } else { bytes(&hook.args) };
    if let Some(env) = &hook.env {
        plan.env = bytes(env);
    }
    let extra = Extra { file: Some(hook.path.as_bytes()), ..Extra::default() };
    let running = run::exec_with(&plan, extra, target, stdio, join);
    running.map(|running| (running.pid, running.pidfd)).map_err(|e| berth_types::error::chain(&e))
}

/// How the wait for a hook ended.
#[derive(Debug)]
enum Ended {
    ByItself,
    TimedOut,
    Interrupted(String),
}

/// Waits for the end of a hook, and listens to it meanwhile.
fn wait(
    pidfd: BorrowedFd<'_>,
    limit: Option<Duration>,
    interrupt: Option<Interrupt<'_>>,
    words: &mut LastWords,
) -> std::io::Result<Ended> {
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    loop {
        // Also one that never stops talking, which always is readable, is late at some time.
        let left = deadline.map_or(LOOK, |deadline| deadline.saturating_duration_since(Instant::now()));
        let mut polled = vec![PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        polled.extend(interrupt.map(|by| PollFd::from_borrowed_fd(by.fd, PollFlags::IN)));
        polled.extend(words.pipes().map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN)));
        match poll(&mut polled, Timespec::try_from(left).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(polled);
        words.listen();
        if ready.first() == Some(&true) {
            return Ok(Ended::ByItself);
        }
        if let Some(by) = interrupt
            && ready.get(1) == Some(&true)
            && let Some(what) = (by.what)()?
        {
            return Ok(Ended::Interrupted(what));
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Ok(Ended::TimedOut);
        }
    }
}

/// The state as a file, so that a hook need not read it.
fn input(state: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("state", MemfdFlags::CLOEXEC)?);
    file.write_all(state)?;
    file.rewind()?;
    Ok(file)
}

/// The number of a process in the innermost PID namespace that it is in; its own where that cannot be found out.
pub fn pid_inside(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.and_then(|list| list.split_ascii_whitespace().next_back()?.parse().ok()).unwrap_or(pid)
}

/// The process between this program and a hook that belongs in the namespaces of a container: enters them and runs the hook, whose
/// path is the host's, from there. Its arguments are the number of a process in there, whether that has a user namespace of its own,
/// the hook's path and its arguments. The status is the hook's.
///
/// # Errors
/// What failed before the hook.
pub fn main(mut args: impl Iterator<Item = OsString>) -> std::io::Result<i32> {
    let number = args.next().and_then(|number| Pid::from_raw(number.to_str()?.parse().ok()?));
    let user = args.next().map(|user| user == "true");
    let (Some(number), Some(user), Some(path)) = (number, user, args.next()) else {
        return Err(std::io::ErrorKind::InvalidInput.into());
    };
    let target = pidfd_open(number, PidfdFlags::empty())?;
    let bundle = std::env::current_dir();
    let kinds = namespace::MOUNT
        | namespace::NET
        | namespace::IPC
        | namespace::UTS
        | namespace::CGROUP
        | namespace::PID;
    let kinds = if user { kinds | namespace::USER } else { kinds };
    let other_time = namespace::has_other_time(number.as_raw_nonzero().get());
    let kinds = if other_time { kinds | namespace::TIME } else { kinds };
    namespace::enter(target.as_fd(), kinds)?;
    drop(target);
    if let Ok(bundle) = bundle {
        // The host's mounts are there still; where it cannot be entered the hook begins at the root.
        drop(std::env::set_current_dir(bundle));
    }
    if user {
        // It is nobody in there yet, who loses all rights with the execve.
        user::become_root()?;
    }
    let mut command = Command::new(path);
    if let Some(first) = args.next() {
        command.arg0(first).args(args);
    }
    let status = command.status()?;
    // As a shell tells it.
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(127)))
}
