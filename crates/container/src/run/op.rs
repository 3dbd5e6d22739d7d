//! Steps made ready for the child: C strings, open sources, nothing left to allocate.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_sys::mount::{self, Change};
use rustix::fs::{FileType, Mode};
use rustix::mount::MountAttrFlags;

use super::RunError;
use super::idmap::{self, Maps};
use super::steps::is_procfs;
use crate::plan::{Attributes, DeviceKind, Filesystem, Mount, MountSource, Origin, Propagation, Step};

/// A prepared step.
#[derive(Debug)]
pub(super) enum Op {
    Hostname(Vec<u8>),
    Domainname(Vec<u8>),
    Sysctl { path: CString, value: Vec<u8> },
    Mount(MountOp),
    Device(DeviceOp),
    Link { parent: CString, name: CString, target: CString },
    Directory(CString),
    Console { parent: CString },
    Seal(CString),
    Mask(CString),
    ReadOnly(CString),
}

/// A prepared mount.
#[derive(Debug)]
pub(super) struct MountOp {
    pub(super) target: CString,
    pub(super) source: SourceOp,
    pub(super) on_proc: bool,
}

/// What is attached.
#[derive(Debug)]
pub(super) enum SourceOp {
    /// A file system that the child makes, in its namespaces.
    New {
        kind: CString,
        options: Vec<(CString, Option<CString>)>,
        attributes: MountAttrFlags,
        /// What [`mount::change`] has to do to it.
        propagation: u64,
        strict: bool,
        /// The file system where the child itself would make another one: a procfs of a PID namespace that it is not in.
        context: Option<OwnedFd>,
    },
    /// A detached mount that the parent made.
    Ready {
        mount: OwnedFd,
        directory: bool,
        /// A mount of the peer group that it joins when everything is attached: see [`shared_later`].
        peer: Option<OwnedFd>,
    },
}

/// A prepared device node.
#[derive(Debug)]
pub(super) struct DeviceOp {
    pub(super) parent: CString,
    pub(super) name: CString,
    pub(super) kind: FileType,
    pub(super) mode: Mode,
    pub(super) device: u64,
    pub(super) owner: (u32, u32),
}

/// A C string, or an error that names what had the null byte.
pub(super) fn c_string(bytes: &[u8], what: &str) -> Result<CString, RunError> {
    CString::new(bytes).map_err(|_| RunError::Plan { what: format!("{what} contains a NUL byte") })
}

/// A path in the container as the child uses it: relative to the root.
fn inside(path: &[u8]) -> Result<CString, RunError> {
    let shown = String::from_utf8_lossy(path);
    if path.first() != Some(&b'/') {
        return Err(RunError::Plan { what: format!("{shown:?} is not an absolute path") });
    }
    let start = path.iter().position(|b| *b != b'/').unwrap_or(path.len());
    let relative = &path[start..];
    c_string(if relative.is_empty() { b"." } else { relative }, &shown)
}

/// Parent directory and last component of a path in the container.
fn split(path: &[u8]) -> Result<(CString, CString), RunError> {
    let whole = inside(path)?;
    let bytes = whole.as_bytes();
    let (parent, name) = match bytes.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&bytes[..slash], &bytes[slash + 1..]),
        None => (&b"."[..], bytes),
    };
    if matches!(name, b"" | b"." | b"..") {
        return Err(RunError::Plan {
            what: format!("{:?} does not name a file", String::from_utf8_lossy(path)),
        });
    }
    let parent = if parent.is_empty() { b"." } else { parent };
    Ok((c_string(parent, "a path")?, c_string(name, "a path")?))
}

impl Op {
    /// Prepares a step. `given` are the mounts that the plan may refer to by number; `later` says whether
    /// shared mounts become that at the end.
    pub(super) fn new(
        step: &Step,
        given: &[BorrowedFd<'_>],
        maps: &mut Maps<'_>,
        later: bool,
    ) -> Result<Op, RunError> {
        Ok(match step {
            Step::Hostname(name) => Op::Hostname(name.clone()),
            Step::Domainname(name) => Op::Domainname(name.clone()),
            Step::Sysctl { key, .. } if key.split('/').any(|part| matches!(part, "" | "." | "..")) => {
                return Err(RunError::Plan { what: format!("{key:?} is not a sysctl") });
            }
            Step::Sysctl { key, value } => Op::Sysctl {
                path: c_string(format!("sys/{key}").as_bytes(), "a sysctl")?,
                value: value.clone(),
            },
            Step::Mount(mount) => Op::Mount(MountOp {
                target: inside(&mount.destination)?,
                source: source(mount, given, maps, later)?,
                on_proc: mount.on_proc,
            }),
            Step::Device(device) => {
                let (parent, name) = split(&device.path)?;
                let kind = match device.kind {
                    DeviceKind::Character => FileType::CharacterDevice,
                    DeviceKind::Block => FileType::BlockDevice,
                    DeviceKind::Fifo => FileType::Fifo,
                };
                let number = rustix::fs::makedev(device.major, device.minor);
                Op::Device(DeviceOp {
                    parent,
                    name,
                    kind,
                    mode: Mode::from_raw_mode(device.mode & 0o7777),
                    device: if kind == FileType::Fifo { 0 } else { number },
                    owner: (device.uid, device.gid),
                })
            }
            Step::Link { path, target } => {
                let (parent, name) = split(path)?;
                Op::Link { parent, name, target: c_string(target, "a link")? }
            }
            Step::Directory(path) => Op::Directory(inside(path)?),
            Step::Console => Op::Console { parent: c"dev".into() },
            Step::Seal(path) => Op::Seal(inside(path)?),
            Step::Mask(path) => Op::Mask(inside(path)?),
            Step::ReadOnly(path) => Op::ReadOnly(inside(path)?),
        })
    }

    /// The descriptors that the child needs for it.
    pub(super) fn fds(&self) -> [Option<BorrowedFd<'_>>; 2] {
        match self {
            Op::Mount(MountOp { source: SourceOp::Ready { mount, peer, .. }, .. }) => {
                [Some(mount.as_fd()), peer.as_ref().map(AsFd::as_fd)]
            }
            Op::Mount(MountOp { source: SourceOp::New { context, .. }, .. }) => {
                [context.as_ref().map(AsFd::as_fd), None]
            }
            Op::Hostname(_) | Op::Domainname(_) | Op::Sysctl { .. } | Op::Device(_) => [None; 2],
            Op::Link { .. } | Op::Directory(_) | Op::Console { .. } => [None; 2],
            Op::Seal(_) | Op::Mask(_) | Op::ReadOnly(_) => [None; 2],
        }
    }

    /// Whether it mounts a procfs, whose PID namespace then has to be given here.
    pub(super) fn procfs(&mut self) -> Option<&mut Option<OwnedFd>> {
        match self {
            Op::Mount(MountOp { source: SourceOp::New { kind, context, .. }, .. }) => {
                (kind.as_c_str() == c"proc").then_some(context)
            }
            Op::Mount(_) | Op::Hostname(_) | Op::Domainname(_) | Op::Sysctl { .. } | Op::Device(_) => None,
            Op::Link { .. } | Op::Directory(_) | Op::Console { .. } => None,
            Op::Seal(_) | Op::Mask(_) | Op::ReadOnly(_) => None,
        }
    }

    /// Whether it makes a file system of files of the host: a device, or layers.
    pub(super) fn names_host_paths(&self) -> bool {
        let Op::Mount(MountOp { source: SourceOp::New { options, .. }, .. }) = self else { return false };
        options.iter().any(|(_, value)| value.as_ref().is_some_and(|value| value.as_bytes().contains(&b'/')))
    }

    /// The mount that is to be shared, and with whom.
    pub(super) fn to_share(&self) -> Option<(BorrowedFd<'_>, BorrowedFd<'_>)> {
        match self.fds() {
            [Some(mount), Some(peer)] => Some((mount, peer)),
            _ => None,
        }
    }
}

/// The kernel's flag and whether it goes for all mounts below.
pub(super) fn propagation(value: Propagation) -> (u64, bool) {
    match value {
        Propagation::Private => (mount::PRIVATE, false),
        Propagation::RecursivePrivate => (mount::PRIVATE, true),
        Propagation::Slave => (mount::SLAVE, false),
        Propagation::RecursiveSlave => (mount::SLAVE, true),
        Propagation::Shared => (mount::SHARED, false),
        Propagation::RecursiveShared => (mount::SHARED, true),
        Propagation::Unbindable => (mount::UNBINDABLE, false),
        Propagation::RecursiveUnbindable => (mount::UNBINDABLE, true),
    }
}

fn source(
    plan: &Mount,
    given: &[BorrowedFd<'_>],
    maps: &mut Maps<'_>,
    later: bool,
) -> Result<SourceOp, RunError> {
    match &plan.source {
        MountSource::Filesystem(filesystem) => new_filesystem(plan, filesystem),
        MountSource::Bind { origin, recursive, uid_map, gid_map } => {
            let mount = open_source(origin, *recursive, given)?;
            let subject = |what: &str| step(format!("{what} of {}", describe_mount(plan)));
            let stat = rustix::fs::fstat(&mount).map_err(subject("stat the source"))?;
            let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            // What is sealed and masked below it, and written to, must be the kernel's.
            if plan.destination == b"/proc"
                && !is_procfs(mount.as_fd()).map_err(subject("inspect the source"))?
            {
                let what = format!("{}: only a procfs may be mounted on /proc", describe_mount(plan));
                return Err(RunError::Plan { what });
            }
            match maps.of(uid_map, gid_map)? {
                Some(user) => idmap::apply(plan, origin, mount.as_fd(), user, &describe_mount(plan))?,
                None if plan.recursive_attributes.set & mount::IDMAP != 0 => {
                    let what = format!("{}: it is to be idmapped and has no maps", describe_mount(plan));
                    return Err(RunError::Plan { what });
                }
                None => {}
            }
            set_properties(plan, mount.as_fd()).map_err(subject("set properties"))?;
            let shared = matches!(plan.propagation, Propagation::Shared | Propagation::RecursiveShared);
            let again = || open_source(origin, false, given);
            let peer = (shared && later).then(|| shared_later(mount.as_fd(), again)).transpose()?;
            Ok(SourceOp::Ready { mount, directory, peer })
        }
    }
}

/// Makes a shared mount private, and gives another of its peers, by which it is shared again.
///
/// What is mounted in a shared mount appears on the host and stays there when the container has ended: the pod's
/// `/dev/shm` on the host's, a terminal on `/dev/console`, and twice as many with each start. So nothing is
/// shared until the container's own mounts are in place.
///
/// Before Linux 6.15 a detached mount cannot be cloned. There the source is opened again: where that is shared
/// its copies are peers, and where it is not, the group has no other members.
fn shared_later(
    mount: BorrowedFd<'_>,
    again: impl FnOnce() -> Result<OwnedFd, RunError>,
) -> Result<OwnedFd, RunError> {
    let alone = Change { propagation: mount::PRIVATE, ..Change::default() };
    let shared = Change { propagation: mount::SHARED, ..Change::default() };
    let peer = match mount::clone_tree(mount, false) {
        Ok(peer) => peer,
        Err(_) => {
            let peer = again()?;
            mount::change(peer.as_fd(), c"", shared).map_err(step("share a mount"))?;
            peer
        }
    };
    mount::change(mount, c"", alone).map_err(step("keep a shared mount apart"))?;
    Ok(peer)
}

fn open_source(origin: &Origin, recursive: bool, given: &[BorrowedFd<'_>]) -> Result<OwnedFd, RunError> {
    use rustix::mount::OpenTreeFlags as F;
    match origin {
        Origin::Path(path) => {
            let shown = String::from_utf8_lossy(path).into_owned();
            let c_path = c_string(path, &shown)?;
            let mut flags = F::OPEN_TREE_CLONE | F::OPEN_TREE_CLOEXEC;
            if recursive {
                flags |= F::AT_RECURSIVE;
            }
            rustix::mount::open_tree(rustix::fs::CWD, c_path.as_c_str(), flags)
                .map_err(step(format!("open the mount source {shown}")))
        }
        Origin::Given(number) => {
            let fd = usize::try_from(*number).ok().and_then(|n| given.get(n));
            let fd =
                fd.ok_or_else(|| RunError::Plan { what: format!("mount source {number} was not given") })?;
            // A mount that is attached somewhere is copied; a detached one (which cannot be, before
            // Linux 6.15) is used as it is.
            mount::clone_tree(*fd, recursive)
                .or_else(|_| rustix::io::fcntl_dupfd_cloexec(fd, 0))
                .map_err(step(format!("take the mount source {number}")))
        }
    }
}

/// Sets attributes and propagation of a bind mount.
fn set_properties(plan: &Mount, mount: BorrowedFd<'_>) -> Result<(), rustix::io::Errno> {
    let (flag, deep) = propagation(plan.propagation);
    let mut all = change_of(plan.recursive_attributes);
    all.recursive = true;
    let mut top = change_of(plan.attributes);
    if deep {
        all.propagation = flag
    } else {
        top.propagation = flag
    }
    for wanted in [all, top] {
        if wanted.set | wanted.clear | wanted.propagation != 0 {
            mount::change(mount, c"", wanted)?;
        }
    }
    Ok(())
}

fn change_of(attributes: Attributes) -> Change<'static> {
    Change { set: attributes.set & !mount::IDMAP, clear: attributes.clear, ..Change::default() }
}

fn new_filesystem(plan: &Mount, filesystem: &Filesystem) -> Result<SourceOp, RunError> {
    let mut options = Vec::with_capacity(filesystem.options.len() + 1);
    if !filesystem.source.is_empty() {
        options.push((c"source".into(), Some(c_string(&filesystem.source, "a mount source")?)));
    }
    for (key, value) in &filesystem.options {
        let value = value.as_ref().map(|v| c_string(v, "a mount option")).transpose()?;
        options.push((c_string(key.as_bytes(), "a mount option")?, value));
    }
    let set = (plan.attributes.set | plan.recursive_attributes.set)
        & !(plan.attributes.clear & !mount::ATIME)
        & !plan.recursive_attributes.clear;
    let bits =
        u32::try_from(set).map_err(|_| RunError::Plan { what: format!("mount attributes {set:#x}") })?;
    Ok(SourceOp::New {
        kind: c_string(filesystem.kind.as_bytes(), "a mount type")?,
        options,
        attributes: MountAttrFlags::from_bits_retain(bits),
        propagation: match plan.propagation {
            // As a new mount is.
            Propagation::Private | Propagation::RecursivePrivate => 0,
            other => propagation(other).0,
        },
        strict: filesystem.strict,
        context: None,
    })
}

/// Makes the error of a named step.
pub(super) fn step<E: Into<std::io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> RunError {
    let step = step.into();
    move |e| RunError::Step { step, source: e.into() }
}

fn describe_mount(plan: &Mount) -> String {
    let to = String::from_utf8_lossy(&plan.destination);
    match &plan.source {
        MountSource::Filesystem(f) if f.options.is_empty() => format!("mount {} on {to}", f.kind),
        MountSource::Filesystem(f) => format!("mount {} on {to} ({})", f.kind, options(f)),
        MountSource::Bind { origin: Origin::Path(from), .. } => {
            format!("bind {} on {to}", String::from_utf8_lossy(from))
        }
        MountSource::Bind { origin: Origin::Given(number), .. } => format!("bind source {number} on {to}"),
    }
}

/// Options as they are written: what the kernel refuses a mount for is most often one of them.
fn options(filesystem: &Filesystem) -> String {
    let one = |(key, value): &(String, Option<Vec<u8>>)| match value {
        Some(value) => format!("{key}={}", String::from_utf8_lossy(value)),
        None => key.clone(),
    };
    filesystem.options.iter().map(one).collect::<Vec<_>>().join(",")
}

/// A step as text, for messages: what is done to what.
pub(super) fn describe(step: &Step) -> String {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match step {
        Step::Hostname(name) => format!("set hostname {:?}", lossy(name)),
        Step::Domainname(name) => format!("set domainname {:?}", lossy(name)),
        Step::Sysctl { key, .. } => format!("set sysctl {}", key.replace('/', ".")),
        Step::Mount(mount) => describe_mount(mount),
        Step::Device(device) => format!("make device {}", lossy(&device.path)),
        Step::Link { path, .. } => format!("make link {}", lossy(path)),
        Step::Directory(path) => format!("make directory {}", lossy(path)),
        Step::Console => "set up the terminal on /dev/console".into(),
        Step::Seal(path) => format!("make the mount {} read-only", lossy(path)),
        Step::Mask(path) => format!("mask {}", lossy(path)),
        Step::ReadOnly(path) => format!("make {} read-only", lossy(path)),
    }
}
