//! What a process is: command, environment, identity, rights and limits.

use serde::{Deserialize, Serialize};

use super::Scheduling;

/// A process to run: the container's main process, or a further one in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProcessPlan {
    /// The command and its arguments; never empty. A command without a slash is looked for in the
    /// directories of `PATH` in `env`, as execvp does.
    pub args: Vec<Vec<u8>>,
    /// The environment, `NAME=value` each.
    pub env: Vec<Vec<u8>>,
    /// The working directory, absolute inside the container. Made when it is missing (by a
    /// [`super::Step::Directory`]), and checked to be inside.
    pub cwd: Vec<u8>,
    /// Who it runs as.
    pub identity: Identity,
    /// The permission bits that new files do not get; None leaves 0022.
    pub umask: Option<u32>,
    /// The five capability sets.
    pub capabilities: Capabilities,
    /// Whether `execve` can never give more rights.
    pub no_new_privileges: bool,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// The score that the out-of-memory killer adds, -1000 to 1000; None leaves the runner's own.
    pub oom_score_adj: Option<i32>,
    /// The seccomp filter, loaded last.
    pub seccomp: Option<Seccomp>,
    /// The execution domain (`PER_LINUX32` and so on).
    pub personality: Option<u32>,
    /// The size of the terminal at the beginning, if it has one.
    pub window: Option<WindowSize>,
    /// Whether the container has a user namespace of its own: needed to join it.
    pub user_namespace: bool,
    /// The AppArmor profile that its `execve` gives it; None leaves that of the runner. Skipped since a plan of the first
    /// version has no such field: whole plans are encoded by their `encode` alone.
    #[serde(skip)]
    pub apparmor: Option<String>,
    /// How it is scheduled; None leaves it as the runner is. Skipped for the same reason.
    #[serde(skip)]
    pub scheduling: Option<Box<Scheduling>>,
}

/// Numeric ids.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Identity {
    /// User id inside the container.
    pub uid: u32,
    /// Group id inside the container.
    pub gid: u32,
    /// Supplementary groups, without `gid` unless it was given.
    pub groups: Vec<u32>,
}

/// The five capability sets as bit masks: bit n is capability number n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Capabilities {
    /// What a program may ever gain.
    pub bounding: u64,
    /// What is in force.
    pub effective: u64,
    /// What may be put in force.
    pub permitted: u64,
    /// What survives the execve of a program with file capabilities.
    pub inheritable: u64,
    /// What survives the execve of an ordinary program.
    pub ambient: u64,
}

/// A resource limit, as `setrlimit(2)` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// The number of the resource (`RLIMIT_NOFILE` and so on).
    pub resource: u32,
    /// The limit in force.
    pub soft: u64,
    /// The limit up to which the process may raise it.
    pub hard: u64,
}

/// A compiled seccomp filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seccomp {
    /// The instructions: each `struct sock_filter` as the native `u64` of its eight bytes.
    pub filter: Vec<u64>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Height.
    pub rows: u16,
    /// Width.
    pub columns: u16,
}
