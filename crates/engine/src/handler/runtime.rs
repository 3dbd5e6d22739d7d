//! Another OCI runtime, runc or crun: a program with runc's command line, which the pod's shim runs. What it is given is a bundle on
//! the disk, below the container's directory. See docs/adr/0096.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_container::plan::{self, Inputs};
use berth_sys::mount;
use berth_sys::overlay::{self, Overlay};
use berth_types::ContainerId;
use berth_types::shim::bundle::{self, Bundle};
use berth_types::shim::{Create, Request};
use oci_spec::runtime::Process;
use rustix::mount::UnmountFlags;

use super::bundle::{Rest, complete, pieces};
use super::{Detached, Handler, Prepared, Preparing, Program};
use crate::error::EngineError;
use crate::host::random;
use crate::model::{ContainerSecurity, EnvVar, UserNamespace};
use crate::oci;
use crate::profile::{self, Profiles};

/// A program with runc's command line.
#[derive(Debug)]
pub struct OciRuntime {
    name: String,
    runtime: PathBuf,
    shim: Arc<Program>,
}

impl OciRuntime {
    /// The runtime at an absolute path, under a name, and the program of its pods' shims.
    pub fn new(name: String, runtime: PathBuf, shim: Arc<Program>) -> Self {
        Self { name, runtime, shim }
    }
}

/// JSON has no bytes that are not text.
pub(super) fn refuse_raw(name: &str, raw_env: &[EnvVar]) -> Result<(), EngineError> {
    let Some(var) = raw_env.first() else { return Ok(()) };
    let message = format!("the value of {} is not text, which handler {name:?} cannot be given", var.name);
    Err(EngineError::unsupported("envs", message))
}

/// The bundle of the container with this directory.
pub(super) fn bundle_of(dir: &Path) -> PathBuf {
    dir.join("bundle")
}

impl Handler for OciRuntime {
    fn name(&self) -> &str {
        &self.name
    }

    fn program(&self) -> &Program {
        &self.shim
    }

    fn has_container_cgroups(&self) -> bool {
        true
    }

    fn has_user_namespaces(&self) -> bool {
        false
    }

    fn prepare(&self, container: Preparing<'_>) -> Result<Prepared, EngineError> {
        let Preparing {
            spec,
            raw_env,
            security,
            pid,
            devices,
            root,
            volumes,
            cgroup,
            cgroups,
            dir,
            create,
            ..
        } = container;
        refuse_raw(&self.name, raw_env)?;
        let given = oci::given_namespaces(spec, pid);
        let sources = volumes.iter().map(|volume| volume.source.clone()).collect();
        // What Berth's own runtime refuses is refused for all: they differ in what they let a container cover.
        let shown = cgroup.map(|group| plan::cgroup_mounts(cgroups.mode(), cgroups.hierarchies(), group));
        let inputs = Inputs {
            given_root: true,
            given: given.clone(),
            given_mounts: sources,
            cgroups: shown.unwrap_or_default(),
            ..Inputs::default()
        };
        plan::plan(spec, &inputs).map_err(|e| profile::refused(&e))?;
        let process = spec.process().as_ref();
        let seccomp = process.map(|process| Profiles::rules(process, security)).transpose()?.flatten();
        let bundle = bundle_of(dir);
        let rootfs = mount_below(&bundle, &root, volumes)?;
        let rest = Rest { root: &rootfs, devices, seccomp, oom_score: own_score() };
        let token = ContainerId::from_random(random::bytes());
        let config = pieces(complete(spec.clone(), rest), &given, token.as_str())
            .map_err(|e| EngineError::system("write the container's specification", e))?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let plan = bundle::encode(&Bundle { runtime: text(&self.runtime), dir: text(&bundle), config });
        let plan = plan.map_err(|e| EngineError::invalid("container", e.to_string()))?;
        Ok(Prepared { request: Request::Create(Create { plan, ..create }), fds: Vec::new() })
    }

    fn process(
        &self,
        process: &Process,
        raw_env: &[EnvVar],
        _security: &ContainerSecurity,
        _user: Option<UserNamespace>,
    ) -> Result<Vec<u8>, EngineError> {
        refuse_raw(&self.name, raw_env)?;
        let mut process = process.clone();
        if process.oom_score_adj().is_none() {
            process.set_oom_score_adj(own_score());
        }
        encoded(&process)
    }

    fn forget(&self, dir: &Path) -> Result<(), EngineError> {
        unmount_below(dir)
    }
}

/// A further process, as a plan.
pub(super) fn encoded(process: &Process) -> Result<Vec<u8>, EngineError> {
    let text = serde_json::to_string(process).map_err(|e| EngineError::system("write the process", e))?;
    bundle::encode(&bundle::Process { text }).map_err(|e| EngineError::invalid("exec", e.to_string()))
}

/// Mounts a container's root in its bundle, and the volumes at their sources.
pub(super) fn mount_below(
    bundle: &Path,
    root: &Overlay<'_>,
    volumes: Vec<Detached>,
) -> Result<PathBuf, EngineError> {
    let failed = |what: &'static str| move |e: std::io::Error| EngineError::system(what, e);
    let rootfs = bundle.join("rootfs");
    std::fs::create_dir_all(&rootfs).map_err(failed("make the container's bundle"))?;
    let mounted = overlay::mount(root).map_err(|e| EngineError::system("mount the container's root", e))?;
    attach(&mounted, &rootfs).map_err(failed("attach the container's root"))?;
    for Detached { source, mount } in volumes {
        place(&mount, &source).map_err(failed("attach an image volume"))?;
    }
    Ok(rootfs)
}

/// Unmounts what is below a container's directory.
pub(super) fn unmount_below(dir: &Path) -> Result<(), EngineError> {
    let mounted = mount::mounted().map_err(|e| EngineError::system("list the mounts", e))?;
    let below = mounted.iter().map(|mount| &mount.point).filter(|point| point.starts_with(dir));
    // The latest first: it may cover others, or be in one.
    for point in below.rev() {
        rustix::mount::unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .map_err(|e| EngineError::system(format!("unmount {}", point.display()), e))?;
    }
    Ok(())
}

/// Attaches a mount at a path that is there.
fn attach(mount: &std::os::fd::OwnedFd, path: &Path) -> std::io::Result<()> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
    let target = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
    Ok(mount::attach(mount.as_fd(), target.as_fd())?)
}

/// The same at one that is made for it: a directory or a file, as the mount is.
fn place(mount: &std::os::fd::OwnedFd, path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(mount)?.st_mode);
    if kind == rustix::fs::FileType::Directory {
        std::fs::create_dir(path)?;
    } else {
        drop(std::fs::File::create_new(path)?);
    }
    attach(mount, path)
}

/// The daemon's own score, which its processes have that were given none.
pub(super) fn own_score() -> Option<i32> {
    std::fs::read_to_string("/proc/self/oom_score_adj").ok()?.trim().parse().ok()
}
