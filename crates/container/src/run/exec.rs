//! The parent's side of `exec`.

use std::os::fd::{AsFd, BorrowedFd};

use berth_sys::namespace;

use super::child::{self, Entry, Work};
use super::create::{Newborn, clone_child};
use super::gate::{self, Heard};
use super::group;
use super::op::step;
use super::process::Process;
use super::report::{self, Names};
use super::{Join, RunError, Running, Stdio};
use crate::plan::ProcessPlan;

/// The namespaces that are entered beside the PID namespace, into which the process is born.
const ENTERED: u64 = namespace::MOUNT | namespace::NET | namespace::IPC | namespace::UTS | namespace::CGROUP;

/// See [`super::exec`].
pub(super) fn exec(
    plan: &ProcessPlan,
    target: BorrowedFd<'_>,
    stdio: &Stdio,
    join: &Join,
) -> Result<Running, RunError> {
    let mut notes = Vec::new();
    let process = Process::new(plan, &mut notes)?;
    let (ours, theirs) = gate::pair().map_err(step("make a socket pair"))?;
    let user = if plan.user_namespace { namespace::USER } else { 0 };
    let mut work = Work {
        gate: theirs.as_fd(),
        close: Vec::new(),
        tasks: join.tasks.iter().map(AsFd::as_fd).collect(),
        enter: vec![Entry { fd: target, kinds: ENTERED | user }],
        stdio: stdio.fds(),
        become_root: plan.user_namespace,
        process: &process,
    };
    work.close = child::gaps(child::needed(&work));
    let own = join.v2_dir.as_ref().map(AsFd::as_fd);
    let child = match clone_child(0, Some(target), own, || child::exec(&work)) {
        Err(RunError::Step { step, source }) if group::is_refused(&source) => {
            let below = own.and_then(|dir| group::of(dir, target));
            let below = below.ok_or(RunError::Step { step, source })?;
            clone_child(0, Some(target), Some(below.as_fd()), || child::exec(&work))?
        }
        done => done?,
    };
    drop(work);
    drop(theirs);
    let entered = vec!["the namespaces of the container's main process".to_owned()];
    let names = Names { plan: None, entered, process: plan };
    let mut new = Newborn { child: Some(child), gate: ours };
    let mut console = None;
    loop {
        match gate::hear(new.gate.as_fd()).map_err(step("hear from the new process"))? {
            Heard::Ready(fd) => console = fd,
            Heard::Moved { .. } => return Err(RunError::Died { before: "its program began" }),
            Heard::Failed { what, index, errno } => {
                return Err(report::failure(&names, &what, index, errno));
            }
            // By execve, or because the process was killed: then its exit says so.
            Heard::Closed => break,
            Heard::Silent => return Err(RunError::Slow { seconds: gate::DEADLINE.as_secs() }),
        }
    }
    let child = new.child.take().ok_or(RunError::Died { before: "its program began" })?;
    Ok(Running { pid: child.pid, pidfd: child.pidfd, console, notes })
}
