//! Connections to the ports of a pod that has its own kernel, by a program of its handler.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use tokio::net::{UnixListener, UnixStream};

use super::LIMIT;
use crate::error::EngineError;
use crate::handler::{Forward, Handler};
use crate::host::layout::PodDir;
use crate::host::{helper, random};
use crate::model::SandboxView;

/// Has the handler's program connect a socket of ours to the port.
pub(super) async fn connect(
    view: &SandboxView,
    handler: &dyn Handler,
    dir: &PodDir,
    port: u16,
) -> Result<UnixStream, EngineError> {
    let unreachable = |why| EngineError::Unreachable { message: format!("connect in the pod: {why}") };
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => unreachable("it has had no container yet".to_owned()),
        _ => EngineError::system("listen for a connection to the pod", e),
    };
    let door = Door::open(&dir.kernel()).map_err(failed)?;
    let to = Forward { pod: &view.id, state: &dir.runtime(), port, socket: &door.path };
    let Some(words) = handler.forward(to) else {
        let message = format!("handler {:?} keeps the pod's network to itself", handler.name());
        return Err(EngineError::unsupported("port forwarding", message));
    };
    helper::run(&words[0], &words[1..], b"", LIMIT).await.map_err(unreachable)?;
    // It has connected, so this does not wait.
    let accepted = tokio::time::timeout(LIMIT, door.listener.accept()).await;
    let (stream, _) = accepted.map_err(io::Error::from).flatten().map_err(failed)?;
    Ok(stream)
}

/// A socket that listens in a directory that only root enters, as long as it is held.
struct Door {
    listener: UnixListener,
    /// By the descriptor of its directory, since a socket's path may have no more than 107 bytes.
    path: PathBuf,
    _dir: OwnedFd,
}

impl Door {
    fn open(dir: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(dir, flags, Mode::empty())?;
        let name: String = random::bytes().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let path = format!("/proc/{}/fd/{}/{name}.sock", std::process::id(), dir.as_raw_fd()).into();
        Ok(Self { listener: UnixListener::bind(&path)?, path, _dir: dir })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Its directory goes with the pod.
        drop(std::fs::remove_file(&self.path));
    }
}
