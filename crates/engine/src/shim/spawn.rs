//! Starting a shim, and connecting to one that runs.
//!
//! The shim is executed from one sealed memory file shared by all pods. It gets its listening socket as
//! descriptor 3, its first connection as 4 and the base of mount namespaces as 5, and is born in a cgroup outside every
//! pod's limits.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use berth_sys::cgroup::Cgroup;
use berth_sys::rlimit::{self, Limit};
use berth_sys::spawn::{Child, Executable, Spawn};
use berth_types::SandboxId;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::client::Connection;
use crate::error::EngineError;

/// Starts shims.
#[derive(Debug)]
pub(crate) struct Launcher {
    open_files: Option<Limit>,
    /// What the mount namespaces of containers begin as copies of, made with the first shim.
    base: OnceLock<OwnedFd>,
}

/// A shim that was started.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) child: Child,
    pub(crate) connection: Connection,
}

impl Launcher {
    /// Of shims with that limit of open files.
    pub(crate) fn new(open_files: Option<Limit>) -> Self {
        Self { open_files, base: OnceLock::new() }
    }

    fn base(&self) -> io::Result<&OwnedFd> {
        match self.base.get() {
            Some(base) => Ok(base),
            None => berth_sys::mount::base_namespace().map(|made| self.base.get_or_init(|| made)),
        }
    }

    /// Starts the shim of `sandbox` in that cgroup, listening at `socket`.
    pub(crate) fn launch(
        &self,
        program: &Program,
        cgroup: &Cgroup,
        sandbox: &SandboxId,
        socket: &Path,
    ) -> Result<Launched, EngineError> {
        let failed = |what: &'static str| move |e: io::Error| EngineError::system(what, e);
        let program = program.file().map_err(failed("make the shim's memory file"))?;
        let listener = listen(socket).map_err(failed("listen on the shim's socket"))?;
        let (ours, theirs) = pair().map_err(failed("make the shim's first connection"))?;
        let base = self.base().map_err(failed("make the base of the containers' mount namespaces"))?;
        let join = cgroup.join().map_err(|e| EngineError::failed("open the shims' cgroup", e))?;
        let name: &CStr = c"berth-shim";
        let id = CString::new(sandbox.as_str()).expect("an id has no NUL");
        let tasks: Vec<_> = join.tasks.iter().map(AsFd::as_fd).collect();
        let child = Spawn {
            program: Executable::File(program.as_fd()),
            argv: &[name, &id],
            fds: &[listener.as_fd(), theirs.as_fd(), base.as_fd()],
            env: &[],
            stdio: [None; 3],
            cgroup: join.v2_dir.as_ref().map(AsFd::as_fd),
            tasks: &tasks,
            new_pid_namespace: false,
        }
        .spawn()
        .map_err(failed("start the shim"))?;
        if let Some(limit) = self.open_files {
            // It has not been asked for anything yet.
            let set = rlimit::set(child.pid, rlimit::NOFILE, limit).map_err(io::Error::from);
            set.map_err(failed("set the shim's limit of open files"))?;
        }
        Ok(Launched { child, connection: Connection::new(ours) })
    }
}

/// A shim's program, kept in one sealed memory file that all pods share: so `/proc/self/exe` in a container never names a
/// file of the host.
#[derive(Debug)]
pub struct Program {
    bytes: &'static [u8],
    file: OnceLock<OwnedFd>,
}

impl Program {
    /// The program in these bytes. Its file is made with the first shim.
    pub fn new(bytes: &'static [u8]) -> Self {
        Self { bytes, file: OnceLock::new() }
    }

    pub(crate) fn file(&self) -> io::Result<&OwnedFd> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let made = berth_sys::memfd::sealed("berth-shim", self.bytes)?;
        Ok(self.file.get_or_init(|| made))
    }
}

fn listen(path: &Path) -> io::Result<OwnedFd> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let address = Address::of(path)?;
    rustix::net::bind(&socket, &address.name)?;
    rustix::net::listen(&socket, 16)?;
    Ok(socket)
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// Connects to the shim that listens at `path`. A shim that is alive is connected in the kernel at once.
pub(crate) fn connect(path: &Path) -> io::Result<Connection> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &Address::of(path)?.name)?;
    Ok(Connection::new(socket))
}

/// The address of a socket in the file system. It holds 107 bytes; a longer path is named through a
/// descriptor of its directory, which must stay open for the call.
struct Address {
    name: SocketAddrUnix,
    _dir: Option<OwnedFd>,
}

impl Address {
    fn of(path: &Path) -> io::Result<Self> {
        use rustix::fs::{Mode, OFlags};
        use std::os::fd::AsRawFd;
        if path.as_os_str().len() <= 100 {
            return Ok(Self { name: SocketAddrUnix::new(path)?, _dir: None });
        }
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let fd = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let short = Path::new("/proc/self/fd").join(fd.as_raw_fd().to_string()).join(name);
        Ok(Self { name: SocketAddrUnix::new(&short)?, _dir: Some(fd) })
    }
}
