//! Records on disk: what was asked for, and how far it is.
//!
//! A record is written before the first effect (`Making`) and again when all effects are there.
//! One that stayed `Making` belongs to a daemon that was killed, and recovery undoes it. Records
//! are JSON, written to a temporary name and renamed, without fsync: they survive a killed daemon
//! and need not survive a reboot. Pids and exits are the shim's records.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use berth_types::{ContainerId, SandboxId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::{ContainerConfig, EnvVar, Resources, SandboxConfig};

/// The version written. Fields are only added, with a default.
pub(crate) const VERSION: u32 = 1;

/// The largest record read: a configuration is bounded by the 16 MiB of a CRI message.
const MAX_RECORD: u64 = 32 << 20;

/// How far a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Effects may be there in part.
    Making,
    /// Everything is there.
    Made,
    /// A sandbox that was stopped: nothing of it runs and its network is down.
    Stopped,
}

/// A sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub(crate) version: u32,
    pub(crate) id: SandboxId,
    pub(crate) phase: Phase,
    pub(crate) created_at: i64,
    pub(crate) config: SandboxConfig,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) shim_pid: Option<i32>,
    /// The pod's own cgroup, below which everything is the pod's.
    pub(crate) cgroup: String,
    /// The cgroup that containers' cgroups are made in.
    pub(crate) cgroup_parent: String,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) version: u32,
    pub(crate) id: ContainerId,
    pub(crate) phase: Phase,
    pub(crate) created_at: i64,
    pub(crate) config: ContainerConfig,
    pub(crate) image_id: String,
    pub(crate) image_ref: String,
    pub(crate) user: UserRecord,
    pub(crate) stop_signal: i32,
    pub(crate) log_path: Option<PathBuf>,
    pub(crate) resources: Resources,
    pub(crate) cgroup: String,
    /// The process that exec sessions begin from, as JSON of the OCI runtime specification.
    pub(crate) process: Option<oci_spec::runtime::Process>,
    /// Variables whose values are not text, which that process cannot hold.
    #[serde(default)]
    pub(crate) raw_env: Vec<EnvVar>,
    /// The end that no shim has written down.
    #[serde(default)]
    pub(crate) end: Option<EndRecord>,
}

/// An end that nobody saw: when it was noticed, and why nobody knows more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndRecord {
    pub(crate) started_at: Option<i64>,
    pub(crate) at: i64,
    pub(crate) message: String,
}

/// Who the container's process runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserRecord {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

/// Writes a record by rename.
pub(crate) fn write<T: Serialize>(path: &Path, record: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(record).map_err(io::Error::other)?;
    write_bytes(path, &bytes)
}

/// Writes a small file by rename.
pub(crate) fn write_bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(&temporary, path)
}

/// Adds an end to the record of a container.
pub(crate) fn add_end(path: &Path, end: EndRecord) -> io::Result<()> {
    match read::<ContainerRecord>(path)? {
        Some(record) => write(path, &ContainerRecord { end: Some(end), ..record }),
        None => Ok(()),
    }
}

/// Reads a record; None when there is none. One that is damaged is an error that [`is_damaged`] knows.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match read_bytes(path)? {
        Some(bytes) => match serde_json::from_slice(&bytes) {
            Ok(record) => Ok(Some(record)),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        },
        None => Ok(None),
    }
}

/// Whether an error of [`read`] says that the record is of no use, and not that it cannot be read now.
pub(crate) fn is_damaged(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

/// The version of the record at `path`; None when there is none, or it does not say.
pub(crate) fn version(path: &Path) -> io::Result<Option<u32>> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    match read::<Versioned>(path) {
        Ok(record) => Ok(record.map(|record| record.version)),
        Err(error) if is_damaged(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a small file; None when there is none.
pub(crate) fn read_bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    use std::io::Read;
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    file.take(MAX_RECORD + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_RECORD {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the record is too large"));
    }
    Ok(Some(bytes))
}

/// Removes a file or an empty or full directory, with what containers put there; success when it is not there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    berth_sys::fs::remove_tree(path)
}
