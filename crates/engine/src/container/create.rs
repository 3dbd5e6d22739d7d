//! Creating a container: image, snapshot, plan, cgroup, and the process up to just before its execve.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_container::plan;
use berth_image::{Image, Snapshot};
use berth_sys::cgroup::CgroupPath;
use berth_types::lifecycle::container::{After, State};
use berth_types::shim::{self, Answer, PidSpace, Request};
use berth_types::{ContainerId, SandboxId};

use super::{Facts, Item, remove};
use crate::error::EngineError;
use crate::host::layout::PodDir;
use crate::host::record::{self, ContainerRecord, Phase, UserRecord};
use crate::host::stages::Timeline;
use crate::model::{ContainerConfig, ContainerUser, PidMode, SandboxConfig};
use crate::oci::{self, devices, mounts, propagation, resources, signal};
use crate::sandbox::place::{self, PodCgroups};
use crate::sandbox::{network_files, text};
use crate::shared::Shared;
use crate::shim::{Shim, ShimError};

/// The time that a shim has to prepare a container.
const CREATE_LIMIT: Duration = Duration::from_secs(60);

/// A container that is prepared.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) facts: Facts,
    pub(crate) pid: i32,
}

/// The path as one below a directory, as a leading slash means to the field's runtimes; None when it leads
/// out of it or names nothing.
fn inside(path: &Path) -> Option<&Path> {
    let path = path.strip_prefix("/").unwrap_or(path);
    let named = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    (named && path.file_name().is_some()).then_some(path)
}

/// Whether a request for a container of the same name and attempt is the same request.
pub(crate) fn is_same(
    id: &ContainerId,
    item: &Item,
    state: State,
    config: &ContainerConfig,
) -> Result<(), EngineError> {
    let taken = |how| EngineError::AlreadyExists {
        thing: "container",
        identity: format!("{} (attempt {})", config.metadata.name, config.metadata.attempt),
        id: id.short().to_owned(),
        how,
    };
    match state {
        _ if *item.config != *config => Err(taken("with another configuration")),
        State::Removing | State::Stopping { then: After::Removing } | State::Gone => {
            Err(taken("and is being removed"))
        }
        State::Creating
        | State::Created
        | State::Starting
        | State::Running
        | State::Stopping { then: After::Exited }
        | State::Exited
        | State::Unknown => Ok(()),
    }
}

/// The preparation of one container.
#[derive(Debug)]
pub(crate) struct Work {
    shared: Arc<Shared>,
    sandbox_id: SandboxId,
    sandbox: Arc<SandboxConfig>,
    dir: PodDir,
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
    /// For a container of that pod, made through that shim.
    pub(crate) fn new(
        shared: Arc<Shared>,
        pod: (SandboxId, Arc<SandboxConfig>, PodDir, PodCgroups),
        shim: Shim,
        id: ContainerId,
        (config, created_at): (Arc<ContainerConfig>, i64),
    ) -> Self {
        let (sandbox_id, sandbox, dir, cgroups) = pod;
        let timeline = Timeline::begin();
        Self { shared, sandbox_id, sandbox, dir, cgroups, shim, id, config, created_at, timeline }
    }

    /// Prepares it up to just before its `execve`. What fails half-way is removed like any other container.
    pub(crate) async fn run(self) -> Result<Made, EngineError> {
        let cgroup = place::of_container(&self.shared, &self.cgroups.parent, &self.id)?;
        match self.steps(cgroup.clone()).await {
            Ok(made) => {
                self.shared.stages.add(&self.sandbox_id, "create container", &self.timeline);
                Ok(made)
            }
            Err(error) => {
                remove::end_in_shim(&self.shim, &self.id).await;
                let (id, dir) = (self.id.clone(), self.dir.clone());
                let parts = remove::Parts { id, shim: None, cgroup: Some(cgroup), dir };
                if let Err(failure) = parts.remove(&self.shared, &Arc::default()).await {
                    let error = berth_types::error::chain(&failure);
                    let container = self.id.short();
                    tracing::warn!(container, error, "a container that could not be made leaves something");
                }
                Err(error)
            }
        }
    }

    async fn steps(&self, cgroup: CgroupPath) -> Result<Made, EngineError> {
        let image = self.image()?;
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
        self.intend(&facts).await?;
        let snapshot = self.snapshot(&image).await?;
        let Prepared { facts, plan, fds, cgroup_dirs } = self.prepare(facts, user, &image, snapshot).await?;
        let (pid, ()) = tokio::try_join!(self.tell(&facts, plan, fds, &cgroup_dirs), self.complete(&facts))?;
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
            process: serde_json::to_value(&facts.process).ok(),
            raw_env: facts.raw_env.clone(),
            end: None,
        }
    }

    /// The intent is on disk before anything is made.
    async fn intend(&self, facts: &Facts) -> Result<(), EngineError> {
        let since = Instant::now();
        let (path, file) = (self.dir.container(&self.id), self.dir.container_record(&self.id));
        let record = self.record(facts, Phase::Making);
        let log = facts.log_path.clone();
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

    async fn snapshot(&self, image: &Image) -> Result<Snapshot, EngineError> {
        let since = Instant::now();
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
    ) -> Result<Prepared, EngineError> {
        let (shared, sandbox, config) =
            (Arc::clone(&self.shared), Arc::clone(&self.sandbox), Arc::clone(&self.config));
        let files = network_files::files(&self.dir, &sandbox);
        let (image, timeline) = (Arc::clone(image), self.timeline.clone());
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
            Ok(_) => {
                let error = ShimError::Unexpected { request: "Create" };
                Err(EngineError::failed("create the container", error))
            }
            Err(error) => Err(EngineError::failed("create the container", error)),
        }
    }

    /// The record that everything is made.
    async fn complete(&self, facts: &Facts) -> Result<(), EngineError> {
        let record = self.record(facts, Phase::Made);
        let (file, copy) = (self.dir.container_record(&self.id), self.dir.container_copy(&self.id));
        Shared::blocking(move || {
            record::write_both(&file, &copy, &record)
                .map_err(|e| EngineError::system("write the container's record", e))
        })
        .await
    }
}
