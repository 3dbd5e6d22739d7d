//! The mount option `tmpcopyup`: a tmpfs that begins with what the image has at its place.
//!
//! The copy is made here, before there is a container, from its root file system, and is given to the plan as a mount. Links
//! of the image are followed within it only on the way to the place, and copied as links below. What is copied counts for the
//! caller's memory.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use berth_container::plan;
use berth_sys::mount::open_in_root;
use oci_spec::runtime::Spec;
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::OciError;

const WORD: &str = "tmpcopyup";
/// The most files, and levels of directories, that are copied.
const MAX_FILES: usize = 1 << 20;
const MAX_DEPTH: usize = 128;
/// The most bytes of a list of extended attributes, and of the value of one.
const MAX_ATTRIBUTE: usize = 64 << 10;
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A tmpfs to be filled.
#[derive(Debug)]
pub(crate) struct CopyUp {
    /// What the specification has as its source from now on.
    pub(crate) source: PathBuf,
    destination: PathBuf,
    /// Options of the file system.
    data: Vec<(CString, Option<CString>)>,
}

/// Takes these mounts out of a specification: each becomes a bind mount of a source that is given.
pub(crate) fn take(spec: &mut Spec) -> Result<Vec<CopyUp>, OciError> {
    let mut taken = Vec::new();
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    let words = plan::mount_options();
    for (index, mount) in mounts.iter_mut().enumerate() {
        let options = mount.options().clone().unwrap_or_default();
        if mount.typ().as_deref() != Some("tmpfs") || !options.iter().any(|word| word == WORD) {
            continue;
        }
        let (mut kept, mut data) = (vec!["bind".to_owned()], Vec::new());
        for word in options.into_iter().filter(|word| word != WORD) {
            if words.contains(&word) {
                kept.push(word);
                continue;
            }
            let field = || format!("mounts[{index}].options");
            let text = |text: &str| CString::new(text).map_err(|e| OciError::invalid(field(), e));
            data.push(match word.split_once('=') {
                Some((key, value)) => (text(key)?, Some(text(value)?)),
                None => (text(&word)?, None),
            });
        }
        let source = PathBuf::from(format!("/berth/{WORD}/{index}"));
        taken.push(CopyUp { source: source.clone(), destination: mount.destination().clone(), data });
        mount.set_typ(Some("bind".to_owned())).set_source(Some(source)).set_options(Some(kept));
    }
    if !taken.is_empty() {
        spec.set_mounts(Some(mounts));
    }
    Ok(taken)
}

impl CopyUp {
    /// Makes it: a mount that is attached nowhere.
    pub(crate) fn mount(&self, rootfs: &Path) -> Result<OwnedFd, OciError> {
        let failed = |errno: Errno| {
            let path = rootfs.join(self.destination.strip_prefix("/").unwrap_or(&self.destination));
            OciError::io("copy to a tmpfs", &path)(errno)
        };
        let root = File::open(rootfs).map_err(OciError::io("open", rootfs))?;
        let place = CString::new(self.destination.as_os_str().as_bytes());
        let place = place.map_err(|e| OciError::invalid("mounts", e))?;
        let from =
            match open_in_root(root.as_fd(), relative(&place), OFlags::RDONLY | OFlags::DIRECTORY, false) {
                Ok(from) => Some(from),
                // It will be made, as for any other mount.
                Err(Errno::NOENT) => None,
                Err(errno) => return Err(failed(errno)),
            };
        self.filled(from).map_err(failed)
    }

    fn filled(&self, from: Option<OwnedFd>) -> Result<OwnedFd, Errno> {
        let context = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in &self.data {
            match value {
                Some(value) => {
                    rustix::mount::fsconfig_set_string(&context, key.as_c_str(), value.as_c_str())?;
                }
                None => rustix::mount::fsconfig_set_flag(&context, key.as_c_str())?,
            }
        }
        rustix::mount::fsconfig_create(&context)?;
        let made = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        let Some(from) = from else { return Ok(made) };
        let to = rustix::fs::openat(&made, c".", DIRECTORY, Mode::empty())?;
        let mut left = MAX_FILES;
        copy_directory(&from, &to, (&mut left, MAX_DEPTH))?;
        // As the directory that it covers, where the options do not say otherwise.
        let stat = rustix::fs::fstat(&from)?;
        let says = |name: &CStr| self.data.iter().any(|(key, _)| key.as_c_str() == name);
        let uid = (!says(c"uid")).then(|| Uid::from_raw(stat.st_uid));
        let gid = (!says(c"gid")).then(|| Gid::from_raw(stat.st_gid));
        rustix::fs::fchown(&to, uid, gid)?;
        if !says(c"mode") {
            rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode))?;
        }
        Ok(made)
    }
}

/// Without the slashes before it.
fn relative(path: &CStr) -> &CStr {
    let bytes = path.to_bytes_with_nul();
    let start = bytes.iter().position(|b| *b != b'/').unwrap_or(0);
    match bytes.get(start..).map(CStr::from_bytes_with_nul) {
        Some(Ok(path)) if !path.is_empty() => path,
        _ => c".",
    }
}

fn copy_directory(from: &OwnedFd, to: &OwnedFd, (left, depth): (&mut usize, usize)) -> Result<(), Errno> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        *left = left.checked_sub(1).ok_or(Errno::NFILE)?;
        copy_entry((from.as_fd(), to.as_fd()), name, (left, depth))?;
    }
    Ok(())
}

fn copy_entry(
    (from, to): (BorrowedFd<'_>, BorrowedFd<'_>),
    name: &CStr,
    (left, depth): (&mut usize, usize),
) -> Result<(), Errno> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let private = Mode::from_raw_mode(0o600);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let depth = depth.checked_sub(1).ok_or(Errno::NAMETOOLONG)?;
            rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700))?;
            let source = rustix::fs::openat(from, name, DIRECTORY, Mode::empty())?;
            let made = rustix::fs::openat(to, name, DIRECTORY, Mode::empty())?;
            copy_directory(&source, &made, (left, depth))?;
            copy_attributes(&source, &made, &stat)
        }
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made = rustix::fs::openat(to, name, flags, private)?;
            let (mut source, mut made) = (File::from(source), File::from(made));
            std::io::copy(&mut source, &mut made)
                .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
            copy_attributes(&source, &made, &stat)
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(&target, to, name)?;
            own(to, name, &stat)
        }
        kind @ (FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice) => {
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            rustix::fs::mknodat(to, name, kind, private, stat.st_rdev)?;
            own(to, name, &stat)?;
            rustix::fs::chmodat(to, name, mode, AtFlags::empty())
        }
        // Nobody listens at a socket of an image.
        FileType::Socket | FileType::Unknown => Ok(()),
    }
}

fn own(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// Owner, mode, extended attributes that a tmpfs has, and times.
fn copy_attributes(from: impl AsFd, to: impl AsFd, stat: &Stat) -> Result<(), Errno> {
    rustix::fs::fchown(&to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    // After the owner: a change of that takes the capabilities of a file away.
    let mut names = vec![0; MAX_ATTRIBUTE];
    let length = match rustix::fs::flistxattr(&from, &mut names) {
        Err(Errno::OPNOTSUPP) => 0,
        length => length?,
    };
    for name in names.get(..length).unwrap_or_default().split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; MAX_ATTRIBUTE];
        let length = rustix::fs::fgetxattr(&from, name, &mut value)?;
        let value = value.get(..length).unwrap_or_default();
        match rustix::fs::fsetxattr(&to, name, value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    let time = |seconds: i64, nanoseconds: u64| rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let last_access = time(stat.st_atime, stat.st_atime_nsec);
    let last_modification = time(stat.st_mtime, stat.st_mtime_nsec);
    rustix::fs::futimens(&to, &Timestamps { last_access, last_modification })
}

#[cfg(test)]
mod tests;
