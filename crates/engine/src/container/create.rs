//! Creating a container: image, snapshot, plan, cgroup, and the process up to just before its execve.

use std::os::fd::AsFd as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_container::plan::PROFILED;
use berth_image::{Image, Snapshot};
use berth_sys::cgroup::{Cgroup, CgroupPath, DeviceRule, Resources as Limits};
use berth_types::lifecycle::container::{After, State};
use berth_types::shim::{self, Answer, PidSpace};
use berth_types::{ContainerId, Digest, SandboxId};
use oci_spec::runtime::Spec;

use super::adjust::Unseen;
use super::adjusted::Adjustment;
use super::kernel::{self, Creation};
use super::{Facts, Item, remove, volumes};
use crate::error::EngineError;
use crate::handler::{Handler, Kernel, Places, Prepared, Preparing};
use crate::host::layout::PodDir;
use crate::host::placement::PodCgroups;
use crate::host::record::{self, ContainerRecord, Phase, UserRecord};
use crate::host::stages::Timeline;
use crate::model::{ContainerConfig, ContainerUser, EnvVar, PidMode, Resources, SandboxConfig};
use crate::oci::devices::HostDevice;
use crate::oci::{self, Planned, devices, mounts, propagation, resources, signal};
use crate::sandbox::{network_files, text};
use crate::shared::Shared;
use crate::shim::{Shim, ShimError};
use crate::user_namespace;

/// The time that a shim has to prepare a container.
const CREATE_LIMIT: Duration = Duration::from_secs(60);

/// A container that is prepared.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) facts: Facts,
    pub(crate) pid: i32,
    /// The limits that it has, where plugins changed them.
    pub(crate) resources: Option<Resources>,
    /// Until it is published.
    pub(crate) unseen: Option<Unseen>,
}

/// The path as one below a directory, as other runtimes read a leading slash; None when it leads
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
    pub(super) shared: Arc<Shared>,
    pub(super) sandbox_id: SandboxId,
    pub(super) sandbox: Arc<SandboxConfig>,
    dir: PodDir,
    cgroups: PodCgroups,
    shim: Shim,
    pub(super) id: ContainerId,
    /// What was asked for, and the same with what comes with devices.
    pub(super) asked: Arc<ContainerConfig>,
    pub(super) config: Arc<ContainerConfig>,
    pub(super) hooks: Vec<berth_cdi::spec::Hook>,
    pub(super) created_at: i64,
    /// The limits of the pod's other containers that live or will, and the order of their creations.
    beside: (Vec<Resources>, Creation),
    pub(super) timeline: Timeline,
}

/// The group of what serves a pod's containers from outside of them.
fn serving_group(shared: &Shared, path: &CgroupPath) -> Result<Cgroup, EngineError> {
    let failed = |e| EngineError::failed("make the cgroup of the pod's shim", e);
    shared.cgroups.ensure(path, &Limits::default()).map_err(failed)
}

/// The group of a pod's own kernel, with the limits that follow from a creation.
fn kernel_group(
    shared: &Shared,
    (path, limits): (CgroupPath, Limits),
    creation: &Creation,
) -> Result<Cgroup, EngineError> {
    let failed = |e| EngineError::failed("make the kernel's cgroup", e);
    // They change with each container, in an order that depends on what there is.
    let group = shared.cgroups.ensure(&path, &Limits::default()).map_err(failed)?;
    creation.write(|| group.update(&limits)).map_err(failed)?;
    Ok(group)
}

impl Work {
    /// For a container of that pod, made through that shim.
    pub(crate) fn new(
        shared: Arc<Shared>,
        pod: (SandboxId, Arc<SandboxConfig>, PodDir, PodCgroups),
        shim: Shim,
        id: ContainerId,
        (config, created_at): (Arc<ContainerConfig>, i64),
        beside: (Vec<Resources>, Creation),
    ) -> Self {
        let (sandbox_id, sandbox, dir, cgroups) = pod;
        let timeline = Timeline::begin();
        let asked = Arc::clone(&config);
        let hooks = Vec::new();
        Self {
            shared,
            sandbox_id,
            sandbox,
            dir,
            cgroups,
            shim,
            id,
            asked,
            config,
            hooks,
            created_at,
            beside,
            timeline,
        }
    }

    /// Prepares it up to just before its `execve`. What fails half-way is removed like any other container.
    pub(crate) async fn run(mut self) -> Result<Made, EngineError> {
        self.with_devices().await?;
        let handler = self.shared.handlers.of(&self.sandbox.handler)?;
        let cgroup = handler.has_container_cgroups().then(|| self.cgroups.parent.child(self.id.as_str()));
        let cgroup = cgroup.transpose().map_err(|e| EngineError::failed("name the container's cgroup", e))?;
        let mut unseen = None;
        match self.steps(&handler, cgroup.clone(), &mut unseen).await {
            Ok(made) => {
                self.shared.stages.add(&self.sandbox_id, "create container", &self.timeline);
                Ok(made)
            }
            Err(error) => {
                remove::end_in_shim(&self.shim, &self.id).await;
                let (id, dir) = (self.id.clone(), self.dir.clone());
                let parts = remove::Parts { id, shim: None, cgroup, dir, handler: Some(handler) };
                if let Err(failure) = parts.remove(&self.shared, &Arc::default()).await {
                    let error = berth_types::error::chain(&failure);
                    let container = self.id.short();
                    tracing::warn!(
                        container,
                        error,
                        "failed to clean up after a container that was not created"
                    );
                }
                // Nothing of it runs any more. No plugin has come meanwhile that would not know it.
                for adjust in &self.shared.adjust {
                    adjust.undone(&self.id);
                }
                drop(unseen);
                Err(error)
            }
        }
    }

    async fn steps(
        &mut self,
        handler: &Arc<dyn Handler>,
        cgroup: Option<CgroupPath>,
        unseen: &mut Option<Unseen>,
    ) -> Result<Made, EngineError> {
        let image = self.image()?;
        let since = Instant::now();
        let volumes = volumes::images(&self.shared.images, &self.config, self.sandbox.namespaces.user)?;
        let user = self.shared.users.resolve(&self.shared.images, &image, &self.config.security).await?;
        user_namespace::has(self.sandbox.namespaces.user, &user)?;
        self.timeline.stage("user", since);
        let facts = Facts {
            image_id: image.id.to_string(),
            image_ref: image.repo_digests.first().cloned().unwrap_or_else(|| image.id.to_string()),
            log_path: self.log_path()?,
            user: ContainerUser { uid: user.uid, gid: user.gid, groups: user.groups.clone() },
            stop_signal: self.stop_signal(&image, &**handler)?,
            cgroup,
            process: oci_spec::runtime::Process::default(),
            raw_env: Vec::new(),
            seccomp: None,
        };
        self.intend(&facts).await?;
        let snapshot = self.snapshot(&image, &volumes).await?;
        let profile = self.profile().await?;
        let (spec, raw_env, devices) = self.specify(&facts, user, &image, profile).await?;
        *unseen = self.shared.unseen().await;
        let Adjustment { spec, resources, rules, seccomp } = self.adjust(&facts, spec).await?;
        let facts = Facts { process: spec.process().clone().unwrap_or_default(), raw_env, seccomp, ..facts };
        let limits = self.limits(&devices, rules);
        let kernel = handler.has_own_kernel().then(|| self.kernel()).transpose()?;
        let prepared = self.prepare(handler, &facts, spec, (limits, kernel), snapshot).await?;
        let (pid, ()) = tokio::try_join!(self.tell(prepared), self.complete(&facts))?;
        Ok(Made { facts, pid, resources, unseen: unseen.take() })
    }

    fn stop_signal(&self, image: &Image, handler: &dyn Handler) -> Result<i32, EngineError> {
        let signal = signal::stop(self.config.stop_signal.as_deref(), &image.config.stop_signal)?;
        if handler.has_own_kernel() { kernel::stop_signal(signal) } else { Ok(signal) }
    }

    fn image(&self) -> Result<Arc<Image>, EngineError> {
        let name = &self.config.image.image;
        let found = self
            .shared
            .images
            .find(name)
            .map_err(|e| EngineError::failed(format!("find image {name:?}"), e))?;
        let image = found.ok_or_else(|| EngineError::NotFound { thing: "image", key: name.clone() })?;
        if image.config.artifact.is_empty() {
            // A collection of images passes it over until the container has it.
            self.shared.images.note_use(&image.id);
            return Ok(image);
        }
        let kind = &image.config.artifact;
        let message = format!("{name} is no container image but {kind:?}, which can be mounted as a volume");
        Err(EngineError::invalid("image", message))
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
            config: (*self.asked).clone(),
            image_id: facts.image_id.clone(),
            image_ref: facts.image_ref.clone(),
            user: UserRecord { uid: facts.user.uid, gid: facts.user.gid, groups: facts.user.groups.clone() },
            stop_signal: facts.stop_signal,
            log_path: facts.log_path.clone(),
            resources: self.config.resources.clone(),
            cgroup: facts.cgroup.as_ref().map(ToString::to_string).unwrap_or_default(),
            process: serde_json::to_value(&facts.process).ok(),
            raw_env: facts.raw_env.clone(),
            seccomp: facts.seccomp.clone(),
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

    async fn snapshot(&self, image: &Image, volumes: &[Digest]) -> Result<Snapshot, EngineError> {
        let since = Instant::now();
        let made = self.shared.images.snapshot(&self.id, &image.id, volumes).await;
        let snapshot = made.map_err(|e| EngineError::failed("make the container's snapshot", e))?;
        if let Some(bytes) = self.config.storage_limit {
            super::storage::limit(&self.shared, &self.id, bytes).await?;
        }
        self.timeline.stage("snapshot", since);
        Ok(snapshot)
    }

    /// The AppArmor profile that it gets.
    async fn profile(&self) -> Result<Option<String>, EngineError> {
        let shim_can = self.shim.peer().plans.contains(&PROFILED);
        self.shared.apparmor.profile(&self.config.security, shim_can).await
    }

    /// The specification, with the variables that it cannot hold and the devices of the host that it names.
    async fn specify(
        &self,
        facts: &Facts,
        user: oci::user::Resolved,
        image: &Arc<Image>,
        profile: Option<String>,
    ) -> Result<(Spec, Vec<EnvVar>, Vec<HostDevice>), EngineError> {
        let since = Instant::now();
        let (shared, sandbox, asked, config, image) = (
            Arc::clone(&self.shared),
            Arc::clone(&self.sandbox),
            Arc::clone(&self.config),
            volumes::with_sources(&self.config, &self.dir.container(&self.id)),
            Arc::clone(image),
        );
        let files = network_files::files(&self.dir, &sandbox);
        let cgroup = facts.cgroup.as_ref().map(ToString::to_string).unwrap_or_default();
        let specified = Shared::blocking(move || {
            let devices = devices::read(&config, (user.uid, user.gid))?;
            let inputs = oci::Inputs {
                sandbox: &sandbox,
                container: &config,
                image: &image.config,
                user: &user,
                devices: &devices,
                files: &files,
                cgroup: &cgroup,
                apparmor: profile.as_deref(),
                host: &shared.facts,
            };
            let Planned { spec, raw_env } = oci::spec(&inputs)?;
            mounts::make_sources(&config)?;
            propagation::check(&asked.mounts)?;
            Ok((spec, raw_env, devices))
        })
        .await?;
        self.timeline.stage("specification", since);
        Ok(specified)
    }

    fn limits(&self, devices: &[HostDevice], more: Vec<DeviceRule>) -> Limits {
        let mut rules = devices::rules(devices, self.config.security.privileged);
        rules.extend(more);
        resources::cgroup(&self.config.resources, rules, &self.shared.facts)
    }

    /// The group of the pod's own kernel, with its limits.
    fn kernel(&self) -> Result<(CgroupPath, Limits), EngineError> {
        let path = self.cgroups.kernel(&self.sandbox_id)?;
        let of: Vec<&Resources> = self.beside.0.iter().chain([&self.config.resources]).collect();
        Ok((path, kernel::limits(&of, &self.shared.facts)?))
    }

    /// Everything that is made on this side: the cgroup, and what the handler makes.
    async fn prepare(
        &self,
        handler: &Arc<dyn Handler>,
        facts: &Facts,
        spec: Spec,
        (limits, kernel): (Limits, Option<(CgroupPath, Limits)>),
        snapshot: Snapshot,
    ) -> Result<Prepared, EngineError> {
        let (shared, handler, config) =
            (Arc::clone(&self.shared), Arc::clone(handler), Arc::clone(&self.config));
        let (dir, timeline, creation) =
            (self.dir.container(&self.id), self.timeline.clone(), self.beside.1.clone());
        let root_at = self.dir.container_root(&self.id);
        let serving =
            handler.has_serving_group().then(|| self.cgroups.kernel(&self.sandbox_id)).transpose()?;
        let (cgroup, raw_env) = (facts.cgroup.clone(), facts.raw_env.clone());
        let (create, pod, user) =
            (self.request(facts)?, self.cgroups.pod.clone(), self.sandbox.namespaces.user);
        let (sandbox_id, sandbox, kernel_dir, gofers) =
            (self.sandbox_id.clone(), Arc::clone(&self.sandbox), self.dir.kernel(), self.dir.gofers_netns());
        Shared::blocking(move || {
            let since = Instant::now();
            let none = Limits::default();
            // What a container with another kernel has on the host only serves it.
            let own = if kernel.is_some() { &none } else { &limits };
            let cgroup = cgroup.map(|path| shared.placement.make(&path, own)).transpose()?;
            let group = kernel.map(|kernel| kernel_group(&shared, kernel, &creation)).transpose()?;
            let serving = serving.map(|path| serving_group(&shared, &path)).transpose()?;
            timeline.stage("cgroup", since);
            let since = Instant::now();
            let namespace = user.map(|maps| shared.user_namespaces.with(maps)).transpose()?;
            let namespace = namespace.as_ref().map(|namespace| namespace.as_fd());
            let volumes = volumes::mount(&shared.images, &config, &snapshot.volumes, &dir, namespace)?;
            let dirs = cgroup.as_ref().map(Cgroup::dirs).unwrap_or_default();
            let create = shim::Create { cgroup_dirs: dirs.iter().map(|dir| text(dir)).collect(), ..create };
            let root = berth_sys::overlay::Overlay {
                lowers: &snapshot.lowers,
                upper: &snapshot.upper,
                work: &snapshot.work,
            };
            let prepared = handler.prepare(Preparing {
                spec: &spec,
                raw_env: &raw_env,
                security: &config.security,
                pid: &config.pid,
                root,
                user: user.zip(namespace),
                volumes,
                devices: &limits.devices,
                cgroup: cgroup.as_ref(),
                pod: &pod,
                kernel: group.as_ref().map(|cgroup| Kernel {
                    id: &sandbox_id,
                    cgroup,
                    dir: &kernel_dir,
                    gofers: &gofers,
                    hostname: oci::hostname(&sandbox, &shared.facts),
                    sysctls: &sandbox.sysctls,
                    shares_pid: sandbox.namespaces.pid == PidMode::Pod,
                }),
                serving: serving.as_ref(),
                cgroups: &shared.cgroups,
                places: Places { dir: &dir, root: &root_at },
                create,
            })?;
            timeline.stage("handler", since);
            Ok(prepared)
        })
        .await
    }

    /// What any shim is asked, all but the plan and the cgroup.
    fn request(&self, facts: &Facts) -> Result<shim::Create, EngineError> {
        let pid_space = match &self.config.pid {
            PidMode::Pod => PidSpace::Pod,
            PidMode::Container | PidMode::Node => PidSpace::Plan,
            PidMode::Target(id) => PidSpace::Container(id.parse().map_err(|_| {
                EngineError::invalid("target_id", format!("{id:?} is not the id of a container"))
            })?),
        };
        Ok(shim::Create {
            container: self.id.clone(),
            plan: Vec::new(),
            log: facts.log_path.as_deref().map(text),
            stdin: self.config.stdin,
            stdin_once: self.config.stdin_once,
            tty: self.config.tty,
            cgroup_dirs: Vec::new(),
            pid_space,
        })
    }

    async fn tell(&self, prepared: Prepared) -> Result<i32, EngineError> {
        let since = Instant::now();
        let answer = self.shim.ask(prepared.request, prepared.fds, CREATE_LIMIT).await;
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
