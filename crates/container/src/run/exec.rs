//! The parent's side of `exec`.

use std::os::fd::{AsFd, BorrowedFd};

use berth_sys::{namespace, process, user};
use rustix::io::Errno;

use super::child::{self, Entry, Work};
use super::create::give_streams;
use super::last::RunsIn;
use super::new_process::{Expects, Moves, NewProcess};
use super::op::step;
use super::process::{Form, Process};
use super::report::Names;
use super::{Extra, Join, RunError, Running, Stdio, gate, group, threads};
use crate::plan::ProcessPlan;

/// The namespaces that are entered. The PID namespace becomes that of the sibling, which runs the program.
const ENTERED: u64 =
    namespace::MOUNT | namespace::NET | namespace::IPC | namespace::UTS | namespace::CGROUP | namespace::PID;

/// See [`super::exec`].
pub(super) fn exec(
    plan: &ProcessPlan,
    extra: Extra<'_>,
    target: BorrowedFd<'_>,
    stdio: &Stdio,
    join: &Join,
) -> Result<Running, RunError> {
    let user = if plan.user_namespace { namespace::USER } else { 0 };
    // Few containers have one. Entering the own one again is no use, and not every kernel has any.
    let other_time =
        group::pid_of(target).and_then(|pid| i32::try_from(pid).ok()).is_some_and(namespace::has_other_time);
    let time = if other_time { namespace::TIME } else { 0 };
    let by_process = [Entry { fd: target, kinds: ENTERED | user | time }];
    match enter_and_run((plan, extra), target, None, &by_process, stdio, join) {
        // A first thread that has ended has no namespaces any more; the others of its process have.
        Err(RunError::Step { source, .. }) if source.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {
            let spaces = threads::spaces(target, user | time).ok_or(RunError::Step {
                step: "enter the container: its main process has no running thread".into(),
                source,
            })?;
            let entries = spaces.entries();
            enter_and_run((plan, extra), target, Some(spaces.pid.as_fd()), &entries, stdio, join)
        }
        done => done,
    }
}

fn enter_and_run(
    (plan, Extra { file, fds }): (&ProcessPlan, Extra<'_>),
    target: BorrowedFd<'_>,
    pid: Option<BorrowedFd<'_>>,
    enter: &[Entry<'_>],
    stdio: &Stdio,
    join: &Join,
) -> Result<Running, RunError> {
    let mut notes = Vec::new();
    let stdio = stdio.fds();
    let form = Form { goes_on: RunsIn::Sibling, terminal: stdio.is_none(), door: false, file, fds };
    let process = Process::new(plan, form, &mut notes)?;
    let (ours, theirs) = gate::pair().map_err(step("make a socket pair"))?;
    let mut work = Work {
        gate: theirs.as_fd(),
        close: Vec::new(),
        tasks: join.tasks.iter().map(AsFd::as_fd).collect(),
        pid,
        base: None,
        door: None,
        enter: enter.to_vec(),
        stdio,
        fds,
        become_root: plan.user_namespace,
        limits_from_outside: false,
        process: &process,
    };
    work.close = child::gaps(child::needed(&work));
    if plan.user_namespace
        && let Some(pid) = group::pid_of(target)
    {
        // Where they cannot be read the container has ended.
        let (uids, _) = user::maps(pid).unwrap_or_default();
        give_streams(&uids, plan.identity.uid, stdio);
    }
    let own = join.v2_dir.as_ref().map(AsFd::as_fd);
    let fork = |group: Option<BorrowedFd<'_>>| process::fork(0, group, || child::exec(&work));
    let child = match fork(own) {
        Err(errno) if group::is_refused(errno) => {
            let below = own.and_then(|dir| group::of(dir, target)).ok_or(errno);
            below.and_then(|below| fork(Some(below.as_fd())))
        }
        done => done,
    };
    let child = child.map_err(step("clone a process"))?;
    drop(work);
    drop(theirs);
    let entered = vec!["the namespaces of the container's main process".to_owned(); enter.len()];
    let names = Names { plan: None, entered, process: plan };
    let mut new = NewProcess::new(child, ours);
    let expects = Expects { terminal: stdio.is_none(), moves: Moves::Late, ready: false };
    new.hear_out(&expects, &names, None)?;
    new.until_execve(&names)?;
    new.running(notes)
}
