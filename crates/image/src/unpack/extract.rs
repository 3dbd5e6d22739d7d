//! Entries of a layer become files, directories, links, devices and whiteouts.

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::changes::DirMeta;
use super::paths::MAX_PATH;
use super::recipe::Recipe;
use super::tar::{Entry, Kind, Reader};
use super::tree::{Dir, Tree, file_type, open_dir};
use super::{Device, EntryError, Step, UnpackError};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The largest numbers of a device (kernel: include/linux/kdev_t.h).
const MAX_MAJOR: u32 = (1 << 12) - 1;
const MAX_MINOR: u32 = (1 << 20) - 1;
/// Other names that aufs kept for itself.
const AUFS: &[u8] = b".wh..wh.";

/// Unpacks a whole tar stream into `tree`, writing the recipe to make it again. Returns the bytes of the files.
pub(crate) fn extract<R: BufRead>(
    source: R,
    tree: &mut Tree,
    recipe: &mut Recipe,
) -> Result<u64, UnpackError> {
    let mut reader = Reader::new(source);
    let mut file_bytes = 0;
    while let Some(entry) = reader.next(recipe)? {
        let path = entry.path.clone();
        one(&mut reader, tree, recipe, entry, &mut file_bytes).map_err(|e| e.with_path(&path))?;
    }
    finish_dirs(tree)?;
    Ok(file_bytes)
}

enum Failed {
    Entry(EntryError),
    Stream(UnpackError),
}

impl Failed {
    fn with_path(self, path: &[u8]) -> UnpackError {
        match self {
            Self::Entry(source) => {
                UnpackError::Entry { path: String::from_utf8_lossy(path).into_owned(), source }
            }
            Self::Stream(error) => error,
        }
    }
}

impl From<EntryError> for Failed {
    fn from(error: EntryError) -> Self {
        Self::Entry(error)
    }
}

impl<E: Into<UnpackError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Stream(error.into())
    }
}

fn one<R: BufRead>(
    reader: &mut Reader<R>,
    tree: &mut Tree,
    recipe: &mut Recipe,
    entry: Entry,
    file_bytes: &mut u64,
) -> Result<(), Failed> {
    tree.changes.budget.entries(1)?;
    let path = normalise(&entry.path)?;
    let Some(name_at) =
        path.iter().rposition(|b| *b == b'/').map(|slash| slash + 1).or((!path.is_empty()).then_some(0))
    else {
        return root(tree, entry).map_err(Failed::Entry);
    };
    let (parent, name) = (&path[..name_at.saturating_sub(1)], &path[name_at..]);
    let aufs = |part: &[u8]| part.starts_with(AUFS) && part != OPAQUE;
    if path.split(|b| *b == b'/').any(aufs) {
        return Ok(());
    }
    let parent = tree.dir(parent, true)?;
    if name == OPAQUE {
        tree.changes.opaque(&parent.path)?;
        return Ok(());
    }
    if let Some(hidden) = name.strip_prefix(WHITEOUT) {
        return white_out(tree, &parent, hidden).map_err(Failed::Entry);
    }
    match entry.kind {
        Kind::Directory => directory(tree, &parent, name, entry)?,
        Kind::File => {
            tree.changes.budget.file(entry.size)?;
            tree.changes.budget.entries(entry.map.as_ref().map_or(0, |map| map.len() as u64))?;
            *file_bytes = file_bytes.saturating_add(entry.size);
            file(reader, tree, recipe, &parent, name, &entry)?;
        }
        Kind::HardLink => hard_link(tree, &parent, name, &entry)?,
        Kind::Symlink => {
            if entry.link.is_empty() {
                return Err(EntryError::Refused("a symbolic link to nothing".into()).into());
            }
            place(
                tree,
                &parent,
                name,
                |dir, name| rustix::fs::symlinkat(&entry.link[..], dir, name),
                "symlink",
            )?;
            node_meta(&parent, name, &entry)?;
        }
        Kind::Fifo => {
            node(tree, &parent, name, FileType::Fifo, entry.mode)?;
            node_meta(&parent, name, &entry)?;
        }
        Kind::Char if entry.device == (0, 0) => {
            // This is how overlayfs writes a whiteout.
            tree.changes.white_out(&parent.join(name))?;
            node(tree, &parent, name, FileType::CharacterDevice, entry.mode)?;
            node_meta(&parent, name, &entry)?;
        }
        Kind::Char | Kind::Block => device(tree, &parent, name, &entry)?,
        Kind::GnuSparse | Kind::GnuLongName | Kind::GnuLongLink | Kind::PaxLocal | Kind::PaxGlobal => {
            return Err(EntryError::Refused("an extended header where an entry belongs".into()).into());
        }
    }
    Ok(())
}

/// The path without empty and `.` components; `..` is refused.
fn normalise(path: &[u8]) -> Result<Vec<u8>, EntryError> {
    let mut clean = Vec::with_capacity(path.len());
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(EntryError::Refused("a path that leads upwards".into())),
            part => {
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(part);
            }
        }
    }
    if clean.len() > MAX_PATH {
        return Err(EntryError::Refused(format!(
            "a path of {} bytes, at most {MAX_PATH} are allowed",
            clean.len()
        )));
    }
    Ok(clean)
}

fn root(tree: &mut Tree, entry: Entry) -> Result<(), EntryError> {
    if entry.kind != Kind::Directory {
        return Err(EntryError::Refused(format!(
            "a {} in the place of the root directory",
            entry.kind.name()
        )));
    }
    tree.changes.describe(Vec::new(), entry)
}

/// Hides `name` of the layers below. A directory of this layer at that path stays, and hides what it covers.
fn white_out(tree: &mut Tree, parent: &Dir, name: &[u8]) -> Result<(), EntryError> {
    if name.is_empty() || name == b"." || name == b".." {
        return Err(EntryError::Refused("a whiteout of nothing".into()));
    }
    let path = parent.join(name);
    tree.changes.white_out(&path)?;
    match rustix::fs::mknodat(&parent.fd, name, FileType::CharacterDevice, Mode::empty(), 0) {
        Ok(()) => tree.changes.count += 1,
        Err(Errno::EXIST) => {
            if file_type(parent, name)? == FileType::Directory {
                tree.changes.opaque(&path)?;
            }
        }
        Err(e) => return Err(e.at("make whiteout")),
    }
    Ok(())
}

fn directory(tree: &mut Tree, parent: &Dir, name: &[u8], entry: Entry) -> Result<(), EntryError> {
    let path = parent.join(name);
    match tree.make(parent, name) {
        Ok(_) => {}
        Err(EntryError::System { errno: Errno::EXIST, .. }) => {
            if file_type(parent, name)? != FileType::Directory {
                // What was there hid the layers below, and so must the directory.
                tree.remove(parent, name)?;
                tree.make(parent, name)?;
                tree.changes.opaque(&path)?;
            }
        }
        Err(e) => return Err(e),
    }
    tree.changes.describe(path, entry)
}

/// Makes something at `name`, in the place of what was there.
fn place<T>(
    tree: &mut Tree,
    parent: &Dir,
    name: &[u8],
    make: impl Fn(BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
    step: &'static str,
) -> Result<T, EntryError> {
    let made = match make(parent.fd.as_fd(), name) {
        Err(Errno::EXIST) => {
            tree.remove(parent, name)?;
            make(parent.fd.as_fd(), name)
        }
        other => other,
    };
    let made = made.map_err(|e| e.at(step))?;
    tree.changes.count += 1;
    Ok(made)
}

fn file<R: BufRead>(
    reader: &mut Reader<R>,
    tree: &mut Tree,
    recipe: &mut Recipe,
    parent: &Dir,
    name: &[u8],
    entry: &Entry,
) -> Result<(), Failed> {
    let owned = entry.uid != 0 || entry.gid != 0;
    // Changing the owner takes setuid and setgid away, so with another owner they are set afterwards.
    let mode = if owned { entry.mode & 0o777 } else { entry.mode };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let create =
        |dir: BorrowedFd<'_>, name: &[u8]| rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode));
    let fd = place(tree, parent, name, create, "create")?;
    contents(reader, recipe, &fd, &parent.join(name), entry)?;
    if owned {
        chown(&fd, entry.uid, entry.gid)?;
        if entry.mode & 0o7000 != 0 {
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(entry.mode)).map_err(|e| e.at("chmod"))?;
        }
    }
    xattrs(&fd, &entry.xattrs)?;
    rustix::fs::futimens(&fd, &times(entry.mtime, entry.mtime_ns)).map_err(|e| e.at("set times"))?;
    Ok(())
}

fn contents<R: BufRead>(
    reader: &mut Reader<R>,
    recipe: &mut Recipe,
    fd: &OwnedFd,
    path: &[u8],
    entry: &Entry,
) -> Result<(), Failed> {
    let whole = [(0, entry.size)];
    let map = entry.map.as_deref().unwrap_or(&whole);
    for &(offset, length) in map {
        let mut done = 0;
        while done < length {
            let bytes = reader.contents()?;
            let bytes = &bytes[..bytes.len().min(usize::try_from(length - done).unwrap_or(usize::MAX))];
            if bytes.is_empty() {
                return Err(EntryError::Refused("contents shorter than the size".into()).into());
            }
            let written = match entry.map {
                None => rustix::io::write(fd, bytes),
                Some(_) => rustix::io::pwrite(fd, bytes, offset + done),
            };
            let written = written.map_err(|e| e.at("write"))?;
            reader.consume(written);
            done += written as u64;
        }
        recipe.contents(path, offset, length).map_err(UnpackError::Recipe)?;
    }
    if entry.map.is_some() {
        rustix::fs::ftruncate(fd, entry.size).map_err(|e| e.at("set size"))?;
    }
    Ok(())
}

fn hard_link(tree: &mut Tree, parent: &Rc<Dir>, name: &[u8], entry: &Entry) -> Result<(), EntryError> {
    let target = normalise(&entry.link)?;
    let (dir, file) = match target.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&target[..slash], &target[slash + 1..]),
        None => (&b""[..], &target[..]),
    };
    if file.is_empty() {
        return Err(EntryError::Refused("a hard link to the root directory".into()));
    }
    let path = parent.join(name);
    let below = |tree: &mut Tree| -> Result<(), EntryError> {
        // The target is in a layer below: the store, which knows those layers, makes the link.
        if tree.changes.is_whited_out(&target) {
            return Err(EntryError::Refused("a hard link to a file that this layer removes".into()));
        }
        tree.changes.link(path.clone(), target.clone())
    };
    let dir = match tree.dir(dir, false) {
        Ok(dir) => dir,
        Err(EntryError::System { errno: Errno::NOENT, .. }) => return below(tree),
        Err(e) => return Err(e),
    };
    if dir.join(file) == path {
        return Ok(());
    }
    match file_type(&dir, file) {
        Err(EntryError::System { errno: Errno::NOENT, .. }) => return below(tree),
        Err(e) => return Err(e),
        Ok(FileType::Directory) => return Err(EntryError::Refused("a hard link to a directory".into())),
        Ok(_) => {}
    }
    if tree.changes.is_whited_out(&dir.join(file)) && is_whiteout(&dir, file)? {
        return Err(EntryError::Refused("a hard link to a file that this layer removes".into()));
    }
    let link =
        |to: BorrowedFd<'_>, name: &[u8]| rustix::fs::linkat(&dir.fd, file, to, name, AtFlags::empty());
    place(tree, parent, name, link, "link")?;
    // The name of a device becomes another device of the same kind.
    match tree.changes.devices.get(&dir.join(file)).cloned() {
        Some(device) => tree.changes.device(Device { path, ..device }),
        None => Ok(()),
    }
}

fn is_whiteout(dir: &Dir, name: &[u8]) -> Result<bool, EntryError> {
    let stat = rustix::fs::statat(&dir.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| e.at("stat"))?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0)
}

/// A fifo or a whiteout.
fn node(tree: &mut Tree, parent: &Dir, name: &[u8], kind: FileType, mode: u32) -> Result<(), EntryError> {
    let mode = Mode::from_raw_mode(mode & 0o777);
    let make = |dir: BorrowedFd<'_>, name: &[u8]| rustix::fs::mknodat(dir, name, kind, mode, 0);
    place(tree, parent, name, make, "make node")
}

/// A device is made by the daemon; an empty file is its placeholder.
fn device(tree: &mut Tree, parent: &Dir, name: &[u8], entry: &Entry) -> Result<(), EntryError> {
    let (major, minor) = entry.device;
    if major > MAX_MAJOR || minor > MAX_MINOR {
        return Err(EntryError::Refused(format!("a device {major}:{minor}, which no kernel has")));
    }
    owner(entry.uid, entry.gid)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let make = |dir: BorrowedFd<'_>, name: &[u8]| rustix::fs::openat(dir, name, flags, Mode::empty());
    place(tree, parent, name, make, "make the place of a device")?;
    tree.changes.device(Device {
        path: parent.join(name),
        block: entry.kind == Kind::Block,
        major,
        minor,
        mode: entry.mode & 0o7777,
        uid: entry.uid,
        gid: entry.gid,
        mtime: (entry.mtime, entry.mtime_ns),
    })
}

/// Owner, mode bits and time of what cannot be opened without an effect.
fn node_meta(parent: &Dir, name: &[u8], entry: &Entry) -> Result<(), EntryError> {
    let no_follow = AtFlags::SYMLINK_NOFOLLOW;
    if entry.uid != 0 || entry.gid != 0 {
        let (uid, gid) = owner(entry.uid, entry.gid)?;
        rustix::fs::chownat(&parent.fd, name, Some(uid), Some(gid), no_follow).map_err(|e| e.at("chown"))?;
    }
    if entry.kind != Kind::Symlink && entry.mode & 0o7000 != 0 {
        // Just made by us and not a symlink; nothing else writes to this tree.
        rustix::fs::chmodat(&parent.fd, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
            .map_err(|e| e.at("chmod"))?;
    }
    rustix::fs::utimensat(&parent.fd, name, &times(entry.mtime, entry.mtime_ns), no_follow)
        .map_err(|e| e.at("set times"))
}

/// Modes, owners and times of directories, the deepest first.
fn finish_dirs(tree: &Tree) -> Result<(), UnpackError> {
    for (path, meta) in tree.changes.dirs.iter().rev() {
        finish_dir(tree, path, meta).map_err(|source| UnpackError::Entry {
            path: String::from_utf8_lossy(path).into_owned(),
            source,
        })?;
    }
    Ok(())
}

fn finish_dir(tree: &Tree, path: &[u8], meta: &DirMeta) -> Result<(), EntryError> {
    let target = if path.is_empty() { &b"."[..] } else { path };
    let handle = open_dir(&tree.root().fd, target).map_err(|e| e.at("open directory"))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&handle, ".", flags, Mode::empty()).map_err(|e| e.at("open directory"))?;
    chown(&fd, meta.uid, meta.gid)?;
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(meta.mode)).map_err(|e| e.at("chmod"))?;
    xattrs(&fd, &meta.xattrs)?;
    rustix::fs::futimens(&fd, &times(meta.mtime.0, meta.mtime.1)).map_err(|e| e.at("set times"))
}

fn chown(fd: &OwnedFd, uid: u32, gid: u32) -> Result<(), EntryError> {
    let (uid, gid) = owner(uid, gid)?;
    rustix::fs::fchown(fd, Some(uid), Some(gid)).map_err(|e| e.at("chown"))
}

fn owner(uid: u32, gid: u32) -> Result<(Uid, Gid), EntryError> {
    if uid == u32::MAX || gid == u32::MAX {
        return Err(EntryError::Refused("an owner that does not exist".into()));
    }
    Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
}

/// Sets the attributes that are an image's to set: file capabilities, ACLs and the user's own. Others are the
/// host's (`trusted.*`, labels and measurements of `security.*`) and are left out.
fn xattrs(fd: &OwnedFd, xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<(), EntryError> {
    for (name, value) in xattrs {
        let ours = name == b"security.capability"
            || name.starts_with(b"system.posix_acl_")
            || name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
        if !ours {
            continue;
        }
        match rustix::fs::fsetxattr(fd, &name[..], value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(e) => return Err(e.at("set extended attribute")),
        }
    }
    Ok(())
}

fn times(seconds: i64, nanoseconds: u32) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) };
    Timestamps { last_access: time, last_modification: time }
}
