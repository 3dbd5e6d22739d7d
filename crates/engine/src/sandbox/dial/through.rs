//! Connections to the ports of a pod that has its own kernel, by a program of its handler.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use berth_types::SandboxId;
use rustix::fs::{Mode, OFlags};
use tokio::net::{UnixListener, UnixStream};

use super::LIMIT;
use crate::error::EngineError;
use crate::handler::{Forward, Handler};
use crate::host::layout::PodDir;
use crate::host::{helper, random};
use crate::model::SandboxView;
use crate::shared::Shared;

/// So long after one that did not come about no other is tried: gVisor's kernel may hold still meanwhile, until its network stack
/// gives up (127 s), and each further one would make that longer.
const STILL: Duration = Duration::from_secs(130);

/// Connections that are being made: one at a time to each pod, since gVisor's kernel does nothing else meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Forwards(Mutex<HashMap<SandboxId, Arc<Gate>>>);

/// When the last one to a pod was late.
type Gate = tokio::sync::Mutex<Option<Instant>>;

impl Forwards {
    /// The gate of a pod. Those of others of which nothing is to be known any more are forgotten.
    fn of(&self, pod: &SandboxId) -> Arc<Gate> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|id, gate| {
            id == pod || gate.try_lock().map_or(true, |late| holds_still(*late).is_some())
        });
        Arc::clone(gates.entry(pod.clone()).or_default())
    }
}

/// For how long none is to be tried yet.
fn holds_still(late: Option<Instant>) -> Option<Duration> {
    STILL.checked_sub(late?.elapsed())
}

/// Has the handler's program connect a socket of ours to the port.
///
/// It goes on without its caller: what is begun in the pod's kernel cannot be called off.
pub(super) async fn connect(
    shared: &Shared,
    view: Arc<SandboxView>,
    handler: Arc<dyn Handler>,
    port: u16,
) -> Result<UnixStream, EngineError> {
    let dir = shared.layout.found(&view.id);
    let gate = shared.forwards.of(&view.id);
    let work = tokio::spawn(async move { in_turn(&gate, &view, &*handler, &dir, port).await });
    work.await.map_err(|e| EngineError::system("connect in the pod", io::Error::other(e)))?
}

/// Connects when those before it have, or have failed.
async fn in_turn(
    gate: &Gate,
    view: &SandboxView,
    handler: &dyn Handler,
    dir: &PodDir,
    port: u16,
) -> Result<UnixStream, EngineError> {
    let mut late = gate.lock().await;
    if let Some(left) = holds_still(*late) {
        let message = format!(
            "connect in the pod: an earlier connection did not come about, and its kernel may hold still for another {} s",
            left.as_secs()
        );
        return Err(EngineError::Unreachable { message });
    }
    let began = Instant::now();
    let connected = by_handler(view, handler, dir, port).await;
    if connected.is_err() && began.elapsed() >= LIMIT {
        *late = Some(Instant::now());
    }
    connected
}

async fn by_handler(
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
