//! A procfs of a PID namespace that the caller is not in, and must not be seen in.
//!
//! A procfs shows the namespace of the process that opens its context. Linux 6.18 takes another one as an option. Before,
//! a helper process is made in there for this call alone. It has an empty root, the container's other namespaces, no descriptor but
//! a socket, no memory of its maker, and is in a user namespace of its own: a process that takes it over gains nothing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_sys::process::{self, ExecContext, Program, fd_at};
use berth_sys::{mount, namespace};
use rustix::io::Errno;
use rustix::mount::FsOpenFlags;

use super::RunError;
use super::child::{self, Entry};
use super::gate::{self, Fail};
use super::last::FIRST as GATE;
use super::new_process::NewProcess;
use super::op::step;
use super::process::at;

/// A context of a procfs of the PID namespace `space`, for a container that enters these other namespaces.
pub(super) fn of(space: BorrowedFd<'_>, others: &[Entry<'_>]) -> Result<OwnedFd, RunError> {
    by_option(space).or_else(|_| by_helper(space, others))
}

/// Linux 6.18; of a namespace that is given as a file of `/proc/PID/ns`, not as a pidfd.
fn by_option(space: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_fd(context.as_fd(), c"pidns", space)?;
    Ok(context)
}

fn by_helper(space: BorrowedFd<'_>, others: &[Entry<'_>]) -> Result<OwnedFd, RunError> {
    const NAME: &str = "make a procfs of the shared PID namespace";
    let exec = ExecContext::new(&[], &[], &[], &[]).map_err(step(NAME))?;
    let (ours, theirs) = gate::pair().map_err(step("make a socket pair"))?;
    let needed = [theirs.as_fd(), space].into_iter().chain(others.iter().map(|e| e.fd));
    let close = child::gaps(needed.map(|fd| std::os::fd::AsRawFd::as_raw_fd(&fd)));
    let maker = process::fork(0, None, || match leave(theirs.as_fd(), space, others, &close) {
        Ok(()) => exec.alone((), send_context),
        Err(fail) => {
            gate::say_failed(theirs.as_fd(), fail);
            1
        }
    })
    .map_err(step("clone a process"))?;
    drop(theirs);
    let mut new = NewProcess::new(maker, ours);
    let context = new.hear_context().map_err(|error| match error {
        RunError::Step { step, source } => RunError::Step {
            step: format!("{NAME}: {step} (needs user namespaces, user.max_user_namespaces, or Linux 6.18)"),
            source,
        },
        other => other,
    })?;
    // An option that no other file system knows: see `NewProcess::hear_context`.
    rustix::mount::fsconfig_set_string(context.as_fd(), c"hidepid", c"0").map_err(step(NAME))?;
    Ok(context)
}

/// Child: gives up everything of the host, and every right over it.
fn leave(
    gate: BorrowedFd<'_>,
    space: BorrowedFd<'_>,
    others: &[Entry<'_>],
    close: &[(u32, u32)],
) -> Result<(), Fail> {
    for (first, last) in close {
        process::close_range(*first, *last).map_err(at("close descriptors"))?;
    }
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(at("become non-dumpable"))?;
    process::reset_signals();
    namespace::enter(space, namespace::PID).map_err(at("enter the PID namespace"))?;
    namespace::unshare(namespace::MOUNT).map_err(at("make a mount namespace"))?;
    mount::empty_root().map_err(at("make an empty root"))?;
    for other in others {
        namespace::enter(other.fd, other.kinds).map_err(at("enter the container's namespaces"))?;
        if other.kinds == namespace::USER {
            // A process without a mapped user id in there cannot make another below it.
            child::become_root()?;
        }
    }
    namespace::unshare(namespace::USER | namespace::MOUNT).map_err(at("make a user namespace"))?;
    process::place_fd(gate, GATE, false).map_err(at("keep the socket"))?;
    process::close_range(0, GATE.cast_unsigned() - 1).map_err(at("close descriptors"))?;
    process::close_range(GATE.cast_unsigned() + 1, u32::MAX).map_err(at("close descriptors"))
}

/// The helper's maker, isolated, and the helper.
fn send_context(_: Program, (): ()) -> i32 {
    let fail = |fail| {
        gate::say_failed(fd_at(GATE), fail);
        1
    };
    let helper = process::fork_sibling(0, || {
        let opened = rustix::mount::fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC);
        match opened.and_then(|context| gate::say_terminal(fd_at(GATE), context.as_fd())) {
            Ok(()) => 0,
            Err(errno) => fail(at("open a procfs")(errno)),
        }
    });
    let said = helper.and_then(|helper| gate::say_moved(fd_at(GATE), helper.pid, helper.pidfd.as_fd()));
    match said {
        Ok(()) => 0,
        Err(errno) => fail(at("make a process in the PID namespace")(errno)),
    }
}

#[cfg(test)]
mod tests;
