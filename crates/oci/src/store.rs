//! The containers of one `--root`: a directory for each.
//!
//! ```text
//! ROOT/ID/state.json    the record
//!         config.json   the specification as it was at create, for exec
//!         door          where the container's process waits for its start
//! ```
//!
//! A command that changes a container holds the lock of its directory. Those that only look, and `kill`, do not: the record is
//! replaced as a whole.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use berth_sys::cgroup::Cgroup;
use berth_sys::fs::{Durability, read_bounded, write_atomic};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::OciError;
use crate::record::{MAX_RECORD, Phase, Record, Status, VERSION};

/// How long a command waits for another one that works on the same container.
const LOCK_LIMIT: Duration = Duration::from_secs(60);
/// How long a start waits for a process that lets nobody in.
const DOOR_LIMIT: Duration = Duration::from_secs(45);
/// The wait before a lock, or a door, is tried again.
const LOCK_AGAIN: Duration = Duration::from_millis(2);
/// The longest name of a container: it is the name of a directory.
const MAX_ID: usize = 255;
/// The most containers that are listed.
const MAX_LISTED: usize = 1 << 16;
/// How many may wait at a door.
const BACKLOG: i32 = 16;
/// How often a name is claimed that others remove at the same time.
const CLAIMS: usize = 16;

/// The containers of one root.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
}

/// What is behind a door.
#[derive(Debug)]
pub(crate) enum Knock {
    /// Nobody any more.
    Nobody,
    /// A process, to which this is a connection.
    Admitted(OwnedFd),
    /// A process that has let nobody in for long, since it is stopped, say: as many as may wait are waiting.
    Crowded,
}

/// One container's directory.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    dir: PathBuf,
    fd: File,
}

/// The lock of a container, for as long as it lives. The value, and not only the descriptor: a child shares that until it executes.
#[derive(Debug)]
pub(crate) struct Locked {
    pub(crate) container: Container,
}

impl Locked {
    /// How it is. A create that goes on would hold the lock, which its holder must not try again: that would give it up.
    pub(crate) fn status(&self, record: &Record) -> Result<Status, OciError> {
        match record.phase {
            Phase::Creating => Ok(Status::Stopped),
            _ => self.container.status(record),
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let _released = rustix::fs::flock(&self.container.fd, FlockOperation::Unlock);
    }
}

impl Store {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Makes the directory of a new container, locked. One in which there is no container, left by a command that was killed, is
    /// taken over.
    pub(crate) fn claim(&self, id: &str) -> Result<Locked, OciError> {
        let dir = self.dir(id)?;
        let exists = || OciError::Exists { id: id.to_owned() };
        for _ in 0..CLAIMS {
            self.make(&dir)?;
            let fd = match File::open(&dir) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                opened => opened.map_err(OciError::io("open", &dir))?,
            };
            let container = Container { id: id.to_owned(), dir: dir.clone(), fd };
            if !container.try_lock()? {
                return Err(exists());
            }
            let locked = Locked { container };
            if !locked.container.is_there() {
                continue;
            }
            return match locked.container.load() {
                Err(OciError::NotFound { .. }) => locked.container.clear().map(|()| locked),
                Ok(_) | Err(_) => Err(exists()),
            };
        }
        Err(OciError::Busy { id: id.to_owned(), seconds: 0 })
    }

    /// Makes a directory, and those above it, where they are missing.
    fn make(&self, dir: &Path) -> Result<(), OciError> {
        let make = |dir: &Path| match std::fs::DirBuilder::new().mode(0o700).create(dir) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        };
        match make(dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let mut above = std::fs::DirBuilder::new();
                above.recursive(true).mode(0o700);
                above.create(&self.root).map_err(OciError::io("make", &self.root))?;
                make(dir)
            }
            made => made,
        }
        .map_err(OciError::io("make", dir))
    }

    /// The container of that name.
    pub(crate) fn open(&self, id: &str) -> Result<Container, OciError> {
        let dir = self.dir(id)?;
        match File::open(&dir) {
            Ok(fd) => Ok(Container { id: id.to_owned(), dir, fd }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(OciError::NotFound { id: id.to_owned() })
            }
            Err(e) => Err(OciError::io("open", &dir)(e)),
        }
    }

    /// The container of that name and what is known of it, locked.
    pub(crate) fn locked(&self, id: &str) -> Result<(Locked, Record), OciError> {
        let locked = self.open(id)?.lock()?;
        let record = locked.container.load()?;
        Ok((locked, record))
    }

    /// All containers, by name.
    pub(crate) fn list(&self) -> Result<Vec<Container>, OciError> {
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(OciError::io("list", &self.root)(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(OciError::io("list", &self.root))?;
            if names.len() == MAX_LISTED {
                let problem = format!("there are more than {MAX_LISTED} containers");
                return Err(OciError::invalid(self.root.display().to_string(), problem));
            }
            names.extend(entry.file_name().into_string());
        }
        names.sort_unstable();
        // One that is removed meanwhile is not listed, nor is what is no container.
        Ok(names.iter().filter_map(|name| self.open(name).ok()).collect())
    }

    fn dir(&self, id: &str) -> Result<PathBuf, OciError> {
        check_id(id)?;
        Ok(self.root.join(id))
    }
}

/// The characters that runc allows, within the length of a file name.
fn check_id(id: &str) -> Result<(), OciError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    if id.is_empty() || id.len() > MAX_ID || id == "." || id == ".." || !id.chars().all(allowed) {
        let problem = "1 to 255 letters, digits, _, +, - and . are allowed";
        return Err(OciError::invalid(format!("container id {id:?}"), problem));
    }
    Ok(())
}

impl Container {
    /// Waits for its lock.
    pub(crate) fn lock(self) -> Result<Locked, OciError> {
        let begun = Instant::now();
        while !self.try_lock()? {
            if begun.elapsed() > LOCK_LIMIT {
                return Err(OciError::Busy { id: self.id, seconds: LOCK_LIMIT.as_secs() });
            }
            std::thread::sleep(LOCK_AGAIN);
        }
        let locked = Locked { container: self };
        if locked.container.is_there() {
            return Ok(locked);
        }
        Err(OciError::NotFound { id: locked.container.id.clone() })
    }

    /// Whether its directory is there: it may have been removed, and another made in its place.
    fn is_there(&self) -> bool {
        let own = self.fd.metadata().map(|m| m.ino());
        let there = std::fs::metadata(&self.dir).map(|m| m.ino());
        matches!((own, there), (Ok(own), Ok(there)) if own == there)
    }

    fn try_lock(&self) -> Result<bool, OciError> {
        match rustix::fs::flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(false),
            Err(e) => Err(OciError::io("lock", &self.dir)(e)),
        }
    }

    /// What is known of it.
    pub(crate) fn load(&self) -> Result<Record, OciError> {
        let path = self.dir.join("state.json");
        let bytes = match read_bounded(&path, MAX_RECORD) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(OciError::NotFound { id: self.id.clone() });
            }
            Err(e) => return Err(OciError::io("read", &path)(e)),
        };
        decode(&bytes).map_err(|problem| OciError::invalid(path.display().to_string(), problem))
    }

    /// Writes what is known of it.
    pub(crate) fn save(&self, record: &Record) -> Result<(), OciError> {
        let path = self.dir.join("state.json");
        let bytes = serde_json::to_vec(record).map_err(|e| OciError::invalid("the record", e))?;
        write_atomic(&path, &bytes, Durability::Process).map_err(OciError::io("write", &path))
    }

    /// The path of its copy of the specification.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("config.json")
    }

    /// Makes the door: the socket at which its process waits.
    pub(crate) fn make_door(&self) -> Result<OwnedFd, OciError> {
        let door = socket(SocketFlags::empty())?;
        rustix::net::bind(&door, &self.door()?).map_err(OciError::io("make a socket in", &self.dir))?;
        rustix::net::listen(&door, BACKLOG).map_err(OciError::system("listen at the door"))?;
        Ok(door)
    }

    /// Looks who is behind the door, without waiting.
    pub(crate) fn knock(&self) -> Result<Knock, OciError> {
        let socket = socket(SocketFlags::NONBLOCK)?;
        match rustix::net::connect(&socket, &self.door()?) {
            Ok(()) => {
                rustix::io::ioctl_fionbio(&socket, false).map_err(OciError::system("make a socket wait"))?;
                Ok(Knock::Admitted(socket))
            }
            Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(Knock::Nobody),
            Err(Errno::AGAIN) => Ok(Knock::Crowded),
            Err(e) => Err(OciError::io("connect to the door in", &self.dir)(e)),
        }
    }

    /// A connection with the process behind the door, which is waited for; None when there is none any more.
    pub(crate) fn enter(&self) -> Result<Option<OwnedFd>, OciError> {
        let begun = Instant::now();
        loop {
            match self.knock()? {
                Knock::Nobody => return Ok(None),
                Knock::Admitted(connection) => return Ok(Some(connection)),
                Knock::Crowded if begun.elapsed() > DOOR_LIMIT => {
                    let (id, seconds) = (self.id.clone(), DOOR_LIMIT.as_secs());
                    return Err(OciError::Silent { id, seconds });
                }
                Knock::Crowded => std::thread::sleep(LOCK_AGAIN),
            }
        }
    }

    /// By the descriptor of the directory: the address of a socket is short, the path of a root need not be.
    fn door(&self) -> Result<SocketAddrUnix, OciError> {
        let path = format!("/proc/self/fd/{}/door", self.fd.as_fd().as_raw_fd());
        SocketAddrUnix::new(path).map_err(OciError::system("make the address of the door"))
    }

    /// How it is, by its record and the kernel, to who has no lock: see [`Locked::status`].
    pub(crate) fn status(&self, record: &Record) -> Result<Status, OciError> {
        if record.phase == Phase::Creating {
            // A create that was killed has no lock. Shared: who looks at the same time must not see this one's.
            let abandoned = match rustix::fs::flock(&self.fd, FlockOperation::NonBlockingLockShared) {
                Ok(()) => true,
                Err(Errno::WOULDBLOCK | Errno::INTR) => false,
                Err(e) => return Err(OciError::io("lock", &self.dir)(e)),
            };
            if abandoned {
                let _released = rustix::fs::flock(&self.fd, FlockOperation::Unlock);
            }
            return Ok(if abandoned { Status::Stopped } else { Status::Creating });
        }
        if record.open()?.is_none() {
            return Ok(Status::Stopped);
        }
        if record.group()?.with(Cgroup::is_frozen)? {
            return Ok(Status::Paused);
        }
        // A start that was killed has not changed the record.
        let waits = record.phase == Phase::Created && !matches!(self.knock()?, Knock::Nobody);
        Ok(if waits { Status::Created } else { Status::Running })
    }

    /// Removes what a command that was killed has left in a directory without a record.
    fn clear(&self) -> Result<(), OciError> {
        for entry in std::fs::read_dir(&self.dir).map_err(OciError::io("list", &self.dir))? {
            let path = entry.map_err(OciError::io("list", &self.dir))?.path();
            std::fs::remove_file(&path).map_err(OciError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Removes all that is known of it.
    pub(crate) fn remove(&self) -> Result<(), OciError> {
        for name in ["door", "config.json", "state.json"] {
            match std::fs::remove_file(self.dir.join(name)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(OciError::io("remove", &self.dir.join(name))(e));
                }
                _ => {}
            }
        }
        // What a write that was interrupted has left.
        std::fs::remove_dir_all(&self.dir).map_err(OciError::io("remove", &self.dir))
    }
}

fn socket(flags: SocketFlags) -> Result<OwnedFd, OciError> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | flags, None)
        .map_err(OciError::system("make a socket"))
}

fn decode(bytes: &[u8]) -> Result<Record, String> {
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if version != VERSION {
        return Err(format!("a record of version {version}, this program knows {VERSION}"));
    }
    serde_json::from_slice(bytes).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests;
