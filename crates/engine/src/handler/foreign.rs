//! A shim that speaks containerd's protocol: runc's own, or any other whose containers are processes of the host. The pod's shim
//! drives it as it drives an OCI runtime; what it is given is the same. See docs/adr/0095.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_types::ContainerId;
use berth_types::ability::{Ability, Lacking, Maker};
use berth_types::shim::bundle::{self, Bundle, Task};
use berth_types::shim::{Create, Request};
use oci_spec::runtime::Process;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::bundle::{Rest, complete, pieces};
use super::runtime::{check, further, lay_out, own_score, refuse_raw, unmount};
use super::{Handler, Places, Prepared, Preparing, Program};
use crate::error::EngineError;
use crate::host::random;
use crate::model::{ContainerSecurity, EnvVar, UserNamespace};

/// How the program of such a shim is called: `io.containerd.NAME.v2` of containerd is `containerd-shim-NAME-v2`.
const PROGRAM: (&str, &str) = ("containerd-shim-", "-v2");
/// How containerd calls it.
const RUNTIME: (&str, &str) = ("io.containerd.", ".v2");

/// The longest address of one.
const MAX_ADDRESS: u64 = 4 << 10;

/// A shim by its program.
#[derive(Debug)]
pub struct ForeignShim {
    name: String,
    program: PathBuf,
    shim: Arc<Program>,
}

impl ForeignShim {
    /// The program at an absolute path, under a name, and the program of its pods' own shims.
    pub fn new(name: String, program: PathBuf, shim: Arc<Program>) -> Self {
        Self { name, program, shim }
    }
}

/// Removes the socket of a pod's shim that was killed, as far as it made one outside of the pod's directory; `dir` is where it worked.
pub(crate) fn clear(dir: &Path) {
    let written = berth_sys::fs::read_regular(&dir.join("address"), MAX_ADDRESS);
    let address = written.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(path) = address.as_deref().and_then(|text| text.trim().strip_prefix("unix://")) else { return };
    // The path is what a foreign program said, so it may be anything.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && is_dead(Path::new(path)) {
        // The next shim of this name would replace it as well.
        drop(std::fs::remove_file(path));
    }
}

/// Whether nobody listens there. Does not wait.
fn is_dead(path: &Path) -> bool {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let connect = || {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
    };
    connect() == Err(Errno::CONNREFUSED)
}

/// Whether a program is one.
pub(super) fn is_program(file: &str) -> bool {
    between(file, PROGRAM).is_some()
}

/// The name of the program, of a shim or of containerd's name for it.
pub(super) fn program(name: &str) -> String {
    let name = between(name, RUNTIME).unwrap_or(name);
    format!("{}{name}{}", PROGRAM.0, PROGRAM.1)
}

/// The name of a program's shim.
pub(super) fn name_of(file: &str) -> Option<&str> {
    between(file, PROGRAM)
}

/// Whether this is containerd's name of one, and not a path.
pub(super) fn is_runtime(text: &str) -> bool {
    between(text, RUNTIME).is_some()
}

fn between<'a>(text: &'a str, (before, behind): (&str, &str)) -> Option<&'a str> {
    let name = text.strip_prefix(before)?.strip_suffix(behind)?;
    Some(name).filter(|name| !name.is_empty() && !name.contains('/'))
}

impl Handler for ForeignShim {
    fn name(&self) -> &str {
        &self.name
    }

    fn program(&self) -> &Program {
        &self.shim
    }

    fn has_container_cgroups(&self) -> bool {
        true
    }

    fn has_serving_group(&self) -> bool {
        true
    }

    fn has_own_terminals(&self) -> bool {
        true
    }

    fn has_user_namespaces(&self) -> bool {
        Ability::UserNamespaces.need(Maker::Shim).is_ok()
    }

    fn has_hooks(&self) -> Result<(), Lacking> {
        Ability::Hooks.need(Maker::Shim)
    }

    fn prepare(&self, container: Preparing<'_>) -> Result<Prepared, EngineError> {
        refuse_raw(&self.name, Maker::Shim, container.raw_env)?;
        let (given, seccomp) = check(&container, Maker::Shim)?;
        let Preparing { spec, devices, root, volumes, serving, places, create, .. } = container;
        let Some(serving) = serving else {
            let message = format!("the pod has no place for a shim, which handler {:?} needs", self.name);
            return Err(EngineError::unsupported("runtime_handler", message));
        };
        let (spec, dir) = lay_out(spec, places, &root, None, volumes)?;
        // Such shims find the container's name there.
        let dir = dir.join(create.container.as_str());
        std::fs::create_dir_all(&dir).map_err(|e| EngineError::system("make the container's bundle", e))?;
        let rest = Rest { root: places.root, devices, seccomp, oom_score: own_score() };
        let token = ContainerId::from_random(random::bytes());
        let config = pieces(complete(spec, rest), &given, token.as_str())
            .map_err(|e| EngineError::system("write the container's specification", e))?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let container = Bundle { runtime: text(&self.program), dir: text(&dir), config };
        let cgroup_dirs = serving.dirs().iter().map(|dir| text(dir)).collect();
        let plan = bundle::encode(&Task { container, cgroup_dirs });
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
        refuse_raw(&self.name, Maker::Shim, raw_env)?;
        further(process)
    }

    fn forget(&self, places: Places<'_>) -> Result<(), EngineError> {
        unmount(places)
    }
}
