//! Groups where systemd manages the hierarchy (cgroup v2 alone): a scope for each pod, handed over to this program.
//!
//! ```text
//! kubepods-pod7.slice                  the kubelet's; berth.slice for pods without a parent
//!   berth-pod<sandbox id>.scope        Delegate=yes: what is below is not systemd's
//!     pause                            a process that only waits
//!     pod                              the pod's own group, where it has one
//!     <container id>                   (in pod/ for pods without a parent)
//! berth.slice/berth-shims.slice
//!   berth-shim<sandbox id>.scope       the shim, which outlives the daemon and its unit
//! ```
//!
//! systemd writes nothing below a delegated scope, so that a container's limits and device rules survive `daemon-reload`
//! without being told to it, and the number of out-of-memory kills is there for as long as the shim needs it: a scope
//! is removed as soon as it is empty, and the waiting process keeps the pod's from being that. Two calls make a pod and two end it;
//! containers, execs and updates need none (docs/adr/0010).

mod bus;
mod keeping;
mod names;

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;

use berth_sys::cgroup::{self, Cgroup, CgroupPath, Resources};
use berth_sys::spawn::{Executable, Spawn};
use berth_types::lifecycle::Refused;
use berth_types::{Classify as _, Kind, SandboxId};

use super::{Driver, Placement, PodCgroups};
use crate::error::EngineError;
use crate::host::shims::reap_later;
use crate::sandbox::teardown::Failures;
use crate::shim::spawn::Program;
use bus::{Bus, Scope};
use keeping::{Keep, Turns};

pub use names::Slice;
pub(super) use names::{own, pod_of, shims};

/// A pod's own group in its scope.
const POD: &str = "pod";
/// The group of the waiting process.
const PAUSE: &str = "pause";
/// The name of that process, by which the shim's program knows what to do.
const PAUSE_NAME: &CStr = c"berth-pause";
/// The time that systemd gives a shim after SIGTERM, which it ignores, when the machine shuts down. Its pod has ended by then.
const SHIM_STOP_SECONDS: u64 = 2;

/// Scopes that systemd hands over.
#[derive(Debug)]
pub(crate) struct Systemd {
    host: cgroup::Host,
    root: Slice,
    program: Arc<Program>,
    bus: Bus,
    /// For looking for a pod's scope and making it again.
    turns: Turns,
}

impl Systemd {
    /// On this host; pods without a parent of their own go into `root`. The program is the shim's. To be called on the
    /// runtime that calls to systemd are made on.
    pub(crate) fn new(host: cgroup::Host, root: Slice, program: Arc<Program>) -> Self {
        Self { host, root, program, bus: Bus::system(), turns: Turns::default() }
    }

    /// Makes the scope of a pod, with the process that keeps it. Half of one is not left.
    fn begin(&self, sandbox: &SandboxId, scope: &CgroupPath) -> Result<(), EngineError> {
        self.try_begin(sandbox, scope).inspect_err(|error| {
            let ended = match error.kind() {
                // systemd does not answer, and is not waited for once more: a scope without processes ends by itself.
                Kind::Timeout | Kind::Unavailable => super::end(&self.host, scope),
                _ => self.end_scope(scope),
            };
            // What cannot be ended now is ended with the pod, or by the next try.
            if let Err(left) = ended {
                let error = berth_types::error::chain(&left);
                tracing::warn!(
                    sandbox = sandbox.short(),
                    error,
                    "half of a pod's scope could not be ended yet"
                );
            }
        })
    }

    fn try_begin(&self, sandbox: &SandboxId, scope: &CgroupPath) -> Result<(), EngineError> {
        let what = || format!("make the pod's scope {scope}");
        let failed = |e| EngineError::failed(what(), e);
        let group = self.host.bare(scope).map_err(failed)?;
        let join = group.join().map_err(failed)?;
        let program = self.program.file().map_err(|e| EngineError::system(what(), e))?;
        let id = CString::new(sandbox.as_str()).expect("an id has no NUL");
        let spawn = Spawn {
            program: Executable::File(program.as_fd()),
            argv: &[PAUSE_NAME, &id],
            fds: &[],
            env: &[],
            stdio: [None; 3],
            cgroup: join.v2_dir.as_ref().map(|dir| dir.as_fd()),
            tasks: &[],
            new_pid_namespace: false,
        };
        // Born in it: whoever finds the group finds the process, whenever this daemon is killed.
        let child = spawn.spawn().map_err(|e| EngineError::system(what(), e))?;
        let pid = child.pid;
        reap_later(child.pidfd, false);
        let (slice, unit) = names::split(scope);
        self.bus.start(Scope {
            unit: unit.to_owned(),
            slice: slice.to_owned(),
            description: format!("Pod {}", sandbox.short()),
            pid,
            delegate: true,
            after: Some(names::shim_unit(&self.root, sandbox)),
            stop_seconds: None,
        })?;
        // A group with controllers for those below it can have no processes of its own.
        let pause = self.host.bare(&scope.child(PAUSE).map_err(failed)?).map_err(failed)?;
        pause.take(pid).map_err(failed)
    }

    fn exists(&self, group: &CgroupPath) -> bool {
        self.host.open(group).dirs().iter().any(|dir| dir.exists())
    }

    /// Makes the scope of a pod again if that is needed for a group in it.
    fn keep(&self, sandbox: &SandboxId, scope: &CgroupPath, inside: &str) -> Result<(), EngineError> {
        let failed = |e| EngineError::failed(format!("look for the pod's scope {scope}"), e);
        let (pause, pod) = (scope.child(PAUSE).map_err(failed)?, scope.child(POD).map_err(failed)?);
        self.turns.with(sandbox, || match Keep::of(self.exists(&pause), self.exists(&pod), inside) {
            Keep::Nothing => Ok(()),
            Keep::Again => {
                self.end_scope(scope)?;
                self.begin(sandbox, scope)
            }
            Keep::Refused => {
                let thing = "pod sandbox";
                let refused =
                    Refused { thing, event: "create a container in", state: "without its own cgroup" };
                Err(EngineError::Refused { thing, id: sandbox.short().to_owned(), refused })
            }
        })
    }

    /// Ends a scope and everything in it. One whose group is gone has ended: systemd keeps nothing of it.
    fn end_scope(&self, scope: &CgroupPath) -> Result<(), EngineError> {
        if !self.exists(scope) {
            return Ok(());
        }
        // systemd would ask processes to end first, and wait.
        super::kill(&self.host, scope)?;
        let mut failures = Failures::default();
        failures.take(self.bus.stop(names::split(scope).1).map_err(EngineError::from));
        failures.take(super::remove(&self.host, scope));
        failures.result("end the scope")
    }

    /// Ends the instance's slice with everything in it.
    fn end_root(&self) -> Result<(), EngineError> {
        let path = self.root.path();
        super::kill(&self.host, &path)?;
        let mut failures = Failures::default();
        for slice in [names::shims(&self.root), self.root.clone()] {
            failures.take(self.bus.stop(&slice.name()).map_err(EngineError::from));
        }
        failures.take(super::remove(&self.host, &path));
        failures.result("end the instance's slice")
    }

    fn shim_scope(&self, sandbox: &SandboxId) -> CgroupPath {
        names::shims(&self.root).scope(&names::shim_unit(&self.root, sandbox))
    }
}

/// The scopes of an instance with their pods, in whichever slice below `mount`. Only slices are looked into: what is below a
/// scope or a service is not systemd's alone.
pub(super) fn scopes(mount: &Path, root: &Slice) -> Vec<(CgroupPath, SandboxId)> {
    let mut found = Vec::new();
    let mut slices = vec![String::new()];
    while let Some(slice) = slices.pop() {
        for name in super::children(&mount.join(&slice)) {
            let path = if slice.is_empty() { name.clone() } else { format!("{slice}/{name}") };
            if names::is_slice(&name) {
                slices.push(path);
            } else if let Some(sandbox) = names::own(root, &name) {
                found.extend(CgroupPath::new(&path).ok().map(|group| (group, sandbox)));
            }
        }
    }
    found
}

/// What has to be ended with a group: the scope with the pod's own, else itself.
pub(super) fn whole(path: &CgroupPath) -> CgroupPath {
    match names::scope_of(path) {
        Some((scope, "" | POD)) => scope,
        Some(_) | None => path.clone(),
    }
}

impl Placement for Systemd {
    fn driver(&self) -> Driver {
        Driver::Systemd
    }

    fn of_pod(&self, sandbox: &SandboxId, parent: Option<&str>) -> Result<PodCgroups, EngineError> {
        let parent = parent.filter(|parent| !parent.trim_matches('/').is_empty());
        let given = parent.map(Slice::parse).transpose();
        let given = given.map_err(|why| EngineError::invalid("cgroup_parent", why))?;
        let slice = given.as_ref().unwrap_or(&self.root);
        let scope = slice.scope(&names::pod_unit(&self.root, sandbox));
        let pod = scope.child(POD).map_err(|e| EngineError::failed("cgroup_parent", e))?;
        let parent = if given.is_some() { scope } else { pod.clone() };
        Ok(PodCgroups { pod, parent })
    }

    fn make_pod(
        &self,
        sandbox: &SandboxId,
        place: &PodCgroups,
        limits: Option<&Resources>,
    ) -> Result<(), EngineError> {
        self.begin(sandbox, &whole(&place.pod))?;
        limits.map_or(Ok(()), |limits| self.make(&place.pod, limits).map(drop))
    }

    fn make(&self, path: &CgroupPath, limits: &Resources) -> Result<Cgroup, EngineError> {
        // Someone may have ended it: systemctl stop, or a kill of everything in it.
        if let Some((scope, inside)) = names::scope_of(path)
            && let Some(sandbox) = names::pod_of(names::split(&scope).1)
        {
            self.keep(&sandbox, &scope, inside)?;
        }
        self.host.create(path, limits).map_err(|e| EngineError::failed(format!("make cgroup {path}"), e))
    }

    fn update(&self, path: &CgroupPath, limits: &Resources) -> Result<(), EngineError> {
        let updated = self.host.open(path).update(limits);
        updated.map_err(|e| EngineError::failed("change the limits", e))
    }

    fn end(&self, path: &CgroupPath) -> Result<(), EngineError> {
        let whole = whole(path);
        if names::any_pod_of(names::split(&whole).1).is_some() {
            self.end_scope(&whole)
        } else if whole == self.root.path() {
            self.end_root()
        } else {
            super::end(&self.host, &whole)
        }
    }

    fn make_shim(&self, sandbox: &SandboxId) -> Result<Cgroup, EngineError> {
        let scope = self.shim_scope(sandbox);
        self.host.bare(&scope).map_err(|e| EngineError::failed(format!("make the shim's scope {scope}"), e))
    }

    fn adopt_shim(&self, sandbox: &SandboxId, pid: i32) -> Result<(), EngineError> {
        let started = self.bus.start(Scope {
            unit: names::shim_unit(&self.root, sandbox),
            slice: names::shims(&self.root).name(),
            description: format!("Shim of pod {}", sandbox.short()),
            pid,
            delegate: false,
            after: None,
            stop_seconds: Some(SHIM_STOP_SECONDS),
        });
        Ok(started?)
    }

    fn end_shim(&self, sandbox: &SandboxId) -> Result<(), EngineError> {
        self.end_scope(&self.shim_scope(sandbox))
    }

    fn sweep(&self, known: &HashSet<SandboxId>) -> Result<(), EngineError> {
        let mut failures = Failures::default();
        for (unit, group) in self.bus.scopes(names::patterns(&self.root))? {
            let Some(sandbox) = names::own(&self.root, &unit).filter(|sandbox| !known.contains(sandbox))
            else {
                continue;
            };
            tracing::info!(sandbox = sandbox.short(), unit, "ending a scope of a pod that no longer exists");
            failures.take(match CgroupPath::new(&group) {
                Ok(group) => self.end_scope(&group),
                // It has none any more.
                Err(_) => self.bus.stop(&unit).map_err(EngineError::from),
            });
        }
        failures.result("end the scopes of pods that no longer exist")
    }
}
