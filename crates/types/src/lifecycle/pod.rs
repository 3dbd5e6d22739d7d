//! A pod: its sandbox, the way to its shim, and its containers, which change together.
//!
//! - A connection that is lost ends nothing: the shim lives on and is connected to again. Only a shim that is
//!   known to be dead takes its pod with it.
//! - A sandbox that goes down ends its containers; one that is being prepared meanwhile ends when it reports.

use std::collections::BTreeMap;

use super::container::{self, Container, Found};
use super::sandbox::{self, Sandbox, Stage};
use super::{Kinds, Outcome, Refused};
use crate::ContainerId;

/// A pod.
#[derive(Debug)]
pub struct Pod<K: Kinds> {
    sandbox: Sandbox<K>,
    link: Link,
    /// Boxed, since a node of the map has places for eleven.
    containers: BTreeMap<ContainerId, Box<Container<K>>>,
    /// How a container has ended that was being prepared when the pod went down.
    late: Option<K::Exit>,
}

/// The connection to the pod's shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// It is connected.
    Connected,
    /// It is being connected to.
    Lost,
    /// It lives and did not answer in the time that a healthy one needs; attempts continue.
    Silent,
    /// There is none, or it is dead.
    Gone,
}

/// What happens to a pod.
#[derive(Debug)]
pub enum Message<K: Kinds> {
    /// To its sandbox alone. Its `Down` is told with [`Message::Down`], and `Settled` the pod finds out by itself:
    /// both change nothing here.
    Sandbox(sandbox::Message<K>),
    /// A caller asks for a new container; the error tells it that the shim cannot be reached.
    Create(ContainerId, K::Waiter, K::Error),
    /// To one of its containers.
    Container(ContainerId, container::Message<K>),
    /// The connection to the shim ended.
    Disconnected,
    /// The shim lives and does not answer.
    Silent,
    /// The shim is connected and has said what it knows of every container; what it does not know is told by
    /// that container's record.
    Connected(Vec<(ContainerId, ContainerReport<K>)>),
    /// The shim is dead.
    ShimDied(K::Error),
    /// The init process of the pod's shared PID namespace is dead, and with it every container.
    InitDied,
    /// Everything of the pod was taken down.
    Down(PodEnd<K>),
}

/// How the containers of a pod ended that was taken down.
#[derive(Debug)]
pub struct PodEnd<K: Kinds> {
    /// Those that are known: when each was started, if the reporter knows better, and how it ended.
    pub ends: Vec<(ContainerId, Option<i64>, K::Exit)>,
    /// How those end that are still being prepared.
    pub late: K::Exit,
    /// The error for callers whose work was overtaken by the end.
    pub overtaken: K::Error,
}

/// What a shim that was found again reports of a container.
#[derive(Debug)]
pub enum ContainerReport<K: Kinds> {
    /// It lives.
    Lives(Found),
    /// It was started then, if ever, and has ended.
    Ended(Option<i64>, K::Exit),
}

/// A container that ended: what preparation found out, when it was started, if ever, and how it ended.
pub type Past<K> = (ContainerId, <K as Kinds>::Facts, Option<i64>, <K as Kinds>::Exit);

/// What is to be done after a message.
#[derive(Debug)]
pub enum Effect<K: Kinds> {
    /// For the sandbox.
    Sandbox(sandbox::Effect<K>),
    /// For a container.
    Container(ContainerId, container::Effect<K>),
    /// Prepare a new container; reports `Prepared` or `NotPrepared`.
    Prepare(ContainerId),
    /// Connect to the shim again; reports `Connected`, `Silent` or `ShimDied`.
    Connect,
}

impl<K: Kinds> Pod<K> {
    /// A pod that is being made for a caller.
    pub fn starting(waiter: K::Waiter) -> Self {
        Self::of(Sandbox::starting(waiter), BTreeMap::new())
    }

    /// A pod that recovery found on disk with its containers: its shim is still to be connected to.
    pub fn recovered(containers: BTreeMap<ContainerId, K::Facts>) -> Self {
        let containers =
            containers.into_iter().map(|(id, facts)| (id, Box::new(Container::recovered(facts))));
        Self::of(Sandbox::Ready, containers.collect())
    }

    /// A pod that recovery found on disk, of which nothing runs; its containers ended so.
    pub fn stopped(ended: Vec<Past<K>>) -> Self {
        let containers = ended.into_iter().map(|(id, facts, started_at, exit)| {
            (id, Box::new(Container::Exited { facts, started_at, exit }))
        });
        let mut pod = Self::of(Sandbox::NotReady, containers.collect());
        pod.link = Link::Gone;
        pod
    }

    fn of(sandbox: Sandbox<K>, containers: BTreeMap<ContainerId, Box<Container<K>>>) -> Self {
        Self { sandbox, link: Link::Lost, containers, late: None }
    }

    /// The sandbox.
    pub fn sandbox(&self) -> &Sandbox<K> {
        &self.sandbox
    }

    /// The way to the shim.
    pub fn link(&self) -> Link {
        self.link
    }

    /// The containers that are not gone.
    pub fn containers(&self) -> &BTreeMap<ContainerId, Box<Container<K>>> {
        &self.containers
    }

    /// Refuses a container in the present state.
    pub fn refuse_container(&self) -> Refused {
        self.sandbox.refuse("create a container in")
    }

    /// Takes the state after `message`, and tells what is to be done.
    pub fn next(&mut self, message: Message<K>) -> Vec<Effect<K>> {
        let mut effects = match message {
            // The pod handles it itself: a pod end that ends no container would leave one alive in a pod that is down.
            Message::Sandbox(sandbox::Message::Down | sandbox::Message::Settled) => Vec::new(),
            Message::Sandbox(message) => self.tell_sandbox(message),
            Message::Create(id, waiter, unreachable) => self.create(id, waiter, unreachable),
            Message::Container(id, message) => self.tell_container(&id, message),
            Message::Disconnected => self.disconnected(),
            Message::Silent => {
                if self.link == Link::Lost {
                    self.link = Link::Silent;
                }
                Vec::new()
            }
            Message::Connected(reports) => self.connected(reports),
            Message::ShimDied(error) => self.shim_died(&error),
            Message::InitDied => self.tell_sandbox(sandbox::Message::Died),
            Message::Down(end) => self.down(end),
        };
        if let Sandbox::Stopping { stage: Stage::Settling, .. } = self.sandbox
            && !self.any(|c| matches!(c, Container::Creating { .. }))
        {
            effects.extend(self.tell_sandbox(sandbox::Message::Settled));
        }
        effects
    }

    fn any(&self, test: impl Fn(&Container<K>) -> bool) -> bool {
        self.containers.values().any(|container| test(container))
    }

    fn tell_sandbox(&mut self, message: sandbox::Message<K>) -> Vec<Effect<K>> {
        let up = matches!((&message, &self.sandbox), (sandbox::Message::Up, Sandbox::Starting { .. }));
        let mut effects: Vec<_> = self.sandbox.next(message).into_iter().map(Effect::Sandbox).collect();
        if up {
            effects.extend(self.up());
        }
        if matches!(self.sandbox, Sandbox::Gone) {
            effects.extend(self.cleared());
        }
        effects
    }

    /// The shim answers, unless the connection or the shim was lost before the pod was up.
    fn up(&mut self) -> Option<Effect<K>> {
        match (self.link, &self.sandbox) {
            (Link::Silent, Sandbox::Ready) => {
                self.link = Link::Lost;
                Some(Effect::Connect)
            }
            (Link::Lost | Link::Connected, _) => {
                self.link = Link::Connected;
                None
            }
            (Link::Silent | Link::Gone, _) => None,
        }
    }

    /// The containers are removed with the sandbox, also those whose own removal has not reported.
    fn cleared(&mut self) -> Vec<Effect<K>> {
        let mut effects = Vec::new();
        for (id, mut container) in std::mem::take(&mut self.containers) {
            let answers = container.next(container::Message::Removed);
            effects.extend(answers.into_iter().map(|effect| Effect::Container(id.clone(), effect)));
        }
        effects
    }

    fn tell_container(&mut self, id: &ContainerId, message: container::Message<K>) -> Vec<Effect<K>> {
        let ready = matches!(self.sandbox, Sandbox::Ready);
        let told = |effects: Vec<_>| -> Vec<_> {
            effects.into_iter().map(|effect| Effect::Container(id.clone(), effect)).collect()
        };
        let refused = self.refuse_container();
        let (message, late) = match message {
            // The sandbox was stopped meanwhile.
            container::Message::Prepared(facts, _) if !ready => {
                (container::Message::Prepared(facts, Outcome::Refused(refused)), self.late.clone())
            }
            // Nothing begins to run in a pod that is going down, or is half down.
            container::Message::Start(waiter) if !ready => {
                let refused = Outcome::Refused(self.sandbox.refuse("start a container in"));
                return told(vec![container::Effect::Answer(waiter, refused)]);
            }
            message => (message, None),
        };
        let Some(container) = self.containers.get_mut(id) else {
            return told(Container::Gone.next(message));
        };
        let mut effects = container.next(message);
        if let Some(exit) = late {
            effects.extend(container.next(container::Message::Exited(None, exit)));
        }
        if matches!(**container, Container::Gone) {
            self.containers.remove(id);
        }
        told(effects)
    }

    fn create(&mut self, id: ContainerId, waiter: K::Waiter, unreachable: K::Error) -> Vec<Effect<K>> {
        if self.containers.contains_key(&id) {
            return self.tell_container(&id, container::Message::Join(waiter));
        }
        let answer =
            |waiter, outcome| vec![Effect::Container(id.clone(), container::Effect::Answer(waiter, outcome))];
        match (&self.sandbox, self.link) {
            (Sandbox::Ready, Link::Connected) => {
                self.containers.insert(id.clone(), Box::new(Container::creating(waiter)));
                vec![Effect::Prepare(id)]
            }
            // Nothing lives in it and nothing can be made in it: a new pod can be created.
            (Sandbox::Ready, Link::Silent | Link::Gone) if !self.any(in_use) => {
                let mut effects = answer(waiter, Outcome::Failed(unreachable.clone()));
                effects.extend(self.shim_died(&unreachable));
                effects
            }
            (Sandbox::Ready, Link::Lost | Link::Silent | Link::Gone) => {
                answer(waiter, Outcome::Failed(unreachable))
            }
            (
                Sandbox::Starting { .. }
                | Sandbox::Stopping { .. }
                | Sandbox::StopFailed
                | Sandbox::NotReady
                | Sandbox::Removing { .. }
                | Sandbox::Gone,
                _,
            ) => answer(waiter, Outcome::Refused(self.refuse_container())),
        }
    }

    fn disconnected(&mut self) -> Vec<Effect<K>> {
        match (&self.sandbox, self.link) {
            // Before the pod is up: then it is connected to again.
            (Sandbox::Starting { .. }, Link::Lost) => {
                self.link = Link::Silent;
                Vec::new()
            }
            (Sandbox::Ready, Link::Connected) => {
                self.link = Link::Lost;
                vec![Effect::Connect]
            }
            // A pod that is going down needs its shim no more.
            (_, Link::Connected) => {
                self.link = Link::Lost;
                Vec::new()
            }
            (_, Link::Lost | Link::Silent | Link::Gone) => Vec::new(),
        }
    }

    fn connected(&mut self, reports: Vec<(ContainerId, ContainerReport<K>)>) -> Vec<Effect<K>> {
        if !matches!(self.sandbox, Sandbox::Ready) || self.link == Link::Gone {
            return Vec::new();
        }
        self.link = Link::Connected;
        let mut effects = Vec::new();
        for (id, report) in reports {
            // What the shim knows of one that is being prepared, its preparation reports.
            if matches!(self.containers.get(&id).map(AsRef::as_ref), Some(Container::Creating { .. })) {
                continue;
            }
            let message = match report {
                ContainerReport::Lives(found) => container::Message::Found(found),
                ContainerReport::Ended(started_at, exit) => container::Message::Exited(started_at, exit),
            };
            effects.extend(self.tell_container(&id, message));
        }
        effects
    }

    fn shim_died(&mut self, error: &K::Error) -> Vec<Effect<K>> {
        self.link = Link::Gone;
        let mut effects = Vec::new();
        if matches!(self.sandbox, Sandbox::Ready) {
            for id in self.ids(|_| true) {
                effects.extend(self.tell_container(&id, container::Message::ShimDied(error.clone())));
            }
        }
        effects.extend(self.tell_sandbox(sandbox::Message::Died));
        effects
    }

    fn down(&mut self, end: PodEnd<K>) -> Vec<Effect<K>> {
        if !matches!(self.sandbox, Sandbox::Stopping { stage: Stage::Down, .. }) {
            return Vec::new();
        }
        self.link = Link::Gone;
        self.late = Some(end.late.clone());
        let mut effects = Vec::new();
        for (id, started_at, exit) in end.ends {
            if self.containers.get(&id).is_some_and(|container| container.may_live()) {
                effects.extend(self.ended(&id, started_at, exit, &end.overtaken));
            }
        }
        // Those of which nothing is known, as they were prepared during the teardown.
        for id in self.ids(Container::may_live) {
            effects.extend(self.ended(&id, None, end.late.clone(), &end.overtaken));
        }
        effects.extend(self.tell_sandbox(sandbox::Message::Down));
        effects
    }

    fn ended(
        &mut self,
        id: &ContainerId,
        started_at: Option<i64>,
        exit: K::Exit,
        overtaken: &K::Error,
    ) -> Vec<Effect<K>> {
        let mut effects = self.tell_container(id, container::Message::Exited(started_at, exit));
        // A start that waits for the shim's answer gets none any more.
        effects.extend(self.tell_container(id, container::Message::ShimDied(overtaken.clone())));
        effects
    }

    fn ids(&self, test: impl Fn(&Container<K>) -> bool) -> Vec<ContainerId> {
        self.containers.iter().filter(|(_, c)| test(c)).map(|(id, _)| id.clone()).collect()
    }
}

/// Whether something of a container lives or is being made.
fn in_use<K: Kinds>(container: &Container<K>) -> bool {
    container.may_live() || matches!(container, Container::Creating { .. })
}

#[cfg(test)]
mod tests;
