//! The child's side of the steps. No allocation here: see [`super`].

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_sys::mount::{self, Change, attach, clone_tree, open_in_root};
use berth_sys::procfs;
use berth_sys::pty::{self, Pty};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::op::{DeviceOp, MountOp, Op, SourceOp};
use super::path::{Want, ensure, ensure_parent, is_device, is_device_at};

const PROC_MAGIC: u64 = 0x9fa0;

/// What the steps share.
#[derive(Debug)]
pub(super) struct StepContext<'a> {
    /// The container's root mount, attached.
    root: BorrowedFd<'a>,
    /// The host's null device, checked: what masked files show.
    null: OwnedFd,
    /// Its mount over the first masked file, from which those over the others are copied.
    null_mount: Option<OwnedFd>,
    /// The empty directory that masked directories show, once there is one.
    empty: Option<OwnedFd>,
    proc: Option<procfs::Private>,
    /// Whether a terminal is wanted.
    terminal: bool,
    /// The terminal, once it is there.
    pub(super) pty: Option<Pty>,
}

impl<'a> StepContext<'a> {
    /// Begins, while the host's root is still the root.
    pub(super) fn new(root: BorrowedFd<'a>, terminal: bool) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let null = rustix::fs::open(c"/dev/null", flags, Mode::empty())?;
        if !is_device(null.as_fd(), FileType::CharacterDevice, rustix::fs::makedev(1, 3))? {
            return Err(Errno::NODEV);
        }
        Ok(Self { root, null, null_mount: None, empty: None, proc: None, terminal, pty: None })
    }

    /// Does one step.
    pub(super) fn run(&mut self, op: &Op) -> Result<(), Errno> {
        match op {
            Op::Hostname(name) => rustix::system::sethostname(name),
            Op::Domainname(name) => rustix::system::setdomainname(name),
            Op::Sysctl { path, value } => self.sysctl(path, value),
            Op::Mount(op) => self.mount(op),
            Op::Device(op) => self.device(op),
            Op::Link { parent, name, target } => self.link(parent, name, target),
            Op::Directory(path) => self.directory(path),
            Op::Console { parent } => self.console(parent),
            Op::Seal(path) => self.seal(path),
            Op::Mask(path) => self.mask(path),
            Op::ReadOnly(path) => self.read_only(path),
        }
    }

    fn sysctl(&mut self, path: &CStr, value: &[u8]) -> Result<(), Errno> {
        match &self.proc {
            Some(proc) => proc.write(path, value),
            None => self.proc.insert(procfs::Private::new()?).write(path, value),
        }
    }

    fn mount(&self, op: &MountOp) -> Result<(), Errno> {
        match &op.source {
            SourceOp::New { kind, options, attributes, propagation, strict, context } => {
                let made = match context {
                    Some(context) => {
                        let made = configured(context.as_fd(), options, *attributes)?;
                        if !is_procfs(made.as_fd())? {
                            return Err(Errno::NODEV);
                        }
                        made
                    }
                    None => filesystem(kind, options, *attributes)?,
                };
                if *propagation != 0 {
                    mount::change(
                        made.as_fd(),
                        c"",
                        Change { propagation: *propagation, ..Change::default() },
                    )?;
                }
                let target = if *strict { self.plain_directory(&op.target)? } else { self.target(op, true)? };
                attach(made.as_fd(), target.as_fd())
            }
            SourceOp::Ready { mount, directory, .. } => {
                let target = self.target(op, *directory)?;
                attach(mount.as_fd(), target.as_fd()).map_err(|e| unlike(e, target.as_fd(), *directory))
            }
        }
    }

    /// Where a mount goes. A link of the image may not lead it onto a procfs.
    fn target(&self, op: &MountOp, directory: bool) -> Result<OwnedFd, Errno> {
        let want = if directory { Want::Directory } else { Want::File };
        let target = ensure(self.root, &op.target, want)?;
        if !op.on_proc && is_procfs(target.as_fd())? {
            return Err(Errno::XDEV);
        }
        Ok(target)
    }

    /// A directory with no link on the way to it.
    fn plain_directory(&self, path: &CStr) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match open_in_root(self.root, path, flags, true) {
            Err(Errno::NOENT) => {
                ensure(self.root, path, Want::Directory)?;
                open_in_root(self.root, path, flags, true)
            }
            result => result,
        }
    }

    fn device(&self, op: &DeviceOp) -> Result<(), Errno> {
        let dir = ensure_parent(self.root, &op.parent)?;
        match rustix::fs::mknodat(&dir, op.name.as_c_str(), op.kind, op.mode, op.device) {
            Ok(()) => {}
            Err(Errno::EXIST) if is_device_at(dir.as_fd(), &op.name, op.kind, op.device)? => return Ok(()),
            Err(e) => return Err(e),
        }
        if op.owner != (0, 0) {
            let (uid, gid) = (rustix::fs::Uid::from_raw(op.owner.0), rustix::fs::Gid::from_raw(op.owner.1));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(&dir, op.name.as_c_str(), Some(uid), Some(gid), flags)?;
        }
        Ok(())
    }

    fn link(&self, parent: &CStr, name: &CStr, target: &CStr) -> Result<(), Errno> {
        let dir = ensure_parent(self.root, parent)?;
        match rustix::fs::symlinkat(target, &dir, name) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn directory(&self, path: &CStr) -> Result<(), Errno> {
        match ensure(self.root, path, Want::Directory) {
            // Some file servers let only the user in: entering it is what fails, or works, then.
            Ok(_) | Err(Errno::ACCESS | Errno::PERM) => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn console(&mut self, dev: &CStr) -> Result<(), Errno> {
        if !self.terminal {
            return Ok(());
        }
        let pty = pty::open(open_in_root(self.root, c"dev/pts/ptmx", pty::MULTIPLEXER, true)?)?;
        let dir = open_in_root(self.root, dev, OFlags::PATH | OFlags::DIRECTORY, true)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
        match rustix::fs::openat(&dir, c"console", flags, Mode::from_raw_mode(0o600)) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(&dir, c"console", flags, Mode::empty())?;
        // A link would be attached to, not followed; a directory cannot carry a file.
        if FileType::from_raw_mode(rustix::fs::fstat(&target)?.st_mode) == FileType::Symlink {
            return Err(Errno::LOOP);
        }
        attach(clone_tree(pty.slave.as_fd(), false)?.as_fd(), target.as_fd())?;
        self.pty = Some(pty);
        Ok(())
    }

    fn seal(&self, path: &CStr) -> Result<(), Errno> {
        let at = open_in_root(self.root, path, OFlags::PATH, false)?;
        mount::change(at.as_fd(), c"", Change { set: mount::RDONLY, ..Change::default() })
    }

    /// What is at `path`; None when nothing is.
    fn find(&self, path: &CStr) -> Result<Option<OwnedFd>, Errno> {
        match open_in_root(self.root, path, OFlags::PATH, false) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn mask(&mut self, path: &CStr) -> Result<(), Errno> {
        let Some(target) = self.find(path)? else {
            return Ok(());
        };
        let is_directory =
            FileType::from_raw_mode(rustix::fs::fstat(&target)?.st_mode) == FileType::Directory;
        if !is_directory {
            return self.mask_file(target.as_fd());
        }
        if let Some(empty) = &self.empty {
            return attach(clone_tree(empty.as_fd(), false)?.as_fd(), target.as_fd());
        }
        // One empty file system behind all of them.
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let made = filesystem(c"tmpfs", &[], attributes)?;
        attach(made.as_fd(), target.as_fd())?;
        self.empty = Some(made);
        Ok(())
    }

    /// Covers a file with the null device. The mount is read-only: the device works, but no process in the
    /// container can change mode or owner of the host's node through it.
    fn mask_file(&mut self, target: BorrowedFd<'_>) -> Result<(), Errno> {
        if let Some(null) = &self.null_mount {
            return attach(clone_tree(null.as_fd(), false)?.as_fd(), target);
        }
        let null = clone_tree(self.null.as_fd(), false)?;
        let set = mount::RDONLY | mount::NOSUID | mount::NOEXEC;
        mount::change(null.as_fd(), c"", Change { set, ..Change::default() })?;
        attach(null.as_fd(), target)?;
        self.null_mount = Some(null);
        Ok(())
    }

    fn read_only(&self, path: &CStr) -> Result<(), Errno> {
        let Some(target) = self.find(path)? else {
            return Ok(());
        };
        let tree = clone_tree(target.as_fd(), true)?;
        mount::change(
            tree.as_fd(),
            c"",
            Change { set: mount::RDONLY, recursive: true, ..Change::default() },
        )?;
        attach(tree.as_fd(), target.as_fd())
    }
}

/// Whether a file is of a procfs.
pub(super) fn is_procfs(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    #[allow(clippy::cast_sign_loss, reason = "the magic number is a bit pattern")]
    let magic = rustix::fs::fstatfs(fd)?.f_type as u64;
    Ok(magic == PROC_MAGIC)
}

/// A directory cannot be attached to a file, nor the other way round: the kernel calls either invalid.
fn unlike(error: Errno, target: BorrowedFd<'_>, directory: bool) -> Errno {
    let Ok(stat) = rustix::fs::fstat(target) else { return error };
    match (error, directory, FileType::from_raw_mode(stat.st_mode) == FileType::Directory) {
        (Errno::INVAL, true, false) => Errno::NOTDIR,
        (Errno::INVAL, false, true) => Errno::ISDIR,
        (other, _, _) => other,
    }
}

/// A new detached mount of a new file system.
fn filesystem(
    kind: &CStr,
    options: &[(std::ffi::CString, Option<std::ffi::CString>)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    configured(context.as_fd(), options, attributes)
}

/// The same from a context that is open.
fn configured(
    context: BorrowedFd<'_>,
    options: &[(std::ffi::CString, Option<std::ffi::CString>)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    for (key, value) in options {
        match value {
            Some(value) => {
                rustix::mount::fsconfig_set_string(context, key.as_c_str(), value.as_c_str())?;
            }
            None => rustix::mount::fsconfig_set_flag(context, key.as_c_str())?,
        }
    }
    rustix::mount::fsconfig_create(context)?;
    rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
