//! The steps that happen in the new namespaces, before the container is prepared.

use serde::{Deserialize, Serialize};

/// One step. Every path is absolute inside the container and resolved within its root, whatever
/// links the image holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Sets the host name of the UTS namespace.
    Hostname(Vec<u8>),
    /// Sets the NIS domain name of the UTS namespace.
    Domainname(Vec<u8>),
    /// Writes a sysctl through a private procfs that nothing in the container can replace.
    Sysctl {
        /// The path below `/proc/sys`, with slashes.
        key: String,
        /// The value.
        value: Vec<u8>,
    },
    /// Attaches a mount.
    Mount(Mount),
    /// Makes a device node.
    Device(Device),
    /// Makes a symbolic link; one that exists already is kept.
    Link {
        /// Where.
        path: Vec<u8>,
        /// What it says.
        target: Vec<u8>,
    },
    /// Makes a directory and those above it, unless it exists.
    Directory(Vec<u8>),
    /// Opens a terminal of the container's own devpts and mounts it on `/dev/console`. Only with
    /// `run::Stdio::Terminal`; otherwise the step does nothing.
    Console,
    /// Makes the mount at this place read-only, now that everything in it is in place.
    Seal(Vec<u8>),
    /// Hides a file behind the null device, a directory behind an empty read-only one. A missing
    /// path is ignored.
    Mask(Vec<u8>),
    /// Makes a path and every mount below it read-only. A missing path is ignored.
    ReadOnly(Vec<u8>),
}

/// A mount to attach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where; made when missing, as a directory or, for a file, as an empty file.
    pub destination: Vec<u8>,
    /// What.
    pub source: MountSource,
    /// Flags of the mount itself.
    pub attributes: Attributes,
    /// Flags of the mount and those below it; with `MOUNT_ATTR_IDMAP` the maps of a bind mount are for all of them.
    pub recursive_attributes: Attributes,
    /// Propagation.
    pub propagation: Propagation,
    /// Whether the destination may lie on a procfs (the specification allows a few files there).
    pub on_proc: bool,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A new file system.
    Filesystem(Filesystem),
    /// A file or directory of the host.
    Bind {
        /// Which.
        origin: Origin,
        /// With the mounts below it.
        recursive: bool,
        /// Maps of an idmapped mount; both empty for none.
        uid_map: Vec<IdMap>,
        /// The same for groups.
        gid_map: Vec<IdMap>,
    },
}

/// A new file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filesystem {
    /// The kernel's name: `proc`, `tmpfs` and so on.
    pub kind: String,
    /// The source that mountinfo shows, or the device.
    pub source: Vec<u8>,
    /// Options of the file system: key and value, or a bare flag.
    pub options: Vec<(String, Option<Vec<u8>>)>,
    /// Whether the destination must be a plain directory with no link on the way (procfs, sysfs).
    pub strict: bool,
}

/// Where a bind mount's source is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// An absolute path of the host, resolved as the host resolves it.
    Path(Vec<u8>),
    /// A mount or file that the runner gives: index into `run::Given::mounts`.
    Given(u32),
}

/// Mount attributes, as `mount_setattr(2)` has them (`MOUNT_ATTR_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attributes {
    /// To set.
    pub set: u64,
    /// To clear first.
    pub clear: u64,
}

/// How mounts below a mount travel between namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Propagation {
    /// Nothing travels.
    #[default]
    Private,
    /// The same, and all below.
    RecursivePrivate,
    /// From the host to the container.
    Slave,
    /// The same, for all below.
    RecursiveSlave,
    /// Both ways.
    Shared,
    /// The same, for all below.
    RecursiveShared,
    /// Nothing travels and it cannot be bound elsewhere.
    Unbindable,
    /// The same, for all below.
    RecursiveUnbindable,
}

/// A range of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// The first id inside.
    pub inside: u32,
    /// The first id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Where.
    pub path: Vec<u8>,
    /// What.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner inside the container.
    pub uid: u32,
    /// Group inside the container.
    pub gid: u32,
}

/// The kinds of device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// Character device.
    Character,
    /// Block device.
    Block,
    /// Named pipe; the numbers mean nothing.
    Fifo,
}
