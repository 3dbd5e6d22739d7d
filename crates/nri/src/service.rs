//! The engine's seam: what happens to pods and containers goes into one queue, in which one plugin after the other is asked.
//! See docs/adr/0099.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use berth_engine::model::{ContainerView, Resources};
use berth_engine::seams::{Adjust, Adjustable, Adjusted, Heard, Limits, Moment, Subject, What};
use berth_engine::{Engine, EngineError};
use berth_types::lifecycle::container::State;
use berth_types::{Classify, ContainerId, Kind};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::api::{Container, ContainerEviction, ContainerUpdate, CreateContainerRequest, Event};
use crate::connection::Connection;
use crate::merge::MAX_UPDATES;
use crate::plugin::About;
use crate::updates::{self, Batch, Pending};
use crate::worker::{Answer, Created, Job, Worker};
use crate::{apply, launch, listen, subject};

/// Jobs that wait; each takes the time of a request for each plugin at most.
const MAX_JOBS: usize = 4096;

/// Where plugins come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where plugins connect; None lets none.
    pub socket: Option<PathBuf>,
    /// Plugins that are started.
    pub plugin_dir: PathBuf,
    /// Their configurations.
    pub config_dir: PathBuf,
    /// The version of Berth, for plugins.
    pub version: String,
}

/// Why something does not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NriError {
    /// A plugin refuses.
    #[error("NRI plugin {plugin} refuses {what}: {why}")]
    Refused {
        /// Which.
        plugin: String,
        /// What.
        what: &'static str,
        /// Its words.
        why: String,
    },
    /// Plugins want what does not go together.
    #[error(transparent)]
    Merge(#[from] crate::merge::MergeError),
    /// A container that plugins want changed cannot be.
    #[error("NRI: update of container {container}")]
    Update {
        /// Which.
        container: String,
        /// Why.
        source: EngineError,
    },
    /// Too much waits.
    #[error("NRI: more than {MAX_JOBS} requests wait for plugins")]
    Full,
    /// The daemon ends.
    #[error("NRI: the service has ended")]
    Ended,
}

impl Classify for NriError {
    fn kind(&self) -> Kind {
        match self {
            NriError::Refused { .. } | NriError::Merge(_) => Kind::Precondition,
            NriError::Update { source, .. } => source.kind(),
            NriError::Full => Kind::Exhausted,
            NriError::Ended => Kind::Unavailable,
        }
    }
}

impl From<NriError> for EngineError {
    fn from(error: NriError) -> Self {
        EngineError::failed("ask the plugins", error)
    }
}

/// The service. Clones share it.
#[derive(Debug, Clone)]
pub struct Service(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    jobs: mpsc::Sender<Job>,
    /// What plugins want of containers that there are, in its order.
    updates: mpsc::Sender<Batch>,
    /// The other ends, until the service starts.
    queues: Mutex<Option<(mpsc::Receiver<Job>, mpsc::Receiver<Batch>)>>,
    engine: OnceLock<Engine>,
    /// Plugins that are taken in or are about to be.
    pub(crate) plugins: AtomicUsize,
    /// Places for containers that are being ended.
    evictions: Arc<Semaphore>,
    /// Containers as plugins know them: with what they themselves changed.
    known: Mutex<BTreeMap<String, Container>>,
}

/// The socket, which is there.
#[derive(Debug)]
pub struct Bound {
    _socket: Option<listen::Socket>,
}

impl Service {
    /// Nothing runs yet, and nobody listens.
    #[allow(clippy::new_without_default, reason = "it is one of a daemon's parts, not a value")]
    pub fn new() -> Self {
        let (jobs, queue) = mpsc::channel(MAX_JOBS);
        let (updates, batches) = mpsc::channel(updates::MAX_BATCHES);
        Self(Arc::new(Shared {
            jobs,
            updates,
            queues: Mutex::new(Some((queue, batches))),
            engine: OnceLock::new(),
            plugins: AtomicUsize::new(0),
            evictions: Arc::new(Semaphore::new(MAX_UPDATES)),
            known: Mutex::default(),
        }))
    }

    /// Starts the plugins of the directory, waits until they are taken in or refused, and lets others connect.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub async fn start(&self, engine: &Engine, settings: &Settings) -> std::io::Result<Bound> {
        drop(self.0.engine.set(engine.clone()));
        let queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((queue, batches)) = queues {
            tokio::spawn(updates::run(self.clone(), batches));
            tokio::spawn(Worker::new(self.clone(), engine.clone(), queue).run());
        }
        launch::all(self, settings).await;
        let Some(path) = &settings.socket else { return Ok(Bound { _socket: None }) };
        let socket = listen::bind(path)?;
        socket.serve(self.clone(), settings.version.clone());
        Ok(Bound { _socket: Some(socket) })
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }

    /// The engine, once the service was started.
    pub(crate) fn engine(&self) -> Result<&Engine, NriError> {
        self.0.engine.get().ok_or(NriError::Ended)
    }

    /// Puts a job at the end of the queue, without waiting.
    pub(crate) fn ask(&self, job: Job) -> Result<(), NriError> {
        self.0.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NriError::Full,
            mpsc::error::TrySendError::Closed(_) => NriError::Ended,
        })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Container>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets containers that there are no longer: they went while there was no plugin.
    pub(crate) fn forget_all_but(&self, there: &[Arc<ContainerView>]) {
        self.known().retain(|id, _| there.iter().any(|view| view.id.as_str() == id));
    }

    /// A container as plugins know it, as it is now.
    pub(crate) fn container(&self, view: &ContainerView) -> Container {
        let known = self.known().get(view.id.as_str()).cloned();
        let mut seen = known.unwrap_or_else(|| subject::container(view));
        subject::refresh(&mut seen, view);
        seen
    }

    /// Puts in changes that plugins want of containers that there are, behind those that they wanted before.
    pub(crate) async fn update(&self, updates: Vec<ContainerUpdate>, by: Option<&Connection>) -> Pending {
        if updates.is_empty() {
            return Pending::nothing();
        }
        let (batch, pending) = Batch::new(updates, by.cloned());
        // Without the other end nothing is made, which those who wait see.
        drop(self.0.updates.send(batch).await);
        pending
    }

    /// Makes one change. One of a container that has ended or is not there any more has nothing to do.
    pub(crate) async fn update_one(&self, update: &ContainerUpdate) -> Result<(), NriError> {
        let failed = |source| NriError::Update { container: update.container_id.clone(), source };
        let engine = self.engine()?;
        let wanted = update.linux.clone().and_then(|linux| linux.resources).unwrap_or_default();
        let mut change = Resources::default();
        apply::update(&wanted, &mut change).map_err(|refused| failed(refused.into()))?;
        let view = match engine.container(&update.container_id) {
            Err(error) if error.kind() == Kind::NotFound => return Ok(()),
            found => found.map_err(failed)?,
        };
        if change == Resources::default() {
            return Ok(());
        }
        match engine.set_resources(&view.id, change).await {
            Err(error) if !has_ended(engine, &view.id, &error) => Err(failed(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Ends containers that plugins want ended.
    pub(crate) fn evict(&self, evictions: Vec<ContainerEviction>) {
        for ContainerEviction { container_id, reason } in evictions {
            let Ok(place) = Arc::clone(&self.0.evictions).try_acquire_owned() else {
                let container = container_id;
                tracing::warn!(container, "too many containers that NRI plugins want ended are being ended");
                continue;
            };
            let service = self.clone();
            tokio::spawn(async move {
                let _place = place;
                let ended = async {
                    let engine = service.engine()?;
                    let failed = |source| NriError::Update { container: container_id.clone(), source };
                    let view = engine.container(&container_id).map_err(failed)?;
                    tracing::info!(
                        container = view.id.short(),
                        reason,
                        "an NRI plugin has a container ended"
                    );
                    engine.stop_container(&view.id, EVICTION_GRACE).await.map_err(failed)
                };
                if let Err(error) = ended.await {
                    let error = berth_types::error::chain(&error);
                    tracing::warn!(
                        container = container_id,
                        error,
                        "a container that an NRI plugin wants ended goes on"
                    );
                }
            });
        }
    }
}

/// Whether limits could not be set since nothing runs there any more. One whose shim does not answer may run.
fn has_ended(engine: &Engine, id: &ContainerId, error: &EngineError) -> bool {
    let Ok(view) = engine.container(id.as_str()) else { return true };
    match view.state {
        State::Exited | State::Removing | State::Gone | State::Stopping { .. } => true,
        State::Unknown => false,
        // Its pod is being stopped.
        State::Creating | State::Created | State::Starting | State::Running => {
            matches!(error, EngineError::Refused { .. })
        }
    }
}

/// The time that a container has to end by itself when a plugin wants it ended.
const EVICTION_GRACE: std::time::Duration = std::time::Duration::from_secs(30);

async fn answer<T>(receiver: oneshot::Receiver<Answer<T>>) -> Result<T, NriError> {
    receiver.await.unwrap_or(Err(NriError::Ended))
}

impl Adjust for Service {
    fn listens(&self) -> bool {
        self.0.plugins.load(Ordering::Acquire) > 0
    }

    fn adjust<'a>(&'a self, subject: Subject<'a>, mut made: Adjustable) -> Adjusted<'a> {
        Box::pin(async move {
            let pod = self.engine()?.sandbox(subject.sandbox.as_str())?;
            let container = subject::creating(&subject, &made);
            let id = container.id.clone();
            self.known().insert(id.clone(), container.clone());
            let request =
                CreateContainerRequest { pod: Some(subject::pod(&pod)), container: Some(container) };
            let (reply, created) = oneshot::channel();
            self.ask(Job::Create(Box::new(request), reply))?;
            let Created { adjust, updates, evictions, seen } = answer(created).await?;
            apply::apply(&adjust, &mut made, subject.sandbox_config.namespaces.user.is_some())?;
            self.known().insert(id, *seen);
            updates.done().await?;
            self.evict(evictions);
            Ok(made)
        })
    }

    fn limits<'a>(&'a self, view: &'a ContainerView, asked: Resources) -> Limits<'a> {
        Box::pin(async move {
            let pod = self.engine()?.sandbox(view.sandbox.as_str())?;
            let about = About {
                pod: Some(subject::pod(&pod)),
                container: Some(self.container(view)),
                resources: Some(subject::resources(&asked)),
            };
            let (reply, changed) = oneshot::channel();
            self.ask(Job::Update(Box::new(about), reply))?;
            let changed = answer(changed).await?;
            let mut limits = asked;
            apply::update(&changed.resources, &mut limits).map_err(EngineError::from)?;
            changed.updates.done().await?;
            self.evict(changed.evictions);
            Ok(limits)
        })
    }

    fn undone(&self, container: &ContainerId) {
        let Some(seen) = self.known().remove(container.as_str()) else { return };
        let pod = self.engine().ok().and_then(|engine| engine.sandbox(&seen.pod_sandbox_id).ok());
        let about = About { pod: pod.map(|pod| subject::pod(&pod)), container: Some(seen), resources: None };
        for event in [Event::StopContainer, Event::RemoveContainer] {
            let (reply, _) = oneshot::channel();
            drop(self.ask(Job::Tell(event, Box::new(about.clone()), reply)));
        }
    }

    fn hear(&self, moment: Moment<'_>) -> Option<Heard> {
        let event = match moment.what {
            What::PodUp => Event::RunPodSandbox,
            What::PodChanges => Event::UpdatePodSandbox,
            What::PodChanged => Event::PostUpdatePodSandbox,
            What::PodDown => Event::StopPodSandbox,
            What::PodRemoved => Event::RemovePodSandbox,
            What::Created => Event::PostCreateContainer,
            What::Starts => Event::StartContainer,
            What::Started => Event::PostStartContainer,
            What::Changed => Event::PostUpdateContainer,
            What::Ended => Event::StopContainer,
            What::Removed => Event::RemoveContainer,
        };
        let resources = moment.resources.filter(|_| moment.what == What::PodChanges).map(subject::resources);
        let container = moment.container.map(|view| self.container(view));
        if let (What::Removed, Some(view)) = (moment.what, moment.container) {
            self.known().remove(view.id.as_str());
        }
        let about = Box::new(About { pod: Some(subject::pod(moment.pod)), container, resources });
        let (reply, told) = oneshot::channel();
        let asked = self.ask(Job::Tell(event, about, reply));
        if let Err(error) = &asked {
            tracing::warn!(call = crate::event::method(event), %error, "NRI plugins are not told of something");
        }
        Some(Box::pin(async move {
            asked?;
            Ok(answer(told).await?)
        }))
    }
}
