//! Executes a plan.
//!
//! ```text
//! create:  parent                                  child (clone3 into new namespaces)
//!            lowers the plan: C strings, fds
//!            clones               ------------->    joins cgroup and given namespaces
//!            writes id maps       -- go -------->   (only with a new user namespace)
//!                                                   steps: mounts, devices, pivot_root, masks
//!                                 <-- terminal --   [its master]
//!                                                   identity, rights; drops its maker's memory
//!                                 <-- moved -----   (a PID namespace that exists: a sibling goes on in there)
//!            oom score            <-- ready ----    limits, seccomp
//! start:     releases             -- go -------->   execve
//!                                 <-- end of file   (closed by execve), or the failed step
//! ```
//!
//! Between clone and execve the child neither allocates nor locks: everything it needs was prepared
//! by the parent, and it speaks to the kernel only. No process is in a PID namespace that others are in before it has left the
//! host behind, memory included (docs/adr/0070); it holds no descriptor of the host at its execve but its stdio and what its
//! caller explicitly gives it ([`Extra::fds`]). How
//! namespaces, cgroups and mounts are entered is in docs/adr/0005.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

mod child;
mod create;
mod error;
mod exec;
mod filter;
mod gate;
mod group;
mod idmap;
mod last;
mod new_process;
mod op;
mod path;
mod process;
mod procfs;
mod report;
mod steps;
mod threads;

pub use berth_sys::cgroup::Join;
pub use error::{ExecFailure, RunError};
pub use idmap::idmapped;
pub use process::DEFAULT_PATH;
use rustix::io::Errno;

use crate::plan::{Plan, ProcessPlan};

/// The descriptors that a plan refers to. Namespaces that the plan has as `Space::Given` are
/// taken from here: files of `/proc/PID/ns`, or a pidfd.
#[derive(Debug, Default)]
pub struct Given<'a> {
    /// The root: a detached mount (`RootSource::Given`).
    pub root: Option<BorrowedFd<'a>>,
    /// Bind mount sources, by number (`Origin::Given`).
    pub mounts: Vec<BorrowedFd<'a>>,
    /// The user namespace.
    pub user: Option<BorrowedFd<'a>>,
    /// The PID namespace.
    pub pid: Option<BorrowedFd<'a>>,
    /// The network namespace.
    pub net: Option<BorrowedFd<'a>>,
    /// The IPC namespace.
    pub ipc: Option<BorrowedFd<'a>>,
    /// The UTS namespace.
    pub uts: Option<BorrowedFd<'a>>,
    /// The cgroup namespace.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The mount namespace that the container's own begins as a copy of
    /// ([`berth_sys::mount::base_namespace`]); None is the caller's, which is slow where there are many mounts. Not used
    /// where a new file system names files of the host, nor in a new user namespace, which has no right to it.
    pub base: Option<BorrowedFd<'a>>,
}

/// Called with a process id in the caller's PID namespace.
pub type Visitor<'a> = &'a mut dyn FnMut(i32) -> Result<(), RunError>;

/// Who else has to do with a new container.
#[derive(Default)]
#[allow(missing_debug_implementations, reason = "a closure")]
pub struct Company<'a> {
    /// A listening `SOCK_SEQPACKET` socket at which the process waits for its start ([`start_at`]), so that its maker may
    /// end before. Without one it ends with its maker.
    pub door: Option<BorrowedFd<'a>>,
    /// Called when the container's namespaces and mounts are made and the host's mounts are still there, with the
    /// process, which waits meanwhile. The root, if the plan has it as a path, is mounted there. In a PID
    /// namespace that others are in too it is a process that ends soon (docs/adr/0070).
    pub visitor: Option<Visitor<'a>>,
    /// What the program finds from descriptor 3 on, where they are already: see [`Extra::fds`].
    pub fds: &'a [BorrowedFd<'a>],
}

/// The most descriptors that a program is given beside its streams.
pub const MAX_FDS: usize = 253;

/// What a further process may be given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extra<'a> {
    /// The file of the container that is executed, whatever the first argument says.
    pub file: Option<&'a [u8]>,
    /// What the program finds from descriptor 3 on. They have these numbers in the caller too, which was given them itself; at
    /// most [`MAX_FDS`].
    pub fds: &'a [BorrowedFd<'a>],
}

/// What a process gets as standard input, output and error.
#[derive(Debug)]
pub enum Stdio {
    /// These.
    Fds {
        /// Standard input; None is the container's null device.
        stdin: Option<OwnedFd>,
        /// Standard output; None likewise.
        stdout: Option<OwnedFd>,
        /// Standard error; None likewise.
        stderr: Option<OwnedFd>,
    },
    /// A new terminal of the container's devpts; its master comes back as `console`.
    Terminal,
}

impl Stdio {
    /// The three streams; None for a terminal.
    fn fds(&self) -> Option<[Option<BorrowedFd<'_>>; 3]> {
        match self {
            Stdio::Fds { stdin, stdout, stderr } => {
                Some([stdin, stdout, stderr].map(|fd| fd.as_ref().map(AsFd::as_fd)))
            }
            Stdio::Terminal => None,
        }
    }
}

/// Something that was done in another way than the plan says, which the user should be told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The out-of-memory score could not be lowered.
    OomScoreClamped {
        /// What the plan says.
        wanted: i32,
        /// What it is.
        got: i32,
    },
    /// A hard limit could not be raised.
    RlimitClamped {
        /// The resource's number.
        resource: u32,
        /// The hard limit that the plan says.
        wanted: u64,
        /// What it is.
        got: u64,
    },
    /// The runner does not have these capabilities itself, so the container does not have them either.
    CapabilitiesMissing {
        /// As a bit mask.
        missing: u64,
    },
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Note::OomScoreClamped { wanted, got } => {
                write!(f, "oom_score_adj is {got} instead of {wanted}: lowering it needs CAP_SYS_RESOURCE")
            }
            Note::RlimitClamped { resource, wanted, got } => {
                write!(f, "rlimit {resource} is {got} instead of {wanted}: raising it needs CAP_SYS_RESOURCE")
            }
            Note::CapabilitiesMissing { missing } => {
                write!(f, "capabilities dropped, since this process does not have them: {missing:#x}")
            }
        }
    }
}

/// How long the end of a process is waited for that was killed before it was a program.
const END_LIMIT: Duration = Duration::from_secs(2);

/// A container prepared up to just before its `execve`. Dropping it kills and reaps the process.
#[derive(Debug)]
pub struct Prepared {
    /// None once it was started.
    running: Option<Running>,
    gate: OwnedFd,
    /// For error messages.
    process: ProcessPlan,
}

/// A running process. Dropping it does not affect the process; its holder reaps it
/// (`waitid` on the pidfd).
#[derive(Debug)]
pub struct Running {
    /// The process id in the caller's PID namespace: for messages; signal through `pidfd`.
    pub pid: i32,
    /// The process.
    pub pidfd: OwnedFd,
    /// The master of its terminal, with [`Stdio::Terminal`].
    pub console: Option<OwnedFd>,
    /// What was done otherwise.
    pub notes: Vec<Note>,
}

/// Prepares a container. The calling thread is blocked until it is prepared or failed; when it failed
/// nothing is left behind.
///
/// # Errors
/// The step that failed, named.
#[allow(clippy::needless_pass_by_value, reason = "the caller's copies must not keep the streams open")]
pub fn create(plan: &Plan, given: &Given<'_>, stdio: Stdio, join: &Join) -> Result<Prepared, RunError> {
    create::create(plan, given, &stdio, join, Company::default())
}

/// Prepares a container in company.
///
/// # Errors
/// The step that failed, named, or the visitor's error.
#[allow(clippy::needless_pass_by_value, reason = "the caller's copies must not keep the streams open")]
pub fn create_in_company(
    plan: &Plan,
    given: &Given<'_>,
    stdio: Stdio,
    join: &Join,
    company: Company<'_>,
) -> Result<Prepared, RunError> {
    create::create(plan, given, &stdio, join, company)
}

/// Starts the container that waits at a door, to which `connection` is connected, and returns when its `execve`
/// succeeded. `command` is its first argument, for an error.
///
/// # Errors
/// [`RunError::Exec`] when the command cannot be executed, or the step before it that failed.
pub fn start_at(connection: BorrowedFd<'_>, command: &[u8]) -> Result<(), RunError> {
    match gate::release(connection) {
        Ok(()) => {}
        // Its end of the connection is closed.
        Err(Errno::PIPE | Errno::CONNRESET) => return Err(RunError::Died { before: "it was started" }),
        Err(errno) => {
            return Err(RunError::Step { step: "release the process".into(), source: errno.into() });
        }
    }
    gate_outcome(connection, &ProcessPlan { args: vec![command.to_vec()], ..ProcessPlan::default() })
}

/// Runs a further process in the container of the process `target`, and returns when its `execve`
/// succeeded. The process is a child of the caller.
///
/// # Errors
/// The step that failed, named; [`RunError::Exec`] when the command cannot be executed.
#[allow(clippy::needless_pass_by_value, reason = "the caller's copies must not keep the streams open")]
pub fn exec(
    plan: &ProcessPlan,
    target: BorrowedFd<'_>,
    stdio: Stdio,
    join: &Join,
) -> Result<Running, RunError> {
    exec::exec(plan, Extra::default(), target, &stdio, join)
}

/// The same with what a process may be given more.
///
/// # Errors
/// As [`exec`](fn@exec).
#[allow(clippy::needless_pass_by_value, reason = "the caller's copies must not keep the streams open")]
pub fn exec_with(
    plan: &ProcessPlan,
    extra: Extra<'_>,
    target: BorrowedFd<'_>,
    stdio: Stdio,
    join: &Join,
) -> Result<Running, RunError> {
    exec::exec(plan, extra, target, &stdio, join)
}

impl Prepared {
    /// The process id in the caller's PID namespace, for messages.
    pub fn pid(&self) -> i32 {
        self.running.as_ref().map_or(0, |r| r.pid)
    }

    /// The process, for waiting and signals.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.process_ref().pidfd.as_fd()
    }

    /// What was done otherwise.
    pub fn notes(&self) -> &[Note] {
        &self.process_ref().notes
    }

    /// Takes the master of the terminal out, to serve it before the start.
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.running.as_mut().and_then(|r| r.console.take())
    }

    fn process_ref(&self) -> &Running {
        self.running.as_ref().expect("only start and drop take it, and both have the value")
    }

    /// Releases the process and returns when its `execve` succeeded. When it failed the process is
    /// gone and reaped.
    ///
    /// # Errors
    /// [`RunError::Exec`] when the command cannot be executed, or the step before it that failed.
    pub fn start(self) -> Result<Running, RunError> {
        self.release()?;
        self.outcome()?;
        Ok(self.into_running())
    }

    /// Releases the process without waiting for its `execve`: [`Prepared::gate`] becomes readable when
    /// [`Prepared::outcome`] is known.
    ///
    /// # Errors
    /// [`RunError::Died`] when the process has ended.
    pub fn release(&self) -> Result<(), RunError> {
        gate::release(self.gate.as_fd()).map_err(|_| RunError::Died { before: "it was started" })
    }

    /// Readable when the `execve` of a released process succeeded or failed.
    pub fn gate(&self) -> BorrowedFd<'_> {
        self.gate.as_fd()
    }

    /// How the `execve` of a released process went; to be asked once. Waits as long as the gate is not readable, within
    /// a limit.
    ///
    /// # Errors
    /// Those of [`Prepared::start`]. The process is ending by itself or is killed when this is dropped.
    pub fn outcome(&self) -> Result<(), RunError> {
        gate_outcome(self.gate.as_fd(), &self.process)
    }

    /// The process, which is the caller's from now on.
    pub fn into_running(mut self) -> Running {
        self.running.take().expect("only this and drop take it, and both have the value")
    }
}

fn gate_outcome(gate: BorrowedFd<'_>, process: &ProcessPlan) -> Result<(), RunError> {
    use gate::Heard;
    match gate::hear(gate) {
        // By execve, or because the process was killed: then its exit says so.
        Ok((Heard::Closed, _)) => Ok(()),
        Ok((Heard::Failed { what, index, errno }, _)) => {
            let names = report::Names { plan: None, entered: Vec::new(), process };
            Err(report::failure(&names, &what, index, errno))
        }
        Ok((Heard::Silent, _)) => Err(RunError::Slow { seconds: gate::DEADLINE.as_secs() }),
        Ok((Heard::Ready | Heard::Arranged | Heard::Terminal(_) | Heard::Moved { .. }, _)) | Err(_) => {
            Err(RunError::Died { before: "it was started" })
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            berth_sys::process::end(running.pidfd.as_fd(), END_LIMIT);
        }
    }
}
