//! What stands for the process of a container whose command cannot be run: it waits to be killed. So such a container is
//! created, and it is its start that fails, as for all others. It is in the shim's own group: the runtime has removed the container's.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use berth_sys::pty;
use berth_sys::spawn::{Executable, Spawn};
use rustix::fs::Mode;

use super::Made;
use crate::pause;

/// Starts one; with a terminal, if the container was to have one.
pub(crate) fn start(tty: bool) -> io::Result<Made> {
    let console = if tty { Some(terminal()?) } else { None };
    let program = std::fs::File::open("/proc/self/exe")?;
    let spawn = Spawn {
        program: Executable::File(program.as_fd()),
        argv: &[pause::NAME],
        env: &[],
        fds: &[],
        stdio: [None; 3],
        cgroup: None,
        tasks: &[],
        new_pid_namespace: false,
    };
    let child = spawn.spawn()?;
    Ok(Made { pid: child.pid, pidfd: child.pidfd, console, inner: None })
}

/// The master of a terminal that nothing is written to.
fn terminal() -> io::Result<OwnedFd> {
    let multiplexer = rustix::fs::open("/dev/pts/ptmx", pty::MULTIPLEXER, Mode::empty())?;
    Ok(pty::open(multiplexer)?.master)
}
