//! Giving rights up: what a process does before it reads hostile data.

#![allow(unsafe_code, reason = "unshare and seccomp have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
pub use rustix::thread::CapabilitySet as Capability;
use rustix::thread::{CapabilitySets, UnshareFlags};

use crate::mount;

/// What the process may still use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The size that a file may reach, in bytes.
    pub file_bytes: u64,
    /// Open descriptors.
    pub open_files: u64,
}

/// A step failed. The process must end: it has some of its rights still.
#[derive(Debug, thiserror::Error)]
#[error("{step}")]
pub struct ConfineError {
    /// Which step.
    pub step: &'static str,
    /// Why.
    pub source: io::Error,
}

/// Makes `dir` the root directory in mount, network and IPC namespaces of the process' own, and gives up every
/// capability that is not in `keep` for good. What it had open stays open. Must be called before any thread is
/// started, and as root.
pub fn enter(dir: BorrowedFd<'_>, keep: &[Capability], limits: &Limits) -> Result<(), ConfineError> {
    let at = |step| move |e: rustix::io::Errno| ConfineError { step, source: e.into() };
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at("clear dumpable"))?;
    rustix::thread::set_no_new_privs(true).map_err(at("set no_new_privs"))?;
    let tree = clone_tree(dir)?;
    let spaces = UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWIPC;
    // SAFETY: the flags leave the descriptor table shared as it is; no other thread is there to be surprised by
    // another root or namespace.
    unsafe { rustix::thread::unshare_unsafe(spaces) }.map_err(at("unshare"))?;
    change_root(&tree)?;
    rustix::process::umask(rustix::fs::Mode::empty());
    for (resource, value) in
        [(Resource::Core, 0), (Resource::Fsize, limits.file_bytes), (Resource::Nofile, limits.open_files)]
    {
        lower(resource, value).map_err(at("set a resource limit"))?;
    }
    drop_capabilities(keep).map_err(at("drop capabilities"))
}

/// A detached mount of the directory. It is made before the namespace changes: afterwards the descriptor leads
/// to a mount of another namespace, which cannot be cloned.
fn clone_tree(dir: BorrowedFd<'_>) -> Result<OwnedFd, ConfineError> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(dir, "", flags).map_err(|e| ConfineError { step: "open_tree", source: e.into() })
}

/// The tree becomes the only mount: the host's are not even there to be found. Neither it nor what it is
/// attached to may be shared, as mounts are under systemd: the kernel pivots to no such root.
fn change_root(tree: &OwnedFd) -> Result<(), ConfineError> {
    let at = |step| move |e: rustix::io::Errno| ConfineError { step, source: e.into() };
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(at("make mounts private"))?;
    let change = mount::Change { propagation: mount::PRIVATE, recursive: true, ..mount::Change::default() };
    mount::change(tree.as_fd(), c"", change).map_err(at("make the new root private"))?;
    let onto = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", rustix::fs::CWD, "/", onto).map_err(at("move_mount"))?;
    rustix::process::fchdir(tree).map_err(at("fchdir"))?;
    rustix::process::pivot_root(".", ".").map_err(at("pivot_root"))?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(at("unmount the host's root"))?;
    rustix::process::chdir("/").map_err(at("chdir"))
}

fn lower(resource: Resource, value: u64) -> Result<(), rustix::io::Errno> {
    let now = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let value = Some(value.min(now));
    rustix::process::setrlimit(resource, Rlimit { current: value, maximum: value })
}

fn drop_capabilities(keep: &[Capability]) -> Result<(), rustix::io::Errno> {
    let wanted = keep.iter().fold(Capability::empty(), |all, one| all | *one);
    for capability in Capability::all().iter() {
        if wanted.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // INVAL: a capability that this kernel does not know.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(e) => return Err(e),
        }
    }
    let kept = wanted & rustix::thread::capabilities(None)?.permitted;
    rustix::thread::clear_ambient_capability_set()?;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: Capability::empty() },
    )
}

/// The system calls for making files from a stream; whatever else a library tries gets EPERM.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_writev,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_dup,
    libc::SYS_fcntl,
    libc::SYS_getdents64,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
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
    libc::SYS_sync_file_range,
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
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// Lets every thread of the process make no other system calls than those for making files from a stream. No new
/// thread can be started afterwards. Needs no_new_privs.
pub fn system_calls() -> io::Result<()> {
    let mut filter = program();
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

/// Kills for a foreign architecture, allows the list, and answers EPERM to the rest.
fn program() -> Vec<libc::sock_filter> {
    let load = |offset: u32| libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: offset };
    let equal = |k: u32, jt: u8, jf: u8| libc::sock_filter { code: 0x15, jt, jf, k };
    let answer = |k: u32| libc::sock_filter { code: 0x06, jt: 0, jf: 0, k };
    let mut filter = vec![load(4), equal(ARCH, 1, 0), answer(libc::SECCOMP_RET_KILL_PROCESS), load(0)];
    let count = u8::try_from(ALLOWED.len()).expect("under 255 system calls");
    for (n, call) in (0_u8..).zip(ALLOWED) {
        let number = u32::try_from(*call).expect("system calls have small numbers");
        filter.push(equal(number, count - n, 0));
    }
    filter.push(answer(libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned()));
    filter.push(answer(libc::SECCOMP_RET_ALLOW));
    filter
}
