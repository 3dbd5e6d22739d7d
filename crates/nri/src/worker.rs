//! What is done in the queue: one job after the other, and in each one plugin after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use berth_engine::Engine;
use berth_engine::model::ContainerView;
use berth_types::lifecycle::container::State;
use prost::Message;
use tokio::sync::{OwnedRwLockWriteGuard, mpsc, oneshot};
use tokio::time::timeout;

use crate::api::{
    Container, ContainerAdjustment, ContainerEviction, CreateContainerRequest, CreateContainerResponse,
    Event, LinuxResources, PluginInstance, StopContainerResponse, UpdateContainerResponse,
    UpdateContainersRequest, UpdateContainersResponse, ValidateContainerAdjustmentRequest,
    ValidateContainerAdjustmentResponse,
};
use crate::connection::{Call, CallError};
use crate::event;
use crate::merge::{MAX_UPDATES, Merge};
use crate::plugin::{self, About, JoinError, Plugin};
use crate::service::{NriError, Service};
use crate::subject;
use crate::updates::{Failure, Pending};

/// What comes of a job.
pub(crate) type Answer<T> = Result<T, NriError>;

/// Something to do.
#[derive(Debug)]
pub(crate) enum Job {
    /// Tell plugins of something.
    Tell(Event, Box<About>, oneshot::Sender<Answer<()>>),
    /// Ask them for what they want of a container that is created.
    Create(Box<CreateContainerRequest>, oneshot::Sender<Answer<Created>>),
    /// Ask them for what they want of a change of a container's limits.
    Update(Box<About>, oneshot::Sender<Answer<Changed>>),
    /// Tell a new plugin of all there is, and take it in. Nothing new is created while the guard lives.
    Join(Plugin, OwnedRwLockWriteGuard<()>, oneshot::Sender<Result<(), JoinError>>),
}

/// What plugins want of a container that is created.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) adjust: Box<ContainerAdjustment>,
    /// Of other containers.
    pub(crate) updates: Pending,
    pub(crate) evictions: Vec<ContainerEviction>,
    /// The container as the last one would see it.
    pub(crate) seen: Box<Container>,
}

/// What plugins want of a change of limits.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) resources: LinuxResources,
    /// Of other containers.
    pub(crate) updates: Pending,
    pub(crate) evictions: Vec<ContainerEviction>,
}

/// Does the jobs.
pub(crate) struct Worker {
    service: Service,
    engine: Engine,
    queue: mpsc::Receiver<Job>,
    /// In the order in which they are asked.
    plugins: Vec<Plugin>,
}

impl Worker {
    pub(crate) fn new(service: Service, engine: Engine, queue: mpsc::Receiver<Job>) -> Self {
        Self { service, engine, queue, plugins: Vec::new() }
    }

    /// Works as long as the daemon does.
    pub(crate) async fn run(mut self) {
        while let Some(job) = self.queue.recv().await {
            self.plugins.retain(|plugin| !plugin.connection().has_ended());
            // Those that asked may have gone.
            match job {
                Job::Tell(event, about, reply) => drop(reply.send(self.tell(event, &about).await)),
                Job::Create(request, reply) => drop(reply.send(self.create(*request).await)),
                Job::Update(about, reply) => drop(reply.send(self.update(*about).await)),
                Job::Join(plugin, unseen, reply) => {
                    drop(reply.send(self.join(plugin).await));
                    drop(unseen);
                }
            }
        }
    }

    /// Those that want to be called for this, and are still there.
    fn wanting(&self, event: Event) -> impl Iterator<Item = &Plugin> {
        let is_there = |plugin: &&Plugin| !plugin.connection().has_ended();
        self.plugins.iter().filter(is_there).filter(move |plugin| plugin.wants(event))
    }

    async fn tell(&self, event: Event, about: &About) -> Answer<()> {
        let mut wanted = Merge::default();
        let mut first = Ok(());
        for plugin in self.wanting(event) {
            let told = if event == Event::StopContainer {
                let answered = plugin.tell(event, about).await;
                answered.map(|StopContainerResponse { update }| update)
            } else {
                plugin.tell(event, about).await.map(|crate::api::Empty {}| Vec::new())
            };
            let merged = match said(plugin, event, told) {
                Ok(updates) => wanted
                    .update(updates.unwrap_or_default(), &plugin.identity.to_string())
                    .map_err(Into::into),
                Err(error) => Err(error),
            };
            if let Err(error) = merged {
                first = first.and(Err(error));
                // What may be refused does not happen, and nobody else needs to know.
                if may_be_refused(event) {
                    break;
                }
            }
        }
        let updates = wanted.updates();
        if !updates.is_empty() {
            let pending = self.service.update(updates, None).await;
            tokio::spawn(async move {
                if let Err(error) = pending.done().await {
                    let error = berth_types::error::chain(&error);
                    tracing::warn!(error, "an update that an NRI plugin wants failed");
                }
            });
        }
        first
    }

    async fn create(&self, mut request: CreateContainerRequest) -> Answer<Created> {
        let event = Event::CreateContainer;
        let mut seen = request.container.clone().unwrap_or_default();
        let pristine = seen.clone();
        let mut wanted = Merge::of_creation(&seen.id);
        for plugin in self.wanting(event) {
            request.container = Some(seen.clone());
            let answered = plugin.call(event, &request).await;
            let answered: Option<CreateContainerResponse> = said(plugin, event, answered)?;
            let Some(CreateContainerResponse { adjust, update, evict }) = answered else { continue };
            let name = plugin.identity.to_string();
            wanted.adjust(adjust.unwrap_or_default(), &mut seen, &name)?;
            wanted.update(update, &name)?;
            wanted.evict(evict, &name)?;
        }
        request.container = Some(pristine);
        self.validate(request, &wanted).await?;
        let (adjust, evictions) = (Box::new(wanted.adjust.clone()), std::mem::take(&mut wanted.evictions));
        let updates = self.service.update(wanted.updates(), None).await;
        Ok(Created { adjust, updates, evictions, seen: Box::new(seen) })
    }

    /// Asks those that judge what the others want. One that fails has not agreed.
    async fn validate(&self, request: CreateContainerRequest, wanted: &Merge) -> Answer<()> {
        let event = Event::ValidateContainerAdjustment;
        if self.wanting(event).next().is_none() {
            return Ok(());
        }
        let asked = self.wanting(Event::CreateContainer).map(|plugin| &plugin.identity);
        let request = ValidateContainerAdjustmentRequest {
            pod: request.pod,
            container: request.container,
            adjust: Some(wanted.adjust.clone()),
            update: wanted.updates(),
            owners: Some(wanted.owners.message()),
            plugins: asked
                .map(|of| PluginInstance { name: of.name.clone(), index: of.index.clone() })
                .collect(),
        };
        for plugin in self.wanting(event) {
            let answered = plugin.call(event, &request).await;
            let why = match answered {
                Ok(ValidateContainerAdjustmentResponse { reject: false, .. }) => continue,
                Ok(ValidateContainerAdjustmentResponse { reason, .. }) => reason,
                Err(CallError::Unimplemented(_)) => continue,
                Err(error) => error.to_string(),
            };
            return Err(refused(plugin, event, why));
        }
        Ok(())
    }

    async fn update(&self, mut about: About) -> Answer<Changed> {
        let event = Event::UpdateContainer;
        let id = about.container.as_ref().map(|container| container.id.clone()).unwrap_or_default();
        let mut wanted = Merge::of_update(&id, about.resources.take().unwrap_or_default());
        for plugin in self.wanting(event) {
            about.resources = Some(wanted.resources_of(&id));
            let answered = plugin.call(event, &about).await;
            let answered: Option<UpdateContainerResponse> = said(plugin, event, answered)?;
            let Some(UpdateContainerResponse { update, evict }) = answered else { continue };
            let name = plugin.identity.to_string();
            wanted.update(update, &name)?;
            wanted.evict(evict, &name)?;
        }
        let (resources, evictions) = (wanted.resources_of(&id), std::mem::take(&mut wanted.evictions));
        let updates = self.service.update(wanted.updates_but(&id), None).await;
        Ok(Changed { resources, updates, evictions })
    }

    /// Tells a plugin of all there is, and takes it in.
    async fn join(&mut self, plugin: Plugin) -> Result<(), JoinError> {
        let pods = self.engine.sandboxes(None).iter().map(|view| subject::pod(view)).collect();
        let containers = self.engine.containers(None);
        self.service.forget_all_but(&containers);
        // Those that have ended use nothing, and get no limits any more.
        let lives =
            |view: &&Arc<ContainerView>| !matches!(view.state, State::Exited | State::Removing | State::Gone);
        let containers = containers.iter().filter(lives).map(|view| self.service.container(view)).collect();
        let name = plugin.identity.to_string();
        let answer = plugin.synchronize(pods, containers).await?;
        tracing::info!(plugin = name, "an NRI plugin is connected and synchronised");
        let mut wanted = Merge::default();
        match wanted.update(answer.update, &name) {
            Ok(()) => {
                let pending = self.service.update(wanted.updates(), None).await;
                tokio::spawn(async move {
                    if let Err(error) = pending.done().await {
                        let error = berth_types::error::chain(&error);
                        tracing::warn!(plugin = name, error, "an update that a new NRI plugin wants failed");
                    }
                });
            }
            Err(error) => tracing::warn!(plugin = name, %error, "what a new NRI plugin wants is not done"),
        }
        let place = self.plugins.partition_point(|other| other.identity.index <= plugin.identity.index);
        self.plugins.insert(place, plugin);
        Ok(())
    }
}

/// Whether it does not happen when a plugin refuses it.
fn may_be_refused(event: Event) -> bool {
    matches!(event, Event::RunPodSandbox | Event::UpdatePodSandbox | Event::StartContainer)
}

fn refused(plugin: &Plugin, event: Event, why: String) -> NriError {
    NriError::Refused { plugin: plugin.identity.to_string(), what: event::method(event), why }
}

/// What a plugin said; None when it said nothing, as one that is disconnected since.
fn said<T>(plugin: &Plugin, event: Event, answered: Result<T, CallError>) -> Answer<Option<T>> {
    match answered {
        Ok(answer) => Ok(Some(answer)),
        Err(CallError::Unimplemented(_)) => Ok(None),
        Err(error) if error.is_fatal() => {
            tracing::warn!(
                plugin = %plugin.identity,
                call = event::method(event),
                error = berth_types::error::chain(&error),
                "an NRI plugin is disconnected"
            );
            Ok(None)
        }
        Err(error) => Err(refused(plugin, event, error.to_string())),
    }
}

/// Serves a plugin that connected to its end; answers when it is taken in. `held` goes with it.
pub(crate) async fn serve(
    service: Service,
    stream: tokio::net::UnixStream,
    version: String,
    held: impl Send + 'static,
) -> Result<(), JoinError> {
    let (plugin, calls) = Plugin::join(stream, None, String::new(), &version).await?;
    take(service, plugin, calls, held).await
}

/// Takes in a plugin that is configured, and serves it to its end.
pub(crate) async fn take(
    service: Service,
    plugin: Plugin,
    calls: mpsc::Receiver<Call>,
    held: impl Send + 'static,
) -> Result<(), JoinError> {
    // From here on containers that are created wait for it.
    service.shared().plugins.fetch_add(1, Ordering::AcqRel);
    let joined = take_in(&service, plugin.clone()).await;
    if let Err(error) = joined {
        plugin.connection().end(&berth_types::error::chain(&error));
        service.shared().plugins.fetch_sub(1, Ordering::AcqRel);
        return Err(error);
    }
    tokio::spawn(async move {
        let why = answer_calls(&service, &plugin, calls).await;
        service.shared().plugins.fetch_sub(1, Ordering::AcqRel);
        tracing::info!(plugin = %plugin.identity, why, "an NRI plugin is gone");
        drop(held);
    });
    Ok(())
}

async fn take_in(service: &Service, plugin: Plugin) -> Result<(), JoinError> {
    let gone = |why: &str| JoinError::Gone(why.to_owned());
    let engine = service.engine().map_err(|e| gone(&e.to_string()))?;
    // New creations wait behind this: the slowest one that is there does not keep them waiting for longer.
    let paused = tokio::select! {
        paused = timeout(plugin::PAUSE_LIMIT, engine.pause_creation()) => paused,
        why = plugin.connection().ended() => return Err(gone(&why)),
    };
    let unseen = paused.map_err(|_| JoinError::Busy)?;
    let (reply, joined) = oneshot::channel();
    service.ask(Job::Join(plugin, unseen, reply)).map_err(|e| gone(&e.to_string()))?;
    joined.await.unwrap_or_else(|_| Err(gone("the service has ended")))
}

/// Answers a plugin's own calls until it is gone; gives the reason.
async fn answer_calls(service: &Service, plugin: &Plugin, mut calls: mpsc::Receiver<Call>) -> String {
    let connection = plugin.connection();
    loop {
        let call = tokio::select! {
            call = calls.recv() => call,
            why = connection.ended() => return why,
        };
        let Some(call) = call else { return connection.ended().await };
        if !plugin::is(&call, "UpdateContainers") {
            connection.answer(&call, Err(plugin::not_yet(&call))).await;
            continue;
        }
        let answer = match UpdateContainersRequest::decode(call.request.payload.as_slice()) {
            Ok(request) if request.update.len().max(request.evict.len()) > MAX_UPDATES => {
                Err(plugin::refused(&format!("more than {MAX_UPDATES} updates or evictions")))
            }
            Ok(request) => Ok(update_containers(service, plugin, request).await.encode_to_vec()),
            Err(error) => Err(plugin::refused(&error.to_string())),
        };
        connection.answer(&call, answer).await;
    }
}

async fn update_containers(
    service: &Service,
    plugin: &Plugin,
    request: UpdateContainersRequest,
) -> UpdateContainersResponse {
    let pending = service.update(request.update, Some(plugin.connection())).await;
    let mut failed = Vec::new();
    for Failure { update, error } in pending.failures().await.unwrap_or_default() {
        let error = berth_types::error::chain(&error);
        tracing::warn!(plugin = %plugin.identity, error, "an update that an NRI plugin asked for failed");
        if !update.ignore_failure {
            failed.push(update);
        }
    }
    if !plugin.connection().has_ended() {
        service.evict(request.evict);
    }
    UpdateContainersResponse { failed }
}
