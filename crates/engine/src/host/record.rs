//! Records on disk: what was asked for, and how far it is.
//!
//! A record is written before the first effect (`Making`) and again when all effects are there. One that stayed
//! `Making` belongs to a daemon that was killed, and recovery undoes it. Records are JSON, written to a temporary
//! name and renamed, without fsync: they survive a killed daemon, and a restart of the machine as far as the file
//! system had written them. Pids and exits are the shim's records. See docs/adr/0061.
//!
//! # Rules of change
//!
//! - Fields are only added, each with a default that means what Berth did before; none is removed, renamed or given
//!   another meaning, and enum values are only added. Fields that are not known are ignored.
//! - [`VERSION`] is raised when an older Berth would misunderstand a record. A record of a newer version is read as
//!   far as it is understood: its pod is listed, can be stopped and removed, and is never ended because of it.
//! - What identifies a sandbox or container (its id, owner, metadata and time of creation) never changes.
//! - A record that cannot be read has a second copy, made when everything of the thing was there. Where that is gone
//!   too, what runs is not touched.
//!
//! Each version that landed has its records in `tests/fixtures`, which are read forever.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use berth_sys::fs::{Durability, read_bounded, write_atomic};
use berth_types::{ContainerId, SandboxId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::{ContainerConfig, EnvVar, Resources, SandboxConfig, SeccompChoice};

/// The version written.
pub(crate) const VERSION: u32 = 3 + cfg!(feature = "raised-versions") as u32;

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
    #[serde(default)]
    pub(crate) interface: Option<String>,
    #[serde(default)]
    pub(crate) addresses: Vec<IpAddr>,
    #[serde(default)]
    pub(crate) shim_pid: Option<i32>,
    /// The pod's own cgroup, below which everything is the pod's.
    pub(crate) cgroup: String,
    /// The cgroup that containers' cgroups are made in.
    pub(crate) cgroup_parent: String,
    /// The pod's limits since they were changed; until then those of its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resources: Option<Resources>,
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
    #[serde(default)]
    pub(crate) user: UserRecord,
    pub(crate) stop_signal: i32,
    #[serde(default)]
    pub(crate) log_path: Option<PathBuf>,
    #[serde(default)]
    pub(crate) resources: Resources,
    pub(crate) cgroup: String,
    /// The process that exec sessions begin from, as JSON of the OCI runtime specification. Kept as text of that
    /// published format, so that a record never fails for what a library makes of it.
    #[serde(default)]
    pub(crate) process: Option<serde_json::Value>,
    /// Variables whose values are not text, which that process cannot hold.
    #[serde(default)]
    pub(crate) raw_env: Vec<EnvVar>,
    /// The seccomp profile that plugins gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seccomp: Option<SeccompChoice>,
    /// The end that no shim has recorded.
    #[serde(default)]
    pub(crate) end: Option<EndRecord>,
}

/// An end that no shim saw: when it was noticed, and why nothing more is known.
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

/// Writes a record and its second copy.
pub(crate) fn write_both<T: Serialize>(path: &Path, copy: &Path, record: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(record).map_err(io::Error::other)?;
    write_bytes(path, &bytes)?;
    write_bytes(copy, &bytes)
}

/// Writes a small file by rename, readable by root only. Two writers of one path do not conflict.
pub(crate) fn write_bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomic(path, bytes, Durability::Process)
}

/// Reads a record; None when there is none. One that is damaged is an error of kind `InvalidData`.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match read_bytes(path)? {
        Some(bytes) => match serde_json::from_slice(&bytes) {
            Ok(record) => Ok(Some(record)),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        },
        None => Ok(None),
    }
}

/// Reads a record, or where it cannot be read its second copy. The error is the record's own.
pub(crate) fn read_either<T: DeserializeOwned>(path: &Path, copy: &Path) -> io::Result<Option<T>> {
    let error = match read(path) {
        Ok(Some(record)) => return Ok(Some(record)),
        Ok(None) => None,
        Err(error) => Some(error),
    };
    match (read(copy), error) {
        (Ok(Some(record)), error) => {
            let why = error.map_or_else(|| "it is missing".to_owned(), |e| e.to_string());
            tracing::error!(path = %path.display(), why, "a record cannot be read; its second copy is used");
            Ok(Some(record))
        }
        (_, Some(error)) => Err(error),
        (Ok(None), None) => Ok(None),
        (Err(error), None) => Err(error),
    }
}

/// Reads a small file; None when there is none. One that is too large is damaged.
pub(crate) fn read_bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match read_bounded(path, MAX_RECORD) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::FileTooLarge => {
            Err(io::Error::new(io::ErrorKind::InvalidData, e))
        }
        Err(e) => Err(e),
    }
}

/// Removes a file or an empty or full directory, with what containers put there; succeeds when it does not exist.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    berth_sys::fs::remove_tree(path)
}

/// The end in the record of a container, which is `end` unless it has one already: an end that was reported never changes.
pub(crate) fn keep_end(path: &Path, end: EndRecord) -> io::Result<EndRecord> {
    match read::<ContainerRecord>(path)? {
        Some(ContainerRecord { end: Some(before), .. }) => Ok(before),
        Some(record) => {
            write(path, &ContainerRecord { end: Some(end.clone()), ..record })?;
            Ok(end)
        }
        None => Ok(end),
    }
}

#[cfg(test)]
mod tests;
