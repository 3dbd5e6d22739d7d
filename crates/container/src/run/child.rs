//! The child of `create` and of `exec`, from clone to execve. No allocation here: see [`super`].

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use berth_sys::mount::{self, Change};
use berth_sys::namespace;
use berth_sys::process::{self, fd_at};
use berth_sys::pty::{self, Pty};
use berth_sys::user;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags};

use super::gate::{self, ENTER, Fail, STEP};
use super::last::FIRST;
use super::op::Op;
use super::path::is_device;
use super::process::{Process, at};
use super::steps::StepContext;

/// A namespace to enter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) fd: BorrowedFd<'a>,
    pub(super) kinds: u64,
}

/// What the child is given, common to both.
#[derive(Debug)]
pub(super) struct Work<'a> {
    pub(super) gate: BorrowedFd<'a>,
    /// Ranges of descriptors to close first: all but those that are needed.
    pub(super) close: Vec<(u32, u32)>,
    pub(super) tasks: Vec<BorrowedFd<'a>>,
    /// The PID namespace of the process that goes on. Only children get into it, so this one is not seen there.
    pub(super) pid: Option<BorrowedFd<'a>>,
    /// Where the host's mounts are left for.
    pub(super) base: Option<BorrowedFd<'a>>,
    pub(super) enter: Vec<Entry<'a>>,
    /// A listening socket at which the process waits for its start.
    pub(super) door: Option<BorrowedFd<'a>>,
    /// None for a terminal.
    pub(super) stdio: Option<[Option<BorrowedFd<'a>>; 3]>,
    /// What the program is given beside that.
    pub(super) fds: &'a [BorrowedFd<'a>],
    /// Whether the process is root in a user namespace of the container first.
    pub(super) become_root: bool,
    /// Whether the process is born without the right to raise limits, in a user namespace: its maker does it.
    pub(super) limits_from_outside: bool,
    pub(super) process: &'a Process,
}

/// What only a new container needs.
#[derive(Debug)]
pub(super) struct Setup<'a> {
    pub(super) root: BorrowedFd<'a>,
    /// Where it is attached for the time until it is the root.
    pub(super) root_at: &'a CStr,
    /// Whether somebody wants to see the container before its root is its root.
    pub(super) visited: bool,
    pub(super) ops: &'a [Op],
    /// Whether a user namespace that exists gets a new PID namespace: those belong to children only, so
    /// a sibling, made in there, goes on.
    pub(super) sibling: bool,
    /// Namespaces that are made after a user namespace was entered.
    pub(super) unshare: u64,
    pub(super) cgroup_namespace: bool,
    pub(super) time: Option<&'a [u8]>,
    pub(super) readonly: bool,
    pub(super) propagation: (u64, bool),
    /// Whether a new user namespace is made by the child, after it has entered what is the host's.
    pub(super) unshare_user: bool,
    pub(super) wait_for_maps: bool,
}

/// The life of a container's first process up to its [last part](super::last).
pub(super) fn create(work: &Work<'_>, setup: &Setup<'_>) -> i32 {
    let begun = begin(work).and_then(|()| {
        if setup.unshare_user {
            namespace::unshare(namespace::USER).map_err(at("make the user namespace"))?;
            gate::say_ready(work.gate).map_err(at("report the user namespace"))?;
        }
        if setup.wait_for_maps && !gate::wait(work.gate) {
            process::exit_now(0);
        }
        if setup.sibling { move_on(work, setup) } else { Ok(()) }
    });
    match begun.and_then(|()| enter(work, 0)) {
        Ok(()) => finish(work, setup),
        Err(fail) => {
            gate::say_failed(work.gate, fail);
            1
        }
    }
}

/// Enters the user namespace and makes the process that goes on; does not return in success.
fn move_on(work: &Work<'_>, setup: &Setup<'_>) -> Result<(), Fail> {
    let name = at("make the PID namespace");
    let Some((user, _)) = work.enter.split_first() else {
        return Err(name(Errno::INVAL));
    };
    namespace::enter(user.fd, user.kinds).map_err(at("enter the user namespace"))?;
    become_root()?;
    let sibling = process::fork_sibling(namespace::PID, || match enter(work, 1) {
        Ok(()) => finish(work, setup),
        Err(fail) => {
            gate::say_failed(work.gate, fail);
            1
        }
    })
    .map_err(&name)?;
    gate::say_moved(work.gate, sibling.pid, sibling.pidfd.as_fd()).map_err(&name)?;
    process::exit_now(0)
}

fn finish(work: &Work<'_>, setup: &Setup<'_>) -> i32 {
    leave(work, arrange(work, setup))
}

/// The same for a further process.
pub(super) fn exec(work: &Work<'_>) -> i32 {
    leave(work, join(work))
}

/// Becomes what the program is to be, as far as that is possible before it, and continues without its maker's memory.
fn leave(work: &Work<'_>, made: Result<Option<Pty>, Fail>) -> i32 {
    let become_it = |pty| {
        settle(work, pty).map_err(|fail| (fail, work.gate))?;
        let in_cwd = work.process.enter_cwd();
        in_cwd
            .and_then(|in_cwd| work.process.take_on(stdio_fds(), in_cwd))
            .map_err(|fail| (fail, fd_at(work.process.gate)))
    };
    match made.map_err(|fail| (fail, work.gate)).and_then(become_it) {
        Ok(()) => work.process.go_on(),
        Err((fail, gate)) => {
            gate::say_failed(gate, fail);
            1
        }
    }
}

/// Enters a container that runs.
fn join(work: &Work<'_>) -> Result<Option<Pty>, Fail> {
    begin(work)?;
    if let Some(score) = &work.process.oom_score {
        lower_or_leave(score)?;
    }
    enter(work, 0)?;
    keyring()?;
    if work.stdio.is_none() { terminal().map(Some) } else { Ok(None) }
}

fn stdio_fds() -> [BorrowedFd<'static>; 3] {
    [fd_at(0), fd_at(1), fd_at(2)]
}

/// Nothing of the caller's stays: descriptors, signals, memory that others could look at.
fn begin(work: &Work<'_>) -> Result<(), Fail> {
    for (first, last) in &work.close {
        process::close_range(*first, *last).map_err(at("close descriptors"))?;
    }
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(at("become non-dumpable"))?;
    process::reset_signals();
    rustix::process::umask(Mode::empty());
    if let Some(base) = work.base {
        namespace::enter(base, namespace::MOUNT).map_err(at("enter the base of mount namespaces"))?;
    }
    work.process.take_profile()?;
    for tasks in &work.tasks {
        // A process of one thread that names itself avoids the kernel's global lock.
        rustix::io::write(tasks, b"0").map_err(at("join the cgroup"))?;
    }
    if let Some(pid) = work.pid {
        namespace::enter(pid, namespace::PID).map_err(at("enter the PID namespace"))?;
    }
    work.process.raise_limits(0).or_else(|fail| if work.limits_from_outside { Ok(()) } else { Err(fail) })?;
    // A daemon that is bound to some CPUs (systemd's CPUAffinity) does not bind its containers. Where that is
    // forbidden they are as the daemon is.
    let _ = process::release_cpus();
    work.process.schedule()
}

/// Enters the namespaces after the first `done` ones.
fn enter(work: &Work<'_>, done: usize) -> Result<(), Fail> {
    for (index, entry) in (0u32..).zip(&work.enter).skip(done) {
        namespace::enter(entry.fd, entry.kinds).map_err(|errno| Fail { what: ENTER, index, errno })?;
    }
    if work.become_root { become_root() } else { Ok(()) }
}

/// Root of the user namespace: without this the process would have the overflow user id in it.
pub(super) fn become_root() -> Result<(), Fail> {
    user::become_root().map_err(at("become root of the user namespace"))
}

fn keyring() -> Result<(), Fail> {
    process::new_session_keyring().map_err(at("make a session keyring"))
}

/// Makes the container's namespaces and mounts.
fn arrange(work: &Work<'_>, setup: &Setup<'_>) -> Result<Option<Pty>, Fail> {
    if setup.unshare != 0 {
        namespace::unshare(setup.unshare).map_err(at("make the namespaces"))?;
    }
    if setup.cgroup_namespace {
        // After joining: the namespace begins at the cgroup that the process is in.
        namespace::unshare(namespace::CGROUP).map_err(at("make the cgroup namespace"))?;
    }
    if let Some(offsets) = setup.time {
        clocks(offsets).map_err(at("make the time namespace"))?;
    }
    keyring()?;
    let all_private = Change { propagation: mount::PRIVATE, recursive: true, ..Change::default() };
    mount::change(rustix::fs::CWD, c"/", all_private).map_err(at("make all mounts private"))?;
    // A root that was given may be a copy of a shared mount, as all are under systemd; the kernel pivots to none.
    mount::change(setup.root, c"", all_private).map_err(at("make the root file system private"))?;
    rustix::mount::move_mount(
        setup.root,
        c"",
        rustix::fs::CWD,
        setup.root_at,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(at(match setup.visited {
        // A user namespace's root needs a way through the directories above.
        true => "attach the root file system at its own path",
        false => "attach the root file system",
    }))?;
    let mut context =
        StepContext::new(setup.root, work.stdio.is_none()).map_err(at("check the null device"))?;
    for (index, op) in (0u32..).zip(setup.ops) {
        context.run(op).map_err(|errno| Fail { what: STEP, index, errno })?;
    }
    for (mount, peer) in setup.ops.iter().filter_map(Op::to_share) {
        mount::share(peer, mount).map_err(at("share a mount with the host"))?;
    }
    if setup.visited {
        gate::say_arranged(work.gate).map_err(at("report the mounts"))?;
        if !gate::wait(work.gate) {
            process::exit_now(0);
        }
    }
    pivot(setup.root).map_err(at("pivot to the root file system"))?;
    finish_root(setup)?;
    match (context.pty.take(), work.stdio.is_none()) {
        (None, true) => Err(at("find the terminal (the plan has no console step)")(Errno::NODEV)),
        (pty, _) => Ok(pty),
    }
}

/// Makes the root mount the root, and detaches the host's mounts.
fn pivot(root: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::process::fchdir(root)?;
    // The old root is stacked on the new one, and is detached there.
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

fn finish_root(setup: &Setup<'_>) -> Result<(), Fail> {
    let (propagation, recursive) = setup.propagation;
    if propagation != mount::PRIVATE {
        let change = Change { propagation, recursive, ..Change::default() };
        mount::change(rustix::fs::CWD, c"/", change).map_err(at("set the root's propagation"))?;
    }
    if setup.readonly {
        let change = Change { set: mount::RDONLY, ..Change::default() };
        mount::change(rustix::fs::CWD, c"/", change).map_err(at("make the root read-only"))?;
    }
    Ok(())
}

/// A time namespace with these offsets, entered at once.
fn clocks(offsets: &[u8]) -> Result<(), Errno> {
    namespace::unshare(namespace::TIME)?;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(c"/proc/self/timens_offsets", flags, Mode::empty())?;
    if !offsets.is_empty() {
        rustix::io::write(&file, offsets)?;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let own = rustix::fs::open(c"/proc/self/ns/time_for_children", flags, Mode::empty())?;
    namespace::enter(own.as_fd(), namespace::TIME)
}

/// A terminal of the container that was entered.
fn terminal() -> Result<Pty, Fail> {
    let open = || {
        let resolve = rustix::fs::ResolveFlags::NO_SYMLINKS;
        let ptmx =
            rustix::fs::openat2(rustix::fs::CWD, c"/dev/pts/ptmx", pty::MULTIPLEXER, Mode::empty(), resolve)?;
        pty::open(ptmx)
    };
    open().map_err(at("open a terminal of the container's /dev/pts"))
}

/// Hands a terminal's master over, puts stdio and the gate at their numbers and closes everything else.
fn settle(work: &Work<'_>, pty: Option<Pty>) -> Result<(), Fail> {
    let name = at("set up stdio");
    // First out of the way of the numbers they get, then onto them.
    let number_of_gate = work.process.gate;
    let away = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, number_of_gate + 2).map_err(&name);
    let gate = away(work.gate)?;
    let door = work.door.map(away).transpose()?;
    let fds = match (&pty, work.stdio) {
        (Some(pty), _) => {
            if let Some(size) = work.process.window {
                resize(pty.slave.as_fd(), size).map_err(&name)?;
            }
            gate::say_terminal(work.gate, pty.master.as_fd()).map_err(at("send the terminal"))?;
            [away(pty.slave.as_fd())?, away(pty.slave.as_fd())?, away(pty.slave.as_fd())?]
        }
        (None, Some(given)) => {
            let [stdin, stdout, stderr] = given.map(|fd| source(fd, number_of_gate + 2));
            [stdin?, stdout?, stderr?]
        }
        (None, None) => return Err(name(Errno::NOTTY)),
    };
    for (number, fd) in (0i32..).zip(&fds) {
        process::place_fd(fd.as_fd(), number, true).map_err(&name)?;
    }
    // They were inherited with these numbers. Where that is not so, one may be in the place of another.
    for (number, fd) in (FIRST..).zip(work.fds) {
        if fd.as_raw_fd() != number {
            return Err(at("give the program its descriptors")(Errno::BADF));
        }
        process::place_fd(*fd, number, true).map_err(at("give the program its descriptors"))?;
    }
    process::place_fd(gate.as_fd(), number_of_gate, false).map_err(&name)?;
    let last = match &door {
        Some(door) => {
            process::place_fd(door.as_fd(), number_of_gate + 1, false).map_err(&name)?;
            number_of_gate + 1
        }
        None => number_of_gate,
    };
    // Their numbers are closed next, or others' by now.
    std::mem::forget((gate, door, fds, pty));
    process::close_range(last.cast_unsigned() + 1, u32::MAX).map_err(at("close descriptors"))
}

/// A copy of the given stream, or the container's own null device.
fn source(given: Option<BorrowedFd<'_>>, above: i32) -> Result<OwnedFd, Fail> {
    match given {
        Some(fd) => rustix::io::fcntl_dupfd_cloexec(fd, above).map_err(at("set up stdio")),
        None => {
            let open = || {
                let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let resolve = rustix::fs::ResolveFlags::NO_SYMLINKS;
                let null = rustix::fs::openat2(rustix::fs::CWD, c"/dev/null", flags, Mode::empty(), resolve)?;
                if !is_device(null.as_fd(), FileType::CharacterDevice, rustix::fs::makedev(1, 3))? {
                    return Err(Errno::NODEV);
                }
                rustix::fs::fcntl_setfl(&null, OFlags::RDWR)?;
                rustix::io::fcntl_dupfd_cloexec(&null, above)
            };
            open().map_err(at("open the container's /dev/null"))
        }
    }
}

fn resize(terminal: BorrowedFd<'_>, size: crate::plan::WindowSize) -> Result<(), Errno> {
    let size =
        rustix::termios::Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size)
}

/// Sets the own out-of-memory score; where it may not be lowered it stays.
fn lower_or_leave(score: &[u8]) -> Result<(), Fail> {
    let name = at("set oom_score_adj");
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(c"/proc/self/oom_score_adj", flags, Mode::empty()).map_err(&name)?;
    match rustix::io::write(&file, score) {
        Ok(_) | Err(Errno::ACCESS) => Ok(()),
        Err(e) => Err(name(e)),
    }
}

/// The ranges of descriptor numbers between those that are needed.
pub(super) fn gaps(needed: impl Iterator<Item = i32>) -> Vec<(u32, u32)> {
    let mut numbers: Vec<u32> = needed.map(i32::cast_unsigned).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut gaps = Vec::with_capacity(numbers.len() + 1);
    let mut next = 0;
    for number in numbers {
        if number > next {
            gaps.push((next, number - 1));
        }
        next = number + 1;
    }
    gaps.push((next, u32::MAX));
    gaps
}

/// The descriptors that the child's work refers to.
pub(super) fn needed<'a>(work: &'a Work<'_>) -> impl Iterator<Item = i32> + 'a {
    let stdio = work.stdio.iter().flatten().flatten();
    std::iter::once(&work.gate)
        .chain(&work.tasks)
        .chain(&work.pid)
        .chain(&work.base)
        .chain(&work.door)
        .chain(work.enter.iter().map(|e| &e.fd))
        .chain(stdio)
        .chain(work.fds)
        .map(AsRawFd::as_raw_fd)
}

#[cfg(test)]
mod tests;
