//! What is known of a container between two commands: `ROOT/ID/state.json`.
//!
//! Written by rename, for root alone. Rule of change: a field may be added if a record without it can be read; anything else
//! raises [`VERSION`]. A record of another version is refused, never guessed. Fixtures of every version are read in the tests.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use berth_sys::cgroup::Held;
use oci_spec::runtime::Hook;
use serde::{Deserialize, Serialize};

use crate::OciError;
use crate::identity::ProcessId;

/// The version that is written.
pub(crate) const VERSION: u32 = 1;
/// The most bytes of a record: a specification's annotations and hooks are in it.
pub(crate) const MAX_RECORD: u64 = 8 << 20;

/// What is known of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) version: u32,
    pub(crate) id: String,
    /// The version of the specification of its bundle.
    pub(crate) oci_version: String,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    /// When `create` was called, as RFC 3339.
    pub(crate) created: String,
    pub(crate) phase: Phase,
    /// Known once it is created.
    #[serde(default)]
    pub(crate) process: Option<ProcessId>,
    /// Its cgroup's directory in each hierarchy, known before they are made.
    pub(crate) cgroups: Vec<PathBuf>,
    /// By what each is told from another one of that path later; known once they are made.
    #[serde(default)]
    pub(crate) cgroup_numbers: Vec<u64>,
    /// Whether it has a PID namespace of its own, so that nothing outlives its first process.
    #[serde(default = "yes")]
    pub(crate) own_pids: bool,
    /// Its first argument, for messages.
    pub(crate) command: String,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) hooks: LaterHooks,
    /// Whether the poststop hooks have run: a delete that is repeated runs them no more.
    #[serde(default)]
    pub(crate) poststop_ran: bool,
}

fn yes() -> bool {
    true
}

/// The hooks that are run after `create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LaterHooks {
    #[serde(default)]
    pub(crate) start_container: Vec<Hook>,
    #[serde(default)]
    pub(crate) poststart: Vec<Hook>,
    #[serde(default)]
    pub(crate) poststop: Vec<Hook>,
}

/// How far a container has come. Whether it still runs is for the kernel to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// `create` works on it, or was killed.
    Creating,
    /// It waits for its start.
    Created,
    /// It was started.
    Started,
}

/// The states of the runtime specification, and the `paused` of runc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// `create` works on it.
    Creating,
    /// It waits for its start.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its process has ended.
    Stopped,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// What hooks, `state` and `list` are told.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State<'a> {
    oci_version: &'a str,
    id: &'a str,
    pid: i32,
    status: Status,
    bundle: &'a PathBuf,
    rootfs: &'a PathBuf,
    created: &'a str,
    owner: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

impl State<'_> {
    /// The directory of its bundle.
    pub(crate) fn bundle(&self) -> &Path {
        self.bundle
    }

    /// What a list shows.
    pub(crate) fn cells(&self) -> [String; 6] {
        let bundle = self.bundle.display().to_string();
        let (id, created) = (self.id.to_owned(), self.created.to_owned());
        [id, self.pid.to_string(), self.status.to_string(), bundle, created, self.owner.to_owned()]
    }
}

impl Record {
    /// The state with this status; one that has ended has no process.
    pub(crate) fn state(&self, status: Status, pid: i32) -> State<'_> {
        State {
            oci_version: &self.oci_version,
            id: &self.id,
            pid: if matches!(status, Status::Stopped) { 0 } else { pid },
            status,
            bundle: &self.bundle,
            rootfs: &self.rootfs,
            created: &self.created,
            owner: "root",
            annotations: &self.annotations,
        }
    }

    /// Its process, unless that has ended or there is none yet.
    pub(crate) fn open(&self) -> Result<Option<OwnedFd>, OciError> {
        let open = self.process.map(ProcessId::open).transpose();
        Ok(open.map_err(OciError::system("look for the container's process"))?.flatten())
    }

    /// Its cgroup, as far as it is still the one that was made for it.
    pub(crate) fn group(&self) -> Result<Held, OciError> {
        let numbers = self.cgroup_numbers.iter().map(|number| Some(*number));
        // Before they were made nothing at these paths is its own. Records of before have no numbers.
        let unknown = match self.phase {
            Phase::Creating => 0,
            Phase::Created | Phase::Started => {
                self.cgroups.len() - self.cgroup_numbers.len().min(self.cgroups.len())
            }
        };
        let numbers = numbers.chain(std::iter::repeat_n(None, unknown));
        Ok(Held::find(self.cgroups.iter().cloned().zip(numbers))?)
    }

    /// The number of its process; 0 before it has one.
    pub(crate) fn pid(&self) -> i32 {
        self.process.map_or(0, |process| process.pid)
    }
}
