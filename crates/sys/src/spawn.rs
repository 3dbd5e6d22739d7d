//! Starting a program from a descriptor, out of a process with many threads and much memory.
//!
//! The child is made with `CLONE_VM | CLONE_VFORK` on a stack of its own: nothing is copied, and
//! the caller's thread continues when the program runs. Between clone and execve the child makes
//! only system calls on memory that was prepared before: no allocation, no lock, no handler (all
//! signals are blocked in the caller for that time and their handlers reset in the child).

#![allow(unsafe_code, reason = "clone3 with shared memory and what a child may do before execve")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

mod clone;

/// The most descriptors that a program can be given beside its stdio.
pub const MAX_FDS: usize = 16;

/// All descriptors of the program: stdio and [`MAX_FDS`].
const ALL_FDS: c_int = 19;

/// The highest number of a signal.
const LAST_SIGNAL: c_int = 64;

/// Room for the child between clone and execve, in units of 16 bytes: 32 KiB.
const STACK: usize = 2048;

/// What to start and how.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// The program.
    pub program: Executable<'a>,
    /// Its arguments, the first being its name.
    pub argv: &'a [&'a CStr],
    /// What it finds at descriptors 3, 4, ...; everything else is closed.
    pub fds: &'a [BorrowedFd<'a>],
    /// Its environment, as `NAME=value`.
    pub env: &'a [&'a CStr],
    /// Its stdin, stdout and stderr; none is `/dev/null`.
    pub stdio: [Option<BorrowedFd<'a>>; 3],
    /// A cgroup v2 directory to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// `tasks` (v1) or `cgroup.procs` files, open for writing, of cgroups to join before execve.
    pub tasks: &'a [BorrowedFd<'a>],
    /// Whether it is the first process of a new PID namespace.
    pub new_pid_namespace: bool,
}

/// Where a program is.
#[derive(Debug, Clone, Copy)]
pub enum Executable<'a> {
    /// In an open file, a sealed memfd say. It is not a script: its interpreter would not find it.
    File(BorrowedFd<'a>),
    /// At this path.
    Path(&'a CStr),
}

/// Takes the descriptors that this process was started with, from the number `first` on without a
/// gap. To be called once, before the process opens anything itself.
///
/// # Errors
/// None exists.
pub fn inherited(first: i32) -> std::io::Result<Vec<OwnedFd>> {
    let mut fds = Vec::new();
    for number in first.. {
        // SAFETY: F_SETFD changes a flag only, and says when the number is not a descriptor.
        if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            break;
        }
        // SAFETY: it is open, was there before this process opened any, and by the contract above
        // is taken only once.
        fds.push(unsafe { OwnedFd::from_raw_fd(number) });
    }
    if fds.is_empty() { Err(std::io::Error::from_raw_os_error(libc::EBADF)) } else { Ok(fds) }
}

/// A started program.
#[derive(Debug)]
pub struct Child {
    /// Its process id, for messages.
    pub pid: i32,
    /// Its process.
    pub pidfd: OwnedFd,
}

/// Everything that the child touches, prepared by the parent; `errno` is the child's answer.
struct Plan {
    /// None is -1, for a program at a path.
    program: c_int,
    path: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    /// What becomes descriptor 0, 1, 2, 3...
    fds: [c_int; ALL_FDS as usize],
    count: c_int,
    tasks: *const c_int,
    tasks_count: usize,
    errno: c_int,
}

impl Spawn<'_> {
    /// Starts the program in a session of its own, in `/`, with no signal blocked and every one handled in the usual way.
    ///
    /// # Errors
    /// Those of clone3, of joining a cgroup, and of execve; nothing is left behind then.
    pub fn spawn(&self) -> std::io::Result<Child> {
        if self.fds.len() > MAX_FDS {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        let count = c_int::try_from(self.fds.len() + 3).map_err(std::io::Error::other)?;
        let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
        let mut argv: Vec<*const c_char> = self.argv.iter().map(|a| a.as_ptr()).collect();
        argv.push(std::ptr::null());
        let mut envp: Vec<*const c_char> = self.env.iter().map(|var| var.as_ptr()).collect();
        envp.push(std::ptr::null());
        let tasks: Vec<c_int> = self.tasks.iter().map(AsRawFd::as_raw_fd).collect();
        let mut fds = [null.as_raw_fd(); ALL_FDS as usize];
        for (place, fd) in fds.iter_mut().zip(self.stdio) {
            *place = fd.map_or(null.as_raw_fd(), |fd| fd.as_raw_fd());
        }
        for (place, fd) in fds[3..].iter_mut().zip(self.fds) {
            *place = fd.as_raw_fd();
        }
        let mut plan = Plan {
            program: match self.program {
                Executable::File(file) => file.as_raw_fd(),
                Executable::Path(_) => -1,
            },
            path: match self.program {
                Executable::File(_) => c"".as_ptr(),
                Executable::Path(path) => path.as_ptr(),
            },
            argv: argv.as_ptr(),
            envp: envp.as_ptr(),
            fds,
            count,
            tasks: tasks.as_ptr(),
            tasks_count: tasks.len(),
            errno: 0,
        };
        let child = self.clone_child(&mut plan)?;
        if plan.errno == 0 {
            return Ok(child);
        }
        let wait = rustix::process::WaitId::PidFd(child.pidfd.as_fd());
        rustix::process::waitid(wait, rustix::process::WaitIdOptions::EXITED)?;
        Err(std::io::Error::from_raw_os_error(plan.errno))
    }

    fn clone_child(&self, plan: &mut Plan) -> std::io::Result<Child> {
        let mut stack: Vec<MaybeUninit<u128>> = Vec::with_capacity(STACK);
        // SAFETY: MaybeUninit needs no initialisation and the capacity is there.
        unsafe { stack.set_len(STACK) };
        let mut all = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: sigfillset initialises the set; the old mask is written to `before`.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        }
        let namespaces = if self.new_pid_namespace { libc::CLONE_NEWPID } else { 0 };
        // SAFETY: `child` keeps to system calls on `plan`, which outlives it: CLONE_VFORK holds this
        // thread until the child has executed the program or exited.
        let cloned = unsafe {
            clone::vfork(namespaces, &mut stack, self.cgroup, child, std::ptr::from_mut(plan).cast())
        };
        // SAFETY: `before` was written above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
        let (pid, pidfd) = cloned?;
        // SAFETY: the kernel made the descriptor for this call and nothing else has it.
        Ok(Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
    }
}

/// The child's whole life before its program. It shares the parent's memory: no allocation, no panic.
extern "C" fn child(plan: *mut c_void) {
    let plan = plan.cast::<Plan>();
    // SAFETY: the parent waits, so the plan and all it points to are valid and not in other use;
    // everything called is a plain system call (async-signal-safe), and `errno` is read at once.
    unsafe {
        run(plan);
        (*plan).errno = match *libc::__errno_location() {
            0 => libc::EIO,
            errno => errno,
        };
        libc::_exit(127);
    }
}

/// Returns only when a step failed, with errno set.
///
/// # Safety
/// As for [`child`].
unsafe fn run(plan: *mut Plan) {
    // SAFETY: see `child`.
    unsafe {
        let plan = &mut *plan;
        libc::setsid();
        for i in 0..plan.tasks_count {
            if libc::write(*plan.tasks.add(i), c"0".as_ptr().cast(), 1) != 1 {
                return;
            }
        }
        // First out of the way of the numbers they get, then onto them.
        let mut program = libc::AT_FDCWD;
        if plan.program >= 0 {
            program = libc::fcntl(plan.program, libc::F_DUPFD_CLOEXEC, ALL_FDS);
            if program < 0 {
                return;
            }
        }
        for fd in &mut plan.fds {
            *fd = libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, ALL_FDS);
            if *fd < 0 {
                return;
            }
        }
        for (number, fd) in (0..plan.count).zip(&plan.fds) {
            if libc::dup3(*fd, number, 0) < 0 {
                return;
            }
        }
        // What some library opened without close-on-exec must not reach the program (Linux 5.11; older
        // kernels refuse the flag and we rely on close-on-exec alone).
        libc::syscall(libc::SYS_close_range, plan.count, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        if libc::chdir(c"/".as_ptr()) < 0 {
            return;
        }
        // Those that are ignored stay so otherwise, also in what the program starts. It fails for a few, which cannot be ignored.
        for signal in 1..=LAST_SIGNAL {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = MaybeUninit::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
        *libc::__errno_location() = 0;
        libc::syscall(libc::SYS_execveat, program, plan.path, plan.argv, plan.envp, libc::AT_EMPTY_PATH);
    }
}

#[cfg(test)]
mod tests;
