//! Leases on disk: one small file per pod, `leases/<sandbox id>`, written under another name and
//! renamed. There is no fsync: a lease belongs to a pod that does not survive a reboot either (see
//! docs/adr/0031). Beside them: `lock` (one daemon per directory), `last` (the offset handed out
//! last, so that addresses rest across restarts), `subnet`, `subnet6` and `services` (the blocks in use), and `boot` (the
//! kernel's id of the boot that the leases are of).

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use berth_sys::fs::{Durability, read_bounded, write_atomic};
use berth_types::SandboxId;
use serde::{Deserialize, Serialize};

use super::Lease;
use crate::cidr::{Cidr4, Cidr6};
use crate::error::OpenError;
use crate::port::PortMapping;

const VERSION: u32 = 1;
/// No lease is nearly as large; a larger file is not read into memory.
const MAX_FILE: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    leases: PathBuf,
    last: File,
    lock: File,
}

impl Drop for Store {
    /// Closing is not enough: a child that another thread has just forked holds a copy until it
    /// executes its program.
    fn drop(&mut self) {
        if let Err(error) = self.lock.unlock() {
            tracing::debug!(%error, "unlock the directory of leases");
        }
    }
}

/// A lease as it is on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    sandbox: SandboxId,
    address4: std::net::Ipv4Addr,
    address6: Option<std::net::Ipv6Addr>,
    ports: Vec<PortMapping>,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::File { action, path: path.to_owned(), source }
}

impl Store {
    pub(super) fn open(dir: &Path) -> Result<Self, OpenError> {
        let leases = dir.join("leases");
        fs::create_dir_all(&leases).map_err(failed("create", &leases))?;
        let open = |name: &str| {
            let path = dir.join(name);
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            options.open(&path).map_err(failed("open", &path))
        };
        let lock = open("lock")?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Busy { path: dir.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed("lock", dir)(source)),
        }
        let last = open("last")?;
        let store = Self { dir: dir.to_owned(), leases, last, lock };
        store.forget_earlier_boot()?;
        Ok(store)
    }

    /// Pods end with the machine; what is left of them are leases, some perhaps torn, whose ports and
    /// addresses would stand against new ones.
    fn forget_earlier_boot(&self) -> Result<(), OpenError> {
        let id = Path::new("/proc/sys/kernel/random/boot_id");
        let now = fs::read(id).map_err(failed("read", id))?;
        let before = fs::read(self.dir.join("boot")).ok();
        if before.as_ref() == Some(&now) {
            return Ok(());
        }
        if before.is_some() {
            fs::remove_dir_all(&self.leases).map_err(failed("remove", &self.leases))?;
            fs::create_dir(&self.leases).map_err(failed("create", &self.leases))?;
        }
        // On a full disk: without the file nothing is forgotten, with the old one all would be, next time.
        if let Err(error) = self.replace("boot", &now) {
            let error = berth_types::error::chain(&error);
            tracing::warn!(error, "leases of this boot cannot be distinguished from later ones");
            let path = self.dir.join("boot");
            if path.exists() {
                fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
        }
        Ok(())
    }

    /// All leases. A file that is not one (of a write that never ended) is removed; nothing was
    /// set up for it, since the file comes first.
    pub(super) fn load(&self) -> Result<Vec<Lease>, OpenError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.leases).map_err(failed("read", &self.leases))? {
            let path = entry.map_err(failed("read", &self.leases))?.path();
            match read(&path) {
                Some(lease) => found.push(lease),
                None => {
                    tracing::warn!(path = %path.display(), "damaged lease removed");
                    fs::remove_file(&path).map_err(failed("remove", &path))?;
                }
            }
        }
        found.sort_by_key(|lease| lease.address4);
        Ok(found)
    }

    pub(super) fn path(&self, sandbox: &SandboxId) -> PathBuf {
        self.leases.join(sandbox.as_str())
    }

    pub(super) fn write(&self, lease: &Lease, offset: u32) -> io::Result<()> {
        let record = Record {
            version: VERSION,
            sandbox: lease.sandbox.clone(),
            address4: lease.address4,
            address6: lease.address6,
            ports: lease.ports.clone(),
        };
        let bytes = serde_json::to_vec(&record)?;
        write_atomic(&self.path(&lease.sandbox), &bytes, Durability::Process)?;
        // A hint only: torn or lost, it costs an address its rest.
        self.last.write_all_at(&offset.to_le_bytes(), 0)
    }

    /// Removes a lease; it need not be there.
    pub(super) fn remove(&self, sandbox: &SandboxId) -> io::Result<()> {
        match fs::remove_file(self.path(sandbox)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The offset handed out last; 0 when unknown.
    pub(super) fn last(&self) -> u32 {
        let mut bytes = [0; 4];
        let read = self.last.read_exact_at(&mut bytes, 0);
        if read.is_ok() { u32::from_le_bytes(bytes) } else { 0 }
    }

    /// The IPv4 block that was chosen earlier.
    pub(super) fn subnet(&self) -> Option<Cidr4> {
        self.block("subnet")
    }

    /// The block of services' addresses that was chosen earlier.
    pub(super) fn services(&self) -> Option<Cidr4> {
        self.block("services")
    }

    pub(super) fn set_services(&self, cidr: Cidr4) -> Result<(), OpenError> {
        self.replace("services", format!("{cidr}\n").as_bytes())
    }

    /// The IPv6 block that was chosen earlier.
    pub(super) fn subnet6(&self) -> Option<Cidr6> {
        self.block("subnet6")
    }

    fn block<T: FromStr>(&self, name: &str) -> Option<T> {
        fs::read_to_string(self.dir.join(name)).ok()?.trim().parse().ok()
    }

    pub(super) fn set_subnet(&self, cidr: Cidr4) -> Result<(), OpenError> {
        self.replace("subnet", format!("{cidr}\n").as_bytes())
    }

    pub(super) fn set_subnet6(&self, cidr: Cidr6) -> Result<(), OpenError> {
        self.replace("subnet6", format!("{cidr}\n").as_bytes())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), OpenError> {
        let path = self.dir.join(name);
        write_atomic(&path, bytes, Durability::Process).map_err(failed("write", &path))
    }

    /// Removes the directory, which need not be there.
    pub(super) fn purge(&self) -> Result<(), (PathBuf, io::Error)> {
        match fs::remove_dir_all(&self.dir) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err((self.dir.clone(), source)),
            _ => Ok(()),
        }
    }
}

fn read(path: &Path) -> Option<Lease> {
    let record: Record = serde_json::from_slice(&read_bounded(path, MAX_FILE).ok()?).ok()?;
    let named = path.file_name().is_some_and(|name| name == record.sandbox.as_str());
    let Record { sandbox, address4, address6, ports, version } = record;
    (version == VERSION && named).then_some(Lease { sandbox, address4, address6, ports })
}

#[cfg(test)]
mod tests;
