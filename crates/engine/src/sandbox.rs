//! A pod: one owner task feeds its state machine (`berth_types::lifecycle::pod`) and carries out the effects;
//! nothing else changes it.
//!
//! ```text
//! Engine --Command--> inbox --> owner: Pod::next --> effects --spawn--> work (namespaces, shim, images, ...)
//! shim   --Notice---> inbox                            |                  |
//!                       ^                              +--> answers       |
//!                       +------------------------- Report ----------------+
//! ```
//!
//! The owner never waits for anything but its inbox, so a slow stop of one container delays neither another
//! container nor a read of the pod. Answers are given after the new views were published: a caller with an answer sees
//! its effect. See docs/adr/0060.

pub(crate) mod dial;
mod effects;
mod inbox;
mod limits;
mod moments;
mod namespaces;
pub(crate) mod network_files;
mod owner;
pub(crate) mod teardown;
mod up;

use std::sync::Arc;
use std::time::Duration;

use berth_types::lifecycle::container::Message as ContainerMessage;
use berth_types::lifecycle::{Kinds, pod};
use berth_types::{ContainerId, SandboxId};
use tokio::sync::{mpsc, oneshot};

use crate::about::{About, Call};
use crate::container::exec::Target;
use crate::container::exit::Exit;
use crate::container::{Facts, Made};
use crate::error::EngineError;
use crate::model::{ContainerConfig, Resources, SandboxConfig};
use crate::shared::Shared;
use crate::shim::{Notice, Shim};

pub(crate) use network_files::asked_resolv;
pub(crate) use owner::{Found, Owner, Running};
pub(crate) use up::{Up, text};

/// Messages that may wait for a pod's owner, which answers within microseconds.
const INBOX: usize = 256;

/// What the states of a live pod hold.
#[derive(Debug)]
pub(crate) struct Live;

impl Kinds for Live {
    type Facts = Arc<Facts>;
    type Exit = Exit;
    type Waiter = Caller;
    type Error = EngineError;
}

/// Where an answer goes. The caller may have gone away.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, EngineError>>;

/// A caller that waits for an answer.
#[derive(Debug)]
pub(crate) enum Caller {
    /// For the sandbox's id.
    Sandbox(Reply<SandboxId>),
    /// For this id of a container.
    Container(ContainerId, Reply<ContainerId>),
    /// For the fact.
    Done(Reply<()>),
}

/// What callers ask a pod's owner.
#[derive(Debug)]
pub(crate) enum Command {
    /// The same identity was asked for again.
    Join { config: Box<SandboxConfig>, reply: Reply<SandboxId> },
    /// Stop the sandbox.
    Stop { reply: Reply<()> },
    /// Remove the sandbox.
    Remove { reply: Reply<()> },
    /// Create a container.
    Create { config: Box<ContainerConfig>, reply: Reply<ContainerId> },
    /// Start a container.
    Start { container: ContainerId, reply: Reply<()> },
    /// Stop a container.
    StopContainer { container: ContainerId, grace: Duration, reply: Reply<()> },
    /// Remove a container.
    RemoveContainer { container: ContainerId, reply: Reply<()> },
    /// Change a container's limits.
    Update { container: ContainerId, resources: Box<Resources>, reply: Reply<()> },
    /// Change the limits of the pod as a whole.
    UpdatePod { resources: Box<Resources>, reply: Reply<()> },
    /// Answered once the owner has published.
    Published { reply: Reply<()> },
    /// What is needed to talk to a running container.
    Target { container: ContainerId, reply: Reply<Target> },
    /// Answered well while the container is not being stopped in any way.
    Alive { container: ContainerId, reply: Reply<()> },
}

impl Command {
    /// The container that it is for.
    fn container(&self) -> Option<&ContainerId> {
        match self {
            Self::Start { container, .. }
            | Self::StopContainer { container, .. }
            | Self::RemoveContainer { container, .. }
            | Self::Update { container, .. }
            | Self::Target { container, .. }
            | Self::Alive { container, .. } => Some(container),
            Self::Join { .. }
            | Self::Stop { .. }
            | Self::Remove { .. }
            | Self::Create { .. }
            | Self::UpdatePod { .. }
            | Self::Published { .. } => None,
        }
    }
}

/// What the owner's own work reports.
#[derive(Debug)]
pub(crate) enum Report {
    /// The sandbox is up.
    Up(Box<Up>),
    /// A container is prepared.
    Prepared(ContainerId, Box<Made>),
    /// A container could not be prepared.
    NotPrepared(ContainerId, EngineError),
    /// Changing the limits of a container is over.
    Updated(ContainerId, Result<Resources, EngineError>, Caller),
    /// Changing the limits of the pod is over.
    PodUpdated(Result<Resources, EngineError>, Caller),
    /// The shim answers on a new connection.
    Connected(Shim, Vec<(ContainerId, pod::ContainerReport<Live>, i32)>),
    /// A container's process did what the message says.
    Container(ContainerId, ContainerMessage<Live>),
    /// The pod did.
    Pod(pod::Message<Live>),
}

/// What comes to an owner's inbox. It is sent in a box: a queue has room for 32 of them from the beginning, which would be
/// most of the memory of a pod.
#[derive(Debug)]
pub(crate) enum Message {
    /// With the call that wants it, or that the work was for.
    Command(Command, Option<Call>),
    Report(Report, Option<Call>),
    Notice(Notice),
}

impl From<Notice> for Box<Message> {
    fn from(notice: Notice) -> Self {
        Box::new(Message::Notice(notice))
    }
}

/// The way to a pod's owner.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    inbox: mpsc::Sender<Box<Message>>,
}

impl Handle {
    /// Sends a command and waits for its answer. None when the pod is gone. The work goes on when
    /// the caller does not wait.
    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Option<Result<T, EngineError>> {
        let (reply, answer) = oneshot::channel();
        self.inbox
            .send(Box::new(Message::Command(command(reply), About::now().call().cloned())))
            .await
            .ok()?;
        answer.await.ok()
    }
}

/// The owner's way to start work that reports back.
#[derive(Debug, Clone)]
pub(crate) struct Spawner {
    pub(crate) shared: Arc<Shared>,
    inbox: mpsc::Sender<Box<Message>>,
}

impl Spawner {
    /// Runs `work` in a task of its own; its result comes to the inbox. Work that panics is reported as `failed`
    /// says, so that the pod's state does not wait for it forever.
    pub(crate) fn spawn<F>(&self, work: F, failed: impl FnOnce(EngineError) -> Report + Send + 'static)
    where
        F: Future<Output = Report> + Send + 'static,
    {
        let inbox = self.inbox.clone();
        let about = About::now();
        let call = about.call().cloned();
        let work = tokio::spawn(about.around(work));
        tokio::spawn(async move {
            let report = match work.await {
                Ok(report) => report,
                // The runtime is shutting down.
                Err(error) if error.is_cancelled() => return,
                Err(error) => failed(EngineError::system("a task of the pod failed", error)),
            };
            drop(inbox.send(Box::new(Message::Report(report, call))).await);
        });
    }

    /// Runs `work`, which may have nothing to report.
    pub(crate) fn run<F>(&self, work: F)
    where
        F: Future<Output = Option<Report>> + Send + 'static,
    {
        let (inbox, about) = (self.inbox.clone(), About::now());
        let call = about.call().cloned();
        tokio::spawn(about.around(async move {
            if let Some(report) = work.await {
                drop(inbox.send(Box::new(Message::Report(report, call))).await);
            }
        }));
    }
}
