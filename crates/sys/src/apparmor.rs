//! AppArmor: whether it is in force, which profiles are loaded, and the profile that a process has after its next execve.

use std::io::{self, Read as _};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::procfs;

/// The kernel's list of loaded profiles, a line for each: `NAME (MODE)`.
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";
/// The most bytes of that list that are read: some ten thousand profiles.
const MAX_PROFILES: u64 = 1 << 20;
/// The longest name of a profile: the kernel takes a page with `exec ` before the name.
pub const MAX_NAME: usize = 4000;

/// Whether the kernel has AppArmor in force.
pub fn is_enabled() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

/// Whether the kernel has it in force and its files can be reached: not so in most containers, whose processes are under
/// the profiles of another runtime.
pub fn in_force() -> bool {
    is_enabled() && std::path::Path::new(PROFILES).exists()
}

/// Whether a profile of this name is loaded.
///
/// # Errors
/// Those of reading the kernel's list; `FileTooLarge` when it is over 1 MiB.
pub fn is_loaded(name: &str) -> io::Result<bool> {
    let mut list = String::new();
    std::fs::File::open(PROFILES)?.take(MAX_PROFILES + 1).read_to_string(&mut list)?;
    if list.len() as u64 > MAX_PROFILES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(lists(&list, name))
}

/// Whether the kernel's list has this name. A name may have spaces and parentheses in it: the mode is what stands last.
fn lists(list: &str, name: &str) -> bool {
    list.lines().any(|line| line.rsplit_once(" (").is_some_and(|(listed, _)| listed == name))
}

/// What [`set_on_exec`] writes for a profile.
pub fn on_exec(name: &str) -> Vec<u8> {
    [b"exec ", name.as_bytes()].concat()
}

/// Gives the calling thread, and the processes that it makes before its next execve, another profile by that execve. `change` is
/// what [`on_exec`] gave. Neither allocates nor locks.
///
/// It goes through `/proc`, which must still be the host's: one in a container could be another file system, and the write
/// would go nowhere.
///
/// # Errors
/// ENOENT when no such profile is loaded, EACCES when the caller is confined by one that forbids the change, ENODEV when
/// `/proc` is no procfs.
pub fn set_on_exec(change: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open(c"/proc", flags, Mode::empty())?;
    if rustix::fs::fstatfs(&proc)?.f_type != rustix::fs::PROC_SUPER_MAGIC {
        return Err(Errno::NODEV);
    }
    // Linux 5.8 has this file, and older ones are not supported. attr/exec is that of whichever module comes first.
    procfs::write_beneath(std::os::fd::AsFd::as_fd(&proc), c"thread-self/attr/apparmor/exec", change)
}

#[cfg(test)]
mod tests;
