//! Executes a plan.
//!
//! ```text
//! create:  parent                                  child (clone3 into new namespaces)
//!            lowers the plan: C strings, fds
//!            clones               ------------->    joins cgroup and given namespaces
//!            writes id maps       -- go -------->   (only with a new user namespace)
//!                                                   steps: mounts, devices, pivot_root, masks
//!            limits, oom score    <-- ready ----    [console fd]
//! start:     releases             -- go -------->   identity, rights, seccomp, execve
//!                                 <-- end of file   (closed by execve), or the failed step
//! ```
//!
//! Between clone and execve the child neither allocates nor locks: everything it needs was prepared
//! by the parent, and it speaks to the kernel only. It is not dumpable before it enters any namespace,
//! and holds no descriptor of the host at its execve but its stdio.

use std::os::fd::{BorrowedFd, OwnedFd};

mod error;

pub use error::{ExecFailure, RunError};

use crate::plan::{Plan, ProcessPlan};

/// Descriptors by which a new process becomes a member of its cgroups.
#[derive(Debug, Default)]
pub struct Join {
    /// The directory in the v2 hierarchy.
    pub v2_dir: Option<OwnedFd>,
    /// The `tasks` files in the v1 hierarchies, open for writing.
    pub tasks: Vec<OwnedFd>,
}

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
}

/// What a process gets as standard input, output and error.
#[derive(Debug)]
pub enum Stdio {
    /// The container's own null device.
    Null,
    /// These.
    Fds {
        /// Standard input; None is the container's null device.
        stdin: Option<OwnedFd>,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// A new terminal of the container's devpts; its master comes back as `console`.
    Terminal,
}

/// Something that was done in another way than the plan says, which people should be told once.
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
}

/// A container prepared up to just before its `execve`. Dropping it kills and reaps the process.
#[derive(Debug)]
pub struct Prepared {
    running: Option<Running>,
    _gate: OwnedFd,
}

/// A running process. Dropping it leaves the process alone; who holds it reaps it
/// (`waitid` on the pidfd).
#[derive(Debug)]
pub struct Running {
    /// The process id in the caller's PID namespace: for people; signal through `pidfd`.
    pub pid: i32,
    /// The process.
    pub pidfd: OwnedFd,
    /// The master of its terminal, with [`Stdio::Terminal`].
    pub console: Option<OwnedFd>,
    /// What was done otherwise.
    pub notes: Vec<Note>,
}

/// Prepares a container. The calling thread is blocked until it is prepared or failed; when it failed
/// nothing is left.
pub fn create(plan: &Plan, given: &Given<'_>, stdio: Stdio, join: &Join) -> Result<Prepared, RunError> {
    let (_, _, _, _) = (plan, given, stdio, join);
    Err(RunError::Plan { what: "not yet".into() })
}

/// Runs a further process in the container of the process `target`, and returns when its `execve`
/// succeeded.
pub fn exec(
    plan: &ProcessPlan,
    target: BorrowedFd<'_>,
    stdio: Stdio,
    join: &Join,
) -> Result<Running, RunError> {
    let (_, _, _, _) = (plan, target, stdio, join);
    Err(RunError::Plan { what: "not yet".into() })
}

impl Prepared {
    /// The process id in the caller's PID namespace, for people.
    pub fn pid(&self) -> i32 {
        self.running.as_ref().map_or(0, |r| r.pid)
    }

    /// The process; None only inside this module.
    pub fn running(&self) -> Option<&Running> {
        self.running.as_ref()
    }

    /// Releases the process and returns when its `execve` succeeded. When it failed the process is
    /// gone and reaped.
    pub fn start(mut self) -> Result<Running, RunError> {
        self.running.take().ok_or(RunError::Plan { what: "not yet".into() })
    }
}
