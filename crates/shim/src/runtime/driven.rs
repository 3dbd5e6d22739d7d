//! An OCI runtime as what makes a container.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use berth_container::run::{Running, Stdio};
use berth_sys::cgroup::Cgroup;
use berth_types::ExecId;
use berth_types::shim::Failure;
use berth_types::shim::bundle::Process;

use super::{Made, Runtime, Streams};
use crate::driver::{Cancel, Created, Driver, Order};
use crate::exec::Inner;
use crate::making::{ends, given_streams, stdio};
use crate::outcome::system;
use crate::pump::Ends;

impl Driver for Runtime {
    fn create(self: Arc<Self>, order: &Order<'_>) -> Result<Created, Failure> {
        let (stdio, pipes) = stdio(order.create).map_err(|e| system("make the container's stdio", &e))?;
        let streams = given_streams(stdio).map_err(|e| system("make the container's stdio", &e))?;
        let unread = unread(pipes.as_ref()).map_err(|e| system("duplicate a descriptor", &e))?;
        let given = streams.as_ref().map(|fds| Streams { fds: fds.each_ref().map(|fd| fd.as_fd()), unread });
        let (made, unclaimed) = self.make(order.spaces, order.pid_space, given.as_ref())?;
        let (ends, terminal) = ends(pipes, made.console)?;
        Ok(Created { pid: made.pid, pidfd: made.pidfd, ends, terminal, unclaimed, notes: Vec::new() })
    }

    fn start(&self) -> Result<(), Failure> {
        self.run_command()
    }

    fn exec(
        self: Arc<Self>,
        exec: &ExecId,
        process: &Process,
        stdio: Stdio,
        cancel: &Cancel,
    ) -> Result<(Running, Option<Inner>), Failure> {
        let streams = given_streams(stdio).map_err(|e| system("make the session's stdio", &e))?;
        // The daemon reads its output.
        let given = streams
            .as_ref()
            .map(|fds| Streams { fds: fds.each_ref().map(|fd| fd.as_fd()), unread: Vec::new() });
        let Made { pid, pidfd, console, inner } = self.enter(exec, process, given.as_ref(), cancel)?;
        let inner = inner.map(|pid| Inner { runtime: Arc::clone(&self), pid });
        Ok((Running { pid, pidfd, console, notes: Vec::new() }, inner))
    }

    fn delete(&self) -> Result<(), String> {
        self.forget()
    }

    fn cancel(&self) {
        self.cancelled.set();
    }

    fn memory(&self) -> &Cgroup {
        self.inside.as_ref().map_or(&self.cgroup, |inside| &inside.cgroup)
    }

    fn is_inside(&self) -> bool {
        self.inside.is_some()
    }

    fn signal(&self, signal: i32) -> std::io::Result<()> {
        let byte = u8::try_from(signal).map_err(std::io::Error::other)?;
        self.inside.as_ref().map_or(Ok(()), |inside| inside.tell(byte))
    }
}

/// What a container's output is read from. Until it runs, what comes there is its runtime's.
fn unread(ends: Option<&Ends>) -> std::io::Result<Vec<OwnedFd>> {
    match ends {
        Some(Ends::Pipes { stdout, stderr, .. }) => Ok(vec![stdout.try_clone()?, stderr.try_clone()?]),
        Some(Ends::Terminal(_) | Ends::Fifos(_)) | None => Ok(Vec::new()),
    }
}
