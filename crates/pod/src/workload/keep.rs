//! Workloads on disk: what was asked for and what came of it, under the root directory and synced, so that they go on after a
//! restart of the daemon and of the machine ([ADR 0098](../../../docs/adr/0098-workloads.md)).
//!
//! ```text
//! <root>/workloads/UID/record    what was asked for; written when the workload is made, changed, or to be removed
//! <root>/workloads/UID/status    what came of it: outcomes of a Job, the last time of a CronJob
//! ```

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::model::Status;

/// The version that is written. A reader refuses a newer one; new fields have defaults and need none.
const VERSION: u32 = 1;
const RECORD: &str = "record";
const STATUS: &str = "status";
/// The most bytes of a file: a manifest and its objects, as JSON in JSON.
const MAX_BYTES: u64 = 16 << 20;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    version: u32,
    /// Of the workload.
    pub(super) uid: String,
    /// Nanoseconds since 1970.
    pub(super) created_at: i64,
    /// The uid of the CronJob that made it.
    #[serde(default)]
    pub(super) owner: Option<String>,
    /// Whether it is being removed.
    #[serde(default)]
    pub(super) removing: bool,
    /// Its document, and those of the objects that its pods use, as JSON.
    pub(super) document: String,
    #[serde(default)]
    pub(super) objects: String,
}

impl Record {
    pub(super) fn new(uid: String, created_at: i64, owner: Option<String>) -> Self {
        let (document, objects) = (String::new(), String::new());
        Self { version: VERSION, uid, created_at, owner, removing: false, document, objects }
    }
}

/// Writes what was asked for. For root alone: a Secret may be in it.
pub(super) fn save(dir: &Path, record: &Record) -> io::Result<()> {
    write(&dir.join(&record.uid), RECORD, &serde_json::to_vec(record)?)
}

/// Writes what came of it.
pub(super) fn save_status(dir: &Path, uid: &str, status: &Status) -> io::Result<()> {
    write(&dir.join(uid), STATUS, &serde_json::to_vec(status)?)
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let next = dir.join(format!(".{name}.next"));
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&next, dir.join(name))?;
    fs::File::open(dir)?.sync_all()?;
    dir.parent().map_or(Ok(()), |above| fs::File::open(above)?.sync_all())
}

/// Removes all of a workload.
pub(super) fn remove(dir: &Path, uid: &str) -> io::Result<()> {
    match fs::remove_dir_all(dir.join(uid)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What was kept of every workload, and what cannot be read, which stays where it is.
pub(super) fn all(dir: &Path) -> (Vec<(Record, Status)>, Vec<String>) {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return (found, faults),
        Err(e) => return (found, vec![format!("{}: {e}", dir.display())]),
        Ok(entries) => entries,
    };
    for entry in entries {
        let path = match entry {
            Ok(entry) => entry.path(),
            Err(e) => {
                faults.push(format!("{}: {e}", dir.display()));
                continue;
            }
        };
        match one(&path) {
            Ok(Some(kept)) => found.push(kept),
            // It was being made when the daemon was killed.
            Ok(None) => drop(fs::remove_dir_all(&path)),
            Err(e) => faults.push(format!("{}: {e}", path.display())),
        }
    }
    (found, faults)
}

fn one(dir: &Path) -> Result<Option<(Record, Status)>, String> {
    let Some(bytes) = read(&dir.join(RECORD)).map_err(|e| e.to_string())? else { return Ok(None) };
    let record: Record = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    if record.version > VERSION {
        return Err(format!("version {} is newer than {VERSION}, the newest that is known", record.version));
    }
    if dir.file_name().is_none_or(|name| name != record.uid.as_str()) {
        return Err("it is of another workload".to_owned());
    }
    let status = read(&dir.join(STATUS)).map_err(|e| e.to_string())?;
    let status = status.map_or(Ok(Status::default()), |bytes| serde_json::from_slice(&bytes));
    Ok(Some((record, status.map_err(|e| e.to_string())?)))
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
        Ok(found) if found.len() > MAX_BYTES => return Err(io::Error::other("it is too large")),
        Ok(_) => {}
    }
    fs::read(path).map(Some)
}

#[cfg(test)]
mod tests;
