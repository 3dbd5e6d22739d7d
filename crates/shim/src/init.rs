//! The first process of a PID namespace that a pod's containers share.
//!
//! A PID namespace lives as long as its first process; there is no descriptor that keeps one. Were that process a
//! container's, its end would end the others: so it is this one, which other runtimes have as the pause container.
//!
//! It only reaps. It runs from the shim's own memfd, in the shim's leaf cgroup (outside the pod's limits: a pod
//! that runs out of memory does not lose it), and ends when the shim does: the shim holds the other end of its
//! socket. With it the kernel ends every process of the namespace, and the pod ends.
//!
//! A container with CAP_SYS_PTRACE can look through `/proc/1/root`, `cwd` and `fd` of this process.
//! So before anything else can enter the namespace it has an empty root of its own, the pod's
//! namespaces, no descriptor of the host and no capability. A chroot would not do: whoever follows `/proc/1/root`
//! walks up from there by `..`.

use std::ffi::CStr;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use berth_sys::signal::SignalFd;
use berth_sys::spawn::{Child, Executable, Spawn};
use berth_sys::{mount, namespace, process, user};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Signal, WaitOptions, pidfd_open};

/// The argument that makes this binary an init.
pub(crate) const NAME: &CStr = c"berth-init";
/// The argument behind it where the first namespace is a user namespace, which the PID namespace is to belong to.
const IN_USER: &CStr = c"in-user";
/// Its end of the pipe. One byte on it says that it is ready; its end, that the shim has ended.
const PIPE: i32 = 3;
/// The time that it has to become ready.
const LIMIT: Duration = Duration::from_secs(5);

/// An init as the shim holds it.
#[derive(Debug)]
pub(crate) struct Init {
    /// The process.
    pub(crate) child: Child,
    /// The PID namespace.
    pub(crate) namespace: OwnedFd,
    _pipe: OwnedFd,
}

/// Starts an init in a new PID namespace and waits until it has given up the host's mounts and rights. The PID namespace belongs to
/// the user namespace, if there is one. `base` is what its mount namespace begins as a copy of.
pub(crate) fn start(
    base: BorrowedFd<'_>,
    user: Option<BorrowedFd<'_>>,
    namespaces: &[BorrowedFd<'_>],
) -> io::Result<Init> {
    let program = std::fs::File::open("/proc/self/exe")?;
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut fds = vec![theirs.as_fd(), base];
    fds.extend(user);
    fds.extend(namespaces);
    let argv: &[&CStr] = if user.is_some() { &[NAME, IN_USER] } else { &[NAME] };
    let spawn = Spawn {
        program: Executable::File(program.as_fd()),
        argv,
        fds: &fds,
        env: &[],
        stdio: [None; 3],
        cgroup: None,
        tasks: &[],
        new_pid_namespace: user.is_none(),
    };
    let first = spawn.spawn()?;
    drop(theirs);
    ours.set_read_timeout(Some(LIMIT))?;
    let child = if user.is_some() { made_by(&first, &mut ours)? } else { first };
    let ready = ours.read_exact(&mut [0]);
    ready.map_err(|e| io::Error::new(e.kind(), "the pod's init did not become ready"))?;
    let namespace = std::fs::File::open(format!("/proc/{}/ns/pid", child.pid))?.into();
    Ok(Init { child, namespace, _pipe: ours.into() })
}

/// The init that the first process made as its sibling, and told of.
fn made_by(first: &Child, ours: &mut UnixStream) -> io::Result<Child> {
    let mut number = [0; 4];
    let told = ours.read_exact(&mut number);
    // Whether it told or not, it is done.
    let _ = process::end(first.pidfd.as_fd(), LIMIT);
    told.map_err(|e| io::Error::new(e.kind(), "the pod's init could not be made in its user namespace"))?;
    let pid = i32::from_ne_bytes(number);
    let known = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
    // A child that was not reaped: the number is its own.
    Ok(Child { pid, pidfd: pidfd_open(known, PidfdFlags::empty())? })
}

/// Runs as the init, to the end.
pub(crate) fn run() -> io::Result<()> {
    let mut given = berth_sys::spawn::inherited(PIPE)?;
    let pipe = UnixStream::from(given.remove(0));
    let base = given.remove(0);
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    if std::env::args_os().nth(1).is_some_and(|arg| arg.as_encoded_bytes() == IN_USER.to_bytes()) {
        return in_user(base, given, &pipe);
    }
    // It keeps no descriptor of the base.
    let own_mounts = move || {
        namespace::enter(base.as_fd(), namespace::MOUNT)?;
        namespace::unshare(namespace::MOUNT)
    };
    reap(given, &pipe, own_mounts)
}

/// Enters the user namespace and makes the init as a sibling in there: a process cannot enter a new PID namespace itself.
fn in_user(base: OwnedFd, mut given: Vec<OwnedFd>, pipe: &UnixStream) -> io::Result<()> {
    // The right to it ends with the user namespace; the sibling's own is a copy.
    namespace::enter(base.as_fd(), namespace::MOUNT)?;
    drop(base);
    namespace::enter(given.remove(0).as_fd(), namespace::USER)?;
    user::become_root()?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // The sibling is not ready before its maker has told of it, and ended.
    let (mut held, holds) = io::pipe()?;
    let number = holds.as_raw_fd().cast_unsigned();
    let made = process::fork_sibling(namespace::PID | namespace::MOUNT, || {
        let alone = process::close_range(number, number).map_err(io::Error::from);
        let ends = alone.and_then(|()| held.read(&mut [0])).and_then(|_| reap(given, pipe, || Ok(())));
        i32::from(ends.is_err())
    })?;
    (&mut &*pipe).write_all(&made.pid.to_ne_bytes())
}

/// Reaps, when the host is left, in a mount namespace of its own.
fn reap(
    namespaces: Vec<OwnedFd>,
    pipe: &UnixStream,
    own_mounts: impl FnOnce() -> Result<(), Errno>,
) -> io::Result<()> {
    // What it was started with is the host's own null device, whose mode or times a container could change through
    // /proc/1/fd. A socket cannot be opened there.
    rustix::stdio::dup2_stdin(pipe)?;
    rustix::stdio::dup2_stdout(pipe)?;
    rustix::stdio::dup2_stderr(pipe)?;
    let signals = SignalFd::new(&[Signal::CHILD.as_raw()])?;
    for namespace in namespaces {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), None)?;
    }
    own_mounts()?;
    leave_the_host()?;
    (&mut &*pipe).write_all(&[1])?;
    loop {
        let mut polled = [PollFd::new(&signals, PollFlags::IN), PollFd::new(pipe, PollFlags::IN)];
        match rustix::event::poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        if !polled[1].revents().is_empty() {
            return Ok(());
        }
        while signals.next()?.is_some() {}
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
    }
}

/// An empty read-only root, and no rights.
fn leave_the_host() -> io::Result<()> {
    mount::empty_root()?;
    give_up_rights()
}

/// No capability, now or by a later program.
pub(crate) fn give_up_rights() -> std::io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    let none = rustix::thread::CapabilitySet::empty();
    let sets = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}
