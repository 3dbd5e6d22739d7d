//! Hooks: programs that the specification has run at points of a container's life, with its state on standard input.
//!
//! ```text
//! create   prestart, createRuntime       here           mounts are made, the host's are still there
//!          createContainer               in its namespaces, by a further process of this program
//! start    startContainer                in the container, as its process would run
//!          poststart                     here           after its execve
//! delete   poststop                      here           when everything of it is gone
//! ```
//!
//! Hooks begin with no signal blocked and, those that run here, in the bundle. Hooks in the container are told the number that its
//! process has there.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use berth_container::plan::ProcessPlan;
use berth_container::run::{self, Extra, Join};
use berth_sys::namespace;
use berth_sys::process::Exit;
use berth_sys::signal::{self, SignalFd};
use oci_spec::runtime::Hook;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::OciError;
use crate::identity::has_ended;
use crate::record::State;

/// The most of what a hook says that is repeated.
const MAX_SAID: u64 = 2 << 10;

/// The signals that interrupt a hook: HUP, INT, QUIT and TERM.
const INTERRUPTS: [i32; 4] = [1, 2, 3, 15];

/// Runs hooks of one kind, one after the other, in the caller's namespaces. The first failure ends it, and so do those of
/// `signals` that end a program.
pub(crate) fn run_here(
    kind: &'static str,
    hooks: &[Hook],
    state: &State<'_>,
    signals: Option<&SignalFd>,
) -> Result<(), OciError> {
    for hook in hooks {
        run_one((kind, hook), state, command(hook, None), signals)?;
    }
    Ok(())
}

/// Runs hooks in the namespaces of the process `pid`; `user` says whether it has a user namespace of its own.
pub(crate) fn run_beside(
    kind: &'static str,
    hooks: &[Hook],
    state: &State<'_>,
    (pid, user): (i32, bool),
    signals: Option<&SignalFd>,
) -> Result<(), OciError> {
    for hook in hooks {
        run_one((kind, hook), state, command(hook, Some((pid, user))), signals)?;
    }
    Ok(())
}

/// Runs hooks in the container of the process `target`, as that will run.
pub(crate) fn run_inside(
    kind: &'static str,
    hooks: &[Hook],
    state: &State<'_>,
    (process, target, join): (&ProcessPlan, BorrowedFd<'_>, &Join),
    signals: Option<&SignalFd>,
) -> Result<(), OciError> {
    for hook in hooks {
        let failed = |problem: String| failure(kind, hook, &problem);
        let said = memory("said").map_err(OciError::system("make a memory file"))?;
        let copy = |file: &File| file.try_clone().map(|f| Some(OwnedFd::from(f)));
        let io = OciError::system("copy a memory file");
        let stdio = run::Stdio::Fds {
            stdin: Some(OwnedFd::from(input(state)?)),
            stdout: copy(&said).map_err(&io)?,
            stderr: copy(&said).map_err(&io)?,
        };
        let bytes = |list: &[String]| list.iter().map(|s| s.clone().into_bytes()).collect::<Vec<_>>();
        let mut plan = process.clone();
        plan.args = bytes(hook.args().as_deref().unwrap_or_default());
        if plan.args.is_empty() {
            plan.args.push(hook.path().as_os_str().as_bytes().to_vec());
        }
        if let Some(env) = hook.env() {
            plan.env = bytes(env);
        }
        let extra = Extra { file: Some(hook.path().as_os_str().as_bytes()), ..Extra::default() };
        let running = run::exec_with(&plan, extra, target, stdio, join)
            .map_err(|e| failed(berth_types::error::chain(&e)))?;
        let ended = until_end(running.pidfd.as_fd(), limit(hook), signals);
        let exit = match ended.map_err(OciError::system("wait for a hook"))? {
            Ended::ByItself => berth_sys::process::reap(running.pidfd.as_fd()),
            other => {
                berth_sys::process::end(running.pidfd.as_fd(), KILL_LIMIT);
                return Err(failed(other.problem(hook)));
            }
        };
        match exit {
            Some(Exit::Code(0)) => {}
            exit => return Err(failed(format!("{}{}", how(exit), text(said)))),
        }
    }
    Ok(())
}

/// How long the end of a hook is waited for that was killed.
const KILL_LIMIT: std::time::Duration = std::time::Duration::from_secs(2);

fn command(hook: &Hook, beside: Option<(i32, bool)>) -> Command {
    let args = hook.args().as_deref().unwrap_or_default();
    let mut command = match beside {
        None => {
            let mut command = Command::new(hook.path());
            command.args(args.iter().skip(1));
            if let Some(first) = args.first() {
                command.arg0(first);
            }
            command
        }
        Some((pid, user)) => {
            let mut command = Command::new("/proc/self/exe");
            command.arg0("berth-oci").args(["run-hook", &pid.to_string(), &user.to_string()]);
            command.arg(hook.path()).args(args);
            command
        }
    };
    if let Some(env) = hook.env() {
        command.env_clear().envs(env.iter().filter_map(|e| e.split_once('=')));
    }
    command
}

fn run_one(
    (kind, hook): (&'static str, &Hook),
    state: &State<'_>,
    mut command: Command,
    signals: Option<&SignalFd>,
) -> Result<(), OciError> {
    let said = memory("said").map_err(OciError::system("make a memory file"))?;
    let copy = |file: &File| file.try_clone().map_err(OciError::system("copy a memory file"));
    command
        .stdin(Stdio::from(input(state)?))
        .stdout(Stdio::from(copy(&said)?))
        .stderr(Stdio::from(copy(&said)?));
    command.process_group(0);
    // One that was removed since is no reason not to run the hook.
    if state.bundle().is_dir() {
        command.current_dir(state.bundle());
    }
    signal::unblocked(&mut command);
    let child = command.spawn().map_err(|e| failure(kind, hook, &e.to_string()))?;
    let io = OciError::system::<std::io::Error>("wait for a hook");
    let pid =
        Pid::from_raw(child.id().cast_signed()).ok_or_else(|| io(std::io::ErrorKind::InvalidInput.into()))?;
    // Not reaped, so the number is its own.
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| io(e.into()))?;
    let ended = until_end(pidfd.as_fd(), limit(hook), signals);
    if !matches!(ended, Ok(Ended::ByItself)) {
        // With what it has started, which might go on with its work.
        let _gone = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
    match ended.map_err(&io)? {
        Ended::ByItself => match berth_sys::process::reap(pidfd.as_fd()) {
            Some(Exit::Code(0)) => Ok(()),
            exit => Err(failure(kind, hook, &format!("{}{}", how(exit), text(said)))),
        },
        other => {
            // Bounded: what waits for a disk cannot be killed.
            berth_sys::process::end(pidfd.as_fd(), KILL_LIMIT);
            Err(failure(kind, hook, &other.problem(hook)))
        }
    }
}

/// How the wait for a hook ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    ByItself,
    TimedOut,
    Interrupted(i32),
}

impl Ended {
    fn problem(self, hook: &Hook) -> String {
        match self {
            Ended::Interrupted(signal) => format!("interrupted by signal {signal}, it was killed"),
            Ended::ByItself | Ended::TimedOut => timed_out(hook),
        }
    }
}

fn how(exit: Option<Exit>) -> String {
    match exit {
        Some(Exit::Code(code)) => format!("exit status {code}"),
        Some(Exit::Signal(signal)) => format!("ended by signal {signal}"),
        None => "its end is not known".to_owned(),
    }
}

fn until_end(pidfd: BorrowedFd<'_>, limit: Timespec, signals: Option<&SignalFd>) -> std::io::Result<Ended> {
    let Some(signals) = signals else {
        return Ok(if has_ended(pidfd, limit)? { Ended::ByItself } else { Ended::TimedOut });
    };
    let begun = std::time::Instant::now();
    let limit = std::time::Duration::try_from(limit).unwrap_or(std::time::Duration::MAX);
    loop {
        let left = Timespec::try_from(limit.saturating_sub(begun.elapsed())).ok();
        let fds = &mut [
            PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        match poll(fds, left.as_ref()) {
            Ok(0) => return Ok(Ended::TimedOut),
            Ok(_) if !fds[0].revents().is_empty() => return Ok(Ended::ByItself),
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        while let Some(signal) = signals.next()? {
            // The others are for the container's process, which is not there yet.
            if INTERRUPTS.contains(&signal) {
                return Ok(Ended::Interrupted(signal));
            }
        }
    }
}

fn limit(hook: &Hook) -> Timespec {
    // A hook without a timeout has as long as it takes.
    Timespec { tv_sec: hook.timeout().unwrap_or(i64::MAX / 2_000_000_000), tv_nsec: 0 }
}

fn timed_out(hook: &Hook) -> String {
    format!("it did not end within {} seconds and was killed", hook.timeout().unwrap_or(0))
}

fn failure(kind: &'static str, hook: &Hook, problem: &str) -> OciError {
    OciError::Hook { kind, path: hook.path().clone(), problem: problem.to_owned() }
}

/// The state as a file, so that a hook need not read it.
fn input(state: &State<'_>) -> Result<File, OciError> {
    let json = serde_json::to_vec(state).map_err(|e| OciError::invalid("the state", e))?;
    let write = || {
        let mut file = memory("state")?;
        file.write_all(&json)?;
        file.rewind()?;
        Ok(file)
    };
    write().map_err(OciError::system::<std::io::Error>("make a memory file"))
}

fn memory(name: &str) -> std::io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?))
}

/// The end of what a hook has said, for an error.
fn text(mut said: File) -> String {
    let mut bytes = Vec::new();
    let length = said.metadata().map_or(0, |m| m.len());
    let start = SeekFrom::Start(length.saturating_sub(MAX_SAID));
    let read = said.seek(start).and_then(|_| said.take(MAX_SAID).read_to_end(&mut bytes));
    match (read, String::from_utf8_lossy(&bytes).trim()) {
        (Ok(_), said) if !said.is_empty() => format!(": {said}"),
        _ => String::new(),
    }
}

/// What `run-hook` does, a process of this program between this one and a hook that belongs in the container's namespaces: enters
/// those of `pid` and runs the hook, whose path is the host's, from there.
pub(crate) fn enter_and_run(pid: i32, user: bool, path: &Path, args: &[String]) -> Result<i32, OciError> {
    let number = Pid::from_raw(pid).ok_or_else(|| OciError::invalid("PID", "not a process id"))?;
    let target =
        pidfd_open(number, PidfdFlags::empty()).map_err(OciError::system("open the container's process"))?;
    let kinds = namespace::MOUNT
        | namespace::NET
        | namespace::IPC
        | namespace::UTS
        | namespace::CGROUP
        | namespace::PID;
    let kinds = if user { kinds | namespace::USER } else { kinds };
    let kinds = if namespace::has_other_time(pid) { kinds | namespace::TIME } else { kinds };
    namespace::enter(target.as_fd(), kinds).map_err(OciError::system("enter the container's namespaces"))?;
    drop(target);
    if user {
        // It is nobody in there yet, who loses all rights with the execve.
        berth_sys::user::become_root().map_err(OciError::system("become root of the user namespace"))?;
    }
    let mut command = Command::new(path);
    command.args(args.iter().skip(1));
    if let Some(first) = args.first() {
        command.arg0(first);
    }
    let status = command.status().map_err(OciError::io("execute", path))?;
    Ok(status.code().unwrap_or(255))
}
