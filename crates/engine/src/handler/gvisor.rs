//! gVisor: a pod's containers are in one sandbox, a kernel of their own in a process of the host. The pod's shim drives it by
//! runsc's command line, as it does runc, and begins the sandbox with the pod. See docs/adr/0097.

mod control;
mod gofers;
mod seccomp;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use berth_container::plan::{self, Inputs};
use berth_types::ability::{Ability, Lacking, Maker};
use berth_types::shim::bundle::{self, Bundle, Member, Piece};
use berth_types::shim::{Create, Request};
use berth_types::{ContainerId, SandboxId};
use oci_spec::runtime::{
    LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxResources, Process, Spec,
};
use serde_json::json;

use super::bundle::{Rest, complete, pieces};
use super::check::program;
use super::runtime::{encoded, lay_out, own_score, refuse_raw, refuse_scheduling, unmount};
use super::{Forward, Handler, Kernel, Places, Prepared, Preparing, Program, Share};
use crate::error::EngineError;
use crate::host::random;
use crate::model::{
    APPARMOR_DEFAULT, APPARMOR_UNCONFINED, ContainerSecurity, EnvVar, PidMode, UserNamespace,
};
use crate::oci;
use crate::profile::{self, Profiles};

/// What runsc is told of which container is the sandbox's, and which sandbox a container is in.
const TYPE: &str = "io.kubernetes.cri.container-type";
const SANDBOX: &str = "io.kubernetes.cri.sandbox-id";

/// A program with runsc's command line.
#[derive(Debug)]
pub struct Gvisor {
    name: String,
    runtime: PathBuf,
    shim: Arc<Program>,
    gofers: gofers::Network,
}

impl Gvisor {
    /// The runtime at an absolute path, under a name, and the program of its pods' shims.
    pub fn new(name: String, runtime: PathBuf, shim: Arc<Program>) -> Self {
        Self { name, runtime, shim, gofers: gofers::Network::default() }
    }

    fn need(&self, ability: Ability, field: &str, what: &str) -> Result<(), EngineError> {
        ability.need(Maker::Gvisor).map_err(|why| {
            EngineError::unsupported(field, format!("{what}, with handler {:?}: {why}", self.name))
        })
    }

    /// What gVisor passes over, or what is the host's.
    fn check(&self, container: &Preparing<'_>) -> Result<(), EngineError> {
        let Preparing { spec, raw_env, security, pid, kernel, .. } = container;
        refuse_raw(&self.name, Maker::Gvisor, raw_env)?;
        if matches!(pid, PidMode::Node) {
            self.need(Ability::HostPid, "namespace_options.pid", "the host's processes would be seen")?;
        }
        if !has(spec, LinuxNamespaceType::Ipc) {
            self.need(Ability::HostIpc, "namespace_options.ipc", "the host's IPC would be used")?;
        }
        if let Some(name) = kernel.and_then(|kernel| kernel.sysctls.keys().next()) {
            self.need(Ability::Sysctls, "sysctls", &format!("{name} is of the host's kernel"))?;
        }
        if security.privileged {
            self.need(Ability::Privileged, "privileged", "it would have the host's devices")?;
        }
        let devices = spec.linux().as_ref().and_then(|linux| linux.devices().as_ref());
        if let Some(device) = devices.and_then(|devices| devices.first()) {
            let what = format!("{} is a device of the host", device.path().display());
            self.need(Ability::HostDevices, "devices", &what)?;
        }
        let usual = [APPARMOR_UNCONFINED, APPARMOR_DEFAULT];
        if let Some(profile) = security.apparmor.as_deref().filter(|profile| !usual.contains(profile)) {
            let what = format!("{profile} is a profile of the host's kernel");
            self.need(Ability::Apparmor, "apparmor", &what)?;
        }
        if security.selinux.is_some() {
            self.need(Ability::Selinux, "selinux_options", "a label is of the host's kernel")?;
        }
        self.check_paths(spec)?;
        self.check_mounts(spec)
    }

    /// gVisor passes over paths to hide and to make read-only. Those of `/proc` and `/sys` are the host's secrets, which its kernel
    /// does not have.
    fn check_paths(&self, spec: &Spec) -> Result<(), EngineError> {
        let Some(linux) = spec.linux() else { return Ok(()) };
        let fields = [("masked_paths", linux.masked_paths()), ("readonly_paths", linux.readonly_paths())];
        for (field, paths) in fields {
            let of_kernel =
                |path: &&String| !["/proc", "/sys"].iter().any(|of| Path::new(path).starts_with(of));
            if let Some(path) = paths.iter().flatten().find(of_kernel) {
                let what = format!("{path} is neither in /proc nor in /sys");
                self.need(Ability::ProtectedPaths, field, &what)?;
            }
        }
        Ok(())
    }

    fn check_mounts(&self, spec: &Spec) -> Result<(), EngineError> {
        for mount in spec.mounts().iter().flatten() {
            for option in mount.options().iter().flatten() {
                let ability = match option.as_str() {
                    "rshared" | "shared" | "rslave" | "slave" => Ability::Propagation,
                    "rro" => Ability::RecursiveReadOnly,
                    _ => continue,
                };
                let what = format!("option {option} of the mount at {}", mount.destination().display());
                self.need(ability, "mounts", &what)?;
            }
        }
        Ok(())
    }
}

impl Handler for Gvisor {
    fn name(&self) -> &str {
        &self.name
    }

    fn program(&self) -> &Program {
        &self.shim
    }

    fn has_container_cgroups(&self) -> bool {
        true
    }

    fn has_own_kernel(&self) -> bool {
        true
    }

    fn forward(&self, to: Forward<'_>) -> Option<Vec<OsString>> {
        let Forward { pod, state, port, socket } = to;
        let port = port.to_string();
        let words: [&OsStr; 8] = [
            self.runtime.as_ref(),
            "--root".as_ref(),
            state.as_ref(),
            "port-forward".as_ref(),
            "--stream".as_ref(),
            socket.as_ref(),
            pod.as_str().as_ref(),
            port.as_ref(),
        ];
        Some(words.map(OsStr::to_owned).to_vec())
    }

    fn shares(
        &self,
        state: &Path,
        pod: &SandboxId,
        containers: &[&ContainerId],
        deadline: Instant,
    ) -> io::Result<HashMap<ContainerId, Share>> {
        control::shares(state, pod, containers, deadline)
    }

    fn has_user_namespaces(&self) -> bool {
        Ability::UserNamespaces.need(Maker::Gvisor).is_ok()
    }

    fn has_hooks(&self) -> Result<(), Lacking> {
        Ability::Hooks.need(Maker::Gvisor)
    }

    fn prepare(&self, container: Preparing<'_>) -> Result<Prepared, EngineError> {
        self.check(&container)?;
        let Preparing { spec, security, pid, root, volumes, cgroup, cgroups, kernel, places, create, .. } =
            container;
        let Some(kernel) = kernel else {
            let message = format!("the pod has no place for a kernel, which handler {:?} needs", self.name);
            return Err(EngineError::unsupported("runtime_handler", message));
        };
        refuse_scheduling(Maker::Gvisor, spec)?;
        // What Berth's own runtime refuses is refused for all: they differ in what they let a container cover.
        let shown = cgroup.map(|group| plan::cgroup_mounts(cgroups.mode(), cgroups.hierarchies(), group));
        let inputs = Inputs {
            given_root: true,
            given: oci::given_namespaces(spec, pid),
            given_mounts: volumes.iter().map(|volume| volume.source.clone()).collect(),
            cgroups: shown.unwrap_or_default(),
            ..Inputs::default()
        };
        plan::plan(spec, &inputs).map_err(|e| profile::refused(&e))?;
        let process = spec.process().as_ref();
        let seccomp = process.map(|process| Profiles::rules(process, security)).transpose()?.flatten();
        let seccomp = seccomp.map(seccomp::translated).transpose();
        let seccomp = seccomp.map_err(|what| {
            let message = format!("{what}, which gVisor does not know, with handler {:?}", self.name);
            EngineError::unsupported("seccomp", message)
        })?;
        let (spec, bundle) = lay_out(spec, places, &root, None, volumes)?;
        let rest = Rest { root: places.root, devices: &[], seccomp, oom_score: own_score() };
        let spec = member(complete(spec, rest), pid, &create.container, &kernel);
        let failed = |e| EngineError::system("write the container's specification", e);
        let text = serde_json::to_string(&spec).map_err(failed)?;
        let network = has(&spec, LinuxNamespaceType::Network);
        let plan = self.plan(&kernel, network, self.bundle(&bundle, vec![Piece::Text(text)]))?;
        Ok(Prepared { request: Request::Create(Create { plan, ..create }), fds: Vec::new() })
    }

    fn begin(&self, kernel: Kernel<'_>, network: bool) -> Result<Option<Vec<u8>>, EngineError> {
        let nothing = self.bundle(kernel.dir, Vec::new());
        self.plan(&kernel, network, nothing).map(Some)
    }

    fn process(
        &self,
        process: &Process,
        raw_env: &[EnvVar],
        _security: &ContainerSecurity,
        _user: Option<UserNamespace>,
    ) -> Result<Vec<u8>, EngineError> {
        refuse_raw(&self.name, Maker::Gvisor, raw_env)?;
        encoded(process)
    }

    fn forget(&self, places: Places<'_>) -> Result<(), EngineError> {
        unmount(places)
    }
}

impl Gvisor {
    /// What the shim is given: the sandbox with each container, since either may be the first to come.
    fn plan(&self, kernel: &Kernel<'_>, network: bool, container: Bundle) -> Result<Vec<u8>, EngineError> {
        self.gofers.mount(kernel.gofers);
        let member = Member {
            sandbox: self.sandbox(network, kernel)?,
            cgroup_dirs: kernel.cgroup.dirs().iter().map(|dir| dir.to_string_lossy().into_owned()).collect(),
            options: options(if network { "sandbox" } else { "host" }),
            container,
        };
        bundle::encode(&member).map_err(|e| EngineError::invalid("container", e.to_string()))
    }

    fn bundle(&self, dir: &Path, config: Vec<Piece>) -> Bundle {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Bundle { runtime: text(&self.runtime), dir: text(dir), config }
    }

    /// What the sandbox begins with: a program that waits, alone in a read-only root. It is written for each container, since the
    /// shim alone knows which is the first.
    fn sandbox(&self, network: bool, kernel: &Kernel<'_>) -> Result<Bundle, EngineError> {
        let failed = |e| EngineError::system("write the sandbox's bundle", e);
        let pause = program::pause().ok_or_else(|| failed(std::io::ErrorKind::Unsupported.into()))?;
        let root = kernel.dir.join("rootfs");
        std::fs::create_dir_all(&root).map_err(failed)?;
        let file = root.join("pause");
        if !file.exists() {
            berth_sys::fs::write_atomic(&file, &pause, berth_sys::fs::Durability::Process).map_err(failed)?;
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o555)).map_err(failed)?;
        }
        let spec = json!({
            "ociVersion": "1.0.2",
            "process": { "user": { "uid": 0, "gid": 0 }, "args": ["/pause"], "cwd": "/", "noNewPrivileges": true },
            "root": { "path": root, "readonly": true },
            "hostname": kernel.hostname,
            "annotations": { TYPE: "sandbox" },
            "linux": {},
        });
        let failed = |e| EngineError::system("write the sandbox's specification", e);
        let mut spec: Spec = serde_json::from_value(spec).map_err(failed)?;
        let given: Vec<_> = network.then_some(LinuxNamespaceType::Network).into_iter().collect();
        let mut linux = spec.linux().clone().unwrap_or_default();
        linux.set_namespaces(Some(given.iter().map(|kind| namespace(*kind, None)).collect()));
        spec.set_linux(Some(linux));
        let token = ContainerId::from_random(random::bytes());
        let config = pieces(spec, &given, token.as_str()).map_err(failed)?;
        Ok(self.bundle(kernel.dir, config))
    }
}

/// What runsc is given before every verb: the pod's network, or the host's; no cgroup of its own, since it is born in its; files
/// where others see them; the filter of system calls, the bits that give a program its user and raw sockets, which it passes over
/// or takes away else.
pub(super) fn options(network: &str) -> Vec<String> {
    let mut all = vec![format!("--network={network}")];
    let others = ["--ignore-cgroups", "--overlay2=none", "--oci-seccomp", "--allow-suid", "--net-raw"];
    all.extend(others.map(str::to_owned));
    all
}

fn has(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    let all = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    all.is_some_and(|all| all.iter().any(|namespace| namespace.typ() == kind))
}

fn namespace(kind: LinuxNamespaceType, path: Option<PathBuf>) -> LinuxNamespace {
    let builder = LinuxNamespaceBuilder::default().typ(kind);
    let builder = match path {
        Some(path) => builder.path(path),
        None => builder,
    };
    builder.build().expect("it has its kind")
}

/// The specification of a container in the sandbox. PID namespaces are those in there: two are the same if their paths are,
/// which name nothing; without one it is with what the sandbox begins with. What is the host's kernel's is left out.
fn member(mut spec: Spec, pid: &PidMode, id: &ContainerId, kernel: &Kernel<'_>) -> Spec {
    let mut annotations = spec.annotations().clone().unwrap_or_default();
    annotations.insert(TYPE.to_owned(), "container".to_owned());
    annotations.insert(SANDBOX.to_owned(), kernel.id.to_string());
    spec.set_annotations(Some(annotations));
    if let Some(process) = spec.process_mut() {
        process.set_apparmor_profile(None);
    }
    let of = match pid {
        PidMode::Pod => None,
        PidMode::Target(_) if kernel.shares_pid => None,
        PidMode::Target(target) => Some(target.as_str()),
        PidMode::Container | PidMode::Node => Some(id.as_str()),
    };
    let mut linux = spec.linux().clone().unwrap_or_default();
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    namespaces.retain(|other| other.typ() != LinuxNamespaceType::Pid);
    namespaces.extend(of.map(|of| namespace(LinuxNamespaceType::Pid, Some(Path::new("/berth").join(of)))));
    linux.set_namespaces(Some(namespaces)).set_resources(None::<LinuxResources>).set_cgroups_path(None);
    spec.set_linux(Some(linux));
    spec
}

#[cfg(test)]
mod tests;
