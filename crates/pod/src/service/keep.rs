//! Services on disk: what was asked for and what each has, under the root directory and synced, so that an address stays its
//! service's after a restart of the daemon and of the machine.
//!
//! ```text
//! <root>/services/UID      written before the address is used, removed after the last rule
//! <root>/services/.ready   which containers were ready; a new daemon takes them for ready until their probes have answered
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::manifest::{Service, resume_service};

/// The version that is written. A reader refuses a newer one; new fields have defaults and need none.
const VERSION: u32 = 1;
const READY: &str = ".ready";
/// The most bytes of a file.
const MAX_BYTES: u64 = 4 << 20;

/// What a service has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// Its IPv4 address.
    #[serde(default)]
    pub address4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    #[serde(default)]
    pub address6: Option<Ipv6Addr>,
    /// Ports of the machine, in the order of its ports.
    #[serde(default)]
    pub node_ports: Vec<Option<u16>>,
}

/// A service and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) uid: String,
    /// Nanoseconds since 1970.
    pub(super) created_at: i64,
    pub(super) service: Service,
    pub(super) lease: Lease,
}

/// The same as it is on disk.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    version: u32,
    uid: String,
    created_at: i64,
    document: String,
    lease: Lease,
}

/// Writes a service.
pub(super) fn save(dir: &Path, record: &Record) -> io::Result<()> {
    let file = File {
        version: VERSION,
        uid: record.uid.clone(),
        created_at: record.created_at,
        document: record.service.source.clone(),
        lease: record.lease.clone(),
    };
    write(dir, &record.uid, &serde_json::to_vec(&file)?, true)
}

/// Writes which containers are ready: of this boot alone, so it is not synced.
pub(super) fn save_ready(dir: &Path, ready: &BTreeSet<String>) -> io::Result<()> {
    write(dir, READY, &serde_json::to_vec(ready)?, false)
}

/// Which containers were ready.
pub(super) fn ready(dir: &Path) -> BTreeSet<String> {
    let bytes = read(&dir.join(READY)).ok().flatten();
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn write(dir: &Path, name: &str, bytes: &[u8], sync: bool) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let next = dir.join(format!(".{name}.next"));
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(bytes)?;
    if sync {
        file.sync_all()?;
    }
    fs::rename(&next, dir.join(name))?;
    if sync {
        fs::File::open(dir)?.sync_all()?;
        dir.parent().map_or(Ok(()), |above| fs::File::open(above)?.sync_all())?;
    }
    Ok(())
}

/// Removes a service.
pub(super) fn remove(dir: &Path, uid: &str) -> io::Result<()> {
    match fs::remove_file(dir.join(uid)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// All services, and what cannot be read, which stays where it is.
pub(super) fn all(dir: &Path) -> (Vec<Record>, Vec<String>) {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return (found, faults),
        Err(e) => return (found, vec![format!("{}: {e}", dir.display())]),
        Ok(entries) => entries,
    };
    // Names with a dot are no services: what is known to be ready, and writes that never ended.
    let paths = entries.flatten().map(|entry| entry.path());
    let is_record = |path: &std::path::PathBuf| {
        path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.'))
    };
    for path in paths.filter(is_record) {
        match one(&path) {
            Ok(record) => found.push(record),
            Err(e) => faults.push(format!("{}: {e}", path.display())),
        }
    }
    found.sort_by_key(|record| record.created_at);
    (found, faults)
}

fn one(path: &Path) -> Result<Record, String> {
    let bytes = read(path).map_err(|e| e.to_string())?.ok_or("it is gone")?;
    let file: File = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    if file.version > VERSION {
        return Err(format!("version {} is newer than {VERSION}, the newest that is known", file.version));
    }
    if path.file_name().is_none_or(|name| name != file.uid.as_str()) {
        return Err("it is of another service".to_owned());
    }
    let service = resume_service(&file.document).map_err(|e| e.to_string())?;
    Ok(Record { uid: file.uid, created_at: file.created_at, service, lease: file.lease })
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
