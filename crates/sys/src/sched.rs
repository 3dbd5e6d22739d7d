//! How the kernel schedules a thread: its processor time, its disk, the nodes of its memory. What a thread makes begins with the same, and
//! execve keeps it.

#![allow(unsafe_code, reason = "sched_setattr, ioprio_set and set_mempolicy")]

use rustix::io::Errno;

use crate::process::check;

/// A policy of sched(7) and its parameters. Times are in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// `SCHED_*`.
    pub number: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// From -20 to 19, where the policy has it.
    pub nice: i32,
    /// From 1 to 99, where the policy has it.
    pub priority: u32,
    /// `SCHED_DEADLINE`: how long it runs in each period.
    pub runtime: u64,
    /// `SCHED_DEADLINE`: until when in each period.
    pub deadline: u64,
    /// `SCHED_DEADLINE`: the period.
    pub period: u64,
}

/// `struct sched_attr` of its first version.
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Sets the policy of the calling thread.
///
/// # Errors
/// Those of sched_setattr(2).
pub fn set_policy(policy: &Policy) -> Result<(), Errno> {
    const SIZE: u32 = 48;
    const { assert!(size_of::<Attributes>() == SIZE as usize) };
    let Policy { number, flags, nice, priority, runtime, deadline, period } = *policy;
    let attributes =
        Attributes { size: SIZE, policy: number, flags, nice, priority, runtime, deadline, period };
    // SAFETY: the kernel reads a struct that says its size.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0u32) })?;
    Ok(())
}

/// Sets the I/O priority of the calling thread: a class of `IOPRIO_CLASS_*` from bit 13 on, and a level in it.
///
/// # Errors
/// Those of ioprio_set(2).
pub fn set_io_priority(priority: u16) -> Result<(), Errno> {
    const WHO_PROCESS: libc::c_int = 1;
    // SAFETY: integers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, libc::c_int::from(priority)) })?;
    Ok(())
}

/// Sets from which nodes the calling thread's memory comes: `MPOL_*` with its flags, and a bit for each node.
///
/// # Errors
/// Those of set_mempolicy(2).
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<(), Errno> {
    // The kernel does not look at the last bit of those that it is told of.
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    let mask = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: the mask has that many bits but one, which is not read.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) })?;
    Ok(())
}

#[cfg(test)]
mod tests;
