//! The interface between a pod and what its processes are made by: Berth's own runtime today, other OCI runtimes and
//! sandboxed ones beside it.
//!
//! ```text
//! specification --adjust--> Handler::prepare --> request to the pod's shim (with descriptors) --> Created
//! ```
//!
//! A handler decides how a container's specification and layers become what its kind of shim understands. Everything
//! else (records, states, logs, exits, teardown) is the same for all. See docs/adr/0085.

mod bundle;
pub(crate) mod check;
mod features;
pub(crate) mod foreign;
mod found;
mod gvisor;
mod hooked;
mod mapped;
mod native;
mod runtime;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use berth_sys::cgroup::{Cgroup, CgroupPath, DeviceRule, Host};
use berth_sys::overlay::Overlay;
use berth_types::shim::{Create, Request};
use berth_types::{ContainerId, SandboxId};
use oci_spec::runtime::{Process, Spec};

use berth_types::ability::Lacking;

use crate::error::EngineError;
use crate::model::{ContainerSecurity, EnvVar, PidMode, UserNamespace};
pub use crate::shim::spawn::Program;

pub use foreign::ForeignShim;
pub use found::Kind;
pub use gvisor::Gvisor;
pub(crate) use native::Native;
pub use runtime::OciRuntime;
pub use table::Runtimes;
pub(crate) use table::{ByKind, Handlers, Known};

/// The name of Berth's own runtime.
pub const NATIVE: &str = "native";

/// What a pod's processes are made by.
pub trait Handler: fmt::Debug + Send + Sync {
    /// Its name, as `runtime_handler` of the CRI has it.
    fn name(&self) -> &str;

    /// The program of its pods' shims, which speaks the protocol of `berth_types::shim`.
    fn program(&self) -> &Program;

    /// Whether each container has a cgroup of its own. A runtime whose pod is one sandbox has none: its containers are
    /// limited, measured and killed by the shim alone.
    fn has_container_cgroups(&self) -> bool;

    /// Whether a pod's containers share a kernel that is not the host's: then [`Preparing::kernel`] is given. Their groups have only
    /// what serves them on the host, and their limits are those of the kernel's group, added up.
    fn has_own_kernel(&self) -> bool {
        false
    }

    /// Whether its pods have a process beside their shim's that serves all of their containers: then [`Preparing::serving`] is given.
    fn has_serving_group(&self) -> bool {
        false
    }

    /// Whether the terminal of a further process is not the one that the shim gives for it: its size is told to the shim then.
    fn has_own_terminals(&self) -> bool {
        false
    }

    /// The program that connects a Unix socket to a port of a pod, with its arguments: it ends with 0 when both are connected. None
    /// where a pod's ports are in its network namespace on the host.
    fn forward(&self, _to: Forward<'_>) -> Option<Vec<OsString>> {
        None
    }

    /// What containers use that have a kernel of their own together, as that kernel tells. `state` is where the pod's runtime keeps what it
    /// knows. One that has ended is left out. Blocks, until the deadline at most.
    ///
    /// # Errors
    /// The kernel does not answer, or with something else.
    fn shares(
        &self,
        _state: &Path,
        _pod: &SandboxId,
        _containers: &[&ContainerId],
        _deadline: Instant,
    ) -> io::Result<HashMap<ContainerId, Share>> {
        Ok(HashMap::new())
    }

    /// Whether its pods can have a user namespace: then [`Preparing::user`] is given, and what a container is made of is to be
    /// its.
    fn has_user_namespaces(&self) -> bool;

    /// Whether hooks of a container's specification are run.
    ///
    /// # Errors
    /// They are not.
    fn has_hooks(&self) -> Result<(), Lacking> {
        Ok(())
    }

    /// The request to the shim that prepares a container. Blocks.
    ///
    /// # Errors
    /// A setting that the handler does not support, by its name; or a step failed, and [`Handler::forget`] gives back what
    /// was made.
    fn prepare(&self, container: Preparing<'_>) -> Result<Prepared, EngineError>;

    /// The encoded plan by which the shim begins the kernel of a pod before its first container needs it, where that can be. `network` is
    /// whether the pod has one of its own. Blocks.
    ///
    /// # Errors
    /// A step failed.
    fn begin(&self, _kernel: Kernel<'_>, _network: bool) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(None)
    }

    /// The encoded plan of a further process in a container, of a pod with this user namespace.
    ///
    /// # Errors
    /// A setting that the handler does not support, by its name.
    fn process(
        &self,
        process: &Process,
        raw_env: &[EnvVar],
        security: &ContainerSecurity,
        user: Option<UserNamespace>,
    ) -> Result<Vec<u8>, EngineError>;

    /// Gives back what [`Handler::prepare`] made at the container's places, mounts above all; succeeds when there is
    /// nothing. Called after the container has ended, also by a later daemon.
    ///
    /// # Errors
    /// What could not be given back; called again, it tries again.
    fn forget(&self, places: Places<'_>) -> Result<(), EngineError>;
}

/// What a container uses of its pod's own kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Processor time of its processes so far, in nanoseconds.
    pub cpu_usage_ns: u64,
    /// Memory in bytes, as far as the kernel tells that of one container from that of others.
    pub memory: u64,
}

/// A port of a pod that has its own kernel.
#[derive(Debug, Clone, Copy)]
pub struct Forward<'a> {
    /// The pod's id.
    pub pod: &'a SandboxId,
    /// Where its runtime keeps what it knows.
    pub state: &'a Path,
    /// The port, on `localhost`.
    pub port: u16,
    /// The socket, which accepts.
    pub socket: &'a Path,
}

/// What a container has on the disk for its handler.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Its directory, for what the handler keeps of it. Only root may enter.
    pub dir: &'a Path,
    /// Where its root file system may be mounted, in the pod's directory of this boot.
    pub root: &'a Path,
}

/// A container that is being prepared.
#[derive(Debug)]
pub struct Preparing<'a> {
    /// Its specification. Network, IPC and UTS namespace of the pod are the shim's.
    pub spec: &'a Spec,
    /// Variables whose values are not text, which the specification cannot hold.
    pub raw_env: &'a [EnvVar],
    /// Its security settings: the profiles are not in the specification.
    pub security: &'a ContainerSecurity,
    /// Whose PID namespace it is in.
    pub pid: &'a PidMode,
    /// Its root file system, not mounted yet.
    pub root: Overlay<'a>,
    /// The maps of the pod's user namespace, and a namespace with them.
    pub user: Option<(UserNamespace, BorrowedFd<'a>)>,
    /// Mounts that its specification binds by a path where nothing is yet: image volumes.
    pub volumes: Vec<Detached>,
    /// What it may do with which devices, in the order of a device cgroup.
    pub devices: &'a [DeviceRule],
    /// Its cgroup, where it has one.
    pub cgroup: Option<&'a Cgroup>,
    /// The pod's own group, which is there unless the caller gave the pod a parent.
    pub pod: &'a CgroupPath,
    /// What its pod's kernel is made of, where the handler's pods have one.
    pub kernel: Option<Kernel<'a>>,
    /// The cgroup of what serves the pod's containers, where the handler's pods have that.
    pub serving: Option<&'a Cgroup>,
    /// The host's cgroups.
    pub cgroups: &'a Host,
    /// Where it is on the disk.
    pub places: Places<'a>,
    /// What any shim is asked, all but the plan.
    pub create: Create,
}

/// What a pod's own kernel is made of, with its first container.
#[derive(Debug, Clone, Copy)]
pub struct Kernel<'a> {
    /// The pod's id.
    pub id: &'a SandboxId,
    /// Its cgroup.
    pub cgroup: &'a Cgroup,
    /// A directory of the pod for it, which goes with the pod.
    pub dir: &'a Path,
    /// Where an empty network namespace is mounted for what serves its files. It is unmounted with the pod.
    pub gofers: &'a Path,
    /// The pod's host name.
    pub hostname: &'a str,
    /// The pod's sysctls: those of the host's kernel are not its.
    pub sysctls: &'a BTreeMap<String, String>,
    /// Whether the pod's containers share their processes.
    pub shares_pid: bool,
}

/// A mount that is attached nowhere. A handler whose runtime takes only paths attaches it at its own.
#[derive(Debug)]
pub struct Detached {
    /// The source that the specification has for it: a path below the container's directory.
    pub source: PathBuf,
    /// The mount.
    pub mount: OwnedFd,
}

/// What a shim is asked.
#[derive(Debug)]
pub struct Prepared {
    /// The request; its good answer is `Created`.
    pub request: Request,
    /// The descriptors that come with it.
    pub fds: Vec<OwnedFd>,
}
