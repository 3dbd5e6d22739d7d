//! Records of the pods that plugins connected: `pods/<sandbox id>.json`, written by rename without fsync (docs/adr/0061).
//!
//! A record is written before the first plugin is called, and again before each further one and after the last: DEL gets
//! the configuration, arguments and result that ADD had, whatever became of the daemon, the machine or the
//! configuration's directory in between.
//!
//! # Rules of change
//!
//! Fields are only added, each with a default that means what Berth did before. [`VERSION`] is raised when an older Berth
//! would misunderstand a record; a newer record is read as far as it is understood.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use berth_sys::fs::{Durability, read_bounded, write_atomic};
use berth_types::SandboxId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::CniError;
use super::list::Network;
use crate::cidr::Cidr;
use crate::port::PortMapping;

pub(super) const VERSION: u32 = 1;
/// A configuration and a result, each of which is bounded.
const MAX_FILE: u64 = 4 << 20;
const SUFFIX: &str = ".json";
/// The file of the node's blocks of addresses.
const BLOCKS: &str = "blocks";

/// What is recorded of a pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) version: u32,
    pub(super) sandbox: SandboxId,
    pub(super) progress: Progress,
    /// The configuration as it was then.
    pub(super) network: Network,
    pub(super) interface: String,
    pub(super) netns: PathBuf,
    pub(super) args: String,
    pub(super) capabilities: Map<String, Value>,
    pub(super) ports: Vec<PortMapping>,
    /// What the last plugin that succeeded gave.
    pub(super) result: Option<Map<String, Value>>,
}

/// How far a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Progress {
    /// The ADD of this many plugins was begun.
    Adding(usize),
    /// All succeeded.
    Added,
    /// DEL was begun, of a pod whose ADD was begun for this many plugins.
    Removing(usize),
}

impl Record {
    /// The plugins whose ADD was begun.
    pub(super) fn begun(&self) -> usize {
        match self.progress {
            Progress::Adding(begun) | Progress::Removing(begun) => begun,
            Progress::Added => self.network.plugins.len(),
        }
    }
}

/// The directory of records.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    pods: PathBuf,
}

impl Store {
    pub(super) fn open(dir: &Path) -> Result<Self, CniError> {
        let pods = dir.join("pods");
        fs::create_dir_all(&pods).map_err(failed("create", &pods))?;
        Ok(Self { dir: dir.to_owned(), pods })
    }

    /// The directory, if it exists.
    pub(super) fn open_existing(dir: &Path) -> Option<Self> {
        let pods = dir.join("pods");
        pods.is_dir().then(|| Self { dir: dir.to_owned(), pods })
    }

    /// All pods that have a record, readable or not. What a killed daemon had not yet renamed is removed.
    pub(super) fn list(&self) -> Result<Vec<SandboxId>, CniError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.pods).map_err(failed("read", &self.pods))? {
            let path = entry.map_err(failed("read", &self.pods))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match name.strip_suffix(SUFFIX).map(str::parse) {
                Some(Ok(sandbox)) => found.push(sandbox),
                _ if name.ends_with(".tmp") => fs::remove_file(&path).map_err(failed("remove", &path))?,
                _ => tracing::warn!(path = %path.display(), "not a record of a pod; it is left alone"),
            }
        }
        Ok(found)
    }

    pub(super) fn path(&self, sandbox: &SandboxId) -> PathBuf {
        self.pods.join(format!("{sandbox}{SUFFIX}"))
    }

    pub(super) fn write(&self, record: &Record) -> Result<(), CniError> {
        let path = self.path(&record.sandbox);
        let bytes = serde_json::to_vec(record).map_err(io::Error::other).map_err(failed("write", &path))?;
        write_atomic(&path, &bytes, Durability::Process).map_err(failed("write", &path))
    }

    /// A record; `None` when there is none. A damaged one is an error of kind `InvalidData`.
    pub(super) fn read(&self, sandbox: &SandboxId) -> Result<Option<Record>, CniError> {
        let path = self.path(sandbox);
        let bytes = match read_bounded(&path, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let damaged = |why: String| failed("read", &path)(io::Error::new(io::ErrorKind::InvalidData, why));
        let record: Record = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if record.sandbox == *sandbox { Ok(Some(record)) } else { Err(damaged("of another pod".to_owned())) }
    }

    /// Removes a record, which need not be there.
    pub(super) fn remove(&self, sandbox: &SandboxId) -> Result<(), CniError> {
        let path = self.path(sandbox);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// The blocks that were written last. A file that is damaged says nothing: a kubelet says it again.
    pub(super) fn blocks(&self) -> Result<Vec<Cidr>, CniError> {
        let path = self.dir.join(BLOCKS);
        match read_bounded(&path, MAX_FILE) {
            Ok(bytes) => {
                Ok(String::from_utf8_lossy(&bytes).lines().filter_map(|line| line.parse().ok()).collect())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    pub(super) fn write_blocks(&self, blocks: &[Cidr]) -> Result<(), CniError> {
        let path = self.dir.join(BLOCKS);
        let text: String = blocks.iter().map(|block| format!("{block}\n")).collect();
        write_atomic(&path, text.as_bytes(), Durability::Process).map_err(failed("write", &path))
    }

    /// Removes the directory, which need not be there.
    pub(super) fn purge(&self) -> Result<(), CniError> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &self.dir)(error)),
            _ => Ok(()),
        }
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CniError {
    move |source| CniError::Record { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
