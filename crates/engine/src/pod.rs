//! A pod: one owner task holds its state, asks the lifecycle tables and starts the work; nothing else
//! changes it.
//!
//! ```text
//! Engine --Command--> inbox --> Owner --spawns--> work (namespaces, shim, images, cgroups, ...)
//! shim   --Notice---> inbox       ^                 |
//!                                 +----- Report ----+
//! ```
//!
//! The owner never waits for anything but its inbox, so a slow stop of one container holds up
//! neither another container nor a look at the pod. Answers are given after the new picture was
//! published: who has an answer sees its effect.

mod container;
mod create;
mod down;
pub(crate) mod exec;
mod lookup;
mod namespaces;
mod network_files;
mod owner;
mod patience;
mod procs;
pub(crate) mod recover;
mod remove;
mod start;
mod stop;
mod stray;
mod up;
mod update;

use std::sync::Arc;
use std::time::Duration;

use berth_types::{ContainerId, SandboxId};
use tokio::sync::{mpsc, oneshot};

use crate::error::EngineError;
use crate::model::{ContainerConfig, Resources, SandboxConfig};
use crate::shared::Shared;
use crate::shim::{Notice, ShimError};

pub(crate) use exec::{Target, attach, exec, exec_sync, reopen_log};
pub(crate) use network_files::asked_resolv;
pub(crate) use owner::Owner;
pub(crate) use procs::{kill_shim, shims};
pub(crate) use up::cgroups;

/// Messages that may wait for a pod's owner, which answers within microseconds.
const INBOX: usize = 256;

/// Where an answer goes. Nobody may be waiting for it any more.
pub(crate) type Waiter<T> = oneshot::Sender<Result<T, EngineError>>;

/// What callers ask a pod's owner.
#[derive(Debug)]
pub(crate) enum Command {
    /// The same identity was asked for again.
    Join { config: Box<SandboxConfig>, reply: Waiter<SandboxId> },
    /// Stop the sandbox.
    Stop { reply: Waiter<()> },
    /// Remove the sandbox.
    Remove { reply: Waiter<()> },
    /// Create a container.
    Create { config: Box<ContainerConfig>, reply: Waiter<ContainerId> },
    /// Start a container.
    Start { container: ContainerId, reply: Waiter<()> },
    /// Stop a container.
    StopContainer { container: ContainerId, grace: Duration, reply: Waiter<()> },
    /// Remove a container.
    RemoveContainer { container: ContainerId, reply: Waiter<()> },
    /// Change a container's limits.
    Update { container: ContainerId, resources: Box<Resources>, reply: Waiter<()> },
    /// Answered once the owner has published.
    Published { reply: Waiter<()> },
    /// What is needed to talk to a running container.
    Target { container: ContainerId, reply: Waiter<Target> },
}

/// What the owner's own work reports.
#[derive(Debug)]
pub(crate) enum Report {
    Up(Result<Box<up::Up>, EngineError>),
    Created(ContainerId, Result<Box<create::Made>, EngineError>),
    Started(ContainerId, Result<i64, ShimError>),
    /// Stopping did not succeed, and may be tried again.
    StopFailed(ContainerId, EngineError),
    /// The container's processes are gone; its shim did not say how.
    Killed(ContainerId),
    Removed(ContainerId, Result<(), EngineError>),
    Updated(ContainerId, Box<Resources>, Result<(), EngineError>, Waiter<()>),
    Down(Result<(), EngineError>),
    Cleared(Result<(), EngineError>),
    Answered(patience::Answered),
}

/// What comes to an owner's inbox.
#[derive(Debug)]
pub(crate) enum Message {
    Command(Command),
    Report(Report),
    Notice(Notice),
}

impl From<Notice> for Message {
    fn from(notice: Notice) -> Self {
        Message::Notice(notice)
    }
}

/// The way to a pod's owner.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    inbox: mpsc::Sender<Message>,
}

impl Handle {
    /// Sends a command and waits for its answer. None when the pod is gone. The work goes on when
    /// the caller does not wait.
    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(Waiter<T>) -> Command,
    ) -> Option<Result<T, EngineError>> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Message::Command(command(reply))).await.ok()?;
        answer.await.ok()
    }
}

/// The owner's way to start work that reports back.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    pub(crate) shared: Arc<Shared>,
    inbox: mpsc::Sender<Message>,
}

impl Desk {
    /// Runs `work` in a task of its own; its result comes to the inbox.
    fn spawn<F>(&self, work: F)
    where
        F: Future<Output = Report> + Send + 'static,
    {
        let inbox = self.inbox.clone();
        tokio::spawn(async move { drop(inbox.send(Message::Report(work.await)).await) });
    }
}
