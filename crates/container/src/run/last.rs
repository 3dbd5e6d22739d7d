//! The last part of a process before its program, isolated: with the container's root, user and rights, and
//! with nothing of its maker's memory but its [`ExecContext`](berth_sys::process::ExecContext).
//!
//! Where the process is to be in a PID namespace that others are in, it is made here and not before: as a sibling, in that
//! namespace, of the process that did all the rest and ends now. See docs/adr/0070.

use std::os::fd::{AsFd as _, AsRawFd as _};

use berth_sys::caps;
use berth_sys::process::{self, Program, fd_at};
use berth_sys::rlimit::Limit;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use super::filter::When;
use super::gate::{self, EXECVE, Fail, RLIMIT};
use super::process::at;
use crate::plan::Capabilities;

/// The first number after stdio. From there on the child has the descriptors that its program is given, then its end of the
/// gate, then the door at which it waits for its start, if it has one.
pub(super) const FIRST: i32 = 3;
/// As many limits as there are.
pub(super) const MAX_LIMITS: usize = 16;

/// All that is still to be known: plain values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Last {
    pub(super) goes_on: RunsIn,
    pub(super) terminal: bool,
    /// Whether its start comes through a door.
    pub(super) door: bool,
    /// Where its end of the gate is; the door is behind it.
    pub(super) gate: i32,
    pub(super) filter: Option<Filter>,
    /// The container's; before the filter is loaded there is one more.
    pub(super) capabilities: Capabilities,
    pub(super) limits: Limits,
}

/// In which process the program is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunsIn {
    /// In this one, which says that it is ready and waits for its start.
    Here,
    /// In a sibling, which does so.
    SiblingReports,
    /// In a sibling, at once.
    Sibling,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Filter {
    pub(super) when: When,
    pub(super) flags: u32,
    pub(super) no_new_privileges: bool,
}

/// The limits of the plan, in its order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    list: [(u32, Limit); MAX_LIMITS],
    count: usize,
}

impl Limits {
    /// None when there are more than kinds of limits.
    pub(super) fn of(list: &[(u32, Limit)]) -> Option<Self> {
        let mut limits = Self { list: [(0, Limit { soft: 0, hard: 0 }); MAX_LIMITS], count: list.len() };
        limits.list.get_mut(..list.len())?.copy_from_slice(list);
        Some(limits)
    }

    pub(super) fn list(&self) -> &[(u32, Limit)] {
        self.list.get(..self.count).unwrap_or(&[])
    }

    /// Child: sets them. Each was raised before as far as it has to be: lowering one takes no right.
    fn set(&self) -> Result<(), Fail> {
        for (index, (resource, limit)) in (0u32..).zip(self.list()) {
            berth_sys::rlimit::set(0, *resource, *limit).map_err(|errno| Fail {
                what: RLIMIT,
                index,
                errno,
            })?;
        }
        Ok(())
    }
}

/// The child's whole remaining life, on a stack of its own. Returns its exit status when no program could be executed.
pub(super) fn last(program: Program, last: Last) -> i32 {
    match last.goes_on {
        RunsIn::Here => wait_and_become(program, last),
        RunsIn::Sibling | RunsIn::SiblingReports => match go_on(program, last) {
            Ok(()) => 0,
            Err(fail) => failed(last, fail),
        },
    }
}

/// Makes the process that others see, and reports it. The sibling does not return.
fn go_on(program: Program, last: Last) -> Result<(), Fail> {
    let name = at("make the process in its PID namespace");
    // A process that is not reported yet must not run: the sibling waits until its maker has reported it.
    let (heard, told) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(&name)?;
    load_filter(program, last, When::BeforeSibling)?;
    let sibling = process::fork_sibling(0, || {
        let number = told.as_raw_fd().cast_unsigned();
        let known = process::close_range(number, number).is_ok() && gate::wait(heard.as_fd());
        if known { wait_and_become(program, last) } else { 0 }
    })
    .map_err(&name)?;
    gate::say_moved(fd_at(last.gate), sibling.pid, sibling.pidfd.as_fd()).map_err(&name)?;
    rustix::io::write(&told, &[1]).map_err(&name)?;
    // Closing them would be one more call that a filter may forbid.
    std::mem::forget((sibling, heard, told));
    Ok(())
}

fn wait_and_become(program: Program, last: Last) -> i32 {
    let failure = match prepare(program, last) {
        Err(fail) => fail,
        Ok(()) if last.goes_on != RunsIn::Sibling && !wait(last) => return 0,
        Ok(()) => match load_filter(program, last, When::Last) {
            Err(fail) => fail,
            Ok(()) => execute(program),
        },
    };
    failed(last, failure)
}

/// Waits for the start; false when nobody is left who could give it.
fn wait(last: Last) -> bool {
    if last.door { gate::admit(fd_at(last.gate + 1), last.gate) } else { gate::wait(fd_at(last.gate)) }
}

fn prepare(program: Program, last: Last) -> Result<(), Fail> {
    rustix::process::setsid().map_err(at("start a session"))?;
    if last.terminal {
        rustix::process::ioctl_tiocsctty(fd_at(0)).map_err(at("take the controlling terminal"))?;
    }
    last.limits.set()?;
    load_filter(program, last, When::BeforeWait)?;
    match last.goes_on {
        RunsIn::Here | RunsIn::SiblingReports => {
            gate::say_ready(fd_at(last.gate)).map_err(at("report readiness"))
        }
        RunsIn::Sibling => Ok(()),
    }
}

/// Loads the filter if it is its time, and gives up the right that this took.
fn load_filter(program: Program, last: Last, now: When) -> Result<(), Fail> {
    let Some(filter) = last.filter.filter(|filter| filter.when == now) else {
        return Ok(());
    };
    program.load_filter(filter.flags).map_err(at("load the seccomp filter"))?;
    let sets = last.capabilities;
    match now {
        When::BeforeSibling | When::BeforeWait if !filter.no_new_privileges => {
            caps::set(sets.effective, sets.permitted, sets.inheritable).map_err(at("set capabilities"))
        }
        // Last: execve computes the sets again, from others that lack it.
        When::BeforeSibling | When::BeforeWait | When::Last => Ok(()),
    }
}

/// Tries the candidates as execvp does.
fn execute(program: Program) -> Fail {
    let mut worst = Errno::NOENT;
    for index in 0.. {
        match program.execve(index) {
            None => break,
            Some(Errno::NOENT | Errno::NOTDIR) => {}
            Some(Errno::ACCESS) => worst = Errno::ACCESS,
            Some(errno) => return at(EXECVE)(errno),
        }
    }
    at(EXECVE)(worst)
}

fn failed(last: Last, fail: Fail) -> i32 {
    gate::say_failed(fd_at(last.gate), fail);
    1
}
