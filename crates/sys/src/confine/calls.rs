//! The system calls that a confined process may make.

#![allow(unsafe_code, reason = "seccomp has no safe wrapper")]

use std::io;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// Reads descriptors that it has and writes to others.
    Stream,
    /// Makes files, directories, links, fifos and whiteouts (character devices 0:0) as well. No other device.
    Files,
}

/// What a stream and the memory and ending of a process need; whatever else a library tries gets EPERM.
const STREAM: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_tgkill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What making files needs.
const FILES: &[libc::c_long] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_dup,
    libc::SYS_fcntl,
    libc::SYS_getdents64,
    libc::SYS_mkdirat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_readlinkat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fsetxattr,
    libc::SYS_utimensat,
    libc::SYS_ftruncate,
];

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// Lets every thread of the process make no other system calls than these, for good. No new thread can be started
/// afterwards. Needs no_new_privs.
///
/// # Errors
/// Those of seccomp(2).
pub fn system_calls(calls: Calls) -> io::Result<()> {
    let mut filter = program(calls);
    let length = u16::try_from(filter.len()).expect("a short list");
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: the program is valid for the call and the kernel copies it; TSYNC applies it to all threads.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const program,
        )
    };
    match failed {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        _ => Err(io::Error::other("a thread cannot take the system call filter")),
    }
}

/// Offsets in `struct seccomp_data`; the lower half of an argument comes first on the machines above.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const fn argument(n: u32) -> u32 {
    16 + 8 * n
}

fn load(offset: u32) -> libc::sock_filter {
    libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: offset }
}

fn and(k: u32) -> libc::sock_filter {
    libc::sock_filter { code: 0x54, jt: 0, jf: 0, k }
}

/// Skips `jt` instructions when equal, `jf` when not.
fn equal(k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: 0x15, jt, jf, k }
}

fn answer(k: u32) -> libc::sock_filter {
    libc::sock_filter { code: 0x06, jt: 0, jf: 0, k }
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).expect("system calls have small numbers")
}

/// Kills for a foreign architecture, allows the list, and answers EPERM to the rest.
pub(super) fn program(calls: Calls) -> Vec<libc::sock_filter> {
    let more: &[libc::c_long] = match calls {
        Calls::Stream => &[],
        Calls::Files => FILES,
    };
    let all: Vec<u32> = STREAM.iter().chain(more).map(|call| number(*call)).collect();
    let nodes = match calls {
        Calls::Stream => Vec::new(),
        Calls::Files => nodes(),
    };
    let after = all.len() + nodes.len();
    let mut filter =
        vec![load(ARCHITECTURE), equal(ARCH, 1, 0), answer(libc::SECCOMP_RET_KILL_PROCESS), load(NUMBER)];
    for (n, call) in all.into_iter().enumerate() {
        filter.push(equal(call, u8::try_from(after - n).expect("under 255 system calls"), 0));
    }
    filter.extend(nodes);
    filter.push(answer(libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned()));
    filter.push(answer(libc::SECCOMP_RET_ALLOW));
    filter
}

/// mknodat for a fifo, or for the character device 0:0, by which overlayfs knows a whiteout: the kernel lets everyone
/// make that one, and it cannot be opened. Follows the list; after it come EPERM and the permission.
fn nodes() -> Vec<libc::sock_filter> {
    vec![
        equal(number(libc::SYS_mknodat), 0, 6),
        load(argument(2)),
        and(libc::S_IFMT),
        equal(libc::S_IFIFO, 4, 0),
        equal(libc::S_IFCHR, 0, 2),
        load(argument(3)),
        equal(0, 1, 0),
    ]
}
