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

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_sys::signal::SignalFd;
use berth_sys::spawn::{Child, Spawn};
use berth_sys::{mount, namespace};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Signal, WaitOptions};

/// The argument that makes this binary an init.
pub(crate) const NAME: &std::ffi::CStr = c"berth-init";
/// Its end of the pipe. One byte on it says that it is ready; its end, that the shim has ended.
const PIPE: i32 = 3;

/// An init as the shim holds it.
#[derive(Debug)]
pub(crate) struct Init {
    /// The process.
    pub(crate) child: Child,
    /// The PID namespace.
    pub(crate) namespace: OwnedFd,
    _pipe: OwnedFd,
}

/// Starts an init in a new PID namespace and waits until it has given up the host's mounts and rights.
/// `base` is what its mount namespace begins as a copy of.
pub(crate) fn start(namespaces: &[BorrowedFd<'_>], base: BorrowedFd<'_>) -> std::io::Result<Init> {
    let program = std::fs::File::open("/proc/self/exe")?;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    let mut fds = vec![theirs.as_fd(), base];
    fds.extend(namespaces);
    let spawn = Spawn {
        program: program.as_fd(),
        argv: &[NAME],
        fds: &fds,
        stderr: None,
        cgroup: None,
        tasks: &[],
        new_pid_namespace: true,
    };
    let child = spawn.spawn()?;
    drop(theirs);
    ours.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
    std::io::Read::read_exact(&mut &ours, &mut [0])
        .map_err(|e| std::io::Error::new(e.kind(), "the pod's init did not become ready"))?;
    let namespace = std::fs::File::open(format!("/proc/{}/ns/pid", child.pid))?.into();
    Ok(Init { child, namespace, _pipe: ours.into() })
}

/// Runs as the init, to the end.
pub(crate) fn run() -> std::io::Result<()> {
    let mut given = berth_sys::spawn::inherited(PIPE)?;
    let pipe = std::os::unix::net::UnixStream::from(given.remove(0));
    let base = given.remove(0);
    // What it was started with is the host's own null device, whose mode or times a container could change through
    // /proc/1/fd. A socket cannot be opened there.
    rustix::stdio::dup2_stdin(&pipe)?;
    rustix::stdio::dup2_stdout(&pipe)?;
    rustix::stdio::dup2_stderr(&pipe)?;
    let signals = SignalFd::new(&[Signal::CHILD.as_raw()])?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    for namespace in given {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), None)?;
    }
    leave_the_host(&base)?;
    drop(base);
    std::io::Write::write_all(&mut &pipe, &[1])?;
    loop {
        let mut polled = [PollFd::new(&signals, PollFlags::IN), PollFd::new(&pipe, PollFlags::IN)];
        match rustix::event::poll(&mut polled, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        if !polled[1].revents().is_empty() {
            return Ok(());
        }
        while signals.next()?.is_some() {}
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
    }
}

/// An empty read-only root in a mount namespace of its own, and no rights.
fn leave_the_host(base: &OwnedFd) -> std::io::Result<()> {
    namespace::enter(base.as_fd(), namespace::MOUNT)?;
    namespace::unshare(namespace::MOUNT)?;
    mount::empty_root()?;
    rustix::thread::set_no_new_privs(true)?;
    let none = rustix::thread::CapabilitySet::empty();
    let sets = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets)?;
    Ok(())
}
