//! What comes to a pod's owner: calls, reports of its work, and what the shim says by itself.

use std::sync::Arc;

use berth_types::lifecycle::container::{Message as ToContainer, State as ContainerState};
use berth_types::lifecycle::pod::{ContainerReport, Message as ToPod};
use berth_types::lifecycle::sandbox::{Message as ToSandbox, State};
use berth_types::lifecycle::{Outcome, Refused};
use berth_types::{Classify, ContainerId, Kind, SandboxId, shim};

use super::owner::{Answer, Owner};
use super::{Caller, Command, Live, Message, Reply, Report, Up};
use crate::about::About;
use crate::container::adjust::Unseen;
use crate::container::exec::Target;
use crate::container::exit::Exit;
use crate::container::{Facts, Item, Made, is_same};
use crate::error::EngineError;
use crate::host::clock;
use crate::model::{ContainerConfig, SandboxConfig};
use crate::shared::Identity;
use crate::shim::{Notice, Shim, ShimError};

impl Owner {
    pub(super) fn take(&mut self, message: Message) {
        match message {
            Message::Command(command, call) => {
                let about = About::now().asked_by(call);
                let about = match command.container() {
                    Some(id) => about.of_container(id),
                    None => about,
                };
                about.within(|| self.command(command));
            }
            Message::Report(report, call) => {
                if let (Report::Pod(ToPod::ShimDied(_)), Some(observe)) =
                    (&report, &self.spawner.shared.observe)
                {
                    observe.lost_shim();
                }
                About::now().asked_by(call).within(|| self.report(report));
            }
            Message::Notice(notice) => self.notice(notice),
        }
    }

    /// Feeds the states and carries out what follows.
    pub(super) fn tell(&mut self, message: ToPod<Live>) {
        let (before, containers) = (self.state(), self.states());
        let effects = self.pod.next(message);
        let after = self.state();
        if after != before {
            let (from, to) = (before.word(), after.word());
            tracing::info!(
                sandbox = self.id.short(),
                name = self.config.metadata.name,
                from,
                to,
                "pod sandbox"
            );
        }
        self.tell_plugins(&containers);
        for effect in effects {
            self.carry_out(effect);
        }
        let containers = self.pod.containers();
        self.items.retain(|id, _| containers.contains_key(id));
    }

    fn tell_container(&mut self, id: ContainerId, message: ToContainer<Live>) {
        self.tell(ToPod::Container(id, message));
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Join { config, reply } => self.join(&config, reply),
            Command::Stop { reply } => self.tell(ToPod::Sandbox(ToSandbox::Stop(Caller::Done(reply)))),
            Command::Remove { reply } => {
                self.tell(ToPod::Sandbox(ToSandbox::Remove(Caller::Done(reply))));
            }
            Command::Create { config, reply } => self.create(*config, reply),
            Command::Start { container, reply } => self.call(container, reply, ToContainer::Start),
            Command::StopContainer { container, grace, reply } => {
                self.call(container, reply, |caller| ToContainer::Stop(grace, caller));
            }
            Command::RemoveContainer { container, reply } => {
                self.call(container, reply, ToContainer::Remove);
            }
            Command::Update { container, resources, reply } => {
                self.update(&container, resources, Caller::Done(reply));
            }
            Command::UpdatePod { resources, reply } => self.update_pod(resources, Caller::Done(reply)),
            Command::Published { reply } => self.answer(reply, Ok(())),
            Command::Target { container, reply } => {
                let target = self.target(&container);
                self.answer(reply, target);
            }
            Command::Alive { container, reply } => {
                let alive = self.alive(&container, "reach");
                self.answer(reply, alive.map(drop));
            }
        }
    }

    /// A call to a container, which may not exist.
    fn call(&mut self, id: ContainerId, reply: Reply<()>, message: impl FnOnce(Caller) -> ToContainer<Live>) {
        if self.pod.containers().contains_key(&id) {
            self.tell_container(id, message(Caller::Done(reply)));
        } else {
            self.answer(reply, Err(not_found(&id)));
        }
    }

    pub(super) fn report(&mut self, report: Report) {
        match report {
            Report::Up(up) => self.is_up(*up),
            Report::Prepared(id, made) => self.is_prepared(id, *made),
            Report::NotPrepared(id, error) => self.is_not_prepared(id, error),
            Report::Updated(id, result, caller) => self.is_updated(&id, result, caller),
            Report::PodUpdated(result, caller) => self.pod_is_updated(result, caller),
            Report::Connected(shim, reports) => self.is_connected(shim, reports),
            Report::Container(id, message) => self.tell_container(id, message),
            Report::Pod(message) => {
                self.note(&message);
                self.tell(message);
            }
        }
    }

    /// Keeps for users what is wrong with the pod. A report that is out of date, as of containers that were
    /// waited for and have reported since, tells nothing.
    fn note(&mut self, message: &ToPod<Live>) {
        let (what, error) = match message {
            ToPod::ShimDied(error) => {
                self.message = berth_types::error::chain(error);
                self.set_shim(None);
                self.running.shim_pid = None;
                ("the pod's shim is gone; its processes are killed", error)
            }
            ToPod::Sandbox(ToSandbox::NotDown(error)) if matches!(self.state(), State::Stopping { .. }) => {
                self.failure = berth_types::error::chain(error);
                ("failed to tear down a pod", error)
            }
            ToPod::Sandbox(ToSandbox::NotCleared(error)) => {
                self.failure = berth_types::error::chain(error);
                ("failed to remove a pod", error)
            }
            ToPod::Sandbox(_)
            | ToPod::Create(..)
            | ToPod::Container(..)
            | ToPod::Disconnected
            | ToPod::Silent
            | ToPod::Connected(_)
            | ToPod::InitDied
            | ToPod::Down(_) => return,
        };
        tracing::warn!(
            sandbox = self.id.short(),
            error = berth_types::error::chain(error),
            what,
            "pod sandbox"
        );
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Event(shim::Event::Exited { container, exit }) => {
                self.tell_container(container, ToContainer::Exited(None, Exit::Told(exit)));
            }
            Notice::Event(shim::Event::PodEnded) => {
                "the pod's init process ended".clone_into(&mut self.message);
                self.tell(ToPod::InitDied);
            }
            Notice::Event(shim::Event::Started { container, at }) => {
                self.tell_container(container, ToContainer::Started(at));
            }
            Notice::Event(shim::Event::Lingers { container, text }) => {
                let container = container.short();
                tracing::warn!(
                    container,
                    text,
                    "the container has not ended: a process of it cannot be killed"
                );
            }
            // The connection of each session goes to the one that waits for it.
            Notice::Event(shim::Event::ExecExited { .. } | shim::Event::Note { .. }) => {}
            Notice::Lost(why) => {
                tracing::debug!(sandbox = self.id.short(), %why, "the shim's connection ended");
                // Reports of one that was replaced are ignored.
                self.check_connection();
            }
        }
    }

    /// Connects again if the connection has ended.
    fn check_connection(&mut self) {
        if self.shim().as_ref().is_some_and(Shim::is_gone) {
            self.set_shim(None);
            self.tell(ToPod::Disconnected);
        }
    }

    fn is_up(&mut self, up: Up) {
        self.set_shim(Some(up.shim));
        self.running.shim_pid = Some(up.shim_pid);
        self.running.interface = up.interface;
        self.running.addresses = up.addresses;
        self.hold(up.unseen);
        self.tell(ToPod::Sandbox(ToSandbox::Up));
        // The report of its end may have come before it was known here.
        self.check_connection();
    }

    fn is_prepared(&mut self, id: ContainerId, made: Made) {
        if let Some(item) = self.items.get_mut(&id) {
            item.pid = Some(made.pid);
            if let Some(resources) = made.resources {
                item.limits = crate::container::update::Limits::new(resources);
            }
        }
        self.hold(made.unseen);
        self.tell_container(id, ToContainer::Prepared(Arc::new(made.facts), Outcome::Done));
    }

    fn is_not_prepared(&mut self, id: ContainerId, error: EngineError) {
        let hung = error.kind() == Kind::Timeout;
        self.tell_container(id, ToContainer::NotPrepared(error));
        if hung {
            // Only this container, or the whole shim: a new connection shows.
            self.tell(ToPod::Disconnected);
        }
    }

    fn is_connected(&mut self, shim: Shim, reports: Vec<(ContainerId, ContainerReport<Live>, i32)>) {
        if self.state() != State::Ready {
            return;
        }
        tracing::info!(sandbox = self.id.short(), "the pod's shim is connected again");
        let mut known = Vec::with_capacity(reports.len());
        for (id, report, pid) in reports {
            match self.items.get_mut(&id) {
                Some(item) => {
                    item.pid = Some(pid).filter(|pid| *pid > 0).or(item.pid);
                    known.push((id, report));
                }
                None if self.unreadable.contains(&id) => {}
                // Removed, or undone, while the shim could not be told.
                None => crate::recovery::end_stranger(&self.spawner, &shim, id),
            }
        }
        self.set_shim(Some(shim));
        self.tell(ToPod::Connected(known));
        self.check_connection();
    }

    /// The sandbox was asked for again.
    fn join(&mut self, config: &SandboxConfig, reply: Reply<SandboxId>) {
        let how = match self.state() {
            State::Starting | State::Ready if *self.config == *config => {
                return self.tell(ToPod::Sandbox(ToSandbox::Join(Caller::Sandbox(reply))));
            }
            State::Starting | State::Ready => "with another configuration",
            State::Stopping { .. } | State::StopFailed | State::NotReady | State::Removing | State::Gone => {
                "and is stopped"
            }
        };
        let (thing, id) = ("pod sandbox", self.id.short().to_owned());
        let identity = Identity::of(config).words();
        self.answer(reply, Err(EngineError::AlreadyExists { thing, identity, id, how }));
    }

    /// A container is asked for, perhaps again.
    fn create(&mut self, config: ContainerConfig, reply: Reply<ContainerId>) {
        let known = self.items.iter().find(|(_, item)| item.config.metadata == config.metadata);
        if let Some((id, item)) = known {
            let id = id.clone();
            let state = self.pod.containers().get(&id).map_or(ContainerState::Gone, |life| life.state());
            match is_same(&id, item, state, &config) {
                Ok(()) if self.state() == State::Ready => {
                    let caller = Caller::Container(id.clone(), reply);
                    self.tell_container(id, ToContainer::Join(caller));
                }
                Ok(()) => {
                    let refused = self.refused(self.pod.refuse_container());
                    self.answer(reply, Err(refused));
                }
                Err(error) => self.answer(reply, Err(error)),
            }
            return;
        }
        let id = ContainerId::from_random(crate::host::random::bytes());
        let name = &config.metadata.name;
        let before = self.items.values().filter(|item| item.config.metadata.name == *name);
        let created_at = clock::after(before.map(|item| item.created_at).max());
        self.items.insert(id.clone(), Box::new(Item::new(Arc::new(config), created_at)));
        let unreachable = EngineError::failed("create a container", ShimError::Lost);
        self.tell(ToPod::Create(id.clone(), Caller::Container(id, reply), unreachable));
    }

    /// What is needed to talk to a running container.
    fn target(&self, id: &ContainerId) -> Result<Target, EngineError> {
        let (Some(item), Some(life)) = (self.items.get(id), self.pod.containers().get(id)) else {
            return Err(not_found(id));
        };
        let reachable = matches!(
            life.state(),
            ContainerState::Created
                | ContainerState::Starting
                | ContainerState::Running
                | ContainerState::Stopping { .. }
        );
        match (life.facts().filter(|_| reachable), self.shim()) {
            // A prepared container can be joined before it starts; the shim refuses what it cannot do yet.
            (Some(facts), Some(shim)) => Ok(Target {
                user: self.config.namespaces.user,
                container: id.clone(),
                config: Arc::clone(&item.config),
                facts: self.with_score(facts, item),
                shim,
                handler: self.spawner.shared.handlers.of(&self.config.handler)?,
                turns: Arc::clone(&item.turns),
            }),
            (Some(_), None) => Err(EngineError::failed("reach the container", ShimError::Lost)),
            (None, _) => Err(refused_container(id, life.refuse("reach"))),
        }
    }

    /// What is known of a container that is neither being stopped nor ended; else it is refused by this verb.
    pub(super) fn alive(&self, id: &ContainerId, verb: &'static str) -> Result<Arc<Facts>, EngineError> {
        let life = self.pod.containers().get(id).ok_or_else(|| not_found(id))?;
        match (life.state(), life.facts()) {
            (ContainerState::Created | ContainerState::Starting | ContainerState::Running, Some(facts)) => {
                match self.state() {
                    State::Ready => Ok(Arc::clone(facts)),
                    _ => Err(self.refused(self.pod.sandbox().refuse(verb))),
                }
            }
            (_, _) => Err(refused_container(id, life.refuse(verb))),
        }
    }

    /// Exec sessions begin with the out-of-memory score that the container's processes have now.
    fn with_score(&self, facts: &Arc<Facts>, item: &Item) -> Arc<Facts> {
        let least = self.spawner.shared.facts.least_oom_score;
        let score = item.limits.now().oom_score_adj.map(|score| score.max(least));
        let mut facts = Arc::clone(facts);
        if score.is_some() && score != facts.process.oom_score_adj() {
            Arc::make_mut(&mut facts).process.set_oom_score_adj(score);
        }
        facts
    }

    /// Answers after the next publication.
    pub(super) fn answer<T: Send + 'static>(&mut self, reply: Reply<T>, result: Result<T, EngineError>) {
        // A caller that is gone needs no answer.
        self.answers.push(Answer(Box::new(move || drop(reply.send(result)))));
    }

    /// Holds this until the pod is published.
    fn hold(&mut self, unseen: Option<Unseen>) {
        if let Some(unseen) = unseen {
            self.answers.push(Answer(Box::new(move || drop(unseen))));
        }
    }

    /// Answers a caller with what it waits for.
    pub(super) fn answer_caller(&mut self, caller: Caller, result: Result<(), EngineError>) {
        match caller {
            Caller::Sandbox(reply) => {
                let id = self.id.clone();
                self.answer(reply, result.map(|()| id));
            }
            Caller::Container(id, reply) => self.answer(reply, result.map(|()| id)),
            Caller::Done(reply) => self.answer(reply, result),
        }
    }

    /// What is told of a container that could not be reached: a pod that is stopped or removed takes its shim away, and then
    /// nothing failed.
    pub(super) fn in_this_state(&self, error: EngineError) -> EngineError {
        match self.state() {
            State::Starting | State::Ready => error,
            State::Stopping { .. } | State::StopFailed | State::NotReady | State::Removing | State::Gone => {
                match error.kind() {
                    Kind::Unavailable => self.refused(self.pod.sandbox().refuse("reach a container in")),
                    _ => error,
                }
            }
        }
    }

    pub(super) fn refused(&self, refused: Refused) -> EngineError {
        EngineError::Refused { thing: "pod sandbox", id: self.id.short().to_owned(), refused }
    }
}

pub(super) fn refused_container(id: &ContainerId, refused: Refused) -> EngineError {
    EngineError::Refused { thing: "container", id: id.short().to_owned(), refused }
}

pub(super) fn not_found(id: &ContainerId) -> EngineError {
    EngineError::NotFound { thing: "container", key: id.to_string() }
}
