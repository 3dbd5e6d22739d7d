//! The task of one pod.

mod deadline;
mod down;
mod follow;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use berth_engine::model::{ContainerConfig, ContainerView, Network, SandboxView};
use berth_engine::{EngineEvent, Events, now};
use berth_types::error::chain;
use berth_types::lifecycle::sandbox;
use berth_types::{ContainerId, SandboxId};
use tokio::sync::{mpsc, oneshot};

use super::decide::{Action, Decision, History, Look, Phase, decide};
use super::health::{Health, Report};
use super::{
    Command, Key, Options, PodError, Pods, Progress, Then, again, files, image_volumes, pull, rotate, users,
};
use crate::manifest::Pod;
use crate::plan::{self, Place, Plan, Planned};
use crate::termination;

pub(crate) use down::there;

/// How long a pod waits before it tries again what the engine refused.
const RETRY: Duration = Duration::from_secs(10);
/// How long a pod that ended is kept for the client that read its output, which asks how it ended and removes it.
const LINGER: Duration = Duration::from_secs(10);

type Started = oneshot::Sender<Result<Arc<SandboxView>, PodError>>;

/// A pod and what is remembered of it.
pub(super) struct Task {
    pods: Pods,
    key: Key,
    pub(super) pod: Pod,
    pub(super) plan: Plan,
    pub(super) place: Place,
    options: Options,
    held: Option<String>,
    /// Whether a client reads the output, and removes the pod itself.
    attended: bool,
    /// When the pod, which has ended, is removed.
    removal: Option<i64>,
    /// The failed init container that was reported last.
    told: Option<ContainerId>,
    history: History,
    health: Health,
    /// When the pod is ended, since it has run for as long as it may.
    deadline: Option<i64>,
    /// Kept until its sandbox has them, which says so from then on.
    ids: Option<users::Ids>,
    /// The volumes without a name that were made for it.
    new_volumes: Vec<String>,
    /// The pod of this name that it goes on with, until it runs itself.
    before: Option<SandboxId>,
}

/// Why the task looks at its pod again.
enum Wake {
    Look,
    Report(Report),
    Command(Command),
    Closed,
}

impl Task {
    pub(super) fn new(pods: Pods, key: Key, pod: Pod, plan: Plan, place: Place, options: Options) -> Self {
        let held = options.hold.clone();
        let before = again::before(&plan.sandbox).and_then(|id| id.parse().ok());
        let attended = held.is_some() && !options.waits;
        let history = History::default();
        let health = Health::new(pods.inner.engine.clone(), pods.inner.health.clone());
        Self {
            pods,
            key,
            pod,
            plan,
            place,
            options,
            held,
            attended,
            removal: None,
            told: None,
            history,
            health,
            deadline: None,
            ids: None,
            new_volumes: Vec::new(),
            before,
        }
    }

    /// With ids that were chosen for its user namespace.
    pub(super) fn with_ids(self, ids: Option<users::Ids>) -> Self {
        Self { ids, ..self }
    }

    /// Starts the pod, and manages it to its end.
    pub(super) async fn play(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        watch: mpsc::Sender<Progress>,
        started: Started,
    ) {
        let mut events = self.pods.inner.engine.events();
        let id = match self.begin(&watch).await {
            Ok(id) => id,
            Err(e) => {
                // The name is free before the caller knows, so that it can try again.
                self.undo(None).await;
                drop(started.send(Err(e)));
                return;
            }
        };
        self.stay(id, &mut commands, &mut events, Some((started, watch))).await;
    }

    /// Goes on with a pod that an earlier daemon left.
    pub(super) async fn go_on(mut self, id: SandboxId, mut commands: mpsc::Receiver<Command>) {
        let mut events = self.pods.inner.engine.events();
        self.health.adopt();
        self.stay(id, &mut commands, &mut events, None).await;
    }

    async fn begin(&mut self, watch: &mpsc::Sender<Progress>) -> Result<SandboxId, PodError> {
        let engine = self.pods.inner.engine.clone();
        pull::images(&engine, &self.pod, &self.plan, &self.options, watch).await?;
        let had = std::mem::take(&mut self.options.image_volumes);
        self.pods.add_image_volumes(&mut self.plan, &self.place, &had)?;
        let _taken = self.pods.take_volumes(&self.plan.sandbox);
        self.new_volumes = self.pods.new_anonymous(&self.plan.sandbox);
        files::prepare(&self.pod, &self.plan, &self.place)?;
        self.pods.fill(&self.plan).await?;
        let id = engine
            .run_sandbox(self.plan.sandbox.clone())
            .await
            .map_err(PodError::engine("run the sandbox"))?;
        let view = engine.sandbox(id.as_str()).map_err(PodError::engine("look up the sandbox"))?;
        self.ids = None;
        if plan::needs_addresses(&self.pod) {
            self.place.addresses.clone_from(&view.addresses);
            let plan = plan::plan(&self.pod, &self.place)?;
            self.plan = Plan { sandbox: self.plan.sandbox.clone(), ..plan };
            let named = image_volumes::of(&self.plan.sandbox);
            image_volumes::add(&mut self.plan, &self.place, &named);
        }
        // Sent reliably: users need the address.
        drop(watch.send(Progress::Up(view)).await);
        Ok(id)
    }

    /// Looks, decides, acts; until the pod is taken down.
    async fn stay(
        &mut self,
        id: SandboxId,
        commands: &mut mpsc::Receiver<Command>,
        events: &mut Events,
        mut waiting: Option<(Started, mpsc::Sender<Progress>)>,
    ) {
        loop {
            let Ok(view) = self.pods.inner.engine.sandbox(id.as_str()) else {
                // Removed by another client: its files are removed too.
                self.take_away(None).await;
                return;
            };
            if self.is_overdue(&view) {
                if let Some((started, _)) = waiting.take() {
                    drop(started.send(Err(PodError::Deadline(self.key.name.clone()))));
                }
                if self.expire(&id, commands).await {
                    return;
                }
                continue;
            }
            self.health.look(&self.plan, &view, self.address(&view));
            let decision = self.look(&view);
            self.health.end_sidecars(&self.plan, &decision.ends);
            let outcome = self.act(&view, &decision, waiting.as_ref().map(|(_, watch)| watch)).await;
            if let Err(error) = outcome {
                match waiting.take() {
                    Some((started, _)) => {
                        self.undo(Some(&view)).await;
                        drop(started.send(Err(error)));
                        return;
                    }
                    None => tracing::warn!(pod = self.key.name, error = %chain(&error), "tried again later"),
                }
            } else if decision.actions.is_empty() && self.settle(&view, &decision.phase, &mut waiting).await {
                return;
            }
            if !decision.actions.is_empty() && waiting.is_some() {
                continue;
            }
            if let Some((_, watch)) = &waiting
                && decision.wake.is_some()
                && let Some(note) = self.init_failed(&view)
            {
                drop(watch.send(Progress::Note(note)).await);
            }
            match self.wait(&id, &decision, commands, events).await {
                Wake::Look => {}
                Wake::Report(report) => {
                    let note = self.health.take(&self.plan, report);
                    if let (Some(note), Some((_, watch))) = (note, &waiting) {
                        drop(watch.send(Progress::Note(note)).await);
                    }
                }
                Wake::Command(Command::Left) => self.attended = false,
                Wake::Command(Command::Release(name)) => {
                    if self.held.as_deref() == Some(&name) {
                        self.held = None;
                    }
                }
                Wake::Command(Command::Down(asked)) => {
                    if self.down(&id, commands, asked).await {
                        return;
                    }
                }
                Wake::Closed => return,
            }
        }
    }

    fn look(&mut self, view: &SandboxView) -> Decision {
        if view.state != sandbox::State::Ready {
            return Decision { actions: Vec::new(), ends: Vec::new(), wake: None, phase: Phase::Ended };
        }
        let marks = self.health.marks();
        let held = self.held.as_deref();
        decide(&self.plan, &Look { containers: &view.containers, held, marks, now: now() }, &mut self.history)
    }

    /// Where probes reach the pod.
    fn address(&self, view: &SandboxView) -> Option<IpAddr> {
        match view.config.namespaces.network {
            // As a kubelet, which gives such a pod the address of its node.
            Network::Host => self.place.node.addresses.first().copied().or(Some(Ipv4Addr::LOCALHOST.into())),
            Network::Pod | Network::None => view.addresses.first().copied(),
        }
    }

    async fn act(
        &mut self,
        view: &SandboxView,
        decision: &Decision,
        watch: Option<&mpsc::Sender<Progress>>,
    ) -> Result<(), PodError> {
        for action in &decision.actions {
            let container = match action {
                Action::Create { name, attempt } => self.create(view, name, *attempt).await?,
                Action::Start(id) => {
                    let engine = &self.pods.inner.engine;
                    let name =
                        view.containers.iter().find(|c| c.id == *id).map(|c| c.config.metadata.name.clone());
                    let what = format!("start container {}", name.unwrap_or_default());
                    engine.start_container(id).await.map_err(PodError::engine(what))?;
                    let started =
                        engine.container(id.as_str()).map_err(PodError::engine("look up the container"))?;
                    if let Some(planned) = self.plan.named(&started.config.metadata.name) {
                        self.health.started(planned, id);
                    }
                    started
                }
            };
            if let Some(watch) = watch {
                drop(watch.send(Progress::Container(container)).await);
            }
        }
        Ok(())
    }

    async fn create(
        &self,
        view: &SandboxView,
        name: &str,
        attempt: u32,
    ) -> Result<Arc<ContainerView>, PodError> {
        let engine = &self.pods.inner.engine;
        for old in view.containers.iter().filter(|c| c.config.metadata.name == name) {
            // The last end is kept to be looked at, as the kubelet keeps it.
            if old.config.metadata.attempt + 1 < attempt {
                engine
                    .remove_container(&old.id)
                    .await
                    .map_err(PodError::engine(format!("remove container {name}")))?;
                old.log_path.iter().for_each(|log| rotate::remove(log));
                termination::remove(&old.config);
            }
        }
        let planned = self.planned(name);
        let mut config = attempt_of(&self.configured(name).await?, attempt);
        self.go_on_with(view, &mut config);
        termination::make(&config)
            .map_err(|e| files::fault("its termination message", &self.place.dir, e.to_string()))?;
        let failed = || PodError::engine(format!("create container {name}"));
        let id = engine.create_container(&view.id, config).await.map_err(failed())?;
        let made = engine.container(id.as_str()).map_err(failed())?;
        if planned.non_root && made.user.uid == 0 {
            engine
                .remove_container(&id)
                .await
                .map_err(PodError::engine(format!("remove container {name}")))?;
            return Err(PodError::Root { container: name.to_owned() });
        }
        Ok(made)
    }

    pub(super) fn planned(&self, name: &str) -> &Planned {
        self.plan.named(name).expect("decide names containers of the plan")
    }

    /// Tells the caller the outcome, once. True when the pod has ended and is removed.
    async fn settle(
        &mut self,
        view: &Arc<SandboxView>,
        phase: &Phase,
        waiting: &mut Option<(Started, mpsc::Sender<Progress>)>,
    ) -> bool {
        if *phase != Phase::Starting {
            self.supersede().await;
        }
        match phase {
            Phase::Starting => false,
            Phase::Running => {
                if let Some((started, _)) = waiting.take() {
                    drop(started.send(Ok(view.clone())));
                }
                false
            }
            Phase::Failed { container, code } => {
                let Some((started, _)) = waiting.take() else { return false };
                let error = PodError::Init { container: container.clone(), code: *code };
                // It stays, so that its log can be read.
                drop(started.send(Err(error)));
                false
            }
            Phase::Ended => {
                if let Some((started, _)) = waiting.take() {
                    drop(started.send(Ok(view.clone())));
                }
                if !self.due() {
                    return false;
                }
                match self.end_sandbox(&view.id, Then::Goes).await {
                    Ok(()) => true,
                    Err(e) => {
                        tracing::warn!(pod = self.key.name, error = %chain(&e), "failed to remove a pod; trying again later");
                        false
                    }
                }
            }
        }
    }

    async fn wait(
        &mut self,
        id: &SandboxId,
        decision: &Decision,
        commands: &mut mpsc::Receiver<Command>,
        events: &mut Events,
    ) -> Wake {
        let wake = decision.wake.or(self.removal);
        let sleep = match wake.into_iter().chain(self.deadline).min() {
            Some(at) => Duration::from_nanos(u64::try_from(at.saturating_sub(now())).unwrap_or(0)),
            None => Duration::from_secs(24 * 3600),
        };
        // What was refused is tried again; else only events and requests matter.
        let sleep = if decision.actions.is_empty() || wake.is_some() { sleep } else { sleep.min(RETRY) };
        let until = tokio::time::Instant::now() + sleep;
        let until = self.health.wake().map_or(until, |wake| wake.min(until));
        let mut timer = std::pin::pin!(tokio::time::sleep_until(until));
        loop {
            tokio::select! {
                () = &mut timer => return Wake::Look,
                report = self.health.next() => return Wake::Report(report),
                command = commands.recv() => return command.map_or(Wake::Closed, Wake::Command),
                event = events.next() => match event {
                    None => return Wake::Closed,
                    Some(stamped) if concerns(&stamped.event, id) => return Wake::Look,
                    Some(_) => {}
                },
            }
        }
    }

    /// Whether the pod, which has ended, is to be removed now; else `removal` says when.
    fn due(&mut self) -> bool {
        if !self.options.remove || self.attended {
            return false;
        }
        let delay = if self.options.hold.is_some() { LINGER } else { Duration::ZERO };
        let now = now();
        let due = now >= *self.removal.get_or_insert(after(now, delay));
        if due {
            // When it cannot be removed now.
            self.removal = Some(after(now, RETRY));
        }
        due
    }

    /// What to say of an init container that failed and will be tried again; nothing when that was reported.
    fn init_failed(&mut self, view: &SandboxView) -> Option<String> {
        let init = |c: &&Arc<ContainerView>| {
            self.plan.init.iter().any(|p| p.config.metadata.name == c.config.metadata.name)
        };
        let failed = |c: &Arc<ContainerView>| c.exit.as_ref().map(|exit| exit.code).filter(|code| *code != 0);
        let last = view.containers.iter().filter(init).max_by_key(|c| c.created_at)?;
        let code = failed(last)?;
        if self.told.replace(last.id.clone()).as_ref() == Some(&last.id) {
            return None;
        }
        let name = &last.config.metadata.name;
        Some(format!(
            "init container {name} failed with status {code}, trying again (berth logs {}/{name})",
            self.key.name
        ))
    }
}

/// The configuration of a further attempt: its own number, its own log.
fn attempt_of(first: &ContainerConfig, attempt: u32) -> ContainerConfig {
    let mut config = first.clone();
    config.metadata.attempt = attempt;
    termination::of_attempt(&mut config, attempt);
    config.log_path = config.log_path.map(|path| path.with_file_name(format!("{attempt}.log")));
    config
}

fn concerns(event: &EngineEvent, id: &SandboxId) -> bool {
    match event {
        EngineEvent::Sandbox { now, .. } => now.id == *id,
        EngineEvent::SandboxRemoved(removed) => removed == id,
        EngineEvent::Container { now, .. } => now.sandbox == *id,
        EngineEvent::ContainerRemoved { sandbox, .. } => sandbox == id,
        EngineEvent::Resync => true,
    }
}

fn after(at: i64, wait: Duration) -> i64 {
    at.saturating_add(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX))
}
