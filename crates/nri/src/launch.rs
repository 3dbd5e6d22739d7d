//! Plugins that the daemon starts: executable files `NN-NAME` of a directory. Each has its connection as descriptor 3, and ends with it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_sys::spawn::{Executable, Spawn};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::connection::Call;
use crate::plugin::{Identity, Plugin};
use crate::service::{Service, Settings};
use crate::worker;

/// Plugins of the directory.
const MAX_PLUGINS: usize = 64;
/// The largest configuration.
const MAX_CONFIG: u64 = 1 << 20;
/// The time that all of them have before pods are served without those that are late.
const START_LIMIT: Duration = Duration::from_secs(20);
/// The time that a plugin has to end when it is killed.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Starts every plugin at once, and takes them in in the order of their names. One that cannot be taken in is told of in the log, and
/// harms no other. Those that are not taken in when the time is over come later.
pub(crate) async fn all(service: &Service, settings: &Settings) {
    let dir = settings.plugin_dir.display();
    let found = match found(&settings.plugin_dir) {
        Ok(found) => found,
        Err(error) => {
            return tracing::warn!(%dir, %error, "failed to read the directory of NRI plugins");
        }
    };
    if found.is_empty() {
        return;
    }
    let (first, rest) = found.split_at(found.len().min(MAX_PLUGINS));
    if !rest.is_empty() {
        let left_out = rest.len();
        tracing::warn!(%dir, left_out, "more than {MAX_PLUGINS} NRI plugins: the last by name are not started");
    }
    let begin = |path: &PathBuf| {
        let (settings, of) = (settings.clone(), path.clone());
        (path.clone(), tokio::spawn(async move { begin(&settings, &of).await }))
    };
    let begun: Vec<Begun> = first.iter().map(begin).collect();
    let taken = tokio::spawn(take_in(service.clone(), begun));
    if tokio::time::timeout(START_LIMIT, taken).await.is_err() {
        let millis = START_LIMIT.as_millis();
        tracing::warn!(%dir, millis, "not all NRI plugins are there within their time: pods are served without them until they are");
    }
}

/// A plugin that is being started.
type Begun = (PathBuf, JoinHandle<Result<Registered, String>>);

/// A plugin that is configured, its calls, and its program.
type Registered = (Plugin, mpsc::Receiver<Call>, Started);

async fn take_in(service: Service, begun: Vec<Begun>) {
    for (path, registered) in begun {
        let taken = match registered.await {
            Ok(Ok((plugin, calls, program))) => {
                let taken = worker::take(service.clone(), plugin, calls, program).await;
                taken.map_err(|e| berth_types::error::chain(&e))
            }
            Ok(Err(error)) => Err(error),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = taken {
            tracing::warn!(path = %path.display(), error, "an NRI plugin was not taken in");
        }
    }
}

/// The executable files of a directory, in the order of their names.
fn found(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let is_program = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let mut all: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_program).collect();
    all.sort();
    Ok(all)
}

/// Starts a plugin and waits until it is configured.
async fn begin(settings: &Settings, path: &Path) -> Result<Registered, String> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or("its name is not text")?;
    let identity = Identity::of_file(name).map_err(|e| e.to_string())?;
    let config = config(&settings.config_dir, &identity)?;
    let (stream, program) = start(path, &identity).map_err(|e| format!("start it: {e}"))?;
    let stream = UnixStream::from_std(stream).map_err(|e| e.to_string())?;
    let joined = Plugin::join(stream, Some(identity), config, &settings.version).await;
    let (plugin, calls) = joined.map_err(|e| berth_types::error::chain(&e))?;
    Ok((plugin, calls, program))
}

/// `NN-NAME.conf`, or else `NAME.conf`.
fn config(dir: &Path, identity: &Identity) -> Result<String, String> {
    for name in [format!("{identity}.conf"), format!("{}.conf", identity.name)] {
        let path = dir.join(name);
        let size = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        if size > MAX_CONFIG {
            return Err(format!("{}: {size} bytes, and {MAX_CONFIG} is the most", path.display()));
        }
        match std::fs::read_to_string(&path) {
            Ok(config) => return Ok(config),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
    }
    Ok(String::new())
}

/// A program that was started: it is killed when this goes.
struct Started(Option<OwnedFd>);

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(pidfd) = self.0.take() {
            let end = move || {
                berth_sys::process::end(pidfd.as_fd(), END_LIMIT);
            };
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(end)),
                Err(_) => end(),
            }
        }
    }
}

fn start(path: &Path, identity: &Identity) -> io::Result<(std::os::unix::net::UnixStream, Started)> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let ours = std::os::unix::net::UnixStream::from(ours);
    ours.set_nonblocking(true)?;
    let text = |text: String| CString::new(text).map_err(io::Error::other);
    let program = text(path.to_string_lossy().into_owned())?;
    let env = [
        text(format!("NRI_PLUGIN_NAME={}", identity.name))?,
        text(format!("NRI_PLUGIN_IDX={}", identity.index))?,
        text("NRI_PLUGIN_SOCKET=3".to_owned())?,
    ];
    let env = env.each_ref().map(|text| text.as_c_str());
    let log = std::io::stderr();
    let spawn = Spawn {
        program: Executable::Path(&program),
        argv: &[&program],
        fds: &[theirs.as_fd()],
        env: &env,
        // What it says is in the daemon's log.
        stdio: [None, Some(log.as_fd()), Some(log.as_fd())],
        cgroup: None,
        tasks: &[],
        new_pid_namespace: false,
    };
    let child = spawn.spawn()?;
    Ok((ours, Started(Some(child.pidfd))))
}
