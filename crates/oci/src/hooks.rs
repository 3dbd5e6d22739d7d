//! Hooks: programs that the specification has run at points of a container's life, with its state on standard input.
//!
//! ```text
//! create   prestart, createRuntime       here           mounts are made, the host's are still there
//!          createContainer               in its namespaces, by a further process of this program
//! start    startContainer                in the container, as its process would run
//!          poststart                     here           after its execve
//! delete   poststop                      here           when everything of it is gone
//! ```

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use berth_container::plan::ProcessPlan;
use berth_container::run::{self, Join};
use berth_sys::namespace;
use oci_spec::runtime::Hook;
use rustix::event::Timespec;
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::OciError;
use crate::identity::has_ended;
use crate::record::State;

/// The most of what a hook says that is repeated.
const MAX_SAID: u64 = 2 << 10;

/// Runs hooks of one kind, one after the other, in the caller's namespaces. The first failure ends it.
pub(crate) fn run_here(kind: &'static str, hooks: &[Hook], state: &State<'_>) -> Result<(), OciError> {
    for hook in hooks {
        run_one(kind, hook, state, command(hook, None))?;
    }
    Ok(())
}

/// Runs hooks in the namespaces of the process `pid`; `user` says whether it has a user namespace of its own.
pub(crate) fn run_beside(
    kind: &'static str,
    hooks: &[Hook],
    state: &State<'_>,
    (pid, user): (i32, bool),
) -> Result<(), OciError> {
    for hook in hooks {
        run_one(kind, hook, state, command(hook, Some((pid, user))))?;
    }
    Ok(())
}

/// Runs hooks in the container of the process `target`, as that will run.
pub(crate) fn run_inside(
    kind: &'static str,
    hooks: &[Hook],
    state: &State<'_>,
    (process, target, join): (&ProcessPlan, BorrowedFd<'_>, &Join),
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
        let running = run::exec_file(&plan, hook.path().as_os_str().as_bytes(), target, stdio, join)
            .map_err(|e| failed(berth_types::error::chain(&e)))?;
        let ended =
            has_ended(running.pidfd.as_fd(), limit(hook)).map_err(OciError::system("wait for a hook"))?;
        let exit = match ended {
            true => berth_sys::process::reap(running.pidfd.as_fd()),
            false => {
                berth_sys::process::end(running.pidfd.as_fd(), KILL_LIMIT);
                return Err(failed(timed_out(hook)));
            }
        };
        match exit {
            Some(berth_sys::process::Exit::Code(0)) => {}
            exit => {
                let code = exit.map_or(255, berth_sys::process::Exit::shell_code);
                return Err(failed(format!("exit status {code}{}", text(said))));
            }
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

fn run_one(kind: &'static str, hook: &Hook, state: &State<'_>, mut command: Command) -> Result<(), OciError> {
    let said = memory("said").map_err(OciError::system("make a memory file"))?;
    let copy = |file: &File| file.try_clone().map_err(OciError::system("copy a memory file"));
    command
        .stdin(Stdio::from(input(state)?))
        .stdout(Stdio::from(copy(&said)?))
        .stderr(Stdio::from(copy(&said)?));
    command.process_group(0);
    let mut child = command.spawn().map_err(|e| failure(kind, hook, &e.to_string()))?;
    let wait = || -> std::io::Result<Option<ExitStatus>> {
        let pid = Pid::from_raw(child.id().cast_signed()).ok_or(std::io::ErrorKind::InvalidInput)?;
        // Not reaped, so the number is its own.
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        if has_ended(pidfd.as_fd(), limit(hook))? {
            return child.wait().map(Some);
        }
        // With what it has started, which might go on with its work.
        rustix::process::kill_process_group(pid, rustix::process::Signal::KILL)?;
        child.wait().map(|_| None)
    }();
    match wait.map_err(OciError::system("wait for a hook"))? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(failure(kind, hook, &format!("{status}{}", text(said)))),
        None => Err(failure(kind, hook, &timed_out(hook))),
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
    namespace::enter(target.as_fd(), kinds).map_err(OciError::system("enter the container's namespaces"))?;
    drop(target);
    let mut command = Command::new(path);
    command.args(args.iter().skip(1));
    if let Some(first) = args.first() {
        command.arg0(first);
    }
    let status = command.status().map_err(OciError::io("execute", path))?;
    Ok(status.code().unwrap_or(255))
}
