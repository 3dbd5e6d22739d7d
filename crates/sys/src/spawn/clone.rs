//! clone3 with shared memory, a stack of its own and a pidfd.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
#[cfg(target_arch = "x86_64")]
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

/// clone3's flags beyond 32 bits, which libc's constants cannot hold.
#[cfg(target_arch = "x86_64")]
const CLEAR_SIGHAND: u64 = 1 << 32;
#[cfg(target_arch = "x86_64")]
const INTO_CGROUP: u64 = 1 << 33;

/// What the child runs. It must not return.
pub(super) type Entry = extern "C" fn(*mut c_void);

/// Makes a child that shares this process' memory and holds the calling thread until it executes a
/// program or exits. Returns its process id and a new pidfd.
///
/// # Safety
/// `entry(arg)` must be sound on the given stack in a process that shares memory with this one,
/// must use no thread-local state but errno, and must end in execve or _exit.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn vfork(
    namespaces: c_int,
    stack: &mut [MaybeUninit<u128>],
    cgroup: Option<BorrowedFd<'_>>,
    entry: Entry,
    arg: *mut c_void,
) -> std::io::Result<(i32, c_int)> {
    let mut pidfd: c_int = -1;
    // SAFETY: all fields are integers, zero means unused.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | namespaces;
    args.flags = u64::from(flags.cast_unsigned()) | CLEAR_SIGHAND;
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    args.stack = stack.as_mut_ptr() as u64;
    args.stack_size = size_of_val(stack) as u64;
    if let Some(dir) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = u64::from(dir.as_raw_fd().cast_unsigned());
    }
    let mut result = libc::SYS_clone3;
    // SAFETY: in the parent the system call changes rax, rcx and r11 only, and memory. The child
    // (rax is 0) begins at the top of its own stack, which is aligned to 16 bytes, calls `entry` and
    // never comes back.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") result,
            in("rdi") &raw mut args,
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") arg,
            in("r13") entry,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    match i32::try_from(result) {
        Ok(pid) if pid > 0 => Ok((pid, pidfd)),
        Ok(errno) => Err(std::io::Error::from_raw_os_error(-errno)),
        Err(_) => Err(std::io::ErrorKind::Other.into()),
    }
}

/// As on x86_64, through the C library, whose `clone` cannot place the child in a cgroup: a caller
/// on these machines joins by `tasks`.
///
/// # Safety
/// See above.
#[cfg(not(target_arch = "x86_64"))]
pub(super) unsafe fn vfork(
    namespaces: c_int,
    stack: &mut [MaybeUninit<u128>],
    cgroup: Option<BorrowedFd<'_>>,
    entry: Entry,
    arg: *mut c_void,
) -> std::io::Result<(i32, c_int)> {
    if cgroup.is_some() {
        return Err(std::io::ErrorKind::Unsupported.into());
    }
    let mut pidfd: c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD | namespaces;
    // SAFETY: an `extern "C"` function that never returns may be called as one that returns int.
    let entry: extern "C" fn(*mut c_void) -> c_int = unsafe { std::mem::transmute(entry) };
    let top = stack.as_mut_ptr_range().end.cast();
    // SAFETY: the stack grows down from its end; with CLONE_PIDFD the fifth argument gets the pidfd.
    let pid = unsafe { libc::clone(entry, top, flags, arg, &raw mut pidfd) };
    if pid < 0 { Err(std::io::Error::last_os_error()) } else { Ok((pid, pidfd)) }
}
