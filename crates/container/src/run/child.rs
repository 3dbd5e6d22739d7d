//! The child of `create` and of `exec`, from clone to execve. No allocation here: see [`super`].

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use berth_sys::mount::{self, Change};
use berth_sys::namespace;
use berth_sys::process::{self, fd_at};
use berth_sys::pty::{self, Pty};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags};

use super::gate::{self, ENTER, Fail, STEP};
use super::op::Op;
use super::path::is_device;
use super::process::{Process, at};
use super::steps::Scene;

/// Where the child keeps its end of the gate after its stdio is in place.
const GATE: i32 = 3;
/// Where the master of a terminal waits to be sent.
const MASTER: i32 = 4;

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
    pub(super) enter: Vec<Entry<'a>>,
    /// None for a terminal.
    pub(super) stdio: Option<[Option<BorrowedFd<'a>>; 3]>,
    /// Whether the process is root in a user namespace of the container first.
    pub(super) become_root: bool,
    pub(super) process: &'a Process,
}

/// What only a new container needs.
#[derive(Debug)]
pub(super) struct Setup<'a> {
    pub(super) root: BorrowedFd<'a>,
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
    pub(super) wait_for_maps: bool,
}

/// The whole life of a container's first process before its program.
pub(super) fn create(work: &Work<'_>, setup: &Setup<'_>) -> i32 {
    let begun = begin(work).and_then(|()| {
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
    let fail = match prepare(work, setup) {
        Ok(in_cwd) => {
            if !gate::wait(fd_at(GATE)) {
                return 0;
            }
            work.process.become_program(stdio_fds(), in_cwd)
        }
        Err((fail, gate)) => {
            gate::say_failed(gate, fail);
            return 1;
        }
    };
    gate::say_failed(fd_at(GATE), fail);
    1
}

/// The same for a further process.
pub(super) fn exec(work: &Work<'_>) -> i32 {
    match join(work) {
        Ok(in_cwd) => gate::say_failed(fd_at(GATE), work.process.become_program(stdio_fds(), in_cwd)),
        Err((fail, gate)) => gate::say_failed(gate, fail),
    }
    1
}

/// A failure and where the gate is at that time.
type Lost<'a> = (Fail, BorrowedFd<'a>);

fn prepare<'a>(work: &Work<'a>, setup: &Setup<'_>) -> Result<bool, Lost<'a>> {
    let early = |fail| (fail, work.gate);
    let pty = arrange(work, setup).map_err(early)?;
    let late = |fail| (fail, fd_at(GATE));
    settle(work, pty.as_ref()).map_err(early)?;
    let in_cwd = work.process.enter_cwd().map_err(late)?;
    let master = pty.is_some().then(|| fd_at(MASTER));
    gate::say_ready(fd_at(GATE), master).map_err(|e| late(at("report readiness")(e)))?;
    forget_master(pty);
    Ok(in_cwd)
}

fn join<'a>(work: &Work<'a>) -> Result<bool, Lost<'a>> {
    let early = |fail| (fail, work.gate);
    begin(work).map_err(early)?;
    if let Some(score) = &work.process.oom_score {
        lower_or_leave(score).map_err(early)?;
    }
    // In the container's user namespace no limit could be raised. Otherwise it waits until the
    // descriptors are at their numbers, which a low limit would not allow.
    if work.become_root {
        work.process.limit().map_err(early)?;
    }
    enter(work, 0).map_err(early)?;
    session().map_err(early)?;
    let pty = if work.stdio.is_none() { Some(terminal().map_err(early)?) } else { None };
    settle(work, pty.as_ref()).map_err(early)?;
    let late = |fail| (fail, fd_at(GATE));
    if pty.is_some() {
        gate::say_ready(fd_at(GATE), Some(fd_at(MASTER))).map_err(|e| late(at("send the terminal")(e)))?;
    }
    forget_master(pty);
    let in_cwd = work.process.enter_cwd().map_err(late)?;
    if !work.become_root {
        work.process.limit().map_err(late)?;
    }
    Ok(in_cwd)
}

/// The numbers of a terminal's descriptors are closed or reused already.
fn forget_master(pty: Option<Pty>) {
    if let Some(pty) = pty {
        std::mem::forget(pty);
        let _ = process::close_range(MASTER.cast_unsigned(), MASTER.cast_unsigned());
    }
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
    for tasks in &work.tasks {
        // A process of one thread that names itself spares the kernel its global lock.
        rustix::io::write(tasks, b"0").map_err(at("join the cgroup"))?;
    }
    // A daemon that is bound to some CPUs (systemd's CPUAffinity) does not bind its containers. Where that is
    // forbidden they are as the daemon is.
    let _ = process::release_cpus();
    Ok(())
}

/// Enters the namespaces after the first `done` ones.
fn enter(work: &Work<'_>, done: usize) -> Result<(), Fail> {
    for (index, entry) in (0u32..).zip(&work.enter).skip(done) {
        namespace::enter(entry.fd, entry.kinds).map_err(|errno| Fail { what: ENTER, index, errno })?;
    }
    if work.become_root { become_root() } else { Ok(()) }
}

/// Root of the user namespace: without, the process would be nobody in it.
fn become_root() -> Result<(), Fail> {
    let name = at("become root of the user namespace");
    let (uid, gid) = (Some(rustix::process::Uid::ROOT), Some(rustix::process::Gid::ROOT));
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(&name)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(&name)
}

fn session() -> Result<(), Fail> {
    rustix::process::setsid().map_err(at("begin a session"))?;
    process::new_session_keyring().map_err(at("make a session keyring"))
}

/// Makes the container's world.
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
    session()?;
    let all_private = Change { propagation: mount::PRIVATE, recursive: true, ..Change::default() };
    mount::change(rustix::fs::CWD, c"/", all_private).map_err(at("make all mounts private"))?;
    // A root that was given may be a copy of a shared mount, as all are under systemd; the kernel pivots to none.
    mount::change(setup.root, c"", all_private).map_err(at("make the root file system private"))?;
    rustix::mount::move_mount(
        setup.root,
        c"",
        rustix::fs::CWD,
        c"/",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(at("attach the root file system"))?;
    let mut scene = Scene::new(setup.root, work.stdio.is_none()).map_err(at("check the null device"))?;
    for (index, op) in (0u32..).zip(setup.ops) {
        scene.run(op).map_err(|errno| Fail { what: STEP, index, errno })?;
    }
    for (mount, peer) in setup.ops.iter().filter_map(Op::to_share) {
        mount::share(peer, mount).map_err(at("share a mount with the host"))?;
    }
    pivot(setup.root).map_err(at("pivot to the root file system"))?;
    finish_root(setup)?;
    match (scene.pty.take(), work.stdio.is_none()) {
        (None, true) => Err(at("find the terminal (the plan has no console step)")(Errno::NODEV)),
        (pty, _) => Ok(pty),
    }
}

/// Makes the root mount the root, and lets go of the host's mounts.
fn pivot(root: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::process::fchdir(root)?;
    // The old root comes to lie on the new one, and goes from there.
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

/// Puts stdio, the gate and a terminal's master at their numbers and closes everything else.
fn settle(work: &Work<'_>, pty: Option<&Pty>) -> Result<(), Fail> {
    let name = at("set up stdio");
    // First out of the way of the numbers they get, then onto them.
    let away = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 16).map_err(&name);
    let gate = away(work.gate)?;
    let mut last = GATE;
    let fds = match (pty, work.stdio) {
        (Some(pty), _) => {
            if let Some(size) = work.process.window {
                resize(pty.slave.as_fd(), size).map_err(&name)?;
            }
            rustix::process::ioctl_tiocsctty(&pty.slave).map_err(at("take the controlling terminal"))?;
            [away(pty.slave.as_fd())?, away(pty.slave.as_fd())?, away(pty.slave.as_fd())?]
        }
        (None, Some([stdin, stdout, stderr])) => [source(stdin)?, source(stdout)?, source(stderr)?],
        (None, None) => return Err(name(Errno::NOTTY)),
    };
    let master = pty.map(|pty| away(pty.master.as_fd())).transpose()?;
    for (number, fd) in (0i32..).zip(&fds) {
        process::place_fd(fd.as_fd(), number, true).map_err(&name)?;
    }
    process::place_fd(gate.as_fd(), GATE, false).map_err(&name)?;
    if let Some(master) = &master {
        process::place_fd(master.as_fd(), MASTER, false).map_err(&name)?;
        last = MASTER;
    }
    std::mem::forget((gate, fds, master));
    process::close_range(last.cast_unsigned() + 1, u32::MAX).map_err(at("close descriptors"))
}

/// A copy of the given stream, or the container's own null device.
fn source(given: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Fail> {
    match given {
        Some(fd) => rustix::io::fcntl_dupfd_cloexec(fd, 16).map_err(at("set up stdio")),
        None => {
            let open = || {
                let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let resolve = rustix::fs::ResolveFlags::NO_SYMLINKS;
                let null = rustix::fs::openat2(rustix::fs::CWD, c"/dev/null", flags, Mode::empty(), resolve)?;
                if !is_device(null.as_fd(), FileType::CharacterDevice, rustix::fs::makedev(1, 3))? {
                    return Err(Errno::NODEV);
                }
                rustix::fs::fcntl_setfl(&null, OFlags::RDWR)?;
                rustix::io::fcntl_dupfd_cloexec(&null, 16)
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
        .chain(work.enter.iter().map(|e| &e.fd))
        .chain(stdio)
        .map(AsRawFd::as_raw_fd)
}

#[cfg(test)]
mod tests;
