//! Capability sets of the calling thread, as bit masks.

#![allow(unsafe_code, reason = "capset and prctl with plain integers")]

use rustix::io::Errno;

use crate::process::check;

/// `CAP_SYS_ADMIN` as a bit.
pub const SYS_ADMIN: u64 = 1 << 21;
/// `CAP_SYS_RESOURCE` as a bit.
pub const SYS_RESOURCE: u64 = 1 << 24;

const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn low(mask: u64) -> u32 {
    (mask & 0xffff_ffff) as u32
}

fn high(mask: u64) -> u32 {
    (mask >> 32) as u32
}

/// The capabilities in force.
///
/// # Errors
/// Those of capget(2).
pub fn effective() -> Result<u64, Errno> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 fills two structs.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    Ok(u64::from(data[0].effective) | u64::from(data[1].effective) << 32)
}

/// Sets three of the sets.
///
/// # Errors
/// Those of capset(2): EPERM for what is not permitted already.
pub fn set(effective: u64, permitted: u64, inheritable: u64) -> Result<(), Errno> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let data = [
        Data { effective: low(effective), permitted: low(permitted), inheritable: low(inheritable) },
        Data { effective: high(effective), permitted: high(permitted), inheritable: high(inheritable) },
    ];
    // SAFETY: version 3 reads two structs.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) })?;
    Ok(())
}

/// The number of the kernel's last capability.
pub fn last() -> u32 {
    let has = |n: &u32| bounding_has(*n).is_ok();
    (36..64).take_while(has).last().unwrap_or(36)
}

fn bounding_has(number: u32) -> Result<bool, Errno> {
    // SAFETY: integers only.
    Ok(check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_CAPBSET_READ, number, 0, 0, 0) })? == 1)
}

/// Drops everything that is not in `keep` from the bounding set.
///
/// # Errors
/// EPERM without `CAP_SETPCAP`, unless nothing has to be removed.
pub fn bound(keep: u64) -> Result<(), Errno> {
    for number in (0..64u32).filter(|n| keep & (1 << n) == 0) {
        match bounding_has(number) {
            Ok(true) => {
                // SAFETY: integers only.
                check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_CAPBSET_DROP, number, 0, 0, 0) })?;
            }
            Ok(false) => {}
            // The kernel knows no more.
            Err(_) => break,
        }
    }
    Ok(())
}

/// Sets the ambient set; what is in it must be permitted and inheritable.
///
/// # Errors
/// Those of prctl(2).
pub fn set_ambient(mask: u64) -> Result<(), Errno> {
    let ambient = |action: i32, number: u32| {
        // SAFETY: integers only.
        check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_CAP_AMBIENT, action, number, 0, 0) })
    };
    ambient(libc::PR_CAP_AMBIENT_CLEAR_ALL, 0)?;
    for number in (0..64u32).filter(|n| mask & (1 << n) != 0) {
        ambient(libc::PR_CAP_AMBIENT_RAISE, number)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
