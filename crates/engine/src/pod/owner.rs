//! The owner of one pod: its state, its inbox, and what it publishes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use berth_sys::cgroup::CgroupPath;
use berth_types::lifecycle::sandbox::{After, Event, State, next};
use berth_types::shim;
use berth_types::{ContainerId, SandboxId};
use tokio::sync::mpsc;

use super::container::{Container, exit_view};
use super::{Command, Desk, Handle, INBOX, Message, Report, Waiter};
use crate::error::EngineError;
use crate::model::{SandboxConfig, SandboxView};
use crate::shared::{Identity, Shared};
use crate::shim::{Notice, Shim};

/// The owner of one pod.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) desk: Desk,
    inbox: mpsc::Receiver<Message>,
    pub(crate) id: SandboxId,
    pub(crate) config: Arc<SandboxConfig>,
    pub(crate) state: State,
    pub(crate) created_at: i64,
    pub(crate) message: String,
    pub(crate) link: Link,
    pub(crate) cgroups: PodCgroups,
    pub(crate) containers: BTreeMap<ContainerId, Container>,
    pub(crate) waiting: Waiting,
    answers: Vec<Answer>,
}

/// What connects the owner to the running pod.
#[derive(Debug, Clone, Default)]
pub(crate) struct Link {
    pub(crate) shim: Option<Shim>,
    pub(crate) shim_pid: Option<i32>,
    pub(crate) addresses: Vec<IpAddr>,
}

/// The pod's place among the cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodCgroups {
    /// The pod's own; made only when something lives in it.
    pub(crate) pod: CgroupPath,
    /// What containers' cgroups are made in.
    pub(crate) parent: CgroupPath,
}

/// Who waits for the sandbox, and which of its work is in flight.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) run: Vec<Waiter<SandboxId>>,
    pub(crate) stop: Vec<Waiter<()>>,
    pub(crate) remove: Vec<Waiter<()>>,
    pub(crate) work: SandboxWork,
}

/// The sandbox's own work in flight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum SandboxWork {
    /// None.
    #[default]
    Idle,
    /// It is being made.
    Up,
    /// It is being taken down.
    Down,
    /// It was taken down; containers that were half made report yet.
    Settling,
    /// Its files are being removed.
    Clear,
    /// Removing them failed; it is tried again when somebody asks.
    Failed,
}

struct Answer(Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer")
    }
}

impl Owner {
    /// An owner for a pod in `state`, and the way to it. Nothing runs before [`Owner::run`].
    pub(crate) fn new(
        shared: Arc<Shared>,
        id: SandboxId,
        config: Arc<SandboxConfig>,
        cgroups: PodCgroups,
        state: State,
        created_at: i64,
    ) -> (Self, Handle) {
        let (sender, inbox) = mpsc::channel(INBOX);
        let owner = Self {
            desk: Desk { shared, inbox: sender.clone() },
            inbox,
            id,
            config,
            state,
            created_at,
            message: String::new(),
            link: Link::default(),
            cgroups,
            containers: BTreeMap::new(),
            waiting: Waiting::default(),
            answers: Vec::new(),
        };
        (owner, Handle { inbox: sender })
    }

    /// The way for a shim's connection to tell this owner.
    pub(crate) fn notices(&self) -> mpsc::Sender<Message> {
        self.desk.inbox.clone()
    }

    /// Serves the inbox until the pod is gone.
    pub(crate) async fn run(mut self) {
        self.settle();
        while self.state != State::Gone {
            let Some(message) = self.inbox.recv().await else { return };
            match message {
                Message::Command(command) => self.command(command),
                Message::Report(report) => self.report(report),
                Message::Notice(notice) => self.notice(notice),
            }
            self.settle();
        }
        // Commands that came too late find the pod gone: their senders are dropped.
    }

    /// Takes up what follows from the change, publishes, then answers.
    fn settle(&mut self) {
        self.follow_up();
        let shared = Arc::clone(&self.desk.shared);
        if self.state == State::Gone {
            shared.board.take(&self.id);
            shared.pods.forget(&self.id, &Identity::of(&self.config));
        } else if self.state.listed().is_some() {
            shared.board.put(&Arc::new(self.view()));
        }
        for answer in self.answers.drain(..) {
            (answer.0)();
        }
    }

    fn view(&self) -> SandboxView {
        let mut containers: Vec<_> =
            self.containers.values().filter_map(|c| c.view(&self.id)).map(Arc::new).collect();
        containers.sort_by(|a, b| a.created_at.cmp(&b.created_at).then_with(|| a.id.cmp(&b.id)));
        let netns = self.desk.shared.layout.pod(&self.id).netns();
        let own = self.config.namespaces.network != crate::model::Network::Host;
        SandboxView {
            id: self.id.clone(),
            config: Arc::clone(&self.config),
            state: self.state,
            created_at: self.created_at,
            addresses: self.link.addresses.clone(),
            netns: own.then_some(netns),
            shim_pid: self.link.shim_pid,
            message: self.message.clone(),
            containers,
        }
    }

    /// Asks the table and takes the new state.
    pub(crate) fn apply(&mut self, event: Event) -> Result<State, EngineError> {
        let to = next(self.state, event).map_err(|refused| EngineError::Refused {
            thing: "pod sandbox",
            id: self.id.short().to_owned(),
            refused,
        })?;
        if to != self.state {
            tracing::info!(
                sandbox = self.id.short(),
                name = self.config.metadata.name,
                from = self.state.word(),
                to = to.word(),
                "pod sandbox"
            );
        }
        self.state = to;
        Ok(to)
    }

    /// Answers after the next publication.
    pub(crate) fn answer<T: Send + 'static>(&mut self, waiter: Waiter<T>, result: Result<T, EngineError>) {
        self.answers.push(Answer(Box::new(move || drop(waiter.send(result)))));
    }

    /// Answers all of them the same.
    pub(crate) fn answer_all<T: Clone + Send + 'static>(
        &mut self,
        waiters: Vec<Waiter<T>>,
        result: &Result<T, EngineError>,
    ) {
        for waiter in waiters {
            self.answer(waiter, result.clone());
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Join { config, reply } => self.join(&config, reply),
            Command::Stop { reply } => self.stop(reply),
            Command::Remove { reply } => self.remove(reply),
            Command::Create { config, reply } => self.create(*config, reply),
            Command::Start { container, reply } => self.start(&container, reply),
            Command::StopContainer { container, grace, reply } => {
                self.stop_container(&container, grace, reply);
            }
            Command::RemoveContainer { container, reply } => self.remove_container(&container, reply),
            Command::Update { container, resources, reply } => self.update(&container, resources, reply),
            Command::Published { reply } => self.answer(reply, Ok(())),
            Command::Target { container, reply } => {
                let target = self.target(&container);
                self.answer(reply, target);
            }
        }
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Up(result) => self.is_up(result),
            Report::Created(container, result) => self.is_created(&container, result),
            Report::Started(container, result) => self.is_started(&container, result),
            Report::StopFailed(container, error) => self.stop_failed(&container, &error),
            Report::Killed(container) => self.end_by_record(&container, "it was killed without its shim"),
            Report::Removed(container, result) => self.is_removed(&container, &result),
            Report::Updated(container, resources, result, reply) => {
                self.is_updated(&container, *resources, result, reply);
            }
            Report::Down(result) => self.is_down(result),
            Report::Cleared(result) => self.is_cleared(&result),
            Report::Answered(answered) => self.has_answered(answered),
        }
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Event(shim::Event::Exited { container, exit }) => self.has_exited(&container, exit),
            Notice::Event(shim::Event::PodEnded) => self.pod_ended(),
            // The connection of each session goes to the one that waits for it.
            Notice::Event(
                shim::Event::ExecExited { .. }
                | shim::Event::Note { .. }
                | shim::Event::Started { .. }
                | shim::Event::Lingers { .. },
            ) => {}
            Notice::Lost(why) => {
                tracing::debug!(sandbox = self.id.short(), %why, "the shim's connection ended");
                self.shim_lost();
            }
        }
    }

    /// The main process of a container ended, and its shim has written the record.
    fn has_exited(&mut self, id: &ContainerId, exit: shim::Exit) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if container.work.creating.is_some() {
            container.work.ended = Some(exit);
            return;
        }
        if let Some(starting) = &mut container.work.starting {
            starting.ended = Some(exit);
            return;
        }
        let never_ran = container.started_at.is_none();
        self.end(id, exit_view(&exit, never_ran));
    }

    /// The sandbox was asked for again.
    fn join(&mut self, config: &SandboxConfig, reply: Waiter<SandboxId>) {
        let taken = |how| EngineError::AlreadyExists {
            thing: "pod sandbox",
            identity: Identity::of(config).words(),
            id: self.id.short().to_owned(),
            how,
        };
        let same = *self.config == *config;
        match self.state {
            State::Starting if same => self.waiting.run.push(reply),
            State::Ready if same => {
                let id = self.id.clone();
                self.answer(reply, Ok(id));
            }
            State::Starting | State::Ready => {
                let error = taken("with another configuration");
                self.answer(reply, Err(error));
            }
            State::Stopping { .. } | State::StopFailed | State::NotReady | State::Removing | State::Gone => {
                let error = taken("and is stopped");
                self.answer(reply, Err(error));
            }
        }
    }

    /// What the present state calls for and nothing does yet.
    fn follow_up(&mut self) {
        if self.waiting.work == SandboxWork::Settling && !self.containers.values().any(half_made) {
            self.settled();
        }
        match (self.state, self.waiting.work) {
            (State::Stopping { .. }, SandboxWork::Idle) => self.take_down(),
            (State::Removing, SandboxWork::Idle) => self.clear(),
            (State::Stopping { then: After::NotReady | After::Removing } | State::Removing, _)
            | (State::Starting | State::Ready | State::StopFailed | State::NotReady | State::Gone, _) => {}
        }
    }
}

/// Whether a container's creation has not reported yet.
fn half_made(container: &Container) -> bool {
    container.work.creating.is_some()
}
