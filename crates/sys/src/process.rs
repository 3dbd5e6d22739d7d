//! Children that are made by clone3 and become another program.
//!
//! What runs in such a child must not allocate, lock or log: the process it was copied from may have
//! had threads that held locks. The functions of this module that a child may call keep to that; so do
//! those of [`mount`](crate::mount), [`caps`](crate::caps), [`namespace`](crate::namespace),
//! [`pty`](crate::pty) and [`rlimit`](crate::rlimit).

#![allow(unsafe_code, reason = "clone3, execve, close_range, seccomp: system calls that rustix has not")]

use std::ffi::{CStr, CString, c_char, c_int, c_long};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

pub use alone::{ExecContext, Program};
pub use open_files::{OpenFiles, open_files};

mod alone;
mod open_files;

/// A child that was just made.
#[derive(Debug)]
pub struct Child {
    /// Its process id in the caller's PID namespace, for messages.
    pub pid: i32,
    /// The process.
    pub pidfd: OwnedFd,
}

/// `CLONE_INTO_CGROUP`, beyond the 32 bits of libc's constants.
const INTO_CGROUP: u64 = 1 << 33;

/// Calls `f` and never comes back from it: a panic ends the process.
struct NeverUnwind;

impl Drop for NeverUnwind {
    fn drop(&mut self) {
        exit_now(255);
    }
}

/// Makes a child in new namespaces (`CLONE_NEW*` in `namespaces`), in the cgroup v2 directory
/// `cgroup` if one is given. The child calls `child` and exits with what it returns.
///
/// `child` must keep to system calls and memory that exists already. It gets a copy of the caller's
/// descriptors, those of other threads included.
///
/// # Errors
/// Those of clone3(2).
pub fn fork(
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> Result<Child, Errno> {
    clone(namespaces, cgroup, libc::SIGCHLD as u64, child)
}

/// The same, but the new process is a child of the caller's parent, which learns of its end; in the caller's cgroup.
///
/// It is made by the older clone(2): seccomp profiles commonly forbid clone3, whose flags they cannot see.
///
/// # Errors
/// Those of clone(2).
pub fn fork_sibling(namespaces: u64, child: impl FnOnce() -> i32) -> Result<Child, Errno> {
    let flags = SIBLING | namespaces;
    let mut pidfd: c_int = -1;
    // SAFETY: without CLONE_VM and with no stack the child continues here on a copy of everything, as after
    // fork. With CLONE_PIDFD the third argument gets the pidfd; the signal at the end is that of the caller's own.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, &raw mut pidfd, 0usize, 0usize) };
    goes_on(result, &pidfd, child)
}

/// The flags of [`fork_sibling`], to check whether a filter lets it pass.
pub const SIBLING: u64 = (libc::CLONE_PARENT | libc::CLONE_PIDFD) as u64;

fn clone(
    flags: u64,
    cgroup: Option<BorrowedFd<'_>>,
    exit_signal: u64,
    child: impl FnOnce() -> i32,
) -> Result<Child, Errno> {
    let mut pidfd: c_int = -1;
    // SAFETY: all fields are integers, zero means unused.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = exit_signal;
    if let Some(dir) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = u64::from(dir.as_raw_fd().cast_unsigned());
    }
    // SAFETY: without CLONE_VM and with no stack the child continues here on a copy of everything, as
    // after fork; `args` is valid for its size.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    goes_on(result, &pidfd, child)
}

/// What either side of a clone does next: the child never returns.
fn goes_on(result: c_long, pidfd: &c_int, child: impl FnOnce() -> i32) -> Result<Child, Errno> {
    match result {
        0 => {
            let _guard = NeverUnwind;
            let code = child();
            exit_now(code)
        }
        pid if pid > 0 => {
            // SAFETY: the kernel made the descriptor for this call and nothing else has it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(*pidfd) };
            Ok(Child { pid: i32::try_from(pid).unwrap_or(0), pidfd })
        }
        _ => Err(last_errno()),
    }
}

/// Ends the process at once: no destructor, no exit handler, no flush.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: exit_group takes an integer and does not return.
    unsafe {
        libc::syscall(libc::SYS_exit_group, c_long::from(code));
        libc::_exit(code)
    }
}

/// The errno of the libc call just made.
pub(crate) fn last_errno() -> Errno {
    // SAFETY: the location is valid for the calling thread.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// The result of a raw system call.
pub(crate) fn check(result: c_long) -> Result<c_long, Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(result) }
}

/// A null-terminated array of C strings, made before a clone and used after it.
#[derive(Debug)]
pub struct StringArray {
    // Points into `_strings`, whose heap blocks do not move.
    pointers: Vec<*const c_char>,
    _strings: Vec<CString>,
}

// SAFETY: the pointers go to heap blocks that the value owns and nothing changes.
unsafe impl Send for StringArray {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for StringArray {}

impl StringArray {
    /// The array of `strings`.
    pub fn new(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<*const c_char> = strings.iter().map(|s| s.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Self { pointers, _strings: strings }
    }
}

/// Becomes another program; returns only with the reason why not.
pub fn execve(path: &CStr, args: &StringArray, env: &StringArray) -> Errno {
    // SAFETY: the path and both arrays are null-terminated and outlive the call.
    unsafe { libc::syscall(libc::SYS_execve, path.as_ptr(), args.pointers.as_ptr(), env.pointers.as_ptr()) };
    last_errno()
}

/// Closes the descriptors from `first` to `last`, both included. (Linux 5.9.)
///
/// For a child that owns nothing any more: values that own descriptors in the range must be leaked.
///
/// # Errors
/// Those of close_range(2).
pub fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: integers only. Closing is what the caller, a child before execve, is for.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0u32) })?;
    Ok(())
}

/// Has the programs that this process starts inherit none of its descriptors but 0, 1 and 2, whoever opened them: what
/// it was started with, too. (Linux 5.11; an older kernel refuses.)
///
/// # Errors
/// Those of close_range(2).
pub fn inherit_nothing() -> Result<(), Errno> {
    // SAFETY: integers only; the descriptors stay open and are marked.
    check(unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })?;
    Ok(())
}

/// Makes descriptor number `to` a copy of `from`; close-on-exec when `keep` is false.
///
/// # Errors
/// Those of dup3(2).
pub fn place_fd(from: BorrowedFd<'_>, to: RawFd, keep: bool) -> Result<(), Errno> {
    let flags = if keep { 0 } else { libc::O_CLOEXEC };
    if from.as_raw_fd() == to {
        let flags = if keep { 0 } else { libc::FD_CLOEXEC };
        // SAFETY: integers only.
        check(unsafe { libc::syscall(libc::SYS_fcntl, to, libc::F_SETFD, flags) })?;
        return Ok(());
    }
    // SAFETY: integers only. What was at `to` is closed: a child before execve owns its numbers.
    check(unsafe { libc::syscall(libc::SYS_dup3, from.as_raw_fd(), to, flags) })?;
    Ok(())
}

/// The descriptor with this number, in a child that knows what it has put there.
pub fn fd_at(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: used with numbers that the caller has just placed and does not close before execve.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Gives every signal its default action and blocks none, whatever the parent ignored or blocked.
pub fn reset_signals() {
    /// What the kernel calls sigaction; zero is the default action.
    #[repr(C)]
    struct KernelAction([u64; 4]);
    let default = KernelAction([0; 4]);
    for signal in 1..=64 {
        // SAFETY: the action is as large as the kernel's struct; failures (SIGKILL, SIGSTOP) mean nothing.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const default,
                std::ptr::null_mut::<u8>(),
                8usize,
            )
        };
    }
    let none = 0u64;
    // SAFETY: the mask is eight bytes, as said.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null_mut::<u8>(),
            8usize,
        )
    };
}

/// The calls that a process still makes between its seccomp filter and its program, by the number that a filter sees.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers of calls are small")]
pub mod call {
    /// read(2)
    pub const READ: u32 = libc::SYS_read as u32;
    /// write(2)
    pub const WRITE: u32 = libc::SYS_write as u32;
    /// close_range(2)
    pub const CLOSE_RANGE: u32 = libc::SYS_close_range as u32;
    /// sendto(2)
    pub const SENDTO: u32 = libc::SYS_sendto as u32;
    /// sendmsg(2)
    pub const SENDMSG: u32 = libc::SYS_sendmsg as u32;
    /// clone(2)
    pub const CLONE: u32 = libc::SYS_clone as u32;
    /// accept4(2)
    pub const ACCEPT4: u32 = libc::SYS_accept4 as u32;
    /// dup3(2)
    pub const DUP3: u32 = libc::SYS_dup3 as u32;
    /// close(2)
    pub const CLOSE: u32 = libc::SYS_close as u32;
    /// capset(2)
    pub const CAPSET: u32 = libc::SYS_capset as u32;
    /// setsid(2)
    pub const SETSID: u32 = libc::SYS_setsid as u32;
    /// ioctl(2)
    pub const IOCTL: u32 = libc::SYS_ioctl as u32;
    /// prlimit64(2)
    pub const PRLIMIT: u32 = libc::SYS_prlimit64 as u32;
    /// exit_group(2)
    pub const EXIT: u32 = libc::SYS_exit_group as u32;
}

/// Loads a seccomp filter: each instruction is a `struct sock_filter` as the `u64` of its bytes.
/// `flags` are `SECCOMP_FILTER_FLAG_*`.
///
/// # Errors
/// Those of seccomp(2).
pub fn load_seccomp(filter: &[u64], flags: u32) -> Result<(), Errno> {
    let len = u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut().cast() };
    // SAFETY: `filter` has `len` instructions of eight bytes, which the kernel only reads.
    let result = check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    })?;
    // With SECCOMP_FILTER_FLAG_TSYNC a positive number is the thread that could not be changed.
    if result == 0 { Ok(()) } else { Err(Errno::SRCH) }
}

/// A session keyring of its own, so that it does not have its maker's keys. Kernels without keyrings
/// need none.
///
/// # Errors
/// Those of keyctl(2): EDQUOT and ENOMEM for the quota of keys; EPERM and EACCES where a filter or a security module
/// forbids the call, so that the process would keep its maker's keys.
pub fn new_session_keyring() -> Result<(), Errno> {
    const JOIN_SESSION_KEYRING: c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<c_char>()) };
    match check(result) {
        Ok(_) | Err(Errno::NOSYS) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Lets the caller run on every CPU that its cpuset has, whatever its maker was bound to.
///
/// Since Linux 6.2 a mask that was once set is kept when a process joins another cpuset.
///
/// # Errors
/// Those of sched_setaffinity(2).
pub fn release_cpus() -> Result<(), Errno> {
    // More than any kernel has; what is not in the cpuset does not count.
    let all = [u64::MAX; 128];
    // SAFETY: the mask has the length said.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&all), all.as_ptr()) })?;
    Ok(())
}

/// Sets the execution domain.
///
/// # Errors
/// Those of personality(2).
pub fn set_personality(domain: u32) -> Result<(), Errno> {
    // SAFETY: an integer.
    check(unsafe { libc::syscall(libc::SYS_personality, c_long::from(domain)) })?;
    Ok(())
}

/// Whether the working directory is below the root directory: the kernel says `(unreachable)` of one
/// that is not.
///
/// # Errors
/// Those of getcwd(2): ENOENT when it was removed.
pub fn cwd_is_inside() -> Result<bool, Errno> {
    let mut buffer = [0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer has the length said.
    check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })?;
    Ok(buffer[0] == b'/')
}

/// Reaps the child of this pidfd, waiting for its end. None when it was reaped elsewhere.
pub fn reap(pidfd: BorrowedFd<'_>) -> Option<Exit> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    loop {
        match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Ok(Some(status)) => {
                return Some(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (None, Some(signal)) => Exit::Signal(signal),
                    (None, None) => Exit::Code(255),
                });
            }
            Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Kills the child of this pidfd and reaps it, if it dies within `limit`. One that waits for a disk or a file
/// server that does not answer cannot be killed; it is left to what reaps all children, or to the end
/// of the caller.
pub fn end(pidfd: BorrowedFd<'_>, limit: std::time::Duration) -> Option<Exit> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
    let deadline = std::time::Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        match poll(
            &mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)],
            Timespec::try_from(left).ok().as_ref(),
        ) {
            Ok(0) => return None,
            Ok(_) => return reap(pidfd),
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// The status as a shell gives it: 128 and the number for a signal.
    pub fn shell_code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

#[cfg(test)]
mod tests;
