//! Another OCI runtime, runc or crun: a program with runc's command line, which the pod's shim runs. What it is given is a bundle on
//! the disk, below the container's directory, and a root that is mounted in the pod's. See docs/adr/0096.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_container::plan::{self, Inputs};
use berth_sys::mount;
use berth_sys::overlay::{self, Overlay};
use berth_types::ContainerId;
use berth_types::ability::{Ability, Lacking, Maker};
use berth_types::shim::bundle::{self, Bundle, Mapped, Owner};
use berth_types::shim::{Create, Request};
use oci_spec::runtime::{LinuxNamespaceType, LinuxSeccomp, Process, Spec};
use rustix::mount::UnmountFlags;

use super::bundle::{Rest, complete, pieces};
use super::{Detached, Handler, Places, Prepared, Preparing, Program, mapped, native};
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
pub(super) fn refuse_raw(name: &str, maker: Maker, raw_env: &[EnvVar]) -> Result<(), EngineError> {
    let Some(var) = raw_env.first() else { return Ok(()) };
    Ability::RawEnvironment.need(maker).map_err(|why| {
        let message = format!("the value of {} is not text, with handler {name:?}: {why}", var.name);
        EngineError::unsupported("envs", message)
    })
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
        Ability::UserNamespaces.need(Maker::Runtime).is_ok()
    }

    fn has_hooks(&self) -> Result<(), Lacking> {
        Ability::Hooks.need(Maker::Runtime)
    }

    fn prepare(&self, container: Preparing<'_>) -> Result<Prepared, EngineError> {
        refuse_raw(&self.name, Maker::Runtime, container.raw_env)?;
        let (given, seccomp) = check(&container, Maker::Runtime)?;
        let Preparing { spec, devices, root, user, volumes, places, create, .. } = container;
        let (spec, bundle) = lay_out(spec, places, &root, user, volumes)?;
        let rest = Rest { root: places.root, devices, seccomp, oom_score: own_score() };
        let token = ContainerId::from_random(random::bytes());
        let config = pieces(complete(spec, rest), &given, token.as_str())
            .map_err(|e| EngineError::system("write the container's specification", e))?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let bundle = Bundle { runtime: text(&self.runtime), dir: text(&bundle), config };
        let plan = match user {
            None => bundle::encode(&bundle),
            Some((maps, _)) => {
                let (uid, gid) = maps.root();
                bundle::encode(&Mapped { bundle, owner: Owner { uid, gid } })
            }
        };
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
        refuse_raw(&self.name, Maker::Runtime, raw_env)?;
        further(process)
    }

    fn forget(&self, places: Places<'_>) -> Result<(), EngineError> {
        unmount(places)
    }
}

/// How a process is scheduled, where the runtime may pass over it in silence.
pub(super) fn refuse_scheduling(maker: Maker, spec: &Spec) -> Result<(), EngineError> {
    let process = spec.process().as_ref();
    let asked = [
        ("scheduler", process.is_some_and(|process| process.scheduler().is_some())),
        ("io_priority", process.is_some_and(|process| process.io_priority().is_some())),
        ("memory_policy", spec.linux().as_ref().is_some_and(|linux| linux.memory_policy().is_some())),
    ];
    let Some((field, _)) = asked.into_iter().find(|(_, asked)| *asked) else { return Ok(()) };
    Ability::Scheduling.need(maker).map_err(|why| EngineError::unsupported(field, why.to_string()))
}

/// What Berth's own runtime refuses is refused for all: they differ in what they let a container cover. The namespaces that the shim
/// gives, and the rules for system calls.
pub(super) fn check(
    container: &Preparing<'_>,
    maker: Maker,
) -> Result<(Vec<LinuxNamespaceType>, Option<LinuxSeccomp>), EngineError> {
    let Preparing { spec, security, pid, volumes, cgroup, cgroups, .. } = container;
    refuse_scheduling(maker, spec)?;
    let given = oci::given_namespaces(spec, pid);
    let shown = cgroup.map(|group| plan::cgroup_mounts(cgroups.mode(), cgroups.hierarchies(), group));
    let inputs = Inputs {
        given_root: true,
        given: given.clone(),
        given_mounts: volumes.iter().map(|volume| volume.source.clone()).collect(),
        cgroups: shown.unwrap_or_default(),
        ..Inputs::default()
    };
    // Hooks, which few have, are the runtime's.
    let mut spec = Cow::Borrowed(*spec);
    if spec.hooks().is_some() {
        spec.to_mut().set_hooks(None);
    }
    plan::plan(&spec, &inputs).map_err(|e| profile::refused(&e))?;
    let process = spec.process().as_ref();
    let seccomp = process.map(|process| Profiles::rules(process, security)).transpose()?.flatten();
    Ok((given, seccomp))
}

/// A further process of the host, as a plan: with the score of the container's first one.
pub(super) fn further(process: &Process) -> Result<Vec<u8>, EngineError> {
    let mut process = process.clone();
    if process.oom_score_adj().is_none() {
        process.set_oom_score_adj(own_score());
    }
    encoded(&process)
}

/// A further process, as a plan.
pub(super) fn encoded(process: &Process) -> Result<Vec<u8>, EngineError> {
    let text = serde_json::to_string(process).map_err(|e| EngineError::system("write the process", e))?;
    bundle::encode(&bundle::Process { text }).map_err(|e| EngineError::invalid("exec", e.to_string()))
}

/// Mounts a container's root and its volumes, and makes the directory of its bundle: that, and the specification with the volumes
/// that have been idmapped.
pub(super) fn lay_out(
    spec: &Spec,
    places: Places<'_>,
    root: &Overlay<'_>,
    user: Option<(UserNamespace, BorrowedFd<'_>)>,
    volumes: Vec<Detached>,
) -> Result<(Spec, PathBuf), EngineError> {
    let mut spec = spec.clone();
    let mapped = mapped::volumes(&mut spec, places.dir, user)?;
    let bundle = places.dir.join("bundle");
    let failed = |what: &'static str| move |e: std::io::Error| EngineError::system(what, e);
    std::fs::create_dir_all(&bundle).map_err(failed("make the container's bundle"))?;
    mount_root(root, user, places.root)?;
    for Detached { source, mount } in volumes.into_iter().chain(mapped) {
        place(&mount, &source).map_err(failed("attach a volume"))?;
    }
    Ok((spec, bundle))
}

/// Unmounts what is at a container's places.
pub(super) fn unmount(places: Places<'_>) -> Result<(), EngineError> {
    let mounted = mount::mounted().map_err(|e| EngineError::system("list the mounts", e))?;
    let own = |point: &&PathBuf| point.starts_with(places.dir) || point.starts_with(places.root);
    let points = mounted.iter().map(|mount| &mount.point).filter(own);
    // The latest first: it may cover others, or be in one.
    for point in points.rev() {
        rustix::mount::unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .map_err(|e| EngineError::system(format!("unmount {}", point.display()), e))?;
    }
    match std::fs::remove_dir(places.root) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(EngineError::system(format!("remove {}", places.root.display()), e))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Mounts a container's root at a path that is made for it, as the pod's user namespace sees it.
pub(super) fn mount_root(
    root: &Overlay<'_>,
    user: Option<(UserNamespace, BorrowedFd<'_>)>,
    at: &Path,
) -> Result<(), EngineError> {
    let failed = |what: &'static str| move |e: std::io::Error| EngineError::system(what, e);
    std::fs::create_dir(at).map_err(failed("make the place of the container's root"))?;
    let mounted = match user {
        None => overlay::mount(root),
        Some((maps, namespace)) => {
            mapped::let_in(at, maps.root().1)?;
            native::own(root.upper, maps).map_err(failed("give the root to its user"))?;
            overlay::mount_idmapped(root, namespace)
        }
    };
    let mounted = mounted.map_err(|e| EngineError::system("mount the container's root", e))?;
    attach(&mounted, at).map_err(failed("attach the container's root"))
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

#[cfg(test)]
mod tests;
