//! The owner of one pod: what it knows beside the states, its inbox, and what it publishes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use berth_sys::cgroup::CgroupPath;
use berth_types::lifecycle::container::Container;
use berth_types::lifecycle::pod::{Link, Pod};
use berth_types::lifecycle::sandbox::State;
use berth_types::{ContainerId, SandboxId};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Handle, INBOX, Live, Message, Report, Spawner};
use crate::container::Item;
use crate::container::kernel::Creations;
use crate::container::update::Limits;
use crate::host::layout::PodDir;
use crate::host::placement::PodCgroups;
use crate::model::{ContainerView, Network, Resources, SandboxConfig, SandboxView};
use crate::shared::{Identity, Shared};
use crate::shim::Shim;

/// The owner of one pod.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(super) spawner: Spawner,
    inbox: mpsc::Receiver<Box<Message>>,
    pub(super) id: SandboxId,
    pub(super) config: Arc<SandboxConfig>,
    pub(super) created_at: i64,
    pub(super) dir: PodDir,
    pub(super) cgroups: PodCgroups,
    /// The states.
    pub(super) pod: Pod<Live>,
    /// What is known of its containers: boxed, since a node of the map has places for eleven.
    pub(super) items: BTreeMap<ContainerId, Box<Item>>,
    /// The limits of the pod as a whole.
    pub(super) limits: Limits,
    /// The order of its containers, for the limits of a kernel of its own.
    pub(super) creations: Creations,
    /// Containers on disk whose records cannot be read: they are not touched, and are removed with the pod.
    pub(super) unreadable: Vec<ContainerId>,
    /// When the containers that are being stopped are killed. The end of one drops its sender.
    pub(super) deadlines: BTreeMap<ContainerId, watch::Sender<Instant>>,
    /// The shim, while it is connected. Those that end containers look here for a new connection.
    pub(super) shim: watch::Sender<Option<Shim>>,
    /// What is known of the pod as it runs.
    pub(super) running: Running,
    /// What is wrong with it; empty when nothing is.
    pub(super) message: String,
    /// Why it could not be taken down or removed, until it is.
    pub(super) failure: String,
    /// Held by the one that changes a record.
    pub(super) records: Arc<Mutex<()>>,
    pub(super) answers: Vec<Answer>,
}

/// What is known of a pod as it runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running {
    pub(crate) shim_pid: Option<i32>,
    pub(crate) interface: Option<String>,
    pub(crate) addresses: Vec<IpAddr>,
}

/// A pod that recovery found, in its state.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) pod: Pod<Live>,
    pub(crate) items: BTreeMap<ContainerId, Box<Item>>,
    pub(crate) limits: Resources,
    pub(crate) unreadable: Vec<ContainerId>,
    pub(crate) running: Running,
}

/// An answer to be given after the next publication.
pub(super) struct Answer(pub(super) Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer")
    }
}

impl Owner {
    /// An owner for a pod, and the way to it. Nothing runs before [`Owner::run`].
    pub(crate) fn new(
        shared: Arc<Shared>,
        id: SandboxId,
        config: Arc<SandboxConfig>,
        created_at: i64,
        dir: PodDir,
        cgroups: PodCgroups,
        found: Found,
    ) -> (Self, Handle) {
        let (sender, inbox) = mpsc::channel(INBOX);
        let owner = Self {
            spawner: Spawner { shared, inbox: sender.clone() },
            inbox,
            id,
            config,
            created_at,
            dir,
            cgroups,
            pod: found.pod,
            items: found.items,
            limits: Limits::new(found.limits),
            creations: Creations::default(),
            unreadable: found.unreadable,
            deadlines: BTreeMap::new(),
            shim: watch::channel(None).0,
            running: found.running,
            message: String::new(),
            failure: String::new(),
            records: Arc::default(),
            answers: Vec::new(),
        };
        (owner, Handle { inbox: sender })
    }

    /// The way for a shim's connection to tell this owner.
    pub(crate) fn notices(&self) -> mpsc::Sender<Box<Message>> {
        self.spawner.inbox.clone()
    }

    /// The way to start work that reports to this owner.
    pub(crate) fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// Takes a report before the owner runs: recovery puts it into its state so.
    pub(crate) fn hear(&mut self, report: Report) {
        self.take(Message::Report(report));
    }

    /// Keeps what is wrong with the pod.
    pub(crate) fn trouble_is(&mut self, message: &str) {
        message.clone_into(&mut self.message);
    }

    /// Serves the inbox until the pod is removed.
    pub(crate) async fn run(mut self) {
        self.publish();
        while self.state() != State::Gone {
            let Some(message) = self.inbox.recv().await else { return };
            self.take(*message);
            self.publish();
        }
        // For late commands the pod no longer exists: their senders are dropped.
    }

    /// The shim, while it is connected.
    pub(super) fn shim(&self) -> Option<Shim> {
        self.shim.borrow().clone()
    }

    pub(super) fn set_shim(&self, shim: Option<Shim>) {
        self.shim.send_replace(shim);
    }

    pub(super) fn state(&self) -> State {
        self.pod.sandbox().state()
    }

    /// Publishes the pod as it is, then answers.
    fn publish(&mut self) {
        let shared = Arc::clone(&self.spawner.shared);
        if self.state() == State::Gone {
            shared.views.remove(&self.id);
            shared.pods.forget(&self.id, &Identity::of(&self.config));
        } else if self.state().listed().is_some() {
            shared.views.put(&Arc::new(self.view()));
        }
        for answer in self.answers.drain(..) {
            (answer.0)();
        }
    }

    pub(super) fn view(&self) -> SandboxView {
        let kernel = self.kernel().map(|kernel| self.cgroup_beside(&kernel));
        let seen = |(id, life): (&ContainerId, &_)| {
            let view = self.items.get(id)?.view(id, &self.id, life)?;
            let cgroup = kernel.clone().unwrap_or_else(|| view.cgroup.clone());
            Some(ContainerView { cgroup, ..view })
        };
        let lives = self.pod.containers().iter().map(|(id, life)| (id, life.as_ref()));
        let mut containers: Vec<_> = lives.filter_map(seen).map(Arc::new).collect();
        containers.sort_by(|a, b| a.created_at.cmp(&b.created_at).then_with(|| a.id.cmp(&b.id)));
        let own = self.config.namespaces.network != Network::Host;
        SandboxView {
            id: self.id.clone(),
            config: Arc::clone(&self.config),
            state: self.state(),
            created_at: self.created_at,
            interface: self.running.interface.clone(),
            addresses: self.running.addresses.clone(),
            netns: own.then(|| self.dir.netns()),
            cgroup: self.cgroups.parent.to_string(),
            shim_pid: self.running.shim_pid,
            message: self.trouble(),
            containers,
        }
    }

    /// Where the processor time and memory are of a container in this kernel: all of them are its only container's that runs. Of
    /// several the kernel has to be asked, see [`Handler::shares`](crate::handler::Handler::shares), so that none of them has any.
    fn cgroup_beside(&self, kernel: &CgroupPath) -> String {
        let runs = |life: &Container<Live>| life.may_live() && life.started_at().is_some();
        let running = self.pod.containers().values().filter(|life| runs(life)).count();
        if running == 1 { kernel.to_string() } else { String::new() }
    }

    /// What is wrong with the pod; empty when nothing is.
    fn trouble(&self) -> String {
        let link = match (self.state(), self.pod.link()) {
            (State::Ready, Link::Silent) => "the pod's shim does not answer",
            (State::Ready, Link::Lost) => "the pod's shim is being connected to",
            (_, Link::Connected | Link::Lost | Link::Silent | Link::Gone) => "",
        };
        let words = [self.failure.as_str(), self.message.as_str(), link];
        words.into_iter().find(|word| !word.is_empty()).unwrap_or_default().to_owned()
    }
}
