//! Creating a container: image, snapshot, plan, cgroup, and the process up to just before its execve.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_container::plan;
use berth_image::{Image, Snapshot};
use berth_sys::cgroup::CgroupPath;
use berth_types::lifecycle::container::Event;
use berth_types::lifecycle::sandbox;
use berth_types::shim::{self, Answer, PidSpace, Request};
use berth_types::{Classify, ContainerId, Kind, SandboxId};

use super::container::{Container, Facts, exit_view};
use super::owner::{Owner, PodCgroups};
use super::up::text;
use super::{Report, Waiter, network_files};
use crate::clock;
use crate::config::CgroupDriver;
use crate::error::EngineError;
use crate::model::{ContainerConfig, ContainerUser, PidMode, SandboxConfig};
use crate::oci::{self, devices, mounts, propagation, resources, signal};
use crate::record::{self, ContainerRecord, Phase, UserRecord};
use crate::shared::Shared;
use crate::shim::Shim;
use crate::stages::Timeline;
use crate::undo::Undo;

/// The time that a shim has to prepare a container.
const CREATE_LIMIT: Duration = Duration::from_secs(60);

/// A container that is prepared.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) facts: Facts,
    pub(crate) pid: i32,
}

impl Owner {
    /// Somebody asks for a container.
    pub(crate) fn create(&mut self, config: ContainerConfig, reply: Waiter<ContainerId>) {
        let shim = match (self.state, &self.link.shim) {
            (sandbox::State::Ready, Some(shim)) => shim.clone(),
            (state, _) => {
                // Nothing lives in it and nothing can be made in it: a new one can be had for the asking.
                if state == sandbox::State::Ready && !self.containers.values().any(in_use) {
                    self.end_without_shim("the pod's shim does not answer");
                }
                let refused = berth_types::lifecycle::Refused {
                    thing: "pod sandbox",
                    event: "create a container in",
                    state: self.state.word(),
                };
                let id = self.id.short().to_owned();
                self.answer(reply, Err(EngineError::Refused { thing: "pod sandbox", id, refused }));
                return;
            }
        };
        let known = self.containers.values_mut().find(|c| c.config.metadata == config.metadata);
        if let Some(container) = known {
            match join(container, &config) {
                Ok(()) => match &mut container.work.creating {
                    Some(waiters) => waiters.push(reply),
                    None => {
                        let id = container.id.clone();
                        self.answer(reply, Ok(id));
                    }
                },
                Err(error) => self.answer(reply, Err(error)),
            }
            return;
        }
        let id = ContainerId::from_random(crate::random::bytes());
        let config = Arc::new(config);
        let name = &config.metadata.name;
        let before = self.containers.values().filter(|c| c.config.metadata.name == *name);
        let created_at = clock::after(before.map(|c| c.created_at).max());
        let container = Container::creating(id.clone(), Arc::clone(&config), created_at, reply);
        let work = Work {
            shared: Arc::clone(&self.desk.shared),
            sandbox_id: self.id.clone(),
            sandbox: Arc::clone(&self.config),
            cgroups: self.cgroups.clone(),
            shim,
            id: id.clone(),
            config,
            created_at: container.created_at,
            timeline: Timeline::begin(),
        };
        self.containers.insert(id.clone(), container);
        self.desk.spawn(async move { Report::Created(id, work.run().await.map(Box::new)) });
    }

    /// The creation of a container is over.
    pub(crate) fn is_created(&mut self, id: &ContainerId, result: Result<Box<Made>, EngineError>) {
        let ready = self.state == sandbox::State::Ready;
        let Some(container) = self.containers.get_mut(id) else { return };
        let waiters = container.work.creating.take().unwrap_or_default();
        match result {
            Ok(made) => {
                container.apply(Event::CreateOk).expect("only one creation is in flight");
                container.pid = Some(made.pid);
                container.facts = Some(Arc::new(made.facts));
                if let Some(exit) = container.work.ended.take() {
                    self.end(id, exit_view(&exit, true));
                }
                if ready {
                    self.answer_all(waiters, &Ok(id.clone()));
                    return;
                }
                // The sandbox was stopped meanwhile, and its teardown ends this container with the rest.
                let refused = berth_types::lifecycle::Refused {
                    thing: "pod sandbox",
                    event: "create a container in",
                    state: self.state.word(),
                };
                let error =
                    EngineError::Refused { thing: "pod sandbox", id: self.id.short().to_owned(), refused };
                self.answer_all(waiters, &Err(error));
            }
            Err(error) => {
                self.containers.remove(id);
                // A shim that has hung is of no use to anybody; where nothing lives, a new pod is.
                let hung = error.kind() == Kind::Timeout && !self.containers.values().any(in_use);
                if hung && ready {
                    self.end_without_shim("the pod's shim does not answer");
                }
                self.answer_all(waiters, &Err(error));
            }
        }
    }
}

/// The path as one below a directory, as a leading slash means to the field's runtimes; None when it leads
/// out of it or names nothing.
fn inside(path: &Path) -> Option<&Path> {
    let path = path.strip_prefix("/").unwrap_or(path);
    let named = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    (named && path.file_name().is_some()).then_some(path)
}

/// Whether something of a container lives or is being made.
fn in_use(container: &Container) -> bool {
    container.alive() || container.work.creating.is_some()
}

/// Whether a request for a container of the same name and attempt is the same request.
fn join(container: &Container, config: &ContainerConfig) -> Result<(), EngineError> {
    use berth_types::lifecycle::container::State;
    let taken = |how| EngineError::AlreadyExists {
        thing: "container",
        identity: format!("{} (attempt {})", config.metadata.name, config.metadata.attempt),
        id: container.id.short().to_owned(),
        how,
    };
    match container.state {
        _ if *container.config != *config => Err(taken("with another configuration")),
        State::Removing | State::Gone => Err(taken("and is being removed")),
        State::Creating
        | State::Created
        | State::Starting
        | State::Running
        | State::Stopping { .. }
        | State::Exited
        | State::Unknown => Ok(()),
    }
}

/// The group of a container in its pod's.
pub(crate) fn cgroup(
    shared: &Shared,
    parent: &CgroupPath,
    id: &ContainerId,
) -> Result<CgroupPath, EngineError> {
    let failed = |e| EngineError::failed("name the container's cgroup", e);
    let base = parent.as_str().rsplit('/').next().unwrap_or_default();
    if shared.config.cgroup_driver == CgroupDriver::Systemd && base.ends_with(".slice") {
        return berth_sys::cgroup::systemd::scope_path(base, "cri-berth", id.as_str()).map_err(failed);
    }
    parent.child(id.as_str()).map_err(failed)
}

struct Work {
    shared: Arc<Shared>,
    sandbox_id: SandboxId,
    sandbox: Arc<SandboxConfig>,
    cgroups: PodCgroups,
    shim: Shim,
    id: ContainerId,
    config: Arc<ContainerConfig>,
    created_at: i64,
    timeline: Timeline,
}

/// What the shim is sent.
struct Prepared {
    facts: Facts,
    plan: Vec<u8>,
    fds: Vec<OwnedFd>,
    cgroup_dirs: Vec<PathBuf>,
}

impl Work {
    async fn run(self) -> Result<Made, EngineError> {
        let mut undo = Undo::new();
        match self.steps(&mut undo).await {
            Ok(made) => {
                undo.release();
                self.shared.stages.add(&self.sandbox_id, "create container", &self.timeline);
                Ok(made)
            }
            Err(error) => {
                undo.run().await;
                Err(error)
            }
        }
    }

    async fn steps(&self, undo: &mut Undo) -> Result<Made, EngineError> {
        let image = self.image()?;
        let cgroup = cgroup(&self.shared, &self.cgroups.parent, &self.id)?;
        let since = Instant::now();
        let user = self.shared.users.resolve(&self.shared.images, &image, &self.config.security).await?;
        self.timeline.stage("user", since);
        let facts = Facts {
            image_id: image.id.to_string(),
            image_ref: image.repo_digests.first().cloned().unwrap_or_else(|| image.id.to_string()),
            log_path: self.log_path()?,
            user: ContainerUser { uid: user.uid, gid: user.gid, groups: user.groups.clone() },
            stop_signal: signal::stop(self.config.stop_signal.as_deref(), &image.config.stop_signal)?,
            cgroup,
            process: oci_spec::runtime::Process::default(),
            raw_env: Vec::new(),
        };
        self.intend(&facts, undo).await?;
        let snapshot = self.snapshot(&image, undo).await?;
        let prepared = self.prepare(facts, user, &image, snapshot, undo).await?;
        let Prepared { facts, plan, fds, cgroup_dirs } = prepared;
        let (pid, ()) = tokio::try_join!(self.tell(&facts, plan, fds, &cgroup_dirs), self.complete(&facts))
            .inspect_err(|_| self.undo_shim(undo))?;
        Ok(Made { facts, pid })
    }

    fn image(&self) -> Result<Arc<Image>, EngineError> {
        let name = &self.config.image.image;
        let found = self
            .shared
            .images
            .find(name)
            .map_err(|e| EngineError::failed(format!("find image {name:?}"), e))?;
        found.ok_or_else(|| EngineError::NotFound { thing: "image", key: name.clone() })
    }

    fn log_path(&self) -> Result<Option<PathBuf>, EngineError> {
        match (&self.sandbox.log_directory, &self.config.log_path) {
            (Some(dir), Some(path)) => match inside(path) {
                Some(path) => Ok(Some(dir.join(path))),
                None => {
                    let message = format!("{} is not a file in the log directory", path.display());
                    Err(EngineError::invalid("log_path", message))
                }
            },
            (None, Some(path)) if path.is_absolute() => Ok(Some(path.clone())),
            (None, Some(path)) => {
                let message = format!("{} is relative, and the sandbox has no log directory", path.display());
                Err(EngineError::invalid("log_path", message))
            }
            (_, None) => Ok(None),
        }
    }

    fn record(&self, facts: &Facts, phase: Phase) -> ContainerRecord {
        ContainerRecord {
            version: record::VERSION,
            id: self.id.clone(),
            phase,
            created_at: self.created_at,
            config: (*self.config).clone(),
            image_id: facts.image_id.clone(),
            image_ref: facts.image_ref.clone(),
            user: UserRecord { uid: facts.user.uid, gid: facts.user.gid, groups: facts.user.groups.clone() },
            stop_signal: facts.stop_signal,
            log_path: facts.log_path.clone(),
            resources: self.config.resources.clone(),
            cgroup: facts.cgroup.to_string(),
            process: Some(facts.process.clone()),
            raw_env: facts.raw_env.clone(),
            end: None,
        }
    }

    /// The intent is on disk before anything is made.
    async fn intend(&self, facts: &Facts, undo: &mut Undo) -> Result<(), EngineError> {
        let since = Instant::now();
        let dir = self.shared.layout.pod(&self.sandbox_id);
        let path = dir.container(&self.id);
        let record = self.record(facts, Phase::Making);
        let file = dir.container_record(&self.id);
        let log = facts.log_path.clone();
        let gone = path.clone();
        undo.push("container directory", async move {
            Shared::blocking(move || {
                record::remove(&gone).map_err(|e| EngineError::system("remove the container's directory", e))
            })
            .await
        });
        Shared::blocking(move || {
            let failed = |e| EngineError::system("write the container's record", e);
            std::fs::create_dir(&path).map_err(failed)?;
            record::write(&file, &record).map_err(failed)?;
            if let Some(dir) = log.as_deref().and_then(Path::parent) {
                std::fs::create_dir_all(dir)
                    .map_err(|e| EngineError::system(format!("make log directory {}", dir.display()), e))?;
            }
            Ok(())
        })
        .await?;
        self.timeline.stage("intent", since);
        Ok(())
    }

    async fn snapshot(&self, image: &Image, undo: &mut Undo) -> Result<Snapshot, EngineError> {
        let since = Instant::now();
        let (images, id) = (self.shared.images.clone(), self.id.clone());
        undo.push("snapshot", async move {
            images.remove_snapshot(&id).await.map_err(|e| EngineError::failed("remove the snapshot", e))
        });
        let snapshot = self
            .shared
            .images
            .snapshot(&self.id, &image.id)
            .await
            .map_err(|e| EngineError::failed("make the container's snapshot", e))?;
        self.timeline.stage("snapshot", since);
        Ok(snapshot)
    }

    /// Everything that is computed or made on this side: overlay, cgroup, plan.
    async fn prepare(
        &self,
        mut facts: Facts,
        user: oci::user::Resolved,
        image: &Arc<Image>,
        snapshot: Snapshot,
        undo: &mut Undo,
    ) -> Result<Prepared, EngineError> {
        let (shared, sandbox, config) =
            (Arc::clone(&self.shared), Arc::clone(&self.sandbox), Arc::clone(&self.config));
        let (cgroups, path) = (self.shared.cgroups.clone(), facts.cgroup.clone());
        let files = network_files::files(&shared.layout.pod(&self.sandbox_id), &sandbox);
        let (image, timeline) = (Arc::clone(image), self.timeline.clone());
        undo.push("cgroup", async move {
            Shared::blocking(move || {
                cgroups
                    .open(&path)
                    .remove()
                    .map_err(|e| EngineError::failed("remove the container's cgroup", e))
            })
            .await
        });
        Shared::blocking(move || {
            let since = Instant::now();
            let devices = devices::read(&config)?;
            let inputs = oci::Inputs {
                sandbox: &sandbox,
                container: &config,
                image: &image.config,
                user: &user,
                devices: &devices,
                files: &files,
                cgroup: facts.cgroup.as_str(),
                host: &shared.facts,
            };
            let planned = oci::spec(&inputs)?;
            mounts::make_sources(&config)?;
            propagation::check(&config.mounts)?;
            let given = oci::given_namespaces(&planned.spec, &config.pid);
            let shown = plan::cgroup_mounts(
                shared.cgroups.mode(),
                shared.cgroups.hierarchies(),
                &shared.cgroups.open(&facts.cgroup),
            );
            let plan = shared.profiles.plan(&planned, &config.security, given, shown)?;
            timeline.stage("plan", since);
            let since = Instant::now();
            let rules = devices::rules(&devices, config.security.privileged);
            let cgroup = shared
                .cgroups
                .create(&facts.cgroup, &resources::cgroup(&config.resources, rules, &shared.facts))
                .map_err(|e| EngineError::failed("make the container's cgroup", e))?;
            timeline.stage("cgroup", since);
            let since = Instant::now();
            let overlay = berth_sys::overlay::Overlay {
                lowers: &snapshot.lowers,
                upper: &snapshot.upper,
                work: &snapshot.work,
            };
            let root = berth_sys::overlay::mount(&overlay)
                .map_err(|e| EngineError::system("mount the container's root", e))?;
            timeline.stage("overlay", since);
            facts.process = planned.spec.process().clone().unwrap_or_default();
            facts.raw_env = planned.raw_env;
            Ok(Prepared { facts, plan, fds: vec![root], cgroup_dirs: cgroup.dirs() })
        })
        .await
    }

    async fn tell(
        &self,
        facts: &Facts,
        plan: Vec<u8>,
        fds: Vec<OwnedFd>,
        cgroup_dirs: &[PathBuf],
    ) -> Result<i32, EngineError> {
        let since = Instant::now();
        let pid_space = match &self.config.pid {
            PidMode::Pod => PidSpace::Pod,
            PidMode::Container | PidMode::Node => PidSpace::Plan,
            PidMode::Target(id) => PidSpace::Container(id.parse().map_err(|_| {
                EngineError::invalid("target_id", format!("{id:?} is not the id of a container"))
            })?),
        };
        let create = shim::Create {
            container: self.id.clone(),
            plan,
            log: facts.log_path.as_deref().map(text),
            stdin: self.config.stdin,
            stdin_once: self.config.stdin_once,
            tty: self.config.tty,
            cgroup_dirs: cgroup_dirs.iter().map(|dir| text(dir)).collect(),
            pid_space,
        };
        let answer = self.shim.ask(Request::Create(create), fds, CREATE_LIMIT).await;
        self.timeline.stage("shim create", since);
        match answer {
            Ok((Answer::Created { pid }, _)) => Ok(pid),
            Ok(_) => Err(EngineError::invalid("shim", "it gave an answer to Create that does not fit")),
            Err(error) => Err(EngineError::failed("create the container", error)),
        }
    }

    fn undo_shim(&self, undo: &mut Undo) {
        let (shim, container) = (self.shim.clone(), self.id.clone());
        undo.push("prepared process", async move {
            // A shim that knows the container kills what it prepared; one that does not, has nothing of it.
            let signal = Request::Signal { container: container.clone(), signal: signal::KILL, all: true };
            drop(shim.ask(signal, Vec::new(), CREATE_LIMIT).await);
            drop(shim.ask(Request::Forget { container }, Vec::new(), CREATE_LIMIT).await);
            Ok(())
        });
    }

    /// The record that everything is made.
    async fn complete(&self, facts: &Facts) -> Result<(), EngineError> {
        let record = self.record(facts, Phase::Made);
        let file = self.shared.layout.pod(&self.sandbox_id).container_record(&self.id);
        Shared::blocking(move || {
            record::write(&file, &record).map_err(|e| EngineError::system("write the container's record", e))
        })
        .await
    }
}
