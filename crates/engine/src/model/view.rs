//! What callers see of sandboxes and containers: published snapshots, which never wait for a
//! pod's owner.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use berth_types::lifecycle::{container, sandbox};
use berth_types::{ContainerId, SandboxId};

use super::{ContainerConfig, Resources, SandboxConfig};

/// A pod sandbox as it is.
#[derive(Debug, Clone)]
pub struct SandboxView {
    /// Its id.
    pub id: SandboxId,
    /// What was asked for.
    pub config: Arc<SandboxConfig>,
    /// Where it is in its life.
    pub state: sandbox::State,
    /// When it was made (nanoseconds since 1970).
    pub created_at: i64,
    /// The pod's interface; None with the host's network and without any.
    pub interface: Option<String>,
    /// The pod's addresses, the primary first; empty with the host's network.
    pub addresses: Vec<IpAddr>,
    /// The pod's network namespace as a path of the host; None with the host's network.
    pub netns: Option<PathBuf>,
    /// The cgroup that its containers are in, in cgroupfs syntax. It need not exist while there are none.
    pub cgroup: String,
    /// The shim's process id, for users and tools.
    pub shim_pid: Option<i32>,
    /// What is wrong with it (the shim was lost, a teardown failed); empty when nothing is.
    pub message: String,
    /// Its containers, oldest first.
    pub containers: Vec<Arc<ContainerView>>,
}

/// A container as it is.
#[derive(Debug, Clone)]
pub struct ContainerView {
    /// Its id.
    pub id: ContainerId,
    /// Its sandbox.
    pub sandbox: SandboxId,
    /// What was asked for.
    pub config: Arc<ContainerConfig>,
    /// Where it is in its life.
    pub state: container::State,
    /// When it was made (nanoseconds since 1970).
    pub created_at: i64,
    /// When its command began (nanoseconds since 1970); None when it never did.
    pub started_at: Option<i64>,
    /// How it ended.
    pub exit: Option<ExitView>,
    /// The main process' id on the host.
    pub pid: Option<i32>,
    /// Its cgroup in cgroupfs syntax, below the root of each hierarchy; empty when it has none to itself.
    pub cgroup: String,
    /// The image's id: the digest of its configuration.
    pub image_id: String,
    /// The image as `repository@digest`, or its id when it has none.
    pub image_ref: String,
    /// The log file, absolute.
    pub log_path: Option<PathBuf>,
    /// Limits in force.
    pub resources: Resources,
    /// Who the process runs as.
    pub user: ContainerUser,
    /// The signal that asks it to stop.
    pub stop_signal: String,
}

/// Who a container's process runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitView {
    /// The exit status as a shell gives it.
    pub code: i32,
    /// When (nanoseconds since 1970).
    pub finished_at: i64,
    /// Why, in the kubelet's categories.
    pub reason: ExitReason,
    /// More for users.
    pub message: String,
}

/// Why a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// Status 0.
    Completed,
    /// Another status.
    Error,
    /// The kernel killed its main process because memory ran out.
    OomKilled,
    /// Its command could not be executed.
    StartError,
    /// Not known: its shim died.
    Unknown,
}

impl ExitReason {
    /// The word that the kubelet reads.
    pub fn word(self) -> &'static str {
        match self {
            ExitReason::Completed => "Completed",
            ExitReason::Error => "Error",
            ExitReason::OomKilled => "OOMKilled",
            ExitReason::StartError => "StartError",
            ExitReason::Unknown => "Unknown",
        }
    }
}

/// What an ExecSync gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Standard output, at most 16 MiB.
    pub stdout: Vec<u8>,
    /// Standard error, at most 16 MiB.
    pub stderr: Vec<u8>,
    /// The exit status as a shell gives it.
    pub code: i32,
}
