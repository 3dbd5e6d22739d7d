//! Resource limits by number.

#![allow(unsafe_code, reason = "prlimit64 with any resource")]

use rustix::io::Errno;

use crate::process::check;

/// A limit in force and its ceiling; `u64::MAX` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    /// In force.
    pub soft: u64,
    /// The ceiling.
    pub hard: u64,
}

/// `RLIMIT_NOFILE`: open files.
pub const NOFILE: u32 = libc::RLIMIT_NOFILE;
/// `RLIMIT_NPROC`: processes of a user.
pub const NPROC: u32 = libc::RLIMIT_NPROC;

/// Raises a limit of the calling process to its ceiling, and returns what it was.
///
/// # Errors
/// Those of prlimit(2).
pub fn raise(resource: u32) -> Result<Limit, Errno> {
    let before = get(0, resource)?;
    set(0, resource, Limit { soft: before.hard, ..before })?;
    Ok(before)
}

/// The limit of a process; 0 is the calling one.
///
/// # Errors
/// Those of prlimit(2).
pub fn get(pid: i32, resource: u32) -> Result<Limit, Errno> {
    let mut limit = Limit { soft: 0, hard: 0 };
    // SAFETY: the kernel writes one struct of two u64.
    check(unsafe {
        libc::syscall(libc::SYS_prlimit64, pid, resource, std::ptr::null::<Limit>(), &raw mut limit)
    })?;
    Ok(limit)
}

/// Sets the limit of a process; 0 is the calling one. For another process, one that the caller is
/// the parent of and has not reaped, so that the number cannot be another's.
///
/// # Errors
/// Those of prlimit(2).
pub fn set(pid: i32, resource: u32, limit: Limit) -> Result<(), Errno> {
    // SAFETY: the kernel reads one struct of two u64.
    check(unsafe {
        libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limit, std::ptr::null_mut::<Limit>())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests;
