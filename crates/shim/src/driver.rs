//! The seam between the loop and what makes a container that this program does not make itself.
//!
//! ```text
//! runtime   a program with runc's command line, or runsc's        docs/adr/0096, 0097
//! foreign   a shim that speaks containerd's protocol              docs/adr/0095
//! hooked    this program itself, with programs on the way         docs/adr/0102
//! ```
//!
//! What takes time here waits, each time with a limit: it is called by threads of their own. The others are the loop's.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use berth_container::run::{Running, Stdio};
use berth_sys::cgroup::Cgroup;
use berth_types::ExecId;
use berth_types::shim::bundle::Process;
use berth_types::shim::{Create, Failure};
use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Signal, pidfd_send_signal};
use rustix::termios::Winsize;

use crate::exec::Inner;
use crate::making::Spaces;
use crate::pump::Ends;

/// What makes a container.
pub(crate) trait Driver: std::fmt::Debug + Send + Sync {
    /// Makes the container, up to just before its command. Where it is known already that its command cannot be run, there is
    /// a process in its place, and the start fails. Waits.
    fn create(self: Arc<Self>, order: &Order<'_>) -> Result<Created, Failure>;

    /// Runs its command. It may have ended when this returns. Waits.
    fn start(&self) -> Result<(), Failure>;

    /// Runs another process in the container, or ends the attempt when it is cancelled. Waits.
    fn exec(
        self: Arc<Self>,
        exec: &ExecId,
        process: &Process,
        stdio: Stdio,
        cancel: &Cancel,
    ) -> Result<(Running, Option<Inner>), Failure>;

    /// Removes what there is of the container beside its cgroup. Its processes are dead, or are killed. Waits.
    fn delete(&self) -> Result<(), String>;

    /// Waits no longer, now and later: what is made is to end. Deleting is waited for all the same.
    fn cancel(&self);

    /// The cgroup in which the memory is of what the container does.
    fn memory(&self) -> &Cgroup;

    /// Whether the container's processes are none of the host's.
    fn is_inside(&self) -> bool {
        false
    }

    /// Whether further processes of the container are made by this too, and not by the shim itself.
    fn makes_sessions(&self) -> bool {
        true
    }

    /// Has a container whose processes are none of the host's signalled, by all but SIGKILL: that is for what stands for it.
    fn signal(&self, _signal: i32) -> std::io::Result<()> {
        Ok(())
    }

    /// How the main process ended, if that is told by this and not by a wait for a child.
    fn ended(&self) -> Option<End> {
        None
    }

    /// The same for an exec session. It is told once.
    fn session_ended(&self, _exec: &ExecId) -> Option<End> {
        None
    }

    /// Whether this has the terminal of the main process, or of a session, and not the shim.
    fn has_terminal(&self, _exec: Option<&ExecId>) -> bool {
        false
    }

    /// Sets the size of such a terminal, and then tells the outcome.
    fn resize(&self, _exec: Option<&ExecId>, _size: Winsize, _then: Resized) {}
}

/// What is told when a terminal has its size, or why not.
pub(crate) type Resized = Box<dyn FnOnce(Result<(), Failure>) + Send>;

/// What a container is made of.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    /// What the daemon asked for.
    pub(crate) create: &'a Create,
    /// The pod's namespaces.
    pub(crate) spaces: &'a Spaces,
    /// The PID namespace to be joined, if it is not the specification's.
    pub(crate) pid_space: Option<&'a OwnedFd>,
    /// The descriptors that came with it.
    pub(crate) fds: &'a [OwnedFd],
    /// What its processes have if it says nothing.
    pub(crate) oom_score: Option<i32>,
}

/// A container that was made.
#[derive(Debug)]
pub(crate) struct Created {
    /// Its main process.
    pub(crate) pid: i32,
    /// The same.
    pub(crate) pidfd: OwnedFd,
    /// Its streams.
    pub(crate) ends: Ends,
    /// The master of its terminal, if that is the shim's own.
    pub(crate) terminal: Option<OwnedFd>,
    /// Ends it until it is taken over.
    pub(crate) unclaimed: Unclaimed,
    /// What was done otherwise, for users.
    pub(crate) notes: Vec<String>,
}

/// How a process ended whose end a driver tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// With the status that a shell would give.
    Code(i32),
    /// Nobody knows: why not.
    Unknown(String),
}

/// What was created and has no owner yet: when this is dropped, it is ended and deleted.
#[derive(Debug)]
pub(crate) struct Unclaimed(Option<(Arc<dyn Driver>, OwnedFd)>);

impl Unclaimed {
    pub(crate) fn new(driver: Arc<dyn Driver>, pidfd: OwnedFd) -> Self {
        Self(Some((driver, pidfd)))
    }

    pub(crate) fn claim(mut self) {
        self.0 = None;
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some((driver, pidfd)) = self.0.take() {
            // One that has ended cannot be signalled; what cannot be deleted goes with the pod.
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            drop(driver.delete());
        }
    }
}

/// What ends a single attempt.
#[derive(Debug, Clone)]
pub(crate) struct Cancel(pub(crate) Arc<OwnedFd>);

impl Cancel {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    pub(crate) fn set(&self) {
        // It fails only when it is set already.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}
