//! Local pods: one task per pod, which brings its actual state to the desired one.
//!
//! ```text
//! play -> images -> volumes -> sandbox -> [ look at the pod's view -> decide (pure) -> act ] ...
//!                                            woken by events, by the end of a back-off, by requests
//! ```
//!
//! The desired state is the manifest, which the pod's sandbox carries as an annotation: a new daemon
//! goes on with every pod it finds.

mod again;
mod atomic;
mod decide;
mod env_files;
mod error;
mod files;
mod give;
mod health;
mod image_volumes;
mod node;
mod pull;
mod rotate;
mod task;
mod users;
mod volumes;
mod waiting;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use berth_engine::Engine;
use berth_engine::image::credentials::RequestAuth;
use berth_engine::model::{ContainerView, Owner, SandboxView};
use berth_types::{Classify, ContainerId};
use tokio::sync::{mpsc, oneshot};

use crate::claims::{self, ClaimError};
use crate::manifest::{self, Pod};
use crate::plan::{self, EnvFiles, MANIFEST, Place, Plan, PlanError};

pub use error::PodError;
pub(crate) use files::fresh_uid;
pub use health::Shown;
pub use image_volumes::Named as ImageVolumes;
pub use pull::{Pull, PullChoice};
pub(crate) use task::there;
use waiting::WAITS;

/// Pods that may run here at a time.
pub const MAX_PODS: usize = 1000;
/// Annotation: remove the pod when its containers have ended for good.
pub(crate) const REMOVE: &str = "berth.dev/remove";

/// What happens while a pod is played, for watchers.
#[derive(Debug, Clone)]
pub enum Progress {
    /// An image is being pulled.
    Pull(Pull),
    /// The sandbox is up.
    Up(Arc<SandboxView>),
    /// A container was made, or started.
    Container(Arc<ContainerView>),
    /// Something that the user should know while waiting.
    Note(String),
}

/// How a pod is played.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The container that waits for [`Pods::release`] before it starts.
    pub hold: Option<String>,
    /// No client holds it: it waits for as long as it takes, over restarts of the daemon too.
    pub waits: bool,
    /// Remove the pod when its containers have ended for good.
    pub remove: bool,
    /// Overrides each container's pull policy.
    pub pull: Option<PullChoice>,
    /// The names of volumes that its images name, which it had before.
    pub image_volumes: ImageVolumes,
    /// Credentials by the images' names in the manifest, for the pulls before the pod starts; they are not kept.
    pub auths: BTreeMap<String, RequestAuth>,
}

/// The local pods of an engine. A clone is the same pods.
#[derive(Debug, Clone)]
pub struct Pods {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    /// `<root>/pods`: one directory per pod, named by its uid.
    dir: PathBuf,
    /// `<root>/claims`: what claims stand for.
    claims: PathBuf,
    tasks: Mutex<BTreeMap<Key, mpsc::Sender<Command>>>,
    health: Arc<health::Shared>,
    /// Held by the one that fills a named volume or removes it.
    filling: tokio::sync::Mutex<()>,
    /// The volumes of pods that have no sandbox yet.
    beginning: Mutex<volumes::Beginning>,
    /// The ranges of ids of pods that have no sandbox yet.
    ids: users::Given,
    /// The DNS of services, where there are any.
    cluster: Mutex<Option<plan::Cluster>>,
}

/// A pod's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What a pod's task is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Start the held container.
    Release(String),
    /// The client that a container was held for has disconnected.
    Left,
    /// End the pod.
    Down(Down),
}

/// What becomes of a pod that is taken down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Then {
    /// It stays, with its logs, until it is removed.
    Stays,
    /// It stays for the one that takes its name and goes on with what it wrote.
    MakesWay,
    /// It is removed, to be made again at once: what is kept for it is kept.
    ComesAgain,
    /// It is removed.
    Goes,
}

/// Ends the containers, and then the pod.
#[derive(Debug)]
pub(crate) struct Down {
    /// Seconds until the containers are killed; None asks the manifest.
    pub(crate) grace: Option<u64>,
    pub(crate) then: Then,
    pub(crate) done: oneshot::Sender<Result<(), PodError>>,
}

impl Options {
    /// What a new daemon has to know of them.
    fn note_in(&self, plan: &mut Plan) {
        let annotations = &mut plan.sandbox.annotations;
        if self.remove {
            annotations.insert(REMOVE.to_owned(), "true".to_owned());
        }
        if let (true, Some(name)) = (self.waits, &self.hold) {
            annotations.insert(WAITS.to_owned(), name.clone());
        }
    }
}

impl Pods {
    /// The local pods of `engine`, whose directory is `dir`, with the claims of directory `claims`. Those that it finds go on.
    pub fn open(engine: Engine, dir: PathBuf, claims: PathBuf) -> Self {
        let (tasks, ids, health) = (Mutex::default(), users::Given::default(), Arc::default());
        let filling = tokio::sync::Mutex::default();
        let pods = Self {
            inner: Arc::new(Inner {
                engine,
                dir,
                claims,
                tasks,
                health,
                filling,
                ids,
                beginning: Mutex::default(),
                cluster: Mutex::default(),
            }),
        };
        let found = pods.inner.engine.sandboxes(Some(Owner::Local));
        // The pod that goes on with another removes that when it runs.
        let followed: Vec<_> = found.iter().filter_map(|view| again::before(&view.config)).collect();
        for view in found.iter().filter(|view| !followed.contains(&view.id.as_str())) {
            pods.adopt(view);
        }
        let living = found.iter().map(|view| view.config.metadata.uid.as_str()).collect();
        match files::set_aside(&pods.inner.dir, &living) {
            Ok(dead) => drop(tokio::task::spawn_blocking(move || files::remove_dead(dead))),
            Err(e) => {
                tracing::warn!(dir = %pods.inner.dir.display(), error = %e, "failed to remove what pods left behind");
            }
        }
        tokio::spawn(rotate::run(Arc::downgrade(&pods.inner)));
        pods
    }

    /// Checks pods before anything of them is made, and names all that is wrong with them.
    pub fn check(&self, pods: &[Pod]) -> Result<(), PlanError> {
        let mut faults = Vec::new();
        for pod in pods {
            match plan::plan(pod, &self.place(pod)) {
                Ok(_) => {}
                Err(PlanError::Several(all)) => faults.extend(all),
                Err(one) => faults.push(one),
            }
        }
        PlanError::of(faults).map_or(Ok(()), Err)
    }

    /// Runs a pod; answers when its containers have started (or wait, held). On failure nothing of
    /// it is left.
    pub async fn play(
        &self,
        pod: Pod,
        options: Options,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Arc<SandboxView>, PodError> {
        let mut place = self.place(&pod);
        let mut plan = plan::plan(&pod, &place)?;
        let ids = if pod.spec.host_users { None } else { Some(self.users()?) };
        if let Some(ids) = &ids {
            place.user = Some(ids.namespace());
            plan = plan::plan(&pod, &place)?;
        }
        options.note_in(&mut plan);
        let key = key(&plan);
        let (name, commands) = (key.name.clone(), self.claim(&key)?);
        let (started, answer) = oneshot::channel();
        let task = task::Task::new(self.clone(), key, pod, plan, place, options).with_ids(ids);
        tokio::spawn(task.play(commands, progress, started));
        answer.await.unwrap_or(Err(PodError::Down(name)))
    }

    /// Makes the directories of claims. True for those that are new.
    pub fn make_claim(&self, claim: &manifest::Claim) -> Result<bool, ClaimError> {
        claims::make(&self.inner.claims, claim)
    }

    /// The claims that are kept.
    pub fn claims(&self) -> Vec<claims::Kept> {
        claims::all(&self.inner.claims)
    }

    /// Removes a claim with all that is in it, unless a pod has it mounted. True when there was one.
    pub fn remove_claim(&self, namespace: &str, name: &str) -> Result<bool, ClaimError> {
        let path = claims::data(&self.inner.claims, namespace, name);
        for view in self.inner.engine.sandboxes(Some(Owner::Local)) {
            let mounts = |c: &Arc<ContainerView>| c.config.mounts.iter().any(|mount| mount.host_path == path);
            if view.containers.iter().any(mounts) {
                let pod = view.config.metadata.name.clone();
                return Err(ClaimError::Used { name: name.to_owned(), pod });
            }
        }
        claims::remove(&self.inner.claims, namespace, name)
    }

    /// The manifest of a pod as it was played, and how, to run it once more.
    pub fn kept(&self, view: &SandboxView) -> Result<(Pod, Options), PodError> {
        let config = &view.config;
        let gone = || PodError::NotFound(config.metadata.name.clone());
        let source = config.annotations.get(MANIFEST).ok_or_else(gone)?;
        let place = self.place_of(config.metadata.uid.clone());
        let objects =
            files::objects(&place).map_err(|e| files::fault("its manifest", &place.dir, e.to_string()))?;
        let pod = manifest::resume(source, &objects).map_err(|e| PodError::Said {
            message: format!("pod {}: {e}", config.metadata.name),
            kind: e.kind(),
            hint: None,
        })?;
        let remove = config.annotations.contains_key(REMOVE);
        let image_volumes = image_volumes::of(config);
        Ok((pod, Options { remove, pull: Some(PullChoice::Missing), image_volumes, ..Options::default() }))
    }

    /// What the probes of a running container say; None of one that has none, which is ready.
    pub fn health(&self, container: &ContainerId) -> Option<Shown> {
        self.inner.health.board.get(container)
    }

    /// The machine as its pods are told of it.
    pub fn node(&self) -> plan::Node {
        node::of_this_machine()
    }

    /// Wakes when a container got ready, or is no longer.
    pub(crate) fn readiness(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.health.board.changes()
    }

    /// The addresses of this machine, which pods of its network have.
    pub(crate) fn host_addresses(&self) -> Vec<std::net::IpAddr> {
        node::addresses()
    }

    /// Pods that are made from now on are told of this DNS.
    pub(crate) fn set_cluster(&self, cluster: Option<plan::Cluster>) {
        *self.inner.cluster.lock().unwrap_or_else(PoisonError::into_inner) = cluster;
    }

    /// Starts a container that was held.
    pub async fn release(&self, view: &ContainerView) -> Result<(), PodError> {
        let sandbox =
            self.inner.engine.sandbox(view.sandbox.as_str()).map_err(PodError::engine("look up the pod"))?;
        let name = view.config.metadata.name.clone();
        self.tell(&sandbox, Command::Release(name)).await
    }

    /// Reports that the client of a held container has disconnected: with [`Options::remove`] the pod goes by itself when
    /// it has ended.
    pub async fn left(&self, view: &ContainerView) {
        if let Ok(sandbox) = self.inner.engine.sandbox(view.sandbox.as_str()) {
            // A removed pod needs no removal.
            self.tell(&sandbox, Command::Left).await.ok();
        }
    }

    /// Ends the containers of a pod after at most `grace` seconds (None asks the manifest); one that does not stay is taken
    /// away with everything but what it wrote to the host's own paths. Several may ask at the same time: the shortest
    /// grace counts.
    pub async fn down(&self, view: &SandboxView, grace: Option<u64>, then: Then) -> Result<(), PodError> {
        let (done, answer) = oneshot::channel();
        let asked = self.tell(view, Command::Down(Down { grace, then, done })).await;
        let result = match asked {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(PodError::Down(view.config.metadata.name.clone()))),
            Err(e) => Err(e),
        };
        match result {
            // Another request was carried out at the same time.
            Err(PodError::Down(_) | PodError::NotFound(_))
                if self.inner.engine.sandbox(view.id.as_str()).is_err() =>
            {
                Ok(())
            }
            result => result,
        }
    }

    async fn tell(&self, view: &SandboxView, command: Command) -> Result<(), PodError> {
        let metadata = &view.config.metadata;
        let key = Key { namespace: metadata.namespace.clone(), name: metadata.name.clone() };
        let sender = self.lock().get(&key).cloned();
        let gone = || PodError::NotFound(key.name.clone());
        sender.ok_or_else(gone)?.send(command).await.map_err(|_| gone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, mpsc::Sender<Command>>> {
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the name for a new pod.
    fn claim(&self, key: &Key) -> Result<mpsc::Receiver<Command>, PodError> {
        let mut tasks = self.lock();
        if tasks.contains_key(key) {
            return Err(PodError::Exists { name: key.name.clone(), namespace: key.namespace.clone() });
        }
        if tasks.len() >= MAX_PODS {
            return Err(PodError::TooMany);
        }
        let (sender, receiver) = mpsc::channel(16);
        tasks.insert(key.clone(), sender);
        Ok(receiver)
    }

    /// A range of ids that no other pod has.
    fn users(&self) -> Result<users::Ids, PodError> {
        let engine = &self.inner.engine;
        let taken = || engine.sandboxes(None).iter().filter_map(|view| view.config.namespaces.user).collect();
        self.inner.ids.take(&engine.config().instance, taken).ok_or(PodError::NoIds)
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn place(&self, pod: &Pod) -> Place {
        let uid = pod.metadata.uid.clone().unwrap_or_else(files::fresh_uid);
        self.place_of(uid)
    }

    fn place_of(&self, uid: String) -> Place {
        let (dir, node) = (self.inner.dir.join(&uid), node::of_this_machine());
        let claims = self.inner.claims.clone();
        let cluster = self.inner.cluster.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Place {
            dir,
            uid,
            claims,
            addresses: Vec::new(),
            user: None,
            node,
            cluster,
            env_files: EnvFiles::new(),
        }
    }

    /// Goes on with a pod that an earlier daemon left.
    fn adopt(&self, view: &Arc<SandboxView>) {
        let config = &view.config;
        let (addresses, user) = (view.addresses.clone(), config.namespaces.user);
        let place = Place { addresses, user, ..self.place_of(config.metadata.uid.clone()) };
        let planned = config.annotations.get(MANIFEST).and_then(|source| {
            let pod = manifest::resume(source, &files::objects(&place).ok()?).ok()?;
            let plan = plan::plan(&pod, &place).ok()?;
            Some((pod, plan))
        });
        let Some((pod, mut plan)) = planned else {
            tracing::warn!(
                pod = config.metadata.name,
                "its manifest is unreadable: it keeps running, but its containers are not restarted"
            );
            return;
        };
        image_volumes::add(&mut plan, &place, &image_volumes::of(config));
        let hold = self.waiting(view);
        let remove = config.annotations.contains_key(REMOVE);
        let options = Options { remove, waits: hold.is_some(), hold, ..Options::default() };
        plan.sandbox = (**config).clone();
        let key = key(&plan);
        if let Ok(commands) = self.claim(&key) {
            let task = task::Task::new(self.clone(), key, pod, plan, place, options);
            tokio::spawn(task.go_on(view.id.clone(), commands));
        }
    }
}

fn key(plan: &Plan) -> Key {
    let metadata = &plan.sandbox.metadata;
    Key { namespace: metadata.namespace.clone(), name: metadata.name.clone() }
}
