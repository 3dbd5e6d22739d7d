//! The socket to which plugins come.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use crate::service::Service;
use crate::worker;

/// Connections at once: those of plugins, and those that are about to register.
const MAX_PLUGINS: usize = 64;
/// The wait after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The socket; its file goes with it, unless another daemon has put its own there.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: Arc<UnixListener>,
    path: PathBuf,
    inode: u64,
}

/// Binds beside the final name and renames over it, so that no plugin finds a socket that does not answer.
pub(crate) fn bind(path: &Path) -> std::io::Result<Socket> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let fresh = parent.join(format!(".nri.{}", std::process::id()));
    drop(std::fs::remove_file(&fresh));
    let bound = || {
        let listener = UnixListener::bind(&fresh)?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
        let inode = std::fs::metadata(&fresh)?.ino();
        std::fs::rename(&fresh, path)?;
        Ok(Socket { listener: Arc::new(listener), path: path.to_owned(), inode })
    };
    bound().inspect_err(|_| drop(std::fs::remove_file(&fresh)))
}

impl Socket {
    /// Takes plugins in, each in a task of its own: one that does not register keeps no other waiting.
    pub(crate) fn serve(&self, service: Service, version: String) {
        let listener = Arc::clone(&self.listener);
        let places = Arc::new(Semaphore::new(MAX_PLUGINS));
        tokio::spawn(async move {
            loop {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "failed to accept an NRI plugin");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                        continue;
                    }
                };
                let (service, version) = (service.clone(), version.clone());
                tokio::spawn(async move {
                    let served = worker::serve(service, stream, version, place).await;
                    if let Err(error) = served {
                        let error = berth_types::error::chain(&error);
                        tracing::warn!(error, "an NRI plugin was not taken in");
                    }
                });
            }
        });
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if std::fs::metadata(&self.path).is_ok_and(|now| now.ino() == self.inode) {
            drop(std::fs::remove_file(&self.path));
        }
    }
}
